"""Waiting until a connection's socket can be read or written, natively on Trio and on asyncio.

The contract: one task at a time waits for one connection; a wait that is cancelled leaves nothing registered that could fire for somebody
else; `close()` must be called before the socket is closed. Waiting is the only thing done here: nothing is sent, and bytes are taken from
the socket only by libpq.

On Trio every wait arms epoll once (`trio.lowlevel.wait_readable`). On asyncio one reader stays registered for the connection's life, since
registering it anew for each wait costs more than the query; when bytes come while nobody waits (a paused stream, a closing server), the
reader takes itself out until the next wait, or it would be called again and again.

Source: psycopg's `waiting` module (https://github.com/psycopg/psycopg), whose `Wait` and `Ready` are used here.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import Protocol

import anyio
import trio
from psycopg import OperationalError, pq
from psycopg.pq.abc import PGconn
from psycopg.waiting import Ready, Wait

from trioorm.wire.running_loop import is_on_trio

__all__ = ["Readiness", "Ready", "Wait", "poller_for", "readiness_for"]

_BAD = pq.ConnStatus.BAD
_wait_readable = trio.lowlevel.wait_readable


class _Listen(Protocol):
    def __call__(self) -> Awaitable[None]: ...


class _Heard(Protocol):
    def __call__(self) -> None: ...


class Readiness(Protocol):
    """What both event loops offer to a connection."""

    async def wait(self, want: Wait) -> Ready:
        """Wait until the socket is ready in one of the wanted ways, and say in which.

        Checkpoint: always for reading; only if it waits for writing.
        """
        ...

    async def wait_for_result(self) -> bool:
        """Wait until more has come from the server and hand it to libpq.

        Returns:
            True, always: more has come, though perhaps not yet a whole result.

        Raises:
            psycopg.OperationalError: the connection broke.

        Checkpoint: always.
        """
        ...

    @property
    def listen(self) -> _Listen:
        """The same in parts, without a coroutine of ours around the wait, which every statement would pay for.

            await readiness.listen()
            readiness.heard()

        Whatever is raised by the wait goes to `unheard`.

        Raises:
            psycopg.OperationalError: the connection is closed.

        Checkpoint: what is returned, as `wait_for_result`.
        """
        ...

    @property
    def heard(self) -> _Heard:
        """Hand to libpq what has come.

        Raises:
            psycopg.OperationalError: the connection broke.
        """
        ...

    def unheard(self, error: BaseException) -> BaseException:
        """End a wait that was broken off, if there was one, and say what its error means. A second time it does nothing."""
        ...

    def share(self) -> None:
        """Leave the socket to others between waits: somebody has asked for its number, and may watch it on the event loop."""
        ...

    def close(self) -> None:
        """Forget the socket. To be called before libpq closes it."""
        ...


def readiness_for(pgconn: PGconn) -> Readiness:
    """The readiness of the running event loop for one connection."""
    if is_on_trio():
        return TrioReadiness(pgconn)
    return AsyncioReadiness(pgconn)


def poller_for(fileno: int, want: Wait) -> select.poll:
    """What tells whether a socket is ready in one of these ways."""
    poller = select.poll()
    poller.register(fileno, (select.POLLIN if want & Wait.R else 0) | (select.POLLOUT if want & Wait.W else 0))
    return poller


def _ready_now(fileno: int, want: Wait) -> Ready:
    """In which of the wanted ways the socket is ready at this moment (NONE: in none)."""
    ready = 0
    for _, events in poller_for(fileno, want).poll(0):
        if events & ~select.POLLOUT:  # hang-ups and errors are learnt by reading
            ready |= Ready.R
        if events & select.POLLOUT:
            ready |= Ready.W
    return Ready(ready)


def _closed() -> OperationalError:
    return OperationalError("the connection was closed while a task waited for its answer")


class TrioReadiness:
    """Readiness on Trio, straight on its low level.

    What is called for each statement stands on the object as it is called, without a function of ours in between.
    """

    __slots__ = ("_closed", "_fileno", "_pgconn", "_waits", "heard", "listen")

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._fileno = pgconn.socket
        self._waits = 0
        self._closed = False
        self.listen: _Listen = partial(_wait_readable, self._fileno)
        self.heard: _Heard = pgconn.consume_input

    async def wait(self, want: Wait) -> Ready:
        if want == Wait.R:
            await self._wait_one(_wait_readable)
            return Ready.R
        # A socket is nearly always writable, and asking costs less than going round the loop.
        if ready := _ready_now(self._fileno, want):
            return ready
        if want == Wait.W:
            await self._wait_one(trio.lowlevel.wait_writable)
            return Ready.W
        closed: list[OperationalError] = []

        async def first_of(wait: _TrioWait) -> None:
            try:
                await self._wait_one(wait)
            except OperationalError as error:
                closed.append(error)
            nursery.cancel_scope.cancel()

        # AnyIO's, because it lets a cancellation go on bare.
        async with anyio.create_task_group() as nursery:
            for wait in (_wait_readable, trio.lowlevel.wait_writable):
                nursery.start_soon(first_of, wait)
        if closed:
            raise closed[0]
        return _ready_now(self._fileno, want)

    async def _wait_one(self, wait: _TrioWait) -> None:
        if self._closed:  # by another task, before this wait began; the number may be another socket's by now
            raise _closed()
        self._waits += 1
        try:
            await wait(self._fileno)
        except trio.ClosedResourceError:
            raise _closed() from None
        finally:
            self._waits -= 1

    async def wait_for_result(self) -> bool:
        await self._wait_one(_wait_readable)
        self._pgconn.consume_input()
        return True

    def unheard(self, error: BaseException) -> BaseException:
        return _closed() if isinstance(error, trio.ClosedResourceError) else error

    def share(self) -> None:
        pass  # nothing of ours is registered between waits

    def close(self) -> None:
        self._closed = True
        self.listen = _refuse
        # libpq closes a broken socket by itself, and numbers are used again: then it is surely ours only while a task waits.
        if self._waits or self._pgconn.status != _BAD:
            with suppress(RuntimeError):  # outside of the loop, where nobody waits
                trio.lowlevel.notify_closing(self._fileno)


def _refuse() -> Awaitable[None]:
    raise _closed()


class _TrioWait(Protocol):
    async def __call__(self, sock: int, /) -> None: ...


class AsyncioReadiness:
    """Readiness on asyncio and uvloop, with one reader for the connection's life."""

    __slots__ = (
        *("_broken", "_closed", "_fileno", "_loop", "_pgconn", "_reading", "_shared", "_taken", "_waiter", "_wants_result", "_writing"),
    )

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._fileno = pgconn.socket
        self._loop = asyncio.get_running_loop()
        self._reading = False
        self._shared = False
        self._wants_result = False
        self._taken = False
        self._broken = False
        self._closed = False
        self._writing = False
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self, want: Wait) -> Ready:
        if want == Wait.R:
            await self._wait_readable()
            return Ready.R
        if self._closed:
            raise _closed()
        if ready := _ready_now(self._fileno, want):
            return ready
        self._loop.add_writer(self._fileno, self._wake)
        self._writing = True
        try:
            if want == Wait.W:
                await self._wait_woken()
            else:
                await self._wait_readable()
        finally:
            self._stop_writing()
        return _ready_now(self._fileno, want)

    async def wait_for_result(self) -> bool:
        try:
            await self.listen()
        except BaseException as error:
            self.unheard(error)
            raise
        self.heard()
        return True

    def listen(self) -> Awaitable[None]:
        self._waiter = waiter = self._loop.create_future()
        if self._taken or self._broken:
            waiter.set_result(None)
            return waiter
        self._wants_result = True
        if not self._reading:
            self._start_reading()
        return waiter

    def heard(self) -> None:
        self._end_listening()
        # Looked at only now, and kept till then: a cancel that comes in the same turn of the loop as the answer must not make the next wait
        # miss it. And what the reader has taken is not asked for again: that could only tell of the end, before the answer is looked at.
        if self._taken:
            self._taken = False
            return
        try:
            self._pgconn.consume_input()
        except OperationalError:
            self._stop_reading()
            raise

    def unheard(self, error: BaseException) -> BaseException:
        self._end_listening()
        return error

    def _end_listening(self) -> None:
        self._wants_result = False
        self._waiter = None
        if self._shared:  # a loop has one reader for a socket, and that of the others has taken the place of ours, or is about to
            self._stop_reading()

    def share(self) -> None:
        self._shared = True
        if self._waiter is None:
            self._stop_reading()

    def close(self) -> None:
        self._closed = True
        self._taken = False  # libpq forgets it, so a task that was about to look must be told
        self._stop_reading()
        self._stop_writing()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(_closed())

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fileno)

    def _start_reading(self) -> None:
        if self._closed:  # as on Trio: the number may be another socket's by now, and that would lose its own reader
            raise _closed()
        self._loop.add_reader(self._fileno, self._on_readable)
        self._reading = True

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fileno)

    async def _wait_readable(self) -> None:
        if not self._reading:
            self._start_reading()
        try:
            await self._wait_woken()
        finally:
            self._end_listening()

    async def _wait_woken(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _on_readable(self) -> None:
        if self._waiter is None:
            self._stop_reading()
            return
        if self._wants_result:
            # Take what came right here, and wake the task only when a whole result is in: a large one comes in many pieces.
            try:
                self._pgconn.consume_input()
            except OperationalError:
                # libpq has closed the socket; the task finds the same error when it reads, and raises it in its own frame.
                self._stop_reading()
                self._broken = True
            else:
                if self._pgconn.is_busy():
                    return
                self._taken = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
