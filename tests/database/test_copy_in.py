"""copy_in: from any iterable, all rows or none, and told on the way."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable

import anyio
import anyio.lowlevel
import pytest

from tests.database.zoo import Animal, Mood, Visit
from tests.wire.witness import Witness
from trioorm import (
    BindError,
    CheckViolation,
    Column,
    CommitOutcomeUnknown,
    ConnectionLost,
    Database,
    Model,
    NotNullViolation,
    QueryError,
    UniqueViolation,
    column,
    count,
    open_database,
    select,
    sql,
)
from trioorm.testing import pool_is_whole


async def _count(db: Database) -> int:
    return await db.fetch_value(select(count(Animal.id)))


def _generated(number: int) -> Generator[Animal]:
    for each in range(number):
        yield Animal(name=str(each), age=each % 9, mood=list(Mood)[each % len(Mood)])


async def _generated_slowly(number: int) -> AsyncGenerator[Animal]:
    for animal in _generated(number):
        await anyio.lowlevel.checkpoint()
        yield animal


def _listed(number: int) -> list[Animal]:
    return list(_generated(number))


Source = Callable[[int], Iterable[Animal] | AsyncIterable[Animal]]


@pytest.mark.parametrize("source", [_generated, _generated_slowly, _listed])
@pytest.mark.parametrize("number", [0, 1, 5000])
async def test_every_row_of_any_iterable_is_written(dsn: str, source: Source, number: int) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        assert await db.copy_in(Animal, source(number)) == number
        written = await db.fetch_all(select(Animal.name, Animal.age, Animal.mood).order_by(Animal.id))
        assert written == [(animal.name, animal.age, animal.mood) for animal in _generated(number)]


async def test_progress_is_told_on_the_way_and_at_the_end(dsn: str) -> None:
    told: list[int] = []
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        await db.copy_in(Animal, _generated(20_000), on_progress=told.append)
    assert told == sorted(told)
    assert len(told) > 3
    assert told[-1] == 20_000


async def test_others_get_their_turn_meanwhile(dsn: str) -> None:
    """The source never waits, and neither does a fast server."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(count_turns)
            await db.copy_in(Animal, list(_generated(20_000)))
            nursery.cancel_scope.cancel()
    assert turns > 10


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (Animal(name="0"), UniqueViolation, "animals_name_key"),
        (Animal(name="bad", age=-1), CheckViolation, "animals_age_check"),
        (Animal(name="bad", age=2**20), BindError, "cannot be sent as smallint"),
        (Animal(name="bad\0"), BindError, "NUL"),
        (Animal(name=None), NotNullViolation, "null value"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        (Animal(id=7, name="bad"), QueryError, "copy_in met"),
        (Visit(animal_id=1, day=None), QueryError, "copy_in of Animal met a Visit"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ],
    ids=["twice", "check", "range", "nul", "null", "other columns", "other class"],
)
@pytest.mark.parametrize("at", ["last", "among many"])
async def test_an_error_in_one_row_writes_nothing(dsn: str, bad: Animal, error: type[Exception], words: str, at: str) -> None:
    def rows() -> Generator[Animal]:
        yield from _generated(3)
        if at == "among many":
            yield from (Animal(name=f"more {each}") for each in range(3000))
        yield bad
        if at == "among many":
            yield from (Animal(name=f"yet more {each}") for each in range(3000))

    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        pid = await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int))
        with pytest.raises(error, match=words):
            await db.copy_in(Animal, rows())
        assert await _count(db) == 0
        await pool_is_whole(db.statistics)
        assert await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int)) == pid, "the connection was kept"


async def test_a_value_that_does_not_fit_is_named_by_its_row_and_column(dsn: str) -> None:
    rows = [(f"name {each}", each % 9) for each in range(2000)]
    rows[1233] = ("name", 2**20)
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        with pytest.raises(BindError, match=r"^column age of row 1,234 cannot be sent as smallint: .*; nothing was written"):
            await db.copy_in(Animal, rows, columns=[Animal.name, Animal.age])
        assert await _count(db) == 0


async def test_an_error_of_the_source_writes_nothing_and_leaves_bare(dsn: str) -> None:
    mine = LookupError("mine")

    async def rows() -> AsyncGenerator[Animal]:
        for animal in _generated(1000):
            yield animal
        raise mine

    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        with pytest.raises(LookupError) as caught:
            await db.copy_in(Animal, rows())
        assert caught.value is mine
        assert await _count(db) == 0
        await pool_is_whole(db.statistics)


async def test_the_source_is_closed_when_the_copy_fails(dsn: str) -> None:
    closed: list[str] = []

    async def rows() -> AsyncGenerator[Animal]:
        try:
            yield Animal(name="Ada")
            yield Animal(name="Bob", age=2**20)
            yield Animal(name="Cleo")
        finally:
            closed.append("closed")

    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        with pytest.raises(BindError):
            await db.copy_in(Animal, rows())
    assert closed == ["closed"]


async def test_cancelled_in_the_middle_it_writes_nothing(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        with anyio.CancelScope() as scope:

            async def rows() -> AsyncGenerator[Animal]:
                for animal in _generated(5000):
                    if animal.name == "3000":
                        scope.cancel()
                    yield animal

            await db.copy_in(Animal, rows())
        assert scope.cancelled_caught
        assert await _count(db) == 0
        await pool_is_whole(db.statistics)


async def test_a_connection_that_dies_under_it(dsn: str, witness: Witness) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        pid = await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int))

        def rows() -> Generator[Animal]:
            for animal in _generated(200_000):
                if animal.name == "3000":
                    witness.terminate(pid)
                yield animal

        with pytest.raises((ConnectionLost, CommitOutcomeUnknown)) as caught:
            await db.copy_in(Animal, rows())
        assert isinstance(caught.value, ConnectionLost), "the end of the rows was not sent, so nothing can have been written"
        assert await _count(db) == 0
        await pool_is_whole(db.statistics)


class Defaulted(Model, table="defaulted"):
    """What the server fills is left out of the COPY."""

    id: Column[int] = column(primary_key=True, generated=True)
    name: Column[str] = column(name="full name")
    double: Column[int] = column(generated_as=lambda: Defaulted.half * 2)
    half: Column[int] = column(server_default=21)


async def test_what_the_server_fills_is_left_to_it(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Defaulted)
        await db.copy_in(Defaulted, [Defaulted(name="a"), Defaulted(name="b")])
        rows = await db.fetch_all(select(Defaulted).order_by(Defaulted.id))
        assert [(row.id, row.name, row.double, row.half) for row in rows] == [(1, "a", 42, 21), (2, "b", 42, 21)]
