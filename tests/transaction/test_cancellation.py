"""Cancellation of a transaction from outside, from inside, and of single children; and use of it at the wrong time."""

import math
from contextlib import nullcontext
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.transaction.ledger import SLEEP, Block, Entry, Sleeper, fail_with, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import Database, Transaction, TransactionClosed, TransactionRolledBack, TrioormError, select, sql
from trioorm.errors import leaves_of
from trioorm.wire import AnyIOConnection, Step
from trioorm.wire.flight import PlainAnswer

# From outside.


async def test_a_timeout_rolls_back_while_a_child_sleeps_on_the_server(dsn: str, witness: Witness) -> None:
    sleeper = Sleeper(witness)
    async with open_ledger(dsn) as db:
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.15):
                async with db.transaction() as tx:
                    await write(tx, 1)
                    tx.start_soon(sleeper.sleep_on, tx)
        assert db.statistics().on_loan == 0
        await witness.until("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s AND state <> 'idle')", sleeper.pid)
        assert keys_in(dsn) == []
        async with db.transaction() as tx:
            assert await process_of(tx) == sleeper.pid, "the connection was kept: one cancelled query costs no reconnect"


@pytest.mark.parametrize("where", ["body", "child", "savepoint", "child of a savepoint"])
async def test_a_cancelled_scope_rolls_back_wherever_the_statement_runs(dsn: str, witness: Witness, where: str) -> None:
    sleeper = Sleeper(witness)

    async def transaction(db: Database, scope: anyio.CancelScope) -> None:
        with scope:
            async with db.transaction() as tx:
                await write(tx, 1)
                if where == "body":
                    await sleeper.sleep_on(tx)
                elif where == "child":
                    tx.start_soon(sleeper.sleep_on, tx)
                else:
                    async with tx.savepoint() as sp:
                        await write(sp, 2)
                        if where == "savepoint":
                            await sleeper.sleep_on(sp)
                        else:
                            sp.start_soon(sleeper.sleep_on, sp)

    # Whether it may take long is another test's matter; on a busy machine it does.
    async with open_ledger(dsn, cleanup_timeout_seconds=10.0) as db:
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(transaction, db, scope)
            nursery.start_soon(sleeper.cancel_when_asleep, scope)
        assert scope.cancelled_caught
        assert db.statistics().on_loan == 0
        assert witness.is_alive(sleeper.pid)
        assert keys_in(dsn) == []


async def test_a_cancellation_between_the_body_and_the_commit_rolls_back(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with anyio.CancelScope() as scope:
            async with db.transaction() as tx:
                await write(tx, 1)
                scope.cancel()
        assert scope.cancelled_caught
        assert keys_in(dsn) == []


def _let_pass(deadline: float) -> None:
    """Work without a checkpoint until a deadline has passed, so that nobody has seen it."""
    while anyio.current_time() <= deadline:
        pass


async def test_a_deadline_that_passes_unseen_before_the_commit_rolls_back(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with anyio.CancelScope(deadline=anyio.current_time() + 0.2) as scope:
            async with db.transaction() as tx:
                await write(tx, 1)
                _let_pass(scope.deadline)
        assert scope.cancelled_caught
        assert keys_in(dsn) == []


@pytest.mark.parametrize("where", ["transaction", "savepoint", "transaction with a child"])
async def test_a_deadline_of_the_blocks_own_scope_that_passes_unseen_rolls_back(dsn: str, where: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack):
            async with db.transaction() as tx, tx.savepoint() if where == "savepoint" else nullcontext(tx) as block:
                await write(block, 1)
                block.cancel_scope.deadline = anyio.current_time() + 0.01
                _let_pass(block.cancel_scope.deadline)
                if where == "transaction with a child":
                    block.start_soon(anyio.lowlevel.checkpoint)
        assert keys_in(dsn) == []


@pytest.mark.parametrize("whose", ["the caller's scope", "the block's own scope"])
async def test_a_cancellation_right_behind_the_commit_comes_too_late(dsn: str, monkeypatch: pytest.MonkeyPatch, whose: str) -> None:
    send_command = AnyIOConnection[Any].send_command
    scopes: list[anyio.CancelScope] = []

    def sending(connection: AnyIOConnection[Any], step: Step) -> PlainAnswer:
        answer = send_command(connection, step)
        for scope in scopes:
            scope.cancel()
        return answer

    ended_well = False
    async with open_ledger(dsn) as db:
        with anyio.CancelScope() as scope:
            async with db.transaction() as tx:
                await write(tx, 1)
                scopes.append(scope if whose == "the caller's scope" else tx.cancel_scope)
                monkeypatch.setattr(AnyIOConnection, "send_command", sending)
            ended_well = True
            monkeypatch.undo()
            await anyio.lowlevel.checkpoint()
        assert ended_well
        assert scope.cancelled_caught == (whose == "the caller's scope"), "it is delivered behind the block, and no other is"
        assert keys_in(dsn) == [1]


async def test_a_task_that_comes_while_the_commit_is_under_way_is_refused(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    send_command = AnyIOConnection[Any].send_command
    was_sent = anyio.Event()
    refused: list[str] = []

    def sending(connection: AnyIOConnection[Any], step: Step) -> PlainAnswer:
        answer = send_command(connection, step)
        was_sent.set()
        return answer

    async def latecomer(tx: Transaction) -> None:
        await was_sent.wait()
        with pytest.raises(TransactionClosed):
            tx.start_soon(anyio.sleep, 0)
        with pytest.raises(TransactionClosed):
            tx.on_commit(anyio.sleep, 0)
        with pytest.raises(TransactionClosed):
            await write(tx, 2)
        refused.append("it")

    async with open_ledger(dsn) as db, anyio.create_task_group() as nursery:
        async with db.transaction() as tx:
            await write(tx, 1)
            nursery.start_soon(latecomer, tx)  # it carries the block's mark, and is no child of it
            await tx.fetch_all(select(Entry))
            monkeypatch.setattr(AnyIOConnection, "send_command", sending)
    assert refused
    assert keys_in(dsn) == [1]


async def test_a_deadline_that_has_passed_before_entry_takes_no_connection(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with anyio.move_on_after(0) as scope:
            await anyio.lowlevel.checkpoint_if_cancelled()
            pytest.fail("the deadline has passed")
        with anyio.CancelScope(deadline=-math.inf) as scope:
            async with db.transaction():
                pytest.fail("the block is not entered")
        assert scope.cancelled_caught
        assert db.statistics().on_loan == 0


async def test_a_cancellation_while_waiting_for_a_connection_leaves_the_line(dsn: str) -> None:
    async def wait_in_vain(db: Database, gave_up: anyio.Event) -> None:
        with anyio.move_on_after(0.02) as scope:
            async with db.transaction():
                pytest.fail("there is no second connection")
        assert scope.cancelled_caught
        gave_up.set()

    async with open_ledger(dsn, max_size=1) as db:
        async with anyio.create_task_group() as nursery:
            async with db.transaction() as tx:
                gave_up = anyio.Event()
                nursery.start_soon(wait_in_vain, db, gave_up)
                await gave_up.wait()
                assert db.statistics().waiting == 0
                await write(tx, 1)
        assert keys_in(dsn) == [1]


# From inside.


async def test_cancelling_its_own_scope_rolls_back_and_says_so(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack, match="was cancelled by its own cancel_scope and rolled back"):
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.cancel_scope.cancel()
        assert keys_in(dsn) == []


async def test_a_child_may_cancel_the_whole_transaction(dsn: str) -> None:
    async def give_up(tx: Transaction) -> None:
        tx.cancel_scope.cancel()

    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack):
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.start_soon(give_up, tx)
                await anyio.sleep_forever()
        assert keys_in(dsn) == []


async def test_an_error_goes_before_the_transactions_own_cancellation(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(LookupError):
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.cancel_scope.cancel()
                raise LookupError
        assert keys_in(dsn) == []


async def test_a_deadline_of_its_own_scope_rolls_back(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack):
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.cancel_scope.deadline = anyio.current_time() + 0.05
                await tx.execute(SLEEP)
        assert keys_in(dsn) == []


# Of a child alone.


async def test_a_child_cancelled_under_a_statement_aborts_the_transaction(dsn: str) -> None:
    """PostgreSQL's rule: an interrupted statement is a failed statement."""

    async def give_up_soon(tx: Transaction) -> None:
        with anyio.move_on_after(0.05):
            await tx.execute(SLEEP)

    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack, match="a statement in it had failed or was interrupted"):
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.start_soon(give_up_soon, tx)
        assert keys_in(dsn) == []


async def test_a_statement_after_an_interrupted_one_says_what_interrupted_it(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(Exception, match="was aborted because of a statement that a cancellation interrupted") as caught:
            async with db.transaction() as tx:
                with anyio.move_on_after(0.05):
                    await tx.execute(SLEEP)
                await write(tx, 1)
        assert isinstance(caught.value.__cause__, anyio.get_cancelled_exc_class())
        assert keys_in(dsn) == []


async def test_a_child_cancelled_before_its_statement_was_sent_leaves_no_trace(dsn: str, witness: Witness) -> None:
    """It waits its turn behind a sibling's statement."""
    given_up = anyio.Event()

    async def hold_the_turn(tx: Transaction, held: anyio.Event) -> None:
        held.set()
        await tx.execute(sql("SELECT pg_sleep(0.2)"))
        assert given_up.is_set(), "the sibling has given up while the turn was held"

    async def give_up_in_line(tx: Transaction, held: anyio.Event) -> None:
        await held.wait()
        with anyio.move_on_after(0.02) as scope:
            await write(tx, 2)
        assert scope.cancelled_caught
        given_up.set()

    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            held = anyio.Event()
            tx.start_soon(hold_the_turn, tx, held)
            tx.start_soon(give_up_in_line, tx, held)
        assert keys_in(dsn) == [1]


async def test_a_child_cancelled_outside_of_statements_leaves_the_rest_alone(dsn: str) -> None:
    async def give_up(tx: Transaction) -> None:
        await write(tx, 2)
        with anyio.move_on_after(0.01):
            await anyio.sleep_forever()

    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            tx.start_soon(give_up, tx)
        assert keys_in(dsn) == [1, 2]


# At the wrong time.


async def test_use_before_entry_is_refused(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        tx = db.transaction()
        for use in (lambda: write(tx, 1), lambda: tx.fetch_all(select(Entry))):
            with pytest.raises(TransactionClosed, match="its block was not entered"):
                await use()
        with pytest.raises(TransactionClosed, match="not entered"):
            tx.start_soon(write, tx, 1)
        with pytest.raises(TransactionClosed, match="not entered"):
            async with tx.savepoint():
                pytest.fail("the transaction is not open")
        assert db.statistics().on_loan == 0


async def test_use_after_the_end_is_refused_and_reaches_nobody(dsn: str) -> None:
    async def fails_late(tx: Transaction) -> None:
        await write(tx, 3)

    async with open_ledger(dsn, max_size=1) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            async with tx.savepoint() as sp:
                pass
        async with db.transaction() as other:
            await write(other, 2)
            for block in (tx, sp):
                with pytest.raises(TransactionClosed, match="but its block has ended"):
                    await write(block, 4)
                with pytest.raises(TransactionClosed, match=r"tx\.start_soon"):
                    block.start_soon(fails_late, tx)
                with pytest.raises(TransactionClosed):
                    async with block.stream(select(Entry)):
                        pytest.fail("the block has ended")
                with pytest.raises(TransactionClosed):
                    await block.copy_in(Entry, [Entry(key=5)])
                with pytest.raises(TransactionClosed):
                    async with block.savepoint():
                        pytest.fail("the block has ended")
        assert keys_in(dsn) == [1, 2]


async def test_a_block_cannot_be_entered_twice(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        tx = db.transaction()
        async with tx:
            with pytest.raises(TransactionClosed, match="was entered before"):
                async with tx:
                    pytest.fail("it is open already")
            await write(tx, 1)
        with pytest.raises(TransactionClosed, match="was entered before"):
            async with tx:
                pytest.fail("it has ended")
        assert keys_in(dsn) == [1]
        assert db.statistics().on_loan == 0


async def test_a_task_of_somebody_elses_may_use_an_open_transaction(dsn: str) -> None:
    """Nothing is ambient: whoever is handed `tx` takes turns on it, whatever nursery it runs in."""
    async with open_ledger(dsn) as db:
        async with anyio.create_task_group() as nursery:
            async with db.transaction() as tx:
                done = anyio.Event()

                async def outsider() -> None:
                    await write(tx, 2)
                    done.set()

                nursery.start_soon(outsider)
                await write(tx, 1)
                await done.wait()
        assert keys_in(dsn) == [1, 2]


async def test_an_outsider_that_comes_too_late_is_told(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as nursery:
                ended = anyio.Event()

                async def outsider(block: Block) -> None:
                    await ended.wait()
                    await write(block, 2)

                async with db.transaction() as tx:
                    nursery.start_soon(outsider, tx, name="the outsider")
                    await write(tx, 1)
                ended.set()
        (error,) = leaves_of(caught.value)
        assert isinstance(error, TransactionClosed)
        assert "task 'the outsider'" in str(error)
        assert keys_in(dsn) == [1]


async def test_the_end_waits_for_an_outsiders_statement_that_is_under_way(dsn: str, witness: Witness) -> None:
    """COMMIT may not cut into a statement of a task that the transaction does not know."""
    sleeper = Sleeper(witness)

    async def outsider(tx: Transaction) -> None:
        sleeper.runs_on(await process_of(tx))
        await tx.execute(sql("INSERT INTO entries (key, note) SELECT 2, '' FROM pg_sleep(0.1)"))

    async with open_ledger(dsn) as db:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as nursery:
                async with db.transaction() as tx:
                    await write(tx, 1)
                    nursery.start_soon(outsider, tx)
                    await sleeper.until_asleep()
        assert keys_in(dsn) == [1, 2]


async def test_a_rollback_stops_an_outsiders_statement_that_is_under_way(dsn: str, witness: Witness) -> None:
    """The outsider gets an error, whichever; the transaction's own error is not held up for longer than a cleanup may take."""
    sleeper = Sleeper(witness)
    outcome: list[BaseException | None] = []

    async def outsider(tx: Transaction) -> None:
        try:
            await sleeper.sleep_on(tx)
        except TrioormError as error:
            outcome.append(error)
        else:
            outcome.append(None)

    async with open_ledger(dsn, cleanup_timeout_seconds=0.2) as db:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as nursery:
                with pytest.raises(LookupError):
                    async with db.transaction() as tx:
                        await write(tx, 1)
                        nursery.start_soon(outsider, tx)
                        await sleeper.until_asleep()
                        raise LookupError
        assert len(outcome) == 1
        assert outcome[0] is not None
        assert keys_in(dsn) == []
        assert await db.fetch_value(sql("SELECT 7").returns(int)) == 7


async def test_a_child_that_fails_while_the_body_sleeps_on_the_server_stops_it(dsn: str, witness: Witness) -> None:
    sleeper = Sleeper(witness)
    mine = ValueError("mine")

    async def fail_when_asleep() -> None:
        await sleeper.until_asleep()
        await fail_with(mine)

    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.start_soon(fail_when_asleep)
                await sleeper.sleep_on(tx)
        assert caught.value.exceptions == (mine,)
        assert keys_in(dsn) == []
        assert witness.is_alive(sleeper.pid)
