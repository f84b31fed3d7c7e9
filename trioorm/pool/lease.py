"""A connection of a pool, and its lease: who has it since when."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import trio

from trioorm.pool.place import mark_of_caller, place_of_task, shown
from trioorm.wire import AnyIOConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import TracebackType

    from trioorm.pool.place import Mark
    from trioorm.pool.statistics import Loan

__all__ = ["Lease", "Member", "loans_of", "log_long_loans", "log_what_stays_out"]

logger = logging.getLogger("trioorm.pool")


class Member:
    """A connection as its pool knows it.

    Attributes:
        connection: the connection.
        pgconn: libpq's part of it.
        expires_at: when it is to be replaced, on the clock of `time.monotonic`; long ago after a `Pool.drain`.
        idle_since: since when nothing has been asked of it, as far as is known.
        own_lease: used again and again by `Pool.lend_at_once`.
    """

    __slots__ = ("_encoding", "connection", "expires_at", "idle_since", "own_lease", "pgconn")

    def __init__(
        self,
        connection: AnyIOConnection[Any],
        take_back: Callable[[Lease, float | None], None],
        running_task: Callable[[], object],
        *,
        expires_at: float,
    ) -> None:
        self.connection = connection
        self.pgconn = connection.pgconn
        self.expires_at = expires_at
        self.idle_since = monotonic()
        self.own_lease = Lease(self, take_back, running_task)
        self._encoding = connection.pgconn.parameter_status(b"client_encoding")

    @property
    def is_as_it_was(self) -> bool:
        """Whether text goes to and fro in the encoding that it had at first, which whoever has it next takes for granted."""
        return self.pgconn.parameter_status(b"client_encoding") == self._encoding


class Lease:
    """A connection on loan from a pool.

    Leaving its `with` block, or `release`, gives the connection back; it is closed instead when libpq does not say that it is idle.

    Attributes:
        connection: to be used by this holder alone.
        lent_at: when it was lent, on the clock of `time.monotonic`.
        task: the task that took it.
        mark: where in the caller's code it was taken, if that was noted.
        logged: whether it has been logged as a long loan.
        released: whether it was given back.
        inside: the tasks that are inside the block which will give it back: while all of them wait, it cannot come back. Empty when
            nothing is known of that, as with a lease that is not used with `with`, which anybody may give back.
    """

    __slots__ = ("_running_task", "_take_back", "connection", "inside", "lent_at", "logged", "mark", "member", "released", "task")

    def __init__(self, member: Member, take_back: Callable[[Lease, float | None], None], running_task: Callable[[], object]) -> None:
        self.member = member
        self.connection = member.connection
        self.inside: set[object] = set()
        self._take_back = take_back
        self._running_task = running_task
        self.released = False
        self.lent_at = monotonic()
        self.task: object = None
        self.mark: Mark | None = None
        self.logged = False

    def __repr__(self) -> str:
        return f"<Lease of {self.connection!r} to {self.holder!r}, taken at {self.place}>"

    @property
    def place(self) -> str:
        """Where in the caller's code it was taken, as `file:line`."""
        return place_of_task(self.task) if self.mark is None else shown(self.mark)

    @property
    def holder(self) -> str:
        """The name of the task that took it."""
        if isinstance(self.task, trio.lowlevel.Task):
            return self.task.name
        name = getattr(self.task, "get_name", None)  # an asyncio.Task
        return str(name()) if callable(name) else "?"

    @property
    def is_leaked(self) -> bool:
        """Whether the task that took it has ended: nobody is left who should give it back, unless it was passed on."""
        if isinstance(self.task, trio.lowlevel.Task):
            return getattr(self.task.coro, "cr_frame", self) is None
        done = getattr(self.task, "done", None)  # an asyncio.Task
        return callable(done) and bool(done())

    def taken_by(self, task: object) -> None:
        """Note that a task has it now."""
        self.task = task
        self.mark = mark_of_caller()

    @trio.lowlevel.enable_ki_protection
    def release(self, *, unasked_since: float | None = None) -> None:
        """Give the connection back; a second call does nothing. Never waits.

        Args:
            unasked_since: since when nothing has been asked of it; where that is not known, nothing may have been since it was lent.
        """
        self._take_back(self, unasked_since)

    def step_in(self) -> None:
        """Note that the running task is inside the block that will give this lease back."""
        self.inside.add(self._running_task())

    def step_out(self) -> bool:
        """Note that the running task is so no more, or only waits for the others; says whether it was."""
        task = self._running_task()
        if task not in self.inside:
            return False
        self.inside.discard(task)
        return True

    @trio.lowlevel.enable_ki_protection
    def __enter__(self) -> AnyIOConnection[Any]:
        self.inside.add(self._running_task())
        return self.connection

    @trio.lowlevel.enable_ki_protection
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.release()


def loans_of(leases: Collection[Lease]) -> tuple[Loan, ...]:
    """Who has a connection now, the longest loan first."""
    from trioorm.pool.statistics import Loan  # few need it

    now = monotonic()
    return tuple(
        Loan(
            holder=lease.holder,
            place=lease.place,
            seconds=now - lease.lent_at,
            backend_pid=lease.connection.info.backend_pid,
            statement=lease.connection.running_statement,
        )
        for lease in sorted(leases, key=lambda lease: lease.lent_at)
        if not lease.connection.closed
    )


def log_long_loans(leases: Collection[Lease], limit_seconds: float | None) -> None:
    """Log each that has lasted longer, or whose task has ended, once."""
    now = monotonic()
    for lease in leases:
        if lease.logged:
            continue
        seconds = now - lease.lent_at
        if lease.is_leaked:
            lease.logged = True
            logger.warning("task %r has ended without giving back the connection that it borrowed at %s", lease.holder, lease.place)
        elif limit_seconds is not None and seconds >= limit_seconds:
            lease.logged = True
            logger.warning("task %r has had a connection for %.1f s, borrowed at %s", lease.holder, seconds, lease.place)


def log_what_stays_out(leases: Collection[Lease]) -> None:
    """Log each that is closed by force at the pool's end."""
    for lease in leases:
        logger.warning("task %r did not give its connection back when the pool was closed, borrowed at %s", lease.holder, lease.place)
