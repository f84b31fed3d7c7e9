"""Models with a column of each of the rarer types, an array of each, and each of them NULL."""

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any

import attrs

from trioorm import (
    BIT,
    CHAR,
    CITEXT,
    DOUBLE,
    HSTORE,
    INT4MULTIRANGE,
    INT4RANGE,
    MACADDR,
    MACADDR8,
    NUMERIC,
    REAL,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMETZ,
    TSRANGE,
    VARBIT,
    VARCHAR,
    VECTOR,
    Column,
    Interval,
    IpAddress,
    IpNetwork,
    JsonCodec,
    Model,
    Multirange,
    Range,
    TsQuery,
    TsVector,
    array_of,
    column,
    composite_type,
    domain_type,
    enum_type,
    extension,
    multirange_type,
    range_type,
)

EXTENSIONS = (extension("citext"), extension("hstore"), extension("vector"), extension("pg_trgm"))


class Colour(enum.Enum):
    RED = "red"
    SEA_GREEN = 'sea "green"'


@attrs.frozen
class Address:
    """As JSON and as a composite type."""

    street: str
    number: int | None = None
    price: decimal.Decimal = decimal.Decimal(0)


@attrs.frozen
class Corner:
    """A composite type whose fields need care: an enum, whose oid is not fixed, and an array."""

    name: str
    colour: Colour | None
    tags: list[str]


@dataclasses.dataclass(frozen=True)
class Visit:
    """Everything that typed JSON can carry."""

    id: uuid.UUID
    day: datetime.date
    moment: datetime.datetime
    colour: Colour
    addresses: list[Address]
    by_name: dict[str, Address | None]
    next: "Visit | None" = None


ADDRESS = composite_type(Address, name="an address")
CORNER = composite_type(Corner)
POSITIVE = domain_type("positive", NUMERIC(10, 2), check=lambda value: value > decimal.Decimal(0))
SHORT = domain_type("short", TEXT, not_null=False)
FLOATS = range_type("float range", DOUBLE, difference="float8mi")
HOURS = range_type("hours", TIME)
NAMES = range_type("names", TEXT, collation="C")
COLOURS = range_type("colour_range", enum_type(Colour))
PRICES = range_type("prices", POSITIVE)


class Rarity(Model, table="rarities"):
    """One column of each type."""

    key: Column[int] = column(primary_key=True)
    exact: Column[decimal.Decimal] = column(type=NUMERIC(10, 2))
    real: Column[float] = column(type=REAL)
    short: Column[str] = column(type=VARCHAR(5))
    code: Column[str] = column(type=CHAR(3))
    folded: Column[str] = column(type=CITEXT)
    bits: Column[str] = column(type=BIT(10))
    flags: Column[str] = column(type=VARBIT)
    clock: Column[datetime.datetime] = column(type=TIMESTAMP)
    opens: Column[datetime.time] = column(type=TIMETZ)
    span: Column[Interval]
    address: Column[IpAddress]
    network: Column[IpNetwork]
    hardware: Column[str] = column(type=MACADDR)
    hardware8: Column[str] = column(type=MACADDR8)
    pairs: Column[dict[str, str | None]] = column(type=HSTORE)
    vector: Column[list[float]] = column(type=VECTOR(3))
    small: Column[Range[int]] = column(type=INT4RANGE)
    whole: Column[Range[int]]
    exacts: Column[Range[decimal.Decimal]]
    days: Column[Range[datetime.date]]
    clocks: Column[Range[datetime.datetime]] = column(type=TSRANGE)
    moments: Column[Range[datetime.datetime]]
    smalls: Column[Multirange[int]] = column(type=INT4MULTIRANGE)
    wholes: Column[Multirange[int]]
    holidays: Column[Multirange[datetime.date]]
    shifts: Column[Multirange[datetime.datetime]]
    floats: Column[Range[float]] = column(type=FLOATS)
    hours: Column[Range[datetime.time]] = column(type=HOURS)
    names: Column[Range[str]] = column(type=NAMES)
    colours: Column[Range[Colour]] = column(type=COLOURS)
    prices: Column[Range[decimal.Decimal]] = column(type=PRICES)
    shifts_of_day: Column[Multirange[datetime.time]] = column(type=multirange_type(HOURS))
    home: Column[Address] = column(type=ADDRESS)
    corner: Column[Corner] = column(type=CORNER)
    price: Column[decimal.Decimal] = column(type=POSITIVE)
    note: Column[str] = column(type=SHORT)
    visit: Column[Visit] = column(json=True)
    places: Column[list[Address]] = column(json=True)
    upper: Column[str] = column(json=JsonCodec(str.lower, str.upper))


class ManyRarities(Model, table="many_rarities"):
    """An array of each."""

    key: Column[int] = column(primary_key=True)
    exact: Column[list[decimal.Decimal]] = column(type=array_of(NUMERIC(10, 2)))
    real: Column[list[float]] = column(type=array_of(REAL))
    short: Column[list[str]] = column(type=array_of(VARCHAR(5)))
    code: Column[list[str]] = column(type=array_of(CHAR(3)))
    folded: Column[list[str]] = column(type=array_of(CITEXT))
    bits: Column[list[str]] = column(type=array_of(BIT(10)))
    clock: Column[list[datetime.datetime]] = column(type=array_of(TIMESTAMP))
    opens: Column[list[datetime.time]] = column(type=array_of(TIMETZ))
    span: Column[list[Interval]]
    address: Column[list[IpAddress]]
    network: Column[list[IpNetwork]]
    hardware: Column[list[str]] = column(type=array_of(MACADDR))
    pairs: Column[list[dict[str, str | None]]] = column(type=array_of(HSTORE))
    vector: Column[list[list[float]]] = column(type=array_of(VECTOR(3)))
    whole: Column[list[Range[int]]]
    moments: Column[list[Range[datetime.datetime]]]
    wholes: Column[list[Multirange[int]]]
    floats: Column[list[Range[float]]] = column(type=array_of(FLOATS))
    colours: Column[list[Range[Colour]]] = column(type=array_of(COLOURS))
    home: Column[list[Address]] = column(type=array_of(ADDRESS))
    corner: Column[list[Corner]] = column(type=array_of(CORNER))
    note: Column[list[str]] = column(type=array_of(SHORT))


class NoRarity(Model, table="no_rarities"):
    """Each of them NULL."""

    key: Column[int] = column(primary_key=True)
    span: Column[Interval | None] = column(default=None)
    address: Column[IpAddress | None] = column(default=None)
    pairs: Column[dict[str, str | None] | None] = column(type=HSTORE, default=None)
    vector: Column[list[float] | None] = column(type=VECTOR(3), default=None)
    whole: Column[Range[int] | None] = column(default=None)
    wholes: Column[Multirange[int] | None] = column(default=None)
    floats: Column[Range[float] | None] = column(type=FLOATS, default=None)
    home: Column[Address | None] = column(type=ADDRESS, default=None)
    visit: Column[Visit | None] = column(json=True, default=None)
    words: Column[TsVector | None] = column(default=None)
    query: Column[TsQuery | None] = column(default=None)
    nothing_in_it: Column[list[Any] | None] = column(type=array_of(CITEXT), default=None)


class Copied(Model, table="copied"):
    """What can travel by COPY although the server's numbers for its types differ between databases."""

    key: Column[int] = column(primary_key=True)
    address: Column[IpAddress]
    pairs: Column[list[dict[str, str | None]]] = column(type=array_of(HSTORE))
    vectors: Column[list[list[float]]] = column(type=array_of(VECTOR(3)))
    floats: Column[Range[float]] = column(type=FLOATS)
    colours: Column[Range[Colour]] = column(type=COLOURS)
    home: Column[Address] = column(type=ADDRESS)
