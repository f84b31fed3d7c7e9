"""What can run statements: a pool, one at a time outside any transaction, or a transaction.

The hall's verbs are written once against `Runner` and serve a database, a transaction and a savepoint alike.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

import trio
from psycopg.abc import Buffer
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

from trioorm.errors import DatabaseError
from trioorm.pool import Pool
from trioorm.transaction.inside import enter_block, leave_block
from trioorm.wire import AnyIOConnection, OnCancel, Statement, Step, after_cleanup, command, error_from_result

Connection = AnyIOConnection[Any]

_INTRANS, _INERROR = TransactionStatus.INTRANS, TransactionStatus.INERROR
# Kept by the server, as they stand around every load: parsing them anew is a tenth of what a small one costs the client.
_BEGIN_READING = Step(Statement(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
_COMMIT = Step(Statement(b"COMMIT"))
_ROLLBACK = command(b"ROLLBACK")
_FATAL_ERROR = int(ExecStatus.FATAL_ERROR)  # a plain number, since Python compares those at a third of the cost
_STOP = OnCancel.STOP
_SETTLE = OnCancel.SETTLE


class Hold(Protocol):
    """A block that has a runner's connection to itself, for a stream or a COPY."""

    async def __aenter__(self) -> Connection: ...

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None: ...


class Runner(Protocol):
    """Runs statements. Every method refuses a block that has ended."""

    in_transaction: bool

    async def run(self, steps: Sequence[Step], is_write: bool) -> list[PGresult]:
        """Run statements in one flight.

        Returns:
            One result for each step, none of them an error.

        Raises:
            DatabaseError: the first error of the server.
            ConnectionLost, CommitOutcomeUnknown: as `AnyIOConnection.fly`.

        Checkpoint: always.
        """
        ...

    async def run_one(self, statement: Statement, values: Sequence[Buffer | None], formats: Sequence[Format], is_write: bool) -> PGresult:
        """Run one statement: `run` for a single step, at less cost.

        Args:
            statement: what to run.
            values: the packed parameters.
            formats: of each of them.
            is_write: whether it may change something.

        Returns:
            Its result, which is no error.

        Raises:
            As `run`.

        Checkpoint: always.
        """
        ...

    async def read(self, steps: Sequence[Step]) -> list[PGresult]:
        """Run reads in one flight, for the rest as `run`; outside of a transaction all of them see one moment.

        Checkpoint: always.
        """
        ...

    def hold(self, what: str, *, runs: Statement | None = None) -> Hold:
        """A block with the connection to itself.

        Args:
            what: named when somebody inside it asks for the runner: "a stream", "a COPY".
            runs: what will be run in it and may be given up half-way: in a transaction a savepoint lies under the block, so that this
                leaves the transaction usable.

        Raises:
            UsageError: that statement would end the transaction. Nothing was sent.
        """
        ...


def failure_among(steps: Sequence[Step], results: Sequence[PGresult]) -> DatabaseError | None:
    """The first error among the results of a flight."""
    for step, result in zip(steps, results, strict=False):
        if (failure := failure_of(step, result)) is not None:
            return failure
    return None


def failure_of(step: Step, result: PGresult) -> DatabaseError | None:
    """What a result says went wrong with its step."""
    if result.status != _FATAL_ERROR:
        return None
    error = error_from_result(result, statement=step.statement.text.decode())
    error.failed_step = step
    return error


def is_stale_plan(failure: DatabaseError) -> bool:
    """Whether a prepared statement was refused because it does not fit the tables any more, or is gone from the session."""
    return failure.sqlstate == "26000" or (failure.sqlstate == "0A000" and failure.message_primary.startswith("cached plan"))


class PoolRunner:
    """Statements outside a transaction, each flight on a connection of its own, committed by itself."""

    __slots__ = ("_pool",)

    in_transaction = False

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @trio.lowlevel.enable_ki_protection
    async def run(self, steps: Sequence[Step], is_write: bool) -> list[PGresult]:
        """See `Runner.run`. A write whose caller is cancelled either took effect, and this returns, or did not, and this raises."""
        pool = self._pool
        lease = pool.lend_at_once() or await pool.acquire(briefly=True)
        try:
            connection = lease.connection
            on_cancel = OnCancel.SETTLE if is_write else OnCancel.STOP
            results = await connection.fly(steps, on_cancel=on_cancel)
            failure = failure_among(steps, results)
            if failure is not None and is_stale_plan(failure):
                # Refused before it ran, because a table has changed since it was prepared; prepared anew it runs.
                connection.retire_statements(steps)
                results = await connection.fly(steps, on_cancel=on_cancel)
                failure = failure_among(steps, results)
        finally:
            pool.take_back(lease)
        if failure is not None:
            raise failure
        return results

    @trio.lowlevel.enable_ki_protection
    async def read(self, steps: Sequence[Step]) -> list[PGresult]:
        """See `Runner.read`. They travel with a transaction around them, which is over before the connection is given back."""
        sent = [_BEGIN_READING, *steps, _COMMIT]
        pool = self._pool
        lease = pool.lend_at_once() or await pool.acquire(briefly=True)
        try:
            results, failure = await self._read_once(lease.connection, sent)
            if failure is not None and is_stale_plan(failure):
                lease.connection.retire_statements(sent)
                results, failure = await self._read_once(lease.connection, sent)
        finally:
            pool.take_back(lease)
        if failure is not None:
            raise failure
        return results[1:-1]

    async def _read_once(self, connection: Connection, sent: Sequence[Step]) -> tuple[list[PGresult], DatabaseError | None]:
        error: BaseException | None = None
        results: list[PGresult] = []
        try:
            results = await connection.fly(sent)
        except BaseException as raised:
            error = raised
        held = None
        if connection.pgconn.transaction_status in (_INTRANS, _INERROR):
            _, held = await connection.fly_shielded([_ROLLBACK], seconds=connection.cleanup_timeout_seconds)
        if (raised_instead := after_cleanup(error, held)) is not None:
            raise raised_instead
        return results, failure_among(sent, results)

    @trio.lowlevel.enable_ki_protection
    async def run_one(self, statement: Statement, values: Sequence[Buffer | None], formats: Sequence[Format], is_write: bool) -> PGresult:
        """See `Runner.run_one`; for cancellations as `run`."""
        pool = self._pool
        lanes = pool.lanes if pool.lanes.are_called_for and not is_write else None
        if lanes is not None and (reader := lanes.join(statement, values, formats)) is not None:
            answer = await reader.wait()
            if answer is not None:
                if answer.status == _FATAL_ERROR:
                    raise error_from_result(answer, statement=statement.text.decode())
                return answer
        on_cancel = _SETTLE if is_write else _STOP
        lease = pool.lend_at_once() or await pool.acquire(briefly=True)
        try:
            await pool.check_for_cancellation()  # which may also have come while others were waited for
            result = await lease.connection.ask(statement, values, formats, on_cancel=on_cancel)
            if result.status == _FATAL_ERROR:
                failure = error_from_result(result, statement=statement.text.decode())
                if not is_stale_plan(failure):
                    raise failure
                # Refused before it ran, because a table has changed since it was prepared; prepared anew it runs.
                lease.connection.retire_statements(statement.alone)
                await pool.check_for_cancellation()
                result = await lease.connection.ask(statement, values, formats, on_cancel=on_cancel)
                if result.status == _FATAL_ERROR:
                    raise error_from_result(result, statement=statement.text.decode())
            if lanes is not None:
                lanes.note(statement, lease.lent_at, result)
            return result
        finally:
            pool.take_back(lease)

    def hold(self, what: str, *, runs: Statement | None = None) -> Hold:
        """See `Runner.hold`."""
        return _PoolHold(self._pool)


class _PoolHold:
    __slots__ = ("_lease", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Connection:
        self._lease = await self._pool.acquire()
        return self._lease.__enter__()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._lease.release()


class BlockMark:
    """A stream or COPY inside a transaction, as the marks of the context know it; its text names it in an error."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __str__(self) -> str:
        return self._what

    def enter(self) -> None:
        """Mark the running code as inside."""
        enter_block(self)

    def leave(self) -> None:
        """Take the mark away."""
        leave_block(self)
