"""How values come home where psycopg's own loaders do not fit: from PostgreSQL's binary format to our classes.

The contract: `unpacker_for` gives, for a type that needs one, a function from the bytes of a value to the value; None for types that
psycopg loads as we want them. A column with an unpacker is read as bytes.

Source: PostgreSQL's send functions (src/backend/utils/adt: array_send, range_send, multirange_send, record_send, tsvectorsend, tsquerysend,
inet is psycopg's), hstore_send, and pgvector's vector_send.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import Format

from trioorm.expression import Interval, Multirange, Range, SqlType, TsQuery, TsVector
from trioorm.expression.user_made import is_composite, is_domain, is_json

if TYPE_CHECKING:
    from trioorm.expression import CompositeType

__all__ = ["unpacker_for"]

Unpack = Callable[[bytes], Any]
_OIDS = psycopg.adapters.types
_LENGTH = struct.Struct("!i")


@lru_cache(maxsize=2000)
def unpacker_for(sql_type: SqlType) -> Unpack | None:
    """What turns the bytes of a value into the value that the type promises; None where psycopg's loader does."""
    if is_domain(sql_type.element):  # psycopg knows domains for what they are made of, and not arrays of them
        held = _any_unpacker(sql_type.element)
        return lambda data: _array(data, held)
    kind = sql_type.bound
    if kind.enum is not None:
        return {label.encode(): member for label, member in kind.labels.items()}.__getitem__
    if kind.element is not None:
        element = unpacker_for(kind.element)
        if element is None:
            return None
        return lambda data: _array(data, element)
    if is_json(kind):
        load = kind.codec.load
        return lambda data: load(json.loads(data[1:]))
    if is_composite(kind):
        return _composite_unpacker(kind)
    if kind.subtype is not None:
        bound = _any_unpacker(kind.subtype)
        if kind.python is Multirange:
            return lambda data: Multirange(_range(part, bound) for part in _parts(data, 4, _LENGTH.unpack_from(data)[0]))
        return lambda data: _range(data, bound)
    if kind.python is Interval:
        return _interval
    return _BY_FAMILY.get(kind.family) if kind.extension != "citext" else bytes.decode


def _any_unpacker(sql_type: SqlType) -> Unpack:
    """An unpacker for the inside of another value, where psycopg's loaders must be asked by hand."""
    own = unpacker_for(sql_type)
    if own is not None:
        return own
    name = sql_type.bound.name
    info = _OIDS[name[:-2] if sql_type.element is not None else name]
    oid = info.array_oid if sql_type.element is not None else info.oid
    return Transformer().get_loader(oid, Format.BINARY).load


def _parts(data: bytes, at: int, count: int) -> list[bytes]:
    """`count` values, each with its length before it."""
    found: list[bytes] = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(data, at)
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def _array(data: bytes, element: Unpack) -> list[Any]:
    dimensions = _LENGTH.unpack_from(data)[0]
    if dimensions == 0:
        return []
    count = _LENGTH.unpack_from(data, 12)[0]
    values: list[Any] = []
    at = 20
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(data, at)
        at += 4
        if length < 0:
            values.append(None)
        else:
            values.append(element(data[at : at + length]))
            at += length
    return values


_EMPTY, _LOWER_IN, _UPPER_IN, _LOWER_INFINITE, _UPPER_INFINITE = 1, 2, 4, 8, 16


def _range(data: bytes, bound: Unpack) -> Range[Any]:
    flags = data[0]
    if flags & _EMPTY:
        return Range.empty()
    lower = upper = None
    at = 1
    if not flags & _LOWER_INFINITE:
        (length,) = _LENGTH.unpack_from(data, at)
        lower = bound(data[at + 4 : at + 4 + length])
        at += 4 + length
    if not flags & _UPPER_INFINITE:
        upper = bound(data[at + 4 :])
    if flags & _LOWER_IN:
        return Range(lower, upper, "[]" if flags & _UPPER_IN else "[)")
    return Range(lower, upper, "(]" if flags & _UPPER_IN else "()")


def _composite_unpacker(kind: CompositeType) -> Unpack | None:
    if not kind.fields:
        return None
    fields = [_any_unpacker(field) for _, field in kind.fields]
    make = kind.make

    def unpack(data: bytes) -> object:
        values: list[Any] = []
        at = 4
        for load in fields:
            (length,) = _LENGTH.unpack_from(data, at + 4)
            at += 8
            if length < 0:
                values.append(None)
            else:
                values.append(load(data[at : at + length]))
                at += length
        return make(*values)

    return unpack


def _interval(data: bytes) -> Interval:
    microseconds, days, months = struct.unpack("!qii", data)
    return Interval(months, days, microseconds)


def _vector(data: bytes) -> list[float]:
    (count,) = struct.unpack_from("!h", data)
    return list(struct.unpack_from(f"!{count}f", data, 4))


def _hstore(data: bytes) -> dict[str, str | None]:
    store: dict[str, str | None] = {}
    at = 4
    for _ in range(_LENGTH.unpack_from(data)[0]):
        (length,) = _LENGTH.unpack_from(data, at)
        key = data[at + 4 : at + 4 + length].decode()
        at += 4 + length
        (length,) = _LENGTH.unpack_from(data, at)
        at += 4
        if length < 0:
            store[key] = None
        else:
            store[key] = data[at : at + length].decode()
            at += length
    return store


def _bits(data: bytes) -> str:
    (length,) = _LENGTH.unpack_from(data)
    return "".join([f"{byte:08b}" for byte in data[4:]])[:length]


def _hardware_address(data: bytes) -> str:
    return data.hex(":")


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


def _tsvector(data: bytes) -> TsVector:
    words: list[str] = []
    at = 4
    for _ in range(_LENGTH.unpack_from(data)[0]):
        end = data.index(b"\0", at)
        word = _quoted(data[at:end].decode())
        (count,) = struct.unpack_from("!H", data, end + 1)
        positions = struct.unpack_from(f"!{count}H", data, end + 3)
        at = end + 3 + 2 * count
        marks = ",".join([f"{position & 0x3FFF}{'DCBA'[position >> 14].replace('D', '')}" for position in positions])
        words.append(f"{word}:{marks}" if marks else word)
    return TsVector(" ".join(words))


_OPERATORS = {1: "!", 2: "&", 3: "|", 4: "<->"}
_STRENGTH = {"|": 1, "&": 2, "<": 3, "!": 4}


def _tsquery(data: bytes) -> TsQuery:
    (count,) = _LENGTH.unpack_from(data)
    if count == 0:
        return TsQuery("")
    text, _, _ = _tsquery_item(data, 4)
    return TsQuery(text)


def _tsquery_item(data: bytes, at: int) -> tuple[str, int, int]:
    """One item with those beneath it, how strongly it binds, and where the next begins. The right operand comes before the left."""
    if data[at] == 1:
        weight, prefix = data[at + 1], data[at + 2]
        end = data.index(b"\0", at + 3)
        marks = ("*" if prefix else "") + "".join([letter for bit, letter in ((8, "A"), (4, "B"), (2, "C"), (1, "D")) if weight & bit])
        word = _quoted(data[at + 3 : end].decode())
        return (f"{word}:{marks}" if marks else word), 5, end + 1
    operator = _OPERATORS[data[at + 1]]
    at += 2
    if operator == "<->":
        (distance,) = struct.unpack_from("!H", data, at)
        operator = "<->" if distance == 1 else f"<{distance}>"
        at += 2
    own = _STRENGTH[operator[0]]
    right, strength, at = _tsquery_item(data, at)
    # A phrase within a phrase keeps its parentheses: a <-> (b <-> c) is not (a <-> b) <-> c.
    right = f"( {right} )" if strength < own or (operator[0] == "<" and strength == own) else right
    if operator == "!":
        return f"!{right}", own, at
    left, strength, at = _tsquery_item(data, at)
    left = f"( {left} )" if strength < own else left
    return f"{left} {operator} {right}", own, at


_BY_FAMILY: dict[str, Unpack] = {
    "xid": lambda data: struct.unpack("!I", data)[0],
    "vector": _vector,
    "hstore": _hstore,
    "bit": _bits,
    "macaddr": _hardware_address,
    "macaddr8": _hardware_address,
    "tsvector": _tsvector,
    "tsquery": _tsquery,
}
