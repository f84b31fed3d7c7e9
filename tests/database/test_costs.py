"""What an operation costs, counted instead of timed: waits for the server, functions of ours that run, memory that is kept.

The counts are exact, so a regression shows on any machine. A wait is one suspension of the task; as a rule there is one for each flight.
"""

import gc
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import pytest

import trioorm
from trioorm import Column, Database, Many, Model, column, delete, has_many, insert, open_database, select, update
from trioorm.testing.suspension import Driver
from trioorm.wire.running_loop import is_on_trio

_FOLDER = trioorm.__path__[0]


class Walker(Model, table="walkers"):
    id: Column[int] = column(primary_key=True, generated=True)
    name: Column[str]
    age: Column[int]


class Route(Model, table="routes"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]
    stops: Many["Stop"] = has_many(order_by=lambda: Stop.id)
    marks: Many["Stop"] = has_many(where=lambda: Stop.is_marked)


class Stop(Model, table="stops"):
    id: Column[int] = column(primary_key=True)
    route_id: Column[int] = column(references=Route.id, index=True)
    is_marked: Column[bool] = column(default=False)


Operation = Callable[[Database], Coroutine[Any, Any, object]]


async def _get(db: Database) -> object:
    return await db.get(Walker, 1)


async def _filter(db: Database) -> object:
    return await db.fetch_all(select(Walker).where(Walker.age == 7).order_by(Walker.id))


async def _load_by_key(db: Database) -> object:
    return await db.fetch_one(select(Route).where(Route.id == 1).load(Route.stops, Route.marks))


async def _load(db: Database) -> object:
    return await db.fetch_all(select(Route).where(Route.id < 9).load(Route.stops, Route.marks))


async def _insert(db: Database) -> object:
    return await db.insert(Walker(name="Ada", age=36))


async def _update(db: Database) -> object:
    return await db.execute(update(Walker).set(Walker.age, 7).where(Walker.id == 1))


async def _get_in_transaction(db: Database) -> object:
    async with db.transaction() as tx:
        return await tx.get(Walker, 1)


async def _update_in_transaction(db: Database) -> object:
    async with db.transaction() as tx:
        return await tx.execute(update(Walker).set(Walker.age, 7).where(Walker.id == 1))


async def _update_in_flight(db: Database) -> object:
    async with db.flight(commit=True) as flight:
        changed = flight.execute(update(Walker).set(Walker.age, 7).where(Walker.id == 1))
    return changed.value


async def _objects_in_flight(db: Database) -> object:
    async with db.flight(commit=True) as flight:
        inserted = flight.insert(Walker(name="Ada", age=36))
        found = flight.get(Walker, 1)
        flight.upsert(Walker(name="Ada", age=37))
    return inserted.value, found.value


async def _transfer(db: Database) -> object:
    async with db.transaction() as tx:
        walker = await tx.fetch_one(select(Walker).where(Walker.id == 1).for_update())
        await tx.execute(update(Walker).set(Walker.age, walker.age).where(Walker.id == 1))
        return await tx.insert(Walker(name="Grace", age=85))


async def _empty_transaction(db: Database) -> object:
    async with db.transaction():
        return None


@asynccontextmanager
async def _walkers(dsn: str, *operations: Operation) -> AsyncGenerator[Database]:
    """A database on whose only connection these operations have been run before, so that nothing is compiled or prepared any more."""
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Walker, Route, Stop)
        await db.execute(insert(Walker).values(*[{"name": f"walker {number}", "age": 7} for number in range(20)]))
        await db.insert(Route(id=1, name="long"))
        await db.insert_many([Stop(id=number, route_id=1, is_marked=number % 2 == 0) for number in range(20)])
        for operation in operations:
            for _ in range(3):
                await operation(db)
        yield db


class _Suspensions:
    def __init__(self) -> None:
        self.count = 0

    def suspended(self, coroutine: object, yielded: object) -> None:
        self.count += 1

    def waking(self, coroutine: object, outcome_or_error: object) -> BaseException | None:
        return None


async def _suspensions(operation: Operation, db: Database) -> int:
    observer = _Suspensions()
    await Driver(operation(db), observer)
    return observer.count


async def _functions_of_ours(operation: Operation, db: Database) -> list[str]:
    """Each function of trioorm that runs, as often as it is called."""
    called: list[str] = []
    resumed: set[FrameType] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_FOLDER) and frame not in resumed:
            resumed.add(frame)  # a coroutine that goes on is no other call
            called.append(f"{code.co_filename.removeprefix(_FOLDER + '/')}:{code.co_name}")

    sys.setprofile(note)
    try:
        await operation(db)
    finally:
        sys.setprofile(None)
    return called


@pytest.mark.parametrize("operation", [_get, _filter, _insert, _update, _load_by_key, _load])
async def test_one_statement_is_one_wait(dsn: str, operation: Operation) -> None:
    async with _walkers(dsn, operation) as db:
        assert await _suspensions(operation, db) == 1


@pytest.mark.parametrize(
    ("operation", "statements"), [(_empty_transaction, 0), (_get_in_transaction, 1), (_update_in_transaction, 1), (_transfer, 3)]
)
async def test_a_transaction_waits_once_for_each_statement_and_once_for_its_commit(dsn: str, operation: Operation, statements: int) -> None:
    async with _walkers(dsn, operation) as db:
        # And once more for its nursery, which the event loop gives a turn to at its end: on Trio a checkpoint, and no trip.
        nursery = await _suspensions(_empty_transaction, db)
        assert nursery <= 1
        waits = await _suspensions(operation, db) - nursery - statements
        # COMMIT is sent before its nursery ends, so its answer may be there when it has.
        assert waits == (statements > 0) or (waits == 0 and is_on_trio())


# How often an event loop calls for a readiness is its own affair, and what hydration calls depends on the number of rows.
_NOT_COUNTED = ("wire/readiness.py", "database/hydrate")

# What runs of ours, at most. Raise a number only for a promise that is worth it: each function costs about as much as a look at the clock.
# The answers to a flight with its COMMIT come in one piece or in up to three, each with one call more.
_MOST_CALLS = [
    *[
        (_get, 7),
        (_filter, 15),
        (_insert, 8),
        (_update_in_flight, 26),
        (_objects_in_flight, 40),
        (_update_in_transaction, 43),
        (_transfer, 64),
    ],
    *[(_load_by_key, 24), (_load, 54)],
]


@pytest.mark.parametrize(("operation", "most"), _MOST_CALLS)
async def test_no_more_functions_run_than_before(dsn: str, operation: Operation, most: int) -> None:
    async with _walkers(dsn, operation) as db:
        called = [name for name in await _functions_of_ours(operation, db) if not name.startswith(_NOT_COUNTED)]
    assert len(called) <= most, "\n".join(called)


async def test_what_each_statement_asks_has_few_attributes(dsn: str) -> None:
    """With more than 30 outside of slots, CPython 3.11 keeps a dictionary for each object, and finds nothing of it at once."""
    async with open_database(dsn) as db:
        async with db.transaction() as tx:
            scope = tx._scope  # pyright: ignore[reportPrivateUsage]
            for each in (db, db._pool, tx, scope, scope.usable_connection()):  # pyright: ignore[reportPrivateUsage]
                assert len(vars(each)) <= 30, f"{type(each).__name__}: {sorted(vars(each))}"


@pytest.mark.parametrize("operation", [_get, _insert, _update_in_transaction, _transfer])
async def test_without_instruments_none_is_called(dsn: str, operation: Operation) -> None:
    async with _walkers(dsn, operation) as db:
        called = await _functions_of_ours(operation, db)
    assert not [name for name in called if name.startswith(("instruments.py", "observability"))]


@pytest.mark.parametrize("operation", [_get, _filter, _insert, _transfer])
async def test_no_memory_is_kept(dsn: str, operation: Operation) -> None:
    async with _walkers(dsn, operation) as db:

        async def blocks_kept(times: int) -> int:
            gc.collect()
            before = sys.getallocatedblocks()
            for _ in range(times):
                await operation(db)
            gc.collect()
            return sys.getallocatedblocks() - before

        await blocks_kept(1100)  # the pool remembers the last thousand waits and loans
        assert await blocks_kept(500) < 100, "nothing for each of them"


@pytest.mark.parametrize("operation", [_get, _filter, _insert, _update_in_flight, _transfer])
async def test_nothing_is_left_to_the_garbage_collector(dsn: str, operation: Operation) -> None:
    """What stands in no circle is freed at once; the rest piles up, and then holds everybody up."""
    async with _walkers(dsn, operation) as db:
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(3):
                await operation(db)
            gc.collect()
            ours = [each for each in gc.garbage if type(each).__module__.startswith("trioorm")]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert not ours


async def test_an_expression_or_another_class_takes_the_long_way_and_gives_the_same(dsn: str) -> None:
    class Text(str):
        __slots__ = ()

    async with _walkers(dsn, _get, _insert) as db:
        assert await db.get(Walker, trioorm.literal(1)) == await db.get(Walker, 1)
        for name in ("Ada", Text("Ada")):
            made = await db.insert(Walker(name=name, age=1))
            assert made.name == "Ada"
            changed = await db.update(trioorm.evolve(made, age=2))
            assert (changed.id, changed.name, changed.age) == (made.id, "Ada", 2)
            await db.delete(changed)
        assert await db.execute(delete(Walker).where(Walker.name == "Ada")) == 3, "those of the beginning"


def test_opening_a_database_loads_the_running_backend_alone(dsn: str) -> None:
    program = """
import sys, trio, trioorm
async def main():
    async with trioorm.open_database(sys.argv[1]) as db:
        async with db.transaction() as tx:
            await tx.fetch_value(trioorm.sql("SELECT 1").returns(int))
trio.run(main)
print(*[name for name in sys.modules if name.startswith(("anyio._backends._", "trioorm.embedded", "psycopg_pool"))])
"""
    loaded = subprocess.run([sys.executable, "-c", program, dsn], check=True, capture_output=True, text=True).stdout.split()
    assert loaded == ["anyio._backends._trio"]
