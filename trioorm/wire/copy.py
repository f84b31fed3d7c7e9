"""COPY FROM STDIN: bytes of rows into a table, faster than any insert.

The contract: a copy holds its connection from `start` to `finish` or `abort`. Nothing is written unless `finish` returns; a failure or a
cancellation in between aborts the COPY cleanly, so that the connection can be used again.

Source: https://www.postgresql.org/docs/current/libpq-copy.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

from psycopg import OperationalError, pq
from psycopg.abc import Buffer

from trioorm.errors import DatabaseError, TrioormError
from trioorm.wire.connection import AnyIOConnection, OnCancel
from trioorm.wire.flight import PlainAnswer
from trioorm.wire.interrupt import Held
from trioorm.wire.server_errors import connection_lost, error_from_result, is_farewell
from trioorm.wire.statements import command

_FATAL_ERROR = pq.ExecStatus.FATAL_ERROR
_COPY_IN = pq.ExecStatus.COPY_IN


class CopyIn:
    """One COPY into the server.

    Args:
        connection: idle, or in a transaction, and used by nobody else until `finish` or `abort`.
        text: the COPY statement.
    """

    __slots__ = ("_answer", "_connection", "_text")

    def __init__(self, connection: AnyIOConnection[Any], text: bytes) -> None:
        self._connection = connection
        self._text = text
        self._answer: PlainAnswer | None = None

    async def start(self) -> None:
        """Send the statement and wait until the server is ready for rows.

        Raises:
            DatabaseError: the server refused the statement.
            ConnectionLost: the connection broke. Safe to retry.

        Checkpoint: always.
        """
        connection, pgconn = self._connection, self._connection.pgconn
        try:
            connection.leave_pipeline()
            connection.sent_steps = (command(self._text),)
            pgconn.send_query(self._text)
            self._answer = PlainAnswer(pgconn, self._text)
            while pgconn.flush():
                await connection.wait_for_socket()
            while pgconn.is_busy():
                await connection.wait_for_input()
            result = pgconn.get_result()
        except OperationalError as error:
            raise self._lost(error) from error
        if result is None or result.status != _COPY_IN:
            if result is not None:
                self._answer.outcomes.append(result)
            await self.abort()
            raise self._refused()

    async def write(self, rows: Buffer) -> None:
        """Send bytes of rows, waiting while the server is behind.

        Raises:
            ConnectionLost: the connection broke. Safe to retry in a transaction.

        Checkpoint: only if it waits.
        """
        connection, pgconn = self._connection, self._connection.pgconn
        try:
            while pgconn.put_copy_data(rows) == 0:
                await connection.wait_for_socket()
            while pgconn.flush():
                await connection.wait_for_socket()
        except OperationalError as error:
            raise self._lost(error) from error

    async def finish(self, *, on_cancel: OnCancel) -> int:
        """End the COPY and wait for its outcome.

        Args:
            on_cancel: `SETTLE` outside a transaction, where the COPY commits by itself; `STOP` inside one.

        Returns:
            The number of rows written.

        Raises:
            DatabaseError: the server refused a row; nothing was written.
            ConnectionLost, CommitOutcomeUnknown: as `AnyIOConnection.fly`.

        Checkpoint: always.
        """
        answer = self._answer
        assert answer is not None, "finish comes after start"
        try:
            while self._connection.pgconn.put_copy_end(None) == 0:
                await self._connection.wait_for_socket()
        except OperationalError as error:
            raise self._lost(error) from error
        outcomes = await self._connection.arrive(answer, on_cancel)
        if answer.failure is not None:
            raise self._refused()
        return sum(outcome.command_tuples or 0 for outcome in outcomes)

    async def abort(self) -> Held:
        """Give the COPY up, if it still runs, within the connection's cleanup budget.

        Returns:
            what came meanwhile and comes only once, for `after_cleanup`.

        Checkpoint: only if the COPY still runs; a cancellation is never raised here.
        """
        answer = self._answer
        if answer is None or answer.complete or self._connection.closed:
            return None
        # The server, waiting for rows, does not hear a cancel request; the drain ends the copy, and that it hears.
        return await self._connection.stop(partial(self._connection.drain, answer))

    def _refused(self) -> TrioormError:
        assert self._answer is not None
        failure = self._answer.failure
        if failure is None:
            return DatabaseError(f"the statement is no COPY FROM STDIN: {self._text.decode()}", statement=self._text.decode())
        error = error_from_result(failure[1], statement=self._text.decode())
        if is_farewell(failure[1]):
            self._connection.close_nowait()
            return connection_lost(error.message_primary, safe_to_retry=True)
        return error

    def _lost(self, error: OperationalError) -> Exception:
        self._connection.close_nowait()
        return connection_lost(str(error), safe_to_retry=True)
