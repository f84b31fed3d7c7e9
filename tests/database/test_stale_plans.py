"""Prepared statements that do not fit any more: a table has changed, or the session has dropped them."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from trioorm import Column, Database, DatabaseError, Model, Transaction, column, insert, open_database, select, sql
from trioorm.errors import leaves_of


class Shelf(Model, table="shelf"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]


_ALL = sql("SELECT * FROM shelf")


@pytest.mark.parametrize("forget", ["ALTER TABLE shelf ADD COLUMN width int", "DISCARD ALL", "DEALLOCATE ALL"])
async def test_outside_a_transaction_they_are_prepared_anew_without_a_word(dsn: str, forget: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Shelf)
        await db.insert(Shelf(id=1, name="top"))
        assert len(await db.fetch_all(_ALL)) == 1
        await db.execute(sql(forget))  # pyright: ignore[reportArgumentType] - written in this file
        (row,) = await db.fetch_all(_ALL)
        assert row[:2] == (1, "top")
        assert await db.fetch_one(select(Shelf)) == Shelf(id=1, name="top")


async def test_inside_a_transaction_the_first_use_fails_and_the_next_transaction_works(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Shelf)
        assert await db.fetch_all(_ALL) == []
        await db.execute(sql("ALTER TABLE shelf ADD COLUMN width int"))
        with pytest.raises(DatabaseError, match="cached plan must not change result type") as failure:
            async with db.transaction() as tx:
                await tx.fetch_all(_ALL)
        assert failure.value.sqlstate == "0A000"
        async with db.transaction() as tx:
            assert await tx.fetch_all(_ALL) == []


_FORGET = sql("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")  # its tag does not tell


async def _flight(db: Database, key: int) -> None:
    async with db.flight(commit=True) as flight:
        flight.insert(Shelf(id=key, name="new"))


async def _flight_with_begin(db: Database, key: int) -> None:
    async with db.flight(commit=True, isolation="serializable") as flight:
        flight.insert(Shelf(id=key, name="new"))


async def _flight_of_commands(db: Database, key: int) -> None:
    async with db.flight(commit=True) as flight:
        flight.execute(sql("SET LOCAL app.name = 'ada'"))
        flight.insert(Shelf(id=key, name="new"))


async def _flight_with_a_deadline(db: Database, key: int) -> None:
    with anyio.fail_after(60):
        await _flight(db, key)


async def _reads(db: Database, key: int) -> None:
    assert await db.fetch_many(select(Shelf.id), select(Shelf.name)) is not None
    await db.insert(Shelf(id=key, name="new"))


@pytest.mark.parametrize("work", [_flight, _flight_with_begin, _flight_of_commands, _flight_with_a_deadline, _reads])
async def test_a_flight_prepares_anew_all_that_it_sends(dsn: str, work: Callable[[Database, int], Awaitable[None]]) -> None:
    """What belongs to us too: BEGIN, the server's limit, the question for the transaction's id. So does a pooler that nobody knows of."""
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Shelf)
        await work(db, 1)
        await db.execute(_FORGET)
        await work(db, 2)
        assert await db.fetch_all(select(Shelf.id).order_by(Shelf.id)) == [1, 2]


async def _copy(tx: Transaction, key: int) -> None:
    await tx.copy_in(Shelf, [Shelf(id=key, name="new")])


async def _stream(tx: Transaction, key: int) -> None:
    async with tx.stream(insert(Shelf).values(Shelf(id=key, name="new")).returning(Shelf.id)) as rows:
        assert [row async for row in rows] == [key]


async def _insert(tx: Transaction, key: int) -> None:
    await tx.insert(Shelf(id=key, name="new"))


async def _children(tx: Transaction, key: int) -> None:
    tx.start_soon(tx.execute, sql("SELECT 1").reads_only())
    tx.start_soon(tx.insert, Shelf(id=key, name="new"))


@pytest.mark.parametrize("work", [_copy, _stream, _insert, _children])
async def test_after_a_transaction_that_fails_for_it_the_next_prepares_all_anew(
    dsn: str, work: Callable[[Transaction, int], Awaitable[None]]
) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Shelf)
        async with db.transaction() as tx:
            await work(tx, 1)
        await db.execute(_FORGET)
        failures: list[BaseException] = []
        for _ in range(5):
            try:
                async with db.transaction() as tx:
                    await work(tx, 2)
                break
            except* DatabaseError as group:
                failures += leaves_of(group)
        assert await db.fetch_all(select(Shelf.id).order_by(Shelf.id)) == [1, 2]
        assert len(failures) <= 2
        assert all(isinstance(failure, DatabaseError) and failure.safe_to_retry for failure in failures), failures
