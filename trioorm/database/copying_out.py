"""`db.copy_out(..., format=...)`: the rows of a query as a file of the server's making, block by block.

COPY takes no bind values, and values never become text here. A query that has some is run by CREATE TABLE AS, which takes them, into a
temporary table, and that is copied; its rows do not pass through this process before. The table lives no longer than the block.

Source: https://www.postgresql.org/docs/current/sql-copy.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import count
from types import TracebackType
from typing import Any, Literal, TypeAlias

import trio
from attrs import evolve
from psycopg import pq
from psycopg.pq import Format
from psycopg.pq.abc import PGresult

from trioorm.expression import quote_identifier
from trioorm.transaction import Runner, failure_among
from trioorm.wire import AnyIOConnection, CopyOut, OnCancel, Statement, Step, after_cleanup, command

__all__ = ["CopyBlock", "CopyFormat", "CopyStream"]

CopyFormat: TypeAlias = Literal["csv", "text", "binary"]
"""How the server writes rows: as comma-separated values, tab-separated in PostgreSQL's own escapes, or in its binary format."""

_numbers = count(1)

_IN_TRANSACTION = pq.TransactionStatus.INTRANS


class CopyStream:
    """The bytes of a COPY, to be iterated over once, inside its block."""

    __slots__ = ("_copy",)

    def __init__(self, copy: CopyOut) -> None:
        self._copy = copy

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next block: some 64 KiB of whole rows.

        Raises:
            DatabaseError, ConnectionLost: as `Verbs.fetch_all`, possibly after rows.

        Checkpoint: always.
        """
        block = await self._copy.next_block()
        if block is None:
            raise StopAsyncIteration
        return block


class CopyBlock:
    """What `copy_out(..., format=...)` returns: an async context manager that gives a `CopyStream`.

    Args:
        runner: what runs it; a transaction where the query has bind values, unless `own` makes one.
        query: with its values.
        options: of COPY, in parentheses.
        own: makes the transaction for a query with bind values where there is none.
    """

    _connection: AnyIOConnection[Any]
    _copy: CopyOut
    _stack: AsyncExitStack

    __slots__ = ("_connection", "_copy", "_options", "_own", "_query", "_runner", "_stack", "_staging")

    def __init__(self, runner: Runner, query: Step, options: str, *, own: Callable[[], AbstractAsyncContextManager[Runner]] | None) -> None:
        self._runner = runner
        self._query = query
        self._options = options
        self._own = own
        self._staging = ""

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> CopyStream:
        async with AsyncExitStack() as stack:
            runner = self._runner if self._own is None else await stack.enter_async_context(self._own())
            self._connection = await stack.enter_async_context(runner.hold("a COPY", runs=self._query.statement))
            query = self._query.statement.text.decode() if not self._query.values else await self._stage()
            self._copy = CopyOut(self._connection, f"COPY ({query}\n) TO STDOUT ({self._options})".encode())
            stack.push_async_exit(self._leave)
            self._stack = stack.pop_all()
        return CopyStream(self._copy)

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    async def _stage(self) -> str:
        """Put the rows into a temporary table; the query that gives them back."""
        # What the columns are called, since two of a query may have one name, and those of a table may not.
        text, types = self._query.statement.text, self._query.statement.parameter_types
        shown = await self._run(Statement(b"SELECT * FROM (%s\n) AS rows LIMIT 0" % text, types, Format.TEXT, name=b""))
        columns = [f"column_{number}" for number in range(shown.nfields)]
        self._staging = f"pg_temp.{quote_identifier(f'trioorm_copied_{next(_numbers)}')}"
        make = f"CREATE TEMPORARY TABLE {self._staging} ({', '.join(columns)}) ON COMMIT DROP AS ".encode()
        await self._run(Statement(make + text, types, Format.TEXT, name=b""))
        names = [quote_identifier((shown.fname(number) or b"").decode()) for number in range(shown.nfields)]
        items = ", ".join(f"{column} AS {name}" for column, name in zip(columns, names, strict=True))
        return f"SELECT {items} FROM {self._staging}"

    async def _run(self, statement: Statement) -> PGresult:
        step = evolve(self._query, statement=statement)
        results = await self._connection.fly([step])
        if (failure := failure_among([step], results)) is not None:
            raise failure
        return results[0]

    async def _leave(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Stop the COPY if it still runs, and drop the temporary table, unless an own transaction or a savepoint does that."""
        connection = self._connection
        held = await self._copy.close()
        if self._staging and self._own is None and connection.pgconn.transaction_status == _IN_TRANSACTION:
            drop = [command(f"DROP TABLE {self._staging}".encode())]
            if error is None:
                await connection.fly(drop, on_cancel=OnCancel.FINISH)
            else:
                _, also_held = await connection.fly_shielded(drop, seconds=connection.cleanup_timeout_seconds)
                held = held or also_held
        if (raised := after_cleanup(error, held)) is not None and raised is not error:
            raise raised
