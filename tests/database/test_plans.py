"""The plan cache: one shape is compiled once, whatever its values, and the cache does not grow for ever."""

import pytest

from tests.database.zoo import Animal
from trioorm import Statement, open_database, select, sql
from trioorm.compiler import Compiled, compile_statement
from trioorm.database import plan as plan_room
from trioorm.database.plan import PlanCache


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts compiled since the test began."""
    texts: list[str] = []

    def noting(statement: Statement[object]) -> Compiled:
        made = compile_statement(statement)
        texts.append(made.text)
        return made

    monkeypatch.setattr(plan_room, "compile_statement", noting)
    return texts


async def test_one_shape_is_compiled_once(dsn: str, compiled: list[str]) -> None:
    async with open_database(dsn, max_size=2) as db:
        await db.create_schema(Animal)
        for number in range(20):
            await db.insert(Animal(name=f"animal {number}", age=number))
            await db.fetch_all(select(Animal).where(Animal.age > number))
        async with db.transaction() as tx:
            await tx.fetch_all(select(Animal).where(Animal.age > 100))
            async with tx.savepoint() as sp:
                await sp.fetch_all(select(Animal).where(Animal.age > 101))
    assert len(compiled) == 2


async def test_lists_of_any_length_share_a_shape(dsn: str, compiled: list[str]) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        for length in range(1, 6):
            await db.fetch_all(select(Animal).where(Animal.age.in_(list(range(length)))))
    assert len(compiled) == 1


async def test_the_same_text_is_prepared_once_on_a_connection(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        for number in range(10):
            await db.fetch_value(sql("SELECT {number}", number=number).returns(int))
        prepared = sql("SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT $1'").returns(int)
        assert await db.fetch_value(prepared) == 1


def test_the_cache_keeps_what_was_used_last(compiled: list[str]) -> None:
    cache = PlanCache(limit=3)
    for statement in (select(Animal.id), select(Animal.name), select(Animal.age)):
        cache.plan(statement)
    cache.plan(select(Animal.id))
    cache.plan(select(Animal.mood))
    assert len(cache) == 3
    assert len(compiled) == 4
    cache.plan(select(Animal.id))
    assert len(compiled) == 4, "used again before the fourth came, so it was kept"
    cache.plan(select(Animal.name))
    assert len(compiled) == 5, "the one that was not used for the longest time has gone"


async def test_more_shapes_than_a_connection_keeps_prepared(dsn: str) -> None:
    """Statements are closed on the server as new ones come, and come back when asked for again."""
    async with open_database(dsn, max_size=1) as db:
        for _ in range(2):
            for number in range(520):
                text = f"SELECT {number} + {{one}}"
                assert await db.fetch_value(sql(text, one=1).returns(int)) == number + 1  # pyright: ignore[reportArgumentType]
        assert await db.fetch_value(sql("SELECT count(*) FROM pg_prepared_statements").returns(int)) <= 501


async def test_a_table_that_changed_under_a_prepared_statement(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        await db.insert(Animal(name="Ada", age=3))
        assert await db.fetch_value(select(Animal.age)) == 3
        await db.execute(sql("ALTER TABLE animals ALTER age TYPE bigint"))
        assert await db.fetch_value(select(Animal.age)) == 3
