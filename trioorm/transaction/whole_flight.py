"""A transaction that travels as one flight, its COMMIT included: for work whose statements do not depend on each other's answers.

The contract is that of a block: what ends without an exception is committed, what raises is not, except for `CommitOutcomeUnknown`. BEGIN,
the statements and the question for the transaction's id have one sync, COMMIT another of its own behind it. So when a statement fails, the
server skips the rest up to the first sync, answers the COMMIT with ROLLBACK, and the connection is free again without another trip.

COMMIT is under way before anything is known, so a connection that breaks earlier than the id has come leaves an outcome that nobody can
be asked for.
"""

import re
from collections.abc import Sequence

import anyio
import trio
from psycopg.pq.abc import PGresult

from trioorm.errors import CommitOutcomeUnknown, ConnectionLost, DatabaseError
from trioorm.pool import Pool
from trioorm.transaction import refusals
from trioorm.transaction.commit import COMMIT, CommitAnswer
from trioorm.transaction.deadline import ServerLimit
from trioorm.transaction.outcome import probe, read_probe
from trioorm.transaction.runner import Connection, failure_among, is_stale_plan
from trioorm.wire import OnCancel, Step
from trioorm.wire.interrupt import cancel_requests, deliver_again

__all__ = ["WholeFlight"]

# What the server's limit ends a transaction with: its own for the whole transaction, or, before PostgreSQL 17, for a statement.
_SERVER_LIMITS = ("25P04", "57014")

# What would end the transaction, or begin another, as a text of one's own; ROLLBACK TO is for savepoints.
_ENDING = re.compile(
    rb"\s*(COMMIT|END|ROLLBACK(?!\s+(WORK\s+|TRANSACTION\s+)?TO)|ABORT|PREPARE\s+TRANSACTION|BEGIN|START\s+TRANSACTION)\b", re.IGNORECASE
)


class WholeFlight:
    """A transaction for steps that are known beforehand.

    Args:
        pool: where the connection comes from, for the length of the trip.
        begin: the BEGIN command, and what goes with it.
        name: how it is called in errors.
    """

    __slots__ = ("_begin", "_name", "_pool")

    def __init__(self, pool: Pool, begin: Sequence[Step], *, name: str) -> None:
        self._pool = pool
        self._begin = begin
        self._name = name

    @trio.lowlevel.enable_ki_protection
    async def run(self, steps: Sequence[Step], *, is_write: bool) -> list[PGresult]:
        """Run statements and commit them, all or none.

        Args:
            steps: what to run, in order.
            is_write: whether they may change something.

        Returns:
            One result for each step. A cancellation that came too late to stop them is raised by the next checkpoint.

        Raises:
            UsageError: a text among them would end the transaction by itself. Nothing was sent.
            DatabaseError: the first error of the server, that of the COMMIT included. Nothing was written.
            ConnectionLost: the connection broke, and nothing was written. Safe to retry.
            CommitOutcomeUnknown: it broke, and whether they are committed could not be found out. Not safe to retry.
            PoolTimeout: no connection came free in time. Safe to retry.

        Checkpoint: always.
        """
        for step in steps:
            if _ENDING.match(step.statement.text):
                raise refusals.would_end_by_text(self._name)
        with await self._pool.acquire() as connection:
            try:
                return await self._fly(connection, steps, is_write=is_write)
            except DatabaseError as failure:
                if not is_stale_plan(failure):
                    raise
                # Refused before it ran, because a table has changed since it was prepared; prepared anew it runs.
                connection.retire_statements(steps)
            return await self._fly(connection, steps, is_write=is_write)

    async def _fly(self, connection: Connection, steps: Sequence[Step], *, is_write: bool) -> list[PGresult]:
        requests_before = cancel_requests()
        limit = ServerLimit(anyio.current_effective_deadline(), self._pool.settings.cleanup_timeout_seconds)
        opening = [*self._begin, *limit.steps(connection.pgconn.server_version)]
        sent = [*opening, *steps, *([probe()] if is_write else [])]
        body = connection.take_off(sent)
        ending = connection.take_off([COMMIT])
        connection.sent_steps = sent

        async def deliver_own_timeout() -> None:
            if limit.has_passed:
                await anyio.sleep(self._pool.settings.cleanup_timeout_seconds)

        commit = CommitAnswer(self._pool, self._name, requests_before=requests_before, deliver_own_timeout=deliver_own_timeout)
        try:
            results = await connection.arrive(body, on_cancel=OnCancel.SETTLE)
        except CommitOutcomeUnknown as lost:
            if is_write:
                raise refusals.outcome_unknown(self._name, None) from lost
            raise refusals.commit_of_nothing_lost(self._name) from lost
        except ConnectionLost:
            await deliver_own_timeout()  # a statement had failed by then, so nothing can be committed
            raise
        except BaseException:
            await commit.take(connection, ending, lambda: None)  # it was stopped on the server, which answers COMMIT with ROLLBACK
            raise
        failure = failure_among(sent, results)
        transaction_id = read_probe(results[-1]) if is_write and failure is None else None
        refused, held = await commit.take(connection, ending, lambda: transaction_id)
        if failure is not None:
            if failure.sqlstate in _SERVER_LIMITS:
                await deliver_own_timeout()
            raise failure
        if refused is not None:
            raise refused
        if held is not None:
            deliver_again(held, held)  # too late to stop the COMMIT
        return results[len(opening) : len(opening) + len(steps)]
