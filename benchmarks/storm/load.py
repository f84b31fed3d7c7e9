"""The load: what the storm's tasks do, how they are cancelled, and what they write into the ledger.

Every attempt is one operation under one way of cancelling, both drawn from a seeded generator. Its fate is decided in the line behind
the operation, before anything can be raised in between.
"""

import asyncio
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import anyio
import attrs
from anyio.abc import TaskGroup

from benchmarks.storm.figures import Figures, Overrun
from benchmarks.storm.ledger import Entry, Fate, Ledger
from trioorm import Column, CommitOutcomeUnknown, Database, Model, TransactionAborted, TransactionRolledBack, column, sql
from trioorm.errors import DatabaseError, DatabaseUnavailable, leaves_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FORBIDDEN_PART = 100


class Row(Model, table="storm_rows"):
    """One row that an attempt wrote; parts from 100 on stand in savepoints that are rolled back."""

    attempt: Column[int] = column(primary_key=True)
    part: Column[int] = column(primary_key=True)


class Undone(Exception):
    """Raised by an attempt inside its own block, so that it rolls back."""


@attrs.frozen
class Operation:
    """One kind of work.

    Attributes:
        run: does it, under a number.
        rows: how many rows it leaves when it takes effect; 0 for a read.
        weight: how often it is drawn.
        needs_cancel: whether it lasts for seconds unless it is cancelled.
        swallows: whether it hides an error from its own block.
    """

    run: "Callable[[Load, Random, int], Awaitable[None]]"
    rows: int
    weight: int
    needs_cancel: bool = False
    swallows: bool = False


class Load:
    """Tasks that work on a database until they are told to stop.

    Args:
        nursery: where helpers of the tasks run.
        longest_scope_seconds: scopes time out between 0 and this.
    """

    def __init__(self, db: Database, ledger: Ledger, figures: Figures, nursery: TaskGroup, *, longest_scope_seconds: float) -> None:
        self.db = db
        self.stopping = False
        self._ledger = ledger
        self._figures = figures
        self._nursery = nursery
        self._longest = longest_scope_seconds
        self._milestones: list[tuple[int, anyio.Event]] = []
        self._names = list(OPERATIONS)
        self._weights = [operation.weight for operation in OPERATIONS.values()]

    async def cancellations(self, count: int) -> None:
        """Wait until there have been so many."""
        if self._figures.cancellations < count:
            reached = anyio.Event()
            self._milestones.append((count, reached))
            await reached.wait()

    async def work(self, seed: int) -> None:
        """One of the tasks."""
        random = Random(seed)
        ways = [_by_deadline, _by_another_task] if not _on_asyncio() else [_by_deadline, _by_another_task, _by_task_cancel, _by_timeout]
        while not self.stopping:
            name = random.choices(self._names, self._weights)[0]
            operation = OPERATIONS[name]
            attempt = _Attempt(self, name, operation, random)
            if operation.needs_cancel or random.random() < 0.75:
                attempt.cancel_after = random.uniform(0, self._longest)
                await random.choice(ways)(attempt, self._nursery)
            else:
                await attempt.run_guarded()
            self._book(attempt)

    def _book(self, attempt: "_Attempt") -> None:
        figures = self._figures
        figures.attempts[attempt.name] += 1
        figures.endings[attempt.fate.value] += 1
        if attempt.operation.rows:
            self._ledger.enter(attempt.number, Entry(attempt.operation.rows, attempt.operation.swallows, attempt.fate))
        if attempt.operation.swallows and attempt.fate is not Fate.CANCELLED:
            figures.swallowed += 1
        if attempt.fate is Fate.ACKNOWLEDGED:
            figures.last_success_at = attempt.ended_at
        if attempt.problem and not (attempt.excusable and figures.windows.touches(attempt.started_at, attempt.ended_at)):
            figures.poisoned.append(f"{attempt.name}: {attempt.problem}")
        cancelled_at = attempt.cancelled_at
        if cancelled_at is not None and cancelled_at <= attempt.ended_at:
            figures.cancellations += 1
            figures.overruns.append(Overrun(attempt.ended_at - cancelled_at, attempt.started_at, attempt.ended_at))
            for milestone in [milestone for milestone in self._milestones if figures.cancellations >= milestone[0]]:
                milestone[1].set()
                self._milestones.remove(milestone)

    def next_number(self) -> int:
        """A number for an attempt."""
        return self._ledger.number()


class _Attempt:
    """One run of one operation."""

    def __init__(self, load: Load, name: str, operation: Operation, random: Random) -> None:
        self.name = name
        self.operation = operation
        self.number = load.next_number()
        self.cancel_after = 0.0
        self.cancelled_at: float | None = None
        self.started_at = self.ended_at = 0.0
        self.fate = Fate.CANCELLED  # unless something else is known
        self.problem = ""
        self.excusable = False
        self._load = load
        self._random = random

    async def run(self) -> None:
        """Run it, and note its fate; a cancellation goes on."""
        self.started_at = self.ended_at = anyio.current_time()
        try:
            await self.operation.run(self._load, self._random, self.number)
            self.fate = Fate.ACKNOWLEDGED
        except BaseException as error:
            self._note(error)
            raise
        finally:
            self.ended_at = anyio.current_time()

    async def run_guarded(self) -> None:
        """The same, and errors end here; a cancellation goes on."""
        try:
            await self.run()
        except Exception:
            return  # noted

    def _note(self, error: BaseException) -> None:
        leaves = list(leaves_of(error))
        if any(isinstance(leaf, CommitOutcomeUnknown) for leaf in leaves):
            self.fate = Fate.UNKNOWN
            self.problem, self.excusable = repr(error), True
        elif isinstance(error, anyio.get_cancelled_exc_class()):
            self.fate = Fate.CANCELLED
        else:
            self.fate = Fate.FAILED
            expected: tuple[type[BaseException], ...] = (Undone,)
            if self.operation.swallows:
                expected = (Undone, TransactionRolledBack, TransactionAborted)
            if not all(isinstance(leaf, expected) for leaf in leaves):
                self.problem = repr(error)
                self.excusable = all(isinstance(leaf, (DatabaseUnavailable, *expected)) for leaf in leaves)


# Ways of cancelling. A cancellation that comes out of the operation ends here.


async def _by_deadline(attempt: _Attempt, nursery: TaskGroup) -> None:
    with anyio.move_on_after(attempt.cancel_after) as scope:
        attempt.cancelled_at = scope.deadline
        await attempt.run_guarded()


async def _by_another_task(attempt: _Attempt, nursery: TaskGroup) -> None:
    async def cancel_later(scope: anyio.CancelScope) -> None:
        await anyio.sleep(attempt.cancel_after)
        attempt.cancelled_at = anyio.current_time()
        scope.cancel()

    with anyio.CancelScope() as scope:
        nursery.start_soon(cancel_later, scope)
        await attempt.run_guarded()


async def _by_task_cancel(attempt: _Attempt, nursery: TaskGroup) -> None:
    task = asyncio.create_task(attempt.run())

    def cancel() -> None:
        attempt.cancelled_at = anyio.current_time()
        task.cancel()

    timer = asyncio.get_running_loop().call_later(attempt.cancel_after, cancel)
    await asyncio.wait([task])
    timer.cancel()
    if not task.cancelled():
        task.exception()  # noted, and so retrieved


async def _by_timeout(attempt: _Attempt, nursery: TaskGroup) -> None:
    attempt.cancelled_at = anyio.current_time() + attempt.cancel_after
    try:
        async with asyncio.timeout(attempt.cancel_after):
            await attempt.run_guarded()
    except TimeoutError:
        pass


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# Operations.


async def _echo(load: Load, random: Random, number: int) -> None:
    answer = await load.db.fetch_value(sql("SELECT {number}", number=number).returns(int).reads_only())
    if answer != number:
        raise AssertionError(f"asked for {number}, and was given {answer}: the answer of somebody else")


async def _sleep(load: Load, random: Random, number: int) -> None:
    await load.db.execute(sql("SELECT pg_sleep(5)").reads_only())


async def _insert(load: Load, random: Random, number: int) -> None:
    await load.db.insert(Row(attempt=number, part=0))


async def _insert_many(load: Load, random: Random, number: int) -> None:
    await load.db.insert_many([Row(attempt=number, part=part) for part in range(3)])


async def _slow_insert(load: Load, random: Random, number: int) -> None:
    await load.db.execute(
        sql("INSERT INTO storm_rows SELECT {number}, 0 FROM pg_sleep({pause})", number=number, pause=random.uniform(0, 0.01))
    )


async def _transaction(load: Load, random: Random, number: int) -> None:
    async with load.db.transaction() as tx:
        for part in range(3):
            await tx.insert(Row(attempt=number, part=part))
            if random.random() < 0.2:
                await anyio.sleep(random.uniform(0, 0.003))


async def _children(load: Load, random: Random, number: int) -> None:
    async with load.db.transaction() as tx:
        for part in range(3):
            tx.start_soon(tx.insert, Row(attempt=number, part=part))
        await tx.insert(Row(attempt=number, part=3))


async def _savepoint(load: Load, random: Random, number: int) -> None:
    async with load.db.transaction() as tx:
        await tx.insert(Row(attempt=number, part=0))
        try:
            async with tx.savepoint() as sp:
                await sp.insert(Row(attempt=number, part=_FORBIDDEN_PART))
                raise Undone
        except Undone:
            pass
        async with tx.savepoint() as sp:
            await sp.insert(Row(attempt=number, part=1))


async def _rolls_back(load: Load, random: Random, number: int) -> None:
    async with load.db.transaction() as tx:
        await tx.insert(Row(attempt=number, part=0))
        tx.start_soon(partial(tx.insert, Row(attempt=number, part=1)))
        raise Undone


async def _swallows_an_error(load: Load, random: Random, number: int) -> None:
    async with load.db.transaction() as tx:
        await tx.insert(Row(attempt=number, part=0))
        try:
            await tx.execute(sql("SELECT 1 / 0"))
        except DatabaseError:
            pass


async def _swallows_a_timeout(load: Load, random: Random, number: int) -> None:
    async with load.db.transaction() as tx:
        await tx.insert(Row(attempt=number, part=0))
        with anyio.move_on_after(random.uniform(0, 0.004)):
            await tx.execute(sql("SELECT pg_sleep(1)"))


async def _stream(load: Load, random: Random, number: int) -> None:
    rows = random.randrange(1, 400)
    leaves_at = random.randrange(1, 800)
    statement = sql("SELECT generate_series({first}, {last})", first=number, last=number + rows - 1).returns(int).reads_only()
    expected = number
    async with load.db.stream(statement, batch_rows=50) as answers:
        async for answer in answers:
            if answer != expected:
                raise AssertionError(f"a stream gave {answer} where {expected} was due")
            expected += 1
            if expected - number == leaves_at:
                return


async def _copy(load: Load, random: Random, number: int) -> None:
    await load.db.copy_in(Row, [Row(attempt=number, part=part) for part in range(5)])


OPERATIONS = {
    "echo": Operation(_echo, rows=0, weight=20),
    "sleep": Operation(_sleep, rows=0, weight=6, needs_cancel=True),
    "insert": Operation(_insert, rows=1, weight=15),
    "insert_many": Operation(_insert_many, rows=3, weight=5),
    "slow insert": Operation(_slow_insert, rows=1, weight=8),
    "transaction": Operation(_transaction, rows=3, weight=15),
    "children": Operation(_children, rows=4, weight=8),
    "savepoint": Operation(_savepoint, rows=2, weight=8),
    "rolls back": Operation(_rolls_back, rows=2, weight=3),
    "swallowed error": Operation(_swallows_an_error, rows=1, weight=3, swallows=True),
    "swallowed timeout": Operation(_swallows_a_timeout, rows=1, weight=3, swallows=True),
    "stream": Operation(_stream, rows=0, weight=5),
    "copy_in": Operation(_copy, rows=5, weight=5),
}
