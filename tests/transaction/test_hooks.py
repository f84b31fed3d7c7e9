"""`on_commit` and `on_rollback`: run once the outcome is certain, in order, in the database's own background, whatever they do."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio.abc import TaskStatus

from tests.transaction.ledger import Entry, fail_with, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import ConnectionLost, Database, Transaction, TransactionClosed, open_database, sql
from trioorm.errors import leaves_of
from trioorm.instruments import HookFailed, Instrument


class Diary:
    """What happened, in order; the last entry can be waited for."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self._news = anyio.Event()

    async def note(self, entry: str) -> None:
        await anyio.lowlevel.checkpoint()
        self.entries.append(entry)
        self._news.set()

    async def until(self, *entries: str) -> None:
        with anyio.fail_after(10):
            while len(self.entries) < len(entries):
                self._news = anyio.Event()
                await self._news.wait()
        await anyio.wait_all_tasks_blocked()  # nothing more comes
        assert self.entries == list(entries)


async def test_run_in_order_once_it_is_committed(dsn: str) -> None:
    diary = Diary()

    async def look(key: int) -> None:
        await diary.note(f"{key} is there: {keys_in(dsn) == [1]}")

    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            tx.on_commit(diary.note, "first")
            tx.on_rollback(diary.note, "never")
            await write(tx, 1)
            tx.on_commit(look, 1)
            tx.start_soon(_give_hook, tx, diary, "a child's")
            await anyio.lowlevel.checkpoint()
            assert diary.entries == []
        await diary.until("first", "1 is there: True", "a child's")
        statistics = db.statistics()
        assert (statistics.hooks_num, statistics.hooks_errors) == (3, 0)


async def _give_hook(tx: Transaction, diary: Diary, entry: str) -> None:
    tx.on_commit(diary.note, entry)


async def test_those_of_a_rollback_run_instead_when_it_fails(dsn: str) -> None:
    diary = Diary()
    async with open_ledger(dsn) as db:
        with pytest.raises(LookupError):
            async with db.transaction() as tx:
                tx.on_commit(diary.note, "never")
                tx.on_rollback(diary.note, "undone")
                await write(tx, 1)
                raise LookupError
        await diary.until("undone")


async def _own_scope(db: Database, tx: Transaction) -> None:
    tx.cancel_scope.cancel()


async def _child_fails(db: Database, tx: Transaction) -> None:
    tx.start_soon(fail_with, LookupError("the child's"))


async def _swallowed(db: Database, tx: Transaction) -> None:
    with pytest.raises(Exception, match="division by zero"):
        await tx.execute(sql("SELECT 1 / 0"))


async def _refused_commit(db: Database, tx: Transaction) -> None:
    await tx.execute(sql("CREATE TABLE pairs (a int PRIMARY KEY, b int REFERENCES pairs DEFERRABLE INITIALLY DEFERRED)"))
    await tx.execute(sql("INSERT INTO pairs VALUES (1, 2)"))


async def _connection_lost(db: Database, tx: Transaction) -> None:
    await db.execute(sql("SELECT pg_terminate_backend({pid}::int, 5000)", pid=await process_of(tx)))
    await write(tx, 2)


@pytest.mark.parametrize("end", [_own_scope, _child_fails, _swallowed, _refused_commit, _connection_lost])
async def test_every_way_of_rolling_back_runs_them(dsn: str, end: Callable[[Database, Transaction], Awaitable[None]]) -> None:
    diary = Diary()
    async with open_ledger(dsn) as db:
        try:
            async with db.transaction() as tx:
                tx.on_commit(diary.note, "never")
                tx.on_rollback(diary.note, "undone")
                await write(tx, 1)
                await end(db, tx)
        except Exception:
            pass
        else:
            pytest.fail("it must not commit")
        await diary.until("undone")


async def test_a_cancelled_block_runs_those_of_a_rollback(dsn: str) -> None:
    diary = Diary()
    async with open_ledger(dsn) as db:
        with anyio.CancelScope() as scope:
            async with db.transaction() as tx:
                tx.on_rollback(diary.note, "undone")
                await write(tx, 1)
                scope.cancel()
                await anyio.sleep_forever()
        await diary.until("undone")


@pytest.mark.parametrize("is_refused", [False, True])
@pytest.mark.parametrize(
    ("loop", "how"),
    [("trio", "Ctrl-C"), ("asyncio", "Ctrl-C"), ("uvloop", "Ctrl-C"), ("asyncio", "a bare cancel"), ("uvloop", "a bare cancel")],
)
def test_an_interruption_while_commit_is_waited_for_loses_none(dsn: str, witness: Witness, loop: str, how: str, is_refused: bool) -> None:
    """The answer is waited for all the same, so the outcome is certain; the interruption comes behind."""
    ran: list[str] = []

    async def note(entry: str) -> None:
        ran.append(entry)

    def interrupt_commit(pid: int, interrupt: Callable[[], object]) -> None:
        """In a thread, or Ctrl-C would meet this function and not the task that waits for COMMIT."""
        while witness.value("SELECT query = 'COMMIT' AND wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s", pid) is not True:
            pass
        interrupt()

    async def main() -> None:
        async with anyio.create_task_group() as nursery, open_ledger(dsn) as db:
            await db.execute(_DOZE_AND_FAIL if is_refused else _DOZE)
            await db.execute(_DOZE_IN_COMMIT)
            async with db.transaction() as tx:
                tx.on_commit(note, "committed")
                tx.on_rollback(note, "rolled back")
                await write(tx, 1)
                interrupt = _press_ctrl_c if how == "Ctrl-C" else _cancel_of_this_task()
                nursery.start_soon(anyio.to_thread.run_sync, interrupt_commit, await process_of(tx), interrupt)

    with pytest.raises(KeyboardInterrupt if how == "Ctrl-C" else asyncio.CancelledError):
        try:
            backend, options = ("trio", {}) if loop == "trio" else ("asyncio", {"use_uvloop": loop == "uvloop"})
            anyio.run(main, backend=backend, backend_options=options)
        except BaseExceptionGroup as group:
            raise next(leaves_of(group)) from None
    assert ran == (["rolled back"] if is_refused else ["committed"])
    assert keys_in(dsn) == ([] if is_refused else [1])


def _press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _cancel_of_this_task() -> Callable[[], None]:
    """What cancels it from another thread."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None

    def cancel() -> None:
        loop.call_soon_threadsafe(task.cancel)

    return cancel


_DOZE = sql("CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$")
_DOZE_AND_FAIL = sql(
    "CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RAISE EXCEPTION 'not this'; END $$"
)
_DOZE_IN_COMMIT = sql(
    "CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON entries DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION doze()"
)


async def test_a_savepoint_hands_its_hooks_to_its_transaction(dsn: str) -> None:
    diary = Diary()
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            tx.on_commit(diary.note, "before")
            async with tx.savepoint() as sp:
                sp.on_commit(diary.note, "inside")
                sp.on_rollback(diary.note, "never")
                async with sp.savepoint() as inner:
                    inner.on_commit(diary.note, "further inside")
                    await write(inner, 1)
            tx.on_commit(diary.note, "behind")
            await anyio.wait_all_tasks_blocked()
            assert diary.entries == []
        await diary.until("before", "inside", "further inside", "behind")


async def test_a_savepoint_that_rolls_back_runs_its_own_at_once(dsn: str) -> None:
    diary = Diary()
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(LookupError):
                async with tx.savepoint() as sp:
                    sp.on_commit(diary.note, "never")
                    async with sp.savepoint() as inner:
                        inner.on_rollback(diary.note, "further inside")
                    sp.on_rollback(diary.note, "inside")
                    raise LookupError
            await diary.until("further inside", "inside")
            tx.on_commit(diary.note, "committed")
        await diary.until("further inside", "inside", "committed")


async def test_a_savepoint_undone_with_its_transaction_runs_its_own_then(dsn: str) -> None:
    diary = Diary()
    async with open_ledger(dsn) as db:
        with pytest.raises(LookupError):
            async with db.transaction() as tx:
                async with tx.savepoint() as sp:
                    sp.on_commit(diary.note, "never")
                    sp.on_rollback(diary.note, "undone")
                    await write(sp, 1)
                raise LookupError
        await diary.until("undone")


@pytest.mark.usefixtures("ends_unseen")
async def test_none_run_when_the_outcome_is_not_known(dsn: str) -> None:
    """A COMMIT as text that nobody knows to be one: what came before is written, and nobody knows what the block as a whole is."""
    diary = Diary()
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionClosed):
            async with db.transaction() as tx:
                tx.on_commit(diary.note, "never")
                tx.on_rollback(diary.note, "never")
                await write(tx, 1)
                await tx.execute(sql("COMMIT"))
        await diary.until()
        assert db.statistics().hooks_num == 0


async def test_a_failing_hook_stops_neither_the_next_nor_the_database(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[HookFailed] = []

    class Recorder(Instrument):
        def hook_failed(self, event: HookFailed, /) -> None:
            seen.append(event)

    async def fails_in_its_own_nursery() -> None:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(fail_with, LookupError("deep inside"))

    diary = Diary()
    async with open_database(dsn, instruments=[Recorder()]) as db:
        await db.create_schema(Entry)
        async with db.transaction() as tx:
            tx.on_commit(fail_with, LookupError("mine"))
            tx.on_commit(fails_in_its_own_nursery)
            tx.on_commit(diary.note, "the next")
            await write(tx, 1)
        await diary.until("the next")
        statistics = db.statistics()
        assert (statistics.hooks_num, statistics.hooks_errors) == (3, 2)
        await write(db, 2)
    assert [event.name.rpartition(".")[2] for event in seen] == ["fail_with", "fails_in_its_own_nursery"]
    assert isinstance(seen[0].error, LookupError)
    logged = [record for record in caplog.records if record.name == "trioorm.hooks"]
    assert [record.levelno for record in logged] == [logging.ERROR] * 2
    assert logged[0].exc_info is not None
    assert keys_in(dsn) == [1, 2]


async def test_a_hook_may_use_the_database_but_not_its_transaction(dsn: str) -> None:
    diary = Diary()

    async def use_both(tx: Transaction) -> None:
        with pytest.raises(TransactionClosed):
            await write(tx, 2)
        async with db.transaction() as other:
            await write(other, 3)
        await db.run_in_transaction(write, 4)
        await diary.note("done")

    async with open_ledger(dsn) as db:
        async with db.transaction(name="around"):
            # What the hook opens is not inside of this transaction, though it is committed there.
            async with db.transaction() as tx:
                tx.on_commit(use_both, tx)
                await write(tx, 1)
            await diary.until("done")
        assert keys_in(dsn) == [1, 3, 4]


async def test_a_hook_is_given_only_to_an_open_block(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            pass
        with pytest.raises(TransactionClosed):
            tx.on_commit(anyio.sleep, 0)


async def test_the_end_of_the_database_waits_for_hooks(dsn: str) -> None:
    release, diary = anyio.Event(), Diary()

    async def slow() -> None:
        await release.wait()
        await write(db, 2)
        await diary.note("done")

    async with anyio.create_task_group() as nursery:
        async with open_database(dsn, cleanup_timeout_seconds=10) as db:
            await db.create_schema(Entry)
            async with db.transaction() as tx:
                tx.on_commit(slow)
                await write(tx, 1)
            await anyio.wait_all_tasks_blocked()
            nursery.start_soon(_set_when_closing, release)
    assert diary.entries == ["done"]
    assert keys_in(dsn) == [1, 2]


async def _set_when_closing(event: anyio.Event) -> None:
    await anyio.wait_all_tasks_blocked()
    event.set()


async def test_a_hook_that_does_not_end_is_cut_off(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    with anyio.fail_after(20):
        async with open_database(dsn, cleanup_timeout_seconds=0.1) as db:
            async with db.transaction() as tx:
                tx.on_commit(anyio.sleep_forever)
                tx.on_commit(fail_with, AssertionError("never begun"))
    assert "the hook sleep_forever failed" in caplog.text
    assert "fail_with" not in caplog.text


async def test_a_hook_that_fails_as_it_is_cut_off_ends_nothing(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its nursery gives a group with the cancellation and the error in it."""

    async def stubborn() -> None:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(anyio.sleep_forever)
            try:
                await anyio.sleep_forever()
            finally:
                raise LookupError("at the end")

    async with open_database(dsn, cleanup_timeout_seconds=0.05) as db:
        async with db.transaction() as tx:
            tx.on_commit(stubborn)
    assert "at the end" in caplog.text


async def test_a_transaction_that_ends_after_its_database_runs_no_hooks(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    closed = anyio.Event()

    async def outlive(db: Database, *, task_status: TaskStatus[None]) -> None:
        with pytest.raises(ConnectionLost):
            async with db.transaction() as tx:
                tx.on_rollback(fail_with, AssertionError("never begun"))
                await write(tx, 1)
                task_status.started()
                await closed.wait()

    async with anyio.create_task_group() as nursery:
        async with open_database(dsn, cleanup_timeout_seconds=0.05) as db:
            await db.create_schema(Entry)
            await nursery.start(outlive, db)
        closed.set()
    assert "the database was closed before this hook could run" in caplog.text
