"""One run of an operation, cancelled at its k-th suspension: what happened, without a judgement.

The contract: the operation runs in a task of its own, so that nurseries opened inside it are told from those around it, and so that a
native cancel of asyncio leaves no trace in the caller's task. A run always ends: one that lasts longer than its patience is recorded as
hung, with the place of each task, and thrown out. A cancellation of the caller ends the run and goes on to the caller.
"""

import asyncio
import inspect
import math
from collections.abc import Awaitable, Coroutine
from typing import Any, Generic, TypeVar, cast

import anyio
import anyio.lowlevel
import attrs
import trio

from trioorm.errors import leaves_of
from trioorm.testing.cancellation import Cancellation, block_for
from trioorm.testing.suspension import Place
from trioorm.testing.watch import Watch, follower_for

T = TypeVar("T")

_PENDING_ARRIVES_WITHIN_SECONDS = 0.05
_ABANDON_EVERY_SECONDS = 0.05


@attrs.frozen(kw_only=True)
class Attempt(Generic[T]):
    """What was seen in one run.

    Attributes:
        suspensions: how many were counted until the operation ended.
        place: where the k-th one was, or None when it was never reached.
        requests: how often the cancellation was asked for.
        thrown: how often a cancellation was raised inside the operation's own task after that.
        returned: whether the operation ended normally, with `value`.
        error: what the operation raised, before the surrounding block saw it.
        caught: whether the surrounding block caught a cancellation.
        arrived_later: whether, after a normal end, the cancellation was raised by the next checkpoint inside the block.
        stray: a cancellation that was raised after the block had been left.
        requests_left: asyncio's count of cancellations that the task has not been relieved of; 0 on Trio.
        hung: where each task was when the patience ended; empty when the operation ended by itself.
        outliving: names of tasks that the operation left running.
    """

    suspensions: int
    place: Place | None
    requests: int
    thrown: int
    returned: bool
    value: T | None
    error: BaseException | None
    caught: bool
    arrived_later: bool
    stray: BaseException | None
    requests_left: int
    hung: tuple[Place, ...]
    outliving: tuple[str, ...]


async def attempt(
    operation: Awaitable[T], kind: Cancellation | None, at: int | None, *, include_children: bool, patience_seconds: float
) -> Attempt[T]:
    """Run an operation once, and cancel it when it reaches a suspension.

    Args:
        operation: a fresh coroutine or other awaitable.
        kind: how to cancel; None to let it run.
        at: the suspension, counted from 1; None to let it run.
        include_children: count the suspensions of child tasks too.
        patience_seconds: a run that lasts longer hangs.

    Checkpoint: always.
    """
    running = _Running(operation, kind, at, include_children=include_children)
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(running.run_in_task, name="swept operation")
        with anyio.move_on_after(patience_seconds):
            await running.ended.wait()
        if not running.ended.is_set():
            await running.abandon()
    return running.seen()


class _Running(Generic[T]):
    def __init__(self, operation: Awaitable[T], kind: Cancellation | None, at: int | None, *, include_children: bool) -> None:
        self.coroutine: Coroutine[Any, Any, T] = (
            cast("Coroutine[Any, Any, T]", operation) if inspect.iscoroutine(operation) else _awaiting(operation)
        )
        self.block = block_for(kind)
        self.watch = Watch(self.block, kind, at, include_children=include_children)
        try:
            self.follower = follower_for(self.watch)
        except BaseException:
            self.coroutine.close()
            raise
        self.ended = anyio.Event()
        self.returned = False
        self.value: T | None = None
        self.error: BaseException | None = None
        self.caught = False
        self.arrived_later = False
        self.stray: BaseException | None = None
        self.requests_left = 0
        self.hung: tuple[Place, ...] = ()
        self.outliving: tuple[str, ...] = ()

    def seen(self) -> Attempt[T]:
        return Attempt(
            suspensions=self.watch.count,
            place=self.watch.place,
            requests=self.watch.requests,
            thrown=self.watch.thrown,
            returned=self.returned,
            value=self.value,
            error=self.error,
            caught=self.caught,
            arrived_later=self.arrived_later,
            stray=self.stray,
            requests_left=self.requests_left,
            hung=self.hung,
            outliving=self.outliving,
        )

    async def run_in_task(self) -> None:
        try:
            with self.follower.following():
                try:
                    self.caught = await self.block.run(self._operate)
                except BaseException as error:  # recorded as self.error; what is not ours goes on
                    _let_pass(error)
                finally:
                    self.watch.is_over = True
                await self._look_for_leftovers()
        finally:
            self.coroutine.close()  # when the run was cancelled before it began
            self.ended.set()

    async def _operate(self) -> None:
        try:
            self.value = await self.follower.drive(self.coroutine)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.watch.is_over = True
        self.returned = True
        if self.watch.requests:
            # The operation ended normally all the same. Level cancellation and a cancel that was held back raise here; a lost one does not.
            try:
                await anyio.sleep(_PENDING_ARRIVES_WITHIN_SECONDS)
            except anyio.get_cancelled_exc_class():
                self.arrived_later = True
                raise

    async def _look_for_leftovers(self) -> None:
        if not trio.lowlevel.in_trio_run():
            task = asyncio.current_task()
            assert task is not None
            self.requests_left = task.cancelling()
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class() as error:
            _let_pass(error)
            self.stray = error
        self.outliving = self.follower.outliving()

    async def abandon(self) -> None:
        self.hung = self.follower.places()
        while not self.ended.is_set():
            self.follower.abandon()
            with anyio.move_on_after(_ABANDON_EVERY_SECONDS):
                await self.ended.wait()


async def _awaiting(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _let_pass(error: BaseException) -> None:
    """Raise on what is none of the sweep's business: the user's Ctrl-C, or a cancellation of the sweep itself."""
    if any(isinstance(leaf, (KeyboardInterrupt, SystemExit, GeneratorExit)) for leaf in leaves_of(error)):
        raise error
    if isinstance(error, anyio.get_cancelled_exc_class()) and anyio.current_effective_deadline() == -math.inf:
        raise error
