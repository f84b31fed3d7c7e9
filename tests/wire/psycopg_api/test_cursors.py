"""psycopg's cursors of every kind: client, raw, client-side binding, named, named and raw; their results, rows and streams."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import anyio
import psycopg
import pytest
from attrs import frozen
from psycopg import (
    AsyncClientCursor,
    AsyncConnection,
    AsyncCursor,
    AsyncRawCursor,
    AsyncRawServerCursor,
    AsyncServerCursor,
    pq,
    rows,
    sql,
)

from tests.wire.psycopg_api.covers import covers
from tests.wire.witness import Witness, works
from trioorm.wire import AnyIOConnection

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_NUMBERS = "SELECT n FROM generate_series(1, 10) n"


@frozen
class Person:
    name: str
    age: int


@covers(
    AsyncCursor,
    "execute fetchone fetchmany fetchall arraysize rowcount rownumber scroll description statusmessage pgresult closed close connection "
    "adapters format",
)
async def test_a_client_cursor(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        async with connection.cursor() as cursor:
            assert cursor.connection is connection
            assert cursor.adapters is not None
            assert (cursor.description, cursor.rownumber, cursor.rowcount, cursor.pgresult) == (None, None, -1, None)
            assert await cursor.execute(_NUMBERS) is cursor
            assert (cursor.rowcount, cursor.rownumber, cursor.statusmessage, cursor.format) == (10, 0, "SELECT 10", pq.Format.TEXT)
            assert cursor.description is not None
            assert (cursor.description[0].name, cursor.description[0].type_display) == ("n", "int4")
            assert cursor.pgresult is not None
            assert await cursor.fetchone() == (1,)
            cursor.arraysize = 2
            assert await cursor.fetchmany() == [(2,), (3,)]
            assert await cursor.fetchmany(1) == [(4,)]
            assert cursor.rownumber == 4
            await cursor.scroll(-2)
            assert await cursor.fetchone() == (3,)
            await cursor.scroll(8, mode="absolute")
            assert [row async for row in cursor] == [(9,), (10,)]
            with pytest.raises(IndexError):
                await cursor.scroll(99)
            assert await cursor.fetchall() == []
            assert await cursor.fetchone() is None
        assert cursor.closed
        await cursor.close()
        with pytest.raises(psycopg.InterfaceError, match="closed"):
            await cursor.execute("SELECT 1")


@covers(AsyncCursor, "execute format")
async def test_parameters_and_binary_results(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        cursor = connection.cursor(binary=True)
        assert cursor.format == pq.Format.BINARY
        await cursor.execute("SELECT %(a)s::int4, %(b)s::text, %(c)s::int[], %(d)s::text", {"a": 7, "b": "é", "c": [1, 2], "d": None})
        assert await cursor.fetchone() == (7, "é", [1, 2], None)
        await cursor.execute("SELECT %b::int8 + %t::int", [40, 2], binary=False, prepare=True)
        assert await cursor.fetchone() == (42,)
        await cursor.execute(sql.SQL("SELECT {} AS {}").format(sql.Literal("quoted'"), sql.Identifier('a "name"')))
        assert await cursor.fetchone() == ("quoted'",)
        with pytest.raises(psycopg.ProgrammingError, match="placeholders"):
            await cursor.execute("SELECT %s", [1, 2])
        assert await works(connection)


@covers(AsyncCursor, "execute nextset results set_result fetchall")
async def test_several_results(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute("SELECT 1; SELECT 2; SELECT 3")
        assert await cursor.fetchall() == [(1,)]
        assert cursor.nextset()
        assert await cursor.fetchall() == [(2,)]
        await cursor.set_result(0)
        assert [await each.fetchall() async for each in cursor.results()] == [[(1,)], [(2,)], [(3,)]]
        await cursor.set_result(-1)
        assert not cursor.nextset()
        with pytest.raises(IndexError):
            await cursor.set_result(3)


@covers(AsyncCursor, "executemany rowcount results setinputsizes setoutputsize")
async def test_executemany(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text PRIMARY KEY, age int)")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        cursor = connection.cursor()
        cursor.setinputsizes([1])
        cursor.setoutputsize(1)
        await cursor.executemany("INSERT INTO person VALUES (%s, %s)", [(f"p{n}", n) for n in range(300)])
        assert cursor.rowcount == 300
        await cursor.executemany(
            "UPDATE person SET age = age + 1 WHERE age = %s RETURNING name", ([n] for n in (1, 100, 1000)), returning=True
        )
        assert [await each.fetchall() async for each in cursor.results()] == [[("p1",)], [("p100",)], []]
        with pytest.raises(psycopg.errors.UniqueViolation):
            await cursor.executemany("INSERT INTO person VALUES (%s, 0)", [("new",), ("p1",), ("newer",)])
        assert witness.value("SELECT count(*) FROM person") == 300, "the statements of one executemany are one implicit transaction"
        await cursor.executemany("SELECT %s", [])
        assert await works(connection)


@covers(AsyncCursor, "executemany")
async def test_executemany_inside_a_pipeline(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text PRIMARY KEY, age int)")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        async with connection.pipeline(), connection.cursor() as cursor:
            await cursor.executemany("INSERT INTO person VALUES (%s, %s) RETURNING age", [("a", 1), ("b", 2)], returning=True)
            assert [await each.fetchone() async for each in cursor.results()] == [(1,), (2,)]
        assert await works(connection)


@covers(AsyncCursor, "stream")
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_stream(dsn: str, size: int) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        cursor = connection.cursor()
        stream = cursor.stream("SELECT n FROM generate_series(1, %s) n", [100], binary=True, size=size)
        assert [n async for (n,) in stream] == list(range(1, 101))
        assert [row async for row in cursor.stream("SELECT 1 WHERE false", size=size)] == []
        with pytest.raises(psycopg.errors.DivisionByZero):
            async for _ in cursor.stream("SELECT 1 / (50 - n) FROM generate_series(1, 100) n", size=size):
                pass
        with pytest.raises(psycopg.ProgrammingError):
            async for _ in cursor.stream("CREATE TABLE t (n int)", size=size):
                pass
        assert await works(connection)


@covers(AsyncCursor, "stream")
async def test_a_statement_of_the_task_that_streams_is_refused_at_once(dsn: str) -> None:
    """psycopg would wait for ever; the way out that the text names works."""
    async with await AnyIOConnection.connect(dsn) as connection:
        with anyio.fail_after(5):
            numbers = cast("AsyncGenerator[tuple[int]]", connection.cursor().stream(_NUMBERS))
            async with aclosing(numbers):
                async for _ in numbers:
                    with pytest.raises(psycopg.ProgrammingError, match=r"connection\.cursor\(name=\.\.\.\)"):
                        await connection.execute("SELECT 1")
                    break
            seen = 0
            async with connection.cursor(name="numbers") as cursor:
                await cursor.execute(_NUMBERS)
                async for (n,) in cursor:
                    assert await (await connection.execute("SELECT %s::int + 1", [n])).fetchone() == (n + 1,)
                    seen += 1
            assert seen == 10


@covers(AsyncCursor, "row_factory")
@covers(AsyncConnection, "row_factory")
async def test_every_row_factory(dsn: str) -> None:
    def of_arguments(name: str, age: int) -> tuple[str, int]:
        return age, name  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    def mine(cursor: AsyncCursor[Any]) -> rows.RowMaker[tuple[object, ...]]:
        width = len(cursor.description or ())
        return lambda values: (width, *values)

    factories: list[tuple[Any, object]] = [
        (rows.tuple_row, ("Ada", 36)),
        (rows.dict_row, {"name": "Ada", "age": 36}),
        (rows.scalar_row, "Ada"),
        (rows.namedtuple_row, ("Ada", 36)),
        (rows.class_row(Person), Person("Ada", 36)),
        (rows.args_row(Person), Person("Ada", 36)),
        (rows.kwargs_row(of_arguments), (36, "Ada")),
        (mine, (2, "Ada", 36)),
    ]
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        for factory, expected in factories:
            cursor = connection.cursor(row_factory=factory)
            assert cursor.row_factory is factory
            await cursor.execute("SELECT 'Ada' AS name, 36 AS age")
            assert await cursor.fetchone() == expected
        changed: AsyncCursor[Any] = connection.cursor()
        changed.row_factory = rows.dict_row
        await changed.execute("SELECT 1 AS n")
        assert await changed.fetchall() == [{"n": 1}]
        untyped: AnyIOConnection[Any] = connection
        untyped.row_factory = rows.scalar_row
        assert await (await untyped.execute("SELECT 7")).fetchone() == 7


@covers(AsyncClientCursor, "mogrify")
@covers(AsyncConnection, "cursor_factory server_cursor_factory")
async def test_cursors_of_other_kinds(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, cursor_factory=AsyncClientCursor) as connection:
        client = connection.cursor()
        assert isinstance(client, AsyncClientCursor)
        assert client.mogrify("SELECT %s, %s", ["it's", None]) == "SELECT 'it''s', NULL"
        await client.execute("SELECT %s; SELECT %s", ["a", "b"])
        assert client.nextset()
        assert await client.fetchone() == ("b",)
        connection.cursor_factory = AsyncRawCursor
        raw = connection.cursor()
        assert isinstance(raw, AsyncRawCursor)
        assert await (await raw.execute("SELECT $1::int + $2", [1, 2])).fetchone() == (3,)
        assert [row async for row in raw.stream("SELECT $1::int", [7], size=5)] == [(7,)]
        assert await (await AsyncRawCursor(connection).execute("SELECT $1::int", [8])).fetchone() == (8,), "made by hand"
        connection.server_cursor_factory = AsyncRawServerCursor
        async with connection.cursor("raw") as named:
            assert isinstance(named, AsyncRawServerCursor)
            await named.execute("SELECT n FROM generate_series(1, $1) n", [5])
            assert await named.fetchall() == [(1,), (2,), (3,), (4,), (5,)]
        await connection.commit()
        assert await works(connection)


@covers(
    AsyncServerCursor,
    "name scrollable withhold itersize execute fetchone fetchmany fetchall scroll rownumber arraysize close closed description row_factory",
)
async def test_a_named_cursor(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn) as connection:
        async with connection.cursor("one", scrollable=True, row_factory=rows.scalar_row) as cursor:
            assert (cursor.name, cursor.scrollable, cursor.withhold, cursor.itersize) == ("one", True, False, 100)
            cursor.itersize = 3
            await cursor.execute("SELECT n FROM generate_series(1, %s) n", [10], binary=True)
            assert cursor.description is not None
            assert await cursor.fetchone() == 1
            assert await cursor.fetchmany(2) == [2, 3]
            cursor.arraysize = 1
            assert await cursor.fetchmany() == [4]
            assert cursor.rownumber == 4
            await cursor.scroll(-3)
            assert await cursor.fetchone() == 2
            await cursor.scroll(6, mode="absolute")
            assert [n async for n in cursor] == [7, 8, 9, 10]
            await cursor.scroll(0, mode="absolute")
            assert await cursor.fetchall() == list(range(1, 11))
            with pytest.raises(psycopg.NotSupportedError):
                await cursor.executemany("SELECT %s", [[1]])
            cursor.row_factory = rows.tuple_row
            await cursor.execute("SELECT 1")
            assert await cursor.fetchall() == [(1,)], "used again, it is declared again"
        assert cursor.closed
        await cursor.close()
        await connection.rollback()
        assert await works(connection)


@covers(AsyncServerCursor, "withhold fetchmany close fetchall")
async def test_a_named_cursor_that_outlives_its_transaction_and_one_that_is_stolen(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn) as connection:
        cursor = connection.cursor("held", withhold=True)
        assert cursor.withhold
        await cursor.execute(_NUMBERS)
        await connection.commit()
        assert await cursor.fetchmany(2) == [(1,), (2,)]
        await connection.commit()
        await connection.set_autocommit(True)
        assert await cursor.fetchmany(2) == [(3,), (4,)]
        await cursor.close()
        assert await (await connection.execute("SELECT count(*) FROM pg_cursors")).fetchone() == (0,)
        async with connection.transaction():
            await connection.execute(f"DECLARE stolen CURSOR FOR {_NUMBERS}")
            async with connection.cursor("stolen") as stolen:
                assert len(await stolen.fetchall()) == 10
        assert await works(connection)


@covers(AsyncConnection, "pipeline")
async def test_what_pipelines_refuse(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        async with connection.pipeline():
            with pytest.raises(psycopg.ProgrammingError, match="pipeline"):
                async for _ in connection.cursor().stream("SELECT 1"):
                    pass
            named = connection.cursor("named")
            with pytest.raises(psycopg.NotSupportedError, match="pipeline"):
                await named.execute("SELECT 1")
        await named.close()
        assert await works(connection)


async def test_a_cursor_class_of_ones_own_keeps_what_it_adds(dsn: str) -> None:
    class Counting(AsyncRawCursor[Any]):
        made = 0

        def _make_row_maker(self) -> rows.RowMaker[Any]:
            Counting.made += 1
            return super()._make_row_maker()

    class NamedCounting(AsyncServerCursor[Any]):
        async def fetchall(self) -> list[Any]:
            return [*await super().fetchall(), "end"]

    async with await AnyIOConnection.connect(dsn, cursor_factory=Counting) as connection:
        connection.server_cursor_factory = NamedCounting
        await connection.execute("SELECT $1", ["a"])
        assert Counting.made == 1
        async with connection.cursor("c") as cursor:
            await cursor.execute("SELECT 1")
            assert await cursor.fetchall() == [(1,), "end"]
