"""Statements of several tasks that wait for the turn: sent together in the order of asking, each with its own result or error."""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.transaction.conftest import Flights
from tests.transaction.ledger import FAILS, SLEEP, Entry, Sleeper, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import ConnectionLost, Transaction, TransactionAborted, TransactionRolledBack, select, sql
from trioorm.errors import DataError, leaves_of


async def _number(tx: Transaction, number: int, into: dict[int, Any]) -> None:
    into[number] = await tx.fetch_value(sql("SELECT {number}", number=number).returns(int).reads_only())


async def test_siblings_that_wait_are_sent_together_in_the_order_of_asking(dsn: str, flights: Callable[[], Flights]) -> None:
    answers: dict[int, Any] = {}
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await tx.fetch_all(select(Entry))
            noted = flights()
            for number in range(30):
                tx.start_soon(_number, tx, number, answers)
        assert answers == {number: number for number in range(30)}
        assert sum(map(len, noted.sent[:-1])) == 30
        assert len(noted.sent) <= 4, "one for the first, one for those behind it, COMMIT; a scheduler may let one more in between"


async def test_the_first_ones_open_the_transaction_together(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        noted = flights()
        async with db.transaction() as tx:
            for key in range(10):
                tx.start_soon(write, tx, key)
        assert noted.sent[0][0] == "BEGIN"
        assert [text for flight in noted.sent for text in flight].count("BEGIN") == 1
        assert keys_in(dsn) == list(range(10))


async def test_each_error_goes_to_its_own_task_and_the_others_learn_why(dsn: str) -> None:
    told: dict[str, BaseException] = {}

    async def note(name: str, statement: Any, tx: Transaction) -> None:  # noqa: ANN401 - any statement
        try:
            await tx.execute(statement)
        except Exception as error:
            told[name] = error

    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack) as caught:
            async with db.transaction() as tx:
                async with tx.stream(select(Entry)):  # holds the turn until all wait in line
                    for name, statement in (
                        ("before", select(Entry)),
                        ("fails", FAILS),
                        ("behind", select(Entry)),
                        ("last", select(Entry)),
                    ):
                        tx.start_soon(note, name, statement, tx)
                        await _until_blocked()  # one after the other: Trio starts tasks in any order
        assert isinstance(told.pop("fails"), DataError)
        assert sorted(told) == ["behind", "last"]
        for error in told.values():
            assert isinstance(error, TransactionAborted)
            assert isinstance(error.__cause__, DataError)
        assert isinstance(caught.value.first_error, DataError)


async def _until_blocked() -> None:
    """Let the others run until all of them wait."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_an_answer_is_given_as_soon_as_it_has_come(dsn: str, witness: Witness) -> None:
    """The task whose statement is done does not wait for the slow one behind it in the same flight."""
    async with open_ledger(dsn) as db:
        scope = anyio.CancelScope()
        with scope:
            async with db.transaction() as tx:
                pid = await process_of(tx)
                quick = anyio.Event()

                async def first() -> None:
                    await tx.fetch_all(select(Entry))
                    quick.set()

                async with tx.stream(select(Entry)):
                    for start in (first, lambda: tx.execute(SLEEP)):
                        tx.start_soon(start)
                        await _until_blocked()
                with anyio.fail_after(20):
                    await quick.wait()
                    await witness.until_waiting(pid)
                scope.cancel()
        assert scope.cancelled_caught


async def test_one_that_is_cancelled_in_line_leaves_no_trace(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            scope = anyio.CancelScope()

            async def quits() -> None:
                with scope:
                    await write(tx, 99)

            async with tx.stream(select(Entry)):
                tx.start_soon(write, tx, 1)
                tx.start_soon(quits)
                tx.start_soon(write, tx, 2)
                await _until_blocked()
                scope.cancel()
                await _until_blocked()
        assert keys_in(dsn) == [1, 2]


async def test_one_that_is_cancelled_under_way_aborts_the_transaction_for_those_behind_it(dsn: str, witness: Witness) -> None:
    told: dict[str, BaseException | None] = {}
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack) as caught:
            async with db.transaction() as tx:
                sleeper = Sleeper(witness)
                sleeper.runs_on(await process_of(tx))
                scope = anyio.CancelScope()

                async def quits() -> None:
                    with scope:
                        await tx.execute(SLEEP)

                async def asks(name: str) -> None:
                    told[name] = None
                    try:
                        await tx.fetch_all(select(Entry))
                    except TransactionAborted as error:
                        told[name] = error

                async with tx.stream(select(Entry)):
                    for start in (lambda: asks("ahead"), quits, lambda: asks("behind")):
                        tx.start_soon(start)
                        await _until_blocked()
                await sleeper.cancel_when_asleep(scope)
        assert told["ahead"] is None
        assert "a statement that a cancellation interrupted" in str(told["behind"])
        assert "this one was sent behind it, and not run" in str(told["behind"])
        assert "(a cancellation)" in str(caught.value)
        assert keys_in(dsn) == []


async def test_one_that_is_cancelled_leaves_the_statement_ahead_of_it_alone(dsn: str, witness: Witness) -> None:
    """It leaves at once; its own statement is stopped when its turn has come."""
    answers: list[int] = []
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack):
            async with db.transaction() as tx:
                pid = await process_of(tx)
                witness.run("SELECT pg_advisory_lock(1)")
                left = anyio.Event()
                scope = anyio.CancelScope()

                async def ahead() -> None:
                    answers.append(await tx.fetch_value(sql("SELECT 7 FROM pg_advisory_xact_lock(1)").returns(int)))

                async def quits() -> None:
                    with scope:
                        await tx.execute(SLEEP)
                    left.set()

                async with tx.stream(select(Entry)):
                    for start in (ahead, quits):
                        tx.start_soon(start)
                        await _until_blocked()
                await witness.until_waiting(pid, "advisory")
                scope.cancel()
                await left.wait()
                witness.run("SELECT pg_advisory_unlock(1)")
        assert answers == [7]
        assert keys_in(dsn) == []


async def test_one_with_a_timeout_of_its_own_goes_alone_and_leaves_no_trace_in_line(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            pid = await process_of(tx)
            witness.run("SELECT pg_advisory_lock(1)")
            over = anyio.Event()

            async def impatient() -> None:
                with anyio.move_on_after(0.3):
                    await write(tx, 99)
                over.set()

            async with tx.stream(select(Entry)):
                for start in (lambda: tx.execute(sql("SELECT pg_advisory_xact_lock(1)")), impatient, lambda: write(tx, 1)):
                    tx.start_soon(start)
                    await _until_blocked()
            await witness.until_waiting(pid, "advisory")
            await over.wait()
            witness.run("SELECT pg_advisory_unlock(1)")
        assert keys_in(dsn) == [1]


async def test_a_connection_that_dies_is_told_to_all(dsn: str, witness: Witness) -> None:
    told: list[BaseException] = []
    async with open_ledger(dsn) as db:
        with pytest.raises(ConnectionLost):
            async with db.transaction() as tx:
                sleeper = Sleeper(witness)
                sleeper.runs_on(await process_of(tx))

                async def noting(statement: Any) -> None:  # noqa: ANN401 - any statement
                    try:
                        await tx.execute(statement)
                    except ConnectionLost as error:
                        told.append(error)

                async with tx.stream(select(Entry)):
                    for statement in (SLEEP, select(Entry), select(Entry)):
                        tx.start_soon(noting, statement)
                        await _until_blocked()
                await sleeper.kill_when_asleep()
        assert len(told) == 3
        assert all(error.safe_to_retry for error in told if isinstance(error, ConnectionLost))


async def test_in_a_savepoint_they_abort_it_alone(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises(ExceptionGroup) as caught:
                async with tx.savepoint() as sp:
                    async with sp.stream(select(Entry)):
                        sp.start_soon(write, sp, 2)
                        sp.start_soon(sp.execute, FAILS)
                        sp.start_soon(write, sp, 3)
                        await _until_blocked()
            assert [type(leaf) for leaf in leaves_of(caught.value)] == [DataError]
            await write(tx, 4)
        assert keys_in(dsn) == [1, 4]
