"""Rendering what writes: insert, update, delete, merge.

The contract: as in `expressions.py`.
"""

from __future__ import annotations

from trioorm.compiler.expressions import ExpressionRenderer, Scope
from trioorm.compiler.reading import declare, items_text, names_of, tables_text
from trioorm.errors import QueryError
from trioorm.expression.identifiers import quote_identifier
from trioorm.expression.shape import Bind, ColumnReference, Function, Shape
from trioorm.expression.types import array_of
from trioorm.query.shape import (
    Assignment,
    Conflict,
    DeleteShape,
    InsertShape,
    MergeAction,
    MergeShape,
    RowAssignment,
    RowValues,
    UnnestedColumns,
    UpdateShape,
)

_BEFORE_AND_AFTER = ("old", "new")


def render_insert(render: ExpressionRenderer, shape: InsertShape) -> str:
    """INSERT."""
    render.writes = True
    declare(render, shape.with_)
    outer = render.scope
    name = shape.source.visible_name
    clauses = [f"INSERT INTO {render.table(shape.source)}" + (f" ({_names(shape.columns)})" if shape.columns else "")]
    if shape.overriding:
        clauses.append(shape.overriding)
    try:
        render.scope = Scope(frozenset(), outer)
        clauses.append(_content(render, shape))
        if shape.conflict is not None:
            clauses.append(_conflict(render, shape.conflict, name, outer))
        _add_returning(render, clauses, shape.returning, [name], outer)
        return render.line.join(clauses)
    finally:
        render.scope = outer


def _content(render: ExpressionRenderer, shape: InsertShape) -> str:
    content = shape.content
    if isinstance(content, UnnestedColumns):
        arrays = ", ".join([render.bind(Bind(array_of(kind), cast=True)) for kind in content.types])
        return f"SELECT * FROM unnest({arrays})"
    if not isinstance(content, RowValues):
        return render.inline(content)
    if not shape.columns:
        if len(content.rows) > 1:
            raise QueryError(
                "Several rows without any value cannot be inserted at once.\nTo fix it: insert them one by one, or give a column."
            )
        return "DEFAULT VALUES"
    return "VALUES " + ", ".join([f"({render.listed(row)})" for row in content.rows])


def _conflict(render: ExpressionRenderer, conflict: Conflict, table: str, outer: Scope | None) -> str:
    render.scope = Scope(frozenset({table}), outer)
    target = ""
    if conflict.constraint is not None:
        target = f" ON CONSTRAINT {quote_identifier(conflict.constraint)}"
    elif conflict.target:
        target = f" ({', '.join([_index_term(render, term) for term in conflict.target])})"
        if conflict.target_where:
            target += f" WHERE {render.all_of(conflict.target_where)}"
    if not conflict.assignments:
        return f"ON CONFLICT{target} DO NOTHING"
    render.scope = Scope(frozenset({table, "excluded"}), outer)
    text = f"ON CONFLICT{target} DO UPDATE SET {_assignments(render, conflict.assignments)}"
    return f"{text} WHERE {render.all_of(conflict.where)}" if conflict.where else text


def _index_term(render: ExpressionRenderer, term: Shape) -> str:
    """A term as an index has it: a column bare, a call as it is, all else in parentheses."""
    if isinstance(term, ColumnReference):
        return quote_identifier(term.name)
    return render(term) if isinstance(term, Function) else f"({render(term)})"


def render_update(render: ExpressionRenderer, shape: UpdateShape) -> str:
    """UPDATE."""
    render.writes = True
    declare(render, shape.with_)
    names = names_of(shape.others, shape.source)
    outer = render.scope
    render.scope = Scope(frozenset(names), outer)
    try:
        clauses = [f"UPDATE {render.table(shape.source)}", f"SET {_assignments(render, shape.assignments)}"]
        if shape.others:
            clauses.append(f"FROM {tables_text(render, shape.others)}")
        if shape.where:
            clauses.append(f"WHERE {render.all_of(shape.where)}")
        _add_returning(render, clauses, shape.returning, names, outer)
        return render.line.join(clauses)
    finally:
        render.scope = outer


def render_delete(render: ExpressionRenderer, shape: DeleteShape) -> str:
    """DELETE."""
    render.writes = True
    declare(render, shape.with_)
    names = names_of(shape.others, shape.source)
    outer = render.scope
    render.scope = Scope(frozenset(names), outer)
    try:
        clauses = [f"DELETE FROM {render.table(shape.source)}"]
        if shape.others:
            clauses.append(f"USING {tables_text(render, shape.others)}")
        if shape.where:
            clauses.append(f"WHERE {render.all_of(shape.where)}")
        _add_returning(render, clauses, shape.returning, names, outer)
        return render.line.join(clauses)
    finally:
        render.scope = outer


def render_merge(render: ExpressionRenderer, shape: MergeShape) -> str:
    """MERGE."""
    render.writes = True
    declare(render, shape.with_)
    target, source = names_of((shape.using,), shape.source)
    outer = render.scope
    render.scope = Scope(frozenset({target, source}), outer)
    try:
        clauses = [f"MERGE INTO {render.table(shape.source)}", f"USING {render.table(shape.using)} ON {render(shape.condition)}"]
        sights = {"MATCHED": {target, source}, "NOT MATCHED": {source}, "NOT MATCHED BY SOURCE": {target}}
        for action in shape.actions:
            render.scope = Scope(frozenset(sights[action.when]), outer)
            clauses.append(_action(render, action))
        _add_returning(render, clauses, shape.returning, [target, source], outer)
        return render.line.join(clauses)
    finally:
        render.scope = outer


def _action(render: ExpressionRenderer, action: MergeAction) -> str:
    conditions = f" AND ({render.all_of(action.conditions)})" if action.conditions else ""
    text = f"WHEN {action.when}{conditions} THEN {action.then}"
    if action.then == "UPDATE":
        return f"{text} SET {_assignments(render, action.assignments)}"
    if action.then == "INSERT":
        names = _names(tuple(assignment.column for assignment in action.assignments))
        return f"{text} ({names}) VALUES ({render.listed(tuple(assignment.value for assignment in action.assignments))})"
    return text


def _add_returning(render: ExpressionRenderer, clauses: list[str], items: tuple[Shape, ...], names: list[str], outer: Scope | None) -> None:
    if items:
        render.scope = Scope(frozenset((*names, *_BEFORE_AND_AFTER)), outer)
        clauses.append(f"RETURNING {items_text(render, items)}")


def _assignments(render: ExpressionRenderer, assignments: tuple[Assignment | RowAssignment, ...]) -> str:
    return ", ".join([_assignment(render, assignment) for assignment in assignments])


def _assignment(render: ExpressionRenderer, assignment: Assignment | RowAssignment) -> str:
    if isinstance(assignment, RowAssignment):
        return f"({_names(assignment.columns)}) = ({render.statement(assignment.statement)})"
    return f"{quote_identifier(assignment.column)} = {render(assignment.value)}"


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join([quote_identifier(column) for column in columns])
