"""Lanes from where the user stands: which verbs and statements go on one, and that nothing changes but the way."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.pool.lanes import shared_by_few
from tests.transaction.ledger import Entry
from tests.wire.witness import Witness
from trioorm import Database, DatabaseError, NoRowFound, func, insert, open_database, select, sql, update
from trioorm.query import Statement
from trioorm.testing import server_is_quiet

_ENTRY = select(Entry).where(Entry.key == 1)
_KEY = sql("SELECT key FROM entries WHERE key = 1").returns(int)


@asynccontextmanager
async def opened(dsn: str) -> AsyncGenerator[Database]:
    """A database with one lane and one entry."""
    with shared_by_few():
        async with open_database(dsn, max_size=4, lanes=1) as db:
            await _fill(db)
            yield db


async def _fill(db: Database) -> None:
    await db.create_schema(Entry)
    await db.insert(Entry(key=1, note="one"))
    prove(db, _ENTRY)
    with anyio.fail_after(10):
        while db.statistics().lanes.open < 1:
            await db.fetch_one(_ENTRY)


def prove(db: Database, statement: Statement[Any]) -> None:
    """As if it had been fast often enough."""
    plan, _ = db._plans.plan(statement)  # pyright: ignore[reportPrivateUsage]
    while not plan.statement.pace.is_proven:
        plan.statement.pace.note(0.0)


def reads_of(db: Database) -> int:
    return db.statistics().lanes.reads


async def _get(db: Database) -> None:
    assert await db.get(Entry, 1) == Entry(key=1, note="one")


async def _fetch_all(db: Database) -> None:
    assert await db.fetch_all(_ENTRY) == [Entry(key=1, note="one")]


async def _fetch_optional(db: Database) -> None:
    assert await db.fetch_optional(_ENTRY) == Entry(key=1, note="one")


async def _fetch_value(db: Database) -> None:
    assert await db.fetch_value(select(Entry.note).where(Entry.key == 1)) == "one"


async def _execute(db: Database) -> None:
    assert await db.execute(_ENTRY) == 1


async def _marked(db: Database) -> None:
    assert await db.fetch_value(_KEY.reads_only()) == 1


async def _until_on_a_lane(db: Database, verb: Callable[[Database], Awaitable[None]]) -> None:
    before = reads_of(db)
    with anyio.fail_after(10):
        while reads_of(db) == before:
            await verb(db)


@pytest.mark.parametrize(
    "verb", [_get, _fetch_all, _fetch_optional, _fetch_value, _execute, _marked], ids=lambda verb: verb.__name__.strip("_")
)
async def test_reads_come_to_share_a_lane_by_themselves(dsn: str, verb: Callable[[Database], Awaitable[None]]) -> None:
    async with opened(dsn) as db:
        await _until_on_a_lane(db, verb)


async def test_no_row_is_the_same_error(dsn: str) -> None:
    async with opened(dsn) as db:
        nobody = select(Entry).where(Entry.key == 2)
        prove(db, nobody)
        before = reads_of(db)
        with pytest.raises(NoRowFound):
            await db.fetch_one(nobody)
        assert reads_of(db) == before + 1


@pytest.mark.parametrize(
    "statement",
    [
        _ENTRY.for_update(),
        select(func.random()),
        select(func.nextval("numbers")),
        _KEY,
        insert(Entry).values(Entry(key=2, note="two")).returning(Entry.key),
    ],
    ids=["locks", "random", "numbers", "unmarked", "writes"],
)
async def test_what_may_not_be_run_twice_never_does(dsn: str, witness: Witness, statement: Statement[Any]) -> None:
    async with opened(dsn) as db:
        witness.run("CREATE SEQUENCE IF NOT EXISTS numbers")
        prove(db, statement)
        before = reads_of(db)
        await db.fetch_all(statement)
        assert reads_of(db) == before
        witness.run("DROP SEQUENCE numbers")


async def test_a_transaction_reads_by_its_own_connection(dsn: str) -> None:
    async with opened(dsn) as db:
        before = reads_of(db)
        async with db.transaction() as tx:
            await tx.execute(insert(Entry).values(Entry(key=2, note="two")))
            assert len(await tx.fetch_all(select(Entry))) == 2
            await tx.fetch_one(_ENTRY)
        async with db.snapshot() as snapshot:
            await snapshot.fetch_one(_ENTRY)
        async with db.stream(_ENTRY) as entries:
            assert [entry.key async for entry in entries] == [1]
        assert reads_of(db) == before


async def test_who_has_written_sees_it_at_once(dsn: str) -> None:
    """On whatever connection it was written: a lane's read sees what was committed before it was asked."""
    async with opened(dsn) as db:

        async def write_and_read(key: int) -> None:
            await db.insert(Entry(key=key, note=f"{key}"))
            assert (await db.get(Entry, key)).note == f"{key}"
            async with db.transaction() as tx:
                await tx.execute(update(Entry).set(Entry.note, f"{key}!").where(Entry.key == key))
            assert (await db.get(Entry, key)).note == f"{key}!"

        await _until_on_a_lane(db, _get)
        before = reads_of(db)
        async with anyio.create_task_group() as nursery:
            for key in range(2, 60):
                nursery.start_soon(write_and_read, key)
        assert reads_of(db) > before


async def test_an_error_says_the_same(dsn: str) -> None:
    """As on a connection of one's own: where it came from, and what was asked."""

    def divide() -> Statement[Any]:
        return sql("SELECT 1 / {number}", number=0).returns(int).reads_only()

    async with opened(dsn) as db:
        errors = list[DatabaseError]()
        for way in range(2):
            before = reads_of(db)
            with pytest.raises(DatabaseError) as caught:
                await db.fetch_value(divide())
            errors.append(caught.value)
            assert reads_of(db) == before + way
            prove(db, divide())
        alone, shared = errors
        assert type(shared) is type(alone)
        assert str(shared) == str(alone)
        assert (shared.sqlstate, shared.statement) == (alone.sqlstate, alone.statement)


async def test_a_deadline_ends_a_read(dsn: str, witness: Witness) -> None:
    async with opened(dsn) as db:
        sleeping = sql("SELECT 1 FROM pg_sleep(60)").returns(int).reads_only()
        prove(db, sleeping)
        with pytest.raises(TimeoutError), anyio.fail_after(0.05):
            await db.fetch_value(sleeping)
        await server_is_quiet(witness.connection)


async def test_a_lane_is_there_by_default_when_many_read_and_never_for_one(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Entry)
        await db.insert(Entry(key=1, note="one"))
        for _ in range(50):
            await _get(db)
        assert (db.statistics().lanes.open, db.statistics().lanes.reads) == (0, 0)

        async def read() -> None:
            for _ in range(50):
                await _get(db)

        async with anyio.create_task_group() as nursery:
            for _ in range(20):
                nursery.start_soon(read)
        assert db.statistics().lanes.reads > 0
    async with open_database(dsn, lanes=0) as db, anyio.create_task_group() as nursery:

        async def read_without() -> None:
            for _ in range(50):
                await _get(db)
            assert db.statistics().lanes.reads == 0

        for _ in range(20):
            nursery.start_soon(read_without)


async def test_a_transaction_that_blocks_a_lane_can_still_read_beside_itself(dsn: str, witness: Witness) -> None:
    """The read of the transaction's own task stands behind one that waits for the transaction: without a way round, for ever."""
    async with opened(dsn) as db:
        one = select(func.coalesce("free", "?"))
        prove(db, one)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as nursery, db.transaction() as tx:
                await tx.execute(sql("LOCK TABLE entries"))
                nursery.start_soon(db.fetch_one, _ENTRY)
                await witness.until("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
                assert await db.fetch_value(one) == "free"
        assert db.statistics().lanes.sent_elsewhere + db.statistics().lanes.turned_away > 0
