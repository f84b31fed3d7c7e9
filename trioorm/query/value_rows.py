"""Rows of plain values as a table, for an update that gives each row values of its own."""

import typing
from collections.abc import Iterable, Mapping

from trioorm.errors import QueryError
from trioorm.expression.expression import Expression
from trioorm.expression.shape import Bind, Function, Keyword, Shape
from trioorm.expression.types import array_of
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.query.assignment import field_named, value_for
from trioorm.query.insert import MOST_BIND_VALUES
from trioorm.query.shape import FunctionTable, ValuesTable
from trioorm.query.tables import Output, Table


def value_rows(
    info: ModelInfo, rows: Iterable[object], columns: tuple[Expression[object], ...], key: Expression[object] | None
) -> tuple[Table, tuple[FieldInfo, ...], tuple[FieldInfo, ...]]:
    """The rows as a table named `rows`, with the fields that find them and those that change.

    They travel as one array for each column where no column is itself an array, so that the shape is the same for any number of rows.

    Raises:
        QueryError: no rows, rows of different columns, two rows of one key, or a value whose class does not fit.
        BindError: a moment without a time zone.
    """
    keys = info.primary_key if key is None else (field_named(info, key, "set_each(key=...)"),)
    wanted = tuple(field_named(info, column, "set_each()") for column in columns)
    cells = [_cells(info, row, keys, wanted) for row in rows]
    if not cells:
        raise QueryError("set_each() was given no rows.\nTo fix it: leave the statement out when there is nothing to change.")
    fields = tuple(cells[0])
    if any(set(row) != set(fields) for row in cells):
        raise QueryError(
            "The rows of set_each() do not all give the same columns.\nTo fix it: give each row the same, or one update for each kind."
        )
    changed = wanted or tuple(field for field in fields if field not in keys)
    if not changed:
        raise QueryError(f"set_each() on {info.model.__name__} gives nothing to set besides the key.\nTo fix it: give further columns.")
    found = [tuple(row[field] for field in keys) for row in cells]
    if len(set(found)) != len(found):
        raise QueryError(
            "Two rows of set_each() have the same key; which of them would win is not said anywhere.\nTo fix it: give one row for each key."
        )
    kept = keys + tuple(field for field in changed if field not in keys)
    return _table(kept, cells), keys, changed


def _cells(info: ModelInfo, row: object, keys: tuple[FieldInfo, ...], wanted: tuple[FieldInfo, ...]) -> dict[FieldInfo, object]:
    cells: dict[FieldInfo, object]
    if isinstance(row, Mapping):
        mapping = typing.cast("Mapping[object, object]", row)
        cells = {field_named(info, name, "set_each()"): value for name, value in mapping.items()}
    elif type(row) is info.model:
        fields = keys + tuple(field for field in wanted or info.writable if field not in keys and not field.version)
        cells = {field: typing.cast("object", getattr(row, field.attribute)) for field in fields}
    else:
        raise QueryError(
            f"set_each() was given an object of {type(row).__qualname__}.\nTo fix it: objects of {info.model.__name__} or mappings."
        )
    for field in keys + wanted:
        if field not in cells:
            raise QueryError(f"A row of set_each() has no {field.attribute}.\nTo fix it: give it in each row.")
    for field, value in cells.items():
        if isinstance(value, Expression):
            raise QueryError(
                f"set_each() takes plain values, and got {value} for {field.attribute}.\n"
                "To fix it: use set() for what is the same in all rows."
            )
        value_for(field, value)
    return cells


def _table(fields: tuple[FieldInfo, ...], cells: list[dict[FieldInfo, object]]) -> Table:
    names = tuple(field.name for field in fields)
    outputs = tuple(Output(field.name, ("column", field.name), field.type, field.nullable) for field in fields)
    if all(field.type.element is None for field in fields):
        call = Function("unnest", tuple(Bind(array_of(field.type), cast=True) for field in fields))
        arrays = tuple([row[field] for row in cells] for field in fields)
        return Table("rows", FunctionTable(call, "rows", names, None, ordinality=False), arrays, outputs)
    shapes: list[tuple[Shape, ...]] = []
    for row in cells:
        typed = [Keyword("NULL") if row[field] is None else Bind(field.type, cast=not shapes) for field in fields]
        shapes.append(tuple(typed))
    values = tuple(row[field] for row in cells for field in fields if row[field] is not None)
    if len(values) > MOST_BIND_VALUES:
        raise QueryError(
            f"This update of {len(cells)} rows would need {len(values)} bind values; PostgreSQL takes {MOST_BIND_VALUES}.\n"
            "To fix it: update in parts."
        )
    return Table("rows", ValuesTable(tuple(shapes), "rows", names), values, outputs)
