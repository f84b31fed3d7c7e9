"""Values in PostgreSQL's own writing, as its input functions take them: for constants in DDL, and for bind values that go as text.

The contract: `text_form` gives the text alone. It is no SQL: whoever puts it into SQL quotes it, as `quote_literal` does.

Source: PostgreSQL manual, sections 8.15.2 (arrays), 8.16.2 (composite values), 8.17.5 (ranges), F.17 (hstore).
"""

from __future__ import annotations

import datetime
import decimal
import enum
import ipaddress
import json
import typing
import uuid
from collections.abc import Iterable

from trioorm.expression.types import SqlType
from trioorm.expression.user_made import is_composite, is_json
from trioorm.expression.values import Interval, Multirange, Range


def text_form(value: object, sql_type: SqlType | None) -> str:
    """A value, never None, in PostgreSQL's writing.

    Args:
        sql_type: its type, where it is known; a dict is an hstore or JSON by its type alone.

    Raises:
        TypeError: there is no writing for values of this class.
    """
    if is_json(sql_type):
        return _json(sql_type.codec.dump(value))
    if is_composite(sql_type):
        parts = zip(sql_type.split(value), sql_type.fields, strict=True)
        return f"({','.join(['' if part is None else _quoted(text_form(part, kind)) for part, (_, kind) in parts])})"
    match sql_type.family if sql_type is not None else "":
        case "jsonb":
            return _json(value)
        case "hstore":
            pairs = typing.cast("dict[str, str | None]", value).items()
            return ", ".join([f"{_quoted(key)}=>{'NULL' if held is None else _quoted(held)}" for key, held in pairs])
        case "vector":
            return f"[{','.join([repr(float(number)) for number in typing.cast('list[float]', value)])}]"
        case _:
            return _by_class(value, sql_type)


def _by_class(value: object, sql_type: SqlType | None) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case enum.Enum():
            from trioorm.expression.user_types import enum_label  # few need it

            return enum_label(value)
        case str():
            return str(value)
        case int() | float() | decimal.Decimal() | uuid.UUID():
            return str(value)
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds"
        case Interval():
            return f"{value.months} months {value.days} days {value.microseconds} microseconds"
        case ipaddress.IPv4Address() | ipaddress.IPv6Address() | ipaddress.IPv4Network() | ipaddress.IPv6Network():
            return str(value)
        case bytes() | bytearray():
            return "\\x" + value.hex()
        case dict():
            return _json(typing.cast("object", value))
        case Range():
            return _range(typing.cast("Range[object]", value), sql_type.subtype if sql_type is not None else None)
        case Multirange():
            subtype = sql_type.subtype if sql_type is not None else None
            return "{" + ",".join([_range(each, subtype) for each in typing.cast("Multirange[object]", value)]) + "}"
        case list() | tuple():
            return _array(typing.cast("list[object]", value), sql_type.element if sql_type is not None else None)
        case _:
            raise TypeError(f"no PostgreSQL type is known for a {type(value).__qualname__}")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _array(items: Iterable[object], element: SqlType | None) -> str:
    return "{" + ",".join(["NULL" if item is None else _quoted(text_form(item, element)) for item in items]) + "}"


def _range(value: Range[object], subtype: SqlType | None) -> str:
    if value.is_empty:
        return "empty"
    lower, upper = ("" if bound is None else _quoted(text_form(bound, subtype)) for bound in (value.lower, value.upper))
    return f"{value.bounds[0]}{lower},{upper}{value.bounds[1]}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
