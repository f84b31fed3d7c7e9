"""What the rows of an insert become: one array for each column, or VALUES.

The contract: several rows travel as arrays (`unnest`) where each is plain values for the same columns, none of which is itself an array;
else as VALUES. Values are checked here, column by column, before anything is sent.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping, Sequence

from trioorm.errors import QueryError
from trioorm.expression.column_values import ColumnValues, kinds_of
from trioorm.expression.expression import Expression
from trioorm.expression.shape import PLACES, Bind, Keyword, Shape
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.model.model import Model
from trioorm.model.unset import UNSET, UnsetType
from trioorm.query.assignment import field_named, value_for
from trioorm.query.cells import check_column, checked, listed_columns, named_alike, read_columns
from trioorm.query.shape import RowValues, UnnestedColumns

MOST_BIND_VALUES = 65_535
"""PostgreSQL counts them in sixteen bits."""

Content: typing.TypeAlias = tuple[tuple[FieldInfo, ...], RowValues | UnnestedColumns, tuple[object, ...]]
"""The fields that are given, the shape of the rows, and their values."""

_DEFAULT = Keyword("DEFAULT")
_UNSET_ONLY: set[type] = {UnsetType}


@functools.lru_cache(maxsize=4096)
def layout_of(info: ModelInfo, unset: frozenset[int]) -> tuple[tuple[FieldInfo, ...], RowValues, UnnestedColumns | None]:
    """For rows that leave these fields out: the fields, the shape of one row, and that of many."""
    fields = tuple(field for position, field in enumerate(info.writable) if position not in unset)
    nestable = bool(fields) and all(field.type.element is None for field in fields)
    many = UnnestedColumns(tuple(field.type for field in fields)) if nestable else None
    return fields, RowValues((tuple(PLACES[field.type] for field in fields),)), many


def from_objects(info: ModelInfo, objects: Sequence[Model]) -> Content:
    """Several objects of the model. A column that is UNSET in all of them is left out.

    Raises:
        QueryError: a value's class does not fit, or there are too many bind values.
        BindError: a moment without a time zone.
    """
    columns = [ColumnValues(column) for column in read_columns(info.writable, objects)]
    unset = frozenset([place for place, column in enumerate(columns) if column.kinds == _UNSET_ONLY])
    fields, _, many = layout_of(info, unset)
    given = tuple([column for column in columns if column.kinds != _UNSET_ONLY])
    for field, column in zip(fields, given, strict=True):
        check_column(field, column)
    if many is not None and not any(UnsetType in column.kinds for column in given):
        return fields, many, given
    return _one_by_one(fields, given)


def from_tuples(info: ModelInfo, rows: Sequence[object], columns: Sequence[object]) -> tuple[tuple[FieldInfo, ...], Content]:
    """Tuples of plain values, in the order of these columns: the fields that they name, and what becomes of them.

    Raises:
        QueryError, BindError: as `from_objects`; also for a row that is no tuple of as many values, and for a column left out that must
            have a value.
    """
    fields, cells = listed_columns(info, rows, columns, "values_from()")
    return fields, _from_columns(info, len(rows), dict(zip(fields, cells, strict=True)))


def from_mappings(info: ModelInfo, rows: Sequence[object]) -> tuple[tuple[FieldInfo, ...], Content]:
    """Mappings, with objects among them or not; otherwise the same.

    Raises:
        QueryError, BindError: as said.
    """
    alike = named_alike(info, rows, "values()") if len(rows) > 1 else None
    if alike is not None:
        fields, cells = alike
        if all(field.type.element is None for field in info.writable) and not any(map(_holds_expression, cells)):
            return fields, _from_columns(info, len(rows), dict(zip(fields, cells, strict=True)))
    named = _named_rows(info, rows)
    said = tuple({field: None for row in named for field in row})
    return said, _from_named(info, [_with_defaults(info, row) for row in named])


def _holds_expression(column: Sequence[object]) -> bool:
    return any(issubclass(kind, Expression) for kind in kinds_of(column))


def _from_columns(info: ModelInfo, length: int, given: Mapping[FieldInfo, Sequence[object]]) -> Content:
    """Columns of plain values, with those of the model's own defaults."""
    whole: dict[FieldInfo, Sequence[object]] = {}
    for field in info.writable:
        said = field.declaration
        if field in given:
            whole[field] = given[field]
        elif said.default_factory is not None:
            whole[field] = [said.default_factory() for _ in range(length)]
        elif said.default is not UNSET:
            whole[field] = [said.default] * length
        else:
            _check_left_out(info, field)
    fields = tuple(whole)
    columns = checked(fields, list(whole.values()), "values_from()", "give such rows as mappings")
    if any(field.type.element is not None for field in fields):
        return _one_by_one(fields, columns)
    return fields, UnnestedColumns(tuple([field.type for field in fields])), columns


def _one_by_one(fields: tuple[FieldInfo, ...], columns: Sequence[Sequence[object]]) -> Content:
    """VALUES for columns in which UNSET leaves a value to the server."""
    shapes: list[tuple[Shape, ...]] = []
    values: list[object] = []
    for cells in zip(*columns, strict=True):
        shapes.append(tuple([_DEFAULT if cell is UNSET else PLACES[field.type] for field, cell in zip(fields, cells, strict=True)]))
        values.extend(cell for cell in cells if cell is not UNSET)
    return fields, _checked_size(RowValues(tuple(shapes)), values), tuple(values)


def _named_rows(info: ModelInfo, rows: Sequence[object]) -> list[dict[FieldInfo, object]]:
    named: list[dict[FieldInfo, object]] = []
    for row in rows:
        if isinstance(row, Mapping):
            mapping = typing.cast("Mapping[object, object]", row)
            named.append({field_named(info, column, "values()"): value for column, value in mapping.items()})
        elif type(row) is info.model:
            named.append(
                {field: value for field in info.writable if (value := typing.cast("object", getattr(row, field.attribute))) is not UNSET}
            )
        else:
            raise QueryError(
                f"insert({info.model.__name__}) was given an object of {type(row).__qualname__}.\n"
                f"To fix it: give objects of {info.model.__name__} or mappings, each as an argument of its own (values(*rows)), one insert "
                "for each model; or tuples to values_from(rows, columns=[...])."
            )
    return named


def _with_defaults(info: ModelInfo, row: dict[FieldInfo, object]) -> dict[FieldInfo, object]:
    """The row with the model's own defaults where it leaves columns out.

    Raises:
        QueryError: a column that must have a value has none from anywhere.
    """
    whole = dict(row)
    for field in info.writable:
        if field in row:
            continue
        said = field.declaration
        if said.default_factory is not None:
            whole[field] = said.default_factory()
        elif said.default is not UNSET:
            whole[field] = said.default
        else:
            _check_left_out(info, field)
    return whole


def _check_left_out(info: ModelInfo, field: FieldInfo) -> None:
    if not field.nullable and not field.filled_by_server:
        raise QueryError(
            f"A row for {info.model.__name__} has no {field.attribute}, which has no default and is never NULL.\n"
            f"To fix it, one of:\n  1. give it: values({{..., {field.attribute!r}: ...}})\n  2. declare a default: column(default=...)"
        )


def _from_named(info: ModelInfo, named: list[dict[FieldInfo, object]]) -> Content:
    fields = tuple(field for field in info.writable if any(field in row for row in named))
    shapes: list[tuple[Shape, ...]] = []
    values: list[object] = []
    plain = len(named) > 1 and all(field.type.element is None for field in fields)
    for row in named:
        cells: list[Shape] = []
        for field in fields:
            if field not in row:
                cells.append(_DEFAULT)
                continue
            shape, more = value_for(field, row[field])
            plain = plain and isinstance(shape, Bind) and not isinstance(row[field], Expression)
            cells.append(shape)
            values.extend(more)
        plain = plain and len(cells) == len(row)
        shapes.append(tuple(cells))
    if plain and fields:
        return fields, UnnestedColumns(tuple(field.type for field in fields)), tuple([[row[field] for row in named] for field in fields])
    return fields, _checked_size(RowValues(tuple(shapes)), values), tuple(values)


def _checked_size(content: RowValues, values: list[object]) -> RowValues:
    if len(values) > MOST_BIND_VALUES:
        raise QueryError(
            f"This insert of {len(content.rows)} rows would need {len(values)} bind values; PostgreSQL takes {MOST_BIND_VALUES}.\n"
            "These rows cannot travel as one array for each column, because a column is itself an array, a value is an expression, or the "
            "rows leave out different columns.\n"
            "To fix it, one of:\n  1. give all rows the same columns\n  2. insert in parts\n  3. copy_in()"
        )
    return content
