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
        with anyio.fail_after(20), anyio.move_on_after(10) as scope:
            async with db.transaction() as tx:
                pid = await process_of(tx)
                quick = anyio.Event()

                async def first() -> None:
                    await tx.fetch_all(select(Entry))
                    quick.set()

                async with tx.stream(select(Entry)):
                    tx.start_soon(first)
                    await _until_blocked()
                    tx.start_soon(tx.execute, SLEEP)
                    await _until_blocked()
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


async def test_one_that_is_cancelled_under_way_aborts_the_transaction_and_the_others_are_told(dsn: str, witness: Witness) -> None:
    told: list[BaseException] = []
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack):
            async with db.transaction() as tx:
                sleeper = Sleeper(witness)
                sleeper.runs_on(await process_of(tx))
                scope = anyio.CancelScope()

                async def quits() -> None:
                    with scope:
                        await tx.fetch_all(select(Entry))

                async def sleeps() -> None:
                    try:
                        await tx.execute(SLEEP)
                    except TransactionAborted as error:
                        told.append(error)

                async with tx.stream(select(Entry)):
                    tx.start_soon(sleeps)
                    await _until_blocked()
                    tx.start_soon(quits)
                    await _until_blocked()
                await sleeper.cancel_when_asleep(scope)
        assert "a statement that a cancellation interrupted" in str(told[0])
        assert keys_in(dsn) == []


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
