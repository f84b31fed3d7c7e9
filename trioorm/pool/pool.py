"""The pool: connections lent to tasks, fairly, and taken back whole.

The contract: waiters are served first come first served, connections last in first out; a connection is handed over without an await
between deciding and acting, so no cancellation can lose one; a connection that libpq does not call idle is closed and never lent again;
every background task ends with the pool's block. The whole state stands in `Pool`, and only synchronous methods change it.

Ours, because psycopg_pool is bound to asyncio; its words are kept where they mean the same.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import anyio
import trio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled
from attrs import field, frozen, validators

from trioorm.errors import ConnectFailed, TrioormError
from trioorm.pool.errors import PoolClosed, PoolTimeout, TooManyRequests
from trioorm.pool.lease import Lease
from trioorm.pool.owner import Owner
from trioorm.resilience import Backoff
from trioorm.wire import AnyIOConnection
from trioorm.wire.interrupt import Shield

__all__ = ["Pool", "PoolSettings", "PoolStatistics", "open_pool"]

Connection = AnyIOConnection[Any]


@frozen(kw_only=True)
class PoolSettings:
    """How a pool behaves.

    Attributes:
        min_size: how many connections are kept open at least; one is opened on entry, so that a wrong address is found at once, unless it
            is 0. max_size: how many connections are open at most. max_waiting: how many tasks may wait in line; 0 is without limit.
            timeout_seconds: how long a task waits in line before `PoolTimeout`. cleanup_timeout_seconds: the bound of every cleanup:
            cancelling a statement, rolling back, waiting for holders at the end. commit_timeout_seconds: how long a COMMIT may go on
            after a cancellation.
    """

    min_size: int = field(default=1, validator=validators.ge(0))
    max_size: int = field(default=10, validator=validators.ge(1))
    max_waiting: int = field(default=0, validator=validators.ge(0))
    timeout_seconds: float = field(default=30.0, validator=validators.gt(0))
    cleanup_timeout_seconds: float = field(default=1.0, validator=validators.gt(0))
    commit_timeout_seconds: float = field(default=5.0, validator=validators.gt(0))

    def __attrs_post_init__(self) -> None:
        if self.min_size > self.max_size:
            raise ValueError(f"min_size ({self.min_size}) is above max_size ({self.max_size}); lower the one or raise the other")


@frozen(kw_only=True)
class PoolStatistics:
    """A pool's state at one moment.

    Attributes:
        pool_size: connections open or being opened; never above `pool_max`.
        idle: connections free to lend.
        on_loan: connections lent to tasks.
        connecting: connections being opened.
        waiting: tasks in line.
    """

    pool_min: int
    pool_max: int
    pool_size: int
    idle: int
    on_loan: int
    connecting: int
    waiting: int


class _Waiter:
    """One task in line: it gets a lease or an error."""

    __slots__ = ("_event", "error", "gone", "lease")

    def __init__(self) -> None:
        self._event = anyio.Event()
        self.lease: Lease | None = None
        self.error: TrioormError | None = None
        self.gone = False

    @property
    def served(self) -> bool:
        return self.lease is not None or self.error is not None

    def serve(self, lease: Lease | None, error: TrioormError | None = None) -> None:
        self.lease = lease
        self.error = error
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()


class Pool:
    """Connections lent to tasks. Made by `open_pool`.

    Attributes:
        settings: as given.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], settings: PoolSettings, nursery: TaskGroup) -> None:
        self.settings = settings
        self._connect = connect
        self._nursery = nursery
        self._owner = Owner()
        self._idle: deque[Connection] = deque()
        self._leases: set[Lease] = set()
        self._line: deque[_Waiter] = deque()
        self._waiting = 0
        self._connecting = 0
        self._backoff = Backoff()
        self._last_failure: TrioormError | None = None
        self._closed = False
        self._all_returned = anyio.Event()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        counts = f"{len(self._idle)} idle, {len(self._leases)} on loan, {self._waiting} waiting"
        return f"<Pool {state}, {counts}, at most {self.settings.max_size}>"

    def statistics(self) -> PoolStatistics:
        """The pool's state now."""
        return PoolStatistics(
            pool_min=self.settings.min_size,
            pool_max=self.settings.max_size,
            pool_size=self._size,
            idle=len(self._idle),
            on_loan=len(self._leases),
            connecting=self._connecting,
            waiting=self._waiting,
        )

    @property
    def _size(self) -> int:
        return len(self._idle) + len(self._leases) + self._connecting

    # Borrowing.

    @trio.lowlevel.enable_ki_protection
    async def acquire(self) -> Lease:
        """Borrow a connection, waiting in line if all are on loan.

        The line is fair: first come, first served. Leave early through a cancel scope around the call.

        Returns:
            A lease; leaving its block gives the connection back, or closes it when it is not provably idle.

        Raises:
            PoolTimeout: nothing came free in time. Safe to retry.
            TooManyRequests: `max_waiting` tasks wait already. Safe to retry later.
            PoolClosed: the pool was closed. Not safe to retry.
            AuthenticationFailed: the server does not let us in. Not safe to retry.
            WrongDatabaseOwner: called from another loop or process. Not safe to retry.

        Checkpoint: always for a cancellation; the loop gets control only if it waits.
        """
        self._owner.check()
        await checkpoint_if_cancelled()
        lease = self._take_nowait() or await self._wait_in_line()
        lease.taken_by(self._owner.running_task())
        return lease

    def _take_nowait(self) -> Lease | None:
        if self._closed:
            raise PoolClosed("the pool is closed: its `async with` block has ended.\nTo fix it: do the work inside the block.")
        if self._waiting:
            return None  # others came first
        while self._idle:
            connection = self._idle.pop()
            if connection.is_idle and not connection.has_unread_input():
                return self._lend(connection)
            connection.close_nowait()  # the server has closed it, or said something that nobody asked for
        return None

    def _lend(self, connection: Connection) -> Lease:
        lease = Lease(connection, self._give_back)
        self._leases.add(lease)
        return lease

    async def _wait_in_line(self) -> Lease:
        settings = self.settings
        if settings.max_waiting and self._waiting >= settings.max_waiting:
            raise TooManyRequests(
                f"{self._waiting} tasks wait for a connection already, and max_waiting is {settings.max_waiting}.\n"
                "To fix it: shed this request, raise max_waiting, or raise max_size."
            )
        waiter = _Waiter()
        self._line.append(waiter)
        self._waiting += 1
        self._open_what_is_needed()
        started_at = anyio.current_time()
        try:
            with anyio.move_on_after(settings.timeout_seconds):
                await waiter.wait()
        except BaseException:
            self._leave_line(waiter)
            raise
        if waiter.lease is not None:
            return waiter.lease
        if waiter.error is not None:
            raise waiter.error
        self._leave_line(waiter)
        raise self._timeout(anyio.current_time() - started_at)

    def _leave_line(self, waiter: _Waiter) -> None:
        if waiter.lease is not None:
            waiter.lease.release()  # handed over in the very moment of leaving: to the next in line
        elif not waiter.served:
            waiter.gone = True
            self._waiting -= 1

    def _timeout(self, waited_seconds: float) -> PoolTimeout:
        now, settings, on_loan = anyio.current_time(), self.settings, len(self._leases)
        lines = [f"no connection came free within {waited_seconds:.1f} s."]
        if self._leases:
            longest = min(self._leases, key=lambda lease: lease.lent_at)
            lines.append(
                f"All {on_loan} connections are on loan and {self._waiting} tasks wait; the longest loan has lasted "
                f"{now - longest.lent_at:.1f} s (task {longest.holder!r}, borrowed at {longest.place})."
                if on_loan >= settings.max_size
                else f"{on_loan} of {settings.max_size} connections are on loan and {self._waiting} tasks wait."
            )
        if self._last_failure is not None:
            lines.append(f"Opening another failed: {self._last_failure}")
        lines += [
            "To fix it, one of:",
            "  1. end long transactions sooner; no network calls inside them",
            f"  2. raise max_size (now {settings.max_size})",
            f"  3. give callers more time (timeout_seconds, now {settings.timeout_seconds:g})",
        ]
        return PoolTimeout("\n".join(lines), waited_seconds=waited_seconds, on_loan=on_loan, waiting=self._waiting)

    # Taking back.

    def _give_back(self, lease: Lease) -> None:
        self._leases.discard(lease)
        self._admit(lease.connection)
        if not self._leases:
            self._all_returned.set()

    def _admit(self, connection: Connection) -> None:
        """A connection has come free: to the first in line, else to the idle ones; not if it is not provably idle."""
        if self._closed or not connection.is_idle:
            connection.close_nowait()
            self._open_what_is_needed()
        elif (waiter := self._first_in_line()) is not None:
            waiter.serve(self._lend(connection))
        else:
            self._idle.append(connection)

    def _first_in_line(self) -> _Waiter | None:
        while self._line:
            waiter = self._line.popleft()
            if not waiter.gone:
                self._waiting -= 1
                return waiter
        return None

    # Opening.

    def _open_what_is_needed(self) -> None:
        """Start opening connections for those in line and for `min_size`, up to `max_size`."""
        if self._closed:
            return
        settings = self.settings
        while self._size < settings.max_size and (self._connecting < self._waiting or self._size < settings.min_size):
            self._connecting += 1
            self._nursery.start_soon(self._open_one, name="trioorm: opening a connection")

    async def _open_one(self) -> None:
        """Open one connection for the pool, again and again until it succeeds or nobody needs it."""
        try:
            connection = await self._connect_while_needed()
        finally:
            self._connecting -= 1
        if connection is not None:
            self._backoff.succeeded()
            self._last_failure = None
            self._admit(connection)

    async def _connect_while_needed(self) -> Connection | None:
        while True:
            try:
                return await self._connect()
            except Exception as error:
                # Whatever it was, it belongs to those who wait: a background task that raised would end the whole database.
                failure = error if isinstance(error, TrioormError) else ConnectFailed(f"opening a connection failed: {error!r}")
                self._last_failure = failure
                if not failure.safe_to_retry:
                    self._refuse_all(failure)
                    return None
            if self._closed or not (self._waiting or self._size <= self.settings.min_size):
                return None
            await anyio.sleep(self._backoff.next_delay())

    def _refuse_all(self, error: TrioormError) -> None:
        while (waiter := self._first_in_line()) is not None:
            waiter.serve(None, error)

    async def open_first(self) -> None:
        """Open one connection now, so that a wrong address or password is an error of the block that opens the pool.

        Raises:
            ConnectFailed, AuthenticationFailed: as `AnyIOConnection.connect`.

        Checkpoint: always.
        """
        self._connecting += 1
        try:
            connection = await self._connect()
        finally:
            self._connecting -= 1
        self._admit(connection)
        self._open_what_is_needed()

    # Closing.

    async def close(self) -> None:
        """Admit nobody any more, wait for the holders as long as a cleanup may take, then close every connection.

        Checkpoint: only if connections are on loan; a cancellation is never raised here.
        """
        if self._closed:
            return
        self._closed = True
        self._refuse_all(PoolClosed("the pool was closed while this task waited for a connection."))
        while self._idle:
            self._idle.pop().close_nowait()
        if self._leases:
            with Shield(self.settings.cleanup_timeout_seconds) as shield:
                await shield.wait(self._wait_all_returned)
        for lease in tuple(self._leases):
            lease.connection.close_nowait()

    async def _wait_all_returned(self) -> bool:
        if self._leases:
            self._all_returned = anyio.Event()
            await self._all_returned.wait()
        return True


class open_pool:  # noqa: N801 - used like a function: `async with open_pool(...) as pool`
    """Open a pool for the length of a block.

    Args:
        connect: opens one connection, raising `ConnectFailed` when it cannot.
        settings: see `PoolSettings`.

    Raises:
        ConnectFailed: on entry, when `min_size` is not 0. Safe to retry.
        AuthenticationFailed: the same. Not safe to retry.

    Checkpoint: on entry, only if `min_size` is not 0; on leaving, only if connections are on loan.
    """

    # A class, so that an error of the body leaves the block bare and not inside the nursery's exception group.
    __slots__ = ("_connect", "_nursery", "_pool", "_settings")

    def __init__(self, connect: Callable[[], Awaitable[Connection]], settings: PoolSettings) -> None:
        self._connect = connect
        self._settings = settings

    async def __aenter__(self) -> Pool:
        self._nursery = anyio.create_task_group()
        await self._nursery.__aenter__()
        self._pool = Pool(self._connect, self._settings, self._nursery)
        if self._settings.min_size:
            try:
                await self._pool.open_first()
            except BaseException:
                await self.__aexit__(None, None, None)
                raise
        return self._pool

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._pool.close()
        self._nursery.cancel_scope.cancel()
        await self._nursery.__aexit__(None, None, None)
