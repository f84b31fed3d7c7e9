"""psycopg's blocks and the commands that end something, on Trio, asyncio and uvloop: seen through, or stopped, whatever is cancelled.

The contract: once the end of a block has begun, a cancellation does not cut it short. COMMIT is waited for; a rollback and the closing of
a cursor are seen through within the cleanup budget; a pipeline, a COPY or a stream is stopped on the server. Past the bound the connection
is closed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TypeVar, cast

import trio
from anyio.lowlevel import checkpoint_if_cancelled
from psycopg import AsyncCursor, AsyncPipeline, AsyncServerCursor, AsyncTransaction, Notify, Xid
from psycopg.rows import Row

from trioorm.wire.blocks import LeaveBlock, Pipeline, Transaction, ending_whole
from trioorm.wire.flight import PlainAnswer
from trioorm.wire.interrupt import Shield, after_cleanup
from trioorm.wire.lock import ConnectionLock, Ending, Iteration
from trioorm.wire.ready_connection import ReadyConnection

__all__ = ["BlockConnection"]

T = TypeVar("T")

_COMMIT_SECONDS = 5.0


class BlockConnection(ReadyConnection[Row]):
    """A psycopg connection whose blocks end whole."""

    __slots__ = ()

    async def end_block(self, leave: LeaveBlock[T], error: BaseException | None, *, stops: bool = False) -> T:
        """End a transaction, a COPY or a stream so that a cancellation cannot cut its end short.

        Args:
            leave: psycopg's own `__aexit__`.
            error: what the body raised; then the end runs under a shield, within the cleanup budget. Without an error it is waited for, as
                a COMMIT must be; a cancellation that comes before it begins counts as the body's error.
            stops: a cancellation that comes during an end without an error stops it on the server.
        """
        if error is None:
            try:
                await checkpoint_if_cancelled()
            except BaseException as cancelled:
                await self._end_shielded(leave, cancelled)
                raise
            return await self._end_by(Ending(self.cleanup_timeout_seconds if stops else _COMMIT_SECONDS, stops=stops), leave, None)
        return await self._end_shielded(leave, error)

    async def _end_by(self, ending: Ending, leave: LeaveBlock[T], error: BaseException | None) -> T:
        with self._ending_by(ending):
            result = await leave(type(error) if error else None, error, error.__traceback__ if error else None)
        if (raised := after_cleanup(error, ending.held)) is not None and raised is not error:
            raise raised
        return result

    async def _end_shielded(self, leave: LeaveBlock[T], error: BaseException) -> T:
        with Shield(self.cleanup_timeout_seconds) as shield, self._ending_by(Ending(self.cleanup_timeout_seconds, under=shield)):
            result = await leave(type(error), error, error.__traceback__)
        if (raised := after_cleanup(error, shield.held)) is not None and raised is not error:
            raise raised
        return result

    async def finish_block(self, leave: LeaveBlock[T], *, seconds: float | None = None) -> T:
        """End something that is always seen through: a cancellation only bounds it, and is raised by the next checkpoint.

        Args:
            leave: what ends it.
            seconds: the bound; `cleanup_timeout_seconds` when None.
        """
        return await self._end_by(Ending(seconds or self.cleanup_timeout_seconds), leave, None)

    async def stop_block(self, leave: LeaveBlock[T], error: BaseException | None) -> T:
        """End a pipeline: wait for the answers that are to come, as psycopg does; a cancellation stops the statements on the server.

        Args:
            leave: psycopg's own `__aexit__`.
            error: what the body raised.
        """
        stops_now = error is not None and not isinstance(error, Exception)
        return await self._end_by(Ending(self.cleanup_timeout_seconds, stops=True, stops_now=stops_now), leave, error)

    @property
    def in_pipeline(self) -> bool:
        """Whether a pipeline block of psycopg's is open; flights leave libpq in pipeline mode without one."""
        return self._pipeline is not None

    async def abandon(self, error: BaseException | None) -> None:
        """Stop the rows of a stream or a COPY that is left before its end.

        Args:
            error: what it is left for; None for `break`.
        """
        held = await self.stop(partial(self.drain, PlainAnswer(self.pgconn, b"")))
        if (raised := after_cleanup(error, held)) is not None and raised is not error:
            raise raised

    @trio.lowlevel.enable_ki_protection
    async def commit(self) -> None:
        """Commit the transaction.

        Checkpoint: always, before COMMIT is sent. A cancellation that comes later lets it end normally, and the next checkpoint raises.
        """
        await self._see_through(super().commit)

    @trio.lowlevel.enable_ki_protection
    async def tpc_prepare(self) -> None:
        """Prepare a two-phase transaction; for cancellations as `commit`."""
        await self._see_through(super().tpc_prepare)

    @trio.lowlevel.enable_ki_protection
    async def tpc_commit(self, xid: Xid | str | None = None) -> None:
        """Commit a two-phase transaction; for cancellations as `commit`."""
        await self._see_through(partial(super().tpc_commit, xid))

    async def _see_through(self, command: Callable[[], Awaitable[None]]) -> None:
        await checkpoint_if_cancelled()
        await self.finish_block(_as_leave(command), seconds=_COMMIT_SECONDS)

    @trio.lowlevel.enable_ki_protection
    async def rollback(self) -> None:
        """Roll the transaction back, also when the scope is cancelled: then within the cleanup budget.

        Checkpoint: never, but the next one raises what came meanwhile.
        """
        await self.finish_block(_as_leave(super().rollback))

    @trio.lowlevel.enable_ki_protection
    async def tpc_rollback(self, xid: Xid | str | None = None) -> None:
        """Roll a two-phase transaction back; for cancellations as `rollback`."""
        await self.finish_block(_as_leave(partial(super().tpc_rollback, xid)))

    # psycopg's cursors, of whatever class.

    @property
    def cursor_factory(self) -> type[AsyncCursor[Row]]:
        """The class of new cursors. What is set becomes a subclass of itself whose blocks end whole when they are cancelled."""
        return self._cursor_factory

    @cursor_factory.setter
    def cursor_factory(self, factory: type[AsyncCursor[Row]]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - read and set like psycopg\'s
        self._cursor_factory = ending_whole(factory)

    @property
    def server_cursor_factory(self) -> type[AsyncServerCursor[Row]]:
        """The class of new named cursors; as `cursor_factory`."""
        return self._server_cursor_factory

    @server_cursor_factory.setter
    def server_cursor_factory(self, factory: type[AsyncServerCursor[Row]]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - read and set like psycopg\'s
        self._server_cursor_factory = cast("type[AsyncServerCursor[Row]]", ending_whole(factory))

    @asynccontextmanager
    @trio.lowlevel.enable_ki_protection
    async def transaction(self, savepoint_name: str | None = None, force_rollback: bool = False) -> AsyncGenerator[AsyncTransaction]:
        """psycopg's transaction block, whose end no cancellation can cut short. See psycopg's documentation."""
        block = Transaction(self, savepoint_name, force_rollback)
        if (pipeline := self._pipeline) is None:
            async with block:
                yield block
            return
        await pipeline.__aenter__()
        try:
            async with block, self.pipeline():
                yield block
        except BaseException as error:
            await pipeline.__aexit__(type(error), error, error.__traceback__)
            raise
        # The COMMIT is only queued by now; its answer comes with the end of this pipeline.
        await self.finish_block(partial(AsyncPipeline.__aexit__, pipeline), seconds=_COMMIT_SECONDS)

    def notifies(self, *, timeout: float | None = None, stop_after: int | None = None) -> AsyncGenerator[Notify]:
        """psycopg's `notifies`."""
        return Iteration(super().notifies(timeout=timeout, stop_after=stop_after), cast("ConnectionLock", self.lock))

    @asynccontextmanager
    @trio.lowlevel.enable_ki_protection
    async def pipeline(self) -> AsyncGenerator[AsyncPipeline]:
        """psycopg's pipeline block, whose end no cancellation can cut short. See psycopg's documentation."""
        async with self.lock:
            self._check_connection_ok()
            self.leave_pipeline()
            if (block := self._pipeline) is None:
                block = self._pipeline = Pipeline(self)
        try:
            async with block:
                yield block
        finally:
            if block.level == 0:
                self._pipeline = None

    @asynccontextmanager
    @trio.lowlevel.enable_ki_protection
    async def _pipeline_nolock(self) -> AsyncGenerator[AsyncPipeline]:
        """The pipeline of `executemany`, which holds the lock."""
        self._pipeline = block = Pipeline(self, _no_lock=True)
        try:
            async with block:
                yield block
        finally:
            self._pipeline = None


def _as_leave(command: Callable[[], Awaitable[T]]) -> LeaveBlock[T]:
    async def leave(kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /) -> T:
        return await command()

    return leave
