"""A lane: one connection in pipeline mode that many tasks read through at once, each statement with a sync of its own.

The contract: answers come in the order in which statements were sent, so each is given to the reader at the head of the queue. A reader
waits for its answer and for nothing else, and may leave at any moment: its place in the queue stays, and the answer is thrown away. A
reader that gets None for an answer was not served, through no fault of its statement, and asks again on a connection of its own: the lane's
connection broke, another reader's statement held the lane up for too long, the statement must be prepared anew, or it was hit by a cancel
that was meant for another. That is why only statements that may be run twice travel here.

Whoever owns the lane runs `drive` in a task and calls `look` now and then. Everything else is synchronous, so no reader that leaves can
leave anything half done.

libpq sends each sync at once (psycopg does not have `PQsendPipelineSync`, which waits for more): one system call for a statement, and one
for a whole batch of answers.

Source: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from time import monotonic
from typing import Any, Protocol

import anyio
import sniffio
import trio
from psycopg import OperationalError, pq
from psycopg import errors as psycopg_errors
from psycopg.abc import Buffer
from psycopg.pq import DiagnosticField, Format
from psycopg.pq.abc import PGresult

from trioorm.wire.connection import AnyIOConnection
from trioorm.wire.flight import is_end_of_connection
from trioorm.wire.pace import HELD_UP_SECONDS, SLOW_SECONDS
from trioorm.wire.server_errors import is_farewell
from trioorm.wire.statements import Statement

__all__ = ["Lane", "Reader"]

logger = logging.getLogger("trioorm.wire")

_GOOD = (int(pq.ExecStatus.TUPLES_OK), int(pq.ExecStatus.COMMAND_OK))
_SYNC = int(pq.ExecStatus.PIPELINE_SYNC)
_ABORTED = int(pq.ExecStatus.PIPELINE_ABORTED)
_FATAL_ERROR = int(pq.ExecStatus.FATAL_ERROR)

_QUERY_CANCELED = b"57014"
_PREPARE_ANEW = (b"26000", b"0A000")  # the name is gone from the session, or its plan does not fit the tables any more


class Reader(Protocol):
    """A task that waits for its answer."""

    statement: Statement

    @property
    def has_left(self) -> bool:
        """Whether nobody waits for the answer: the task was cancelled, or was sent elsewhere."""
        ...

    def give(self, answer: PGresult | None) -> None:
        """Let the wait end; nothing when it has."""
        ...

    async def wait(self) -> PGresult | None:
        """Wait for the answer; None means that the statement is to be run elsewhere.

        Checkpoint: always.
        """
        ...


class TrioReader:
    """A reader on Trio. To be made by the task itself, which waits at once."""

    __slots__ = ("_answer", "_task", "statement")

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self._task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        self._answer: PGresult | None = None

    @property
    def has_left(self) -> bool:
        return self._task is None

    def give(self, answer: PGresult | None) -> None:
        if self._task is not None:
            self._answer = answer
            trio.lowlevel.reschedule(self._task)
            self._task = None

    async def wait(self) -> PGresult | None:
        await trio.lowlevel.wait_task_rescheduled(self._leave)
        return self._answer

    def _leave(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class AsyncioReader:
    """A reader on asyncio and uvloop."""

    __slots__ = ("_answered", "statement")

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self._answered: asyncio.Future[PGresult | None] = asyncio.get_running_loop().create_future()

    @property
    def has_left(self) -> bool:
        return self._answered.done()

    def give(self, answer: PGresult | None) -> None:
        if not self._answered.done():
            self._answered.set_result(answer)

    async def wait(self) -> PGresult | None:
        return await self._answered


class Lane:
    """A connection that many tasks read through.

    Args:
        connection: idle, and the lane's alone until `drive` has ended, which leaves it idle again or closed.

    Attributes:
        connection: as given.
        is_slow: whether the statement at the head holds the others up, so that nobody should join.
        is_retired: whether the lane ends as soon as nobody reads through it.
        reads: how many answers have come.
        most: how many statements were under way at most.
        sent_elsewhere: how many readers were not served.
        idle_since: when the last answer came.
    """

    __slots__ = (
        "_answer",
        "_awaits_leading_sync",
        "_cancel_began_at",
        "_cancel_next_at",
        "_cancel_runs",
        "_failed",
        "_head_since",
        "_hit_until",
        "_hit_until_read",
        "_make_reader",
        "_pgconn",
        "_prepared",
        "_queue",
        "_wait",
        "connection",
        "is_retired",
        "is_slow",
        "most",
        "reads",
        "sent_elsewhere",
    )

    def __init__(self, connection: AnyIOConnection[Any]) -> None:
        self.connection = connection
        self.is_slow = False
        self.is_retired = False
        self.reads = 0
        self.most = 0
        self.sent_elsewhere = 0
        self._pgconn = connection.pgconn
        self._prepared = connection.prepared_names
        self._make_reader: Callable[[Statement], Reader] = TrioReader if sniffio.current_async_library() == "trio" else AsyncioReader
        self._queue: deque[Reader] = deque()
        self._head_since = monotonic()
        self._wait = anyio.CancelScope()  # around the driver's waits
        # The answer that is coming in, to the statement at the head.
        self._answer: PGresult | None = None
        self._failed = False
        # The cancel request against the statement at the head, and until when an earlier one may show its effect.
        self._cancel_runs = False
        self._cancel_began_at: float | None = None
        self._cancel_next_at = 0.0
        self._hit_until = 0.0
        self._hit_until_read = -1
        self._pgconn.enter_pipeline_mode()
        self._awaits_leading_sync = connection.gave_parts
        if connection.gave_parts:
            connection.gave_parts = False
            with suppress(OperationalError):  # `drive` will say so
                self._pgconn.pipeline_sync()

    def __repr__(self) -> str:
        state = "retired" if self.is_retired else "slow" if self.is_slow else "open"
        return f"<Lane {state}, {len(self._queue)} under way, {self.reads} read>"

    @property
    def depth(self) -> int:
        """How many statements are under way, those included whose readers have left."""
        return len(self._queue)

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for the answer of the statement at the head, which runs at this moment."""
        return bool(self._queue) and not self._queue[0].has_left

    @property
    def idle_since(self) -> float:
        """When the last answer came, on the clock of `time.monotonic`; meaningful while nothing is under way."""
        return self._head_since

    # Reading.

    def join(self, statement: Statement, values: Sequence[Buffer | None], formats: Sequence[Format]) -> Reader:
        """Send a statement with its values. The running task must wait for the reader's answer at once.

        Raises:
            psycopg.OperationalError: the connection is broken; `drive` will say so.
        """
        queue = self._queue
        if not queue:
            self._head_since = monotonic()
        reader = self._make_reader(statement)
        try:
            self._send(statement, values, formats)
            self._pgconn.pipeline_sync()
            must_wait = self._pgconn.flush()
        except OperationalError:
            self.give_up()  # half a statement may be queued
            raise
        queue.append(reader)
        if len(queue) > self.most:
            self.most = len(queue)
        if must_wait:
            self._wait.cancel()  # the driver must wait for writing too
        return reader

    def _send(self, statement: Statement, values: Sequence[Buffer | None], formats: Sequence[Format]) -> None:
        pgconn, prepared, name = self._pgconn, self._prepared, statement.name
        if name in prepared:
            prepared.touch(name)
        elif not prepared.limit or not name:
            pgconn.send_query_params(statement.text, values, statement.parameter_types or None, formats or None, statement.result_format)
            return
        else:
            for surplus in prepared.surplus(1):
                pgconn.send_close_prepared(surplus)
            pgconn.send_prepare(name, statement.text, statement.parameter_types)
            prepared.add(name)  # at once, since those behind may use it; taken back when it fails
        pgconn.send_query_prepared(name, values, formats, statement.result_format)

    # Answering.

    @trio.lowlevel.enable_ki_protection
    async def drive(self) -> None:
        """Hand answers to readers, until retired and nobody reads any more.

        Raises:
            psycopg.OperationalError: the connection broke.

        Checkpoint: always.
        """
        try:
            while not self._is_over:
                with self._wait:
                    while not self._is_over:
                        await self._wait_for_answers()
                        self._collect()
                self._wait = anyio.CancelScope()
        finally:
            self.is_retired = True
            self._leave_connection()
            self._send_elsewhere(0)
            self._queue.clear()

    def _leave_connection(self) -> None:
        """Leave the connection to others, unless something may still come, a cancellation among it."""
        try:
            if not self._queue and not self._may_be_hit:
                self._pgconn.exit_pipeline_mode()
                return
        except OperationalError as error:
            logger.debug("a lane's connection is not idle: %s", error)
        self.connection.close_nowait()

    async def _wait_for_answers(self) -> None:
        try:
            if self._pgconn.flush():
                await self.connection.wait_for_socket()
            else:
                await self.connection.wait_for_input()
        except OperationalError:
            self._collect()  # what had come before the connection broke is as good as ever
            raise

    @property
    def _is_over(self) -> bool:
        return self.is_retired and not self._queue

    def retire(self) -> None:
        """Let nobody join any more; `drive` ends when the last answer has come."""
        self.is_retired = True
        if not self._queue:
            self._wait.cancel()

    def give_up(self) -> None:
        """Close the connection: `drive` raises, and whoever still reads through it asks on a connection of its own."""
        self.is_retired = True
        self.connection.close_nowait()

    def _send_elsewhere(self, first: int) -> None:
        for reader in islice(self._queue, first, None):
            if not reader.has_left:
                self.sent_elsewhere += 1
                reader.give(None)

    def _collect(self) -> None:
        """Take the answers that have come, without waiting."""
        pgconn, queue = self._pgconn, self._queue
        reads, ended = self.reads, False
        while (queue or self._awaits_leading_sync) and not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                if ended:
                    break  # nothing is under way any more: the connection is gone, and reading says so
                ended = True
                continue
            ended = False
            status = result.status
            if status in _GOOD:
                if not self._failed:
                    self._answer = result
            elif status == _SYNC and self._awaits_leading_sync:
                self._awaits_leading_sync = False
            elif status == _SYNC:
                answer, failed = self._answer, self._failed
                self._answer, self._failed = None, False
                reader = queue.popleft()
                self.reads += 1
                if failed and answer is not None:
                    self._give_error(reader, answer)
                else:
                    reader.give(answer)
            elif status == _FATAL_ERROR:
                if is_end_of_connection(result) or is_farewell(result):
                    raise OperationalError(result.get_error_message())
                if not self._failed:
                    self._answer, self._failed = result, True
            elif status != _ABORTED:
                raise OperationalError("a statement that gives no plain rows was sent where many tasks read through one connection")
        if self.reads != reads:
            self._head_since = monotonic()
            self.is_slow = False
            self._cancel_began_at = None

    def _give_error(self, reader: Reader, error: PGresult) -> None:
        self._prepared.retire(reader.statement.name)  # perhaps it was the preparation that failed
        sqlstate = error.error_field(DiagnosticField.SQLSTATE)
        if sqlstate in _PREPARE_ANEW or (sqlstate == _QUERY_CANCELED and self._may_be_hit):
            if not reader.has_left:
                self.sent_elsewhere += 1
            reader.give(None)
        else:
            reader.give(error)

    # What holds the others up.

    def look(self) -> bool:
        """Look after the statement at the head.

        Returns:
            Whether `cancel_head` is to be called: the statement runs, and nobody waits for its answer.

        Raises:
            psycopg.OperationalError: the connection broke, or a statement that nobody waits for could not be stopped in time.
        """
        if not self._queue or monotonic() - self._head_since < HELD_UP_SECONDS:
            return False
        # Perhaps it is this program that was slow, and the answer is there.
        self._pgconn.consume_input()
        self._collect()
        now = monotonic()
        if not self._queue or now - self._head_since < HELD_UP_SECONDS:
            return False
        head = self._queue[0]
        if not self.is_slow:
            self.is_slow = True
            head.statement.pace.was_slow()
        if now - self._head_since >= SLOW_SECONDS:
            self._send_elsewhere(1)
        if not head.has_left or self._cancel_runs or now < self._cancel_next_at:
            return False
        if self._cancel_began_at is None:
            self._cancel_began_at = now
        elif now - self._cancel_began_at > self.connection.cleanup_timeout_seconds:
            raise OperationalError("a statement that nobody waits for could not be stopped in time")
        self._cancel_runs = True
        return True

    @trio.lowlevel.enable_ki_protection
    async def cancel_head(self) -> None:
        """Ask the server to cancel the statement at the head. If it has ended by the time, another is hit, and its reader sent elsewhere.

        Checkpoint: always.
        """
        self._cancel_runs = True
        try:
            await self.connection.cancel_safe(timeout=self.connection.cleanup_timeout_seconds)
        except (OperationalError, psycopg_errors.CancellationTimeout) as error:
            logger.debug("a statement that nobody waits for was not cancelled: %s", error)
        finally:
            now = monotonic()
            self._cancel_runs = False
            # It may have overtaken its statement, so it is sent again. Not after as long as it took: the server may have stood still.
            self._cancel_next_at = now + HELD_UP_SECONDS
            # The server has sent its signal by now, so it is among those under way; a pooler may take longer.
            self._hit_until_read = self.reads + len(self._queue)
            self._hit_until = now + self.connection.cleanup_timeout_seconds

    @property
    def _may_be_hit(self) -> bool:
        """Whether a cancellation may come from a request of ours that was meant for another statement."""
        return self._cancel_runs or self.reads <= self._hit_until_read or monotonic() < self._hit_until
