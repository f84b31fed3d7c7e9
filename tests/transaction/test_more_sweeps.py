"""Promise 1, by sweep: attempts, hooks, settings, locks, snapshots and a COMMIT that fails, cancelled at each suspension in each way."""

import anyio
import anyio.lowlevel
import pytest

from tests.transaction.ledger import Entry, write
from tests.transaction.swept import Operation, sweep_ledger
from tests.wire.witness import Witness
from trioorm import Database, ForeignKeyViolation, Retry, SerializationFailure, Snapshot, Transaction, select, sql
from trioorm.errors import LockNotAvailable
from trioorm.testing import SweepRun, available_cancellations

QUICK = Retry(base_seconds=0.0001, max_seconds=0.0001)


def _refuse_first(number: int) -> None:
    if number == 1:
        raise SerializationFailure("made up", sqlstate="40001")


async def _attempts(db: Database) -> None:
    async for attempt in db.attempts(retry=QUICK):
        async with attempt as tx:
            await write(tx, 1)
            _refuse_first(attempt.number)


async def _run_in_transaction_with_children(db: Database) -> None:
    calls: list[int] = []

    async def run(tx: Transaction) -> None:
        calls.append(1)
        tx.start_soon(write, tx, 1)
        await write(tx, 2)
        _refuse_first(len(calls))

    await db.run_in_transaction(run, retry=QUICK)


async def _commit_that_fails(db: Database) -> None:
    try:
        async with db.transaction() as tx:
            await write(tx, 1)
            await tx.execute(sql("CREATE TEMP TABLE pairs (a int PRIMARY KEY, b int REFERENCES pairs DEFERRABLE INITIALLY DEFERRED)"))
            await tx.execute(sql("INSERT INTO pairs VALUES (1, 2)"))
    except ForeignKeyViolation:
        pass


async def _settings(db: Database) -> None:
    async with db.transaction(settings={"app.user": "Ada"}) as tx:
        await tx.settings(**{"app.user": "Grace"})
        await write(tx, 1)


async def _lock_in_transaction(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.advisory_lock("x")
        await write(tx, 1)


@pytest.mark.parametrize(
    ("operation", "leaves"),
    [
        (_attempts, [1]),
        (_run_in_transaction_with_children, [1, 2]),
        (_commit_that_fails, []),
        (_settings, [1]),
        (_lock_in_transaction, [1]),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_"),
)
async def test_a_transaction_cancelled_anywhere(dsn: str, witness: Witness, operation: Operation, leaves: list[int]) -> None:
    report = await sweep_ledger(dsn, witness, operation, leaves=leaves, may_absorb=True)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())


async def test_hooks_follow_the_outcome_wherever_it_is_cancelled(dsn: str, witness: Witness) -> None:
    diary: list[str] = []

    async def note(entry: str) -> None:
        diary.append(entry)

    async def operation(db: Database) -> None:
        async with db.transaction() as tx:
            tx.on_commit(note, "committed")
            tx.on_rollback(note, "undone")
            await write(tx, 1)
            async with tx.savepoint() as sp:
                sp.on_commit(note, "inside")
                await write(sp, 2)

    async def check(run: SweepRun) -> None:
        await anyio.wait_all_tasks_blocked()
        # Cancelled on the way in, the block was never there.
        assert diary in ([["committed", "inside"]] if run.ended_normally else [["undone"], []]), diary
        diary.clear()

    report = await sweep_ledger(dsn, witness, operation, leaves=[1, 2], may_absorb=True, also=check)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())


async def _lock(db: Database) -> None:
    async with db.advisory_lock("x"):
        await db.fetch_all(select(Entry))


async def _contended_lock(db: Database) -> None:
    async with anyio.create_task_group() as nursery:
        for _ in range(2):
            nursery.start_soon(_hold, db)


async def _hold(db: Database) -> None:
    async with db.advisory_lock("x"):
        await anyio.lowlevel.checkpoint()


async def _refused_lock(db: Database) -> None:
    async with db.advisory_lock("x"):
        try:
            async with db.advisory_lock("x", nowait=True):
                pytest.fail("it is held")
        except LockNotAvailable:
            pass


@pytest.mark.parametrize("operation", [_lock, _contended_lock, _refused_lock], ids=lambda operation: operation.__name__.strip("_"))
async def test_a_lock_cancelled_anywhere_is_released(dsn: str, witness: Witness, operation: Operation) -> None:
    async def check(run: SweepRun) -> None:
        await witness.until("SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')")

    report = await sweep_ledger(dsn, witness, operation, leaves=[], may_absorb=False, also=check)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())


async def _read(snap: Snapshot) -> None:
    assert len(await snap.fetch_all(select(Entry))) == 1


async def _snapshot(db: Database) -> None:
    async with db.snapshot(connections=2) as snap:
        snap.start_soon(_read, snap)
        snap.start_soon(_read, snap)
        await _read(snap)


async def _stream_of_a_snapshot(db: Database) -> None:
    async with db.snapshot(connections=2) as snap:
        async with snap.stream(sql("SELECT n FROM generate_series(1, 5) n").returns(int), batch_rows=2) as numbers:
            await anext(numbers)
            await _read(snap)


@pytest.mark.parametrize("operation", [_snapshot, _stream_of_a_snapshot], ids=lambda operation: operation.__name__.strip("_"))
async def test_a_snapshot_cancelled_anywhere(dsn: str, witness: Witness, operation: Operation) -> None:
    report = await sweep_ledger(dsn, witness, operation, leaves=[9], before=[9], may_absorb=False)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())
