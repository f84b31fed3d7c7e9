"""How a pool gets its connections: as many as are wanted, each tried again and again until it is there or nobody needs it.

The contract: opening is done in the background of the database, by tasks that have no error of their own; a failure belongs to those who
wait in line. What decides, and the whole state, stands in `Pool`, of which this is a part.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic

import anyio

from trioorm.errors import ConnectFailed, TrioormError
from trioorm.pool import hooks
from trioorm.pool.background import Background
from trioorm.pool.counts import Counts
from trioorm.pool.lanes import Lanes
from trioorm.pool.lease import Lease, Member
from trioorm.pool.leaving import Leaving
from trioorm.pool.line import Line
from trioorm.pool.owner import Owner
from trioorm.pool.settings import Connection, PoolSettings
from trioorm.resilience import Backoff

__all__ = ["Connect", "GrowingPool"]

Connect = Callable[[], Awaitable[Connection]]


class GrowingPool(ABC):
    """The part of `Pool` that opens connections."""

    settings: PoolSettings
    background: Background
    lanes: Lanes
    _leaving: Leaving
    _owner: Owner
    _counts: Counts

    def __init__(self, connect: Connect) -> None:
        self._connect = partial(self._set_up, connect)
        self._idle: deque[Member] = deque()  # the longest idle on the left
        self._leases: set[Lease] = set()
        self._line = Line()
        self._connecting = 0
        self._resetting: set[Member] = set()
        self._backoff = Backoff()
        self._last_failure: TrioormError | None = None
        self._closed = False

    @property
    def _size(self) -> int:
        return len(self._idle) + len(self._leases) + self._connecting + len(self._resetting)

    @abstractmethod
    def _admit(self, member: Member) -> None: ...

    @abstractmethod
    def take_back(self, lease: Lease, unasked_since: float | None = None) -> None: ...

    def _open_what_is_needed(self) -> None:
        """Start opening connections for those in line and for `min_size`, up to `max_size`."""
        if self._closed:
            return
        settings = self.settings
        while self._size + len(self._leaving) < settings.max_size and (self._connecting < self._wanted() or self._size < settings.min_size):
            self._connecting += 1
            self.background.start_soon(self._open_one, name="trioorm: opening a connection")

    def _wanted(self) -> int:
        """How many in line could have a connection if there were enough."""
        if not self.settings.reserved_size:
            return self._line.count
        reserved = self._line.reserved_count()
        for_all = max(0, self.settings.max_size - self.settings.reserved_size - len(self._leases))
        return reserved + min(self._line.count - reserved, for_all)

    async def _open_one(self) -> None:
        """Open one connection for the pool, again and again until it succeeds or nobody needs it."""
        try:
            connection = await self._connect_while_needed()
        finally:
            self._connecting -= 1
        if connection is not None:
            self._admit(self._new_member(connection))

    async def _open_member(self) -> Member:
        return self._new_member(await self.connect_beside())

    def _new_member(self, connection: Connection) -> Member:
        self._backoff.succeeded()
        self._last_failure = None
        connection.has_farewell = True
        lifetime = self.settings.max_lifetime_seconds * random.uniform(0.9, 1.0)
        expires_at = monotonic() + lifetime
        return Member(connection, self.take_back, self._owner.running_task, expires_at=expires_at)

    async def _set_up(self, connect: Connect) -> Connection:
        """One connection, set up."""
        connection = await connect()
        connection.cleanup_timeout_seconds = self.settings.cleanup_timeout_seconds
        if self.settings.configure is not None:
            await hooks.configure(connection, self.settings.configure)
        return connection

    async def connect_beside(self) -> Connection:
        """Open a connection that is no part of the pool (yet); the caller closes it."""
        started_at = monotonic()
        self._counts.connects += 1
        try:
            return await self._connect()
        except Exception:
            self._counts.connect_errors += 1
            raise
        finally:
            self._counts.connect_seconds += monotonic() - started_at

    async def _connect_while_needed(self) -> Connection | None:
        while True:
            try:
                return await self.connect_beside()
            except Exception as error:
                # Whatever it was, it belongs to those who wait: a background task that raised would end the whole database.
                failure = error if isinstance(error, TrioormError) else ConnectFailed(f"opening a connection failed: {error!r}")
            self._last_failure = failure
            none_left = not self._idle and not self._leases
            if not failure.safe_to_retry or (self.settings.fail_fast and none_left):
                self._refuse_all(failure)
            if not failure.safe_to_retry or self._closed or not (self._line.count or self._size <= self.settings.min_size):
                return None
            await anyio.sleep(self._backoff.next_delay())

    def _refuse_all(self, error: TrioormError) -> None:
        while (waiter := self._line.first()) is not None:
            waiter.refuse(error)

    async def open_first(self) -> None:
        """Open one connection now, so that a wrong address or password is an error of the block that opens the pool.

        Raises:
            ConnectFailed, AuthenticationFailed: as `AnyIOConnection.connect`.

        Checkpoint: always.
        """
        self._connecting += 1
        try:
            member = await self._open_member()
        finally:
            self._connecting -= 1
        self._admit(member)
        self._open_what_is_needed()
