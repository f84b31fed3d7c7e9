"""Rendering what reads: selects, set operations, the tables in FROM, and WITH.

The contract: as in `expressions.py`. A CTE is rendered where it is met first and written once, in front of the whole statement, so it can
see no other statement's columns. Where it is met again its values are there again, and are left out (`Compiled.arranged`).
"""

from __future__ import annotations

import typing

from trioorm.compiler.compiled import Repeat
from trioorm.compiler.expressions import ExpressionRenderer, KnownTable, Scope
from trioorm.errors import QueryError
from trioorm.expression.identifiers import quote_identifier, type_text
from trioorm.expression.shape import ColumnReference, Fragment, Labelled, Ordered, Shape, Source
from trioorm.model.model import model_of
from trioorm.query.shape import (
    CombinedShape,
    CommonTable,
    CommonTableUse,
    Derived,
    FromShape,
    FunctionTable,
    GroupingSets,
    Join,
    Limits,
    Lock,
    ModelItem,
    Sampled,
    SelectShape,
    ValueItem,
    ValuesTable,
)
from trioorm.query.tables import natural_name, outputs_of


def render_select(render: ExpressionRenderer, shape: SelectShape) -> str:
    """A select, without the WITH of its CTEs."""
    declare(render, shape.with_)
    if shape.source is None and shape.joins:
        raise QueryError("A select with joins does not say its first table.\nTo fix it: select(...).from_(Model).join(...).")
    tables: tuple[FromShape | Join, ...] = shape.joins if shape.source is None else (shape.source, *shape.joins)
    names = names_of(tables)
    outer = render.scope
    render.scope = Scope(frozenset(names), outer, labels=frozenset(_labels(shape.items)))
    try:
        distinct = "DISTINCT " if shape.distinct else ""
        begins = render.scope.begins
        begins["_distinct_on"] = render.taken
        if shape.distinct_on:
            distinct = f"DISTINCT ON ({render.terms(shape.distinct_on)}) "
        begins["_items"] = render.taken
        clauses = [f"SELECT {distinct}{items_text(render, shape.items)}"]
        if tables:
            clauses.append(f"FROM {tables_text(render, tables)}")
        if shape.where:
            clauses.append(f"WHERE {render.all_of(shape.where)}")
        if shape.group_by:
            begins["_group_by"] = render.taken
            positions = _labels(shape.items)
            clauses.append(f"GROUP BY {', '.join([_group_term(render, term, positions) for term in shape.group_by])}")
        if shape.having:
            clauses.append(f"HAVING {render.all_of(shape.having)}")
        if shape.windows:
            windows = [f"{quote_identifier(named.name)} AS ({render.window(named.window)})" for named in shape.windows]
            clauses.append(f"WINDOW {', '.join(windows)}")
        if shape.order_by:
            clauses.append(f"ORDER BY {render.terms(shape.order_by)}")
        clauses.extend(_limits(render, shape.limits, ordered=bool(shape.order_by)))
        for lock in shape.locks:
            render.repeatable = False
            clauses.append(_lock(lock, names))
        return render.line.join(clauses)
    finally:
        render.scope = outer


def render_combined(render: ExpressionRenderer, shape: CombinedShape) -> str:
    """Queries with a set operation between them."""
    declare(render, shape.with_)
    clauses = [_part(render, shape.left, shape.operator), shape.operator, _part(render, shape.right, None)]
    if shape.order_by:
        left: Shape = shape
        while isinstance(left, CombinedShape):
            left = left.left
        outputs = typing.cast("SelectShape", left).items
        clauses.append(f"ORDER BY {', '.join([_combined_term(render, term, outputs) for term in shape.order_by])}")
    clauses.extend(_limits(render, shape.limits, ordered=bool(shape.order_by)))
    return render.line.join(clauses)


def _part(render: ExpressionRenderer, shape: Shape, operator: str | None) -> str:
    """One side of a set operation: in parentheses unless it reads the same without. On the left, the same operator may go on."""
    bare = isinstance(shape, (SelectShape, CombinedShape)) and not shape.order_by and shape.limits is None
    if isinstance(shape, CombinedShape):
        bare = bare and shape.operator == operator
    if bare and not (isinstance(shape, SelectShape) and shape.locks):
        return render_part(render, shape)
    return f"({render.statement(shape)})"


def render_part(render: ExpressionRenderer, shape: Shape) -> str:
    """A statement inside this one, on its level."""
    return render_combined(render, shape) if isinstance(shape, CombinedShape) else render_select(render, typing.cast("SelectShape", shape))


def _combined_term(render: ExpressionRenderer, term: Shape, items: tuple[Shape, ...]) -> str:
    """A term that orders combined rows, which only have their columns' names."""
    if isinstance(term, Ordered):
        return f"{_combined_term(render, term.operand, items)} {term.direction}{f' NULLS {term.nulls}' if term.nulls else ''}"
    outputs = outputs_of(items)[0]
    names = [natural_name(output.shape) for output in outputs]
    for position, output in enumerate(outputs):
        bare = output.shape.operand if isinstance(output.shape, Labelled) else output.shape
        if term in (output.shape, bare):
            render.pass_over(term)
            name = names[position]
            return quote_identifier(name) if name is not None and names.count(name) == 1 else str(position + 1)
    raise QueryError(
        "Combined queries can be ordered only by what they select, under the names of the first.\n"
        "To fix it: select it in both, and order by the first query's column."
    )


def _labels(items: tuple[Shape, ...]) -> dict[str, int]:
    """The names given by `as_`, with their positions in the row."""
    found: dict[str, int] = {}
    position = 1
    for item in items:
        if isinstance(item, ModelItem):
            position += len(model_of(item.model).fields)
            continue
        expression = typing.cast("ValueItem", item).expression
        if isinstance(expression, Labelled):
            found[expression.label] = position
        position += 1
    return found


def _group_term(render: ExpressionRenderer, term: Shape, positions: dict[str, int]) -> str:
    """A term of GROUP BY. What has a name among the items goes by its position: the name alone would mean a column of that name, if any
    table had one, and the expression again would not be the same expression, if it holds values."""
    if isinstance(term, GroupingSets):
        return f"{term.how} ({', '.join([_group_set(render, terms, positions) for terms in term.sets])})"
    if isinstance(term, Labelled) and term.label in positions:
        render.pass_over(term)
        return str(positions[term.label])
    return render.term(term)


def _group_set(render: ExpressionRenderer, terms: tuple[Shape, ...], positions: dict[str, int]) -> str:
    text = ", ".join([_group_term(render, term, positions) for term in terms])
    return text if len(terms) == 1 else f"({text})"


def _limits(render: ExpressionRenderer, limits: Limits | None, *, ordered: bool) -> list[str]:
    if limits is None:
        return []
    clauses: list[str] = []
    if limits.limit is not None and limits.with_ties:
        if not ordered:
            raise QueryError("limit(with_ties=True) has no order that could leave rows equal.\nTo fix it: .order_by(...)")
        clauses.append(f"FETCH FIRST {render(limits.limit)} ROWS WITH TIES")
    elif limits.limit is not None:
        clauses.append(f"LIMIT {render(limits.limit)}")
    if limits.offset is not None:
        clauses.append(f"OFFSET {render(limits.offset)}")
    return clauses


def _lock(lock: Lock, names: list[str]) -> str:
    for source in lock.of:
        if source.visible_name not in names:
            raise QueryError(
                f"A lock of {source.visible_name!r} was asked for, which is not among the select's tables ({', '.join(sorted(names))}).\n"
                "To fix it: join it, or leave it out."
            )
    of = f" OF {', '.join([quote_identifier(source.visible_name) for source in lock.of])}" if lock.of else ""
    return f"{lock.strength}{of}{' ' + lock.wait if lock.wait else ''}"


def items_text(render: ExpressionRenderer, items: tuple[Shape, ...]) -> str:
    """What rows hold, as SELECT and RETURNING list it."""
    texts: list[str] = []
    for item in items:
        if isinstance(item, ModelItem):
            names = item.columns if item.columns is not None else tuple(field.name for field in model_of(item.model).fields)
            texts.extend(render.column(ColumnReference(item.source, name)) for name in names)
        else:
            expression = typing.cast("ValueItem", item).expression
            text = render(expression)
            texts.append(f"{text} AS {quote_identifier(expression.label)}" if isinstance(expression, Labelled) else text)
    return ", ".join(texts)


# Tables.


def names_of(tables: tuple[FromShape | Join, ...], first: Source | None = None) -> list[str]:
    """The names of a statement's tables.

    Raises:
        QueryError: two have the same.
    """
    names: list[str] = [] if first is None else [first.visible_name]
    for table in tables:
        name = table.source.visible_name if isinstance(table, Join) else table.visible_name
        if name in names:
            raise QueryError(
                f"The table {name!r} is in one statement twice.\n"
                "Its columns could not be told apart.\n"
                "To fix it: give one of them another name, as in other = alias(Model, 'other'), and take its columns from there."
            )
        names.append(name)
    return names


def tables_text(render: ExpressionRenderer, tables: tuple[FromShape | Join, ...]) -> str:
    """What stands after FROM or USING."""
    text = ""
    for table in tables:
        if isinstance(table, Join):
            text += f"{render.line}{table.how} {render.table(table.source)}"
            if table.condition is not None:
                text += f" ON {render(table.condition)}"
        else:
            text += f"{', ' if text else ''}{render.table(table)}"
    return text


def render_table(render: ExpressionRenderer, shape: Derived | CommonTableUse | FunctionTable | ValuesTable | Sampled) -> str:
    """A table that is none of the database's."""
    name = quote_identifier(shape.visible_name)
    match shape:
        case Derived():
            return f"{'LATERAL ' if shape.lateral else ''}({_derived(render, shape)}) AS {name}{_column_list(shape.columns)}"
        case CommonTableUse(definition, other_name):
            _use(render, definition)
            return quote_identifier(definition.name) + (f" AS {name}" if other_name is not None else "")
        case FunctionTable():
            call = render.fragment(shape.call) if isinstance(shape.call, Fragment) else render(shape.call)
            if shape.types is not None:
                pairs = zip(shape.columns, shape.types, strict=True)
                return f"{call} AS {name} ({', '.join([f'{quote_identifier(column)} {type_text(kind)}' for column, kind in pairs])})"
            return f"{call}{' WITH ORDINALITY' if shape.ordinality else ''} AS {name}{_column_list(shape.columns)}"
        case ValuesTable():
            rows = ", ".join([f"({render.listed(row)})" for row in shape.rows])
            return f"(VALUES {rows}) AS {name}{_column_list(shape.columns)}"
        case Sampled():
            text = f"{render.table(shape.source)} TABLESAMPLE {shape.method} ({render(shape.percent)})"
            return text if shape.seed is None else f"{text} REPEATABLE ({render(shape.seed)})"


def _derived(render: ExpressionRenderer, shape: Derived) -> str:
    if shape.lateral:
        return render.statement(shape.statement)
    inner, render.scope = render.scope, render.scope.outer if render.scope is not None else None
    try:
        return render.statement(shape.statement)
    finally:
        render.scope = inner


def _column_list(columns: tuple[str, ...] | None) -> str:
    return "" if columns is None else f" ({', '.join([quote_identifier(column) for column in columns])})"


# CTEs.


def declare(render: ExpressionRenderer, tables: tuple[CommonTable, ...]) -> None:
    """Have these in WITH."""
    for table in tables:
        _use(render, table)


def _use(render: ExpressionRenderer, definition: CommonTable) -> None:
    """Have a CTE in WITH; where it is there already, its values are passed over."""
    known = render.common_tables.get(definition.name)
    if known is not None:
        if known.definition != definition:
            raise QueryError(
                f"Two CTEs of one statement are named {definition.name!r}.\nTo fix it: give one of them another name in cte()."
            )
        render.repeats.append(Repeat(definition.name, known.first, render.taken, known.length))
        render.taken += known.length
        return
    first = render.taken
    scope, depth = render.scope, render.depth
    render.scope, render.depth = None, 0
    try:
        text = _definition(render, definition)
    finally:
        render.scope, render.depth = scope, depth
    if definition.name in render.common_tables:
        raise QueryError(f"The CTE {definition.name!r} reads from another of its name.\nTo fix it: give one of them another name in cte().")
    render.common_tables[definition.name] = KnownTable(definition, text, first, render.taken - first)


def _definition(render: ExpressionRenderer, table: CommonTable) -> str:
    materialized = "" if table.materialized is None else "MATERIALIZED " if table.materialized else "NOT MATERIALIZED "
    if table.step is None:
        body = render.statement(table.statement)
    else:
        render.depth += 1
        parts = [_part(render, table.statement, table.step.union), table.step.union, _part(render, table.step.statement, None)]
        body = render.line + render.line.join(parts)
        render.depth -= 1
        body += render.line
    text = f"{quote_identifier(table.name)}{_column_list(table.columns)} AS {materialized}({body})"
    if table.search is not None:
        by = ", ".join([quote_identifier(name) for name in table.search.by])
        text += f" SEARCH {table.search.how} FIRST BY {by} SET {quote_identifier(table.search.column)}"
    if table.cycle is not None:
        columns = ", ".join([quote_identifier(name) for name in table.cycle.columns])
        text += f" CYCLE {columns} SET {quote_identifier(table.cycle.mark)} USING {quote_identifier(table.cycle.path)}"
    return text


def with_clause(render: ExpressionRenderer) -> str:
    """WITH and all CTEs met so far, each after those that it reads from."""
    recursive = "RECURSIVE " if any(known.definition.step is not None for known in render.common_tables.values()) else ""
    return f"WITH {recursive}{', '.join([known.text for known in render.common_tables.values()])}"
