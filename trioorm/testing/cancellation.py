"""The kinds of cancellation that a sweep delivers, and the block that each one needs around the operation.

The contract of a block: `run(operate)` awaits `operate()` inside whatever is to be cancelled and tells whether a cancellation was caught;
`request()` asks for it, from outside of the operation. AnyIO's scopes cancel by *level* (each checkpoint raises again until the scope is
left), asyncio's own kinds by *edge* (one `CancelledError`, which an AnyIO shield does not stop).
"""

import asyncio
import enum
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

import anyio
import trio


class Cancellation(enum.Enum):
    """A way to cancel an operation at its k-th suspension.

    The plain kinds arrive while the operation is truly suspended. The kinds ON_WAKING arrive when what it waited for has happened
    and its task is about to run: a value was handed over and the cancellation races with it, which is where hand-over bugs hide.
    """

    SCOPE = "scope"
    """The surrounding AnyIO cancel scope is cancelled."""
    SCOPE_ON_WAKING = "scope on waking"
    """The same, between the wake-up and the resumption. The resumed code keeps its value; its next checkpoint raises."""
    DEADLINE = "deadline"
    """The deadline of the surrounding AnyIO cancel scope passes."""
    TASK = "task"
    """`asyncio.Task.cancel()`, once."""
    TASK_ON_WAKING = "task on waking"
    """The same, between the wake-up and the resumption: `CancelledError` is raised in place of the value that was handed over."""
    TASK_TWICE = "task twice"
    """`asyncio.Task.cancel()` at the k-th suspension and again at the next, which is inside the cleanup."""
    TIMEOUT = "timeout"
    """`asyncio.timeout()` around the operation expires."""

    @property
    def on_waking(self) -> bool:
        """Whether it is requested when the suspended task is about to run again."""
        return self in (Cancellation.SCOPE_ON_WAKING, Cancellation.TASK_ON_WAKING)

    @property
    def asyncio_only(self) -> bool:
        """Whether the kind does not exist under Trio."""
        return self in (Cancellation.TASK, Cancellation.TASK_ON_WAKING, Cancellation.TASK_TWICE, Cancellation.TIMEOUT)

    @property
    def requests(self) -> int:
        """How often it is requested in one run."""
        return 2 if self is Cancellation.TASK_TWICE else 1


def available_cancellations() -> tuple[Cancellation, ...]:
    """All kinds that exist on the event loop that runs now: seven on asyncio, three on Trio."""
    on_trio = trio.lowlevel.in_trio_run()
    return tuple(kind for kind in Cancellation if not (on_trio and kind.asyncio_only))


class CancelledBlock(ABC):
    """What surrounds one run of an operation so that it can be cancelled in one of the ways."""

    @abstractmethod
    async def run(self, operate: Callable[[], Awaitable[None]]) -> bool:
        """Run `operate` inside the block.

        Returns:
            Whether the cancellation came out of `operate` and was caught here.

        Raises:
            BaseException: whatever else came out.

        Checkpoint: as `operate` does.
        """

    @abstractmethod
    def request(self) -> None:
        """Ask for the cancellation now. On asyncio to be called from a callback, not from inside a task."""

    asks_one_turn_ahead: bool = False
    """Whether `request` takes effect one turn of asyncio's loop late, so that it is to be called just before the task yields."""


class _ScopeBlock(CancelledBlock):
    def __init__(self) -> None:
        self.scope = anyio.CancelScope()

    async def run(self, operate: Callable[[], Awaitable[None]]) -> bool:
        with self.scope:
            await operate()
        return self.scope.cancelled_caught

    def request(self) -> None:
        self.scope.cancel()


class _DeadlineBlock(_ScopeBlock):
    def __init__(self) -> None:
        super().__init__()
        # AnyIO cannot tell which clock to read inside a callback of asyncio, so the clock is chosen here.
        self.clock: Callable[[], float] = trio.current_time if trio.lowlevel.in_trio_run() else asyncio.get_running_loop().time

    def request(self) -> None:
        self.scope.deadline = self.clock()


class _TaskBlock(CancelledBlock):
    task: asyncio.Task[object] | None = None

    async def run(self, operate: Callable[[], Awaitable[None]]) -> bool:
        self.task = asyncio.current_task()
        try:
            await operate()
        except asyncio.CancelledError:
            return True
        return False

    def request(self) -> None:
        if self.task is not None:
            self.task.cancel()


class _TimeoutBlock(CancelledBlock):
    asks_one_turn_ahead = True

    def __init__(self) -> None:
        self.timeout = asyncio.timeout(None)

    async def run(self, operate: Callable[[], Awaitable[None]]) -> bool:
        own_error: BaseException | None = None
        try:
            async with self.timeout:
                try:
                    await operate()
                except BaseException as error:
                    own_error = error
                    raise
        except TimeoutError as error:
            if error is own_error:
                raise
            return True
        return False

    def request(self) -> None:
        self.timeout.reschedule(asyncio.get_running_loop().time())


def block_for(kind: Cancellation | None) -> CancelledBlock:
    """A fresh block for one run; a plain cancel scope that is never cancelled when there is no kind."""
    match kind:
        case Cancellation.DEADLINE:
            return _DeadlineBlock()
        case Cancellation.TASK | Cancellation.TASK_ON_WAKING | Cancellation.TASK_TWICE:
            return _TaskBlock()
        case Cancellation.TIMEOUT:
            return _TimeoutBlock()
        case _:
            return _ScopeBlock()
