"""Hydration: from a result of the server to the objects that a statement promised.

The contract: a `RowReader` is made once per compiled statement; `rows` takes a libpq result and gives a list of what one row is: a model's
object, a value, a tuple of both. Nothing waits here. Loading bytes is psycopg's, in C; what it does not know, or gives as other classes
than ours, is read as bytes and unpacked here (`unpacking.py`).
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, cast

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import Format
from psycopg.pq.abc import PGresult

from trioorm.compiler import Compiled, ModelResult, ResultItem, RowResult, ValueResult
from trioorm.database.unpacking import unpacker_for
from trioorm.errors import DataError, QueryError
from trioorm.expression import SqlType
from trioorm.model import model_of

__all__ = ["RowReader"]

_BYTEA = 17

Unpack = Callable[[bytes], Any]
Build = Callable[[Sequence[Any]], Any]


class RowReader:
    """Reads the rows of one compiled statement.

    Args:
        compiled: says what a row consists of.
    """

    __slots__ = ("_make", "_raw", "_transformer", "width")

    def __init__(self, compiled: Compiled) -> None:
        # Without a connection, psycopg's loaders take text as UTF-8 and give timestamps in UTC, which is what our sessions speak.
        self._transformer = Transformer()
        self._make, self.width = _row_maker(compiled)
        raw = _raw_columns(compiled)
        self._raw = raw if any(raw) else ()

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
        if self._raw:
            self._transformer.set_pgresult(result, set_loaders=False)
            oids = [_BYTEA if raw else result.ftype(number) for number, raw in enumerate(self._raw)]
            self._transformer.set_loader_types(oids, Format.BINARY)
        else:
            self._transformer.set_pgresult(result)
        try:
            return self._transformer.load_rows(first, result.ntuples if last is None else last, self._make)
        except psycopg.DataError as error:
            raise DataError(
                f"a value cannot be held in Python: {error}.\nTo fix it: leave it out with a condition, or cast it to text.",
                sqlstate="22000",
            ) from None
        except (struct.error, IndexError) as error:
            raise QueryError(
                "the server sent a value of another type than was declared.\nTo fix it: make the declared types agree with the statement."
            ) from error


def _row_maker(compiled: Compiled) -> tuple[Build, int | None]:
    """What makes one row from its values, and how many values it takes (None: any number)."""
    build, width = _item_maker(compiled)
    if compiled.into is None:
        return build, width
    make, keywords = compiled.into.make, compiled.into.keywords
    single = len(compiled.results) == 1

    def made_of(values: Sequence[Any]) -> Any:  # noqa: ANN401 - whatever the class makes
        items = (build(values),) if single else build(values)
        return make(*items) if keywords is None else make(**dict(zip(keywords, items, strict=True)))

    return made_of, width


def _item_maker(compiled: Compiled) -> tuple[Build, int | None]:
    """What makes the items of one row, a tuple of them or the only one."""
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
    if len(parts) == 1:
        build = parts[0][2]
        return build, at
    if all(isinstance(item, ValueResult) and _unpacker(item.type) is None for item in compiled.results):
        return tuple, at

    def make_tuple(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple([build(values[start:end]) for start, end, build in parts])

    return make_tuple, at


def _builder(item: ResultItem) -> Build:
    if isinstance(item, RowResult):
        return tuple
    if isinstance(item, ValueResult):
        convert = _unpacker(item.type)
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
    conversions = [(number, convert) for number, field in enumerate(fields) if (convert := _unpacker(field.type)) is not None]
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


def _unpacker(sql_type: SqlType | None) -> Unpack | None:
    return None if sql_type is None else unpacker_for(sql_type)


def _is_raw(sql_type: SqlType | None) -> bool:
    """Whether a column is read as bytes. Enums need not be asked for: psycopg knows none of them and hands their bytes on."""
    return _unpacker(sql_type) is not None and sql_type is not None and (sql_type.element or sql_type).enum is None


def _raw_columns(compiled: Compiled) -> tuple[bool, ...]:
    raw: list[bool] = []
    for item in compiled.results:
        if isinstance(item, ModelResult):
            by_attribute = model_of(item.model).by_attribute
            raw.extend(_is_raw(by_attribute[name].type) for name in item.columns)
        elif isinstance(item, ValueResult):
            raw.append(_is_raw(item.type))
    return tuple(raw)
