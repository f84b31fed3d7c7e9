"""Snapshots: all reads see one moment, over as many connections as there are, and none waits for ever."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from tests.transaction.ledger import SLEEP, Entry, fail_with, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import (
    Database,
    DatabaseError,
    QueryError,
    Snapshot,
    TransactionBusy,
    TransactionClosed,
    UniqueViolation,
    count,
    delete,
    insert,
    open_database,
    select,
    sql,
    update,
)
from trioorm.errors import ConnectionLost, DataError, UsageError

HOW_MANY = select(count()).from_(Entry)


@asynccontextmanager
async def open_ledger_of_two(dsn: str, *, max_size: int = 3) -> AsyncGenerator[Database]:
    async with open_ledger(dsn, max_size=max_size) as db:
        await db.insert_many([Entry(key=1), Entry(key=2)])
        yield db


async def pid_of(snap: Snapshot) -> int:
    return await snap.fetch_value(sql("SELECT pg_backend_pid()").returns(int))


@pytest.mark.parametrize("way", ["the verb", "a stream"])
async def test_what_would_end_its_transaction_is_refused_before_it_is_sent(dsn: str, way: str) -> None:
    """What is read after it would be of another moment."""
    ends = sql("COMMIT AND CHAIN").returns(int)
    async with open_ledger_of_two(dsn, max_size=1) as db, db.snapshot() as snap:
        with pytest.raises(UsageError, match="Nothing was sent"):
            if way == "the verb":
                await snap.execute(ends)
            else:
                async with snap.stream(ends):
                    raise AssertionError("it was entered")
        assert await snap.fetch_value(HOW_MANY) == 2


class Meeting:
    """Streams that are all open at the same time, so each on a connection of its own."""

    def __init__(self, number: int) -> None:
        self.pids: list[int] = []
        self.counts: list[int] = []
        self._number = number
        self._all_there = anyio.Event()

    async def join(self, snap: Snapshot) -> None:
        async with snap.stream(sql("SELECT pg_backend_pid(), count(*) FROM entries").returns(int, int)) as rows:
            async for pid, number in rows:
                self.pids.append(pid)
                self.counts.append(number)
            if len(self.pids) == self._number:
                self._all_there.set()
            await self._all_there.wait()


async def test_many_tasks_see_one_moment_at_the_same_time(dsn: str) -> None:
    async with open_ledger_of_two(dsn, max_size=4) as db:
        meeting = Meeting(3)
        with anyio.fail_after(20):
            async with db.snapshot(connections=3) as snap:
                await write(db, 3)
                for _ in range(3):
                    snap.start_soon(meeting.join, snap)
                assert await snap.fetch_value(HOW_MANY) == 2
                await write(db, 4)
        assert meeting.counts == [2, 2, 2]
        assert len(set(meeting.pids)) == 3
    assert keys_in(dsn) == [1, 2, 3, 4]


async def test_takes_no_more_than_it_may(dsn: str) -> None:
    async with open_ledger_of_two(dsn, max_size=6) as db:
        most = 0

        async def read(snap: Snapshot) -> None:
            nonlocal most
            reads = 0
            while reads < 3 or most < 2:  # the second connection takes a while to come
                assert await snap.fetch_value(HOW_MANY) == 2
                most = max(most, db.statistics().on_loan)
                reads += 1

        with anyio.fail_after(20):
            async with db.snapshot(connections=2) as snap:
                for _ in range(20):
                    snap.start_soon(read, snap)
        assert most == 2


@pytest.mark.parametrize("connections", [1, 4])
async def test_a_pool_of_one_is_enough(dsn: str, connections: int) -> None:
    async with open_ledger_of_two(dsn, max_size=1) as db:
        seen: list[int] = []

        async def read(snap: Snapshot) -> None:
            seen.append(await snap.fetch_value(HOW_MANY))

        with anyio.fail_after(10):
            async with db.snapshot(connections=connections) as snap:
                for _ in range(10):
                    snap.start_soon(read, snap)
        assert seen == [2] * 10


async def test_two_that_share_a_pool_do_not_wait_for_each_other(dsn: str) -> None:
    async with open_ledger_of_two(dsn, max_size=2) as db:

        async def read_all(name: str) -> None:
            async with db.snapshot(connections=3, name=name) as snap:
                for _ in range(5):
                    snap.start_soon(snap.fetch_all, select(Entry))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(read_all, "one")
                nursery.start_soon(read_all, "two")


async def test_every_verb_that_reads(dsn: str) -> None:
    async with open_ledger_of_two(dsn) as db:
        async with db.snapshot() as snap:
            assert [entry.key for entry in await snap.fetch_all(select(Entry).order_by(Entry.key))] == [1, 2]
            assert (await snap.fetch_one(select(Entry).where(Entry.key == 1))).key == 1
            assert await snap.fetch_optional(select(Entry).where(Entry.key == 9)) is None
            assert (await snap.get(Entry, 2)).key == 2
            assert await snap.execute(select(Entry)) == 2
            async with snap.stream(select(Entry.key).order_by(Entry.key), batch_rows=1) as keys:
                assert [key async for key in keys] == [1, 2]


_WRITES: dict[str, Callable[[Snapshot], Awaitable[object]]] = {
    "insert": lambda snap: snap.insert(Entry(key=9)),
    "insert_many": lambda snap: snap.insert_many([Entry(key=9)]),
    "update": lambda snap: snap.update(Entry(key=1)),
    "upsert": lambda snap: snap.upsert(Entry(key=1)),
    "delete": lambda snap: snap.delete(Entry(key=1)),
    "an insert": lambda snap: snap.execute(insert(Entry).values(Entry(key=9))),
    "an insert that returns": lambda snap: snap.fetch_all(insert(Entry).values(Entry(key=9)).returning(Entry)),
    "an update": lambda snap: snap.execute(update(Entry).set(Entry.note, "x").everywhere()),
    "a delete": lambda snap: snap.execute(delete(Entry).where(Entry.key == 1)),
    "a lock": lambda snap: snap.fetch_all(select(Entry).for_update()),
    "copy_in": lambda snap: snap.copy_in(Entry, [Entry(key=9)]),
    "notify": lambda snap: snap.notify("channel"),
    "create_schema": lambda snap: snap.create_schema(Entry),
    "drop_schema": lambda snap: snap.drop_schema(Entry),
}


@pytest.mark.parametrize("write_something", _WRITES.values(), ids=_WRITES)
async def test_writes_are_refused_before_they_are_sent(dsn: str, write_something: Callable[[Snapshot], Awaitable[object]]) -> None:
    async with open_ledger_of_two(dsn) as db:
        async with db.snapshot() as snap:
            with pytest.raises(QueryError, match="a snapshot only reads"):
                await write_something(snap)
            assert await snap.fetch_value(HOW_MANY) == 2


async def test_a_write_in_a_text_is_refused_by_the_server(dsn: str) -> None:
    async with open_ledger_of_two(dsn) as db:
        async with db.snapshot() as snap:
            with pytest.raises(DatabaseError, match="read-only transaction"):
                await snap.execute(sql("DELETE FROM entries"))
            assert await snap.fetch_value(HOW_MANY) == 2


@pytest.mark.parametrize("connections", [1, 2])
async def test_a_read_that_fails_spoils_nothing(dsn: str, connections: int) -> None:
    async with open_ledger_of_two(dsn) as db:
        async with db.snapshot(connections=connections) as snap:
            await write(db, 3)
            for _ in range(3):
                with pytest.raises(DataError):
                    await snap.execute(sql("SELECT 1 / 0"))
                with pytest.raises(DataError):
                    async with snap.stream(sql("SELECT 1 / (3 - n) FROM generate_series(1, 5) n").returns(int), batch_rows=1) as rows:
                        async for _row in rows:
                            pass
            assert await snap.fetch_value(HOW_MANY) == 2


async def test_a_read_that_is_cancelled_spoils_nothing(dsn: str, witness: Witness) -> None:
    async with open_ledger_of_two(dsn) as db:
        async with db.snapshot(connections=1) as snap:
            pid = await pid_of(snap)
            await write(db, 3)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as nursery:
                    nursery.start_soon(_cancel_when_asleep, witness, pid, scope)
                    await snap.execute(SLEEP)
            assert scope.cancelled_caught
            assert await pid_of(snap) == pid
            assert await snap.fetch_value(HOW_MANY) == 2


async def _cancel_when_asleep(witness: Witness, pid: int, scope: anyio.CancelScope) -> None:
    await witness.until_waiting(pid)
    scope.cancel()


async def test_a_stream_that_is_left_early_spoils_nothing(dsn: str) -> None:
    async with open_ledger_of_two(dsn) as db:
        async with db.snapshot(connections=1) as snap:
            for _ in range(3):
                async with snap.stream(sql("SELECT n FROM generate_series(1, 100000) n").returns(int), batch_rows=2) as numbers:
                    assert await anext(numbers) == 1
            assert await snap.fetch_value(HOW_MANY) == 2


async def test_a_connection_that_is_lost_leaves_the_others(dsn: str, witness: Witness) -> None:
    async with open_ledger_of_two(dsn) as db:
        async with db.snapshot(connections=2) as snap:
            meeting = Meeting(2)
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(meeting.join, snap)
                nursery.start_soon(meeting.join, snap)
            await write(db, 3)
            witness.terminate(meeting.pids[1])
            for _ in range(2):
                try:
                    await snap.fetch_value(HOW_MANY)
                except ConnectionLost as lost:
                    assert lost.safe_to_retry  # noqa: PT017 - the one that is free may be another
            meeting = Meeting(1)
            await meeting.join(snap)
            assert meeting.counts == [2]


async def test_with_the_last_connection_it_is_over(dsn: str, witness: Witness) -> None:
    async with open_ledger_of_two(dsn) as db:
        async with db.snapshot(connections=3) as snap:
            witness.terminate(await pid_of(snap))
            with pytest.raises(ConnectionLost):
                await snap.fetch_value(HOW_MANY)
            with pytest.raises(ConnectionLost, match="no connection of the snapshot is left") as caught:
                await snap.fetch_value(HOW_MANY)
            assert caught.value.safe_to_retry


@pytest.mark.parametrize("connections", [1, 2])
async def test_reading_inside_its_own_streams_is_refused_when_nothing_is_left(dsn: str, connections: int) -> None:
    """It would wait for itself."""
    async with open_ledger_of_two(dsn, max_size=2) as db:
        async with db.snapshot(connections=connections) as snap:
            with anyio.fail_after(10):
                async with snap.stream(select(Entry.key).order_by(Entry.key)) as outer:
                    if connections == 2:
                        assert await snap.fetch_value(HOW_MANY) == 2
                        async with snap.stream(select(Entry.key)) as inner:
                            with pytest.raises(TransactionBusy, match="the snapshot is busy"):
                                await snap.fetch_value(HOW_MANY)
                            assert len([key async for key in inner]) == 2
                    else:
                        with pytest.raises(TransactionBusy, match="1 of at most 1"):
                            await snap.fetch_value(HOW_MANY)
                    assert [key async for key in outer] == [1, 2]


async def test_reading_inside_its_own_stream_is_refused_when_the_pool_gives_nothing(dsn: str) -> None:
    async with open_ledger_of_two(dsn):
        pass
    async with open_database(dsn, max_size=1, timeout_seconds=0.05) as db:
        async with db.snapshot(connections=4) as snap:
            with anyio.fail_after(10):
                async with snap.stream(select(Entry.key)) as keys:
                    with pytest.raises(TransactionBusy, match="the snapshot is busy"):
                        await snap.fetch_value(HOW_MANY)
                    assert len([key async for key in keys]) == 2


async def test_a_failing_child_cancels_the_others(dsn: str) -> None:
    mine = LookupError("mine")
    async with open_ledger_of_two(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.snapshot() as snap:
                snap.start_soon(snap.execute, SLEEP)
                snap.start_soon(fail_with, mine)
                await anyio.sleep_forever()
        assert caught.value.exceptions == (mine,)


async def test_the_bodys_exception_comes_out_bare(dsn: str) -> None:
    mine = LookupError("mine")
    async with open_ledger_of_two(dsn) as db:
        with pytest.raises(LookupError) as caught:
            async with db.snapshot() as snap:
                snap.start_soon(snap.execute, SLEEP)
                raise mine
        assert caught.value is mine


async def test_outside_of_its_block_it_is_refused(dsn: str) -> None:
    async with open_ledger_of_two(dsn) as db:
        snap = db.snapshot(name="monthly")
        with pytest.raises(TransactionClosed, match=r"the snapshot 'monthly' was used by task .* was not entered"):
            await snap.fetch_value(HOW_MANY)
        async with snap:
            pass
        with pytest.raises(TransactionClosed, match="has ended"):
            await snap.fetch_value(HOW_MANY)
        with pytest.raises(TransactionClosed, match="was entered before"):
            await snap.__aenter__()
        with pytest.raises(UsageError, match="0 connections"):
            db.snapshot(connections=0)


async def test_an_error_in_a_write_elsewhere_is_none_of_its_business(dsn: str) -> None:
    async with open_ledger_of_two(dsn) as db:
        async with db.snapshot() as snap:
            with pytest.raises(UniqueViolation):
                await write(db, 1)
            assert await snap.fetch_value(HOW_MANY) == 2
            assert await process_of(db) != await pid_of(snap)
