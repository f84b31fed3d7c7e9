"""Promise 1, by sweep: transactions, savepoints, streams in them and their children, cancelled at each suspension in each way."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio.lowlevel
import pytest

from tests.transaction.conftest import Flights
from tests.transaction.ledger import FAILS, Block, Entry, fail_with, open_ledger, write
from tests.transaction.swept import Operation, sweep_ledger
from tests.wire.witness import Witness
from trioorm import Database, Transaction, select, sql
from trioorm.errors import DataError
from trioorm.testing import available_cancellations

NAP = sql("SELECT pg_sleep(0.01)")


async def _empty(db: Database) -> None:
    async with db.transaction():
        await anyio.lowlevel.checkpoint()


async def _read(db: Database) -> None:
    async with db.transaction(read_only=True) as tx:
        assert await tx.fetch_all(select(Entry)) == []


async def _write(db: Database) -> None:
    async with db.transaction() as tx:
        await write(tx, 1)


async def _several_statements(db: Database) -> None:
    async with db.transaction(isolation="serializable") as tx:
        await write(tx, 1)
        await tx.execute(NAP)
        await write(tx, 2)


async def _savepoints(db: Database, depth: int) -> None:
    async def nest(block: Block, key: int) -> None:
        await write(block, key)
        if key < depth:
            async with block.savepoint() as sp:
                await nest(sp, key + 1)

    async with db.transaction() as tx:
        await nest(tx, 0)


async def _savepoint(db: Database) -> None:
    await _savepoints(db, 1)


async def _two_savepoints(db: Database) -> None:
    await _savepoints(db, 2)


async def _three_savepoints(db: Database) -> None:
    await _savepoints(db, 3)


async def _savepoint_that_rolls_back(db: Database) -> None:
    async with db.transaction() as tx:
        await write(tx, 1)
        try:
            async with tx.savepoint() as sp:
                await write(sp, 2)
                await write(sp, 1)
        except Exception as error:
            assert "entries_pkey" in str(error)  # noqa: PT017 - a cancellation is to pass


async def _savepoint_with_children(db: Database) -> None:
    async with db.transaction() as tx:
        async with tx.savepoint() as sp:
            sp.start_soon(write, sp, 1)
            sp.start_soon(write, sp, 2)


async def _children(db: Database, number: int) -> None:
    async with db.transaction() as tx:
        for key in range(number):
            tx.start_soon(write, tx, key)
        await write(tx, number)


async def _child(db: Database) -> None:
    await _children(db, 1)


async def _three_children(db: Database) -> None:
    await _children(db, 3)


async def _children_with_savepoints(db: Database) -> None:
    async def child(tx: Transaction, key: int) -> None:
        async with tx.savepoint() as sp:
            await write(sp, key)

    async with db.transaction() as tx:
        tx.start_soon(child, tx, 1)
        tx.start_soon(child, tx, 2)


async def _failing_child(db: Database) -> None:
    try:
        async with db.transaction() as tx:
            await write(tx, 1)
            tx.start_soon(fail_with, LookupError("the child's"))
            await write(tx, 2)
    except* LookupError:
        pass


async def _waiting_in_line(tx: Transaction, *children: Callable[[], Awaitable[object]]) -> None:
    """Start children whose statements all wait for the turn, so that they are sent together."""
    async with tx.stream(sql("SELECT 1").returns(int)):
        for child in children:
            tx.start_soon(child)
        for _ in range(10):
            await anyio.lowlevel.checkpoint()


async def _children_in_one_flight(db: Database) -> None:
    async with db.transaction() as tx:
        await _waiting_in_line(tx, *(partial(write, tx, key) for key in range(3)))


async def _failing_child_in_one_flight(db: Database) -> None:
    try:
        async with db.transaction() as tx:
            await _waiting_in_line(tx, partial(write, tx, 1), partial(tx.execute, FAILS), partial(write, tx, 2))
    except* DataError:
        pass


async def _failing_child_of_a_savepoint(db: Database) -> None:
    async with db.transaction() as tx:
        await write(tx, 1)
        try:
            async with tx.savepoint() as sp:
                sp.start_soon(write, sp, 2)
                sp.start_soon(sp.execute, FAILS)
        except* DataError:
            pass
        await write(tx, 3)


async def _moved_deadline(db: Database) -> None:
    with anyio.fail_after(60) as scope:
        async with db.transaction() as tx:
            await write(tx, 1)
            scope.deadline += 60
            await write(tx, 2)


async def _stream(db: Database) -> None:
    async with db.transaction() as tx:
        await write(tx, 1)
        async with tx.stream(sql("SELECT n FROM generate_series(1, 5) n").returns(int), batch_rows=2) as numbers:
            assert [number async for number in numbers] == [1, 2, 3, 4, 5]


async def _stream_left_early(db: Database) -> None:
    async with db.transaction() as tx:
        async with tx.stream(sql("SELECT n FROM generate_series(1, 100000) n").returns(int), batch_rows=2) as numbers:
            await anext(numbers)
        await write(tx, 1)


async def _copy(db: Database) -> None:
    async with db.transaction() as tx:
        assert await tx.copy_in(Entry, [Entry(key=key, note="x" * 40_000) for key in range(4)]) == 4


_OPERATIONS: list[tuple[Operation, list[int]]] = [
    (_empty, []),
    (_read, []),
    (_write, [1]),
    (_several_statements, [1, 2]),
    (_savepoint, [0, 1]),
    (_two_savepoints, [0, 1, 2]),
    (_three_savepoints, [0, 1, 2, 3]),
    (_savepoint_that_rolls_back, [1]),
    (_savepoint_with_children, [1, 2]),
    (_child, [0, 1]),
    (_three_children, [0, 1, 2, 3]),
    (_children_with_savepoints, [1, 2]),
    (_failing_child, []),
    (_children_in_one_flight, [0, 1, 2]),
    (_failing_child_in_one_flight, []),
    (_failing_child_of_a_savepoint, [1, 3]),
    (_moved_deadline, [1, 2]),
    (_stream, [1]),
    (_stream_left_early, [1]),
    (_copy, [0, 1, 2, 3]),
]


@pytest.mark.parametrize(("operation", "leaves"), _OPERATIONS, ids=[operation.__name__.strip("_") for operation, _ in _OPERATIONS])
async def test_cancelled_anywhere(dsn: str, witness: Witness, backend: str, operation: Operation, leaves: list[int]) -> None:
    report = await sweep_ledger(dsn, witness, operation, leaves=leaves, may_absorb=operation is not _empty)
    kinds = available_cancellations()
    assert len(kinds) == (7 if backend == "asyncio" else 3)
    assert {run.kind for run in report.runs if run.reached} == set(kinds), "each kind has really arrived"
    assert report.cancellations >= len(kinds)


async def test_what_is_swept_as_one_flight_is_one(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        noted = flights()
        await _children_in_one_flight(db)
        assert ["INSERT", "INSERT", "INSERT", "SELECT"] in noted.sent, "the last asks for the transaction's id"


async def test_a_sweep_of_a_transaction_that_leaks_fails(dsn: str, witness: Witness) -> None:
    """The check itself can fail: rows of a transaction written outside of it are found."""

    async def leaky(db: Database) -> None:
        async with db.transaction() as tx:
            await write(tx, 1)
            await write(db, 2)

    with pytest.raises(AssertionError, match="an invariant is broken"):
        await sweep_ledger(dsn, witness, leaky, leaves=[1, 2], may_absorb=True)
