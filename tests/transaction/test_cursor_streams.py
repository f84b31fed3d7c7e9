"""`tx.stream(..., cursor=True)`: a batch is a turn, and other statements of the same code run in between."""

import anyio
import pytest

from tests.transaction.ledger import Entry, keys_in, open_ledger, write
from tests.transaction.swept import sweep_ledger
from tests.wire.witness import Witness
from trioorm import Database, Transaction, TransactionBusy, TransactionRolledBack, select, sql
from trioorm.errors import DataError, UsageError

NUMBERS = sql("SELECT n FROM generate_series(1, 100) n").returns(int)
CURSORS = sql("SELECT count(*) FROM pg_cursors WHERE name LIKE 'trioorm%'").returns(int)


@pytest.mark.parametrize("batch_rows", [1, 7, 50, 100, 1000])
async def test_every_row_comes_and_other_statements_run_between(dsn: str, batch_rows: int) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            seen: list[int] = []
            async with tx.stream(NUMBERS, batch_rows=batch_rows, cursor=True) as numbers:
                async for number in numbers:
                    if number % 50 == 0:
                        await write(tx, number)
                        async with tx.savepoint() as sp:
                            await write(sp, number + 1)
                    seen.append(number)
            assert seen == list(range(1, 101))
            assert await tx.fetch_value(CURSORS) == 0
        assert keys_in(dsn) == [50, 51, 100, 101]


async def test_the_way_out_that_the_error_names_is_one(dsn: str) -> None:
    async with open_ledger(dsn) as db, db.transaction() as tx:
        async with tx.stream(NUMBERS, batch_rows=10) as numbers:
            await anext(numbers)
            with pytest.raises(TransactionBusy, match=r"server-side cursor.*`tx\.stream\(\.\.\., cursor=True\)`"):
                await write(tx, 1)
        async with tx.stream(NUMBERS, batch_rows=10, cursor=True) as numbers:
            await anext(numbers)
            await write(tx, 1)


async def test_bind_values_objects_and_several_cursors_at_a_time(dsn: str) -> None:
    async with open_ledger(dsn) as db, db.transaction() as tx:
        for key in range(1, 6):
            await write(tx, key)
        first = tx.stream(select(Entry).where(Entry.key > 1).order_by(Entry.key), batch_rows=2, cursor=True)
        second = tx.stream(select(Entry.key).where(Entry.key < 4).order_by(Entry.key), batch_rows=1, cursor=True)
        async with first as entries, second as keys:
            assert (await anext(entries)).key == 2
            assert await anext(keys) == 1
            assert [entry.key async for entry in entries] == [3, 4, 5]
            assert [key async for key in keys] == [2, 3]


async def test_leaving_early_closes_the_cursor(dsn: str) -> None:
    async with open_ledger(dsn) as db, db.transaction() as tx:
        async with tx.stream(NUMBERS, batch_rows=10, cursor=True) as numbers:
            await anext(numbers)
        assert await tx.fetch_value(CURSORS) == 0
        with pytest.raises(LookupError):
            async with tx.stream(NUMBERS, batch_rows=10, cursor=True):
                raise LookupError
        assert await tx.fetch_value(CURSORS) == 0


async def test_an_error_puts_the_transaction_in_error(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(DataError):
            async with db.transaction() as tx:
                await write(tx, 1)
                async with tx.stream(
                    sql("SELECT 1 / (5 - n) FROM generate_series(1, 9) n").returns(int), batch_rows=2, cursor=True
                ) as rows:
                    async for _ in rows:
                        pass
        assert keys_in(dsn) == []


async def test_outside_of_a_transaction_it_is_refused(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(UsageError, match="leave cursor=True out"):
            db.stream(NUMBERS, cursor=True)
        async with db.snapshot() as snapshot:
            with pytest.raises(UsageError, match="leave cursor=True out"):
                snapshot.stream(NUMBERS, cursor=True)


async def test_children_may_read_one_each(dsn: str) -> None:
    sums: list[int] = []

    async def add_up(tx: Transaction) -> None:
        async with tx.stream(NUMBERS, batch_rows=9, cursor=True) as numbers:
            sums.append(sum([number async for number in numbers]))

    async with open_ledger(dsn) as db, db.transaction() as tx:
        for _ in range(4):
            tx.start_soon(add_up, tx)
    assert sums == [5050] * 4


async def _read_and_write(db: Database) -> None:
    async with db.transaction() as tx:
        async with tx.stream(sql("SELECT n FROM generate_series(1, 5) n").returns(int), batch_rows=2, cursor=True) as numbers:
            async for number in numbers:
                await anyio.lowlevel.checkpoint()
                await tx.insert(Entry(key=number))


async def test_cancelled_anywhere(dsn: str, witness: Witness) -> None:
    await sweep_ledger(dsn, witness, _read_and_write, leaves=[1, 2, 3, 4, 5, 9], before=[9], may_absorb=True)


async def test_a_cancellation_inside_that_is_caught_rolls_back_all_the_same_when_it_hit_a_statement(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack):
            async with db.transaction() as tx:
                await write(tx, 1)
                with anyio.move_on_after(0.05):
                    async with tx.stream(sql("SELECT n, pg_sleep(60) FROM generate_series(1, 9) n").returns(int, str), cursor=True):
                        pytest.fail("it never comes")
        assert keys_in(dsn) == []
