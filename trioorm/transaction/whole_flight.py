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

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from math import inf

import trio
from anyio.lowlevel import checkpoint
from psycopg.pq.abc import PGresult

from trioorm.errors import CommitOutcomeUnknown, ConnectionLost, DatabaseError, QueryCanceled
from trioorm.pool import Pool
from trioorm.transaction import refusals
from trioorm.transaction.commit import ANSWER_PART, COMMIT, refusal_of_commit, settle_lost_commit
from trioorm.transaction.deadline import NO_LIMIT, SERVER_LIMITS, limit_for
from trioorm.transaction.outcome import PROBE, read_probe
from trioorm.transaction.runner import Connection, failure_among, failure_of, is_stale_plan
from trioorm.wire import OnCancel, Step
from trioorm.wire.flight import Answer, LandedSteps
from trioorm.wire.interrupt import Held, cancel_requests, deliver_again

__all__ = ["WholeFlight"]

# What runs in a transaction without a block as it runs in one with it. Others need the block (SAVEPOINT, SET LOCAL), or would without one
# commit by themselves (VACUUM, a procedure), where inside of one they are refused.
_PLAIN = re.compile(rb"\s*(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH|VALUES)\b", re.IGNORECASE)


_SETTLE = OnCancel.SETTLE
_FINISH = OnCancel.FINISH


@lru_cache(1000)
def _is_plain(text: bytes) -> bool:
    return _PLAIN.match(text) is not None


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
        begin = self._begin
        needs_block = len(begin) > 1 or begin[0].statement.text != b"BEGIN"  # with options
        for step in steps:
            if step.statement.ends_transaction:
                raise refusals.would_end_by_text(self._name)
            needs_block = needs_block or not _is_plain(step.statement.text)
        pool = self._pool
        lease = pool.lend_at_once() or await pool.acquire(briefly=True)
        try:
            try:
                return await self._fly(lease.connection, steps, needs_block=needs_block, is_write=is_write)
            except DatabaseError as failure:
                if not is_stale_plan(failure):
                    raise
                # Refused before it ran, because a table has changed since it was prepared; prepared anew it runs.
                lease.connection.retire_statements(steps)
            return await self._fly(lease.connection, steps, needs_block=needs_block, is_write=is_write)
        finally:
            pool.take_back(lease)

    async def _fly(self, connection: Connection, steps: Sequence[Step], *, needs_block: bool, is_write: bool) -> list[PGresult]:
        deadline = connection.read_deadline()
        if deadline == -inf:
            await connection.check_for_cancellation()
        requests_before = 0 if connection.on_trio else cancel_requests()
        limit = limit_for(deadline, connection.cleanup_timeout_seconds)
        sent = [*steps, *PROBE] if is_write else steps
        opening = 0
        body: Answer
        if needs_block:
            before = [*self._begin, *limit.steps(connection.pgconn.server_version)]
            opening = len(before)
            flight = body = connection.take_off([*before, *sent])
            ending = connection.take_off([COMMIT])
            connection.sent_steps = flight.steps
        else:
            if limit is not NO_LIMIT:
                opening = 1
                sent = [limit.first_step(connection.pgconn.server_version), *sent]
            flight = ending = connection.take_off(sent, told_after=(len(sent),) if is_write else ())
            body = LandedSteps(flight)
        seconds = self._pool.settings.commit_timeout_seconds * ANSWER_PART
        try:
            await connection.arrive(body, on_cancel=_SETTLE)
        except CommitOutcomeUnknown as lost:
            if is_write:
                raise refusals.outcome_unknown(self._name, None) from lost
            raise refusals.commit_of_nothing_lost(self._name) from lost
        except ConnectionLost:
            await limit.deliver_own_timeout()  # a statement had failed by then, so nothing can be committed
            raise
        except BaseException:
            with suppress(ConnectionLost):
                await connection.arrive(ending, on_cancel=_FINISH, seconds=seconds)  # of nothing: it was stopped on the server
            raise
        failure = failure_among(flight.steps, flight.outcomes) if flight.failed else None
        written = flight.outcomes[-1] if is_write and failure is None else None
        held: Held = None
        try:
            await connection.arrive(ending, on_cancel=_FINISH, seconds=seconds)
        except ConnectionLost as lost:
            refused, held = await settle_lost_commit(
                self._pool,
                self._name,
                lost,
                None if written is None else read_probe(written),
                requests_before=requests_before,
                deliver_own_timeout=limit.deliver_own_timeout,
            )
        else:
            last = ending.outcomes[-1]
            refused = refusal_of_commit(self._name, last) if needs_block else failure_of(COMMIT, last)
        if failure is not None:
            if failure.sqlstate in SERVER_LIMITS:
                await limit.deliver_own_timeout()
            raise failure
        if refused is not None:
            if isinstance(refused, QueryCanceled):
                await checkpoint()  # the request that was to stop the last statement has hit the COMMIT: the cancellation it came from
            raise refused
        if held is not None:
            deliver_again(held, held)  # too late to stop the COMMIT
        return flight.outcomes[opening : opening + len(steps)]
