"""copy_in of rows of values, and copy_in where rows exist already: through a temporary table that does not outlive it."""

from collections.abc import AsyncGenerator
from typing import Literal, cast

import anyio.lowlevel
import pytest

from tests.database.zoo import Animal
from tests.transaction.ledger import Entry
from tests.transaction.swept import sweep_ledger
from tests.wire.witness import Witness
from trioorm import Database, DatabaseError, QueryError, UniqueViolation, open_database, select, sql

TEMPORARY = sql("SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'").returns(int)


async def _animals(db: Database) -> list[tuple[str, int]]:
    return await db.fetch_all(select(Animal.name, Animal.age).order_by(Animal.name))


async def test_rows_of_values_in_the_order_of_the_columns(dsn: str) -> None:
    async def rows() -> AsyncGenerator[tuple[int, str]]:
        for number in range(1200):
            await anyio.lowlevel.checkpoint()
            yield number % 9, f"{number:04}"

    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        assert await db.copy_in(Animal, rows(), columns=[Animal.age, Animal.name]) == 1200
        assert await db.copy_in(Animal, [["last", 0]], columns=[Animal.name, Animal.age]) == 1
        assert await db.copy_in(Animal, [], columns=[Animal.name]) == 0
        animals = await _animals(db)
        assert animals[:-1] == [(f"{number:04}", number % 9) for number in range(1200)]


@pytest.mark.parametrize(
    ("row", "error", "words"),
    [
        (("a",), QueryError, "copy_in into Animal met a tuple of 1, where a tuple of 2 is expected"),
        ("ab", QueryError, "copy_in into Animal met a str, where a tuple of 2 is expected"),
        ((7, "a"), QueryError, r"A value of class int was given for column name of row 2, which is text \(str in Python\)"),
    ],
)
async def test_rows_that_do_not_fit(dsn: str, row: object, error: type[Exception], words: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        with pytest.raises(error, match=words):
            await db.copy_in(Animal, cast("list[tuple[object, ...]]", [("ok", 1), row]), columns=[Animal.name, Animal.age])
        assert await _animals(db) == []


async def test_a_column_of_another_table_is_refused(dsn: str) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(QueryError, match="a column of another table"):
            await db.copy_in(Animal, [(1,)], columns=[Entry.key])


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_rows_that_exist_are_left_or_written(dsn: str, in_transaction: bool) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        await db.copy_in(Animal, [Animal(name=name, age=1) for name in "abc"])

        async def load(conflict: Literal["do_nothing", "do_update"], rows: list[Animal]) -> int:
            if not in_transaction:
                return await db.copy_in(Animal, rows, on_conflict=conflict, on=Animal.name)
            async with db.transaction() as tx:
                written = await tx.copy_in(Animal, rows, on_conflict=conflict, on=Animal.name)
                await tx.copy_in(Animal, [], on_conflict=conflict, on=Animal.name)
                assert await tx.fetch_value(TEMPORARY) == 0
                return written

        assert await load("do_nothing", [Animal(name=name, age=2) for name in "bcd"]) == 1
        assert await _animals(db) == [("a", 1), ("b", 1), ("c", 1), ("d", 2)]
        assert await load("do_update", [Animal(name=name, age=3) for name in "dea"]) == 3
        assert await _animals(db) == [("a", 3), ("b", 1), ("c", 1), ("d", 3), ("e", 3)]
        assert await db.copy_in(Animal, [("b", 4)], columns=[Animal.name, Animal.age], on_conflict="do_nothing") == 0
        assert await db.fetch_value(TEMPORARY) == 0


async def test_what_conflicts_cannot_do(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        with pytest.raises(QueryError, match="without on_conflict"):
            await db.copy_in(Animal, [Animal(name="a")], on=Animal.name)
        with pytest.raises(QueryError, match="no column to write"):
            await db.copy_in(Animal, [("a",)], columns=[Animal.name], on_conflict="do_update", on=Animal.name)
        with pytest.raises(DatabaseError, match="second time"):
            await db.copy_in(Animal, [Animal(name="a"), Animal(name="a")], on_conflict="do_update", on=Animal.name)
        assert await _animals(db) == []
        assert await db.fetch_value(TEMPORARY) == 0
        with pytest.raises(UniqueViolation):
            async with db.transaction() as tx:
                await tx.copy_in(Animal, [Animal(name="a")], on_conflict="do_nothing")
                await tx.copy_in(Animal, [Animal(name="a")])
        assert await db.fetch_value(TEMPORARY) == 0


async def _merge(db: Database) -> None:
    entries = [Entry(key=key, note="x" * 40_000) for key in (1, 2, 9)]
    assert await db.copy_in(Entry, entries, on_conflict="do_update") == 3


async def test_cancelled_anywhere(dsn: str, witness: Witness) -> None:
    await sweep_ledger(dsn, witness, _merge, leaves=[1, 2, 9], before=[9], may_absorb=True)
    assert witness.value("SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'") == 0
