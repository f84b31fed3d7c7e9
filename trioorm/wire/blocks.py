"""psycopg's own blocks with ends that no cancellation can cut short.

psycopg ends a transaction, a pipeline and a COPY by talking to the server without a shield: right for asyncio's cancel, which comes once,
and wrong for a cancelled scope, which raises at every wait on the way out. Here each end goes through the connection, which knows how to
see it through within a bound: `end_block` (a transaction, a COPY, a stream), `stop_block` (a pipeline), `finish_block` (a named cursor).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from functools import cache
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast

import trio
from psycopg import AsyncCopy, AsyncCursor, AsyncPipeline, AsyncServerCursor, AsyncTransaction, ProgrammingError, pq
from psycopg._queries import PostgresQuery
from psycopg.abc import Buffer, Params, PQGen, Query
from psycopg.copy import AsyncLibpqWriter, AsyncQueuedLibpqWriter, AsyncWriter
from psycopg.pq.abc import PGresult
from psycopg.rows import Row

from trioorm.wire.lock import ConnectionLock, Iteration

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

__all__ = ["Copy", "Cursor", "LeaveBlock", "Pipeline", "ServerCursor", "Transaction", "ending_whole"]

_OK = pq.ConnStatus.OK
_ACTIVE = pq.TransactionStatus.ACTIVE
_COPY_OUT = pq.ExecStatus.COPY_OUT


class LeaveBlock(Protocol[T_co]):
    """The `__aexit__` of a block."""

    async def __call__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /) -> T_co: ...


class _Ends(Protocol):
    """What an `AnyIOConnection` does at the end of a block; see there."""

    async def end_block(self, leave: LeaveBlock[T], error: BaseException | None, *, stops: bool = False) -> T: ...

    async def finish_block(self, leave: LeaveBlock[T], *, seconds: float | None = None) -> T: ...

    @property
    def in_pipeline(self) -> bool: ...

    async def abandon(self, error: BaseException | None) -> None: ...

    async def stop_block(self, leave: LeaveBlock[T], error: BaseException | None) -> T: ...

    def check_text(self, text: bytes) -> None: ...

    def drop_psycopgs_names(self) -> None: ...

    def note_results(self, results: list[PGresult]) -> None: ...


class Transaction(AsyncTransaction):
    """`connection.transaction()`."""

    __module__ = "trioorm.wire"

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        connection = self._conn
        async with connection.lock:
            self._check_enter()
            try:
                await connection.wait(self._enter_gen())
            except BaseException as error:
                if self.status == self.Status.NOT_STARTED:
                    raise  # cancelled before anything was sent
                if self.pgconn.status != _OK:
                    self.status = self.Status.FAILED
                    raise

                async def undo(kind: type[BaseException] | None, cause: BaseException | None, traceback: TracebackType | None, /) -> bool:
                    return await connection.wait(self._exit_gen(kind, cause, traceback))

                await cast("_Ends", connection).end_block(undo, error)
                raise
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        return bool(await cast("_Ends", self._conn).end_block(super().__aexit__, error))


class Pipeline(AsyncPipeline):
    """`connection.pipeline()`."""

    __module__ = "trioorm.wire"

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        level = self.level
        try:
            return await super().__aenter__()
        except BaseException:
            self.level = level  # draining the sync of a nested block goes on into psycopg's own count
            raise

    def _enter_gen(self) -> PQGen[None]:
        is_outermost = self.level == 0
        yield from super()._enter_gen()
        if is_outermost:
            # Behind a stream, libpq would give the rows of the first query in parts too, which psycopg refuses, and a sync before it makes
            # libpq forget that. It is sent with what comes next.
            self._enqueue_sync()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        is_broken_off = error is not None
        try:
            await cast("_Ends", self._conn).stop_block(super().__aexit__, error)
        except BaseException:
            is_broken_off = True
            raise
        finally:
            if is_broken_off:
                cast("_Ends", self._conn).drop_psycopgs_names()


class Copy(AsyncCopy):
    """`cursor.copy()`."""

    __module__ = "trioorm.wire"

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is not None and self._pgconn.transaction_status != _ACTIVE:
            return  # a cancellation has stopped it
        if error is None and self._direction == _COPY_OUT and self._pgconn.transaction_status == _ACTIVE:
            # Left by `break`, where psycopg leaves the rows in the way of all that follows.
            await cast("_Ends", self.connection).abandon(None)
            return
        await cast("_Ends", self.connection).end_block(super().__aexit__, error, stops=True)

    # No generators: Trio warns of those that are left early.

    def __aiter__(self) -> AsyncIterator[Buffer]:
        return _Reading(self.read, b"")

    def rows(self) -> AsyncIterator[tuple[Any, ...]]:
        """psycopg's `rows`."""
        return _Reading(self.read_row, None)


class _Reading(AsyncIterator[T]):
    """What a function reads, until it gives the end."""

    def __init__(self, read: Callable[[], Awaitable[T | None]], end: object) -> None:
        self._read = read
        self._end = end

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> T:
        item = await self._read()
        if item is None or item == self._end:
            raise StopAsyncIteration
        return item


class Cursor(AsyncCursor[Row]):
    """A client cursor; see psycopg's documentation."""

    __module__ = "trioorm.wire"
    __slots__ = ()

    def _execute_send(self, query: PostgresQuery, *, force_extended: bool = False, binary: bool | None = None) -> None:
        cast("_Ends", self._conn).check_text(query.query)  # where nothing is prepared, all goes this way
        super()._execute_send(query, force_extended=force_extended, binary=binary)

    def _check_results(self, results: list[PGresult]) -> None:
        super()._check_results(results)
        cast("_Ends", self._conn).note_results(results)

    @asynccontextmanager
    @trio.lowlevel.enable_ki_protection
    async def copy(self, statement: Query, params: Params | None = None, *, writer: AsyncWriter | None = None) -> AsyncGenerator[AsyncCopy]:
        """psycopg's `copy`. A writer that queues what it is given for a task of its own writes itself here, since nobody owns that task."""
        if isinstance(writer, AsyncQueuedLibpqWriter):
            writer = AsyncLibpqWriter(writer.cursor, flush_threshold=writer.flush_threshold)
        async with self._conn.lock:
            await self._conn.wait(self._start_copy_gen(statement, params))
            async with Copy(self, writer=writer) as block:
                yield block
        self._select_current_result(0)

    def stream(self, query: Query, params: Params | None = None, *, binary: bool | None = None, size: int = 1) -> AsyncIterator[Row]:
        """psycopg's `stream`."""
        return Iteration(self._stream(query, params, binary=binary, size=size), cast("ConnectionLock", self._conn.lock))

    @trio.lowlevel.enable_ki_protection
    async def _stream(self, query: Query, params: Params | None, *, binary: bool | None, size: int) -> AsyncGenerator[Row]:
        connection, pgconn = self._conn, self._conn.pgconn
        if cast("_Ends", connection).in_pipeline:
            raise ProgrammingError("stream() cannot be used in pipeline mode")
        async with connection.lock:
            try:
                await connection.wait(self._stream_send_gen(query, params, binary=binary, size=size))
                first = True
                while result := await connection.wait(self._stream_fetchone_gen(first)):
                    for position in range(result.ntuples):
                        yield self._tx.load_row(position, self._make_row)
                    first = False
            except BaseException as error:
                if pgconn.transaction_status == _ACTIVE:
                    await cast("_Ends", connection).abandon(error)
                raise


class ServerCursor(Cursor[Row], AsyncServerCursor[Row]):
    """A named cursor on the server; see psycopg's documentation."""

    __module__ = "trioorm.wire"
    __slots__ = ()

    @trio.lowlevel.enable_ki_protection
    async def close(self) -> None:
        """Close the cursor on the server, also when the scope is cancelled: then within the cleanup budget."""

        await cast("_Ends", self._conn).finish_block(self._leave)

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is None:
            await self.close()
        else:
            await cast("_Ends", self._conn).end_block(self._leave, error)

    @trio.lowlevel.enable_ki_protection
    async def _leave(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /) -> None:
        await super().close()


def ending_whole(factory: type[AsyncCursor[Row]]) -> type[AsyncCursor[Row]]:
    """A cursor class whose blocks end whole when they are cancelled: the given one, or a subclass of it.

    Args:
        factory: any cursor class of psycopg's, or of the caller's own; another callable is returned as it is.
    """
    return _subclass(cast("Hashable", factory)) if isinstance(cast("object", factory), type) else factory


@cache
def _subclass(factory: type[AsyncCursor[Any]]) -> type[AsyncCursor[Any]]:
    if issubclass(factory, Cursor):
        return factory
    ends = ServerCursor if issubclass(factory, AsyncServerCursor) else Cursor
    return cast("type[AsyncCursor[Any]]", type(factory.__name__, (ends, factory), {"__slots__": (), "__module__": factory.__module__}))
