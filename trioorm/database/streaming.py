"""`db.stream(...)`: a block over the rows of one statement, hydrated batch by batch.

In a transaction a stream holds the turn. `cursor=True` reads through a cursor of the server's instead: each batch is a turn of its own, and
other statements run in between.

Source: https://www.postgresql.org/docs/current/sql-declare.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeAlias, TypeVar, cast

import trio
from psycopg.pq.abc import PGresult

from trioorm.database.plan import Plan
from trioorm.errors import TrioormError, UsageError
from trioorm.transaction import Hold, Runner
from trioorm.wire import RowStream, Statement, Step, after_cleanup, command

R = TypeVar("R")
LoadRows: TypeAlias = Callable[[list[Any]], Awaitable[None]]
"""Loads relations onto the objects in a batch of rows."""

_numbers = count(1)


class Rows(Generic[R]):
    """The rows of a stream, to be iterated over once, inside its block."""

    __slots__ = ("_batch", "_load", "_next_chunk", "_plan")

    def __init__(self, next_chunk: Callable[[], Awaitable[PGresult | None]], plan: Plan, load: LoadRows | None) -> None:
        self._next_chunk = next_chunk
        self._plan = plan
        self._load = load
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
            chunk = await self._next_chunk()
            if chunk is None:
                raise StopAsyncIteration
            batch = cast("list[R]", self._plan.rows(chunk))
            if self._load is not None:
                await self._load(batch)
            batch.reverse()
            self._batch = batch
        return self._batch.pop()


class RowsBlock(Generic[R]):
    """What `Verbs.stream` returns: an async context manager that gives `Rows`."""

    __slots__ = ("_batch_rows", "_hold", "_load", "_plan", "_runner", "_step", "_stream")

    def __init__(self, runner: Runner, plan: Plan, step: Step, *, batch_rows: int, load: LoadRows | None = None) -> None:
        if batch_rows < 1:
            raise UsageError(f"batch_rows must be at least 1, not {batch_rows}.\nTo fix it: leave it out, or use some hundreds.")
        self._runner = runner
        self._plan = plan
        self._step = step
        self._batch_rows = batch_rows
        self._load = load
        self._hold: Hold | None = None
        self._stream: RowStream | None = None

    if not TYPE_CHECKING:  # to type checkers it is not there

        def __aiter__(self) -> NoReturn:
            raise UsageError(
                "a stream is a block, which stops the statement when it is left, and gives its rows inside.\n"
                "To fix it:\n  wrong: async for row in db.stream(...):\n"
                "  right: async with db.stream(...) as rows:\n             async for row in rows:"
            )

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Rows[R]:
        hold = self._runner.hold("a stream", runs=self._step.statement)
        connection = await hold.__aenter__()
        self._hold = hold
        self._stream = RowStream(connection, self._step, chunk_rows=self._batch_rows)
        return Rows(self._stream.next_chunk, self._plan, self._load)

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        assert self._hold is not None and self._stream is not None, "the block was entered"  # noqa: PT018 - one thing: it was entered
        held = await self._stream.close()
        await self._hold.__aexit__(kind, error, traceback)
        if (raised := after_cleanup(error, held)) is not None and raised is not error:
            raise raised


class CursorBlock(RowsBlock[R]):
    """The same through a cursor on the server, inside a transaction."""

    __slots__ = ("_chunk", "_ended", "_name", "_statement")

    def __init__(self, runner: Runner, plan: Plan, step: Step, *, batch_rows: int, load: LoadRows | None = None) -> None:
        super().__init__(runner, plan, step, batch_rows=batch_rows, load=load)
        if not runner.in_transaction:
            raise UsageError(
                "a cursor of the server lives in a transaction, and there is none here.\n"
                "To fix it: leave cursor=True out, since outside of a transaction a stream has a connection of its own; "
                "or `async with db.transaction() as tx: tx.stream(..., cursor=True)`."
            )
        self._name = b'"trioorm_cursor_%d"' % next(_numbers)
        self._statement = Statement(b"FETCH FORWARD %d FROM %s" % (batch_rows, self._name), (), step.statement.result_format, name=b"")
        self._chunk: PGresult | None = None
        self._ended = False

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Rows[R]:
        statement = self._step.statement
        text = b"DECLARE %s NO SCROLL CURSOR FOR %s" % (self._name, statement.text)
        declare = Step(Statement(text, statement.parameter_types, name=b""), self._step.values, self._step.formats)
        _, self._chunk = await self._runner.run([declare, Step(self._statement)], is_write=False)
        return Rows(self._next_chunk, self._plan, self._load)

    async def _next_chunk(self) -> PGresult | None:
        """The next batch; the first came with the declaration, and one that is not full is the last."""
        chunk, self._chunk = self._chunk, None
        if chunk is None:
            if self._ended:
                return None
            (chunk,) = await self._runner.run([Step(self._statement)], is_write=False)
        self._ended = chunk.ntuples < self._batch_rows
        return chunk

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is not None and not isinstance(error, Exception):
            return  # cancelled: the cursor ends with the transaction
        try:
            await self._runner.run([command(b"CLOSE " + self._name)], is_write=False)
        except TrioormError:
            if error is None:
                raise
