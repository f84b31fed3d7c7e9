"""Streams and COPY inside a transaction: they hold its turn, and giving up half-way leaves it as it was."""

from collections.abc import AsyncGenerator

import anyio
import pytest

from tests.transaction.ledger import Entry, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import CheckViolation, Transaction, TransactionBusy, TransactionRolledBack, select, sql
from trioorm.errors import DataError

NUMBERS = sql("SELECT n FROM generate_series(1, 100000) n").returns(int)


async def test_an_early_break_leaves_the_transaction_usable(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            async with tx.stream(NUMBERS, batch_rows=10) as numbers:
                async for number in numbers:
                    if number == 15:
                        break
            await write(tx, 2)
        assert keys_in(dsn) == [1, 2]


async def test_a_stream_that_is_the_first_statement_begins_the_transaction(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(LookupError):
            async with db.transaction() as tx:
                async with tx.stream(NUMBERS, batch_rows=10) as numbers:
                    assert await anext(numbers) == 1
                await write(tx, 1)
                raise LookupError
        assert keys_in(dsn) == []


async def test_a_stream_sees_the_rows_of_its_own_transaction(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            async with tx.stream(select(Entry.key)) as keys:
                assert [key async for key in keys] == [1]


async def test_using_the_transaction_inside_a_stream_is_refused_at_once(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(5):
            async with db.transaction() as tx:
                async with tx.stream(NUMBERS, batch_rows=10) as numbers:
                    async for _ in numbers:
                        with pytest.raises(TransactionBusy, match="busy: a stream of the transaction holds it") as caught:
                            await write(tx, 1)
                        assert "finish or leave the stream first, or read it whole with `fetch_all`" in str(caught.value)
                        with pytest.raises(TransactionBusy):
                            async with tx.savepoint():
                                pytest.fail("the stream holds the turn")
                        break
                await write(tx, 2)
        assert keys_in(dsn) == [2]


async def test_a_sibling_waits_for_the_end_of_the_stream(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(5):
            async with db.transaction() as tx:
                wrote = anyio.Event()

                async def sibling() -> None:
                    await write(tx, 1)
                    wrote.set()

                async with tx.stream(NUMBERS, batch_rows=10) as numbers:
                    await anext(numbers)
                    tx.start_soon(sibling)
                    await anyio.sleep(0.02)
                    assert not wrote.is_set()
                await wrote.wait()
        assert keys_in(dsn) == [1]


async def test_an_error_among_the_rows_leaves_bare_and_the_transaction_usable(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(DataError, match="division by zero"):
                async with tx.stream(sql("SELECT 1 / (5 - n) FROM generate_series(1, 9) n").returns(int), batch_rows=2) as numbers:
                    assert [await anext(numbers) for _ in range(4)] == [0, 0, 0, 1]
                    await anext(numbers)
            await write(tx, 2)
        assert keys_in(dsn) == [1, 2]


async def test_a_statement_that_does_not_even_start_leaves_the_transaction_usable(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(Exception, match="does not exist"):
                async with tx.stream(sql("SELECT 1 FROM nowhere").returns(int)) as numbers:
                    await anext(numbers)
            await write(tx, 2)
        assert keys_in(dsn) == [1, 2]


async def test_a_cancelled_stream_leaves_the_transaction_usable_and_its_connection(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            pid = await process_of(tx)
            await write(tx, 1)
            with anyio.move_on_after(0.05) as scope:
                async with tx.stream(sql("SELECT pg_sleep(60)::text FROM generate_series(1, 9)").returns(str), batch_rows=1) as rows:
                    await anext(rows)
            assert scope.cancelled_caught
            assert await process_of(tx) == pid
            await write(tx, 2)
        assert keys_in(dsn) == [1, 2]


async def test_an_error_of_the_body_inside_a_stream_leaves_bare(dsn: str) -> None:
    mine = LookupError("mine")
    async with open_ledger(dsn) as db:
        with pytest.raises(LookupError) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                async with tx.stream(NUMBERS) as numbers:
                    await anext(numbers)
                    raise mine
        assert caught.value is mine
        assert keys_in(dsn) == []


async def test_streams_in_savepoints_nest(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            async with tx.savepoint() as sp:
                await write(sp, 1)
                async with sp.stream(NUMBERS, batch_rows=10) as numbers:
                    await anext(numbers)
                    with pytest.raises(TransactionBusy, match="the savepoint trioorm_1"):
                        await write(tx, 9)
                    with pytest.raises(TransactionBusy, match="a stream of the savepoint trioorm_1"):
                        await write(sp, 9)
                await write(sp, 2)
        assert keys_in(dsn) == [1, 2]


async def test_copy_in_takes_effect_with_its_transaction(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            assert await tx.copy_in(Entry, [Entry(key=key) for key in range(1000)]) == 1000
            assert keys_in(dsn) == []
        assert len(keys_in(dsn)) == 1000
        with pytest.raises(LookupError):
            async with db.transaction() as tx:
                await tx.copy_in(Entry, [Entry(key=key) for key in range(1000, 2000)])
                raise LookupError
        assert len(keys_in(dsn)) == 1000


async def test_a_failed_copy_aborts_the_transaction_but_not_around_a_savepoint(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        witness.run("ALTER TABLE entries ADD CHECK (key < 5)")
        with pytest.raises(TransactionRolledBack):
            async with db.transaction() as tx:
                await write(tx, 1)
                with pytest.raises(CheckViolation):
                    await tx.copy_in(Entry, [Entry(key=9)])
        assert keys_in(dsn) == []
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(CheckViolation):
                async with tx.savepoint() as sp:
                    await sp.copy_in(Entry, [Entry(key=9)])
            await write(tx, 2)
        assert keys_in(dsn) == [1, 2]


async def test_the_source_of_a_copy_may_not_use_the_transaction(dsn: str) -> None:
    """It would wait for itself: the COPY holds the turn while it reads its source."""

    async def rows(tx: Transaction) -> AsyncGenerator[Entry]:
        yield Entry(key=1)
        with pytest.raises(TransactionBusy, match="a COPY of the transaction holds it"):
            await write(tx, 9)
        yield Entry(key=2)

    async with open_ledger(dsn) as db:
        with anyio.fail_after(5):
            async with db.transaction() as tx:
                assert await tx.copy_in(Entry, rows(tx)) == 2
        assert keys_in(dsn) == [1, 2]
