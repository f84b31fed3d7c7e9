"""Rows of plain values as a table, for an update that gives each row values of its own."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping, Sequence

import attrs

from trioorm.errors import QueryError
from trioorm.expression.column_values import ColumnValues, kinds_of
from trioorm.expression.expression import Expression
from trioorm.expression.shape import Bind, Function, Keyword, Shape
from trioorm.expression.types import BIGINT, SqlType, array_of
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.query.assignment import field_named
from trioorm.query.cells import checked, listed_columns, named_alike, read_columns
from trioorm.query.insert_rows import MOST_BIND_VALUES
from trioorm.query.shape import FunctionTable, ValuesTable
from trioorm.query.tables import Output, Table

_PLACE = "trioorm_place"
_INSTEAD = "use set() for what is the same in all rows"


@attrs.frozen(eq=False, repr=False)
class ValueRows:
    """What `set_each` was given, column by column.

    Attributes:
        keys: the fields by which rows are found.
        changed: those that are set.
        fields: all of them.
        columns: the values of each of these.
    """

    keys: tuple[FieldInfo, ...]
    changed: tuple[FieldInfo, ...]
    fields: tuple[FieldInfo, ...]
    columns: tuple[ColumnValues, ...]

    @property
    def are_arrays(self) -> bool:
        """They travel as one array for each column, so the shape is the same for any number of rows."""
        return all(field.type.element is None for field in self.fields)

    def table(self) -> Table:
        """The rows as a table named `rows`."""
        return _table([_part(field, column) for field, column in zip(self.fields, self.columns, strict=True)])


def object_rows(
    info: ModelInfo, objects: Sequence[object], first: int
) -> tuple[Table, tuple[FieldInfo, ...], tuple[FieldInfo, ...], Expression[int]]:
    """Objects as a table named `rows`: with the fields that find their rows, the version among them, those that change, and each object's
    place in the order given, counted from `first`.

    Raises:
        QueryError: an object of another class, two of one key, one without a key or another value, nothing to set, or a value whose class
            does not fit.
        BindError: a moment without a time zone.
    """
    if kinds_of(objects) != {info.model}:
        other = next(row for row in objects if type(row) is not info.model)
        raise QueryError(
            f"update_many() of {info.model.__name__} was given an object of {type(other).__qualname__}.\n"
            "To fix it: objects of one class in each call."
        )
    keys = info.primary_key if info.version is None else (*info.primary_key, info.version)
    changed = tuple(field for field in info.writable if field not in keys)
    if not changed:
        raise QueryError(
            f"{info.model.__name__} has no columns besides its key, so there is nothing to update.\nTo fix it: insert or delete."
        )
    fields = keys + changed
    columns = checked(fields, read_columns(fields, objects), "update_many()", _INSTEAD)
    _check_keys(columns[: len(info.primary_key)], "update_many()")
    parts = [_part(field, column) for field, column in zip(fields, columns, strict=True)]
    table = _table([*parts, (Output(_PLACE, ("column", _PLACE), BIGINT, nullable=False), BIGINT, list(range(first, first + len(objects))))])
    return table, keys, changed, table.column(_PLACE, int)


def value_rows(
    info: ModelInfo,
    rows: Iterable[object],
    changed: Sequence[Expression[object]],
    key: Expression[object] | None,
    columns: Sequence[Expression[object]],
) -> ValueRows:
    """What `set_each` was given, checked.

    Raises:
        QueryError: no rows, rows of different columns, two rows of one key, or a value whose class does not fit.
        BindError: a moment without a time zone.
    """
    keys = info.primary_key if key is None else (field_named(info, key, "set_each(key=...)"),)
    wanted = tuple(field_named(info, column, "set_each()") for column in changed)
    given = typing.cast("list[object]", rows) if type(rows) is list else list(rows)
    if not given:
        raise QueryError("set_each() was given no rows.\nTo fix it: leave the statement out when there is nothing to change.")
    cells: Sequence[Sequence[object]]
    if columns:
        fields, cells = listed_columns(info, given, columns, "set_each()")
    elif kinds_of(given) == {info.model}:
        fields = keys + tuple(field for field in wanted or info.writable if field not in keys and not field.version)
        cells = read_columns(fields, given)
    else:
        fields, cells = named_alike(info, given, "set_each()") or _named_columns(info, given)
    for field in keys + wanted:
        if field not in fields:
            raise QueryError(f"A row of set_each() has no {field.attribute}.\nTo fix it: give it in each row.")
    settable = wanted or tuple(field for field in fields if field not in keys)
    if not settable:
        raise QueryError(f"set_each() on {info.model.__name__} gives nothing to set besides the key.\nTo fix it: give further columns.")
    by_field = dict(zip(fields, checked(fields, cells, "set_each()", _INSTEAD), strict=True))
    _check_keys([by_field[field] for field in keys], "set_each()")
    kept = keys + tuple(field for field in settable if field not in keys)
    return ValueRows(keys, settable, kept, tuple([by_field[field] for field in kept]))


def _named_columns(info: ModelInfo, rows: Sequence[object]) -> tuple[tuple[FieldInfo, ...], Sequence[Sequence[object]]]:
    """Mappings, perhaps with objects among them, as columns.

    Raises:
        QueryError: something else is among them, a name that is no column's, or they do not all have the same.
    """
    named = [_mapping(info, row) for row in rows]
    fields = tuple(field_named(info, name, "set_each()") for name in named[0])
    # Other names are allowed for the same columns: an attribute's and the column itself.
    cells = [{field_named(info, name, "set_each()"): value for name, value in row.items()} for row in named]
    if any(row.keys() != set(fields) for row in cells):
        raise QueryError(
            "The rows of set_each() do not all give the same columns.\nTo fix it: give each row the same, or one update for each kind."
        )
    return fields, [[row[field] for row in cells] for field in fields]


def _mapping(info: ModelInfo, row: object) -> Mapping[object, object]:
    if isinstance(row, Mapping):
        return typing.cast("Mapping[object, object]", row)
    if type(row) is not info.model:
        raise QueryError(
            f"set_each() was given an object of {type(row).__qualname__}.\n"
            f"To fix it: objects of {info.model.__name__} or mappings; or tuples and columns=[...]."
        )
    return {field.attribute: typing.cast("object", getattr(row, field.attribute)) for field in info.writable if not field.version}


def _check_keys(keys: Sequence[Sequence[object]], verb: str) -> None:
    if len(set(keys[0]) if len(keys) == 1 else set(zip(*keys, strict=True))) != len(keys[0]):
        raise QueryError(
            f"Two rows of {verb} have the same key; which of them would win is not said anywhere.\nTo fix it: give one row for each key."
        )


_Part: typing.TypeAlias = tuple[Output, SqlType, Sequence[object]]


def _part(field: FieldInfo, column: Sequence[object]) -> _Part:
    return Output(field.name, ("column", field.name), field.type, field.nullable), field.type, column


def _table(parts: Sequence[_Part]) -> Table:
    outputs = tuple(output for output, _, _ in parts)
    names = tuple(output.name for output in outputs)
    if all(kind.element is None for _, kind, _ in parts):
        call = Function("unnest", tuple(Bind(array_of(kind), cast=True) for _, kind, _ in parts))
        return Table("rows", FunctionTable(call, "rows", names, None, ordinality=False), tuple(column for _, _, column in parts), outputs)
    shapes: list[tuple[Shape, ...]] = []
    values: list[object] = []
    for row in zip(*[column for _, _, column in parts], strict=True):
        typed = [Keyword("NULL") if value is None else Bind(kind, cast=not shapes) for (_, kind, _), value in zip(parts, row, strict=True)]
        shapes.append(tuple(typed))
        values.extend(value for value in row if value is not None)
    if len(values) > MOST_BIND_VALUES:
        raise QueryError(
            f"This update of {len(shapes)} rows would need {len(values)} bind values; PostgreSQL takes {MOST_BIND_VALUES}.\n"
            "To fix it: update in parts."
        )
    return Table("rows", ValuesTable(tuple(shapes), "rows", names), tuple(values), outputs)
