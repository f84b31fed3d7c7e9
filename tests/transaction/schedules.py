"""Programs of several tasks in one transaction: every outcome that PostgreSQL's rules and the promises allow, and how they run.

The contract: `outcomes` runs a model of the transaction through every order in which the tasks can come to their turns, and gives all that
may come of it. `execute` runs the program on the library once, under one schedule, drawn from a number: the scheduler's own choices on
Trio, and on both loops how many checkpoints a task lets pass before each of its steps. What came of it must be among the outcomes:

- if the block ended well, the keys that are left, and what each read saw, are those of one and the same order;
- if it raised, nothing is left, and its errors are some of those that the orders can bring forth.

Steps are those of `tests.transaction.programs`. Reads are known by their place in the program.
"""

import importlib
from collections.abc import Callable, Generator, Iterator, Sequence
from random import Random
from typing import Literal, TypeAlias

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from attrs import define, frozen

from tests.transaction.ledger import FAILS, Block, Entry, process_of, write
from tests.transaction.programs import (
    CancelAll,
    CancelBlock,
    Divide,
    Fail,
    InSavepoint,
    Interrupted,
    Kill,
    Oops,
    Pause,
    Read,
    Spawn,
    Step,
    Swallow,
    Write,
    interrupted_statement,
)
from trioorm import Database, select
from trioorm.errors import leaves_of

Path: TypeAlias = tuple[int, ...]
Seen: TypeAlias = dict[Path, tuple[int, ...]]


@frozen
class End:
    """What comes of a program.

    Attributes:
        keys: committed in the end.
        seen: by each read of blocks that ended well; nothing when the transaction did not.
        errors: the names of all that came out.
    """

    keys: tuple[int, ...]
    seen: tuple[tuple[Path, tuple[int, ...]], ...]
    errors: frozenset[str]


def _end(keys: Sequence[int], seen: Seen, errors: frozenset[str]) -> End:
    return End(tuple(sorted(keys)), () if errors else tuple(sorted(seen.items())), errors)


# What may come of a program.


class TooManyOrders(Exception):
    """The program has more orders than anybody wants to look at."""


class _Raised(Exception):
    """Errors on their way out, in the model."""

    def __init__(self, *errors: str) -> None:
        self.errors = frozenset(errors)


class _Cancelled(Exception):
    """A cancellation on its way, in the model."""


@define(eq=False)
class _Scope:
    """A block, in the model; the one around the transaction is the caller's own."""

    outer: "_Scope | None"
    cancelled: bool = False
    held: bool = False  # a savepoint has the turn
    errors: frozenset[str] = frozenset()
    running: int = 0

    @property
    def is_cancelled(self) -> bool:
        return self.cancelled or (self.outer is not None and self.outer.is_cancelled)


# What a task of the model waits for: its turn in a block, the end of a block's children, or only to be next.
_Wish: TypeAlias = tuple[Literal["turn", "join", "next"], _Scope]
_Work: TypeAlias = Generator[_Wish]


class _Model:
    """One run through a program, whose order is decided by `choose`."""

    def __init__(self, choose: Callable[[int], int]) -> None:
        self._choose = choose
        self._tasks: list[tuple[_Work, _Wish]] = []
        self.keys: set[int] = set()
        self.seen: Seen = {}
        self._aborted = self._lost = False
        self._everything = _Scope(None)
        self.errors: frozenset[str] = frozenset()

    def run(self, steps: Sequence[Step]) -> End:
        self._tasks.append((self._program(steps), ("next", _Scope(None))))
        while self._tasks:
            ready = [task for task in self._tasks if self._can_go_on(*task[1])]
            assert ready, "a model that waits for itself is wrong"
            task = ready[self._choose(len(ready))]
            self._tasks.remove(task)
            work, (kind, scope) = task
            try:
                wish = work.throw(_Cancelled()) if kind != "join" and scope.is_cancelled else next(work)
            except StopIteration:
                continue
            self._tasks.append((work, wish))
        return _end(list(self.keys), self.seen, self.errors)

    @staticmethod
    def _can_go_on(kind: str, scope: _Scope) -> bool:
        match kind:
            case "turn":
                return scope.is_cancelled or not scope.held
            case "join":
                return not scope.running
            case _:
                return True

    def _program(self, steps: Sequence[Step]) -> _Work:
        try:
            yield from self._block(self._everything, steps, ())
        except _Raised as raised:
            self.errors = raised.errors
        except _Cancelled:
            self.errors = frozenset({"Cancelled"})

    def _block(self, outer: _Scope, steps: Sequence[Step], path: Path) -> _Work:
        scope = _Scope(outer)
        before = set(self.keys)
        errors: frozenset[str] = frozenset()
        try:
            yield from self._steps(scope, steps, path)
        except _Raised as raised:
            errors = raised.errors
            scope.cancelled = True
        except _Cancelled:
            scope.cancelled = True
        yield "join", scope
        failure: Exception | None = None
        if errors or scope.errors:
            failure = _Raised(*errors, *scope.errors)
        elif outer.is_cancelled:
            failure = _Cancelled()
        elif self._lost and not scope.cancelled:
            failure = _Raised("ConnectionLost")
        elif self._aborted or scope.cancelled:
            failure = _Raised("TransactionRolledBack")
        if failure is not None:
            self.keys = before
            self._aborted = False
            for place in [place for place in self.seen if place[: len(path)] == path]:
                del self.seen[place]
            raise failure

    def _child(self, scope: _Scope, steps: Sequence[Step], path: Path) -> _Work:
        try:
            yield from self._steps(scope, steps, path)
        except _Raised as raised:
            scope.errors |= raised.errors
            scope.cancelled = True
        except _Cancelled:
            pass
        finally:
            scope.running -= 1

    def _steps(self, scope: _Scope, steps: Sequence[Step], path: Path) -> _Work:
        for number, step in enumerate(steps):
            yield from self._step(scope, step, (*path, number))

    def _step(self, scope: _Scope, step: Step, path: Path) -> _Work:
        match step:
            case Write(key):
                yield from self._statement(scope)
                if key in self.keys:
                    self._aborted = True
                    raise _Raised("UniqueViolation")
                self.keys.add(key)
            case Read():
                yield from self._statement(scope)
                self.seen[path] = tuple(sorted(self.keys))
            case Divide():
                yield from self._statement(scope)
                self._aborted = True
                raise _Raised("DataError")
            case Kill():
                yield from self._statement(scope)
                self._lost = True
                raise _Raised("ConnectionLost")
            case Interrupted():
                yield "next", scope
                # Cancelled while it waits for its turn, it leaves no trace.
                if scope.held or (self._tasks and self._choose(2)):
                    return
                yield from self._statement(scope)
                self._aborted = True
            case Fail():
                yield "next", scope
                raise _Raised("Oops")
            case CancelBlock():
                yield "next", scope
                scope.cancelled = True
                raise _Cancelled
            case CancelAll():
                yield "next", scope
                self._everything.cancelled = True
                raise _Cancelled
            case Swallow(inner):
                try:
                    yield from self._step(scope, inner, path)
                except _Raised:
                    pass
            case InSavepoint(steps):
                yield from self._statement(scope)
                scope.held = True
                try:
                    yield from self._block(scope, steps, path)
                finally:
                    scope.held = False
            case Spawn(steps):
                scope.running += 1
                # Its first wish cannot be cancelled: a child that is cancelled before its first step has begun to run all the same.
                self._tasks.append((self._child(scope, steps, path), ("next", _Scope(None))))
            case _:
                pass

    def _statement(self, scope: _Scope) -> _Work:
        yield "turn", scope
        if self._lost:
            raise _Raised("ConnectionLost")
        if self._aborted:
            raise _Raised("TransactionAborted")


def outcomes(steps: Sequence[Step], *, limit: int = 2000) -> set[End]:
    """All that may come of a program.

    Raises:
        TooManyOrders: there are more than `limit` orders.
    """
    found: set[End] = set()
    trail: list[tuple[int, int]] = []
    for _ in range(limit):
        replayed = iter([choice for choice, _ in trail])
        trail = []

        def choose(options: int, replayed: Iterator[int] = replayed, trail: list[tuple[int, int]] = trail) -> int:
            chosen = next(replayed, 0)
            trail.append((chosen, options))
            return chosen

        found.add(_Model(choose).run(steps))
        while trail and trail[-1][0] == trail[-1][1] - 1:
            trail.pop()
        if not trail:
            return found
        last, options = trail.pop()
        trail.append((last + 1, options))
    raise TooManyOrders


def explains(found: set[End], end: End) -> bool:
    """Whether what came of a program is among what may."""
    if not end.errors:
        return end in found
    possible = frozenset[str]().union(*(each.errors for each in found))
    return not end.keys and end.errors <= possible


# How it runs.


async def execute(db: Database, steps: Sequence[Step], kill: Callable[[int], None], schedule: int) -> tuple[Seen, frozenset[str]]:
    """Run a program on the library under one schedule; what it saw, and the names of the errors that came out.

    Args:
        kill: ends a session of the server, by its process id.
        schedule: the same number is the same schedule.
    """
    # pytest-trio gives Trio's scheduler the same numbers in every example; these are other ones, and Hypothesis can shrink them.
    vars(importlib.import_module("trio._core._run"))["_r"].seed(schedule)
    nursery = anyio.create_task_group()
    running = _Running(kill, Random(schedule), nursery)
    error: BaseException | None = None
    async with nursery:
        with running.scope:
            try:
                async with db.transaction() as tx:
                    await running.steps(tx, steps, ())
            except BaseException as raised:
                error = raised
                if isinstance(raised, anyio.get_cancelled_exc_class()):
                    raise
    return running.seen, frozenset() if error is None else frozenset(map(_name, leaves_of(error)))


def _name(error: BaseException) -> str:
    return "Cancelled" if isinstance(error, anyio.get_cancelled_exc_class()) else type(error).__name__


class _Running:
    def __init__(self, kill: Callable[[int], None], random: Random, nursery: TaskGroup) -> None:
        self.scope = anyio.CancelScope()
        self.seen: Seen = {}
        self._kill = kill
        self._random = random
        self._nursery = nursery

    async def steps(self, block: Block, steps: Sequence[Step], path: Path) -> None:
        for number, step in enumerate(steps):
            for _ in range(self._random.randrange(4)):
                await anyio.lowlevel.checkpoint()
            await self._step(block, step, (*path, number))

    async def _step(self, block: Block, step: Step, path: Path) -> None:
        match step:
            case Write(key):
                await write(block, key)
            case Read():
                self.seen[path] = tuple(sorted(await block.fetch_all(select(Entry.key))))
            case Divide():
                await block.execute(FAILS)
            case Kill():
                self._kill(await process_of(block))
                await block.execute(FAILS)
            case Interrupted():
                await interrupted_statement(block, self._nursery)
            case Fail():
                raise Oops
            case CancelBlock():
                block.cancel_scope.cancel()
                await anyio.lowlevel.checkpoint()
            case CancelAll():
                self.scope.cancel()
                await anyio.lowlevel.checkpoint()
            case Pause(checkpoints):
                for _ in range(checkpoints):
                    await anyio.lowlevel.checkpoint()
            case Swallow(inner):
                try:
                    await self._step(block, inner, path)
                except Exception:
                    pass
            case InSavepoint(steps):
                await self._in_savepoint(block, steps, path)
            case Spawn(steps):
                block.start_soon(self.steps, block, steps, path)
            case _:
                raise AssertionError(f"{step} has no place beside others")

    async def _in_savepoint(self, block: Block, steps: Sequence[Step], path: Path) -> None:
        try:
            async with block.savepoint() as sp:
                await self.steps(sp, steps, path)
        except BaseException:
            for place in [place for place in self.seen if place[: len(path)] == path]:
                del self.seen[place]
            raise
