"""Connections of a real database cut at every message: what an operation says about its effect is what is there, and the pool mends itself.

The last tests are of the sweep itself: it tells an operation that keeps its word from one that does not.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import cast

import anyio
import psycopg
import pytest

from tests.transaction.ledger import Entry
from trioorm import CommitOutcomeUnknown, Database, ForeignKeyViolation, Notification, open_database, select, sql
from trioorm.errors import ConnectionLost, DatabaseUnavailable, UsageError
from trioorm.testing import (
    CutReport,
    CutRun,
    CutSweepFailed,
    Direction,
    Effect,
    FaultProxy,
    cut_sweep,
    pool_is_whole,
    running_proxy,
    server_is_quiet,
)
from trioorm.transaction import Isolation

Operation = Callable[[Database, int], Awaitable[object]]

# The server is in reach again at once, so a transaction's outcome is always settled: at no chunk may it stay unknown.
_KNOWN = {Effect.HAPPENED, Effect.NOTHING}
_AT_ONCE = {Effect.HAPPENED, Effect.UNKNOWN}  # a write that commits by itself: once it is cut off, nobody here can know
_ANY = {*Effect}


@pytest.fixture
def proxy(dsn: str) -> Iterator[FaultProxy]:
    with running_proxy(dsn) as proxy:
        yield proxy


@asynccontextmanager
async def opened(proxy: FaultProxy) -> AsyncGenerator[Database]:
    async with open_database(proxy.conninfo(), max_size=1) as db:
        await db.create_schema(Entry)
        yield db


async def sweep_writes(
    dsn: str, proxy: FaultProxy, operation: Operation, *, rows: int, repeatable: bool, expected: set[Effect]
) -> CutReport:
    """Sweep an operation that writes entries under keys from a number on, and compare what it says with what is there.

    Args:
        rows: how many entries it leaves.
        repeatable: whether every failure but an unknown outcome must be safe to retry.
        expected: what the runs, taken together, say.
    """
    number = 0
    with psycopg.connect(dsn, autocommit=True) as witness:
        async with opened(proxy) as db:

            async def check(run: CutRun) -> None:
                await server_is_quiet(witness)
                found = witness.execute("SELECT count(*) FROM entries WHERE key >= %s", [number]).fetchone()
                assert found is not None
                match run.effect:
                    case Effect.HAPPENED:
                        assert found[0] == rows
                    case Effect.NOTHING:
                        assert found[0] == 0
                        if repeatable:
                            assert isinstance(run.error, DatabaseUnavailable)
                            assert run.error.safe_to_retry
                    case Effect.UNKNOWN:
                        assert found[0] in (0, rows)
                # The pool has one connection: that it works again at once means that the slot is there and the connection is new.
                with anyio.fail_after(2):
                    assert await db.fetch_value(sql("SELECT 7").returns(int).reads_only()) == 7
                await pool_is_whole(db.statistics)

            def make_operation() -> Awaitable[object]:
                nonlocal number
                number += 10
                return operation(db, number)

            await make_operation()  # once before, so that all runs find statements prepared or not alike
            report = await cut_sweep(proxy, make_operation, check=check)
    assert report.cuts > 8, "a statement alone is four messages each way"
    said = {run.effect for run in report.runs}
    assert said == expected
    return report


async def test_a_read(dsn: str, proxy: FaultProxy) -> None:
    async def read(db: Database, number: int) -> None:
        assert await db.fetch_all(select(Entry).where(Entry.key == number)) == []

    await sweep_writes(dsn, proxy, read, rows=0, repeatable=True, expected=_KNOWN)


async def test_a_single_write(dsn: str, proxy: FaultProxy) -> None:
    async def write(db: Database, number: int) -> None:
        await db.insert(Entry(key=number))

    await sweep_writes(dsn, proxy, write, rows=1, repeatable=True, expected=_AT_ONCE)


async def test_a_transaction_of_two_writes(dsn: str, proxy: FaultProxy) -> None:
    async def write(db: Database, number: int) -> None:
        async with db.transaction() as tx:
            await tx.insert(Entry(key=number))
            await tx.insert(Entry(key=number + 1))

    await sweep_writes(dsn, proxy, write, rows=2, repeatable=True, expected=_KNOWN)


@pytest.mark.parametrize(
    ("isolation", "behind_the_id"),
    [
        pytest.param(None, 1, id="its sync commits: that the server is ready"),
        pytest.param("repeatable read", 6, id="in a block: the sync before COMMIT, and all of COMMIT's answer"),
    ],
)
async def test_a_transaction_in_one_flight(dsn: str, proxy: FaultProxy, isolation: Isolation | None, behind_the_id: int) -> None:
    """Its commit is under way from the start, so until its id has come nobody can be asked how it ended; from then on it is found out."""

    async def write(db: Database, number: int) -> None:
        async with db.flight(commit=True, isolation=isolation) as flight:
            flight.insert(Entry(key=number))
            flight.insert(Entry(key=number + 1))

    report = await sweep_writes(dsn, proxy, write, rows=2, repeatable=True, expected={Effect.HAPPENED, Effect.UNKNOWN})
    *before, _ = report.effects(Direction.TO_CLIENT, delivered=False)  # the last was not cut
    assert set(before[:-behind_the_id]) == {Effect.UNKNOWN}
    assert set(before[-behind_the_id:]) == {Effect.HAPPENED}


async def test_a_transaction_with_a_child(dsn: str, proxy: FaultProxy) -> None:
    async def write(db: Database, number: int) -> None:
        async with db.transaction() as tx:
            tx.start_soon(tx.insert, Entry(key=number))
            await tx.insert(Entry(key=number + 1))

    await sweep_writes(dsn, proxy, write, rows=2, repeatable=False, expected=_KNOWN)


async def test_a_savepoint(dsn: str, proxy: FaultProxy) -> None:
    async def write(db: Database, number: int) -> None:
        async with db.transaction() as tx:
            await tx.insert(Entry(key=number))
            async with tx.savepoint() as sp:
                await sp.insert(Entry(key=number + 1))

    await sweep_writes(dsn, proxy, write, rows=2, repeatable=True, expected=_KNOWN)


async def test_children_of_a_savepoint_that_share_a_flight(dsn: str, proxy: FaultProxy) -> None:
    async def write(db: Database, number: int) -> None:
        async with db.transaction() as tx:
            async with tx.savepoint() as sp:
                async with sp.stream(select(Entry).where(Entry.key < 0)):  # holds the turn until the children wait in line
                    for key in range(number, number + 2):
                        sp.start_soon(sp.insert, Entry(key=key))
                    await anyio.wait_all_tasks_blocked()

    await sweep_writes(dsn, proxy, write, rows=2, repeatable=False, expected=_KNOWN)


async def test_a_commit_that_fails(dsn: str, proxy: FaultProxy) -> None:
    """Its constraint is checked at COMMIT: whatever becomes of the answer, nothing is there, and it is never said to be unknown."""
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("CREATE TABLE pairs (a int PRIMARY KEY, b int REFERENCES pairs DEFERRABLE INITIALLY DEFERRED)")
    both = "WITH entry AS (INSERT INTO entries VALUES ({number}, '')) INSERT INTO pairs VALUES ({number}, 0)"

    async def write(db: Database, number: int) -> None:
        try:
            async with db.transaction() as tx:
                await tx.execute(sql(both, number=number))
        except ForeignKeyViolation:
            pass

    await sweep_writes(dsn, proxy, write, rows=0, repeatable=True, expected=_KNOWN)


async def test_a_copy(dsn: str, proxy: FaultProxy) -> None:
    async def write(db: Database, number: int) -> None:
        assert await db.copy_in(Entry, [Entry(key=number), Entry(key=number + 1)]) == 2

    await sweep_writes(dsn, proxy, write, rows=2, repeatable=False, expected=_ANY)


async def test_a_stream(dsn: str, proxy: FaultProxy) -> None:
    async def read(db: Database, number: int) -> None:
        async with db.stream(sql("SELECT generate_series(1, 7)").returns(int).reads_only(), batch_rows=3) as rows:
            assert [row async for row in rows] == [1, 2, 3, 4, 5, 6, 7]

    await sweep_writes(dsn, proxy, read, rows=0, repeatable=False, expected=_KNOWN)


async def test_a_copy_out(dsn: str, proxy: FaultProxy) -> None:
    keys = [-3, -2, -1]

    async def read(db: Database, number: int) -> None:
        if number == 10:  # the first time, which is not cut
            await db.insert_many([Entry(key=key) for key in keys])
        async with db.copy_out(select(Entry.key).where(Entry.key < 0).order_by(Entry.key)) as rows:
            assert [row async for row in rows] == keys

    await sweep_writes(dsn, proxy, read, rows=0, repeatable=False, expected=_KNOWN)


async def test_listening(dsn: str, proxy: FaultProxy) -> None:
    """Entering fails, or the subscription lives: what comes is heard, or a gap says that it may be missing."""
    with psycopg.connect(dsn, autocommit=True) as other:
        async with open_database(proxy.conninfo(), min_size=0) as db:

            async def listen() -> list[str]:
                heard: list[str] = []
                async with db.listen("news") as events:
                    other.execute("SELECT pg_notify('news', 'first')")
                    async for event in events:
                        heard.append(event.payload if isinstance(event, Notification) else "a gap")
                        if heard[-1] == "second":
                            return heard
                        other.execute("SELECT pg_notify('news', 'second')")  # behind a gap once more: it may have fallen into it
                raise AssertionError("a subscription ends with its block")

            async def check(run: CutRun) -> None:
                await server_is_quiet(other)
                if run.effect is Effect.HAPPENED:
                    heard.add(tuple(cast("list[str]", run.value)))
                else:
                    assert isinstance(run.error, DatabaseUnavailable)
                    assert run.error.safe_to_retry

            heard: set[tuple[str, ...]] = set()
            report = await cut_sweep(proxy, listen, check=check)
    assert report.cuts > 8
    assert {run.effect for run in report.runs} == _KNOWN
    assert heard <= {("first", "second"), ("a gap", "second"), ("a gap", "first", "second"), ("first", "a gap", "second")}
    assert len(heard) > 1, "at some chunk the subscription outlived its connection"


# The sweep itself.


async def ask(db: Database) -> None:
    await db.fetch_value(sql("SELECT 7").returns(int).reads_only())


async def test_names_the_chunk_of_a_check_that_fails(proxy: FaultProxy) -> None:
    async def check(run: CutRun) -> None:
        if run.direction is Direction.TO_CLIENT and run.chunk == 2:
            raise ValueError("row 3 is missing")

    async with opened(proxy) as db:
        with pytest.raises(
            CutSweepFailed, match=r"chunk 2 to the client, lost: .* ValueError: row 3 is missing(.|\n)*first=2\)"
        ) as failure:
            await cut_sweep(proxy, lambda: ask(db), check=check)
    assert (failure.value.chunk, failure.value.direction, failure.value.delivered) == (2, Direction.TO_CLIENT, False)
    assert isinstance(failure.value.__cause__, ValueError)


async def test_refuses_an_error_that_says_nothing_of_the_work(proxy: FaultProxy) -> None:
    async def hides(db: Database) -> None:
        try:
            await ask(db)
        except ConnectionLost:
            raise KeyError("cache") from None

    async with opened(proxy) as db:
        with pytest.raises(CutSweepFailed, match="KeyError came out") as failure:
            await cut_sweep(proxy, lambda: hides(db))
        assert failure.value.chunk == 1
        await cut_sweep(proxy, lambda: hides(db), may_raise=KeyError)


async def test_refuses_an_operation_that_fails_by_itself(proxy: FaultProxy) -> None:
    async def fails() -> None:
        raise CommitOutcomeUnknown("by itself")

    with pytest.raises(CutSweepFailed, match=r"Not cut \(there is no chunk 1 to the server\): the operation raised CommitOutcomeUnknown"):
        await cut_sweep(proxy, fails)


async def test_throws_out_an_operation_that_hangs(proxy: FaultProxy) -> None:
    with pytest.raises(CutSweepFailed, match=r"did not end within 0\.05 s"):
        await cut_sweep(proxy, anyio.sleep_forever, patience_seconds=0.05)


async def test_refuses_an_operation_of_too_many_chunks(proxy: FaultProxy) -> None:
    async with opened(proxy) as db:

        async def often() -> None:
            for _ in range(3):
                try:
                    await ask(db)
                except ConnectionLost:
                    pass

        with pytest.raises(UsageError, match="after 2 of them"):
            await cut_sweep(proxy, often, limit=2)


async def test_the_report_lists_each_run(proxy: FaultProxy) -> None:
    async with opened(proxy) as db:
        await ask(db)
        report = await cut_sweep(proxy, lambda: ask(db), directions=[Direction.TO_SERVER])
    lines = str(report).splitlines()
    assert lines[0] == "Cut at chunk 1 to the server, lost: raised ConnectionLost"
    assert lines[-1].startswith("Not cut (there is no chunk ")
    assert lines[-1].endswith(": returned")
    assert len(lines) == report.cuts + 2
