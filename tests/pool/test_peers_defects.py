"""Defects of other libraries that concern pools and the wire, and what their users ask for, each as a test of ours under its number.

V1 to V7, V9 and V11 concern transactions too and stand in `tests/transaction/test_peers_defects.py`. A request's number is that of its
list; number 8, that no hand-over loses a connection or a cancellation, is V8 and `test_pool_model.py`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.pool.test_pool_line import until_idle, until_waiting
from tests.wire.witness import Witness, step, works
from trioorm import CommitOutcomeUnknown, Database, open_database, sql
from trioorm.embedded import Server
from trioorm.errors import ConnectFailed, ConnectionLost
from trioorm.pool import Lease, Pool, open_pool
from trioorm.testing import pool_is_whole, server_is_quiet
from trioorm.wire import AnyIOConnection, command

_SLEEP = sql("SELECT pg_sleep(60)").reads_only()
_ASLEEP = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')"

# V8: psycopg_pool 3.3.3 waits with `asyncio.wait_for`, which lost a cancellation that met the hand-over (issue 1345).

Wait = Callable[[Pool], Awaitable[Lease]]


async def _plainly(pool: Pool) -> Lease:
    return await pool.acquire()


async def _with_wait_for(pool: Pool) -> Lease:
    return await asyncio.wait_for(pool.acquire(), 30)


async def _with_a_timeout(pool: Pool) -> Lease:
    async with asyncio.timeout(30):
        return await pool.acquire()


@pytest.mark.parametrize("use_uvloop", [False, True])
@pytest.mark.parametrize(
    ("wait", "first"),
    [
        (_plainly, "the hand-over"),
        (_plainly, "the cancel"),
        (_with_a_timeout, "the hand-over"),
        (_with_a_timeout, "the cancel"),
        # Not after a hand-over: before Python 3.12, `wait_for` itself swallows a cancel that finds its task done.
        (_with_wait_for, "the cancel"),
    ],
)
def test_v8_a_cancel_that_meets_the_hand_over_loses_neither(dsn: str, wait: Wait, first: str, use_uvloop: bool) -> None:
    async def main() -> None:
        async with open_pool(dsn, min_size=1, max_size=1) as pool:
            for turns in range(4):
                lease = await pool.acquire()

                async def borrow() -> None:
                    with await wait(pool):
                        await asyncio.sleep(60)

                task = asyncio.create_task(borrow())
                await until_waiting(pool, 1)
                if first == "the cancel":
                    task.cancel()
                lease.release()
                for _ in range(turns):
                    await asyncio.sleep(0)
                if first == "the hand-over":
                    task.cancel()
                await asyncio.wait([task], timeout=5)
                assert task.cancelled(), "the cancel was not lost"
                assert pool.statistics().idle == 1, "nor the connection"

    anyio.run(main, backend="asyncio", backend_options={"use_uvloop": use_uvloop})


async def test_v8_a_cancellation_during_the_check_is_not_swallowed(dsn: str) -> None:
    """psycopg_pool's check loop took `CancelledError` for a broken connection (issue 1401)."""
    checking = anyio.Event()

    async def check(connection: AnyIOConnection[Any]) -> None:
        checking.set()
        await anyio.sleep_forever()

    async with open_pool(dsn, min_size=1, max_size=1, check_after_idle_seconds=0, check=check) as pool:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as nursery:

                async def cancel() -> None:
                    await checking.wait()
                    scope.cancel()

                nursery.start_soon(cancel)
                await pool.acquire()
        assert scope.cancelled_caught
        assert pool.statistics().connections_lost == 0
        await pool_is_whole(pool.statistics)


async def test_v10_a_failed_reconnect_does_not_take_the_pool_down(dsn: str, witness: Witness) -> None:
    """pg-purepy 0.12.1 opens replacements in an unguarded task of the pool's task group: one failure ends the whole block."""
    failures = [ZeroDivisionError("none of ours"), ConnectFailed("the server is away"), OSError("no route"), TimeoutError(), ValueError()]
    failed = 0

    async def connect() -> AnyIOConnection[Any]:
        nonlocal failed
        if pool_is_open and failures:
            failed += 1
            raise failures.pop()
        return await AnyIOConnection.connect(dsn, autocommit=True)

    pool_is_open = False
    async with open_pool(connect, min_size=2, max_size=2) as pool:
        await until_idle(pool, 2)
        pool_is_open = True
        with await pool.acquire() as connection:
            witness.terminate(connection.info.backend_pid)
            with pytest.raises(ConnectionLost):
                await connection.fly([step("SELECT 1")])
        await until_idle(pool, 2)
        assert failed == 5
        assert pool.statistics().connections_errors == 5
        with await pool.acquire() as connection:
            assert await works(connection)


@pytest.mark.parametrize("how", ["deadline", "cancelled by another task"])
async def test_v11_and_request_9_a_query_that_nobody_waits_for_is_stopped_on_the_server(dsn: str, witness: Witness, how: str) -> None:
    """Django 6.1 runs it in a thread, which goes on; with asyncpg's `command_timeout` under SQLAlchemy it ran on too (10717)."""
    async with open_database(dsn, max_size=1) as db:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as nursery:

                async def cancel() -> None:
                    await witness.until(_ASLEEP)
                    if how == "deadline":
                        scope.deadline = anyio.current_time()
                    else:
                        scope.cancel()

                nursery.start_soon(cancel)
                await db.execute(_SLEEP)
        assert scope.cancelled_caught
        await server_is_quiet(witness.connection, within_seconds=1.0)
        assert db.statistics().returns_bad == 0


async def test_v12_closing_ends_although_a_cancel_is_pending(own_server: Server) -> None:
    """asyncpg 0.32 waits for ever for a cancel request that does not end (1356), and for a release (442)."""
    seconds = 0.0
    async with anyio.create_task_group() as nursery:
        async with open_database(own_server.conninfo(), max_size=2, cleanup_timeout_seconds=0.3) as db:
            scope = anyio.CancelScope()

            async def work() -> None:
                with scope:
                    await db.execute(_SLEEP)

            async def hold() -> None:
                async with db.transaction() as tx:
                    await tx.execute(sql("SELECT 1"))
                    holding.set()
                    with anyio.CancelScope(shield=True):
                        await closed.wait()

            closed, holding = anyio.Event(), anyio.Event()
            nursery.start_soon(work)
            nursery.start_soon(hold)
            await holding.wait()
            with anyio.fail_after(5):
                while db.statistics().on_loan < 2:  # noqa: ASYNC110 - the pool tells nobody whom it has served
                    await anyio.sleep(0.002)
            own_server.freeze()
            scope.cancel()
            await anyio.lowlevel.checkpoint()
            started_at = time.monotonic()
        seconds = time.monotonic() - started_at
        own_server.thaw()
        closed.set()
        nursery.cancel_scope.cancel()
    assert seconds < 0.3 + 1.0 + 1.0, "the promise, and a second for a busy machine"


async def test_request_3_a_cancelled_task_gives_its_connection_back(dsn: str, witness: Witness) -> None:
    """SQLAlchemy 6652, 8145, 12077: whatever the moment."""
    async with open_database(dsn, max_size=2) as db:
        for number in range(60):
            with anyio.move_on_after(number / 10_000):
                async with db.transaction() as tx:
                    await tx.execute(sql("SELECT pg_sleep(0.001)"))
                    await tx.execute(sql("SELECT 1"))
            assert db.statistics().on_loan == 0
        await pool_is_whole(db.statistics)
        await server_is_quiet(witness.connection)
        assert await db.fetch_value(sql("SELECT 1").returns(int)) == 1


async def test_request_4_a_hidden_transaction_is_found_by_asking_libpq(dsn: str, witness: Witness) -> None:
    """SQLAlchemy 13381: a flag said that the connection was clean."""
    witness.run("CREATE TABLE notes (id int)")
    async with open_pool(dsn, min_size=1, max_size=1) as pool:
        with await pool.acquire() as connection:
            await connection.fly([command(b"BEGIN"), step("INSERT INTO notes VALUES (1)")])
        with await pool.acquire() as connection:
            assert connection.is_idle
            assert await works(connection)
        assert pool.statistics().returns_bad == 1
    assert witness.value("SELECT count(*) FROM notes") == 0


async def test_request_5_a_reader_that_goes_away_leaves_no_connection_behind(dsn: str) -> None:
    """SQLAlchemy 11125: a client closes a streaming response early."""

    async def respond(db: Database) -> AsyncGenerator[str]:
        async with db.stream(sql("SELECT repeat('x', 1000) FROM generate_series(1, 100000)").returns(str)) as rows:
            async for row in rows:
                yield row

    async with open_database(dsn, max_size=1) as db:
        for _ in range(3):
            async with aclosing(respond(db)) as response:
                async for _row in response:
                    break
            assert db.statistics().on_loan == 0
            assert await db.fetch_value(sql("SELECT 1").returns(int)) == 1


async def test_request_6_a_cancel_during_parallel_inserts_is_one_clean_cancellation(dsn: str, witness: Witness) -> None:
    """SQLAlchemy 11760: internal errors of the driver came out instead."""
    witness.run("CREATE TABLE notes (id int)")
    async with open_database(dsn, max_size=3) as db:
        for number in range(20):
            with anyio.move_on_after(number / 2000) as scope:
                async with db.transaction() as tx:
                    for note in range(10):
                        tx.start_soon(tx.execute, sql("INSERT INTO notes VALUES ({note})", note=note))
                    await anyio.sleep_forever()
            assert scope.cancelled_caught
        assert witness.value("SELECT count(*) FROM notes") == 0
        await pool_is_whole(db.statistics)


async def _read(db: Database) -> None:
    await db.execute(_SLEEP)


async def _write(db: Database) -> None:
    await db.execute(sql("CREATE TABLE never (id int)"))


async def _transact(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute(_SLEEP)


async def _stream(db: Database) -> None:
    async with db.stream(sql("SELECT 1 FROM pg_sleep(60)").returns(int)) as rows:
        async for _ in rows:
            pass


@pytest.mark.parametrize("work", [_read, _write, _transact, _stream])
async def test_request_7_a_frozen_server_delays_a_cancellation_by_the_budget_and_no_more(
    own_server: Server, work: Callable[[Database], Awaitable[None]]
) -> None:
    """psycopg 1371, asyncpg 1356, 873."""
    async with open_database(own_server.conninfo(), max_size=1, cleanup_timeout_seconds=0.2) as db:
        await db.execute(sql("SELECT 1"))
        own_server.freeze()
        started_at = time.monotonic()
        try:
            with anyio.move_on_after(0.05):
                await work(db)
        except CommitOutcomeUnknown:
            assert work is _write
        seconds = time.monotonic() - started_at
        own_server.thaw()
        assert seconds < 0.05 + 2 * 0.2 + 1.0
        assert db.statistics().on_loan == 0
