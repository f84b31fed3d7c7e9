"""psycopg's own blocks with ends that no cancellation can cut short.

psycopg ends a transaction, a pipeline and a COPY by talking to the server without a shield: right for asyncio's cancel, which comes once,
and wrong for a cancelled scope, which raises at every wait on the way out. Here each end goes through `AnyIOConnection.end_block`.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Protocol, TypeVar, cast

from psycopg import AsyncCopy, AsyncCursor, AsyncPipeline, AsyncTransaction
from psycopg.abc import Params, Query
from psycopg.copy import AsyncWriter
from psycopg.rows import Row

T_co = TypeVar("T_co", covariant=True)

__all__ = ["Copy", "Cursor", "LeaveBlock", "Pipeline", "Transaction"]


class LeaveBlock(Protocol[T_co]):
    """The `__aexit__` of a block."""

    async def __call__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /) -> T_co: ...


class _Ends(Protocol):
    async def end_block(self, leave: LeaveBlock[Any], error: BaseException | None) -> Any: ...  # noqa: ANN401 - whatever `leave` returns


class Transaction(AsyncTransaction):
    """`connection.transaction()`."""

    __module__ = "trioorm.wire"

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        return bool(await cast("_Ends", self._conn).end_block(super().__aexit__, error))


class Pipeline(AsyncPipeline):
    """`connection.pipeline()`."""

    __module__ = "trioorm.wire"

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await cast("_Ends", self._conn).end_block(super().__aexit__, error)


class Copy(AsyncCopy):
    """`cursor.copy()`."""

    __module__ = "trioorm.wire"

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await cast("_Ends", self.connection).end_block(super().__aexit__, error)


class Cursor(AsyncCursor[Row]):
    """A client cursor; see psycopg's documentation."""

    __module__ = "trioorm.wire"

    @asynccontextmanager
    async def copy(self, statement: Query, params: Params | None = None, *, writer: AsyncWriter | None = None) -> AsyncGenerator[AsyncCopy]:
        """psycopg's `copy`."""
        async with self._conn.lock:
            await self._conn.wait(self._start_copy_gen(statement, params))
            async with Copy(self, writer=writer) as block:
                yield block
        self._select_current_result(0)

    async def stream(self, query: Query, params: Params | None = None, *, binary: bool | None = None, size: int = 1) -> AsyncIterator[Row]:
        """psycopg's `stream`."""
        rows = cast("AsyncGenerator[Row]", super().stream(query, params, binary=binary, size=size))

        async def leave(kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /) -> None:
            await rows.aclose()

        async with aclosing(rows):
            try:
                async for row in rows:
                    yield row
            except BaseException as error:
                await cast("_Ends", self._conn).end_block(leave, error)
                raise
