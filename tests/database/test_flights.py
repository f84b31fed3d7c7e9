"""Flights of one's own: what they answer, what they refuse, how many trips they take, and what is left when one fails."""

import contextlib
from collections.abc import Callable

import anyio
import pytest

from tests.transaction.conftest import Flights
from tests.transaction.ledger import FAILS, Entry, keys_in, open_ledger, write
from tests.transaction.swept import Operation, sweep_ledger
from tests.wire.witness import Witness
from trioorm import (
    Database,
    Flight,
    FlightResult,
    NoRowFound,
    QueryError,
    TooManyRows,
    UniqueViolation,
    count,
    delete,
    insert,
    select,
    sql,
    update,
)
from trioorm.errors import DataError, UsageError
from trioorm.testing import available_cancellations


@pytest.fixture
def flights(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Flights]:
    """Begin to note flights."""
    return lambda: Flights(monkeypatch)


# In a transaction.


async def test_every_verb_answers_as_that_of_the_transaction_in_one_trip(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        await db.insert_many([Entry(key=key, note=f"{key}") for key in range(5)])
        noted = flights()
        async with db.transaction() as tx:
            async with tx.flight() as flight:
                rows = flight.fetch_all(select(Entry.key).where(Entry.key < 2).order_by(Entry.key))
                row = flight.fetch_one(select(Entry.key, Entry.note).where(Entry.key == 3))
                nobody = flight.fetch_optional(select(Entry).where(Entry.key == 99))
                somebody = flight.fetch_optional(select(Entry).where(Entry.key == 4))
                number = flight.fetch_value(select(count()).from_(Entry))
                got = flight.get(Entry, 1)
                inserted = flight.insert(Entry(key=10))
                several = flight.insert_many([Entry(key=11), Entry(key=12)])
                none: FlightResult[list[Entry]] = flight.insert_many([])
                updated = flight.update(Entry(key=0, note="new"))
                patched = flight.patch(Entry, 1, note="patched")
                upserted = flight.upsert(Entry(key=2, note="again"))
                deleted = flight.delete(Entry(key=3))
                changed = flight.execute(update(Entry).set(Entry.note, "").where(Entry.key >= 11))
                told = flight.notify("news", "!")
        assert [texts[0] for texts in noted.sent] == ["BEGIN", "COMMIT"]
        assert (rows.value, row.value, nobody.value, somebody.value) == ([0, 1], (3, "3"), None, Entry(key=4, note="4"))
        assert (number.value, got.value) == (5, Entry(key=1, note="1"))
        assert (inserted.value, several.value, none.value) == (Entry(key=10), [Entry(key=11), Entry(key=12)], [])
        assert (updated.value, patched.value, upserted.value) == (
            Entry(key=0, note="new"),
            Entry(key=1, note="patched"),
            Entry(key=2, note="again"),
        )
        assert (changed.value, told.value) == (2, 1)
        assert deleted.value is None
        assert keys_in(dsn) == [0, 1, 2, 4, 10, 11, 12]


async def test_an_answer_is_read_behind_the_block(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.flight() as flight:
            one = flight.fetch_value(sql("SELECT 1").returns(int).reads_only())
            assert repr(one) == "<FlightResult of statement 1, fetch_value, waits for its flight>"
            assert repr(flight) == "<Flight of 1 statements, not sent>"
            with pytest.raises(UsageError, match=r"read \.value behind the flight's block"):
                _ = one.value
        assert one.value == 1
        assert repr(one) == "<FlightResult of statement 1, fetch_value, has landed>"
        assert repr(flight) == "<Flight, ended>"


async def test_a_body_that_raises_sends_nothing(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        noted = flights()
        result: FlightResult[Entry] | None = None
        with pytest.raises(LookupError):
            async with db.flight(commit=True) as flight:
                result = flight.insert(Entry(key=1))
                raise LookupError
        assert noted.sent == []
        assert result is not None
        with pytest.raises(UsageError, match="its flight failed with LookupError") as caught:
            _ = result.value
        assert isinstance(caught.value.__cause__, LookupError)


async def test_an_empty_flight_sends_nothing(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        noted = flights()
        async with db.flight(commit=True) as flight:
            none: FlightResult[list[Entry]] = flight.insert_many([])
        assert none.value == []
        assert noted.sent == []


async def test_a_failed_statement_is_named_and_its_object_too(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        await write(db, 7)
        results: list[FlightResult[list[Entry]]] = []
        with pytest.raises(UniqueViolation) as caught:
            async with db.transaction() as tx:
                async with tx.flight() as flight:
                    flight.execute(delete(Entry).where(Entry.key == 1))
                    results.append(flight.insert_many([Entry(key=6), Entry(key=7)]))
                    flight.fetch_all(select(Entry))
        assert caught.value.model is Entry
        assert caught.value.rows == (1,)
        assert caught.value.__notes__ == ["It was statement 2 of the 3 of its flight; none of them took effect."]
        with pytest.raises(UsageError, match="UniqueViolation"):
            _ = results[0].value
        assert keys_in(dsn) == [7]


async def test_of_two_statements_of_one_shape_the_one_that_failed_is_named(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(UniqueViolation) as caught:
            async with db.flight(commit=True) as flight:
                for key in (1, 2, 2, 3):
                    flight.insert(Entry(key=key))
        assert caught.value.__notes__ == ["It was statement 3 of the 4 of its flight; none of them took effect."]
        assert caught.value.rows == (0,)
        assert keys_in(dsn) == []


async def test_an_error_in_a_flight_that_travelled_with_others_is_named_too(dsn: str) -> None:
    async def fly(key: int) -> None:
        async with tx.flight() as flight:
            flight.insert(Entry(key=key))
            flight.insert(Entry(key=key))

    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                async with tx.stream(select(Entry)):  # holds the turn until the children wait in line
                    for key in range(2):
                        tx.start_soon(fly, key)
                    await anyio.wait_all_tasks_blocked()
        (error,) = caught.value.exceptions
        assert isinstance(error, UniqueViolation)
        assert error.__notes__ == ["It was statement 2 of the 2 of its flight; none of them took effect."]


async def test_another_number_of_rows_than_expected_leaves_the_block(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        await db.insert_many([Entry(key=1), Entry(key=2)])
        with pytest.raises(NoRowFound):
            async with db.transaction() as tx:
                async with tx.flight() as flight:
                    flight.insert(Entry(key=3))
                    flight.delete(Entry(key=9))
        assert keys_in(dsn) == [1, 2], "and so rolls back"
        results: list[FlightResult[object]] = []
        with pytest.raises(TooManyRows):
            async with db.flight() as flight:
                results += [flight.fetch_value(select(count()).from_(Entry)), flight.fetch_optional(select(Entry))]
        assert results[0].value == 2
        with pytest.raises(TooManyRows):
            _ = results[1].value


async def test_a_flight_in_a_savepoint_rolls_back_with_it(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with contextlib.suppress(DataError):
                async with tx.savepoint() as sp, sp.flight() as flight:
                    flight.insert(Entry(key=2))
                    flight.execute(FAILS)
        assert keys_in(dsn) == [1]


async def test_flights_of_siblings_take_turns(dsn: str) -> None:
    async def fly(db: Database, key: int) -> None:
        async with tx.flight() as flight:
            flight.insert(Entry(key=key))
            found = flight.fetch_value(select(count()).from_(Entry).where(Entry.key == key))
        assert found.value == 1

    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            for key in range(5):
                tx.start_soon(fly, db, key)
        assert keys_in(dsn) == [0, 1, 2, 3, 4]


async def test_a_snapshot_flies_reads(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        await write(db, 1)
        async with db.snapshot() as snap:
            await write(db, 2)
            noted = flights()
            keys, numbers = await snap.fetch_many(select(Entry.key), select(count()).from_(Entry))
            assert (keys, numbers) == ([1], [1])
            assert len(noted.sent) == 1
            with pytest.raises(QueryError, match="a snapshot only reads"):
                async with snap.flight() as flight:
                    flight.insert(Entry(key=3))


# Wrong uses.


async def test_a_flight_is_used_inside_its_block_once(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        flight = db.flight()
        with pytest.raises(UsageError, match="that was not entered"):
            flight.fetch_all(select(Entry))
        async with flight:
            pass
        with pytest.raises(UsageError, match="that has been sent"):
            flight.fetch_all(select(Entry))
        with pytest.raises(UsageError, match="entered before"):
            async with flight:
                pass


_WRITES: dict[str, Callable[[Flight], object]] = {
    "insert": lambda flight: flight.insert(Entry(key=1)),
    "execute": lambda flight: flight.execute(insert(Entry).values(Entry(key=1))),
    "a text not said to be a read": lambda flight: flight.fetch_all(sql("SELECT 1").returns(int)),
    "a lock": lambda flight: flight.fetch_all(select(Entry).for_update()),
}


@pytest.mark.parametrize("book", _WRITES.values(), ids=_WRITES.keys())
async def test_outside_of_a_transaction_a_flight_only_reads(dsn: str, book: Callable[[Flight], object]) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(QueryError, match=r"db\.flight\(commit=True\)"):
            async with db.flight() as flight:
                book(flight)
        with pytest.raises(UsageError, match=r"To fix it: db\.flight\(commit=True, \.\.\.\)"):
            db.flight(isolation="serializable")
        assert keys_in(dsn) == []


async def test_in_a_flight_with_its_commit_what_must_find_a_row_is_refused(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        await write(db, 1)
        async with db.flight(commit=True) as flight:
            with pytest.raises(UsageError, match=r"flight\.execute\(update"):
                flight.update(Entry(key=1))
            with pytest.raises(UsageError, match=r"await tx\.patch"):
                flight.patch(Entry, 1, note="")
            with pytest.raises(UsageError, match=r"flight\.execute\(delete"):
                flight.delete(Entry(key=1))
        assert keys_in(dsn) == [1]


@pytest.mark.parametrize("text", ["COMMIT", " rollback", "END", "ABORT", "BEGIN", "start transaction", "PREPARE TRANSACTION 'x'"])
async def test_a_text_that_would_end_the_transaction_is_refused(dsn: str, text: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(UsageError, match="would end its transaction"):
            async with db.flight(commit=True) as flight:
                flight.insert(Entry(key=1))
                flight.execute(sql(text))  # pyright: ignore[reportArgumentType] - a list of such texts
        assert keys_in(dsn) == []


async def test_savepoints_as_text_are_a_transactions_own_matter(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.flight(commit=True) as flight:
            flight.insert(Entry(key=1))
            flight.execute(sql("SAVEPOINT mine"))
            flight.insert(Entry(key=2))
            flight.execute(sql("ROLLBACK TO SAVEPOINT mine"))
        assert keys_in(dsn) == [1]


# Cancelled everywhere.


async def _flight_with_commit(db: Database) -> None:
    async with db.flight(commit=True) as flight:
        flight.insert(Entry(key=1))
        flight.execute(sql("SELECT pg_sleep(0.01)"))
        flight.insert(Entry(key=2))


async def _flight_with_begin_and_commit(db: Database) -> None:
    async with db.flight(commit=True, isolation="repeatable read") as flight:
        flight.insert(Entry(key=1))
        flight.execute(sql("SELECT pg_sleep(0.01)"))
        flight.insert(Entry(key=2))


async def _flight_that_fails(db: Database) -> None:
    with contextlib.suppress(DataError):
        async with db.flight(commit=True) as flight:
            flight.insert(Entry(key=1))
            flight.execute(FAILS)


async def _flight_in_a_transaction(db: Database) -> None:
    async with db.transaction() as tx:
        async with tx.flight() as flight:
            flight.insert(Entry(key=1))
            flight.insert(Entry(key=2))


async def _flight_of_reads(db: Database) -> None:
    assert await db.fetch_many(select(Entry.key), select(count()).from_(Entry)) == ([], [0])


@pytest.mark.parametrize(
    ("operation", "leaves"),
    [
        (_flight_with_commit, [1, 2]),
        (_flight_with_begin_and_commit, [1, 2]),
        (_flight_that_fails, []),
        (_flight_in_a_transaction, [1, 2]),
        (_flight_of_reads, []),
    ],
    ids=["committed by its sync", "with BEGIN and COMMIT", "that fails", "in a transaction", "of reads"],
)
async def test_cancelled_anywhere(dsn: str, witness: Witness, operation: Operation, leaves: list[int]) -> None:
    report = await sweep_ledger(dsn, witness, operation, leaves=leaves, may_absorb=True)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())
