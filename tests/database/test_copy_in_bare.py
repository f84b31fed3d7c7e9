"""copy_in of rows into a table that has no model: the server says what its columns are."""

import datetime
import decimal
import ipaddress
import uuid
from collections.abc import Sequence

import psycopg
import pytest

from tests.wire.witness import Witness
from trioorm import BindError, Database, QueryError, Range, UniqueViolation, identifier, open_database, sql
from trioorm.errors import UndefinedTable
from trioorm.query import Identifier

WEIRD = 'Odd "name"'


@pytest.fixture(autouse=True)
def _tables(witness: Witness) -> None:
    witness.run(
        "CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE DOMAIN age AS smallint CHECK (VALUE >= 0); CREATE SCHEMA \"my shop\";"
        ' CREATE TABLE "my shop"."Odd ""name""" (id bigint PRIMARY KEY, "full name" text DEFAULT \'none\', gone int, age age);'
        ' ALTER TABLE "my shop"."Odd ""name""" DROP gone;'
        " CREATE TABLE kinds (i2 int2, i4 int4, i8 int8, n numeric(10, 2), f4 float4, f8 float8, b bool, t text, v varchar(9), c char(3),"
        " d date, ts timestamptz, iv interval, u uuid, j json, jb jsonb, ip inet, m mood, texts text[], moods mood[], r int4range,"
        " raw bytea, na name, p point, pts point[], tv tsvector, a age)"
    )


async def _rows(db: Database) -> list[tuple[int, str, int]]:
    text = sql("SELECT id, {name}, age FROM {table} ORDER BY id", name=identifier("full name"), table=identifier("my shop", WEIRD))
    return await db.fetch_all(text.returns(int, str, int))


async def test_rows_by_the_names_of_columns(dsn: str) -> None:
    async with open_database(dsn) as db:
        table = identifier("my shop", WEIRD)
        assert await db.copy_in(table, ((number, number % 9) for number in range(1200)), columns=["id", "age"]) == 1200
        assert await db.copy_in(table, [["last", 1, 5000]], columns=["full name", "age", "id"]) == 1
        assert await db.copy_in(table, [], columns=["id"]) == 0
        rows = await _rows(db)
        assert rows[:-1] == [(number, "none", number % 9) for number in range(1200)]
        assert rows[-1] == (5000, "last", 1)


async def test_rows_that_exist(dsn: str) -> None:
    async with open_database(dsn) as db:
        table = identifier("my shop", WEIRD)
        columns = ["id", "full name", "age"]
        await db.copy_in(table, [(1, "a", 1), (2, "b", 2)], columns=columns)
        assert await db.copy_in(table, [(1, "x", 9), (3, "c", 3)], columns=columns, on_conflict="do_nothing") == 1
        assert await db.copy_in(table, [(2, "B", 9), (4, "d", 4)], columns=columns, on_conflict="do_update", on="id") == 2
        assert await _rows(db) == [(1, "a", 1), (2, "B", 9), (3, "c", 3), (4, "d", 4)]
        async with db.transaction() as tx:
            assert await tx.copy_in(table, [(4, "D", 4)], columns=columns, on_conflict="do_update", on=["id"]) == 1
        with pytest.raises(QueryError, match="cannot tell which rows exist"):
            await db.copy_in(table, [(1, "x", 9)], columns=columns, on_conflict="do_update")
        with pytest.raises(UniqueViolation):
            await db.copy_in(table, [(9, "new", 9), (1, "x", 9)], columns=columns)
        assert (await _rows(db))[-1] == (4, "D", 4)


VALUES: dict[str, object] = {
    "i2": 1, "i4": 2, "i8": 2**40, "n": decimal.Decimal("1.50"), "f4": 0.5, "f8": 0.1, "b": True, "t": "té\tx", "v": "v", "c": "abc",
    "d": datetime.date(2020, 1, 2), "ts": datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC), "iv": datetime.timedelta(hours=3),
    "u": uuid.UUID(int=7), "j": {"a": [1, None]}, "jb": {"b": "x"}, "ip": ipaddress.ip_address("10.0.0.1"), "m": "sad",
    "texts": ["a", "b,c"], "moods": ["glad", "sad"], "raw": b"\0\xff", "na": "a name", "a": 5,
}  # fmt: skip


async def test_every_type_that_has_a_binary_form_here(dsn: str) -> None:
    names = list(VALUES)
    async with open_database(dsn) as db:
        assert await db.copy_in(identifier("kinds"), [list(VALUES.values()), [None] * len(names)], columns=names) == 2
        assert await db.copy_in(identifier("kinds"), [(Range(1, 5),)], columns=["r"]) == 1
    with psycopg.connect(dsn) as connection:
        connection.execute("SET TimeZone TO 'UTC'")
        moods = "moods::text[] AS moods, m::text AS m"
        rest = ", ".join(name for name in names if name not in ("moods", "m"))
        cursor = connection.execute(f"SELECT {rest}, {moods} FROM kinds".encode())
        first = cursor.fetchone()
        assert cursor.description is not None
        assert first is not None
        assert dict(zip([each.name for each in cursor.description], first, strict=True)) == VALUES
        assert cursor.fetchone() == (None,) * len(names)
        assert connection.execute("SELECT r::text FROM kinds WHERE r IS NOT NULL").fetchall() == [("[1,5)",)]


@pytest.mark.parametrize(
    ("table", "columns", "row", "error", "words"),
    [
        (identifier("nowhere"), ["id"], (1,), UndefinedTable, "nowhere"),
        (identifier("kinds"), ["i2", "tyop"], (1, 2), QueryError, "no column 'tyop'.*\n.*i2, i4, i8"),
        (identifier("kinds"), ["p"], (1,), QueryError, '"kinds".p is point, which cannot travel by COPY'),
        (identifier("kinds"), ["pts"], ([1],), QueryError, r'"kinds".pts is point\[\], which'),
        (identifier("kinds"), ["tv"], ("x",), QueryError, "tsvector, which cannot travel"),
        (identifier("kinds"), ["i2"], (2**20,), BindError, "smallint"),
        (identifier("kinds"), ["i2"], (1, 2), QueryError, 'copy_in into "kinds" met a tuple of 2, where a tuple of 1 is expected'),
        (identifier("kinds"), "i2", (1,), QueryError, "given by name"),
        (identifier("kinds"), [], (1,), QueryError, "given by name"),
    ],
)
async def test_what_is_refused(
    dsn: str, table: Identifier, columns: Sequence[str], row: Sequence[object], error: type[Exception], words: str
) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(error, match=words):
            await db.copy_in(table, [row], columns=columns)
        assert await db.fetch_value(sql("SELECT count(*) FROM kinds").returns(int)) == 0
