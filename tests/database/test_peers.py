"""Defects that were seen in other libraries, each as a test of ours, under the number that the list of peers' defects gives it."""

import time
import tracemalloc
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.transaction.ledger import FAILS, SLEEP, Entry, Sleeper, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import Database, DatabaseError, TransactionRolledBack, UniqueViolation, open_database, select, sql
from trioorm.embedded import Server
from trioorm.testing import pool_is_whole, server_is_quiet
from trioorm.wire import AnyIOConnection


async def _cancel_in(db: Database, monkeypatch: pytest.MonkeyPatch, command: str) -> anyio.CancelScope:
    """A scope that is cancelled the moment in which this command is sent."""
    scope = anyio.CancelScope()
    take_off = AnyIOConnection[Any].take_off

    def taking_off(connection: AnyIOConnection[Any], steps: Any) -> Any:  # noqa: ANN401 - as the method's own
        if any(step.statement.text.startswith(command.encode()) for step in steps):
            scope.cancel()
        return take_off(connection, steps)

    monkeypatch.setattr(AnyIOConnection, "take_off", taking_off)
    return scope


async def test_v1_cancelled_during_begin_the_connection_is_given_back(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tortoise 1.1.9 acquires before it begins, without a guard: the connection was never released."""
    async with open_ledger(dsn, max_size=1) as db:
        scope = await _cancel_in(db, monkeypatch, "BEGIN")
        with scope:
            async with db.transaction() as tx:
                await write(tx, 1)
        assert scope.cancelled_caught
        assert db.statistics().on_loan == 0
        monkeypatch.undo()
        async with db.transaction() as tx:
            await write(tx, 2)
        assert keys_in(dsn) == [2]


async def test_v2_cancelled_during_rollback_the_connection_is_given_back_clean(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Piccolo 1.38 skips the release, and with cancel scopes the second delivery comes by itself."""
    async with open_ledger(dsn, max_size=1) as db:
        pid = await process_of(db)
        scope = await _cancel_in(db, monkeypatch, "ROLLBACK")
        with scope:
            with pytest.raises(LookupError):
                async with db.transaction() as tx:
                    await write(tx, 1)
                    raise LookupError
            await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught, "it was not lost either"
        assert db.statistics().on_loan == 0
        monkeypatch.undo()
        assert await process_of(db) == pid
        assert keys_in(dsn) == []


async def test_v3_a_nested_block_is_not_a_silent_no_op(dsn: str) -> None:
    """Piccolo 1.38 commits what the failed inner block wrote."""
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(LookupError):
                async with tx.savepoint() as sp:
                    await write(sp, 2)
                    raise LookupError
        assert keys_in(dsn) == [1]


@pytest.mark.parametrize("inside", ["database", "transaction"])
async def test_v4_a_stream_swallows_nothing(dsn: str, inside: str) -> None:
    """Piccolo 1.38's batch block returns True from its exit, for cancellations too."""

    async def read(db: Database, act: Any) -> None:  # noqa: ANN401 - an async function
        if inside == "database":
            async with db.stream(sql("SELECT n FROM generate_series(1, 9) n").returns(int), batch_rows=1) as rows:
                await anext(rows)
                await act()
        else:
            async with db.transaction() as tx:
                async with tx.stream(sql("SELECT n FROM generate_series(1, 9) n").returns(int), batch_rows=1) as rows:
                    await anext(rows)
                    await act()

    async def fail() -> None:
        raise LookupError

    async with open_ledger(dsn) as db:
        with pytest.raises(LookupError):
            await read(db, fail)
        with anyio.move_on_after(0.02) as scope:
            await read(db, anyio.sleep_forever)
        assert scope.cancelled_caught
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(fail)
                await read(db, anyio.sleep_forever)
        assert len(caught.value.exceptions) == 1


async def test_v5_a_stream_does_not_read_everything_first(dsn: str) -> None:
    """Tortoise 1.1.9's `async for` awaits the whole list."""
    async with open_ledger(dsn) as db:
        tracemalloc.start()
        try:
            async with db.stream(sql("SELECT repeat('x', 10000) FROM generate_series(1, 20000)").returns(str), batch_rows=10) as rows:
                async for _ in rows:
                    break
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 20_000_000, "all rows would be 200 MB"


async def test_v6_a_shield_has_a_bound(own_server: Server) -> None:
    """SQLAlchemy 2.1.9 shields its close with no bound, and a frozen server freezes the task."""
    async with open_database(own_server.conninfo(), cleanup_timeout_seconds=0.3, max_size=1) as db:
        started_at = time.monotonic()
        with anyio.move_on_after(0.1) as scope:
            async with db.transaction() as tx:
                await process_of(tx)
                own_server.freeze()
                await tx.execute(SLEEP)
        assert scope.cancelled_caught
        assert time.monotonic() - started_at < 0.1 + 2 * 0.3 + 1.0
        own_server.thaw()
        await pool_is_whole(db.statistics)


async def test_v7_a_cancelled_query_costs_no_reconnect(dsn: str, witness: Witness) -> None:
    """In a cancelled scope every further wait of the cleanup is cancelled too; psycopg 3.3.9 takes that for a second cancel and closes."""
    async with open_ledger(dsn, max_size=1) as db:
        pid = await process_of(db)
        for _ in range(5):
            with anyio.CancelScope() as scope:
                sleeper = Sleeper(witness)
                async with anyio.create_task_group() as nursery:
                    nursery.start_soon(sleeper.cancel_when_asleep, scope)
                    sleeper.runs_on(pid)
                    await db.execute(SLEEP)
            assert scope.cancelled_caught
        assert await process_of(db) == pid


async def test_v9_a_cancelled_transaction_is_rolled_back_and_not_lent_as_it_is(dsn: str, witness: Witness) -> None:
    """pgtrio 0.5.3 rolls back without a shield, and takes the connection back without a look at its state."""
    async with open_ledger(dsn, max_size=1) as db:
        with anyio.CancelScope() as scope:
            async with db.transaction() as tx:
                await write(tx, 1)
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        await server_is_quiet(witness.connection)
        await write(db, 2)
        assert keys_in(dsn) == [2], "the write after it was committed by itself, in no transaction of before"


async def test_v9_what_is_not_idle_is_not_taken_back(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn, max_size=1) as db:
        pid = await process_of(db)
        await db.execute(sql("BEGIN"))
        assert await process_of(db) != pid
        await write(db, 1)
        assert keys_in(dsn) == [1]


@pytest.mark.parametrize("swallowed", ["a failed statement", "a violated constraint"])
async def test_a_commit_answered_with_rollback_is_not_acknowledged(dsn: str, swallowed: str) -> None:
    """All six peers that were tried acknowledge it, 20 times of 20."""
    async with open_ledger(dsn) as db:
        for _ in range(20):
            with pytest.raises(TransactionRolledBack):
                async with db.transaction() as tx:
                    await write(tx, 1)
                    with pytest.raises(DatabaseError):
                        if swallowed == "a failed statement":
                            await tx.execute(FAILS)
                        else:
                            await write(tx, 1)
        assert keys_in(dsn) == []


async def test_a_cancelled_insert_is_not_there(dsn: str) -> None:
    """With a plain cancel-and-drain 159 of 159 inserts that had raised `Cancelled` were seen to be committed."""
    async with open_ledger(dsn) as db:
        wanted: list[int] = []
        for key in range(150):
            with anyio.move_on_after(key / 300_000):
                try:
                    await write(db, key)
                except UniqueViolation:
                    pytest.fail("each key is tried once")
                wanted.append(key)
                await anyio.sleep_forever()
        assert keys_in(dsn) == wanted
        assert [entry.key for entry in await db.fetch_all(select(Entry).order_by(Entry.key))] == wanted
