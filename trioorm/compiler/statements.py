"""Whole statements: from a shape to SQL text, with what goes in and comes out.

The contract: as in `expressions.py`. A column of a table that is not in the statement is refused here, once for each shape.
"""

from __future__ import annotations

import typing

from trioorm.compiler.compiled import Compiled, ModelResult, ResultItem, RowResult, ValueResult
from trioorm.compiler.expressions import ExpressionRenderer
from trioorm.compiler.reading import render_combined, render_select, render_table, with_clause
from trioorm.compiler.writing import render_delete, render_insert, render_merge, render_update
from trioorm.errors import QueryError
from trioorm.expression.identifiers import quote_identifier, quote_qualified
from trioorm.expression.shape import Fragment, Shape
from trioorm.expression.types import INTEGER
from trioorm.model.model import model_of
from trioorm.query.shape import (
    CombinedShape,
    CommonTableUse,
    CreateTableAsShape,
    DeleteShape,
    Derived,
    FunctionTable,
    HandingShape,
    InsertShape,
    MergeShape,
    ModelItem,
    ReturnedInto,
    Sampled,
    SelectShape,
    TypedFragment,
    UnitedShape,
    UpdateShape,
    ValueItem,
    ValuesTable,
)

STATEMENTS = (
    SelectShape, CombinedShape, InsertShape, UpdateShape, DeleteShape, MergeShape, ReturnedInto, CreateTableAsShape, HandingShape, Fragment,
    TypedFragment, UnitedShape,
)  # fmt: skip
"""The shapes that are sent as they are."""


def compile_shape(shape: Shape) -> Compiled:
    """The text of a statement, and what goes in and comes out.

    Raises:
        QueryError: a column of a table that is not in the statement, or another contradiction.
    """
    render = ExpressionRenderer(render_inner)
    text = render_statement(render, shape)
    into = shape.into if isinstance(shape, (SelectShape, CombinedShape, ReturnedInto)) else None
    results = _results(shape)
    return Compiled(
        text=text,
        bind_types=tuple(render.bind_types),
        results=results,
        scalar=len(results) == 1 and into is None,
        is_write=render.writes or not render.repeatable,
        may_repeat=render.repeatable and not render.writes,
        into=into,
        places=tuple(render.places) if render.taken > len(render.places) else None,
        repeats=tuple(render.repeats),
        parts=tuple(part.places for part in shape.parts) if isinstance(shape, UnitedShape) else None,
        shared=shape.shared if isinstance(shape, UnitedShape) else (),
    )


def render_statement(render: ExpressionRenderer, shape: Shape) -> str:
    """A whole statement, with the WITH of all the CTEs that it reads from."""
    if isinstance(shape, (Fragment, TypedFragment)):
        return _fragment_statement(render, shape)
    if isinstance(shape, (HandingShape, UnitedShape)):
        from trioorm.compiler.loading import render_load  # few need it

        return render_load(render, shape)
    if isinstance(shape, CreateTableAsShape):
        return _table_as(render, shape)
    text = render_inner(render, shape)
    return f"{with_clause(render)}\n{text}" if render.common_tables else text


def _results(shape: Shape) -> tuple[ResultItem, ...]:
    match shape:
        case SelectShape():
            items = shape.items
        case CombinedShape():
            return _results(shape.left)
        case InsertShape() | UpdateShape() | DeleteShape() | MergeShape():
            items = shape.returning
        case ReturnedInto():
            return _results(shape.write)
        case HandingShape():
            return _results(shape.statement)
        case UnitedShape():
            return (ValueResult(INTEGER), *[_result(item) for item in shape.items])
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
    """A statement or table inside another; its CTEs are left to the whole."""
    match shape:
        case SelectShape():
            return render_select(render, shape)
        case CombinedShape():
            return render_combined(render, shape)
        case InsertShape():
            return render_insert(render, shape)
        case UpdateShape():
            return render_update(render, shape)
        case DeleteShape():
            return render_delete(render, shape)
        case MergeShape():
            return render_merge(render, shape)
        case ReturnedInto():
            return render_inner(render, shape.write)
        case Fragment():
            return render.fragment(shape)
        case Derived() | CommonTableUse() | FunctionTable() | ValuesTable() | Sampled():
            return render_table(render, shape)
        case _:
            raise QueryError(f"{type(shape).__name__} is no statement.")


def _fragment_statement(render: ExpressionRenderer, shape: Fragment | TypedFragment) -> str:
    fragment = shape if isinstance(shape, Fragment) else shape.fragment
    text = render.fragment(fragment)
    tables = with_clause(render) if render.common_tables else ""
    if isinstance(shape, TypedFragment) and isinstance(shape.items[0], ModelItem):
        # By name, so that `SELECT *` works whatever the order of the table's columns.
        columns = ", ".join([f'"rows".{quote_identifier(field.name)}' for field in model_of(shape.items[0].model).fields])
        tables = f"{tables}, " if tables else "WITH "
        return f'{tables}"rows" AS (\n{text}\n)\nSELECT {columns}\nFROM "rows"'
    if tables and text.lstrip()[:4].upper() == "WITH":
        raise QueryError(
            "A sql() that begins with WITH reads from a CTE of the builder.\nTo fix it: write that into its WITH too, or none of them."
        )
    return f"{tables}\n{text}" if tables else text


def _table_as(render: ExpressionRenderer, shape: CreateTableAsShape) -> str:
    render.writes = True
    text = render_statement(render, shape.statement)  # with a WITH of its own, which belongs to the query
    columns = f" ({', '.join([quote_identifier(column) for column in shape.columns])})" if shape.columns is not None else ""
    how, until = ("TEMPORARY ", " ON COMMIT DROP") if shape.temporary else ("", "")
    return f"CREATE {how}TABLE {quote_qualified(shape.source.table, shape.source.schema)}{columns}{until} AS\n{text}"
