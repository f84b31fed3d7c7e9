"""The deadline of the block as the server's own limit: sent with BEGIN, moved with the next statement, acting for a dead client."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator

import anyio
import psycopg
import pytest

from tests.transaction.conftest import Flights
from tests.transaction.ledger import Entry, keys_in, open_ledger, write
from tests.wire.witness import Witness
from trioorm import ConnectionLost, LockNotAvailable, Snapshot, Transaction, select, sql
from trioorm.errors import DataError
from trioorm.transaction.deadline import ServerLimit

_SELECT = select(Entry)


async def _limit_seconds(tx: Transaction | Snapshot) -> float:
    """What the server has, in seconds; 0 is none."""
    shown = await tx.fetch_value(
        sql("SELECT extract(epoch FROM current_setting('transaction_timeout')::interval)::float8").returns(float).reads_only()
    )
    assert isinstance(shown, float)
    return shown


# What is sent.


async def test_the_limit_travels_with_begin_and_costs_no_trip(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        noted = flights()
        with anyio.fail_after(30):
            async with db.transaction() as tx:
                await tx.fetch_all(_SELECT)
                await tx.fetch_all(_SELECT)
        assert noted.sent == [["BEGIN", "SET", "SELECT"], ["SELECT"], ["COMMIT"]]


async def test_without_a_deadline_nothing_is_sent(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        noted = flights()
        async with db.transaction() as tx:
            await tx.fetch_all(_SELECT)
        assert noted.sent == [["BEGIN", "SELECT"], ["COMMIT"]]


async def test_the_server_has_the_deadline_and_the_cleanup_budget(dsn: str) -> None:
    async with open_ledger(dsn, cleanup_timeout_seconds=2.0) as db:
        with anyio.fail_after(30):
            async with db.transaction() as tx:
                assert 20 < await _limit_seconds(tx) <= 32
        async with db.transaction() as tx:
            assert await _limit_seconds(tx) == 0, "it does not stick to the connection"


async def test_an_inner_scope_around_the_first_statement_is_not_the_blocks(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(100):
            async with db.transaction() as tx:
                with anyio.fail_after(20):
                    assert 60 < await _limit_seconds(tx) <= 101


async def test_a_deadline_that_is_moved_later_goes_with_the_next_statement(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(20) as scope:
            async with db.transaction() as tx:
                assert await _limit_seconds(tx) <= 21
                scope.deadline += 100
                noted = flights()
                with anyio.fail_after(60):  # an inner one is no reason to think it was not moved
                    assert 60 < await _limit_seconds(tx) <= 121
                assert noted.sent == [["SET", "SET", "SELECT"]]
                await tx.fetch_all(_SELECT)
                assert noted.sent[1:] == [["SELECT"]]


# Snapshots.


async def test_every_connection_of_a_snapshot_has_the_limit(dsn: str, flights: Callable[[], Flights]) -> None:
    shown = sql("SELECT extract(epoch FROM current_setting('transaction_timeout')::interval)::float8").returns(float)
    limits: list[float] = []
    all_there = anyio.Event()

    async def stream(snap: Snapshot) -> None:
        async with snap.stream(shown) as seconds:
            limits.extend([each async for each in seconds])
            if len(limits) == 3:
                all_there.set()
            await all_there.wait()

    async with open_ledger(dsn, cleanup_timeout_seconds=2.0, max_size=3) as db:
        noted = flights()
        with anyio.fail_after(30):
            async with db.snapshot(connections=3) as snap:
                for _ in range(3):
                    snap.start_soon(stream, snap)
        assert len(limits) == 3
        assert all(20 < limit <= 32 for limit in limits)
        openings = sorted(sent for sent in noted.sent if sent[0] == "BEGIN")
        assert openings == [["BEGIN", "SELECT", "SET"], ["BEGIN", "SET", "SET"], ["BEGIN", "SET", "SET"]], "it travels with BEGIN"


async def test_a_snapshot_without_a_deadline_sends_no_limit(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        noted = flights()
        async with db.snapshot(connections=1) as snap:
            await snap.fetch_all(_SELECT)
        assert noted.sent == [["BEGIN", "SELECT"], ["SAVEPOINT", "SELECT", "RELEASE"], ["ROLLBACK"]]


async def test_a_snapshots_deadline_that_is_moved_later_outlives_a_failed_read(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(20) as scope:
            async with db.snapshot(connections=1) as snap:
                assert 0 < await _limit_seconds(snap) <= 21
                scope.deadline += 100
                with pytest.raises(DataError):
                    await snap.fetch_value(sql("SELECT 1 / 0").returns(int))
                assert 60 < await _limit_seconds(snap) <= 121


async def test_the_server_ends_a_snapshot_whose_client_does_not(dsn: str, witness: Witness) -> None:
    """The program is busy all the while; then its own timeout comes out, and not that the connection was lost."""
    async with open_ledger(dsn, cleanup_timeout_seconds=0.2) as db:
        with anyio.move_on_after(0.2) as scope:
            async with db.snapshot(connections=1) as snap:
                pid = await snap.fetch_value(sql("SELECT pg_backend_pid()").returns(int))
                gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)"
                assert witness.becomes_true(gone, pid, within_seconds=10)
                await snap.fetch_all(_SELECT)
        assert scope.cancelled_caught


async def test_a_deadline_that_is_taken_back_takes_the_limit_back(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(20) as scope:
            async with db.transaction() as tx:
                await tx.fetch_all(_SELECT)
                scope.deadline = float("inf")
                assert await _limit_seconds(tx) == 0


async def test_a_shielded_statement_does_not_take_the_limit_away(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(20):
            async with db.transaction() as tx:
                with anyio.CancelScope(shield=True):
                    assert 0 < await _limit_seconds(tx) <= 21


async def test_a_deadline_moved_inside_a_savepoint_outlives_its_rollback(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(20) as scope:
            async with db.transaction() as tx:
                await write(tx, 1)
                noted = flights()
                with pytest.raises(ValueError, match="undo"):
                    async with tx.savepoint() as sp:
                        await write(sp, 2)
                        scope.deadline += 100
                        await write(sp, 3)
                        raise ValueError("undo")
                assert noted.sent[1][:2] == ["SET", "SET"]
                await write(tx, 4)
        assert keys_in(dsn) == [1, 4]


async def test_a_deadline_of_centuries_is_none(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(1e10):
            async with db.transaction() as tx:
                assert await _limit_seconds(tx) == 0


async def test_a_lock_timeout_travels_with_begin(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        await write(db, 1)
        with psycopg.connect(dsn) as other:
            other.execute("SELECT FROM entries FOR UPDATE")
            noted = flights()
            with pytest.raises(LockNotAvailable):
                async with db.transaction(lock_timeout_seconds=0.05) as tx:
                    await tx.fetch_one(_SELECT.for_update())
            assert noted.sent[0] == ["BEGIN", "SET", "SELECT", "SELECT"], "the second asks for the transaction's id"
        for wrong in (0, -1, float("inf"), float("nan")):
            with pytest.raises(ValueError, match="must be above 0"):
                db.transaction(lock_timeout_seconds=wrong)


async def test_a_server_before_17_gets_the_limits_that_it_knows() -> None:
    limit = ServerLimit(anyio.current_time() + 10, 1.0)
    texts = [step.statement.text.decode() for step in limit.steps(160004)]
    assert [text.split(" = ")[0] for text in texts] == ["SET LOCAL statement_timeout", "SET LOCAL idle_in_transaction_session_timeout"]
    assert all(10_000 < int(text.split(" = ")[1]) <= 11_000 for text in texts)
    assert limit.steps(160004) == []
    limit.deadline = float("inf")
    assert [step.statement.text.decode()[-3:] for step in limit.steps(160004)] == ["= 0", "= 0"]


# When it acts.


@pytest.mark.parametrize("busy_in", ["a statement", "between two"])
async def test_when_this_program_was_too_busy_it_is_the_scopes_own_timeout(dsn: str, busy_in: str) -> None:
    async with open_ledger(dsn, cleanup_timeout_seconds=0.3) as db:
        with pytest.raises(TimeoutError), anyio.fail_after(0.3):
            async with db.transaction() as tx:
                await write(tx, 1)
                if busy_in == "a statement":
                    tx.start_soon(tx.execute, sql("SELECT pg_sleep(60)"))
                    await anyio.lowlevel.checkpoint()
                _block_the_loop_until_the_server_has_ended(dsn)
                await tx.fetch_all(_SELECT)
        assert keys_in(dsn) == []


def _block_the_loop_until_the_server_has_ended(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True, application_name="witness") as witness:
        deadline = time.monotonic() + 10
        while _open_transactions(witness):
            assert time.monotonic() < deadline, "the server's limit did not act"


def _open_transactions(witness: "psycopg.Connection[tuple[object, ...]]") -> int:
    row = witness.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


async def test_a_deadline_moved_without_a_statement_says_what_happened(dsn: str) -> None:
    async with open_ledger(dsn, cleanup_timeout_seconds=0.2) as db:
        with pytest.raises(ConnectionLost) as caught:
            with anyio.fail_after(0.2) as scope:
                async with db.transaction() as tx:
                    await write(tx, 1)
                    scope.deadline += 60
                    _block_the_loop_until_the_server_has_ended(dsn)
                    await tx.fetch_all(_SELECT)
        assert caught.value.safe_to_retry
        assert keys_in(dsn) == []


# A client that dies.


_CLIENT = """
import sys, time
import anyio
from trioorm import open_database, sql

ASLEEP = sql("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')").returns(bool)

async def tell_when_asleep(db):
    while not await db.fetch_value(ASLEEP):
        pass
    print("locked", flush=True)

async def fly(db):
    async with db.flight(commit=True) as flight:
        flight.execute(sql("SELECT key FROM entries FOR UPDATE"))
        flight.execute(sql("SELECT pg_sleep(60)"))

async def main():
    async with open_database(sys.argv[1], max_size=2, cleanup_timeout_seconds=0.5) as db:
        with anyio.fail_after(1.0):
            if sys.argv[2] == "in a flight":
                async with anyio.create_task_group() as nursery:
                    nursery.start_soon(tell_when_asleep, db)
                    await fly(db)
            async with db.transaction() as tx:
                await tx.execute(sql("SELECT key FROM entries FOR UPDATE"))
                print("locked", flush=True)
                await tx.execute(sql("SELECT pg_sleep(60)")) if sys.argv[2] == "working" else time.sleep(60)

anyio.run(main, backend=sys.argv[3])
"""


@pytest.fixture
def start_client(dsn: str, backend: str) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """A program of its own that locks a row."""
    clients: list[subprocess.Popen[str]] = []

    def start(doing: str) -> "subprocess.Popen[str]":
        client = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_CLIENT), dsn, doing, backend],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        clients.append(client)
        assert client.stdout is not None
        assert client.stdout.readline() == "locked\n"
        return client

    yield start
    for client in clients:
        client.kill()
        client.wait()
        assert client.stdout is not None
        client.stdout.close()


@pytest.mark.parametrize("doing", ["working", "idle", "in a flight"])
@pytest.mark.parametrize("end", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen", "killed"])
async def test_the_locks_of_a_dead_client_are_gone_within_the_budget(
    dsn: str, start_client: Callable[[str], "subprocess.Popen[str]"], doing: str, end: signal.Signals
) -> None:
    async with open_ledger(dsn) as db:
        await write(db, 1)
    client = await anyio.to_thread.run_sync(start_client, doing)
    os.kill(client.pid, end)
    frozen_at = time.monotonic()
    with psycopg.connect(dsn) as other:
        other.execute("SET lock_timeout = '20s'")
        other.execute("SELECT key FROM entries FOR UPDATE")
    # One second of deadline and half of budget, and what a loaded machine adds; without the limit it would be a minute.
    assert time.monotonic() - frozen_at < 10
