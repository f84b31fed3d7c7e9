"""The line of tasks that wait for a connection: first come, first served; who quits is passed over.

Pure bookkeeping: nothing here waits but `Waiter.wait`, and nothing knows of connections.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

import anyio

from trioorm.errors import TrioormError
from trioorm.pool.lease import Lease


class Waiter:
    """One task in line: it gets a lease or an error.

    Attributes:
        task: which task, to tell a deadlock.
        since: when it joined, on the clock of `time.monotonic`.
        reserved: whether it may take a reserved connection.
    """

    __slots__ = ("_event", "error", "gone", "lease", "reserved", "since", "task")

    def __init__(self, task: object, *, reserved: bool) -> None:
        self._event = anyio.Event()
        self.task = task
        self.since = monotonic()
        self.reserved = reserved
        self.lease: Lease | None = None
        self.error: TrioormError | None = None
        self.gone = False

    def serve(self, lease: Lease) -> None:
        """Hand a lease over; the task finds it when it runs again."""
        self.lease = lease
        self._event.set()

    def refuse(self, error: TrioormError) -> None:
        """Let the wait end in an error."""
        self.error = error
        self._event.set()

    @property
    def answered(self) -> bool:
        """Whether it was served or refused."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until served or refused."""
        await self._event.wait()


class Line:
    """Waiters in the order in which they came.

    Attributes:
        count: how many, without those who have quit.
    """

    __slots__ = ("_waiters", "count")

    def __init__(self) -> None:
        self._waiters: deque[Waiter] = deque()
        self.count = 0

    def join(self, waiter: Waiter, *, first: bool = False) -> None:
        """Stand at the end, or before all others."""
        if first:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        self.count += 1

    def quit(self, waiter: Waiter) -> None:
        """Leave before being served. The place is passed over later, since taking it out of the middle would cost the line's length."""
        if not waiter.gone:
            waiter.gone = True
            self.count -= 1

    def first(self, *, reserved_only: bool = False) -> Waiter | None:
        """Take the first one out, or the first of those who may take a reserved connection; None when there is nobody."""
        passed: list[Waiter] = []
        found: Waiter | None = None
        while self._waiters and found is None:
            waiter = self._waiters.popleft()
            if waiter.gone:
                continue
            if reserved_only and not waiter.reserved:
                passed.append(waiter)
            else:
                found = waiter
        self._waiters.extendleft(reversed(passed))
        if found is not None:
            self.count -= 1
            found.gone = True
        return found

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
