"""Small programs over one transaction, as data: how they run on the library, and what must come of them.

The contract: `expected` says, from PostgreSQL's rules and the promises alone, which keys a program leaves behind, which it sees on the way
and in which shape its exception comes out; `execute` runs it. A program prints as the steps that it consists of, so a failure can be read.

A shape is a text for a bare exception, a list for a group, a `frozenset` for a group of one or more of what it names (concurrent siblings
may fail one or all), and None for none.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias, cast

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from attrs import frozen

from tests.transaction.ledger import FAILS, SLEEP, Block, Entry, process_of, write
from trioorm import Database, TransactionBusy, select

Work = Callable[[], Awaitable[None]]
Shape: TypeAlias = "str | list[Shape] | frozenset[str] | None"


@frozen
class Outcome:
    """What comes of a program.

    Attributes:
        keys: committed in the end.
        seen: by each read and each stream on the way.
        shape: of the exception.
    """

    keys: list[int]
    seen: list[list[int]]
    shape: Shape


@frozen
class Write:
    """Insert a key; it is a failed statement when the key is there already."""

    key: int


@frozen
class Read:
    """Read all keys."""


@frozen
class Stream:
    """Read the keys by a stream, to the end or only the first."""

    to_the_end: bool


@frozen
class Interrupted:
    """A statement that a scope around it cancels under way."""


@frozen
class Divide:
    """A statement that the server refuses: it divides by zero."""


@frozen
class Kill:
    """The server ends the session, and the next statement meets that."""


@frozen
class Pause:
    """Let the others run."""

    checkpoints: int


@frozen
class Fail:
    """Raise an error of the program's own."""


@frozen
class CancelBlock:
    """Cancel the innermost block's own scope."""


@frozen
class CancelAll:
    """Cancel a scope around the transaction."""


@frozen
class Swallow:
    """Run a step and swallow its error, whichever."""

    step: "Step"


@frozen
class InSavepoint:
    """Steps in a savepoint."""

    steps: "tuple[Step, ...]"


@frozen
class InChild:
    """Steps in a child of the innermost block, while the starter waits for its end."""

    steps: "tuple[Step, ...]"


@frozen
class InSiblings:
    """Each key is written by a child of its own, all at the same time; one of them may fail afterwards."""

    keys: tuple[int, ...]
    failing: bool


@frozen
class Spawn:
    """Steps in a child of the innermost block, while the starter goes on. Only for `tests.transaction.schedules`."""

    steps: "tuple[Step, ...]"


Step: TypeAlias = (
    Write
    | Read
    | Stream
    | Divide
    | Kill
    | Pause
    | Interrupted
    | Fail
    | CancelBlock
    | CancelAll
    | Swallow
    | InSavepoint
    | InChild
    | InSiblings
    | Spawn
)


class Oops(Exception):
    """The program's own error."""


# What must come of a program.


class _Raised(BaseException):
    """An error on its way out, in the model."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape


class _BlockCancelled(BaseException):
    """On its way to the end of the innermost block."""


class _ChildFailed(BaseException):
    """On its way to the end of the innermost block, whose other code is cancelled meanwhile; the shape is the group's."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape


class _AllCancelled(BaseException):
    """On its way out of everything."""


class _Expectation:
    """PostgreSQL's rules and the library's, over a set of keys."""

    def __init__(self) -> None:
        self.keys: set[int] = set()
        self.aborted = False
        self.lost = False
        self.seen: list[list[int]] = []

    def block(self, steps: Sequence[Step]) -> None:
        """A transaction or a savepoint: all of it or nothing."""
        before = set(self.keys)
        try:
            self.run(steps)
            if self.lost:
                raise _Raised("ConnectionLost")
            if self.aborted:
                raise _Raised("TransactionRolledBack")
        except BaseException as error:
            self.keys = before
            self.aborted = False
            if isinstance(error, _BlockCancelled):
                raise _Raised("TransactionRolledBack") from None
            if isinstance(error, _ChildFailed):
                raise _Raised(error.shape) from None
            raise

    def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.step(step)

    def step(self, step: Step) -> None:
        match step:
            case Write(key):
                self.statement()
                if key in self.keys:
                    self.aborted = True
                    raise _Raised("UniqueViolation")
                self.keys.add(key)
            case Read():
                self.statement()
                self.seen.append(sorted(self.keys))
            case Stream(to_the_end):
                self.statement()
                self.seen.append(sorted(self.keys) if to_the_end else sorted(self.keys)[:1])
            case Interrupted():
                self.statement()
                self.aborted = True
            case Divide():
                self.statement()
                self.aborted = True
                raise _Raised("DataError")
            case Kill():
                self.statement()
                self.lost = True
                raise _Raised("ConnectionLost")
            case Pause():
                pass
            case Fail():
                raise _Raised("Oops")
            case CancelBlock():
                raise _BlockCancelled
            case CancelAll():
                raise _AllCancelled
            case Swallow(inner):
                try:
                    self.step(inner)
                except _Raised:
                    pass
            case InSavepoint(steps):
                self.statement()
                self.block(steps)
            case InChild(steps):
                try:
                    self.run(steps)
                except _Raised as error:
                    raise _ChildFailed([error.shape]) from None
            case InSiblings(keys, failing):
                self.siblings(keys, failing)
            case Spawn():
                raise AssertionError("what runs beside the rest has no one outcome; see tests/transaction/schedules.py")

    def statement(self) -> None:
        if self.lost:
            raise _Raised("ConnectionLost")
        if self.aborted:
            raise _Raised("TransactionAborted")

    def siblings(self, keys: tuple[int, ...], failing: bool) -> None:
        errors: set[str] = set()
        if self.lost and keys:
            errors.add("ConnectionLost")
        elif self.aborted and keys:
            errors.add("TransactionAborted")
        elif self.keys & set(keys):
            errors.add("UniqueViolation")
        if failing:
            errors.add("Oops")
        if errors:
            raise _ChildFailed(frozenset(errors))
        self.keys |= set(keys)


def expected(steps: Sequence[Step]) -> Outcome:
    """What must come of a program."""
    expectation = _Expectation()
    shape: Shape = None
    try:
        expectation.block(steps)
    except _Raised as error:
        shape = error.shape
    except _AllCancelled:
        shape = "Cancelled"
    return Outcome(sorted(expectation.keys), expectation.seen, shape)


# How it runs.


async def execute(db: Database, steps: Sequence[Step], kill: Callable[[int], None]) -> tuple[list[list[int]], Shape]:
    """Run a program on the library and tell what it saw and the shape of what came out.

    Args:
        kill: ends a session of the server, by its process id.
    """
    outcome: BaseException | None = None
    nursery = anyio.create_task_group()
    running = _Running(anyio.CancelScope(), kill, nursery)
    async with nursery:
        with running.scope:
            try:
                async with db.transaction() as tx:
                    await running.run(tx, steps)
            except BaseException as error:
                outcome = error
                if isinstance(error, anyio.get_cancelled_exc_class()):
                    raise
    return running.seen, _shape_of(outcome)


async def interrupted_statement(block: Block, nursery: TaskGroup) -> None:
    """A statement that is cancelled while it waits: for the server or for its turn, and never before it has come to that.

    Args:
        nursery: around the transaction.
    """

    async def cancel_soon() -> None:
        await anyio.sleep(0.002)
        scope.cancel()

    with anyio.CancelScope() as scope:
        nursery.start_soon(cancel_soon)  # it begins when this task waits; a deadline may pass before that, on a busy machine
        await block.execute(SLEEP)


class _Running:
    def __init__(self, scope: anyio.CancelScope, kill: Callable[[int], None], nursery: TaskGroup) -> None:
        self.scope = scope
        self.kill = kill
        self.nursery = nursery
        self.seen: list[list[int]] = []

    async def run(self, block: Block, steps: Sequence[Step]) -> None:
        for step in steps:
            await self.step(block, step)

    async def step(self, block: Block, step: Step) -> None:
        match step:
            case Write(key):
                await write(block, key)
            case Read():
                self.seen.append([entry.key for entry in await block.fetch_all(select(Entry).order_by(Entry.key))])
            case Stream(to_the_end):
                await self.stream(block, to_the_end)
            case Interrupted():
                await interrupted_statement(block, self.nursery)
            case Divide():
                await block.execute(FAILS)
            case Kill():
                self.kill(await process_of(block))
                await block.execute(FAILS)
            case Pause(checkpoints):
                for _ in range(checkpoints):
                    await anyio.lowlevel.checkpoint()
            case Fail():
                raise Oops
            case CancelBlock():
                block.cancel_scope.cancel()
                await anyio.lowlevel.checkpoint()
            case CancelAll():
                self.scope.cancel()
                await anyio.lowlevel.checkpoint()
            case Swallow(inner):
                try:
                    await self.step(block, inner)
                except Exception:
                    pass
            case InSavepoint(steps):
                async with block.savepoint() as sp:
                    await self.run(sp, steps)
            case InChild(steps):
                await _in_children(block, [lambda: self.run(block, steps)])
            case InSiblings(keys, failing):
                writes: list[Work] = [partial(write, block, key) for key in keys]
                await _in_children(block, [*writes, _oops] if failing else writes)
            case Spawn():
                raise AssertionError("see tests/transaction/schedules.py")

    async def stream(self, block: Block, to_the_end: bool) -> None:
        seen: list[int] = []
        async with block.stream(select(Entry.key).order_by(Entry.key), batch_rows=1) as keys:
            async for key in keys:
                seen.append(key)
                try:
                    await write(block, 99)
                except TransactionBusy:
                    pass
                else:
                    raise AssertionError("the stream holds the turn")
                if not to_the_end:
                    break
        self.seen.append(seen)


async def _oops() -> None:
    await anyio.lowlevel.checkpoint()
    raise Oops


async def _in_children(block: Block, works: Sequence[Work]) -> None:
    ended = [anyio.Event() for _ in works]

    async def child(work: Work, done: anyio.Event) -> None:
        await work()
        done.set()

    for work, done in zip(works, ended, strict=True):
        block.start_soon(child, work, done)
    for done in ended:
        await done.wait()


def _shape_of(error: BaseException | None) -> Shape:
    if error is None:
        return None
    if isinstance(error, BaseExceptionGroup):
        members = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return [_shape_of(member) for member in members]
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return "Cancelled"
    return type(error).__name__


def agrees(shape: Shape, wanted: Shape) -> bool:
    """Whether a shape is the one that is wanted."""
    if isinstance(wanted, frozenset):
        return isinstance(shape, list) and bool(shape) and all(isinstance(member, str) and member in wanted for member in shape)
    if isinstance(wanted, list):
        return isinstance(shape, list) and len(shape) == len(wanted) and all(map(agrees, shape, wanted))
    return shape == wanted
