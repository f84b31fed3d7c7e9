"""The PostgreSQL types that columns and bind values have, and the Python types they stand for.

The contract: a `SqlType` is one of the constants below, perhaps with modifiers (`NUMERIC(10, 2)`), an array of one (`array_of`), or made
from a class of the user's (`user_types.py`). There is one object for each type, so types are compared and hashed by identity. This room
knows the names of types, not how their values travel: packing and unpacking are the hall's.

Source: PostgreSQL manual, chapter 8 (data types).
"""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import types
import typing
import uuid
from collections.abc import Mapping
from enum import Enum

import attrs

from trioorm.errors import ModelError
from trioorm.expression.values import Interval, Multirange, Range, TsQuery, TsVector


@attrs.frozen(eq=False, repr=False)
class SqlType:
    """One PostgreSQL type.

    Attributes:
        name: as PostgreSQL spells it in DDL and casts (`double precision`); for a type of the user's its bare name, not quoted; for an
            array the element's name and `[]`.
        python: the class of the values that a row of this type gives.
        element: what an array holds, None for all others.
        enum: the Python enum of an enum type, None for all others.
        family: types of one family can be compared with each other.
        rank: for numbers, which of two types holds the result of their arithmetic (the higher); 0 for all others.
        plain: a value whose class is exactly `python` needs no further look before it is bound.
        labels: for an enum type, PostgreSQL's labels with their members, in the order of declaration; else empty.
        classes: of the values that can be bound; subclasses of `python` when empty.
        modifiers: the numbers in parentheses: precision and scale, or a length.
        takes: how many modifiers there may be.
        bound_as: the type of its bind values where that is another: casting a value to `varchar(3)` would cut it off without a word, and
            to `varchar` does not.
        user_defined: the name is an identifier of the user's.
        extension: the extension that brings the type; empty for those of PostgreSQL itself.
        subtype: what a range or multirange is made of, None for all others.
    """

    name: str
    python: type
    element: SqlType | None = None
    enum: type[Enum] | None = None
    family: str = ""
    rank: int = 0
    plain: bool = True
    labels: Mapping[str, Enum] = attrs.field(factory=lambda: types.MappingProxyType({}))
    classes: tuple[type, ...] = attrs.field(default=(), kw_only=True)
    modifiers: tuple[int, ...] = attrs.field(default=(), kw_only=True)
    takes: int = attrs.field(default=0, kw_only=True)
    bound_as: SqlType | None = attrs.field(default=None, kw_only=True)
    user_defined: bool = attrs.field(default=False, kw_only=True)
    extension: str = attrs.field(default="", kw_only=True)
    subtype: SqlType | None = attrs.field(default=None, kw_only=True)

    def __call__(self, *modifiers: int) -> SqlType:
        """The type with modifiers: `NUMERIC(10, 2)`, `VARCHAR(20)`, `VECTOR(3)`.

        Raises:
            ModelError: the type takes none, or not these.
        """
        known = _MODIFIED.get((self, modifiers))
        if known is not None:
            return known
        if self.modifiers or not 1 <= len(modifiers) <= self.takes or any(type(number) is not int for number in modifiers):
            wanted = (
                f"takes {'one whole number' if self.takes == 1 else 'one or two whole numbers'}" if self.takes else "takes no modifiers"
            )
            raise ModelError(
                f"{self.name}{modifiers!r} is no type: {self.name} {wanted}.\nTo fix it: NUMERIC(10, 2), VARCHAR(20), VECTOR(3)."
            )
        if modifiers[0] < 1:
            raise ModelError(f"{self.name}{modifiers!r} holds nothing.\nTo fix it: give a number from 1.")
        made = attrs.evolve(self, modifiers=modifiers, bound_as=self.bound)
        return _MODIFIED.setdefault((self, modifiers), made)

    @property
    def bound(self) -> SqlType:
        """The type that its bind values have."""
        if self.bound_as is not None:
            return self.bound_as
        if self.element is None or self.element.user_defined:
            return self
        inner = self.element.bound
        return self if inner is self.element else array_of(inner)

    @property
    def has_fixed_oid(self) -> bool:
        """Whether the type has the same oid in every database. Those of users and of extensions have not."""
        if self.user_defined or self.extension:
            return False
        return self.element is None or self.element.has_fixed_oid

    def __repr__(self) -> str:
        return f"<SqlType {self.name}{self.modifiers or ''}>"


_MODIFIED: dict[tuple[SqlType, tuple[int, ...]], SqlType] = {}

SMALLINT = SqlType("smallint", int, family="number", rank=1)
INTEGER = SqlType("integer", int, family="number", rank=2)
BIGINT = SqlType("bigint", int, family="number", rank=3)
NUMERIC = SqlType("numeric", decimal.Decimal, family="number", rank=4, takes=2)
REAL = SqlType("real", float, family="number", rank=5)
DOUBLE = SqlType("double precision", float, family="number", rank=6)
BOOLEAN = SqlType("boolean", bool, family="boolean")
TEXT = SqlType("text", str, family="text")
VARCHAR = SqlType("varchar", str, family="text", takes=1)
CHAR = SqlType("bpchar", str, family="text", takes=1)
CITEXT = SqlType("citext", str, family="text", extension="citext")
BYTEA = SqlType("bytea", bytes, family="bytea")
VARBIT = SqlType("varbit", str, family="bit", takes=1)
BIT = SqlType("bit", str, family="bit", takes=1)
DATE = SqlType("date", datetime.date, family="date")
TIME = SqlType("time", datetime.time, family="time")
TIMETZ = SqlType("timetz", datetime.time, family="timetz")
TIMESTAMP = SqlType("timestamp", datetime.datetime, family="timestamp", plain=False)
TIMESTAMPTZ = SqlType("timestamptz", datetime.datetime, family="timestamptz", plain=False)
INTERVAL = SqlType("interval", datetime.timedelta, family="interval")
CALENDAR_INTERVAL = SqlType("interval", Interval, family="interval", classes=(Interval, datetime.timedelta))
UUID = SqlType("uuid", uuid.UUID, family="uuid")
XID = SqlType("xid", int, family="xid")
"""A transaction id of 32 bits, as the system column `xmin` holds it."""
JSONB = SqlType("jsonb", object, family="jsonb", plain=False)
JSONPATH = SqlType("jsonpath", str, family="jsonpath")
INET = SqlType("inet", ipaddress.IPv4Address, family="inet", classes=(ipaddress.IPv4Address, ipaddress.IPv6Address))
CIDR = SqlType("cidr", ipaddress.IPv4Network, family="inet", classes=(ipaddress.IPv4Network, ipaddress.IPv6Network))
MACADDR = SqlType("macaddr", str, family="macaddr")
MACADDR8 = SqlType("macaddr8", str, family="macaddr8")
TSVECTOR = SqlType("tsvector", TsVector, family="tsvector", classes=(TsVector,))
TSQUERY = SqlType("tsquery", TsQuery, family="tsquery", classes=(TsQuery,))
HSTORE = SqlType("hstore", dict, family="hstore", plain=False, extension="hstore")
VECTOR = SqlType("vector", list, family="vector", plain=False, takes=1, extension="vector")


def _range(name: str, subtype: SqlType) -> SqlType:
    return SqlType(name, Range, family=f"range of {subtype.family}", plain=False, subtype=subtype)


def _multirange(name: str, subtype: SqlType) -> SqlType:
    return SqlType(name, Multirange, family=f"multirange of {subtype.family}", plain=False, subtype=subtype)


INT4RANGE = _range("int4range", INTEGER)
INT8RANGE = _range("int8range", BIGINT)
NUMRANGE = _range("numrange", NUMERIC)
DATERANGE = _range("daterange", DATE)
TSRANGE = _range("tsrange", TIMESTAMP)
TSTZRANGE = _range("tstzrange", TIMESTAMPTZ)
INT4MULTIRANGE = _multirange("int4multirange", INTEGER)
INT8MULTIRANGE = _multirange("int8multirange", BIGINT)
NUMMULTIRANGE = _multirange("nummultirange", NUMERIC)
DATEMULTIRANGE = _multirange("datemultirange", DATE)
TSMULTIRANGE = _multirange("tsmultirange", TIMESTAMP)
TSTZMULTIRANGE = _multirange("tstzmultirange", TIMESTAMPTZ)

Json: typing.TypeAlias = typing.Union[dict[str, "Json | None"], list["Json | None"], str, int, float, bool]  # noqa: UP007 - `|` takes no forward name
"""The annotation of a jsonb column that may hold any JSON value; `Json | None` may be NULL too."""

IpAddress: typing.TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
"""The annotation of an inet column. An address with a network, such as 10.0.0.1/8, is an `ipaddress.IPv4Interface`, which is one too."""

IpNetwork: typing.TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
"""The annotation of a cidr column."""

BUILT_IN: tuple[SqlType, ...] = (
    SMALLINT, INTEGER, BIGINT, NUMERIC, REAL, DOUBLE, BOOLEAN, TEXT, VARCHAR, CHAR, CITEXT, BYTEA, BIT, VARBIT, DATE, TIME, TIMETZ,
    TIMESTAMP, TIMESTAMPTZ,
    INTERVAL, CALENDAR_INTERVAL, UUID, JSONB, JSONPATH, INET, CIDR, MACADDR, MACADDR8, TSVECTOR, TSQUERY, HSTORE, VECTOR,
    INT4RANGE, INT8RANGE, NUMRANGE, DATERANGE, TSRANGE, TSTZRANGE,
    INT4MULTIRANGE, INT8MULTIRANGE, NUMMULTIRANGE, DATEMULTIRANGE, TSMULTIRANGE, TSTZMULTIRANGE,
)  # fmt: skip

_ARRAYS: dict[SqlType, SqlType] = {}


def array_of(element: SqlType) -> SqlType:
    """The type of one-dimensional arrays of `element`; a row gives a list.

    Raises:
        ModelError: `element` is itself an array; PostgreSQL has no arrays of arrays, only arrays of more dimensions.
    """
    known = _ARRAYS.get(element)
    if known is not None:
        return known
    if element.element is not None:
        raise ModelError(
            f"There is no array of {element.name}.\n"
            "PostgreSQL's arrays of several dimensions are one type with those of one, and must be rectangular.\n"
            "To fix it: keep the value as jsonb, with column(type=JSONB)."
        )
    return _ARRAYS.setdefault(element, SqlType(f"{element.name}[]", list, element=element, family=f"{element.family}[]", plain=False))


_SIBLINGS: dict[SqlType, SqlType] = {}


def pair(range_type: SqlType, multirange_type: SqlType) -> None:
    """Note that the second is made of ranges of the first."""
    _SIBLINGS[range_type] = multirange_type
    _SIBLINGS[multirange_type] = range_type


for _one in BUILT_IN:
    if _one.python is Range:
        pair(_one, next(other for other in BUILT_IN if other.python is Multirange and other.subtype is _one.subtype))


def range_of(subtype: SqlType) -> SqlType | None:
    """PostgreSQL's own range type over a type; None when it has none."""
    return next((kind for kind in BUILT_IN if kind.python is Range and kind.subtype is subtype), None)


def is_range_value(value: object) -> bool:
    """Whether a value is a range or a multirange."""
    return isinstance(value, (Range, Multirange))


def sibling_of(kind: SqlType) -> SqlType:
    """The multirange type of a range type, and the other way round."""
    return _SIBLINGS[kind.bound]
