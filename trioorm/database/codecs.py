"""How values travel: from Python into PostgreSQL's binary or text format, and back where psycopg's own loaders do not fit.

The contract: `packer_for` gives, for each `SqlType`, the type's oid and a function from a Python value to bytes. A value that does not
fit is a `BindError` before anything is sent; its text names the parameter and its type, never the value. Packing is ours, not psycopg's,
because a plan knows the type of each parameter, so no value's class has to be looked up, and because naive timestamps must be refused.

Timestamps are aware and come back in UTC; infinity, which Python's types cannot hold, is an error of psycopg's loaders.

Source: PostgreSQL's send and receive functions (src/backend/utils/adt), and psycopg's dumpers, which write the same bytes.
"""

import datetime
import decimal
import json
import re
import struct
import uuid
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, cast

from attrs import frozen
from psycopg.pq import Format
from psycopg.types.numeric import DecimalBinaryDumper

from trioorm.errors import BindError
from trioorm.expression import SqlType, enum_label

__all__ = ["MISFITS", "Packer", "binary_packer_for", "framed", "misfit", "pack_values", "packer_for"]

_EPOCH = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_DECIMAL = DecimalBinaryDumper(decimal.Decimal)
_EPOCH_DAY = datetime.date(2000, 1, 1).toordinal()
_NUL_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_MICROSECOND = datetime.timedelta(microseconds=1)


@frozen(eq=False)
class Packer:
    """How one type's values are sent.

    Attributes:
        oid: the type's oid; 0 lets the server infer it, as for enums, whose oids differ between databases.
        array_oid: the oid of arrays of it; 0 likewise.
        format: of the bytes that `pack` makes.
        pack: from a value, never None, to bytes.
    """

    oid: int
    array_oid: int
    format: Format
    pack: Callable[[Any], bytes]


def _pack_bool(value: bool) -> bytes:
    _expect(value, bool)
    return b"\x01" if value else b"\x00"


def _integer_packer(code: str) -> Callable[[int], bytes]:
    pack = struct.Struct(code).pack

    def pack_integer(value: int) -> bytes:
        if value.__class__ is bool:
            raise TypeError("an int is expected, not a bool")
        return pack(value)

    return pack_integer


def _pack_text(value: str) -> bytes:
    _expect(value, str)
    if "\0" in value:
        raise ValueError("text in PostgreSQL cannot hold the character NUL")
    return value.encode()


def _pack_bytes(value: bytes) -> bytes:
    _expect(value, bytes | bytearray | memoryview)
    return bytes(value)


def _pack_numeric(value: decimal.Decimal | float) -> bytes:
    if isinstance(value, float):
        raise TypeError("a Decimal or an int is expected; a float is not exact (write Decimal('0.1'))")
    _expect(value, decimal.Decimal | int)
    exact = decimal.Decimal(value)
    if exact.is_snan():
        raise ValueError("a signalling NaN has no place in PostgreSQL")
    return bytes(_DECIMAL.dump(exact) or b"")


def _pack_date(value: datetime.date) -> bytes:
    if isinstance(value, datetime.datetime):
        raise TypeError("a date is expected, not a datetime (use value.date())")
    return struct.pack("!i", value.toordinal() - _EPOCH_DAY)


def _pack_time(value: datetime.time) -> bytes:
    if value.tzinfo is not None:
        raise TypeError("a time without time zone is expected")
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return struct.pack("!q", seconds * 1_000_000 + value.microsecond)


def _pack_timestamptz(value: datetime.datetime) -> bytes:
    if value.utcoffset() is None:
        raise TypeError("the datetime is naive, so it names no moment (write datetime.now(UTC), or value.replace(tzinfo=...))")
    return struct.pack("!q", (value - _EPOCH) // _MICROSECOND)


def _pack_interval(value: datetime.timedelta) -> bytes:
    return struct.pack("!qii", value.seconds * 1_000_000 + value.microseconds, value.days, 0)


def _pack_uuid(value: uuid.UUID) -> bytes:
    return value.bytes


def _pack_jsonb(value: object) -> bytes:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    if _NUL_ESCAPE.search(text):
        raise ValueError("jsonb cannot hold the character NUL in a string")
    return b"\x01" + text.encode()


def _pack_label(value: Enum) -> bytes:
    return enum_label(value).encode()


def _label_packer(sql_type: SqlType) -> Callable[[Enum], bytes]:
    """Packs the members of one enum and refuses those of others."""
    return {member: label.encode() for label, member in sql_type.labels.items()}.__getitem__


def _expect(value: object, kinds: Any) -> None:  # noqa: ANN401 - a class or a union of classes, as isinstance takes it
    if not isinstance(value, kinds):
        raise TypeError(f"a {getattr(kinds, '__name__', kinds)} is expected")


_BY_NAME: dict[str, Packer] = {
    "smallint": Packer(21, 1005, Format.BINARY, _integer_packer("!h")),
    "integer": Packer(23, 1007, Format.BINARY, _integer_packer("!i")),
    "bigint": Packer(20, 1016, Format.BINARY, _integer_packer("!q")),
    "numeric": Packer(1700, 1231, Format.BINARY, _pack_numeric),
    "double precision": Packer(701, 1022, Format.BINARY, struct.Struct("!d").pack),
    "boolean": Packer(16, 1000, Format.BINARY, _pack_bool),
    "text": Packer(25, 1009, Format.BINARY, _pack_text),
    "bytea": Packer(17, 1001, Format.BINARY, _pack_bytes),
    "date": Packer(1082, 1182, Format.BINARY, _pack_date),
    "time": Packer(1083, 1183, Format.BINARY, _pack_time),
    "timestamptz": Packer(1184, 1185, Format.BINARY, _pack_timestamptz),
    "interval": Packer(1186, 1187, Format.BINARY, _pack_interval),
    "uuid": Packer(2950, 2951, Format.BINARY, _pack_uuid),
    "jsonb": Packer(3802, 3807, Format.BINARY, _pack_jsonb),
}


def packer_for(sql_type: SqlType | None) -> Packer:
    """The packer of a type; for None, one that sends text whose type the server infers."""
    if sql_type is None:
        return _INFERRED
    if sql_type.element is not None:
        return _array_packer(packer_for(sql_type.element))
    if sql_type.enum is not None:
        return Packer(0, 0, Format.TEXT, _label_packer(sql_type))
    return _BY_NAME[sql_type.name]


def binary_packer_for(sql_type: SqlType, element_oid: int = 0) -> Packer:
    """The packer of a type in binary, as COPY wants it.

    Args:
        sql_type: the type.
        element_oid: the oid of an enum whose array this is; an enum alone needs none, its binary form is its label.
    """
    if sql_type.enum is not None:
        return Packer(0, 0, Format.BINARY, _label_packer(sql_type))
    if sql_type.element is not None and sql_type.element.enum is not None:
        return _array_packer(Packer(0, element_oid, Format.BINARY, _label_packer(sql_type.element)), element_oid)
    return packer_for(sql_type)


def _array_packer(element: Packer, element_oid: int = 0) -> Packer:
    oid = element.oid or element_oid
    if element.format is Format.BINARY:
        return Packer(element.array_oid, 0, Format.BINARY, lambda values: _pack_array(element.pack, oid, values))
    return Packer(element.array_oid, 0, Format.TEXT, lambda values: _array_literal(element, values))


def _pack_array(pack: Callable[[Any], bytes], oid: int, values: Sequence[object]) -> bytes:
    _expect(values, list | tuple)
    if not values:
        return struct.pack("!iii", 0, 0, oid)
    has_null = False
    parts: list[bytes] = []
    for value in values:
        if value is None:
            has_null = True
            parts.append(b"\xff\xff\xff\xff")
        else:
            packed = pack(value)
            parts.append(struct.pack("!i", len(packed)))
            parts.append(packed)
    return struct.pack("!iiiii", 1, has_null, oid, len(values), 1) + b"".join(parts)


def _array_literal(element: Packer, values: Sequence[object]) -> bytes:
    _expect(values, list | tuple)
    return b"{" + b",".join(b"NULL" if value is None else _quoted(element.pack(value)) for value in values) + b"}"


def _quoted(text: bytes) -> bytes:
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _pack_inferred(value: object) -> bytes:
    """The text form of a value whose type only the server knows."""
    match value:
        case bool():
            return b"true" if value else b"false"
        case bytes() | bytearray():
            return b"\\x" + value.hex().encode()
        case datetime.datetime() if value.utcoffset() is None:
            raise TypeError("the datetime is naive, so it names no moment (write datetime.now(UTC), or value.replace(tzinfo=...))")
        case datetime.date() | datetime.time():
            return value.isoformat().encode()
        case datetime.timedelta():
            return f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds".encode()
        case Enum():
            return _pack_label(value)
        case list() | tuple():
            return _array_literal(_INFERRED, cast("Sequence[object]", value))
        case dict():
            return _pack_jsonb(cast("object", value))[1:]
        case str():
            return _pack_text(value)
        case int() | float() | decimal.Decimal() | uuid.UUID():
            return str(value).encode()
        case _:
            raise TypeError(f"no PostgreSQL type is known for a {type(value).__qualname__}")


_INFERRED = Packer(0, 0, Format.TEXT, _pack_inferred)


MISFITS = (struct.error, TypeError, ValueError, AttributeError, KeyError, OverflowError)
"""What packers raise for a value that does not fit."""


def framed(packer: Packer) -> Callable[[Any], bytes]:
    """The packer's bytes with their length before them, as COPY and arrays want them."""
    pack, length = packer.pack, struct.Struct("!i").pack

    def pack_framed(value: object) -> bytes:
        packed = pack(value)
        return length(len(packed)) + packed

    return pack_framed


def pack_values(packers: Sequence[Packer], values: Sequence[object], types: Sequence[SqlType | None]) -> list[bytes | None]:
    """The parameters of one execution.

    Raises:
        BindError: a value does not fit its type; nothing was sent.
    """
    try:
        return [None if value is None else packer.pack(value) for packer, value in zip(packers, values, strict=True)]
    except MISFITS:
        raise misfit(packers, values, types) from None


def misfit(packers: Sequence[Packer], values: Sequence[object], types: Sequence[SqlType | None]) -> BindError:
    """The error for the first of these values that cannot be packed."""
    for number, (packer, value, sql_type) in enumerate(zip(packers, values, types, strict=True), 1):
        if value is None:
            continue
        try:
            packer.pack(value)
        except struct.error:
            reason = "it is not a number of that type, or out of its range"
        except (AttributeError, KeyError):
            reason = "it has another class"
        except (TypeError, ValueError, OverflowError) as error:
            reason = str(error)
        else:
            continue
        name = sql_type.name if sql_type is not None else "the type that the server would infer"
        return BindError(
            f"parameter ${number} cannot be sent as {name}: {reason}. Its class is {type(value).__qualname__}; nothing was sent.\n"
            "To fix it: convert the value, or give the column another type (`column(type=...)`)."
        )
    raise AssertionError("packing failed once and not twice")
