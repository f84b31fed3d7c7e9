"""The lock of psycopg's path: one task at a time talks on a connection, on any event loop, and no task waits for itself.

The contract: who comes first is served first. A task that asks for the lock that it holds itself (inside its own stream, COPY or
`notifies()`) is refused at once, where psycopg would wait for ever. The end of a block gets the lock also when its scope is cancelled,
within the cleanup budget, or the connection is closed. An iteration that was left by `break` or an error is closed by whoever comes next:
psycopg leaves that to the event loop, which does it some time later, and on Trio with a warning.

Not AnyIO's own lock: that may be released only by the task that took it, and psycopg's generators and blocks may be ended by another.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import AsyncGeneratorType, TracebackType
from typing import Any, Protocol, TypeVar, cast

import anyio
import trio
from attrs import define
from psycopg import OperationalError, ProgrammingError

from trioorm.errors import UsageError
from trioorm.wire.interrupt import Held, Shield, deliver_again
from trioorm.wire.running_loop import running_task

__all__ = ["ConnectionLock", "Ending", "Iteration"]

T = TypeVar("T")


@define(eq=False, repr=False)
class Ending:
    """How the running task ends one of psycopg's blocks.

    Attributes:
        seconds: how long the end may go on after a cancellation.
        under: the shield under which it runs from the start; None lets a cancellation be noticed, and only then bounds what is left.
        stops: a cancellation stops the statement that is waited for, instead of waiting for its end.
        stops_now: it was cancelled before, so that is done at once.
        held: what came meanwhile and comes only once.
    """

    seconds: float
    under: Shield | None = None
    stops: bool = False
    stops_now: bool = False
    held: Held = None


class ConnectionBusy(UsageError, ProgrammingError):
    """A task used a connection that it keeps busy itself."""


def _connection_busy() -> ConnectionBusy:
    return ConnectionBusy(
        "this connection is busy: this very task holds it, in the middle of a cursor's stream(), a copy() or notifies().\n"
        "It would wait for itself, for ever. To fix it, one of:\n"
        "  1. read with a server-side cursor, between whose batches other statements may run: connection.cursor(name=...)\n"
        "  2. finish or leave the block first; a generator that is left early must be closed: async with contextlib.aclosing(...)\n"
        "  3. use a second connection"
    )


class _Connection(Protocol):
    def ending(self) -> Ending | None: ...

    def finish(self) -> None: ...


class ConnectionLock:
    """The lock of one connection, used as `async with connection.lock`.

    Args:
        connection: it is asked whether the running task ends a block.
    """

    __slots__ = ("_connection", "_current_task", "_holder", "_line", "left")

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._current_task = running_task()
        self._holder: object = None
        self.left: list[AsyncGeneratorType[Any, None]] = []
        self._line = anyio.Semaphore(1, fast_acquire=True)

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> None:
        while self.left:
            await self.left.pop().aclose()
        task = self._current_task()
        if self._holder is task:
            raise _connection_busy()
        try:
            await self._line.acquire()
        except BaseException as interruption:
            if (ending := self._connection.ending()) is None:
                raise
            await self._acquire_for(ending, interruption)
        self._holder = task

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._holder = None
        self._line.release()

    def close_nowait(self) -> None:
        """Close the iterations that were left, now that the connection is closed and there is nothing to wait for."""
        while self.left:
            try:
                self.left.pop().aclose().send(None)
            except StopIteration:
                pass

    async def _acquire_for(self, ending: Ending, interruption: BaseException) -> None:
        """Get the lock for the end of a block, whatever is cancelled."""

        async def acquire() -> bool:
            await self._line.acquire()
            return True

        with Shield(ending.seconds) as shield:
            acquired = await shield.wait(acquire)
        if not acquired:
            self._connection.finish()
            raise OperationalError(
                "another task did not give the connection free in time for a block to be ended after a cancellation, so it was closed"
            )
        try:
            deliver_again(interruption, shield.held)
        except KeyboardInterrupt as pressed:
            # Raised here it would be the end of the block's end, and of the lock, which is taken.
            if ending.under is not None:
                ending.under.held = pressed
            else:
                ending.held = pressed


class Iteration(AsyncGenerator[T, None]):
    """An iteration that holds the lock of its connection and may be left early.

    Args:
        generator: does the work, and takes the lock with its first item.
        lock: is told when nobody holds the iteration any more.
    """

    @trio.lowlevel.enable_ki_protection  # or `__del__` would find it half made
    def __init__(self, generator: AsyncGenerator[T, None], lock: ConnectionLock) -> None:
        self._generator = cast("AsyncGeneratorType[T, None]", generator)
        self._lock = lock

    async def asend(self, value: None, /) -> T:
        return await self._generator.asend(value)

    async def athrow(self, kind: Any, value: Any = None, traceback: Any = None, /) -> T:  # noqa: ANN401 - as the base class has it
        return await self._generator.athrow(kind, value, traceback)

    async def aclose(self) -> None:
        """Stop it and free the connection."""
        await self._generator.aclose()

    def __del__(self) -> None:
        if self._generator.ag_frame is not None and self._generator.ag_await is None:
            self._lock.left.append(self._generator)
