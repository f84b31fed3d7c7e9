"""The line for a connection: first come, first served; who quits is passed over.

Mostly tasks stand in it, as waiters; a lane has a place without a task. Pure bookkeeping: nothing here waits but `Waiter.wait`, and nothing
knows of connections.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from time import monotonic

import trio

from trioorm.errors import TrioormError
from trioorm.pool.lease import Lease
from trioorm.wire.running_loop import is_on_trio

_SUCCEEDED = trio.lowlevel.Abort.SUCCEEDED
_current_task = trio.lowlevel.current_task
_reschedule = trio.lowlevel.reschedule
_wait_task_rescheduled = trio.lowlevel.wait_task_rescheduled


# So many who have quit may stay in line, and as many as there are others, before they are swept out.
_MOST_GONE = 100


class Place(ABC):
    """A place in line: it gets a lease or an error, or is told that it has waited too long.

    Attributes:
        task: which task waits, to tell a deadlock; None for none.
        since: when it joined, on the clock of `time.monotonic`.
        reserved: whether it may take a reserved connection.
        briefly: whether it wants it for one statement only, so that the connection's own lease will do.
        answered: whether it was served, refused, or told that it is late.
    """

    __slots__ = ("answered", "briefly", "error", "gone", "lease", "reserved", "since", "task")

    def __init__(self, task: object, *, reserved: bool, briefly: bool = False) -> None:
        self.task = task
        self.since = monotonic()
        self.reserved = reserved
        self.briefly = briefly
        self.lease: Lease | None = None
        self.error: TrioormError | None = None
        self.gone = self.answered = False

    def serve(self, lease: Lease) -> None:
        """Hand a lease over; the task finds it when it runs again."""
        self.lease = lease
        self.answered = True
        self._wake()

    def refuse(self, error: TrioormError) -> None:
        """Let the wait end in an error."""
        self.error = error
        self.answered = True
        self._wake()

    def call_late(self) -> None:
        """Let the wait end without either."""
        self.answered = True
        self._wake()

    @abstractmethod
    def _wake(self) -> None:
        """It has been answered."""


class Waiter(Place):
    """The place of a task, which is woken straight by its event loop: an event would take as long as all the rest of waiting."""

    __slots__ = ()

    @abstractmethod
    async def wait(self) -> None:
        """Wait until answered.

        Checkpoint: only if it waits.
        """
        ...


class _TrioWaiter(Waiter):
    __slots__ = ("_sleeper",)

    def __init__(self, task: object, *, reserved: bool, briefly: bool = False) -> None:
        super().__init__(task, reserved=reserved, briefly=briefly)
        self._sleeper: trio.lowlevel.Task | None = None

    def _wake(self) -> None:
        if self._sleeper is not None:
            _reschedule(self._sleeper)
            self._sleeper = None

    async def wait(self) -> None:
        if not self.answered:
            self._sleeper = _current_task()
            await _wait_task_rescheduled(self._leave)

    def _leave(self, _: object) -> trio.lowlevel.Abort:
        self._sleeper = None
        return _SUCCEEDED


class _AsyncioWaiter(Waiter):
    __slots__ = ("_future",)

    def __init__(self, task: object, *, reserved: bool, briefly: bool = False) -> None:
        super().__init__(task, reserved=reserved, briefly=briefly)
        self._future: asyncio.Future[None] | None = None

    def _wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        if not self.answered:
            self._future = asyncio.get_running_loop().create_future()
            await self._future


def waiter_kind() -> type[Waiter]:
    """The waiters of the running event loop."""
    return _TrioWaiter if is_on_trio() else _AsyncioWaiter


class Line:
    """Places in the order in which they were taken.

    Attributes:
        count: how many, without those who have quit.
    """

    __slots__ = ("_waiters", "count")

    def __init__(self) -> None:
        self._waiters: deque[Place] = deque()
        self.count = 0

    def join(self, waiter: Place, *, first: bool = False) -> None:
        """Stand at the end, or before all others."""
        if first:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        self.count += 1

    def quit(self, waiter: Place) -> None:
        """Leave before being served. The place is passed over later, since taking it out of the middle would cost the line's length; where
        nobody is served for long, many are swept out at once."""
        if not waiter.gone:
            waiter.gone = True
            self.count -= 1
            if len(self._waiters) > 2 * self.count + _MOST_GONE:
                self._waiters = deque([each for each in self._waiters if not each.gone])

    def first(self, *, reserved_only: bool = False) -> Place | None:
        """Take the first one out, or the first of those who may take a reserved connection; None when there is nobody."""
        waiters = self._waiters
        passed: list[Place] | None = None
        found: Place | None = None
        while waiters:
            waiter = waiters.popleft()
            if waiter.gone:
                continue
            if not reserved_only or waiter.reserved:
                found = waiter
                found.gone = True
                self.count -= 1
                break
            passed = passed or []
            passed.append(waiter)
        if passed:
            waiters.extendleft(reversed(passed))
        return found

    def call_late(self, since: float) -> float | None:
        """Take out all who have waited since that moment or longer, and tell them.

        Returns:
            since when the one waits who waits longest now; None when there is nobody.
        """
        left: float | None = None
        for waiter in self._waiters:
            if waiter.gone:
                continue
            if waiter.since <= since:
                self.quit(waiter)
                waiter.call_late()
            elif left is None or waiter.since < left:  # who was let in first need not have come first
                left = waiter.since
        return left

    def tasks(self, *, reserved: bool) -> set[object]:
        """The tasks in line; without those who may take a reserved connection, or with them."""
        return {waiter.task for waiter in self._waiters if not waiter.gone and (reserved or not waiter.reserved)}

    def reserved_count(self) -> int:
        """How many of them may take a reserved connection."""
        return sum(1 for waiter in self._waiters if waiter.reserved and not waiter.gone)


class Shedding:
    """Whom to turn away when the line is slow: CoDel's rule, as DBConnection applies it to connections.

    When even the shortest wait of a whole interval was above the target, the next interval turns away everybody who has waited longer than
    twice the target, so that fresh requests are served in time instead of all of them too late.

    Args:
        target_seconds: the wait that is still good.
        interval_seconds: how long it may be bad before anyone is turned away.
    """

    __slots__ = ("_interval", "_interval_ends_at", "_shortest", "_slow", "_target")

    def __init__(self, target_seconds: float, interval_seconds: float) -> None:
        self._target = target_seconds
        self._interval = interval_seconds
        self._interval_ends_at = 0.0
        self._shortest = 0.0
        self._slow = False

    def turns_away(self, waited_seconds: float, now: float) -> bool:
        """Note the wait of the first in line, and whether it is to be turned away."""
        if now >= self._interval_ends_at:
            self._slow = self._shortest > self._target
            self._shortest = waited_seconds
            self._interval_ends_at = now + self._interval
        else:
            self._shortest = min(self._shortest, waited_seconds)
        return self._slow and waited_seconds > 2 * self._target
