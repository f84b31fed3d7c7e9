"""copy_in from an asynchronous source: read ahead by a task of its own, which ends with the COPY however that ends."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import anyio.lowlevel
import pytest

from tests.database.zoo import Animal
from tests.wire.witness import Witness
from trioorm import (
    BindError,
    Column,
    Database,
    Model,
    PoolDeadlock,
    QueryError,
    TransactionBusy,
    UniqueViolation,
    column,
    count,
    open_database,
    select,
    sql,
)
from trioorm.testing import pool_is_whole

_PATIENCE_SECONDS = 10


class Page(Model, table="pages"):
    """Large enough to fill a socket with some hundreds."""

    id: Column[int] = column(primary_key=True)
    text: Column[str]


def _page(number: int) -> Page:
    return Page(id=number, text="x" * 10_000)


async def _count(db: Database) -> int:
    return await db.fetch_value(select(count(Animal.id)))


async def test_it_reads_one_batch_ahead_and_no_more(dsn: str, witness: Witness) -> None:
    """The server takes no more rows, because it waits for a lock; the source is asked for more all the same, but not for all."""
    read: list[int] = []

    async def pages() -> AsyncGenerator[Page]:
        for number in range(5000):
            read.append(number)
            await anyio.lowlevel.checkpoint()
            yield _page(number)

    async with open_database(dsn) as db:
        await db.create_schema(Page)
        # With a trigger the server inserts row by row, and so meets the lock at the first; else it takes a thousand before it looks.
        witness.run("CREATE FUNCTION as_it_is() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
        witness.run("CREATE TRIGGER row_by_row BEFORE INSERT ON pages FOR EACH ROW EXECUTE FUNCTION as_it_is()")
        async with anyio.create_task_group() as nursery:
            async with db.transaction() as tx:
                await tx.insert(_page(0))
                nursery.start_soon(_refused, db, pages())
                with anyio.fail_after(_PATIENCE_SECONDS):
                    while len(read) < 1001:  # noqa: ASYNC110 - a source that is not read ahead never comes so far
                        await anyio.sleep(0.002)
                await anyio.wait_all_tasks_blocked()
                assert len(read) == 1001, "the first row, the batch that is being sent, and one more"


async def _refused(db: Database, pages: AsyncGenerator[Page]) -> None:
    with pytest.raises(UniqueViolation):
        await db.copy_in(Page, pages)


async def test_the_source_runs_wholly_in_one_task(dsn: str) -> None:
    """Else Trio would not let it keep a nursery, or a cancel scope, open across its yields."""
    tasks: list[int] = []

    async def rows() -> AsyncGenerator[Animal]:
        tasks.append(anyio.get_current_task().id)
        try:
            with anyio.fail_after(_PATIENCE_SECONDS):
                async with anyio.create_task_group() as nursery:
                    nursery.start_soon(anyio.sleep, math.inf)
                    for number in range(1200):
                        tasks.append(anyio.get_current_task().id)
                        yield Animal(name=str(number))
                    nursery.cancel_scope.cancel()
        finally:
            tasks.append(anyio.get_current_task().id)

    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        assert await db.copy_in(Animal, rows()) == 1200
    assert len(set(tasks)) == 1
    assert tasks[0] != anyio.get_current_task().id


async def test_a_source_that_stands_at_a_yield_is_closed_in_peace(dsn: str) -> None:
    """Its own cleanup may wait, as it may when nobody reads ahead."""
    closed: list[int] = []

    async def rows() -> AsyncGenerator[Animal]:
        began_in = anyio.get_current_task().id
        try:
            yield Animal(name="bad", age=2**20)
            pytest.fail("nobody wants more")
        finally:
            await anyio.lowlevel.checkpoint()
            closed.append(anyio.get_current_task().id - began_in)

    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        with pytest.raises(BindError):
            await db.copy_in(Animal, rows())
    assert closed == [0]


async def test_a_source_that_waits_is_cancelled_when_the_copy_fails(dsn: str) -> None:
    """The error leaves bare, and at once."""
    seen: list[str] = []

    async def rows() -> AsyncGenerator[Animal]:
        for number in range(501):
            yield Animal(name=str(number // 2))  # each twice
        try:
            await anyio.sleep(math.inf)
        except anyio.get_cancelled_exc_class():
            seen.append("cancelled")
            raise
        finally:
            seen.append("closed")

    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        await db.execute(sql("CREATE TEMPORARY TABLE seen (n int)"))
        with anyio.move_on_after(_PATIENCE_SECONDS) as patience, pytest.raises(BindError):
            await db.copy_in(Animal, _with_a_bad_row(rows()))
        assert not patience.cancel_called
        assert seen == ["cancelled", "closed"]
        assert await _count(db) == 0
        assert await db.fetch_value(sql("SELECT count(*) FROM seen").returns(int)) == 0, "the connection was kept"
        await pool_is_whole(db.statistics)


async def _with_a_bad_row(rows: AsyncGenerator[Animal]) -> AsyncGenerator[Animal]:
    async with aclosing(rows):
        async for row in rows:
            yield Animal(name=row.name, age=2**20 if row.name == "249" else 0)


async def test_when_both_fail_the_error_of_the_copy_goes_on_and_names_the_other(dsn: str) -> None:
    async def rows() -> AsyncGenerator[Animal]:
        try:
            yield Animal(name="bad", age=2**20)
        finally:
            raise LookupError("mine")

    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        with pytest.raises(BindError) as caught:
            await db.copy_in(Animal, rows())
        assert any("LookupError: mine" in note for note in caught.value.__notes__)


async def test_an_error_of_the_source_stops_a_copy_that_waits_for_it(dsn: str) -> None:
    mine = LookupError("mine")

    async def rows() -> AsyncGenerator[Animal]:
        for number in range(700):
            yield Animal(name=str(number))
        await anyio.lowlevel.checkpoint()
        raise mine

    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        with pytest.raises(LookupError) as caught:
            await db.copy_in(Animal, rows())
        assert caught.value is mine
        assert await _count(db) == 0
        await pool_is_whole(db.statistics)


@pytest.mark.parametrize("rows_before", [0, 1, 600])
async def test_cancelled_while_the_source_waits(dsn: str, rows_before: int) -> None:
    closed: list[str] = []
    waiting = anyio.Event()

    async def rows() -> AsyncGenerator[Animal]:
        try:
            for number in range(rows_before):
                yield Animal(name=str(number))
            waiting.set()
            await anyio.sleep(math.inf)
        finally:
            closed.append("closed")

    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(db.copy_in, Animal, rows())
            await waiting.wait()
            nursery.cancel_scope.cancel()
        assert closed == ["closed"]
        assert await _count(db) == 0
        await pool_is_whole(db.statistics)


async def test_asyncios_own_timeout_while_the_source_waits(dsn: str, backend: str) -> None:
    if backend != "asyncio":
        return

    async def rows() -> AsyncGenerator[Animal]:
        yield Animal(name="Ada")
        await asyncio.sleep(math.inf)

    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await db.copy_in(Animal, rows())
        assert await _count(db) == 0
        await pool_is_whole(db.statistics)


async def test_a_cancelled_future_of_asyncio_is_an_error_of_the_source(dsn: str, backend: str) -> None:
    if backend != "asyncio":
        return

    async def rows() -> AsyncGenerator[Animal]:
        yield Animal(name="Ada")
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        with pytest.raises(asyncio.CancelledError):
            await db.copy_in(Animal, rows())
        assert await _count(db) == 0


async def test_a_scope_of_the_source_that_cancels_between_two_rows_is_named(dsn: str) -> None:
    """No generator can hear of it there; without our word the rows so far would be taken for all of them, or the caller be cancelled."""

    async def rows() -> AsyncGenerator[Animal]:
        with anyio.CancelScope() as scope:
            yield Animal(name="Ada")
            scope.cancel()
            yield Animal(name="Grace")

    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        for _ in range(10):  # the two tasks may run in either order
            with anyio.fail_after(_PATIENCE_SECONDS), pytest.raises(QueryError, match="open across a yield"):
                await db.copy_in(Animal, _slowly(rows()))
        assert await _count(db) == 0
        await pool_is_whole(db.statistics)


async def _slowly(rows: AsyncGenerator[Animal]) -> AsyncGenerator[Animal]:
    """Each row comes alone: as the first one, and as the last of a batch."""
    async with aclosing(rows):
        number = 0
        async for row in rows:
            yield row
            if number:
                for each in range(500):
                    yield Animal(name=str(each))
            number += 1


# Inside a transaction, and on a small pool.


async def test_until_its_first_row_the_source_may_use_the_same_transaction(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        async with db.transaction() as tx:
            await tx.insert(Animal(name="Ada"))

            async def doubled() -> AsyncGenerator[Animal]:
                for animal in await tx.fetch_all(select(Animal)):
                    yield Animal(name=animal.name * 2)

            assert await tx.copy_in(Animal, doubled()) == 1
        assert await db.fetch_all(select(Animal.name).order_by(Animal.name)) == ["Ada", "AdaAda"]


@pytest.mark.parametrize("inside_another", [False, True])
async def test_later_it_is_refused_and_does_not_wait_for_itself(dsn: str, inside_another: bool) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        with anyio.fail_after(_PATIENCE_SECONDS), pytest.raises(TransactionBusy, match="a COPY of the transaction holds it"):
            async with db.transaction() as tx:

                async def rows() -> AsyncGenerator[Animal]:
                    if inside_another:
                        async with db.transaction():  # a block that is entered before the COPY and left inside it
                            yield Animal(name="Ada")
                    else:
                        yield Animal(name="Ada")
                    yield Animal(name=str(await tx.fetch_value(select(count(Animal.id)))))

                await tx.copy_in(Animal, rows())
        assert await _count(db) == 0


async def test_a_stream_of_the_same_transaction_is_no_source(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        await db.insert_many([Animal(name=str(number)) for number in range(3)])
        with anyio.fail_after(_PATIENCE_SECONDS), pytest.raises(TransactionBusy, match="a stream of the transaction holds it"):
            async with db.transaction() as tx:

                async def rows() -> AsyncGenerator[Animal]:
                    async with tx.stream(select(Animal)) as animals:
                        async for animal in animals:
                            yield Animal(name=animal.name * 2)

                await tx.copy_in(Animal, rows())
        assert await _count(db) == 3


async def test_a_stream_on_another_connection_is_a_source(dsn: str) -> None:
    async with open_database(dsn, max_size=2) as db:
        await db.create_schema(Animal)
        await db.insert_many([Animal(name=str(number)) for number in range(3000)])

        async def rows() -> AsyncGenerator[Animal]:
            async with db.stream(select(Animal)) as animals:
                async for animal in animals:
                    yield Animal(name=f"copy of {animal.name}")

        assert await db.copy_in(Animal, rows()) == 3000
        await pool_is_whole(db.statistics)


@pytest.mark.parametrize("at", ["the first row", "a later row"])
async def test_a_source_that_has_the_last_connection_is_told_at_once(dsn: str, at: str) -> None:
    """The two tasks wait for each other, and the pool knows that they are one."""
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        await db.insert(Animal(name="Ada"))

        async def rows() -> AsyncGenerator[Animal]:
            if at == "a later row":
                yield Animal(name="Bob")
            async with db.stream(select(Animal)) as animals:
                async for animal in animals:
                    yield Animal(name=animal.name * 2)

        with anyio.fail_after(_PATIENCE_SECONDS), pytest.raises(PoolDeadlock):
            await db.copy_in(Animal, rows())
        assert await _count(db) == 1
        await pool_is_whole(db.statistics)
