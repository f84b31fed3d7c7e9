"""Rows of one statement as they come, in chunks, with memory that does not grow with their number.

The contract: a stream holds its connection from the first `next_chunk` to `close`; between chunks nothing is read, so a slow consumer
stops the server. `close` may come at any time and leaves the connection free, or closed when the server does not stop in time.

libpq's chunked rows are used, which are faster than a named cursor and need no transaction.

Source: https://www.postgresql.org/docs/current/libpq-single-row-mode.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

from psycopg import OperationalError, pq
from psycopg.pq.abc import PGresult

from trioorm.wire.connection import AnyIOConnection
from trioorm.wire.flight import PlainAnswer
from trioorm.wire.interrupt import Held
from trioorm.wire.server_errors import connection_lost, copy_out_of_place, error_from_result, is_farewell
from trioorm.wire.statements import Step

_COPYING = (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT)
_FATAL_ERROR = pq.ExecStatus.FATAL_ERROR


class RowStream:
    """The rows of one step.

    Args:
        connection: idle, or in a transaction, and used by nobody else until `close`.
        step: what to run.
        chunk_rows: how many rows come at most in one result.
    """

    __slots__ = ("_answer", "_chunk_rows", "_connection", "_step")

    def __init__(self, connection: AnyIOConnection[Any], step: Step, *, chunk_rows: int) -> None:
        self._connection = connection
        self._step = step
        self._chunk_rows = chunk_rows
        self._answer: PlainAnswer | None = None

    def _start(self) -> PlainAnswer:
        """Queue the statement."""
        connection, step = self._connection, self._step
        connection.check_steps((step,), in_transaction=False)
        connection.leave_pipeline()
        connection.sent_steps = (step,)
        pgconn = connection.pgconn
        pgconn.send_query_params(
            step.statement.text, step.values, step.statement.parameter_types or None, step.formats or None, step.statement.result_format
        )
        pgconn.set_chunked_rows_mode(self._chunk_rows)
        connection.gave_parts = True
        return PlainAnswer(pgconn, step.statement.text)

    async def next_chunk(self) -> PGresult | None:
        """The next rows, or None at the end. The first call sends the statement.

        Raises:
            DatabaseError: the server reported an error, which may come after rows.
            ConnectionLost: the connection broke. Safe to retry, if the rows so far may come again.
            SessionNeeded: the statement cannot work through the pooler; nothing was sent. Not safe to retry.

        Checkpoint: only if it waits.
        """
        connection = self._connection
        pgconn = connection.pgconn
        try:
            answer = self._answer
            if answer is None:
                answer = self._answer = self._start()
            if answer.complete:
                return None
            while pgconn.flush():
                await connection.wait_for_socket()
            while pgconn.is_busy():
                await connection.wait_for_input()
            result = pgconn.get_result()
        except OperationalError as error:
            connection.close_nowait()
            raise connection_lost(str(error), safe_to_retry=True) from error
        if result is None:
            answer.complete = True
            return None
        if result.status in _COPYING:
            raise copy_out_of_place()  # `close` ends it
        if result.status == _FATAL_ERROR:
            answer.outcomes.append(result)
            if is_farewell(result):
                connection.close_nowait()
                raise connection_lost(error_from_result(result).message_primary, safe_to_retry=True)
            raise error_from_result(result, statement=self._step.statement.text.decode())
        return result

    async def close(self) -> Held:
        """Leave the connection free: stop the statement if it still runs, within the connection's cleanup budget.

        Returns:
            what came meanwhile and comes only once, for `after_cleanup`.

        Checkpoint: only if the statement still runs; a cancellation is never raised here.
        """
        answer, self._answer = self._answer, None
        if answer is None or answer.complete:
            return None
        return await self._connection.stop(partial(self._connection.drain, answer))
