"""How the columns of a result are read: as which type psycopg loads them, what is done to a column's values afterwards, and in which
format a statement's rows are best sent.

The contract: `column_of` looks at a type once. What is done to a column is done to all of its values together, which costs a fraction of
what it costs one by one: the JSON of a column is parsed as one array. Values that this does to are as if they had been read one by one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from psycopg.pq import Format

from trioorm.database.unpacking import unpacker_for
from trioorm.errors import DataError, QueryError
from trioorm.expression import SqlType
from trioorm.expression.user_made import is_json

if TYPE_CHECKING:
    from trioorm.expression import JsonType

__all__ = ["Convert", "ResultColumn", "best_format", "column_of"]

Convert: TypeAlias = Callable[[list[Any]], list[Any]]

_BYTEA = 17
_TEXT = 25

# What text costs a value over binary, in nanoseconds. Here are only types that PostgreSQL writes alike whatever the session's settings say
# (DateStyle, extra_float_digits, bytea_output); dates, though cheaper as text, would have to be trusted to nobody's changing them.
_TEXT_COSTS = {
    "smallint": 9, "integer": 9, "bigint": 9, "numeric": -200, "boolean": 0, "text": 0, "varchar": 0, "bpchar": 0, "citext": 0, "uuid": 18,
    "jsonb": 0,
}  # fmt: skip


class ResultColumn(NamedTuple):
    """One column of a result.

    Attributes:
        oid: of the type that psycopg is to load its values as; None for the type that the server names.
        convert: what is done to the loaded values, None among them; None when nothing is.
        text_costs: what a value costs more in text than in binary; None when it must be binary.
    """

    oid: int | None = None
    convert: Convert | None = None
    text_costs: int | None = None


_AS_LOADED = ResultColumn()


def best_format(columns: Iterable[ResultColumn]) -> Format:
    """The format for all columns together: libpq asks for all in one."""
    costs = [column.text_costs for column in columns]
    return Format.TEXT if None not in costs and sum(cast("list[int]", costs)) < 0 else Format.BINARY


@lru_cache(maxsize=2000)
def column_of(sql_type: SqlType | None) -> ResultColumn:
    """How a column of a type is read; of None, which only the server knows, by the server's word."""
    if sql_type is None:
        return _AS_LOADED
    kind = sql_type.bound
    if sql_type.element is None:
        if kind.enum is not None:
            return ResultColumn(_TEXT, _enum_column(kind), 0)
        if is_json(kind):
            return ResultColumn(_TEXT, _typed_json_column(kind), 0)
        if kind.name == "jsonb":
            return ResultColumn(_TEXT, _json_column, 0)
        if kind.extension == "citext":
            return ResultColumn(_TEXT, None, 0)
    unpack = unpacker_for(sql_type)
    if unpack is not None:
        return ResultColumn(_BYTEA, _unpacked_column(unpack))
    return ResultColumn(text_costs=_TEXT_COSTS.get(kind.name))


def _unpacked_column(unpack: Callable[[bytes], Any]) -> Convert:
    return lambda values: [None if value is None else unpack(value) for value in values]


def _enum_column(kind: SqlType) -> Convert:
    members: dict[str | None, object] = {None: None}
    members.update(kind.labels)

    def convert(values: list[str | None]) -> list[Any]:
        try:
            return list(map(members.__getitem__, values))
        except KeyError as error:
            raise DataError(
                f"the type {kind.name} has a label {error.args[0]!r}, which {kind.python.__qualname__} has no member for.\n"
                "To fix it: give the enum that member; the database's type was changed without it.",
                sqlstate="22000",
            ) from None

    return convert


def _typed_json_column(kind: JsonType) -> Convert:
    load = kind.codec.load

    def convert(values: list[str | None]) -> list[Any]:
        return [None if value is None else load(parsed) for value, parsed in zip(values, _json_column(values), strict=True)]

    return convert


def _json_column(values: list[str | None]) -> list[Any]:
    """The values of a column of jsonb, or json, whose texts were read; NULL and JSON's own null are both None.

    Parsed as one array: 0.29 µs a value where one by one takes 1.1, and equal keys are one string.
    """
    texts = ["null" if value is None else value for value in values] if None in values else cast("list[str]", values)
    # In binary a byte with the format's version, 1, stands before each jsonb; in JSON it can stand nowhere, as no control character can.
    try:
        joined = ",".join(texts).replace("\1", "")
    except TypeError:
        raise QueryError(
            "a value that is no JSON was declared as JSON.\nTo fix it: make the declared types agree with the statement."
        ) from None
    try:
        parsed = cast("list[Any]", json.loads(f"[{joined}]"))
    except (ValueError, RecursionError):
        parsed = []
    # Where that failed, one by one: what is nested to the limit is one level too deep in the array, and other lengths are other types.
    return parsed if len(parsed) == len(texts) else [_parsed(text.removeprefix("\1")) for text in texts]


def _parsed(text: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # whose texts quote nothing
        raise DataError(
            f"a JSON value cannot be held in Python: {type(error).__name__}: {error}.\n"
            "To fix it: leave it out with a condition, or cast it to text.",
            sqlstate="22000",
        ) from None
