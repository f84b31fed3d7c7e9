"""What is asked of the contenders, in the order in which it is shown."""

import datetime
import decimal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import sniffio
from attrs import frozen

from benchmarks.speed.contender import Contender, Opening
from benchmarks.speed.tables import ACCOUNTS, AGES, FILMS, PEOPLE, PERSON, READING, READINGS, balances, guests, visits

TASKS = 200
POOL_SIZE = 10
READS = 5  # of each task


@frozen(kw_only=True)
class Workload:
    """One thing to do.

    Attributes:
        title: as it is shown.
        method: of `Contender`, which does it.
        operate: does it once; the number varies what is asked for.
        plain: its result as plain values.
        changes: the tables that it changes.
        opening: how the contender is opened for it.
        parts: how many of what is counted one operation does.
        like: the name of the workload that contenders are compared by who have no way of their own for this one.
        most: no more operations in one go.
        every: it is measured in one of so many rounds, since it takes long.
    """

    name: str
    title: str
    method: str
    operate: Callable[[Contender, int], Awaitable[object]]
    plain: Callable[[Contender, Any], object] = lambda _contender, result: result
    changes: tuple[str, ...] = ()
    opening: Opening = Opening.SINGLE
    parts: int = 1
    like: str | None = None
    most: int = 5_000
    every: int = 1

    async def answer(self, contender: Contender) -> object:
        """What the first few operations give, as plain values."""
        if self.name == "stream":
            rows: list[object] = []
            await contender.stream(rows.append)
            return [len(rows), *(canonical(contender.plain(row, READING)) for row in rows[:: max(1, len(rows) // 500)])]
        numbers = (0,) if self.parts > 1 or self.most == 1 else (0, 1, 17)
        return [canonical(self.plain(contender, await self.operate(contender, number))) for number in numbers]


def canonical(value: object) -> object:
    """Numbers, texts, None and lists of them: equal for equal values, whatever classes a library gives them."""
    if isinstance(value, list | tuple):
        return [canonical(each) for each in cast("Sequence[object]", value)]
    if isinstance(value, dict):
        return [[name, canonical(each)] for name, each in sorted(cast("dict[str, object]", value).items())]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat()
    if isinstance(value, decimal.Decimal):
        return f"{value.normalize():f}"
    return str(value)  # UUIDs


async def in_tasks(function: Callable[[int], Awaitable[object]], count: int) -> None:
    """Call a function in many tasks at once, in the way of the event loop that runs."""
    if sniffio.current_async_library() == "trio":
        import trio

        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(function, number)
    else:
        import asyncio

        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(function(number))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - each is a coroutine


async def _in_tasks(contender: Contender, number: int) -> object:
    last: list[object] = [None] * TASKS

    async def read(task: int) -> None:
        for read in range(READS):
            last[task] = await contender.pooled_get((number + task * READS + read) % PEOPLE + 1)

    await in_tasks(read, TASKS)
    return last


async def _build(contender: Contender, number: int) -> object:
    return contender.build(1980 + number % 40)


async def _stream(contender: Contender, _number: int) -> None:
    await contender.stream(_drop)


def _drop(_row: object) -> None:
    pass


def _people(contender: Contender, rows: Any) -> object:
    return [contender.plain(row, PERSON) for row in rows]


_WORKLOADS = [
    Workload(
        name="get",
        title="get by primary key",
        method="get",
        operate=lambda contender, number: contender.get(number % PEOPLE + 1),
        plain=lambda contender, row: contender.plain(row, PERSON),
    ),
    Workload(
        name="filter",
        title="filter, 20 rows",
        method="filter",
        operate=lambda contender, number: contender.filter(number % AGES),
        plain=_people,
    ),
    Workload(
        name="wide",
        title="fetch 1000 x 10 mixed columns, one jsonb",
        method="fetch_wide",
        operate=lambda contender, number: contender.fetch_wide(number * 1000 % READINGS),
        plain=lambda contender, rows: [contender.plain(row, READING) for row in rows],
    ),
    Workload(
        name="stream",
        title="stream 100,000 rows x 10, bounded memory",
        method="stream",
        operate=_stream,
        most=1,
        every=3,
    ),
    Workload(
        name="film",
        title="film with directors, cast, reviews",
        method="film",
        operate=lambda contender, number: contender.film(number % FILMS + 1),
        plain=lambda contender, film: contender.plain_film(film),
    ),
    Workload(
        name="insert",
        title="insert one, with its key",
        method="insert",
        operate=lambda contender, number: contender.insert(f"guest {number}", number % 90),
        changes=("guest",),
    ),
    Workload(
        name="insert_many",
        title="insert 1000, with their keys",
        method="insert_many",
        operate=lambda contender, _number: contender.insert_many(guests()),
        changes=("guest",),
        most=50,
    ),
    Workload(
        name="insert_objects",
        title="the same from objects, and objects back",
        method="insert_objects",
        operate=lambda contender, _number: contender.insert_objects(guests()),
        changes=("guest",),
        most=50,
        like="insert_many",
    ),
    Workload(
        name="load",
        title="load 100,000 rows",
        method="load",
        operate=lambda contender, _number: contender.load(visits()),
        changes=("visit",),
        most=1,
        every=3,
    ),
    Workload(
        name="update",
        title="update one in a transaction",
        method="update",
        operate=lambda contender, number: contender.update(number % ACCOUNTS + 1, number),
        changes=("account",),
    ),
    Workload(
        name="update_flight",
        title="the same as one flight with its COMMIT",
        method="update_flight",
        operate=lambda contender, number: contender.update_flight(number % ACCOUNTS + 1, number),
        changes=("account",),
        like="update",
    ),
    Workload(
        name="update_many",
        title="update 1000 with values each",
        method="update_many",
        operate=lambda contender, number: contender.update_many(balances(number % 3)),
        changes=("account",),
        most=50,
    ),
    Workload(
        name="transfer",
        title="transfer: lock and read, update, insert",
        method="transfer",
        operate=lambda contender, number: contender.transfer(number % ACCOUNTS + 1, number % 7),
        changes=("account", "entry"),
    ),
    Workload(
        name="tasks",
        title=f"{TASKS} tasks, pool of {POOL_SIZE}, point reads",
        method="pooled_get",
        operate=_in_tasks,
        plain=_people,
        opening=Opening.POOL,
        parts=TASKS * READS,
    ),
    Workload(
        name="tasks_bare",
        title="the same, connections not cleaned up between tasks",
        method="pooled_get",
        operate=_in_tasks,
        plain=_people,
        opening=Opening.BARE_POOL,
        parts=TASKS * READS,
        like="tasks",
    ),
    Workload(
        name="tasks_lanes",
        title="the same on lanes",
        method="pooled_get",
        operate=_in_tasks,
        plain=_people,
        opening=Opening.LANES,
        parts=TASKS * READS,
        like="tasks",
    ),
    Workload(
        name="build",
        title="build and compile a select, cached",
        method="build",
        operate=_build,
    ),
]

WORKLOADS = {workload.name: workload for workload in _WORKLOADS}
