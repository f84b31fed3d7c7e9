"""Defects that were seen in other libraries, and what their users ask for, each as a test of ours under its number in those two lists.

Those of the pool alone (V8, V10, V12) have their tests beside the pool's.
"""

import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.transaction.ledger import FAILS, SLEEP, Entry, Sleeper, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import (
    CommitOutcomeUnknown,
    ConnectionLost,
    Database,
    DatabaseError,
    ForeignTask,
    Transaction,
    TransactionRolledBack,
    UniqueViolation,
    open_database,
    select,
    sql,
)
from trioorm.embedded import Server
from trioorm.pool import PoolDeadlock
from trioorm.testing import Direction, pool_is_whole, running_proxy, server_is_quiet
from trioorm.transaction import TransactionScope
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


async def test_v11_a_transaction_is_async_and_its_cancelled_query_stops_on_the_server(dsn: str, witness: Witness) -> None:
    """Django 6.1 has no transactions in async mode, and its threads leave the query running (users' request 14 too)."""
    async with open_ledger(dsn, max_size=1) as db:
        sleeper = Sleeper(witness)
        threads: list[threading.Thread] = []

        async def look_and_cancel(scope: anyio.CancelScope) -> None:
            await sleeper.until_asleep()  # which the loop can do while the statement runs
            threads.extend(threading.enumerate())
            scope.cancel()

        before = threading.enumerate()
        async with anyio.create_task_group() as nursery:
            with anyio.CancelScope() as scope:
                nursery.start_soon(look_and_cancel, scope)
                async with db.transaction() as tx:
                    await write(tx, 1)
                    await sleeper.sleep_on(tx)
        assert threads == before, "no thread works for it"
        assert witness.value("SELECT state FROM pg_stat_activity WHERE pid = %s", sleeper.pid) == "idle"
        assert keys_in(dsn) == []


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


async def test_the_tag_of_commit_alone_is_enough(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `test_a_commit_answered_with_rollback_is_not_acknowledged`, with nothing known of the error but what COMMIT is answered with."""
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack, match="answered the COMMIT"):
            async with db.transaction() as tx:
                await write(tx, 1)
                with pytest.raises(DatabaseError):
                    await tx.execute(FAILS)
                monkeypatch.setattr(TransactionScope, "connection_status", property(lambda scope: 2))  # in a transaction, all well
        monkeypatch.undo()
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


# What users of the peers ask for.


async def test_request_9_a_timeout_stops_the_query_on_the_server(dsn: str, witness: Witness) -> None:
    """SQLAlchemy #10717: asyncpg's `command_timeout` leaves the query running."""
    async with open_ledger(dsn, max_size=1) as db:
        pid = 0
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.2):
                async with db.transaction() as tx:
                    pid = await process_of(tx)
                    await tx.execute(SLEEP)
        assert witness.value("SELECT state FROM pg_stat_activity WHERE pid = %s", pid) == "idle", "and the connection is kept"


async def test_request_10_tasks_of_any_nursery_inside_share_the_transaction(dsn: str) -> None:
    """SQLAlchemy #10092 and #5967, databases #125: `gather()` over one session works, or fails with a clear error."""
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            async with anyio.create_task_group() as nursery:
                for key in range(20):
                    nursery.start_soon(write, tx, key)
            assert len(await tx.fetch_all(select(Entry))) == 20
        assert keys_in(dsn) == list(range(20))


async def test_request_10_a_task_from_outside_fails_with_both_names(dsn: str) -> None:
    async with open_ledger(dsn) as db, anyio.create_task_group() as outside:
        refused: list[ForeignTask] = []
        opened, tried = anyio.Event(), anyio.Event()
        shared: list[Transaction] = []

        async def flush() -> None:
            await opened.wait()
            try:
                await write(shared[0], 2)
            except ForeignTask as error:
                refused.append(error)
            tried.set()

        async def serve() -> None:
            async with db.transaction() as tx:
                await write(tx, 1)
                shared.append(tx)
                opened.set()
                await tried.wait()

        outside.start_soon(flush, name="the background flusher")
        outside.start_soon(serve, name="request 81")
        await tried.wait()
        assert "the background flusher" in str(refused[0])
        assert "request 81" in str(refused[0])
    assert keys_in(dsn) == [1]


async def test_request_11_savepoints_of_tasks_never_interleave(dsn: str) -> None:
    """Tortoise #1855, #1861, #1938, #1757 and peewee-async #260: tasks inside one transaction undid each other's work."""

    async def child(tx: Transaction, key: int) -> None:
        try:
            async with tx.savepoint() as sp:
                await write(sp, key)
                await anyio.lowlevel.checkpoint()
                async with sp.savepoint() as inner:
                    await write(inner, key + 100)
                if key % 2:
                    raise LookupError
        except LookupError:
            pass

    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            for key in range(10):
                tx.start_soon(child, tx, key)
        assert keys_in(dsn) == [key + more for more in (0, 100) for key in range(0, 10, 2)]


async def test_request_17_whether_a_lost_commit_happened_is_known(dsn: str) -> None:
    """EF's "commit failure": the answer is found out; and while it cannot be, there is an id to ask with later."""
    with running_proxy(dsn) as proxy:
        async with open_database(proxy.conninfo(), max_size=1, commit_timeout_seconds=0.5) as db:
            await db.create_schema(Entry)

            async def lose(key: int, direction: Direction) -> None:
                async with db.transaction() as tx:
                    await write(tx, key)
                    proxy.cut_at(direction, delivered=False)

            await lose(1, Direction.TO_CLIENT)
            with pytest.raises(ConnectionLost):
                await lose(2, Direction.TO_SERVER)
            await pool_is_whole(db.statistics)
            with pytest.raises(CommitOutcomeUnknown) as caught:
                async with db.transaction() as tx:
                    await write(tx, 3)
                    proxy.refuse()
                    proxy.cut_at(Direction.TO_CLIENT, delivered=False)
            proxy.accept()
            assert caught.value.transaction_id is not None
            assert await db.outcome(caught.value.transaction_id) == "committed"
            await pool_is_whole(db.statistics)
        assert keys_in(dsn) == [1, 3]


async def test_request_19_nested_blocks_are_savepoints_at_every_depth(dsn: str) -> None:
    """Piccolo #777, Prisma #12898 and #15212, Drizzle #958."""
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            async with tx.savepoint() as outer:
                await write(outer, 2)
                with pytest.raises(UniqueViolation):
                    async with outer.savepoint() as inner:
                        await write(inner, 3)
                        async with inner.savepoint() as innermost:
                            await write(innermost, 1)
                assert [entry.key for entry in await outer.fetch_all(select(Entry).order_by(Entry.key))] == [1, 2]
                await write(outer, 4)
        assert keys_in(dsn) == [1, 2, 4]


async def test_request_20_no_timeout_that_nobody_asked_for(dsn: str) -> None:
    """Prisma #13713 and #11565: interactive transactions that expire after five seconds."""
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            for name in ("statement_timeout", "transaction_timeout", "lock_timeout"):
                assert await tx.fetch_value(sql("SELECT current_setting({name})", name=name).returns(str)) == "0"


_USES: list[Callable[[Database], Awaitable[object]]] = [lambda db: write(db, 2), lambda db: db.fetch_all(select(Entry)), process_of]


@pytest.mark.parametrize("use", _USES, ids=["write", "read", "text"])
async def test_request_20_the_outer_client_inside_is_an_error_and_no_deadlock(
    dsn: str, use: Callable[[Database], Awaitable[object]]
) -> None:
    """Prisma #12277: a pool of one, and the database used inside its own transaction."""
    async with open_ledger(dsn, max_size=1) as db:
        with anyio.fail_after(10), pytest.raises(PoolDeadlock, match="pass the transaction"):
            async with db.transaction() as tx:
                await write(tx, 1)
                await use(db)
        assert keys_in(dsn) == []


async def test_request_21_a_rollback_on_purpose_brings_its_value_out(dsn: str) -> None:
    """Drizzle #1957 and #1723. There is no verb for it: one's own exception leaves the block as it was raised, with what it carries."""

    class DryRun(Exception):
        pass

    async with open_ledger(dsn) as db:
        result = DryRun([1, 2])
        with pytest.raises(DryRun) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                raise result
        assert caught.value is result
        assert caught.value.__cause__ is None
        assert keys_in(dsn) == []
