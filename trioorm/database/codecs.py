"""How values travel: from Python into PostgreSQL's binary or text format, and back where psycopg's own loaders do not fit.

The contract: `packer_for` gives, for each `SqlType`, the type's oid and a function from a Python value to bytes. A value that does not
fit is a `BindError` before anything is sent; its text names the parameter and its type, never the value. Packing is ours, not psycopg's,
because a plan knows the type of each parameter, so no value's class has to be looked up, and because naive timestamps must be refused.

Timestamps are aware and come back in UTC; infinity, which Python's types cannot hold, is an error of psycopg's loaders.

Source: PostgreSQL's send and receive functions (src/backend/utils/adt), and psycopg's dumpers, which write the same bytes.
"""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import json
import re
import struct
import uuid
from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import psycopg
from attrs import Factory, frozen
from psycopg.adapt import PyFormat
from psycopg.pq import Format

from trioorm.expression import Interval, Multirange, Range, SqlType
from trioorm.expression.user_made import is_composite, is_json
from trioorm.later import module_later

if TYPE_CHECKING:
    from trioorm.database import arrays
    from trioorm.expression import CompositeType, JsonType, text_form
else:
    arrays = module_later("trioorm.database.arrays")
    text_form = module_later("trioorm.expression.text_form")

__all__ = ["MISFITS", "Packer", "binary_packer_for", "framed", "packer_for", "parameter_packer_for"]

MISFITS = (struct.error, TypeError, ValueError, AttributeError, KeyError, OverflowError)
"""What packers raise for a value that does not fit."""

_EPOCH = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_DECIMAL = psycopg.adapters.get_dumper(decimal.Decimal, PyFormat.BINARY)(decimal.Decimal)  # in C where psycopg has it so
_NAIVE_EPOCH = datetime.datetime(2000, 1, 1)
_EPOCH_DAY = datetime.date(2000, 1, 1).toordinal()
_NUL_ESCAPE = r"(?<!\\)(?:\\\\)*\\u0000"
_NULL = struct.pack("!i", -1)
_MICROSECOND = datetime.timedelta(microseconds=1)


@frozen(eq=False, repr=False)
class Packer:
    """How one type's values are sent.

    Attributes:
        oid: the type's oid; 0 lets the server infer it, as for enums, whose oids differ between databases.
        array_oid: the oid of arrays of it; 0 likewise.
        format: of the bytes that `pack` makes.
        pack: from a value, never None, to bytes.
        pack_own: the same for a value that is known to be of exactly the type's class in Python.
    """

    oid: int
    array_oid: int
    format: Format
    pack: Callable[[Any], bytes]
    pack_own: Callable[[Any], bytes] = Factory(lambda packer: packer.pack, takes_self=True)


def _pack_bool(value: bool) -> bytes:
    _expect(value, bool)
    return b"\x01" if value else b"\x00"


def _integer_packer(oid: int, array_oid: int, code: str) -> Packer:
    pack = struct.Struct(code).pack

    def pack_integer(value: int) -> bytes:
        if value.__class__ is bool:
            raise TypeError("an int is expected, not a bool")
        return pack(value)

    return Packer(oid, array_oid, Format.BINARY, pack_integer, pack)


def _pack_text(value: str) -> bytes:
    if value.__class__ is not str:
        _expect(value, str)
    if "\0" in value:
        raise ValueError("text in PostgreSQL cannot hold the character NUL")
    return value.encode()


def _pack_bytes(value: bytes) -> bytes:
    _expect(value, bytes | bytearray | memoryview)
    return bytes(value)


def _exact(value: decimal.Decimal | float) -> decimal.Decimal:
    if isinstance(value, float):
        raise TypeError("a Decimal or an int is expected; a float is not exact (write Decimal('0.1'))")
    if type(value) is decimal.Decimal:
        exact = value
    else:
        _expect(value, decimal.Decimal | int)
        exact = decimal.Decimal(value)
    if exact.is_snan():
        raise ValueError("a signalling NaN has no place in PostgreSQL")
    return exact


def _pack_numeric(value: decimal.Decimal | float) -> bytes:
    return bytes(_DECIMAL.dump(_exact(value)) or b"")


def _pack_numeric_text(value: decimal.Decimal | float) -> bytes:
    text = str(_exact(value))
    return b"NaN" if "NaN" in text else text.encode()  # PostgreSQL has one, without sign and digits


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


def _pack_timetz(value: datetime.time) -> bytes:
    offset = value.utcoffset()
    if offset is None:
        raise TypeError("a time with time zone is expected (write value.replace(tzinfo=...), with a fixed offset)")
    return _pack_time(value.replace(tzinfo=None)) + struct.pack("!i", -(offset // datetime.timedelta(seconds=1)))


def _pack_timestamp(value: datetime.datetime) -> bytes:
    if value.tzinfo is not None:
        raise TypeError("a datetime without time zone is expected (write value.replace(tzinfo=None), once it is in the zone that is meant)")
    return struct.pack("!q", (value - _NAIVE_EPOCH) // _MICROSECOND)


def _pack_interval(value: datetime.timedelta | Interval) -> bytes:
    if isinstance(value, Interval):
        return struct.pack("!qii", value.microseconds, value.days, value.months)
    return struct.pack("!qii", value.seconds * 1_000_000 + value.microseconds, value.days, 0)


def _pack_uuid(value: uuid.UUID) -> bytes:
    return value.bytes


_write_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode  # json.dumps makes one for each value


def _pack_jsonb(value: object) -> bytes:
    text = _write_json(value)
    if "\\u0000" in text and re.search(_NUL_ESCAPE, text):
        raise ValueError("jsonb cannot hold the character NUL in a string")
    return b"\x01" + text.encode()


def _pack_bits(value: str) -> bytes:
    _expect(value, str)
    if value.strip("01"):
        raise ValueError("bits are written with 0 and 1")
    padded = value.ljust(-(-len(value) // 8) * 8, "0")
    return struct.pack("!i", len(value)) + bytes([int(padded[at : at + 8], 2) for at in range(0, len(padded), 8)])


def _hardware_packer(length: int) -> Callable[[str], bytes]:
    def pack_hardware_address(value: str) -> bytes:
        _expect(value, str)
        packed = bytes.fromhex(re.sub(r"[:.\- ]", "", value))
        if len(packed) != length:
            raise ValueError(f"a hardware address of {length} bytes is expected, as in {':'.join(['08'] * length)}")
        return packed

    return pack_hardware_address


def _pack_address(value: ipaddress.IPv4Interface | ipaddress.IPv6Interface | ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    _expect(value, ipaddress.IPv4Address | ipaddress.IPv6Address)
    bits = value.network.prefixlen if isinstance(value, (ipaddress.IPv4Interface, ipaddress.IPv6Interface)) else value.max_prefixlen
    return _network_bytes(value.version, bits, value.packed, is_cidr=False)


def _pack_network(value: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bytes:
    _expect(value, ipaddress.IPv4Network | ipaddress.IPv6Network)
    return _network_bytes(value.version, value.prefixlen, value.network_address.packed, is_cidr=True)


def _network_bytes(version: int, bits: int, packed: bytes, *, is_cidr: bool) -> bytes:
    return bytes((2 if version == 4 else 3, bits, is_cidr, len(packed))) + packed


def _pack_vector(value: Sequence[float]) -> bytes:
    _expect(value, list | tuple)
    return struct.pack(f"!hh{len(value)}f", len(value), 0, *value)


def _pack_hstore(value: dict[str, str | None]) -> bytes:
    _expect(value, dict)
    parts = [struct.pack("!i", len(value))]
    for key, held in value.items():
        packed = _pack_text(key)
        parts += (struct.pack("!i", len(packed)), packed)
        if held is None:
            parts.append(b"\xff\xff\xff\xff")
        else:
            packed = _pack_text(held)
            parts += (struct.pack("!i", len(packed)), packed)
    return b"".join(parts)


def _label_packer(sql_type: SqlType) -> Callable[[Enum], bytes]:
    """Packs the members of one enum and refuses those of others."""
    return {member: label.encode() for label, member in sql_type.labels.items()}.__getitem__


def _expect(value: object, kinds: Any) -> None:  # noqa: ANN401 - a class or a union of classes, as isinstance takes it
    if not isinstance(value, kinds):
        raise TypeError(f"a {getattr(kinds, '__name__', kinds)} is expected")


_BY_NAME: dict[str, Packer] = {
    "smallint": _integer_packer(21, 1005, "!h"),
    "integer": _integer_packer(23, 1007, "!i"),
    "bigint": _integer_packer(20, 1016, "!q"),
    "xid": _integer_packer(28, 1011, "!I"),
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
    "jsonpath": Packer(4072, 4073, Format.TEXT, _pack_text),
    "real": Packer(700, 1021, Format.BINARY, struct.Struct("!f").pack),
    "bpchar": Packer(1042, 1014, Format.BINARY, _pack_text),
    "citext": Packer(0, 0, Format.BINARY, _pack_text),
    "varchar": Packer(1043, 1015, Format.BINARY, _pack_text),
    "bit": Packer(1560, 1561, Format.BINARY, _pack_bits),
    "varbit": Packer(1562, 1563, Format.BINARY, _pack_bits),
    "timetz": Packer(1266, 1270, Format.BINARY, _pack_timetz),
    "timestamp": Packer(1114, 1115, Format.BINARY, _pack_timestamp),
    "inet": Packer(869, 1041, Format.BINARY, _pack_address),
    "cidr": Packer(650, 651, Format.BINARY, _pack_network),
    "macaddr": Packer(829, 1040, Format.BINARY, _hardware_packer(6)),
    "macaddr8": Packer(774, 775, Format.BINARY, _hardware_packer(8)),
    "regconfig": Packer(3734, 3735, Format.TEXT, _pack_text),  # its binary form is an oid
    "tsvector": Packer(3614, 3643, Format.TEXT, _pack_text),
    "tsquery": Packer(3615, 3645, Format.TEXT, _pack_text),
    "hstore": Packer(0, 0, Format.BINARY, _pack_hstore),
    "vector": Packer(0, 0, Format.BINARY, _pack_vector),
}

_RANGE_OIDS: dict[str, tuple[int, int]] = {
    "int4range": (3904, 3905), "int8range": (3926, 3927), "numrange": (3906, 3907), "daterange": (3912, 3913),
    "tsrange": (3908, 3909), "tstzrange": (3910, 3911),
    "int4multirange": (4451, 6150), "int8multirange": (4536, 6157), "nummultirange": (4532, 6151), "datemultirange": (4535, 6155),
    "tsmultirange": (4533, 6152), "tstzmultirange": (4534, 6153),
}  # fmt: skip


_NUMERIC_TEXT = Packer(1700, 1231, Format.TEXT, _pack_numeric_text)


def parameter_packer_for(sql_type: SqlType | None) -> Packer:
    """The packer of a value that stands alone: as `packer_for`, but a `numeric` goes as text, which takes a third of the time."""
    packer = packer_for(sql_type)
    return _NUMERIC_TEXT if packer is _BY_NAME["numeric"] else packer


@lru_cache(maxsize=2000)
def packer_for(sql_type: SqlType | None) -> Packer:
    """The packer of a type; for None, one that sends text whose type the server infers."""
    if sql_type is None:
        return _INFERRED
    kind = sql_type.bound
    if kind.element is not None:
        element = packer_for(kind.element)
        oid = element.oid if kind.element.has_fixed_oid else 0
        whole = arrays.array_form_for(kind.element.bound, oid)
        return _array_packer(element, kind, oid) if whole is None else _whole_array_packer(whole, element, kind)
    if kind.enum is not None:
        return Packer(0, 0, Format.TEXT, _label_packer(kind))
    if is_json(kind):
        return _json_packer(kind)
    if is_composite(kind):
        return _composite_packer(kind)
    if kind.subtype is not None:
        return _range_packer(kind, kind.subtype)
    return _BY_NAME[kind.name]


def binary_packer_for(sql_type: SqlType, element_oid: int = 0) -> Packer | None:
    """The packer of a type in binary, as COPY wants it; None where there is none.

    Args:
        sql_type: the type.
        element_oid: where this is an array, the oid of its elements if they have no fixed one; such a value alone needs none.
    """
    kind = sql_type.bound
    if kind.enum is not None:
        return Packer(0, 0, Format.BINARY, _label_packer(kind))
    if kind.element is not None:
        element = binary_packer_for(kind.element)
        if element is None:
            return None
        return _array_packer(element, kind, element_oid or element.oid)
    packer = packer_for(kind)
    return packer if packer.format is Format.BINARY else None


def _json_packer(kind: JsonType) -> Packer:
    dump = kind.codec.dump
    return Packer(3802, 3807, Format.BINARY, lambda value: _pack_jsonb(dump(value)))


def _range_packer(kind: SqlType, subtype: SqlType) -> Packer:
    """In binary where the bounds are; else as text, in PostgreSQL's writing."""
    inner = binary_packer_for(subtype)
    if inner is None:
        return Packer(0, 0, Format.TEXT, lambda value: _pack_text(text_form.text_form(_of_class(value, kind.python), kind)))
    bound = framed(inner)

    def pack_range(value: Range[Any]) -> bytes:
        _expect(value, Range)
        if value.is_empty:
            return b"\x01"
        flags = 2 * (value.bounds[0] == "[") | 4 * (value.bounds[1] == "]") | 8 * (value.lower is None) | 16 * (value.upper is None)
        return bytes((flags,)) + b"".join([bound(end) for end in (value.lower, value.upper) if end is not None])

    def pack_multirange(value: Multirange[Any]) -> bytes:
        _expect(value, Multirange)
        parts = [pack_range(each) for each in value]
        return struct.pack("!i", len(parts)) + b"".join([struct.pack("!i", len(part)) + part for part in parts])

    oid, array_oid = (0, 0) if kind.user_defined else _RANGE_OIDS[kind.name]
    return Packer(oid, array_oid, Format.BINARY, pack_multirange if kind.python is Multirange else pack_range)


def _composite_packer(kind: CompositeType) -> Packer:
    """In binary where each field has an oid that is known; else as text, in PostgreSQL's writing."""
    found = [binary_packer_for(field) for _, field in kind.fields]
    packers = [packer for packer in found if packer is not None and packer.oid]
    split = kind.split
    if len(packers) < len(found):
        return Packer(0, 0, Format.TEXT, lambda value: _pack_text(text_form.text_form(_of_class(value, kind.python), kind)))
    heads = [struct.pack("!I", packer.oid) for packer in packers]
    packs = [framed(packer) for packer in packers]
    count = struct.pack("!i", len(packers))

    def pack_composite(value: object) -> bytes:
        parts = [count]
        for head, pack, held in zip(heads, packs, split(_of_class(value, kind.python)), strict=True):
            parts += (head, b"\xff\xff\xff\xff" if held is None else pack(held))
        return b"".join(parts)

    return Packer(0, 0, Format.BINARY, pack_composite)


def _of_class(value: object, python: type) -> object:
    _expect(value, python)
    return value


def _whole_array_packer(whole: arrays.ArrayForm, element: Packer, kind: SqlType) -> Packer:
    """All values at a time; one by one where that fails, for what is wrong with which."""
    array_oid = element.array_oid if kind.has_fixed_oid else 0

    def pack(values: Sequence[object]) -> bytes:
        _expect(values, list | tuple)
        try:
            return whole.pack(values)
        except MISFITS:
            if whole.format is Format.TEXT:
                return _array_text(element, kind, values)
            return _pack_array(element.pack, element.oid, values)

    return Packer(array_oid, 0, whole.format, pack)


def _array_packer(element: Packer, kind: SqlType, oid: int) -> Packer:
    """In binary where the oid of the elements is known; else as text."""
    if oid and element.format is Format.BINARY:
        return Packer(
            element.array_oid if oid == element.oid else 0, 0, Format.BINARY, lambda values: _pack_array(element.pack, oid, values)
        )
    # Each element is packed as well, for what that refuses.
    array_oid = element.array_oid if kind.has_fixed_oid else 0
    return Packer(array_oid, 0, Format.TEXT, lambda values: _array_text(element, kind, values))


def _array_text(element: Packer, kind: SqlType, values: Sequence[object]) -> bytes:
    _expect(values, list | tuple)
    for value in values:
        if value is not None:
            element.pack(value)
    return _pack_text(text_form.text_form(values, kind))


def _pack_array(pack: Callable[[Any], bytes], oid: int, values: Sequence[object]) -> bytes:
    _expect(values, list | tuple)
    length = struct.Struct("!i").pack
    packed = [None if value is None else pack(value) for value in values]
    cells = [_NULL if each is None else length(len(each)) + each for each in packed]
    return arrays.array_header(oid, len(values), has_null=None in packed) + b"".join(cells)


def _pack_inferred(value: object) -> bytes:
    """The text form of a value whose type only the server knows."""
    if isinstance(value, datetime.datetime) and value.utcoffset() is None:
        raise TypeError("the datetime is naive, so it names no moment (write datetime.now(UTC), or value.replace(tzinfo=...))")
    return _pack_text(text_form.text_form(value, None))


_INFERRED = Packer(0, 0, Format.TEXT, _pack_inferred)


def framed(packer: Packer) -> Callable[[Any], bytes]:
    """The packer's bytes with their length before them, as COPY and arrays want them."""
    pack, length = packer.pack, struct.Struct("!i").pack

    def pack_framed(value: object) -> bytes:
        packed = pack(value)
        return length(len(packed)) + packed

    return pack_framed
