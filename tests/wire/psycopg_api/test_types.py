"""psycopg's adaptation on our connection: every catalogue look-up that it makes asynchronously, and loaders and dumpers of one's own."""

from enum import Enum
from ipaddress import IPv4Address
from typing import LiteralString, NamedTuple
from uuid import UUID

import pytest
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import TransactionStatus
from psycopg.types import TypeInfo
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.json import Jsonb, set_json_dumps, set_json_loads
from psycopg.types.multirange import Multirange, MultirangeInfo, register_multirange
from psycopg.types.range import Range, RangeInfo, register_range

from tests.wire.psycopg_api.covers import covers
from tests.wire.witness import Witness, works
from trioorm.wire import AnyIOConnection


class Mood(Enum):
    SAD = "sad"
    GLAD = "glad"


class Point(NamedTuple):
    x: int
    y: float


async def _same(connection: AnyIOConnection, value: object, cast: LiteralString) -> object:
    """What comes back when a value is sent and asked for."""
    row = await (await connection.execute(f"SELECT %s::{cast}", [value])).fetchone()
    assert row is not None
    return row[0]


@covers(AsyncConnection, "adapters")
@pytest.mark.parametrize("autocommit", [True, False])
async def test_types_are_fetched_and_registered(dsn: str, witness: Witness, autocommit: bool) -> None:
    witness.run("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    witness.run("CREATE TYPE point2 AS (x int, y float8)")
    witness.run("CREATE TYPE span AS RANGE (subtype = text, multirange_type_name = spans)")
    async with await AnyIOConnection.connect(dsn, autocommit=autocommit) as connection:
        mood = await EnumInfo.fetch(connection, "mood")
        point = await CompositeInfo.fetch(connection, "point2")
        span = await RangeInfo.fetch(connection, "span")
        spans = await MultirangeInfo.fetch(connection, "spans")
        assert mood is not None
        assert point is not None
        assert span is not None
        assert spans is not None
        assert await TypeInfo.fetch(connection, "nothing") is None
        assert connection.info.transaction_status == TransactionStatus.IDLE, "the look-up leaves the connection as it found it"
        register_enum(mood, connection, Mood, mapping={each: each.value for each in Mood})
        register_composite(point, connection, Point)
        register_range(span, connection)
        register_multirange(spans, connection)
        plain = await TypeInfo.fetch(connection, "uuid")
        assert plain is not None
        plain.register(connection)
        assert connection.adapters.types["mood"].oid == mood.oid
        assert await _same(connection, Mood.GLAD, "mood") is Mood.GLAD
        assert await _same(connection, [Mood.GLAD, Mood.SAD], "mood[]") == [Mood.GLAD, Mood.SAD]
        assert await _same(connection, Point(1, 2.5), "point2") == Point(1, 2.5)
        assert await _same(connection, Range("a", "c"), "span") == Range("a", "c")
        assert await _same(connection, Multirange([Range("a", "c")]), "spans") == Multirange([Range("a", "c")])


async def test_a_look_up_inside_a_transaction_leaves_it_open(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn) as connection:
        await connection.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
        info = await EnumInfo.fetch(connection, "mood")
        assert info is not None
        assert list(info.labels) == ["sad", "glad"]
        assert connection.info.transaction_status == TransactionStatus.INTRANS
        await connection.rollback()


async def test_values_of_common_types(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        values: list[tuple[object, LiteralString]] = [
            (7, "int8"),
            (True, "bool"),
            ("é", "text"),
            (b"\0\1", "bytea"),
            (UUID(int=7), "uuid"),
            (IPv4Address("10.0.0.1"), "inet"),
            (Range(1, 5), "int4range"),
            ([[1, 2], [3, None]], "int[]"),
            (None, "text"),
        ]
        for value, cast in values:
            assert await _same(connection, value, cast) == value
        assert await _same(connection, Jsonb({"a": [1]}), "jsonb") == {"a": [1]}
        set_json_dumps(lambda value: '"dumped"', connection)
        set_json_loads(lambda text: "loaded", connection)
        assert await _same(connection, Jsonb(1), "jsonb") == "loaded"


class Money(NamedTuple):
    cents: int


class MoneyDumper(Dumper):
    oid = 23

    def dump(self, obj: Money) -> bytes:
        return str(obj.cents).encode()


class MoneyLoader(Loader):
    def load(self, data: Buffer) -> Money:
        return Money(int(bytes(data)))


class NothingLoader(Loader):
    def load(self, data: Buffer) -> str:
        return "nothing"


@covers(AsyncConnection, "adapters")
async def test_loaders_and_dumpers_of_ones_own(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection, await AnyIOConnection.connect(dsn) as other:
        connection.adapters.register_dumper(Money, MoneyDumper)
        connection.adapters.register_loader("int4", MoneyLoader)
        assert await _same(connection, Money(7), "int4") == Money(7)
        cursor = connection.cursor()
        cursor.adapters.register_loader("int4", NothingLoader)
        await cursor.execute("SELECT 7")
        assert await cursor.fetchone() == ("nothing",)
        assert await _same(connection, Money(8), "int4") == Money(8), "a cursor's adapters are its own"
        assert await _same(other, 7, "int4") == 7, "and so are a connection's"
        assert await works(connection)
