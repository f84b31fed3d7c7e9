"""Hydration: from a result of the server to the objects that a statement promised.

The contract: a `RowReader` is made once per compiled statement; `rows` takes a libpq result and gives a list of what one row is: a model's
object, a value, a tuple of both. Nothing waits here. Loading bytes is psycopg's, in C; what it does not know are enums (their oids differ
between databases), whose labels are looked up here.
"""

import struct
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, cast

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq.abc import PGresult

from trioorm.compiler import Compiled, ModelResult, ResultItem, RowResult, ValueResult
from trioorm.errors import DataError, QueryError
from trioorm.expression import SqlType
from trioorm.model import model_of

__all__ = ["RowReader"]

Convert = Callable[[Any], Any]
Build = Callable[[Sequence[Any]], Any]


class RowReader:
    """Reads the rows of one compiled statement.

    Args:
        compiled: says what a row consists of.
    """

    __slots__ = ("_make", "_transformer", "width")

    def __init__(self, compiled: Compiled) -> None:
        # Without a connection, psycopg's loaders take text as UTF-8 and give timestamps in UTC, which is what our sessions speak.
        self._transformer = Transformer()
        self._make, self.width = _row_maker(compiled)

    def rows(self, result: PGresult, first: int = 0, last: int | None = None) -> list[Any]:
        """The rows from `first` up to `last`, all when None.

        Raises:
            QueryError: the result has another number of columns than was declared.
            DataError: a value cannot be held in Python, such as an infinite date.
        """
        if self.width is not None and result.nfields != self.width:
            raise QueryError(
                f"the statement gave {result.nfields} columns, but {self.width} were declared.\n"
                "To fix it: make the declared types or the model agree with the statement."
            )
        self._transformer.set_pgresult(result)
        try:
            return self._transformer.load_rows(first, result.ntuples if last is None else last, self._make)
        except psycopg.DataError as error:
            raise DataError(
                f"a value cannot be held in Python: {error}.\nTo fix it: leave it out with a condition, or cast it to text.",
                sqlstate="22000",
            ) from None


def _row_maker(compiled: Compiled) -> tuple[Build, int | None]:
    """What makes one row from its values, and how many values it takes (None: any number)."""
    if not compiled.results:
        return tuple, 0
    if isinstance(compiled.results[0], RowResult):
        return tuple, None
    parts: list[tuple[int, int, Build]] = []
    at = 0
    for item in compiled.results:
        width = len(item.columns) if isinstance(item, ModelResult) else 1
        parts.append((at, at + width, _builder(item)))
        at += width
    if compiled.scalar:
        build = parts[0][2]
        return build, at
    if all(isinstance(item, ValueResult) and _converter(item.type) is None for item in compiled.results):
        return tuple, at

    def make_tuple(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple([build(values[start:end]) for start, end, build in parts])

    return make_tuple, at


def _builder(item: ResultItem) -> Build:
    if isinstance(item, RowResult):
        return tuple
    if isinstance(item, ValueResult):
        convert = _converter(item.type)
        if convert is None:
            return _only
        return lambda values: None if values[0] is None else convert(values[0])
    return _object_builder(item)


def _only(values: Sequence[Any]) -> Any:  # noqa: ANN401 - whatever the column holds
    return values[0]


def _object_builder(item: ModelResult) -> Build:
    """What makes an object without `__init__`: its values come from the server and need no check."""
    model = item.model
    info = model_of(model)
    fields = [info.by_attribute[name] for name in item.columns]
    setters = [
        cast("Callable[[Any, Any], None]", vars(_owner_of_slot(model, field.attribute))[field.attribute].__set__) for field in fields
    ]
    conversions = [(number, convert) for number, field in enumerate(fields) if (convert := _converter(field.type)) is not None]
    new = object.__new__

    def build(values: Sequence[Any]) -> object:
        made = cast("object", new(model))
        for set_slot, value in zip(setters, values, strict=True):
            set_slot(made, value)
        return made

    def build_converted(values: Sequence[Any]) -> object:
        converted = list(values)
        for number, convert in conversions:
            if converted[number] is not None:
                converted[number] = convert(converted[number])
        return build(converted)

    make = build_converted if conversions else build
    if not item.optional:
        return make
    # The optional side of an outer join is absent when all of it is NULL; a row that exists has a primary key.
    return lambda values: None if all(value is None for value in values) else make(values)


def _owner_of_slot(model: type, attribute: str) -> type:
    return next(owner for owner in model.__mro__ if attribute in vars(owner))


def _converter(sql_type: SqlType | None) -> Convert | None:
    """What turns a value as psycopg loads it into the value that the type promises; None when they are the same."""
    if sql_type is None:
        return None
    if sql_type.enum is not None:
        return {label.encode(): member for label, member in sql_type.labels.items()}.__getitem__
    if sql_type.element is not None and (element := _converter(sql_type.element)) is not None:
        return lambda data: _enum_array(data, element)
    return None


def _enum_array(data: bytes, convert: Callable[[bytes], Enum]) -> list[Enum | None]:
    """An array of an enum, which psycopg hands on as PostgreSQL's binary array of one dimension.

    Source: array_send in PostgreSQL's src/backend/utils/adt/arrayfuncs.c.
    """
    dimensions = struct.unpack_from("!i", data)[0]
    if dimensions == 0:
        return []
    count = struct.unpack_from("!i", data, 12)[0]
    members: list[Enum | None] = []
    at = 20
    for _ in range(count):
        (length,) = struct.unpack_from("!i", data, at)
        at += 4
        if length < 0:
            members.append(None)
        else:
            members.append(convert(data[at : at + length]))
            at += length
    return members
