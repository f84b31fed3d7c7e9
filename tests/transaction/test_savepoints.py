"""Savepoints: parts of a transaction that take effect or roll back alone, and hold its turn while they last."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from tests.transaction.ledger import FAILS, SLEEP, Block, Entry, fail_with, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import (
    DatabaseError,
    Savepoint,
    Transaction,
    TransactionAborted,
    TransactionBusy,
    TransactionClosed,
    TransactionRolledBack,
    UniqueViolation,
    select,
    sql,
)
from trioorm.errors import DataError


async def test_takes_effect_with_its_transaction(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            async with tx.savepoint() as sp:
                await write(sp, 1)
            assert [entry.key for entry in await tx.fetch_all(select(Entry))] == [1]
            assert keys_in(dsn) == []
        assert keys_in(dsn) == [1]


async def test_rolls_back_with_its_transaction(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(LookupError):
            async with db.transaction() as tx:
                async with tx.savepoint() as sp:
                    await write(sp, 1)
                raise LookupError
        assert keys_in(dsn) == []


async def test_rolls_back_alone(dsn: str) -> None:
    mine = LookupError("mine")
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(LookupError) as caught:
                async with tx.savepoint() as sp:
                    await write(sp, 2)
                    raise mine
            assert caught.value is mine
            await write(tx, 3)
        assert keys_in(dsn) == [1, 3]


async def test_a_failed_statement_in_it_leaves_the_transaction_usable(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(UniqueViolation):
                async with tx.savepoint() as sp:
                    await write(sp, 2)
                    await write(sp, 1)
            await write(tx, 3)
        assert keys_in(dsn) == [1, 3]


async def test_a_failed_statement_that_is_its_first_leaves_the_transaction_usable(dsn: str) -> None:
    """SAVEPOINT travels in the same flight as the statement that fails."""
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            with pytest.raises(DataError):
                async with tx.savepoint() as sp:
                    await sp.execute(FAILS)
            await write(tx, 1)
        assert keys_in(dsn) == [1]


async def test_an_error_swallowed_in_it_is_told_at_its_end(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(TransactionRolledBack, match="the savepoint trioorm_1 of the transaction was rolled back"):
                async with tx.savepoint() as sp:
                    await write(sp, 2)
                    with pytest.raises(DataError):
                        await sp.execute(FAILS)
                    with pytest.raises(TransactionAborted):
                        await write(sp, 3)
            await write(tx, 4)
        assert keys_in(dsn) == [1, 4]


async def test_the_innermost_rolls_back_alone(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            async with tx.savepoint() as outer:
                await write(outer, 2)
                with pytest.raises(LookupError):
                    async with outer.savepoint() as inner:
                        await write(inner, 3)
                        raise LookupError
                async with outer.savepoint() as second:
                    await write(second, 4)
        assert keys_in(dsn) == [1, 2, 4]


async def test_the_outer_one_takes_the_inner_ones_with_it(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(LookupError):
                async with tx.savepoint() as outer:
                    async with outer.savepoint() as inner:
                        await write(inner, 2)
                    raise LookupError
        assert keys_in(dsn) == [1]


async def test_one_that_sent_nothing_does_not_undo_what_came_before(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(LookupError):
                async with tx.savepoint():
                    raise LookupError
        assert keys_in(dsn) == [1]


async def test_many_one_after_another_leave_no_savepoints_on_the_server(dsn: str) -> None:
    """Each is released, so the names of earlier ones are gone."""
    async with open_ledger(dsn) as db:
        with pytest.raises(DatabaseError, match='savepoint "trioorm_1" does not exist'):
            async with db.transaction() as tx:
                for key in range(3):
                    async with tx.savepoint() as sp:
                        await write(sp, key)
                with pytest.raises(LookupError):
                    async with tx.savepoint() as sp:
                        await write(sp, 9)
                        raise LookupError
                await tx.execute(sql("SAVEPOINT mine"))
                await tx.execute(sql("ROLLBACK TO trioorm_1"))


# Children and siblings.


async def test_its_children_end_before_it_is_released(dsn: str) -> None:
    async def slow(sp: Savepoint) -> None:
        await anyio.sleep(0.02)
        await write(sp, 2)

    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            async with tx.savepoint() as sp:
                sp.start_soon(slow, sp)
                await write(sp, 1)
            assert len(await tx.fetch_all(select(Entry))) == 2
        assert keys_in(dsn) == [1, 2]


async def test_a_failing_child_of_it_rolls_back_it_alone(dsn: str) -> None:
    mine = LookupError("mine")
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(ExceptionGroup) as caught:
                async with tx.savepoint() as sp:
                    await write(sp, 2)
                    sp.start_soon(fail_with, mine)
                    await anyio.sleep_forever()
            assert caught.value.exceptions == (mine,)
            await write(tx, 3)
        assert keys_in(dsn) == [1, 3]


async def test_a_siblings_statement_never_falls_into_it(dsn: str) -> None:
    """The sibling waits for its turn, and its row survives the savepoint's rollback."""
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            wrote = anyio.Event()

            async def sibling() -> None:
                await write(tx, 2)
                wrote.set()

            with pytest.raises(LookupError):
                async with tx.savepoint() as sp:
                    await write(sp, 1)
                    tx.start_soon(sibling)
                    await anyio.sleep(0.02)
                    assert not wrote.is_set()
                    raise LookupError
            with anyio.fail_after(5):
                await wrote.wait()
        assert keys_in(dsn) == [2]


async def test_savepoints_of_siblings_follow_one_another(dsn: str) -> None:
    open_now: list[int] = []

    async def sibling(tx: Transaction, key: int) -> None:
        async with tx.savepoint() as sp:
            open_now.append(key)
            assert open_now == [key]
            await write(sp, key)
            await anyio.sleep(0.002)
            open_now.remove(key)

    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            for key in range(5):
                tx.start_soon(sibling, tx, key)
        assert keys_in(dsn) == [0, 1, 2, 3, 4]


# Use of the outer block inside.


async def _insert(outer: Block) -> None:
    await write(outer, 9)


async def _open_another(outer: Block) -> None:
    async with outer.savepoint():
        pytest.fail("the outer block's turn is taken")


async def _stream(outer: Block) -> None:
    async with outer.stream(select(Entry)):
        pytest.fail("the outer block's turn is taken")


async def _copy(outer: Block) -> None:
    await outer.copy_in(Entry, [Entry(key=9)])


@pytest.mark.parametrize("use", [_insert, _open_another, _stream, _copy])
async def test_using_the_outer_block_inside_is_refused_at_once(dsn: str, use: Callable[[Block], Awaitable[None]]) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(5):
            async with db.transaction() as tx:
                await write(tx, 1)
                async with tx.savepoint() as sp:
                    with pytest.raises(
                        TransactionBusy,
                        match=r"busy: the savepoint trioorm_1 of .*, opened at \S+test_savepoints.py:\d+, holds it, .*\.py:\d+",
                    ):
                        await use(tx)
                    await write(sp, 2)
                    async with sp.savepoint() as deeper:
                        for outer in (tx, sp):
                            with pytest.raises(TransactionBusy, match="use the inner block's own object"):
                                await use(outer)
                        await write(deeper, 3)
        assert keys_in(dsn) == [1, 2, 3]


async def test_a_child_of_the_savepoint_is_inside_of_it_too(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:

            async def child() -> None:
                with pytest.raises(TransactionBusy):
                    await write(tx, 9)

            with anyio.fail_after(5):
                async with tx.savepoint() as sp:
                    sp.start_soon(child)
        assert keys_in(dsn) == []


async def test_a_child_of_the_transaction_started_inside_only_waits(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(5):
            async with db.transaction() as tx:
                async with tx.savepoint() as sp:
                    tx.start_soon(write, tx, 2)
                    await write(sp, 1)
        assert keys_in(dsn) == [1, 2]


async def test_a_child_started_with_start_inside_only_waits(dsn: str) -> None:
    """`start` must take the inner block's mark off as `start_soon` does; else this child would be told that it is inside."""

    async def child(tx: Transaction, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        task_status.started()
        await write(tx, 2)

    async with open_ledger(dsn) as db:
        with anyio.fail_after(5):
            async with db.transaction() as tx:
                async with tx.savepoint() as sp:
                    await tx.start(child, tx)
                    await write(sp, 1)
        assert keys_in(dsn) == [1, 2]


async def test_the_outer_block_is_usable_after_it(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            async with tx.savepoint() as sp:
                await write(sp, 1)
            with pytest.raises(TransactionClosed, match="the savepoint trioorm_1 of the transaction was used by task"):
                await write(sp, 2)
            await write(tx, 3)
        assert keys_in(dsn) == [1, 3]


# Cancellation.


async def test_cancelled_inside_the_transaction_goes_on(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with anyio.move_on_after(0.05) as scope:
                async with tx.savepoint() as sp:
                    await write(sp, 2)
                    await sp.execute(SLEEP)
            assert scope.cancelled_caught
            await write(tx, 3)
        assert keys_in(dsn) == [1, 3]


async def test_cancelled_in_its_first_statement_the_transaction_goes_on(dsn: str) -> None:
    """SAVEPOINT succeeded on the server and the client was cancelled before it could be told."""
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            pid = await process_of(tx)
            with anyio.move_on_after(0.05) as scope:
                async with tx.savepoint() as sp:
                    await sp.execute(SLEEP)
            assert scope.cancelled_caught
            await write(tx, 1)
            assert await process_of(tx) == pid
        assert keys_in(dsn) == [1]


async def test_cancelled_by_its_own_scope_it_says_so(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(TransactionRolledBack, match="the savepoint trioorm_1 of the transaction was cancelled by its own"):
                async with tx.savepoint() as sp:
                    await write(sp, 2)
                    sp.cancel_scope.cancel()
            await write(tx, 3)
        assert keys_in(dsn) == [1, 3]


async def test_cancelled_while_it_waits_for_the_turn_it_leaves_the_line(dsn: str) -> None:
    async def hold_the_turn(tx: Transaction, held: anyio.Event) -> None:
        held.set()
        await tx.execute(sql("SELECT pg_sleep(0.1)"))

    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            held = anyio.Event()
            tx.start_soon(hold_the_turn, tx, held)
            await held.wait()
            with anyio.move_on_after(0.01) as scope:
                async with tx.savepoint():
                    pytest.fail("the turn is taken")
            assert scope.cancelled_caught
            await write(tx, 2)
        assert keys_in(dsn) == [1, 2]


# Its end.


async def test_a_savepoint_that_is_gone_from_the_server_fails_the_block(dsn: str) -> None:
    """RELEASE fails, and so does the rollback to it: the transaction around it is aborted, and says so."""
    async with open_ledger(dsn) as db:
        with pytest.raises(DatabaseError, match='savepoint "trioorm_1" does not exist'):
            async with db.transaction() as tx:
                await write(tx, 1)
                async with tx.savepoint() as sp:
                    await write(sp, 2)
                    await sp.execute(sql("RELEASE trioorm_1"))
        assert keys_in(dsn) == []


async def test_a_failed_release_that_is_swallowed_is_not_acknowledged_as_a_commit(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack):
            async with db.transaction() as tx:
                await write(tx, 1)
                with pytest.raises(DatabaseError, match="does not exist"):
                    async with tx.savepoint() as sp:
                        await write(sp, 2)
                        await sp.execute(sql("RELEASE trioorm_1"))
        assert keys_in(dsn) == []


async def test_a_constraint_made_immediate_fails_in_the_savepoint(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        witness.run("ALTER TABLE entries ADD COLUMN twin int UNIQUE DEFERRABLE INITIALLY DEFERRED")
        async with db.transaction() as tx:
            await write(tx, 9)
            with pytest.raises(UniqueViolation):
                async with tx.savepoint() as sp:
                    await sp.execute(sql("INSERT INTO entries (key, note, twin) VALUES (1, '', 5), (2, '', 5)"))
                    await sp.execute(sql("SET CONSTRAINTS ALL IMMEDIATE"))
        assert keys_in(dsn) == [9]
