"""The values of many objects, read and checked column by column.

The contract: a column whose values have the class that its type stands for is passed at the speed of C; others are looked at one by one.
"""

from __future__ import annotations

import ast
import datetime
import functools
import operator
import typing
from collections.abc import Callable, Mapping, Sequence

from trioorm.errors import BindError, QueryError
from trioorm.expression.binding import accepts, check_aware, wrong_class
from trioorm.expression.column_values import ColumnValues, kinds_of
from trioorm.expression.expression import Expression
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.model.unset import UNSET, UnsetType
from trioorm.query.assignment import field_named, value_for

_NONE = type(None)
_NO_VALUE = frozenset((_NONE, UnsetType))
_zone = operator.attrgetter("tzinfo")


@functools.lru_cache(maxsize=1024)
def row_reader(fields: tuple[FieldInfo, ...]) -> Callable[[object], tuple[object, ...]]:
    """What reads the values of one object."""
    if len(fields) == 1:
        only = operator.attrgetter(fields[0].attribute)
        return lambda row: (only(row),)
    return operator.attrgetter(*(field.attribute for field in fields))


def mapping_reader(fields: Sequence[FieldInfo], names: Mapping[FieldInfo, object]) -> Callable[[typing.Any], tuple[object, ...]]:
    """What reads the values of one mapping for these fields; those that it does not name have a default.

    Args:
        fields: in the order of the values.
        names: by which the mapping calls its fields.
    """
    defaults: dict[object, object] = {field: field.declaration.default for field in fields if field not in names}
    keys: list[object] = [names.get(field, field) for field in fields]
    if len(keys) == 1:
        (key,) = keys
        return lambda row: (row[key],)
    read: Callable[[typing.Any], tuple[object, ...]] = operator.itemgetter(*keys)
    return read if not defaults else lambda row: read({**row, **defaults})


def read_columns(fields: Sequence[FieldInfo], objects: Sequence[object]) -> list[list[object]]:
    """The values of many objects, a list for each field."""
    return _columns_reader(tuple([field.attribute for field in fields]))(objects)


@functools.lru_cache(maxsize=1024)
def _columns_reader(attributes: tuple[str, ...]) -> Callable[[Sequence[object]], list[list[object]]]:
    """What reads these attributes of many objects.

    It is made as code, since an attribute that is named in code is read in 9 ns where `attrgetter` takes 30. No name of the user's is read
    as source: the names are put into the syntax tree.
    """
    columns = ", ".join([f"[each.a{place} for each in objects]" for place in range(len(attributes))])
    tree = ast.parse(f"lambda objects: [{columns}]", mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            node.attr = attributes[int(node.attr[1:])]
    reader: Callable[[Sequence[object]], list[list[object]]] = eval(compile(tree, "<trioorm: reading objects>", "eval"), {})
    return reader


def listed_columns(
    info: ModelInfo, rows: Sequence[object], columns: Sequence[object], verb: str
) -> tuple[tuple[FieldInfo, ...], Sequence[Sequence[object]]]:
    """Tuples whose values are in the order of these columns: the fields, and the values of each.

    Raises:
        QueryError: a row is no tuple of as many values, or a column is named twice or cannot be written.
    """
    fields = tuple([field_named(info, column, f"{verb[:-1]}columns=...)") for column in columns])
    if len(set(fields)) < len(fields):
        raise QueryError(f"{verb} was given a column twice.\nTo fix it: name each once.")
    given = typing.cast("Sequence[Sequence[object]]", rows)
    if not all(issubclass(kind, tuple | list) for kind in kinds_of(rows)) or list(map(len, given)).count(len(fields)) < len(given):
        number, row = next((at, row) for at, row in enumerate(given, 1) if not isinstance(row, tuple | list) or len(row) != len(fields))
        raise QueryError(
            f"Row {number:,} of {verb} is a {shown_row(row)}, where a tuple of {len(fields)} is expected.\n"
            "To fix it: give each row as a tuple, its values in the order of `columns=`."
        )
    return fields, [list(map(operator.itemgetter(place), given)) for place in range(len(fields))]


def shown_row(row: object) -> str:
    """What was given where a tuple of values is expected, for errors."""
    name = type(row).__qualname__
    return f"{name} of {len(typing.cast('Sequence[object]', row))}" if isinstance(row, tuple | list) else name


def named_alike(info: ModelInfo, rows: Sequence[object], verb: str) -> tuple[tuple[FieldInfo, ...], Sequence[Sequence[object]]] | None:
    """Dictionaries of the same names: the fields, and the values of each; None for other rows.

    Raises:
        QueryError: there is no such column, or it cannot be written.
    """
    if kinds_of(rows) != {dict}:
        return None
    named = typing.cast("Sequence[dict[object, object]]", rows)
    first = named[0]
    fields = tuple([field_named(info, name, verb) for name in first])
    # One column may be named twice: by its attribute and as itself.
    if not fields or len(set(fields)) < len(fields) or set(map(len, named)) != {len(first)}:
        return None
    try:
        return fields, [list(map(operator.itemgetter(name), named)) for name in first]
    except KeyError:
        return None


def checked(fields: Sequence[FieldInfo], columns: Sequence[Sequence[object]], verb: str, instead: str) -> tuple[ColumnValues, ...]:
    """Columns of plain values: each fits its field, and none is an expression or UNSET.

    Args:
        fields: of the columns.
        columns: the values of each.
        verb: that was given them.
        instead: what to do with expressions.

    Raises:
        QueryError, BindError: as `check_column`.
    """
    found = tuple([ColumnValues(column) for column in columns])
    for field, column in zip(fields, found, strict=True):
        if UnsetType in column.kinds:
            value_for(field, UNSET)  # which it refuses
        for kind in column.kinds:
            if issubclass(kind, Expression):
                raise QueryError(
                    f"{verb} takes plain values, and got {next(cell for cell in column if cell.__class__ is kind)} for {field.attribute}.\n"
                    f"To fix it: {instead}."
                )
        check_column(field, column)
    return found


def check_column(field: FieldInfo, column: ColumnValues) -> None:
    """Refuse values that do not fit their field; UNSET is not looked at.

    Raises:
        QueryError: a value's class does not fit.
        BindError: a moment without a time zone.
    """
    if field.nullable or _NONE not in column.kinds:
        valued = column.kinds - _NO_VALUE
        if not valued or (valued == {field.type.python} and (field.type.plain or _all_aware(field, column))):
            return
    for number, cell in enumerate(column, 1):
        if type(cell) is not UnsetType:
            try:
                check_cell(field, cell)
            except (QueryError, BindError) as error:
                raise type(error)(f"Row {number:,}: {error}") from None


def _all_aware(field: FieldInfo, column: ColumnValues) -> bool:
    """Whether these are moments, each with a time zone."""
    return field.type.family == "timestamptz" and column.kinds == {datetime.datetime} and None not in map(_zone, column)


def check_cell(field: FieldInfo, cell: object) -> None:
    """The same for one value, where it is not simply of the right class."""
    if cell is None:
        value_for(field, None)
    elif not accepts(field.type, cell):
        raise wrong_class(cell, field.type, of=field.column)
    else:
        check_aware(cell, field.type, of=field.column)
