"""`db.stream(...)`: a block over the rows of one statement, hydrated batch by batch."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Generic, TypeVar, cast

import trio

from trioorm.database.plan import Plan
from trioorm.errors import UsageError
from trioorm.transaction import Hold, Runner
from trioorm.wire import RowStream, Step, after_cleanup

R = TypeVar("R")


class Rows(Generic[R]):
    """The rows of a stream, to be iterated over once, inside its block."""

    __slots__ = ("_batch", "_plan", "_stream")

    def __init__(self, stream: RowStream, plan: Plan) -> None:
        self._stream = stream
        self._plan = plan
        self._batch: list[R] = []  # reversed, so that the next row is popped from the end

    def __aiter__(self) -> AsyncIterator[R]:
        return self

    async def __anext__(self) -> R:
        """The next row.

        Raises:
            DatabaseError, ConnectionLost: as `Verbs.fetch_all`, possibly after rows.

        Checkpoint: only if a new batch must come.
        """
        while not self._batch:
            chunk = await self._stream.next_chunk()
            if chunk is None:
                raise StopAsyncIteration
            self._batch = cast("list[R]", self._plan.rows(chunk))
            self._batch.reverse()
        return self._batch.pop()


class RowsBlock(Generic[R]):
    """What `Verbs.stream` returns: an async context manager that gives `Rows`."""

    __slots__ = ("_batch_rows", "_hold", "_plan", "_runner", "_step", "_stream")

    def __init__(self, runner: Runner, plan: Plan, step: Step, *, batch_rows: int) -> None:
        if batch_rows < 1:
            raise UsageError(f"batch_rows must be at least 1, not {batch_rows}.\nTo fix it: leave it out, or use some hundreds.")
        self._runner = runner
        self._plan = plan
        self._step = step
        self._batch_rows = batch_rows
        self._hold: Hold | None = None
        self._stream: RowStream | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Rows[R]:
        hold = self._runner.hold("a stream", guarded=True)
        connection = await hold.__aenter__()
        self._hold = hold
        self._stream = RowStream(connection, self._step, chunk_rows=self._batch_rows)
        return Rows(self._stream, self._plan)

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        assert self._hold is not None and self._stream is not None, "the block was entered"  # noqa: PT018 - one thing: it was entered
        held = await self._stream.close()
        await self._hold.__aexit__(kind, error, traceback)
        if (raised := after_cleanup(error, held)) is not None and raised is not error:
            raise raised
