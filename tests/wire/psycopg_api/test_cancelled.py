"""psycopg's API cancelled at every suspension in every way: nothing is half done, and the connection can be used again.

A cancelled scope raises at every wait on the way out, also in the ends of psycopg's blocks, which wait for the server.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast

import anyio
import anyio.lowlevel
import psycopg
import pytest
from psycopg import AsyncRawCursor, AsyncRawServerCursor
from psycopg.types.enum import EnumInfo

from tests.wire.witness import Witness, works
from trioorm.testing import SweepRun, server_is_quiet, sweep
from trioorm.wire import AnyIOConnection

_MANY = "SELECT n, repeat('x', 1000) FROM generate_series(1, 100000) n"

Operation = Callable[[AnyIOConnection], Awaitable[None]]


async def _execute(connection: AnyIOConnection) -> None:
    await connection.execute("SELECT pg_sleep(0.003)")


async def _executemany(connection: AnyIOConnection) -> None:
    await connection.cursor().executemany("INSERT INTO person SELECT %s FROM pg_sleep(0.002)", [["a"], ["b"]], returning=True)


async def _executemany_in_a_pipeline(connection: AnyIOConnection) -> None:
    async with connection.pipeline():
        await connection.cursor().executemany("INSERT INTO person SELECT %s FROM pg_sleep(0.002)", [["a"], ["b"]])


async def _pipeline(connection: AnyIOConnection) -> None:
    async with connection.pipeline() as pipeline:
        first = await connection.execute("INSERT INTO person VALUES ('a') RETURNING name")
        await connection.execute("INSERT INTO person SELECT 'b' FROM pg_sleep(0.003)")
        await first.fetchone()
        await anyio.lowlevel.checkpoint()
        await connection.execute("SELECT 1")
        await pipeline.sync()


async def _transaction(connection: AnyIOConnection) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO person VALUES ('a')")
        async with connection.transaction():
            await connection.execute("SELECT 1")
            await anyio.lowlevel.checkpoint()
        async with connection.transaction(force_rollback=True):
            await connection.execute("INSERT INTO person VALUES ('c')")
        await connection.execute("INSERT INTO person SELECT 'b' FROM pg_sleep(0.003)")


async def _transaction_in_a_pipeline(connection: AnyIOConnection) -> None:
    async with connection.pipeline(), connection.transaction():
        await connection.execute("INSERT INTO person VALUES ('a')")
        await connection.execute("INSERT INTO person SELECT 'b' FROM pg_sleep(0.003)")


async def _explicit_transaction(connection: AnyIOConnection) -> None:
    try:
        await connection.set_autocommit(False)
        await connection.execute("INSERT INTO person VALUES ('a')")
        await connection.execute("INSERT INTO person VALUES ('b')")
        await connection.commit()
    except BaseException:
        await connection.rollback()
        raise
    finally:
        connection._autocommit = True  # pyright: ignore[reportPrivateUsage] - without waiting


async def _two_phases(connection: AnyIOConnection) -> None:
    prepared = False
    try:
        await connection.set_autocommit(False)
        await connection.tpc_begin("swept")
        await connection.execute("INSERT INTO person VALUES ('a')")
        await connection.execute("INSERT INTO person VALUES ('b')")
        await connection.tpc_prepare()
        prepared = True
        await connection.tpc_commit()
    except BaseException:
        if connection._tpc:  # pyright: ignore[reportPrivateUsage] - nothing else tells
            await connection.tpc_rollback()
        raise
    finally:
        connection._autocommit = True  # pyright: ignore[reportPrivateUsage] - without waiting
    assert prepared


async def _stream(connection: AnyIOConnection) -> None:
    rows = cast("AsyncGenerator[Any]", connection.cursor().stream("SELECT n FROM generate_series(1, 5) n", size=2))
    async with aclosing(rows):
        async for _ in rows:
            await anyio.lowlevel.checkpoint()


async def _stream_left_early(connection: AnyIOConnection) -> None:
    rows = cast("AsyncGenerator[Any]", connection.cursor().stream(_MANY, size=10))
    async with aclosing(rows):
        await anext(rows)


async def _raw_stream(connection: AnyIOConnection) -> None:
    connection.cursor_factory = AsyncRawCursor
    await _stream(connection)


async def _copy_in(connection: AnyIOConnection) -> None:
    async with connection.cursor().copy("COPY person FROM STDIN") as copy:
        await copy.write_row(["a"])
        await anyio.lowlevel.checkpoint()
        await copy.write_row(["b" * 300_000])


async def _raw_copy_in(connection: AnyIOConnection) -> None:
    connection.cursor_factory = AsyncRawCursor
    await _copy_in(connection)


async def _copy_out(connection: AnyIOConnection) -> None:
    async with connection.cursor().copy("COPY (SELECT generate_series(1, 3)) TO STDOUT") as copy:
        async for _ in copy.rows():
            await anyio.lowlevel.checkpoint()


async def _copy_out_left_early(connection: AnyIOConnection) -> None:
    try:
        async with connection.cursor().copy(f"COPY ({_MANY}) TO STDOUT") as copy:
            await copy.read()
            raise LookupError
    except LookupError:
        pass


async def _copy_out_left_by_break(connection: AnyIOConnection) -> None:
    async with connection.cursor().copy(f"COPY ({_MANY}) TO STDOUT") as copy:
        await copy.read()


async def _named_cursor(connection: AnyIOConnection) -> None:
    async with connection.cursor("held", withhold=True, scrollable=True) as cursor:
        await cursor.execute("SELECT n FROM generate_series(1, 9) n")
        cursor.itersize = 4
        async for _ in cursor:
            await anyio.lowlevel.checkpoint()
        await cursor.scroll(0, mode="absolute")
        await cursor.fetchall()


async def _raw_named_cursor(connection: AnyIOConnection) -> None:
    connection.server_cursor_factory = AsyncRawServerCursor
    await _named_cursor(connection)


async def _notifies(connection: AnyIOConnection) -> None:
    await connection.execute("LISTEN news")
    await connection.execute("NOTIFY news, 'one'")
    async for _ in connection.notifies(stop_after=1):
        pass
    async for _ in connection.notifies(timeout=0.005):
        pass


async def _fetch_type(connection: AnyIOConnection) -> None:
    info = await EnumInfo.fetch(connection, "mood")
    assert info is not None


async def _settings(connection: AnyIOConnection) -> None:
    await connection.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
    await connection.execute("SELECT 1")
    await connection.set_isolation_level(None)


async def _nothing_to_cancel(connection: AnyIOConnection) -> None:
    await connection.cancel_safe()


# What each leaves in the table when it ends normally. What a statement that autocommits had done by then is done.
_OPERATIONS: list[tuple[Operation, int]] = [
    (_execute, 0),
    (_stream, 0),
    (_stream_left_early, 0),
    (_raw_stream, 0),
    (_copy_out, 0),
    (_copy_out_left_early, 0),
    (_copy_out_left_by_break, 0),
    (_named_cursor, 0),
    (_raw_named_cursor, 0),
    (_notifies, 0),
    (_fetch_type, 0),
    (_settings, 0),
    (_nothing_to_cancel, 0),
    (_copy_in, 2),
    (_raw_copy_in, 2),
    (_executemany, 2),
    (_executemany_in_a_pipeline, 2),
    (_pipeline, 2),
    (_transaction, 2),
    (_transaction_in_a_pipeline, 2),
    (_explicit_transaction, 2),
    (_two_phases, 2),
]
_AUTOCOMMITS = {_copy_in, _raw_copy_in, _executemany, _executemany_in_a_pipeline, _pipeline, _transaction_in_a_pipeline}


async def _sweep(dsn: str, witness: Witness, operation: Operation, rows: int) -> None:
    witness.run("CREATE TABLE person (name text)")
    witness.run("CREATE TYPE mood AS ENUM ('sad')")
    if operation is _two_phases and witness.value("SELECT current_setting('max_prepared_transactions')") == "0":
        pytest.skip("the server has max_prepared_transactions = 0")

    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        usual = connection.cursor_factory, connection.server_cursor_factory

        async def check(run: SweepRun) -> None:
            await server_is_quiet(witness.connection)
            assert await works(connection), "with a server that answers, no connection is lost"
            connection.cursor_factory, connection.server_cursor_factory = usual
            cursor = await connection.execute(
                "SELECT (SELECT count(*) FROM pg_cursors WHERE name <> ''), (SELECT count(*) FROM pg_prepared_xacts)"
            )
            assert await cursor.fetchone() == (0, 0)
            with anyio.fail_after(5):
                async with connection.pipeline(), connection.transaction():
                    await connection.execute("SELECT 1")
            expected = (rows,) if run.ended_normally else (0, rows) if operation in _AUTOCOMMITS else (0,)
            assert witness.value("SELECT count(*) FROM person") in expected
            await connection.execute("UNLISTEN *")
            await connection.set_isolation_level(None)
            witness.run("TRUNCATE person")

        report = await sweep(lambda _: operation(connection), check=check, may_absorb=True)
    assert report.cancellations >= len(report.kinds), f"\n{report}"


_NAMED = [pytest.param(*case, id=case[0].__name__.strip("_")) for case in _OPERATIONS]


@pytest.mark.parametrize(("operation", "rows"), _NAMED)
async def test_cancelled_anywhere(dsn: str, witness: Witness, operation: Operation, rows: int) -> None:
    await _sweep(dsn, witness, operation, rows)


@pytest.mark.parametrize(("operation", "rows"), _NAMED)
def test_cancelled_anywhere_on_uvloop(dsn: str, witness: Witness, operation: Operation, rows: int) -> None:
    anyio.run(_sweep, dsn, witness, operation, rows, backend="asyncio", backend_options={"use_uvloop": True})
