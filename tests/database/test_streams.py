"""Streams: rows come as they are read, memory stays flat, and leaving early frees the connection."""

import tracemalloc
import weakref
from typing import Any

import anyio.lowlevel
import pytest

from tests.database.zoo import Animal
from tests.wire.witness import Witness
from trioorm import ConnectionLost, Database, Transaction, insert, open_database, select, sql
from trioorm.errors import DataError, UsageError
from trioorm.testing import pool_is_whole, server_is_quiet

MANY = sql("SELECT n, repeat('x', 1000) FROM generate_series(1, 200000) n").returns(int, str)  # 200 MB


async def test_all_rows_come_in_order(dsn: str) -> None:
    async with open_database(dsn) as db:
        async with db.stream(sql("SELECT n FROM generate_series(1, 1234) n").returns(int), batch_rows=100) as numbers:
            assert [number async for number in numbers] == list(range(1, 1235))
        await pool_is_whole(db.statistics)


async def test_what_comes_behind_a_stream_has_all_its_rows(dsn: str) -> None:
    animals = select(Animal).order_by(Animal.id)
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        await db.insert_many([Animal(name=str(number)) for number in range(20)])

        async def stream_some(verbs: Database | Transaction) -> None:
            async with verbs.stream(animals, batch_rows=3) as some:
                await anext(some)

        for _ in range(3):  # the first time statements are prepared, which hides it
            await stream_some(db)
            assert [len(rows) for rows in await db.fetch_many(animals, animals)] == [20, 20]
            await stream_some(db)
            async with db.flight(commit=True) as flight:
                read = flight.fetch_all(animals)
            assert len(read.value) == 20
            async with db.transaction() as tx:
                await tx.fetch_all(animals)
                await stream_some(tx)
                assert [len(rows) for rows in await tx.fetch_many(animals, animals)] == [20, 20]


async def test_memory_does_not_grow_with_the_number_of_rows(dsn: str) -> None:
    async with open_database(dsn) as db:
        tracemalloc.start()
        try:
            seen = at_first = 0
            async with db.stream(MANY) as rows:
                async for _ in rows:
                    seen += 1
                    if seen == 1000:
                        tracemalloc.reset_peak()
                        at_first, _peak = tracemalloc.get_traced_memory()
                    if seen == 50_000:
                        break
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak - at_first < 5_000_000, "50 MB of rows went by"


async def test_objects_are_let_go_as_they_are_read(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        await db.insert_many([Animal(name=str(number)) for number in range(500)])
        alive: list[weakref.ref[Any]] = []
        async with db.stream(select(Animal), batch_rows=10) as animals:
            async for animal in animals:
                alive = [ref for ref in alive if ref() is not None]
                alive.append(weakref.ref(animal))
                assert len(alive) <= 12
                del animal


async def test_the_first_rows_are_there_before_the_last_are_made(dsn: str) -> None:
    """The whole would take a minute and more; each row is longer than the server's buffer."""
    slow = sql("SELECT n, repeat('x', 20000), pg_sleep(n / 100) FROM generate_series(98, 200) n").returns(int, str, str)
    async with open_database(dsn) as db:
        with anyio.fail_after(5):
            async with db.stream(slow, batch_rows=1) as rows:
                assert (await anext(rows))[0] == 98


@pytest.mark.parametrize("way", ["break", "error", "cancel"])
async def test_leaving_early_stops_the_statement_and_keeps_the_connection(dsn: str, witness: Witness, way: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        pid = await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int))
        with anyio.CancelScope() as scope:
            try:
                async with db.stream(MANY, batch_rows=10) as rows:
                    async for number, _ in rows:
                        if number == 25:
                            if way == "break":
                                break
                            if way == "error":
                                raise LookupError
                            scope.cancel()
                            await anyio.lowlevel.checkpoint()
            except LookupError:
                assert way == "error"
        assert scope.cancelled_caught == (way == "cancel")
        await pool_is_whole(db.statistics)
        await server_is_quiet(witness.connection)
        assert await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int)) == pid


async def test_an_error_after_rows(dsn: str) -> None:
    async with open_database(dsn) as db:
        seen: list[int] = []
        with pytest.raises(DataError, match="division by zero"):
            async with db.stream(sql("SELECT 10 / (4 - n) FROM generate_series(1, 9) n").returns(int), batch_rows=1) as rows:
                async for row in rows:
                    seen.append(row)  # noqa: PERF401 - the rows before the error are what is asked about
        assert seen == [3, 5, 10]
        await pool_is_whole(db.statistics)


async def test_a_connection_that_dies_under_a_stream(dsn: str, witness: Witness) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(ConnectionLost) as caught:
            async with db.stream(
                sql("SELECT pg_backend_pid(), repeat('x', 1000) FROM generate_series(1, 200000)").returns(int, str)
            ) as rows:
                pid, _ = await anext(rows)
                witness.terminate(pid)
                async for _ in rows:
                    pass
        assert caught.value.safe_to_retry
        await pool_is_whole(db.statistics)
        assert await db.fetch_value(sql("SELECT 7").returns(int)) == 7


async def test_a_slow_consumer_slows_the_server_down(dsn: str, witness: Witness) -> None:
    async with open_database(dsn) as db:
        pid = await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int))
        async with db.stream(MANY, batch_rows=10) as rows:
            await anext(rows)
            await witness.until_waiting(pid, "ClientWrite")


async def test_a_stream_of_a_write_gives_what_it_returns(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        statement = insert(Animal).values_from([Animal(name=str(number)) for number in range(50)]).returning(Animal.name)
        async with db.stream(statement, batch_rows=7) as names:
            assert [name async for name in names] == [str(number) for number in range(50)]
        assert len(await db.fetch_all(select(Animal))) == 50


async def test_several_streams_at_a_time(dsn: str) -> None:
    async with open_database(dsn, max_size=3) as db:
        async with db.stream(MANY, batch_rows=10) as first:
            await anext(first)
            async with db.stream(MANY, batch_rows=10) as second:
                assert (await anext(second))[0] == 1
                assert (await anext(first))[0] == 2
                assert await db.fetch_value(sql("SELECT 7").returns(int)) == 7


async def test_batches_of_no_rows_are_refused(dsn: str) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(UsageError, match="batch_rows must be at least 1, not 0"):
            db.stream(MANY, batch_rows=0)


async def test_a_copy_as_text_does_not_hang_a_stream(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE things (n int)")
    async with open_database(dsn) as db:
        with anyio.fail_after(5):
            for text in ("COPY things FROM STDIN", "COPY things TO STDOUT"):
                with pytest.raises(Exception, match=r"COPY|copy"):
                    async with db.stream(sql(text).returns(int)) as rows:
                        await anext(rows)
                with pytest.raises(Exception, match=r"COPY|copy"):
                    await db.execute(sql(text))
            assert await db.fetch_value(sql("SELECT 7").returns(int)) == 7
        await pool_is_whole(db.statistics)


async def test_a_stream_that_is_read_without_its_block_says_how(dsn: str) -> None:
    async with open_database(dsn) as db:
        stream = db.stream(sql("SELECT 1").returns(int))
        with pytest.raises(UsageError, match=r"async with db\.stream"):
            async for _ in stream:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
                pass
        assert db.statistics().requests_num == 0
