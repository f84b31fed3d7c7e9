"""A whole transaction in one flight: when it is committed, what is left when not, what is known when its connection breaks."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.database.test_flights import flights as flights
from tests.transaction.conftest import Flights
from tests.transaction.ledger import FAILS, SLEEP, Entry, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import (
    ConnectionLost,
    Database,
    DatabaseError,
    NoRowFound,
    SerializationFailure,
    UniqueViolation,
    select,
    sql,
    update,
)
from trioorm.errors import DataError, UsageError
from trioorm.testing import Direction, FaultProxy, running_proxy
from trioorm.transaction import Isolation
from trioorm.wire import AnyIOConnection
from trioorm.wire.flight import Flight
from trioorm.wire.interrupt import Shield
from trioorm.wire.readiness import Wait


@pytest.fixture
def proxy(dsn: str) -> Iterator[FaultProxy]:
    with running_proxy(dsn) as proxy:
        yield proxy


# A whole transaction in one flight.


async def test_begin_statements_and_commit_are_one_trip_on_one_connection(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        await write(db, 1)
        noted = flights()
        with anyio.fail_after(30):
            async with db.flight(commit=True, isolation="serializable", settings={"app.user": "ada"}, name="payment") as flight:
                level = flight.fetch_value(sql("SELECT current_setting('transaction_isolation')").returns(str))
                user = flight.fetch_value(sql("SELECT current_setting('app.user')").returns(str))
                limit = flight.fetch_value(sql("SELECT current_setting('transaction_timeout') <> '0'").returns(bool))
                flight.insert(Entry(key=2))
        assert (level.value, user.value, limit.value) == ("serializable", "ada", True)
        assert noted.sent == [["BEGIN", "SELECT", "SET", "SELECT", "SELECT", "SELECT", "INSERT", "SELECT", "COMMIT"]]
        assert keys_in(dsn) == [1, 2]
        assert db.statistics().connections_num <= 2


async def test_without_options_and_deadline_its_own_sync_commits_it(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        await write(db, 1)
        noted = flights()
        async with db.flight(commit=True) as flight:
            flight.insert(Entry(key=2))
            changed = flight.execute(update(Entry).set(Entry.note, "new").everywhere())
        async with db.flight(commit=True) as reads:
            read = reads.fetch_all(select(Entry.key))
        assert (changed.value, sorted(read.value)) == (2, [1, 2])
        assert noted.sent == [["INSERT", "UPDATE", "SELECT"], ["SELECT"]], "a write is followed by the question for the transaction's id"
        assert keys_in(dsn) == [1, 2]


async def test_under_a_deadline_its_first_step_tells_the_server(dsn: str, flights: Callable[[], Flights]) -> None:
    seconds = sql("SELECT extract(epoch FROM current_setting('transaction_timeout')::interval)::float8").returns(float).reads_only()
    async with open_ledger(dsn, cleanup_timeout_seconds=2.0, max_size=1) as db:
        noted = flights()
        with anyio.fail_after(30):
            async with db.flight(commit=True) as flight:
                limit = flight.fetch_value(seconds)
                inserted = flight.insert(Entry(key=1))
        assert noted.sent == [["SELECT", "SELECT", "INSERT", "SELECT"]], "the limit, the two, and the question for the id"
        assert 20 < limit.value <= 32, "the deadline and the cleanup budget"
        assert inserted.value == Entry(key=1)
        assert await db.fetch_value(seconds) == 0, "it ended with the transaction"
        assert keys_in(dsn) == [1]


@pytest.mark.parametrize("text", ["VACUUM entries", "CALL commit_halfway()", "DO $$ BEGIN COMMIT; END $$"])
async def test_what_commits_by_itself_is_refused_as_in_any_transaction(dsn: str, text: str) -> None:
    async with open_ledger(dsn) as db:
        await db.execute(sql("CREATE PROCEDURE commit_halfway() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$"))
        with pytest.raises(DatabaseError) as caught:
            async with db.flight(commit=True) as flight:
                flight.execute(sql(text))  # pyright: ignore[reportArgumentType] - a list of such texts
                flight.insert(Entry(key=1))
        assert caught.value.sqlstate in ("25001", "2D000")
        assert keys_in(dsn) == []


@pytest.mark.parametrize("text", ["COMMIT", "-- so\nCOMMIT", "/* a /* b */ */ END", "; ROLLBACK", "rollback and chain", "/**/begin"])
async def test_what_ends_the_transaction_is_refused_before_it_is_sent(dsn: str, text: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(UsageError, match="Nothing was sent"):
            async with db.flight(commit=True) as flight:
                flight.insert(Entry(key=1))
                flight.execute(sql(text))  # pyright: ignore[reportArgumentType] - a list of such texts
                flight.execute(FAILS)
        assert keys_in(dsn) == []


async def test_a_setting_for_the_transaction_ends_with_it(dsn: str) -> None:
    async with open_ledger(dsn, max_size=1) as db:
        async with db.flight(commit=True) as flight:
            flight.execute(sql("SET LOCAL app.name = 'ada'"))
            user = flight.fetch_value(sql("SELECT current_setting('app.name')").returns(str))
        assert user.value == "ada"
        assert await db.fetch_value(sql("SELECT current_setting('app.name', true)").returns(str)) == ""


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_failure_anywhere_leaves_nothing_and_keeps_the_connection(dsn: str, at: int) -> None:
    async with open_ledger(dsn, max_size=1) as db:
        pid = await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int))
        with pytest.raises(DataError) as caught:
            async with db.flight(commit=True) as flight:
                for key in range(3):
                    if key == at:
                        flight.execute(FAILS)
                    flight.insert(Entry(key=key))
        assert caught.value.__notes__ == [f"It was statement {at + 1} of the 4 of its flight; none of them took effect."]
        assert keys_in(dsn) == []
        assert await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int)) == pid
        assert db.statistics().returns_bad == 0


async def test_a_commit_that_is_refused_is_a_definite_failure(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        await db.execute(sql("ALTER TABLE entries ADD COLUMN twin int UNIQUE DEFERRABLE INITIALLY DEFERRED"))
        with pytest.raises(UniqueViolation):
            async with db.flight(commit=True) as flight:
                flight.execute(sql("INSERT INTO entries (key, note, twin) VALUES (1, '', 5)"))
                flight.execute(sql("INSERT INTO entries (key, note, twin) VALUES (2, '', 5)"))
        assert keys_in(dsn) == []
        assert db.statistics().returns_bad == 0


async def test_a_serialization_failure_is_safe_to_retry(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(SerializationFailure) as caught:
            async with db.transaction(isolation="serializable") as slower:
                await slower.fetch_all(select(Entry))
                async with db.flight(commit=True, isolation="serializable") as flight:
                    flight.fetch_all(select(Entry))
                    flight.insert(Entry(key=2))
                await write(slower, 1)
        assert caught.value.safe_to_retry
        assert keys_in(dsn) == [2]


async def test_a_plan_that_the_table_has_outgrown_is_made_anew(dsn: str) -> None:
    async with open_ledger(dsn, max_size=1) as db:

        async def fly(key: int) -> Entry:
            async with db.flight(commit=True) as flight:
                inserted = flight.insert(Entry(key=key))
            return inserted.value

        await fly(1)
        await db.execute(sql("ALTER TABLE entries ALTER COLUMN note TYPE varchar(90)"))
        assert await fly(2) == Entry(key=2)
        assert keys_in(dsn) == [1, 2]


async def test_what_found_no_row_is_told_by_its_result_when_all_is_committed(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.flight(commit=True) as flight:
            flight.insert(Entry(key=1))
            missing = flight.get(Entry, 9)
        with pytest.raises(NoRowFound):
            _ = missing.value
        assert repr(missing) == "<FlightResult of statement 2, get, failed>"
        assert keys_in(dsn) == [1]


async def test_a_timeout_in_a_statement_leaves_nothing_and_stops_it(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn, max_size=1) as db:
        with anyio.move_on_after(0.2) as scope:
            async with db.flight(commit=True) as flight:
                flight.insert(Entry(key=1))
                flight.execute(SLEEP)
        assert scope.cancelled_caught
        assert keys_in(dsn) == []
        assert witness.becomes_true(
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()", within_seconds=1
        )
        assert db.statistics().returns_bad == 0, "the COMMIT behind it was answered with ROLLBACK, and the connection is whole"


# The connection breaks.


async def test_a_lost_flight_that_wrote_nothing_is_definite(proxy: FaultProxy) -> None:
    async with open_ledger(proxy.conninfo()) as db:
        with pytest.raises(ConnectionLost, match="it had written nothing") as caught:
            async with db.flight(commit=True) as flight:
                flight.fetch_all(select(Entry))
                proxy.cut_at(Direction.TO_CLIENT, delivered=False)
        assert caught.value.safe_to_retry


async def test_a_session_that_is_ended_before_the_commit_leaves_nothing(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn, max_size=1) as db:
        pid = await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int))

        async def kill() -> None:
            await witness.until_waiting(pid)
            witness.terminate(pid)

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(kill)
            with pytest.raises(ConnectionLost) as caught:
                async with db.flight(commit=True) as flight:
                    flight.insert(Entry(key=1))
                    flight.execute(SLEEP)
            assert caught.value.safe_to_retry, "the server said why, so the COMMIT behind it was not run"
        assert keys_in(dsn) == []


# While it is being committed: the statements have been answered, and the COMMIT is long.

_ISOLATIONS = [pytest.param(None, id="by its sync"), pytest.param("read committed", id="by COMMIT")]


@asynccontextmanager
async def _long_commits(address: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[Database, int, anyio.Event]]:
    """A ledger of one connection, whose COMMITs sleep in a trigger; its process; what is set when only the COMMIT is waited for."""
    only_commit = anyio.Event()
    advance = Flight.advance

    def advancing(flight: Flight) -> Wait | None:
        want = advance(flight)
        if want is not None and flight.has_landed:
            only_commit.set()
        return want

    async with open_ledger(address, max_size=1) as db:
        await db.execute(
            sql("CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$")
        )
        await db.execute(
            sql("CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON entries INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION doze()")
        )
        pid = await process_of(db)
        monkeypatch.setattr(Flight, "advance", advancing)
        yield db, pid, only_commit


@pytest.mark.parametrize("isolation", _ISOLATIONS)
async def test_a_cancellation_during_the_commit_comes_too_late(
    dsn: str, witness: Witness, monkeypatch: pytest.MonkeyPatch, isolation: Isolation | None
) -> None:
    async with _long_commits(dsn, monkeypatch) as (db, pid, only_commit):
        has_ended = False
        async with anyio.create_task_group() as nursery:

            async def cancel() -> None:
                await only_commit.wait()
                await witness.until_waiting(pid)
                nursery.cancel_scope.cancel()

            nursery.start_soon(cancel)
            async with db.flight(commit=True, isolation=isolation) as flight:
                flight.insert(Entry(key=1))
            has_ended = True
            await anyio.lowlevel.checkpoint()
        assert nursery.cancel_scope.cancelled_caught
        assert has_ended
        assert keys_in(dsn) == [1]


@pytest.mark.parametrize("is_read", [True, False], ids=["landed before", "with the answer to the commit"])
@pytest.mark.parametrize("isolation", _ISOLATIONS)
async def test_a_request_to_stop_that_hits_the_commit_is_the_cancellation_all_the_same(
    dsn: str, witness: Witness, monkeypatch: pytest.MonkeyPatch, isolation: Isolation | None, *, is_read: bool
) -> None:
    """It was sent while a statement ran, and overtaken by its end."""
    async with _long_commits(dsn, monkeypatch) as (db, pid, _):
        asks = AnyIOConnection[Any].request_cancel
        asked: list[int] = []

        async def asking(connection: AnyIOConnection[Any], shield: Shield) -> bool:
            unlock()
            await witness.until_waiting(pid)  # in the COMMIT
            asked.append(pid)
            if is_read:
                connection.pgconn.consume_input()
            return await asks(connection, shield)

        monkeypatch.setattr(AnyIOConnection, "request_cancel", asking)
        with witness.locked("entries") as unlock:
            async with anyio.create_task_group() as nursery:

                async def cancel() -> None:
                    await witness.until_waiting(pid, "relation")
                    nursery.cancel_scope.cancel()

                nursery.start_soon(cancel)
                async with db.flight(commit=True, isolation=isolation) as flight:
                    flight.insert(Entry(key=1))
            assert nursery.cancel_scope.cancelled_caught
        assert asked == [pid]
        assert keys_in(dsn) == []


@pytest.mark.parametrize("isolation", _ISOLATIONS)
async def test_lost_during_the_commit_it_is_settled_by_its_id(
    dsn: str, proxy: FaultProxy, witness: Witness, monkeypatch: pytest.MonkeyPatch, isolation: Isolation | None
) -> None:
    async with _long_commits(proxy.conninfo(), monkeypatch) as (db, pid, only_commit):
        async with anyio.create_task_group() as nursery:

            async def cut() -> None:
                await only_commit.wait()
                await witness.until_waiting(pid)
                proxy.cut_all()

            nursery.start_soon(cut)
            with pytest.raises(ConnectionLost) as caught:
                async with db.flight(commit=True, isolation=isolation) as flight:
                    flight.insert(Entry(key=1))
            assert caught.value.safe_to_retry, "the session was asked for, found, and ended"
        assert keys_in(dsn) == []
