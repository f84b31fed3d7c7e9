"""The rows of the table between two models, which may have no model of its own: read, inserted, deleted.

The contract: pure. Keys travel as one array for each column, so the text is the same for any number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString, cast

from trioorm.expression.column import ColumnExpression
from trioorm.expression.functions import literal
from trioorm.expression.shape import Source
from trioorm.expression.types import SqlType, array_of
from trioorm.query.select import Select, select
from trioorm.query.sql_text import Identifier, Sql, sql
from trioorm.query.tables import Table

LinkColumns = Sequence[ColumnExpression[object]]
LinkRow = tuple[object, ...]


def select_links(source: Source, near: LinkColumns, key: LinkRow, far: LinkColumns) -> Select[Any]:
    """The far columns of the rows whose near ones have these values; one column gives values, several tuples."""
    table = Table(source.visible_name, source, (), ())
    found: Select[Any] = cast("Any", select)(*far).from_(table)
    return found.where(*(column == value for column, value in zip(near, key, strict=True)))


def insert_links(source: Source, columns: LinkColumns, rows: Sequence[LinkRow]) -> Sql:
    """These rows, inserted."""
    return _with_rows("INSERT INTO {table} (%s) SELECT * FROM unnest(%s)", source, columns, rows)


def delete_links(source: Source, columns: LinkColumns, rows: Sequence[LinkRow]) -> Sql:
    """All rows that have these values, deleted."""
    return _with_rows("DELETE FROM {table} WHERE (%s) IN (SELECT * FROM unnest(%s))", source, columns, rows)


def _with_rows(text: LiteralString, source: Source, columns: LinkColumns, rows: Sequence[LinkRow]) -> Sql:
    """A text with gaps for the columns and for as many arrays; names and values come into it as they do into every `sql()`."""
    # Made of constants, so that type checkers see that no foreign text comes in.
    places: list[LiteralString] = ["x" * at for at in range(1, len(columns) + 1)]
    names = {f"column_{place}": Identifier(column.name) for place, column in zip(places, columns, strict=True)}
    arrays = {
        f"values_{place}": literal([row[at] for row in rows], type=array_of(cast("SqlType", column.sql_type)))
        for at, (place, column) in enumerate(zip(places, columns, strict=True))
    }
    whole = text % (", ".join(["{column_" + place + "}" for place in places]), ", ".join(["{values_" + place + "}" for place in places]))
    table = Identifier(*([source.schema] if source.schema is not None else []), source.table)
    return sql(whole, table=table, **names, **arrays)
