"""Promise 1, by sweep: each verb outside of a transaction, and opening a database, cancelled at each suspension in each way."""

from collections.abc import AsyncGenerator, Awaitable

import anyio.lowlevel
import pytest

from tests.transaction.ledger import Entry
from tests.transaction.swept import Operation, sweep_ledger
from tests.wire.witness import Witness
from trioorm import Database, NoRowFound, UniqueViolation, insert, open_database, select, sql
from trioorm.testing import SweepRun, available_cancellations, server_is_quiet, sweep


async def _query(db: Database) -> None:
    assert await db.fetch_all(select(Entry)) == [Entry(key=9, note="before")]


async def _slow_query(db: Database) -> None:
    assert await db.fetch_value(sql("SELECT pg_sleep(0.01)::text").returns(str).reads_only()) == ""


async def _stream(db: Database) -> None:
    async with db.stream(sql("SELECT n FROM generate_series(1, 5) n").returns(int), batch_rows=2) as numbers:
        assert [number async for number in numbers] == [1, 2, 3, 4, 5]


async def _stream_left_early(db: Database) -> None:
    async with db.stream(sql("SELECT n FROM generate_series(1, 100000) n").returns(int), batch_rows=2) as numbers:
        await anext(numbers)


async def _insert(db: Database) -> None:
    await db.insert(Entry(key=1))


async def _slow_write(db: Database) -> None:
    await db.execute(sql("INSERT INTO entries (key, note) SELECT 1, '' FROM pg_sleep(0.01)"))


async def _insert_many(db: Database) -> None:
    await db.insert_many([Entry(key=key) for key in range(1, 4)])


async def _large_insert(db: Database) -> None:
    """More than a socket takes at once."""
    assert await db.execute(insert(Entry).values_from([Entry(key=key, note="x" * 500_000) for key in range(1, 4)])) == 3


async def _upsert(db: Database) -> None:
    await db.upsert(Entry(key=1, note="new"))


async def _upsert_of_a_row_that_is_there(db: Database) -> None:
    await db.upsert(Entry(key=9, note="new"))


async def _update(db: Database) -> None:
    await db.update(Entry(key=9, note="new"))


async def _update_many(db: Database) -> None:
    await db.update_many([Entry(key=9, note="new")])


async def _update_many_in_a_transaction(db: Database) -> None:
    async with db.transaction() as tx:
        made = await tx.insert_many([Entry(key=key) for key in range(1, 4)])
        assert await tx.update_many(made) == made


async def _failing_update_many(db: Database) -> None:
    try:
        await db.update_many([Entry(key=9, note="new"), Entry(key=10)])
    except NoRowFound:
        pass


async def _delete(db: Database) -> None:
    await db.delete(Entry(key=9))


async def _failing_insert(db: Database) -> None:
    try:
        await db.insert(Entry(key=9))
    except UniqueViolation:
        pass


async def _failing_delete(db: Database) -> None:
    try:
        await db.delete(Entry(key=10))
    except NoRowFound:
        pass


async def _copy_in(db: Database) -> None:
    assert await db.copy_in(Entry, [Entry(key=key, note="x" * 40_000) for key in range(1, 5)]) == 4


async def _copy_in_ahead(db: Database) -> None:
    async def entries() -> AsyncGenerator[Entry]:
        for key in range(1, 5):
            await anyio.lowlevel.checkpoint()
            yield Entry(key=key, note="x" * 40_000)

    assert await db.copy_in(Entry, entries()) == 4


async def _failing_copy_in_ahead(db: Database) -> None:
    async def entries() -> AsyncGenerator[Entry]:
        yield Entry(key=1)
        await anyio.lowlevel.checkpoint()
        yield Entry(key=9)

    try:
        await db.copy_in(Entry, entries())
    except UniqueViolation:
        pass


async def _failing_copy_in(db: Database) -> None:
    try:
        await db.copy_in(Entry, [Entry(key=1), Entry(key=9)])
    except UniqueViolation:
        pass


_BEFORE = [9]
_READS: list[Operation] = [_query, _slow_query, _stream]
_WRITES: list[tuple[Operation, list[int]]] = [
    # No write, but its end stops the statement under a shield, as a write does; the next checkpoint raises the cancellation.
    (_stream_left_early, [9]),
    (_insert, [1, 9]),
    (_slow_write, [1, 9]),
    (_insert_many, [1, 2, 3, 9]),
    (_large_insert, [1, 2, 3, 9]),
    (_upsert, [1, 9]),
    (_upsert_of_a_row_that_is_there, [9]),
    (_update, [9]),
    (_update_many, [9]),
    (_update_many_in_a_transaction, [1, 2, 3, 9]),
    (_failing_update_many, [9]),
    (_delete, []),
    (_failing_insert, [9]),
    (_failing_delete, [9]),
    (_copy_in, [1, 2, 3, 4, 9]),
    (_failing_copy_in, [9]),
    (_copy_in_ahead, [1, 2, 3, 4, 9]),
    (_failing_copy_in_ahead, [9]),
]


@pytest.mark.parametrize("operation", _READS, ids=lambda operation: operation.__name__.strip("_"))
async def test_a_read_cancelled_anywhere(dsn: str, witness: Witness, operation: Operation) -> None:
    """It never ends normally once a cancellation was raised inside it."""
    report = await sweep_ledger(dsn, witness, operation, leaves=_BEFORE, before=_BEFORE, may_absorb=False)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())


@pytest.mark.parametrize(("operation", "leaves"), _WRITES, ids=[operation.__name__.strip("_") for operation, _ in _WRITES])
async def test_a_write_cancelled_anywhere(dsn: str, witness: Witness, operation: Operation, leaves: list[int]) -> None:
    report = await sweep_ledger(dsn, witness, operation, leaves=leaves, before=_BEFORE, may_absorb=True)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())


@pytest.mark.parametrize("min_size", [0, 1, 2])
async def test_opening_and_leaving_a_database_cancelled_anywhere(dsn: str, witness: Witness, min_size: int) -> None:
    async def open_and_leave(_k: int) -> None:
        async with open_database(dsn, min_size=min_size, max_size=2):
            await anyio.lowlevel.checkpoint()

    async def no_session_is_left(run: SweepRun) -> None:
        await witness.until(
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend')"
        )

    report = await sweep(open_and_leave, check=no_session_is_left)
    assert report.cancellations >= len(available_cancellations())


async def test_a_database_with_work_in_it_cancelled_anywhere(dsn: str, witness: Witness) -> None:
    """The cancellation reaches the database's block from inside, with the pool's own cleanup to come."""
    witness.run("CREATE TABLE entries (key bigint PRIMARY KEY, note text)")

    def run_all(k: int) -> Awaitable[None]:
        return _work(dsn, k)

    async def check(run: SweepRun) -> None:
        await server_is_quiet(witness.connection)
        assert witness.value("SELECT count(*) FROM entries WHERE key = %s", run.k) in ((1,) if run.ended_normally else (0, 1))
        witness.run("TRUNCATE entries")

    await sweep(run_all, check=check, may_absorb=True)


async def _work(dsn: str, key: int) -> None:
    async with open_database(dsn, max_size=2) as db:
        async with db.transaction() as tx:
            await tx.insert(Entry(key=key))
            tx.start_soon(db.fetch_all, select(Entry))
