"""How a COMMIT ended whose answer was lost: asked of the server on another connection.

`pg_xact_status` alone is no proof. After a crash, an id that had not reached the disk is issued again, and then the status of the new
transaction says `committed` for rows that are gone. So `committed` is believed only

- on the same timeline (a standby that took over may have issued the id again), and
- when the server has not recovered from a crash since the id was assigned: such a recovery throws the server's statistics away and notes
  the time, which a regular restart does not; or when the checkpoint that the recovery wrote lies above the id, so that the log had it.

What is not committed needs no such proof: had the COMMIT reached the disk, its id could not be issued again, so `aborted`, an id of the
future and one at or above the recovery's checkpoint all say that it was lost.

Source: https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT and `pgstat_reset_after_failure` in PostgreSQL's
source; each case has a test with a server that is really killed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal

import anyio
from psycopg.pq import Format
from psycopg.pq.abc import PGresult

from trioorm.errors import TransactionId, TrioormError
from trioorm.resilience import Backoff
from trioorm.wire import AnyIOConnection, Statement, Step, error_from_result, is_error
from trioorm.wire.interrupt import Held, Shield

__all__ = ["PROBE", "Outcome", "ask_outcome", "read_probe", "settle"]

logger = logging.getLogger("trioorm.transaction")

Connection = AnyIOConnection[Any]

Outcome = Literal["committed", "rolled back", "in progress", "unknown"]
"""What is known of a transaction: its two ends, that it still runs, or that nothing can be proven."""

_TIMELINE = "CASE WHEN pg_is_in_recovery() THEN NULL ELSE left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END"

_PROBE = Statement(
    f"SELECT pg_current_xact_id_if_assigned()::text || ' ' || extract(epoch FROM clock_timestamp())::text || ' ' || {_TIMELINE}".encode(),
    result_format=Format.TEXT,
)
PROBE: Final[Sequence[Step]] = _PROBE.alone
"""The step that asks for the running transaction's id, to go with its first write: in one column, as each costs the client, and NULL where
there is none."""

_STATUS = Statement(
    f"SELECT pg_xact_status($1::text::xid8), {_TIMELINE} = $2::text, "
    "(SELECT stats_reset < to_timestamp($3::float8) FROM pg_stat_bgwriter)".encode(),
    result_format=Format.TEXT,
)
_RECOVERY = Statement(b"SELECT next_xid, redo_lsn = checkpoint_lsn FROM pg_control_checkpoint()", result_format=Format.TEXT)
_END_SESSION = Statement(
    b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid = $1::text::xid8::xid", result_format=Format.TEXT
)
_IN_THE_FUTURE = "22023"


def read_probe(result: PGresult) -> TransactionId | None:
    """What the probe's answer says: the id, or None when the transaction has written nothing so far."""
    answer = result.get_value(0, 0)
    if answer is None:
        return None
    number, seconds, timeline = answer.decode().split()
    return TransactionId(number=int(number), assigned_at=datetime.fromtimestamp(float(seconds), UTC), timeline=timeline)


async def ask_outcome(connection: Connection, transaction_id: TransactionId) -> Outcome:
    """Ask once.

    Raises:
        ConnectionLost: the connection broke. Safe to retry.
        DatabaseError: the server does not answer the question.

    Checkpoint: always.
    """
    number = str(transaction_id.number).encode()
    seconds = repr(transaction_id.assigned_at.timestamp()).encode()
    values = [number, transaction_id.timeline.encode(), seconds]
    (result,) = await connection.fly([Step(_STATUS, values, [Format.TEXT] * 3)])
    if is_error(result):
        error = error_from_result(result)
        if error.sqlstate == _IN_THE_FUTURE:
            return "rolled back"
        raise error
    status, same_timeline, no_crash_since = (result.get_value(0, column) for column in range(3))
    if status == b"aborted":
        return "rolled back"
    if status == b"in progress":
        return "in progress"
    if status is None or same_timeline != b"t":
        return "unknown"
    return "committed" if no_crash_since == b"t" else await _outcome_after_crash(connection, transaction_id)


async def _outcome_after_crash(connection: Connection, transaction_id: TransactionId) -> Outcome:
    (result,) = await connection.fly([Step(_RECOVERY)])
    if is_error(result):
        return "unknown"  # the role may not read it
    next_xid, is_of_recovery = result.get_value(0, 0), result.get_value(0, 1)
    assert next_xid is not None, "pg_control_checkpoint has always one row"
    epoch, _, number = next_xid.decode().partition(":")
    if (int(epoch) << 32) + int(number) <= transaction_id.number:
        return "rolled back"
    # A checkpoint while the server runs begins before it ends; only one that is written while nothing runs is a point.
    return "committed" if is_of_recovery == b"t" else "unknown"


async def settle(connect: Callable[[], Awaitable[Connection]], transaction_id: TransactionId, *, seconds: float) -> tuple[Outcome, Held]:
    """Find out how a COMMIT ended whose answer was lost, within a bound and in spite of cancellations.

    A session that still has the transaction open is ended: its client, this one, has gone, and while it lives nothing is definite.

    Args:
        connect: opens another connection; tried again while the server is away.
        transaction_id: what to ask for.
        seconds: how long it may take in all.

    Returns:
        The outcome, never "in progress"; and what came meanwhile and comes only once.

    Checkpoint: always, and a cancellation is never raised here.
    """
    outcome: Outcome | None = None
    with Shield(seconds) as shield:
        backoff = Backoff(base_seconds=0.02, max_seconds=0.2)
        while outcome is None and not shield.expired:
            outcome = await shield.wait(partial(_try_to_settle, connect, transaction_id))
            if outcome is None:
                await shield.wait(partial(anyio.sleep, backoff.next_delay()))
    return outcome or "unknown", shield.held


async def _try_to_settle(connect: Callable[[], Awaitable[Connection]], transaction_id: TransactionId) -> Outcome | None:
    """One attempt; None when another may tell more."""
    try:
        connection = await connect()
    except TrioormError as error:
        logger.debug("cannot ask yet how a COMMIT ended: %s", error)
        return None if error.safe_to_retry else "unknown"
    try:
        outcome = await ask_outcome(connection, transaction_id)
        if outcome != "in progress":
            return outcome
        await connection.fly([Step(_END_SESSION, [str(transaction_id.number).encode()], [Format.TEXT])])
    except TrioormError as error:
        logger.debug("asking how a COMMIT ended failed: %s", error)
    finally:
        connection.close_nowait()
    return None
