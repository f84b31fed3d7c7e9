"""A transaction that travels as one flight, its COMMIT included: for work whose statements do not depend on each other's answers.

The contract is that of a block: what ends without an exception is committed, what raises is not, except for `CommitOutcomeUnknown`.

Statements up to a sync are one transaction by PostgreSQL's protocol itself, which the sync commits if none of them failed. So where nothing
is asked of the transaction that only BEGIN can say, and no statement wants a transaction block around it, there is no BEGIN and no COMMIT,
which would cost half of a small flight. Else BEGIN, the statements and the question for the transaction's id have one sync, COMMIT another
behind it: when a statement fails, the server skips the rest up to the first, and answers the COMMIT with ROLLBACK. Either way the
connection is free again without another trip.

The transaction is being committed before anything is known, so a connection that breaks earlier than the id has come leaves an outcome that
nobody can be asked for.

Source: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
"""

from collections.abc import Sequence
from math import inf

import trio
from anyio.lowlevel import checkpoint
from psycopg.pq.abc import PGresult

from trioorm.errors import CommitOutcomeUnknown, ConnectionLost, DatabaseError, QueryCanceled
from trioorm.pool import Pool
from trioorm.transaction import refusals
from trioorm.transaction.commit import ANSWER_PART, COMMIT, settle_lost_commit
from trioorm.transaction.deadline import NO_LIMIT, SERVER_LIMITS, ServerLimit
from trioorm.transaction.outcome import PROBE, read_probe
from trioorm.transaction.runner import failure_among, failure_of, is_stale_plan
from trioorm.wire import OnCancel, Step
from trioorm.wire.flight import Flight
from trioorm.wire.interrupt import cancel_requests, deliver_again

__all__ = ["WholeFlight"]

_COMMIT = OnCancel.COMMIT


class WholeFlight:
    """A transaction for steps that are known beforehand. One serves all that begin alike.

    Args:
        pool: where the connection comes from, for the length of the trip.
        begin: the BEGIN command, and what goes with it.
        name: how it is called in errors.
    """

    __slots__ = ("_answer_seconds", "_begin", "_has_options", "_name", "_pool")

    def __init__(self, pool: Pool, begin: Sequence[Step], *, name: str) -> None:
        self._pool = pool
        self._begin = begin
        self._has_options = len(begin) > 1 or begin[0].statement.text != b"BEGIN"
        self._name = name
        self._answer_seconds = pool.settings.commit_timeout_seconds * ANSWER_PART

    @trio.lowlevel.enable_ki_protection
    async def run(self, steps: Sequence[Step], is_write: bool) -> list[PGresult]:
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
        needs_block = self._has_options
        for step in steps:
            statement = step.statement
            if statement.wants_block:
                if statement.ends_transaction:
                    raise refusals.would_end_by_text(self._name)
                needs_block = True
        pool = self._pool
        lease = pool.lend_at_once() or await pool.acquire(briefly=True)
        has_failed_before = False
        try:
            while True:
                connection = lease.connection
                limit = NO_LIMIT
                opening: Sequence[Step] = ()
                if (deadline := connection.read_deadline()) != inf:
                    if deadline == -inf:
                        await connection.check_for_cancellation()
                    limit = ServerLimit(deadline, connection.cleanup_timeout_seconds)
                    opening = () if needs_block else (limit.first_step(connection.pgconn.server_version),)
                if needs_block:
                    opening = (*self._begin, *limit.steps(connection.pgconn.server_version))
                requests_before = 0 if connection.on_trio else cancel_requests()
                sent = [*opening, *steps, *PROBE] if is_write else [*opening, *steps]
                if needs_block:
                    flight = connection.take_off(sent, commit=COMMIT)
                else:
                    flight = connection.take_off(sent, told_after=(len(sent),) if is_write else ())
                try:
                    results = await connection.arrive(flight, _COMMIT, self._answer_seconds)
                except (ConnectionLost, CommitOutcomeUnknown) as lost:
                    results = flight.outcomes
                    probe = results[len(sent) - 1] if is_write and flight.has_landed else None
                    await self._settle(lost, flight, probe, limit, requests_before=requests_before, is_write=is_write)
                else:
                    if flight.failed or (needs_block and results[-1].command_status != b"COMMIT"):
                        failure = self._failure_of(flight)
                        if isinstance(failure, DatabaseError):
                            if is_stale_plan(failure) and not has_failed_before:
                                # Refused before it ran, because a table has changed since it was prepared; prepared anew it runs.
                                connection.retire_statements(sent)
                                has_failed_before = True
                                continue
                            if failure.sqlstate in SERVER_LIMITS:
                                await limit.deliver_own_timeout()
                            if isinstance(failure, QueryCanceled):
                                await checkpoint()  # the request that was to stop the last statement may have hit the COMMIT
                        raise failure
                first = len(opening)
                return results[first : first + len(steps)]
        finally:
            pool.take_back(lease)

    def _failure_of(self, flight: Flight) -> BaseException:
        """Why a flight whose answers have all come is not committed."""
        last = flight.outcomes[-1]
        failure = None if flight.refused else failure_among(flight.steps, flight.outcomes)
        return failure or failure_of(COMMIT, last) or refusals.answered_otherwise(self._name, last.command_status)

    async def _settle(
        self,
        lost: ConnectionLost | CommitOutcomeUnknown,
        flight: Flight,
        probe: PGresult | None,
        limit: ServerLimit,
        *,
        requests_before: int,
        is_write: bool,
    ) -> None:
        """Find out how a flight ended whose connection broke: return when it is committed, else raise what stands for it.

        Args:
            lost: what the wait ended with.
            flight: under way.
            probe: the answer that has the transaction's id; None if it has not come, or nothing was to be written.
            limit: of the transaction.
            requests_before: what `cancel_requests` said when it began.
            is_write: whether it may have changed something.
        """
        if isinstance(lost, CommitOutcomeUnknown):  # before the id had come
            raise (refusals.outcome_unknown(self._name, None) if is_write else refusals.commit_of_nothing_lost(self._name)) from lost
        if flight.failed:  # so nothing can be committed
            await limit.deliver_own_timeout()
            raise lost
        refused, held = await settle_lost_commit(
            self._pool,
            self._name,
            lost,
            None if probe is None else read_probe(probe),
            requests_before=requests_before,
            deliver_own_timeout=limit.deliver_own_timeout,
        )
        if refused is not None:
            raise refused
        if held is not None:
            deliver_again(held, held)  # too late to stop the COMMIT
