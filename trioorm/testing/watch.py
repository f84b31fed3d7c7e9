"""Following an operation and all tasks that descend from it, suspension by suspension, on Trio and on asyncio.

The contract: a `Watch` counts and decides, without knowing an event loop; one follower for each loop tells it of every suspension and
resumption. Followed are the task that runs the operation and the tasks in nurseries opened inside it. A task that the operation starts in
somebody else's nursery (a pool's background work) is not cancelled with the operation, so it is not followed either.

The operation itself runs in a `Driver` on both loops. Its children are seen through a `trio.abc.Instrument` on Trio, and on asyncio through
a task factory that puts each of them into a driver of its own.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn, TypeVar

import anyio
import outcome
import trio

from trioorm.errors import UsageError
from trioorm.testing.cancellation import Cancellation, CancelledBlock
from trioorm.testing.suspension import Driver, Place, place_of

T = TypeVar("T")


class SweepAbandoned(BaseException):
    """Thrown into an operation that hangs, so that the sweep can fail instead of hanging with it."""


class Watch:
    """Counts the suspensions of one run and asks for the cancellation at the one that is due."""

    def __init__(self, block: CancelledBlock, kind: Cancellation | None, at: int | None, *, include_children: bool) -> None:
        self.block = block
        self.kind = kind
        self.at = at
        self.include_children = include_children
        self.count = 0
        self.place: Place | None = None
        self.requests = 0
        self.thrown = 0
        self.is_over = False
        self.is_abandoned = False

    @property
    def on_waking(self) -> bool:
        """Whether the cancellation is to be asked for at the wake-up that ends the suspension."""
        return self.kind is not None and self.kind.on_waking

    def is_due(self, task_name: str, coroutine: object) -> bool:
        """Count one suspension and tell whether the cancellation is to be asked for at it."""
        if self.is_over:
            return False
        self.count += 1
        if self.at is None or self.kind is None:
            return False
        if self.count == self.at:
            self.place = place_of(coroutine, task_name)
        return self.at <= self.count < self.at + self.kind.requests

    def request(self) -> None:
        """Ask for the cancellation, unless the operation has ended meanwhile."""
        if not self.is_over:
            self.requests += 1
            self.block.request()

    def note_thrown(self) -> None:
        """Note that a cancellation is about to be raised inside the operation's own task; those before the request are its own affair."""
        if self.requests:
            self.thrown += 1


class Follower(ABC):
    """Tells a watch what the tasks of one operation do."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    @abstractmethod
    def following(self) -> AbstractContextManager[None]:
        """A block, entered in the operation's task, in which its children are seen."""

    @abstractmethod
    def drive(self, coroutine: Coroutine[Any, Any, T]) -> Driver[T]:
        """The operation's coroutine in a driver that reports to the watch."""

    @abstractmethod
    def places(self) -> tuple[Place, ...]:
        """Where each followed task that has not ended is suspended."""

    @abstractmethod
    def abandon(self) -> None:
        """Throw `SweepAbandoned` into all followed tasks, shielded or not. To be repeated until they have ended."""

    @abstractmethod
    def outliving(self) -> tuple[str, ...]:
        """The names of the tasks that the operation started and left running; they are cancelled here."""


class TrioFollower(Follower, trio.abc.Instrument):
    """Follows the operation's task by its driver and its children by their task steps."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._root: trio.lowlevel.Task | None = None
        self._operation: object = None
        self._followed: set[trio.lowlevel.Task] = set()
        self._due_on_waking: object = None

    @contextmanager
    def following(self) -> Generator[None]:
        self._root = trio.lowlevel.current_task()
        self._followed.add(self._root)
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)

    def drive(self, coroutine: Coroutine[Any, Any, T]) -> Driver[T]:
        self._operation = coroutine
        return Driver(coroutine, self)

    # The operation's own task, told by its driver. A request made just before the yield is delivered by Trio right after it, when the task
    # is suspended and its abort function is known.

    def suspended(self, coroutine: object, yielded: object) -> None:
        """The operation is about to be suspended."""
        assert self._root is not None
        self._suspended(self._root, coroutine)

    def waking(self, coroutine: object, outcome_or_error: object) -> BaseException | None:
        """The operation is about to run again."""
        assert self._root is not None
        self._waking(self._root)
        if not _is_cancelled(outcome_or_error):
            return None
        self.watch.note_thrown()
        return SweepAbandoned() if self.watch.is_abandoned else None

    # The children, told by Trio.

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """A task was made: follow it when the nursery is one of a followed task's."""
        if self._parent_of(task) in self._followed:
            self._followed.add(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """A task has ended."""
        self._followed.discard(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task is about to run."""
        if task is self._root or task not in self._followed:
            return
        self._waking(task)
        if self.watch.is_abandoned and _is_cancelled(getattr(task, "_next_send", None)):
            # Private, and the last resort of a run that has failed already: it ends a child that catches every `Cancelled` in a loop.
            # In place of anything else it would be wrong: a task that waits for its nursery must not be woken by an exception.
            setattr(task, "_next_send", outcome.Error(SweepAbandoned()))  # noqa: B010

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task has run and is suspended now, or has ended."""
        if task is self._root or task not in self._followed or not self.watch.include_children:
            return
        if self._parent_of(task) in self._followed:
            self._suspended(task, task.coro)

    def places(self) -> tuple[Place, ...]:
        return tuple(place_of(self._operation if task is self._root else task.coro, task.name) for task in sorted(self._followed, key=id))

    def abandon(self) -> None:
        self.watch.is_abandoned = True
        for task in tuple(self._followed):
            # Private, and the last resort of a run that has failed already: nothing public ends a task that hangs inside a shield. It asks
            # the abort function of whatever the task waits for, as Trio itself does to deliver KeyboardInterrupt.
            if getattr(task, "_abort_func") is not None:  # noqa: B009
                getattr(task, "_attempt_abort")(_raise_abandoned)  # noqa: B009

    def outliving(self) -> tuple[str, ...]:
        return ()  # a Trio task ends with its nursery

    def _parent_of(self, task: trio.lowlevel.Task) -> trio.lowlevel.Task | None:
        return task.parent_nursery.parent_task if task.parent_nursery is not None else None

    def _suspended(self, task: trio.lowlevel.Task, coroutine: object) -> None:
        if self.watch.is_due(task.name, coroutine):
            if self.watch.on_waking:
                self._due_on_waking = task
            else:
                self.watch.request()

    def _waking(self, task: trio.lowlevel.Task) -> None:
        if self._due_on_waking is task:
            self._due_on_waking = None
            self.watch.request()


class AsyncioFollower(Follower):
    """Follows the operation's task and its children by drivers, which a task factory puts around each child."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._loop = asyncio.get_running_loop()
        if self._loop.get_task_factory() is not None:
            raise UsageError(
                "A sweep cannot follow tasks made by another task factory.\n"
                "This event loop has a task factory of its own, and the sweep needs that place to see the operation's child tasks.\n"
                "To fix it, run the sweep on a loop without one: asyncio.get_running_loop().set_task_factory(None)."
            )
        self._followed: dict[int, _FollowedTask] = {}

    @contextmanager
    def following(self) -> Generator[None]:
        root = asyncio.current_task()
        assert root is not None
        self._followed[id(root)] = _FollowedTask(self, root)
        self._loop.set_task_factory(self._make_task)
        try:
            yield
        finally:
            self._loop.set_task_factory(None)

    def drive(self, coroutine: Coroutine[Any, Any, T]) -> Driver[T]:
        root = asyncio.current_task()
        followed = self._followed[id(root)]
        followed.coroutine = coroutine
        return Driver(coroutine, followed)

    def places(self) -> tuple[Place, ...]:
        return tuple(place_of(followed.coroutine, followed.task.get_name()) for followed in self._followed.values() if not followed.is_done)

    def abandon(self) -> None:
        self.watch.is_abandoned = True
        for followed in tuple(self._followed.values()):
            # Children first: a nursery that is left by an exception other than a cancellation would leave them behind.
            if not followed.is_done and not followed.has_children:
                followed.task.cancel()  # wakes it; the driver throws SweepAbandoned in place of CancelledError

    def has_children(self, task_id: int) -> bool:
        """Whether a task made by this one is still running."""
        return any(followed.maker_id == task_id and not followed.is_done for followed in self._followed.values())

    def outliving(self) -> tuple[str, ...]:
        left = [followed.task for followed in self._followed.values() if followed.is_inside and not followed.is_done]
        for task in left:
            task.cancel()
        return tuple(task.get_name() for task in left)

    def is_inside(self) -> bool:
        """Whether the current task descends from the operation: it was made by a task that does, and not in an outer nursery."""
        parent_id = anyio.get_current_task().parent_id
        return parent_id is None or parent_id in self._followed

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        **options: Any,  # noqa: ANN401 -- what asyncio hands to a task factory differs by its version
    ) -> "asyncio.Task[T]":
        maker = self._followed.get(id(asyncio.current_task()))
        if maker is None or not asyncio.iscoroutine(coroutine) or not (maker.is_root or self.is_inside()):
            return asyncio.Task(coroutine, loop=loop, **options)

        async def driven() -> T:
            return await Driver(coroutine, followed)

        task = asyncio.Task(driven(), loop=loop, **options)
        # Closing the coroutine of a task that was cancelled before its first step keeps it from being reported as never awaited.
        task.add_done_callback(lambda _: coroutine.close())
        followed = self._followed[id(task)] = _FollowedTask(self, task, coroutine, id(maker.task))
        return task


class _FollowedTask:
    """One task on asyncio: what its driver tells goes to the watch."""

    def __init__(self, follower: AsyncioFollower, task: "asyncio.Task[Any]", coroutine: object = None, maker_id: int | None = None) -> None:
        self.follower = follower
        self.watch = follower.watch
        self.task = task
        self.coroutine = coroutine
        self.maker_id = maker_id
        self.is_root = maker_id is None
        self.is_inside = True

    @property
    def is_done(self) -> bool:
        return self.task.done() or (self.is_root and self.watch.is_over)

    @property
    def has_children(self) -> bool:
        return self.follower.has_children(id(self.task))

    def suspended(self, coroutine: object, yielded: object) -> None:
        if not self.is_root:
            self.is_inside = self.follower.is_inside()
            if not (self.is_inside and self.watch.include_children):
                return
        if not self.watch.is_due(self.task.get_name(), coroutine):
            return
        if self.watch.on_waking and asyncio.isfuture(yielded):
            # The task adds its own callback after ours, so ours runs first: the result is there and the task does not know it yet.
            yielded.add_done_callback(self._request)
        elif self.watch.block.asks_one_turn_ahead:
            self.watch.request()
        else:
            # This runs before anything can resume the task, because the resumption is scheduled only after the yield.
            asyncio.get_running_loop().call_soon(self.watch.request)

    def _request(self, _future: object) -> None:
        self.watch.request()

    def waking(self, coroutine: object, outcome_or_error: object) -> BaseException | None:
        if not isinstance(outcome_or_error, asyncio.CancelledError):
            return None
        if self.is_root:
            self.watch.note_thrown()
        return SweepAbandoned() if self.watch.is_abandoned and not self.has_children else None


def _is_cancelled(sent: object) -> bool:
    return isinstance(sent, outcome.Error) and isinstance(sent.error, trio.Cancelled)


def _raise_abandoned() -> NoReturn:
    raise SweepAbandoned


def follower_for(watch: Watch) -> Follower:
    """The follower for the event loop that runs now."""
    return TrioFollower(watch) if trio.lowlevel.in_trio_run() else AsyncioFollower(watch)
