"""Rendering statements: from a shape to SQL text.

The contract: as in `expressions.py`. A column of a table that is not in the statement is refused here, once for each shape.
"""

import typing

from trioorm.compiler.compiled import Compiled, ModelResult, ResultItem, RowResult, ValueResult
from trioorm.compiler.expressions import ExpressionRenderer, Scope
from trioorm.errors import QueryError
from trioorm.expression.identifiers import quote_identifier
from trioorm.expression.shape import Bind, ColumnReference, Fragment, Labelled, Shape, Source
from trioorm.expression.types import array_of
from trioorm.model.model import model_of
from trioorm.query.shape import (
    Assignment,
    Conflict,
    DeleteShape,
    InsertShape,
    Lock,
    ModelItem,
    SelectShape,
    TypedFragment,
    UnnestedColumns,
    UpdateShape,
    ValueItem,
)

BREAK = "\n"
"""Between the clauses of a statement."""


def compile_shape(shape: Shape) -> Compiled:
    """The text of a statement, and what goes in and comes out.

    Raises:
        QueryError: a column of a table that is not in the statement, or another contradiction.
    """
    render = ExpressionRenderer(render_inner)
    text = _fragment_statement(render, shape) if isinstance(shape, (Fragment, TypedFragment)) else render_inner(render, shape)
    results = _results(shape)
    return Compiled(
        text=text,
        bind_types=tuple(render.bind_types),
        results=results,
        scalar=len(results) == 1,
        is_write=render.writes or (isinstance(shape, SelectShape) and shape.lock is not None),
        may_repeat=render.repeatable and not render.writes,
    )


def _results(shape: Shape) -> tuple[ResultItem, ...]:
    match shape:
        case SelectShape():
            items = shape.items
        case InsertShape() | UpdateShape() | DeleteShape():
            items = shape.returning
        case TypedFragment():
            items = shape.items
        case Fragment():
            return (RowResult(),)
        case _:
            return ()
    return tuple(_result(item) for item in items)


def _result(item: Shape) -> ResultItem:
    if isinstance(item, ModelItem):
        return ModelResult(item.model, tuple(field.attribute for field in model_of(item.model).fields), item.optional)
    return ValueResult(typing.cast("ValueItem", item).type)


def render_inner(render: ExpressionRenderer, shape: Shape) -> str:
    match shape:
        case SelectShape():
            return _select(render, shape)
        case InsertShape():
            return _insert(render, shape)
        case UpdateShape():
            return _update(render, shape)
        case DeleteShape():
            return _delete(render, shape)
        case Fragment():
            return render.fragment(shape)
        case _:
            raise QueryError(f"{type(shape).__name__} is no statement.")


def _fragment_statement(render: ExpressionRenderer, shape: Fragment | TypedFragment) -> str:
    fragment = shape if isinstance(shape, Fragment) else shape.fragment
    render.writes = not fragment.repeatable
    text = render.fragment(fragment)
    if isinstance(shape, Fragment):
        return text
    if not isinstance(shape.items[0], ModelItem):
        return text
    # By name, so that `SELECT *` works whatever the order of the table's columns.
    columns = ", ".join([f'"rows".{quote_identifier(field.name)}' for field in model_of(shape.items[0].model).fields])
    return f'WITH "rows" AS (\n{text}\n)\nSELECT {columns}\nFROM "rows"'


def _select(render: ExpressionRenderer, shape: SelectShape) -> str:
    source = shape.source
    sources = [source, *(join.source for join in shape.joins)] if source is not None else [join.source for join in shape.joins]
    if source is None and shape.joins:
        raise QueryError("A select with joins does not say its first table.\nTo fix it: select(...).from_(Model).join(...).")
    _refuse_twice(sources)
    outer = render.scope
    labels = frozenset(
        item.expression.label for item in shape.items if isinstance(item, ValueItem) and isinstance(item.expression, Labelled)
    )
    render.scope = Scope(frozenset(found.visible_name for found in sources), outer, labels=labels)
    try:
        distinct = "DISTINCT " if shape.distinct else ""
        if shape.distinct_on:
            distinct = f"DISTINCT ON ({render.terms(shape.distinct_on)}) "
        clauses = [f"SELECT {distinct}{_items(render, shape.items)}"]
        if source is not None:
            clauses.append(f"FROM {render.table(source)}")
        for join in shape.joins:
            condition = "" if join.condition is None else f" ON {render(join.condition)}"
            clauses.append(f"{join.how} {render.table(join.source)}{condition}")
        if shape.where:
            clauses.append(f"WHERE {render.all_of(shape.where)}")
        if shape.group_by:
            clauses.append(f"GROUP BY {render.terms(shape.group_by)}")
        if shape.having:
            clauses.append(f"HAVING {render.all_of(shape.having)}")
        if shape.order_by:
            clauses.append(f"ORDER BY {render.terms(shape.order_by)}")
        if shape.limit is not None:
            clauses.append(f"LIMIT {render(shape.limit)}")
        if shape.offset is not None:
            clauses.append(f"OFFSET {render(shape.offset)}")
        if shape.lock is not None:
            render.repeatable = False
            clauses.append(_lock(shape.lock, sources))
        return BREAK.join(clauses)
    finally:
        render.scope = outer


def _refuse_twice(sources: list[Source]) -> None:
    seen: set[str] = set()
    for source in sources:
        if source.visible_name in seen:
            raise QueryError(
                f"The table {source.visible_name!r} is in one select twice.\n"
                "Its columns could not be told apart.\n"
                "To fix it: give one of them another name, as in other = alias(Model, 'other'), and take its columns from there."
            )
        seen.add(source.visible_name)


def _lock(lock: Lock, sources: list[Source]) -> str:
    names = {source.visible_name for source in sources}
    for source in lock.of:
        if source.visible_name not in names:
            raise QueryError(
                f"for_update(of=...) names {source.visible_name!r}, which is not among the select's tables ({', '.join(sorted(names))}).\n"
                "To fix it: join it, or leave it out."
            )
    of = f" OF {', '.join([quote_identifier(source.visible_name) for source in lock.of])}" if lock.of else ""
    return f"{lock.strength}{of}{' ' + lock.wait if lock.wait else ''}"


def _items(render: ExpressionRenderer, items: tuple[Shape, ...]) -> str:
    texts: list[str] = []
    for item in items:
        if isinstance(item, ModelItem):
            texts.extend(render.column(ColumnReference(item.source, field.name)) for field in model_of(item.model).fields)
        else:
            expression = typing.cast("ValueItem", item).expression
            text = render(expression)
            texts.append(f"{text} AS {quote_identifier(expression.label)}" if isinstance(expression, Labelled) else text)
    return ", ".join(texts)


def _insert(render: ExpressionRenderer, shape: InsertShape) -> str:
    render.writes = True
    outer = render.scope
    name = shape.source.visible_name
    clauses = [f"INSERT INTO {render.table(shape.source)}" + (f" ({_names(shape.columns)})" if shape.columns else "")]
    try:
        render.scope = Scope(frozenset(), outer)
        clauses.append(_content(render, shape))
        if shape.conflict is not None:
            clauses.append(_conflict(render, shape.conflict, name, outer))
        render.scope = Scope(frozenset({name}), outer)
        _add_returning(render, clauses, shape.returning)
        return BREAK.join(clauses)
    finally:
        render.scope = outer


def _content(render: ExpressionRenderer, shape: InsertShape) -> str:
    if isinstance(shape.content, UnnestedColumns):
        arrays = ", ".join([render.bind(Bind(array_of(kind), cast=True)) for kind in shape.content.types])
        return f"SELECT * FROM unnest({arrays})"
    if not shape.columns:
        if len(shape.content.rows) > 1:
            raise QueryError(
                "Several rows without any value cannot be inserted at once.\nTo fix it: insert them one by one, or give a column."
            )
        return "DEFAULT VALUES"
    return "VALUES " + ", ".join([f"({render.listed(row)})" for row in shape.content.rows])


def _conflict(render: ExpressionRenderer, conflict: Conflict, table: str, outer: Scope | None) -> str:
    target = ""
    if conflict.constraint is not None:
        target = f" ON CONSTRAINT {quote_identifier(conflict.constraint)}"
    elif conflict.columns:
        target = f" ({_names(conflict.columns)})"
    if not conflict.assignments:
        return f"ON CONFLICT{target} DO NOTHING"
    render.scope = Scope(frozenset({table, "excluded"}), outer)
    text = f"ON CONFLICT{target} DO UPDATE SET {_assignments(render, conflict.assignments)}"
    return f"{text} WHERE {render.all_of(conflict.where)}" if conflict.where else text


def _update(render: ExpressionRenderer, shape: UpdateShape) -> str:
    render.writes = True
    _refuse_twice([shape.source, *shape.others])
    outer = render.scope
    render.scope = Scope(frozenset(source.visible_name for source in (shape.source, *shape.others)), outer)
    try:
        clauses = [f"UPDATE {render.table(shape.source)}", f"SET {_assignments(render, shape.assignments)}"]
        if shape.others:
            clauses.append(f"FROM {', '.join([render.table(source) for source in shape.others])}")
        if shape.where:
            clauses.append(f"WHERE {render.all_of(shape.where)}")
        _add_returning(render, clauses, shape.returning)
        return BREAK.join(clauses)
    finally:
        render.scope = outer


def _delete(render: ExpressionRenderer, shape: DeleteShape) -> str:
    render.writes = True
    _refuse_twice([shape.source, *shape.others])
    outer = render.scope
    render.scope = Scope(frozenset(source.visible_name for source in (shape.source, *shape.others)), outer)
    try:
        clauses = [f"DELETE FROM {render.table(shape.source)}"]
        if shape.others:
            clauses.append(f"USING {', '.join([render.table(source) for source in shape.others])}")
        if shape.where:
            clauses.append(f"WHERE {render.all_of(shape.where)}")
        _add_returning(render, clauses, shape.returning)
        return BREAK.join(clauses)
    finally:
        render.scope = outer


def _add_returning(render: ExpressionRenderer, clauses: list[str], items: tuple[Shape, ...]) -> None:
    if items:
        clauses.append(f"RETURNING {_items(render, items)}")


def _assignments(render: ExpressionRenderer, assignments: tuple[Assignment, ...]) -> str:
    return ", ".join([f"{quote_identifier(column)} = {render(value)}" for column, value, _ in assignments])


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join([quote_identifier(column) for column in columns])
