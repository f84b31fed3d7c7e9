"""Rendering the statements of loads: those that hand keys on, and those that unite the rows of a graph.

The contract: as in `expressions.py`.
"""

from __future__ import annotations

import typing

from trioorm.compiler.expressions import ExpressionRenderer
from trioorm.compiler.reading import with_clause
from trioorm.expression.identifiers import quote_identifier, quote_qualified, type_text
from trioorm.expression.shape import ColumnReference, Shape, Source
from trioorm.model.model import model_of
from trioorm.query.shape import HandingShape, ModelItem, UnitedShape, ValueItem


def render_load(render: ExpressionRenderer, shape: HandingShape | UnitedShape) -> str:
    """A statement that hands keys on, or unites a graph."""
    return _handing(render, shape) if isinstance(shape, HandingShape) else _united(render, shape)


def _handing(render: ExpressionRenderer, shape: HandingShape) -> str:
    """A statement that also hands on keys among its rows.

    The settings are made in conditions that depend on no row, which PostgreSQL looks at once, before the first row. The rows come in the
    order in which the statement gave them: there is only one way to read a CTE that was computed apart.
    """
    text = render.statement(shape.statement)
    tables = f"{with_clause(render)}, " if render.common_tables else "WITH "
    columns = ", ".join([f"c{number}" for number in range(1, shape.width + 1)])
    conditions: list[str] = []
    for key in shape.handed:
        keys = [f"SELECT {', '.join([f'c{number}' for number in place])} FROM trioorm_rows" for place in key.places]
        distinct = " UNION ".join(keys) if len(keys) > 1 else keys[0].replace("SELECT", "SELECT DISTINCT", 1)
        names = ", ".join([f"k{number}" for number in range(1, len(key.settings) + 1)])
        settings = " || ".join(
            [f"set_config('{name}', coalesce(array_agg(k{at})::text, '{{}}'), true)" for at, name in enumerate(key.settings, 1)]
        )
        conditions.append(f"(SELECT {settings} FROM ({distinct}) AS trioorm_keys ({names})) IS NOT NULL")
    return f"{tables}trioorm_rows ({columns}) AS MATERIALIZED ({text})\nSELECT * FROM trioorm_rows\nWHERE " + "\n  AND ".join(conditions)


def _united(render: ExpressionRenderer, shape: UnitedShape) -> str:
    """Statements with UNION ALL between them, each with the columns of all.

    The rows of each come in its order: PostgreSQL runs one after the other, or gives each to one worker. Values are hidden in subqueries
    behind the first statement, or PostgreSQL would take some for rare and plan all of it anew each time, which takes longer than to run it.
    """
    empty = [_empty(item) for item in shape.items]
    seen: set[int] = set()
    tables: list[str] = []
    branches: list[str] = []
    for number, part in enumerate(shape.parts):
        text = render.statement(part.statement)
        render.hides_values = True
        # A type is told before the part that has a column; from there on PostgreSQL knows it.
        seen.update(part.places)
        cells = [["NULL"] * len(group) if at in seen else group for at, group in enumerate(empty)]
        column = 1
        for place in part.places:
            cells[place] = [f"c{at}" for at in range(column, column + len(empty[place]))]
            column += len(empty[place])
        name = f"trioorm_part_{number} ({', '.join([f'c{at}' for at in range(1, column)])})"
        if part.is_read_again:
            tables.append(f"{name} AS MATERIALIZED ({text})")
        source = f"trioorm_part_{number}" if part.is_read_again else f"({text}) AS {name}"
        branches.append(f"SELECT {number}, {', '.join([cell for group in cells for cell in group])} FROM {source}")
    if render.common_tables:
        tables.insert(0, with_clause(render).removeprefix("WITH "))
    before = f"WITH {', '.join(tables)}\n" if tables else ""
    return before + "\nUNION ALL\n".join(branches)


def _empty(item: Shape) -> list[str]:
    """NULL for each column of an item, of the type that it has in its table, whatever its model says."""
    if isinstance(item, ModelItem):
        return [
            f"NULL::{type_text(field.type.bound)}" if field.of_the_system else _field_of_null(item.source, field.name)
            for field in model_of(item.model).fields
        ]
    match typing.cast("ValueItem", item):
        case ValueItem(ColumnReference(Source(alias=None) as source, name)):
            return [_field_of_null(source, name)]
        case ValueItem(_, kind):
            return [f"NULL::{type_text(kind.bound)}" if kind is not None else "NULL"]


def _field_of_null(source: Source, name: str) -> str:
    return f"(NULL::{quote_qualified(source.table, source.schema)}).{quote_identifier(name)}"
