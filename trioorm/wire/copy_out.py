"""COPY TO STDOUT: the rows of a query as the server writes them, in blocks of bytes, with memory that does not grow with their number.

The contract: as that of a `RowStream`. A copy holds its connection from the first `next_block` to `close`; between blocks nothing is read,
so a slow consumer stops the server. `close` may come at any time and leaves the connection free, or closed when the server does not stop
in time.

Source: https://www.postgresql.org/docs/current/libpq-copy.html
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint
from psycopg import OperationalError, pq

from trioorm.errors import DatabaseError
from trioorm.wire.connection import AnyIOConnection
from trioorm.wire.flight import PlainAnswer
from trioorm.wire.interrupt import Held
from trioorm.wire.server_errors import connection_lost, error_from_result, is_farewell

if TYPE_CHECKING:
    from psycopg.abc import Buffer

BLOCK_BYTES = 65_536
"""A block ends with the first row that reaches this."""

_FATAL_ERROR = pq.ExecStatus.FATAL_ERROR
_COPY_OUT = pq.ExecStatus.COPY_OUT


class CopyOut:
    """One COPY out of the server.

    Args:
        connection: idle, or in a transaction, and used by nobody else until `close`.
        text: the COPY statement.
    """

    __slots__ = ("_answer", "_connection", "_is_copying", "_size", "_taken", "_text")

    def __init__(self, connection: AnyIOConnection[Any], text: bytes) -> None:
        self._connection = connection
        self._text = text
        self._answer: PlainAnswer | None = None
        self._is_copying = False
        # What has come of the next block: kept here, so that a cancelled `next_block` loses nothing.
        self._taken: list[Buffer] = []
        self._size = 0

    async def next_block(self) -> bytes | None:
        """The next rows, each whole, or None at the end. The first call sends the statement.

        Raises:
            DatabaseError: the server reported an error, which may come after rows.
            ConnectionLost: the connection broke. Safe to retry, if the rows so far may come again.

        Checkpoint: always.
        """
        await checkpoint()
        connection = self._connection
        try:
            if self._answer is None:
                self._answer = self._start()
            while connection.pgconn.flush():
                await connection.wait_for_socket()
            await self._take(self._answer)
        except OperationalError as error:
            connection.close_nowait()
            raise connection_lost(str(error), safe_to_retry=True) from error
        block = b"".join(self._taken)
        self._taken.clear()
        self._size = 0
        return block or None

    def _start(self) -> PlainAnswer:
        """Queue the statement; by the extended protocol, which takes one statement and no more."""
        self._connection.leave_pipeline()
        pgconn = self._connection.pgconn
        pgconn.send_query_params(self._text, None)
        return PlainAnswer(pgconn, self._text)

    async def _take(self, answer: PlainAnswer) -> None:
        """Read until a block is full, or to the end of the answer."""
        connection, pgconn = self._connection, self._connection.pgconn
        while self._size < BLOCK_BYTES and not answer.complete:
            if self._is_copying:
                size, row = pgconn.get_copy_data(1)
                if size > 0:
                    self._taken.append(row)
                    self._size += size
                elif size == 0:
                    await connection.wait_for_input()
                else:
                    self._is_copying = False
                continue
            while pgconn.is_busy():
                await connection.wait_for_input()
            result = pgconn.get_result()
            if result is None:
                answer.complete = True
            elif result.status == _COPY_OUT:
                self._is_copying = True
            elif result.status == _FATAL_ERROR:
                answer.outcomes.append(result)
                error = error_from_result(result, statement=self._text.decode())
                if is_farewell(result):
                    connection.close_nowait()
                    raise connection_lost(error.message_primary, safe_to_retry=True)
                raise error
            elif result.status != pq.ExecStatus.COMMAND_OK:
                raise DatabaseError(f"the statement is no COPY TO STDOUT: {self._text.decode()}", statement=self._text.decode())

    async def close(self) -> Held:
        """Leave the connection free: stop the COPY if it still runs, within the connection's cleanup budget.

        Returns:
            what came meanwhile and comes only once, for `after_cleanup`.

        Checkpoint: only if the COPY still runs; a cancellation is never raised here.
        """
        answer, self._answer = self._answer, None
        if answer is None or answer.complete or self._connection.closed:
            return None
        return await self._connection.stop(partial(self._connection.drain, answer))
