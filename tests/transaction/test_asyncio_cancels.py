"""asyncio's own cancels around transactions: an AnyIO shield does not stop them, they come once, and none may be lost or doubled.

On asyncio's own loop and on uvloop, through `asyncio.run` as a program would, not through a test plugin's runner.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from tests.transaction.ledger import SLEEP, Block, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import Database, Transaction, sql

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine as the main task of a fresh loop."""
    make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(main)

    return run


async def _sleep_in_body(tx: Transaction) -> None:
    await tx.execute(SLEEP)


async def _sleep_in_child(tx: Transaction) -> None:
    tx.start_soon(tx.execute, SLEEP)


async def _sleep_in_savepoint(tx: Transaction) -> None:
    async with tx.savepoint() as sp:
        await write(sp, 2)
        await sp.execute(SLEEP)


async def _sleep_in_child_of_savepoint(tx: Transaction) -> None:
    async with tx.savepoint() as sp:
        sp.start_soon(sp.execute, SLEEP)


async def _sleep_in_stream(tx: Transaction) -> None:
    async with tx.stream(sql("SELECT pg_sleep(60)::text").returns(str)) as rows:
        await anext(rows)


async def _sleep_elsewhere(tx: Transaction) -> None:
    await asyncio.sleep(60)


Work = Callable[[Transaction], Awaitable[None]]
_EVERYWHERE = pytest.mark.parametrize(
    "work",
    [_sleep_in_body, _sleep_in_child, _sleep_in_savepoint, _sleep_in_child_of_savepoint, _sleep_in_stream, _sleep_elsewhere],
)


async def _transaction(db: Database, work: Work, ready: asyncio.Event | None = None) -> None:
    async with db.transaction() as tx:
        await write(tx, 1)
        if ready is not None:
            ready.set()
        await work(tx)


@_EVERYWHERE
def test_asyncio_timeout_rolls_back(dsn: str, run: Run, work: Work) -> None:
    async def main() -> None:
        async with open_ledger(dsn) as db:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await _transaction(db, work)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            assert db.statistics().on_loan == 0
            assert keys_in(dsn) == []

    run(main())


@_EVERYWHERE
def test_wait_for_rolls_back(dsn: str, run: Run, work: Work) -> None:
    async def main() -> None:
        async with open_ledger(dsn) as db:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_transaction(db, work), 0.1)
            assert keys_in(dsn) == []

    run(main())


@_EVERYWHERE
def test_a_cancelled_task_rolls_back_and_is_cancelled(dsn: str, run: Run, work: Work) -> None:
    async def main() -> None:
        async with open_ledger(dsn) as db:
            ready = asyncio.Event()
            task = asyncio.create_task(_transaction(db, work, ready))
            await ready.wait()
            await asyncio.sleep(0.05)
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
            assert db.statistics().on_loan == 0
            assert keys_in(dsn) == []

    run(main())


@_EVERYWHERE
def test_a_task_cancelled_again_during_its_cleanup_still_cleans_up(dsn: str, run: Run, work: Work) -> None:
    """It costs neither the cleanup nor the connection."""

    async def main() -> None:
        async with open_ledger(dsn, max_size=1) as db:
            pid = await process_of(db)
            ready = asyncio.Event()
            task = asyncio.create_task(_transaction(db, work, ready))
            await ready.wait()
            await asyncio.sleep(0.05)
            for turns in range(12):
                task.cancel()
                for _ in range(turns):
                    await asyncio.sleep(0)
            await asyncio.wait([task])
            assert task.cancelled()
            assert db.statistics().on_loan == 0
            assert keys_in(dsn) == []
            assert await process_of(db) == pid

    run(main())


@_EVERYWHERE
def test_a_task_cancelled_in_each_turn_of_the_loop_ends_in_time(dsn: str, run: Run, work: Work) -> None:
    """No wait can succeed under that, so the connection may be lost; the bound holds and nothing is left."""

    async def main() -> None:
        async with open_ledger(dsn, max_size=1, cleanup_timeout_seconds=0.2) as db:
            ready = asyncio.Event()
            task = asyncio.create_task(_transaction(db, work, ready))
            await ready.wait()
            await asyncio.sleep(0.05)
            started_at = time.monotonic()
            while not task.done():
                task.cancel()
                await asyncio.sleep(0)
            assert time.monotonic() - started_at < 3 * 0.2 + 1.0
            assert task.cancelled()
            assert db.statistics().on_loan == 0
            assert keys_in(dsn) == []

    run(main())


@_EVERYWHERE
def test_a_failing_sibling_in_a_task_group_rolls_back(dsn: str, run: Run, work: Work) -> None:
    async def fail(ready: asyncio.Event) -> None:
        await ready.wait()
        await asyncio.sleep(0.05)
        raise LookupError("the sibling's")

    async def group(db: Database) -> None:
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(_transaction(db, work, ready))
            group.create_task(fail(ready))

    async def main() -> None:
        async with open_ledger(dsn) as db:
            with pytest.raises(ExceptionGroup) as caught:
                # In a task of its own: before Python 3.13 a failed TaskGroup leaves its parent task with a cancel too many.
                await asyncio.create_task(group(db))
            assert repr(caught.value.exceptions) == repr((LookupError("the sibling's"),))
            assert keys_in(dsn) == []

    run(main())


def test_a_cancel_during_commit_ends_the_block_normally_and_comes_after_it(dsn: str, run: Run, witness: Witness) -> None:
    seen: list[str] = []

    async def pay(db: Database) -> None:
        async with db.transaction() as tx:
            await write(tx, 1)
            pids.append(await process_of(tx))
        seen.append("committed")
        await asyncio.sleep(60)

    pids: list[int] = []

    async def main() -> None:
        async with open_ledger(dsn) as db:
            await _make_commit_slow(db)
            task = asyncio.create_task(pay(db))
            while not pids:  # noqa: ASYNC110 - an event of asyncio and of nobody else
                await asyncio.sleep(0.001)
            await witness.until_waiting(pids[0])
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelling() == 1
            assert keys_in(dsn) == [1]

    run(main())
    assert seen == ["committed"]


def test_a_timeout_during_commit_is_told_after_it(dsn: str, run: Run, witness: Witness) -> None:
    seen: list[str] = []

    async def main() -> None:
        async with open_ledger(dsn) as db:
            await _make_commit_slow(db)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.15):
                    async with db.transaction() as tx:
                        await write(tx, 1)
                    seen.append("committed")
                    await asyncio.sleep(60)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await asyncio.sleep(0.01)
            assert keys_in(dsn) == [1]

    run(main())
    assert seen == ["committed"]


def test_a_timeout_during_commit_that_is_the_last_thing_in_its_block_is_lost_nowhere(dsn: str, run: Run) -> None:
    """Nothing comes after the block inside the timeout: `asyncio.timeout` takes its cancel back, and it must not strike later."""

    async def main() -> None:
        async with open_ledger(dsn) as db:
            await _make_commit_slow(db)
            try:
                async with asyncio.timeout(0.15):
                    async with db.transaction() as tx:
                        await write(tx, 1)
            except TimeoutError:
                pass
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            for _ in range(5):
                await asyncio.sleep(0.01)
            assert keys_in(dsn) == [1]

    run(main())


def test_a_child_that_is_cancelled_natively_inside_a_statement_aborts(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with open_ledger(dsn) as db:
            with pytest.raises(Exception, match="rolled back instead of committed"):
                async with db.transaction() as tx:
                    await write(tx, 1)
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await tx.execute(SLEEP)
            assert keys_in(dsn) == []

    run(main())


def test_a_single_write_that_is_cancelled_is_there_or_raises(dsn: str, run: Run) -> None:
    """Cancelled at many moments, under load; the peers' answer is that nearly all cancelled inserts are there."""
    outcomes: dict[int, str] = {}

    async def insert(db: Database, key: int) -> None:
        try:
            await write(db, key)
        except asyncio.CancelledError:
            outcomes[key] = "raised"
            raise
        outcomes[key] = "returned"
        await asyncio.sleep(1)

    async def main() -> None:
        async with open_ledger(dsn, max_size=4) as db:
            for key in range(200):
                task = asyncio.create_task(insert(db, key))
                for _ in range(key % 8):
                    await asyncio.sleep(0)
                if key % 3 == 0:
                    await asyncio.sleep(key / 400_000)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert keys_in(dsn) == [key for key in range(200) if outcomes.get(key) == "returned"]

    run(main())


async def _make_commit_slow(db: "Database | Block") -> None:
    await db.execute(sql("CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$"))
    await db.execute(
        sql("CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON entries DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION doze()")
    )
