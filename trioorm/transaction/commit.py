"""The answer to COMMIT: its tag checked, and asked for on another connection when it is lost.

One way for all that commit: a block, and a transaction that travels as one flight. The answer is waited for whatever is cancelled
(`OnCancel.FINISH`), within a part of the budget: the pool's `commit_timeout_seconds`, for that and for the settling together.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.lowlevel import checkpoint_if_cancelled
from psycopg.pq.abc import PGresult

from trioorm.errors import ConnectionLost, TransactionId
from trioorm.pool import Pool
from trioorm.transaction import refusals
from trioorm.transaction.outcome import settle
from trioorm.transaction.runner import failure_of
from trioorm.wire import command
from trioorm.wire.interrupt import Held, cancel_requests, deliver_unseen

__all__ = ["ANSWER_PART", "COMMIT", "caused", "refusal_of_commit", "settle_lost_commit"]

COMMIT = command(b"COMMIT")

ANSWER_PART: Final = 0.6
"""Of the commit budget, the part for the answer; the rest is kept for asking on another connection when that does not come."""


def refusal_of_commit(name: str, result: PGresult) -> BaseException | None:
    """The error that stands for a transaction whose COMMIT was answered otherwise than with COMMIT; None when it is committed.

    Args:
        name: of the transaction, for errors.
        result: of its COMMIT.
    """
    if result.command_status != b"COMMIT":
        return failure_of(COMMIT, result) or refusals.answered_otherwise(name, result.command_status)
    return None


async def settle_lost_commit(
    pool: Pool,
    name: str,
    lost: ConnectionLost,
    transaction_id: TransactionId | None,
    *,
    requests_before: int,
    deliver_own_timeout: Callable[[], Awaitable[None]],
) -> tuple[BaseException | None, Held]:
    """The answer of COMMIT is lost: ask on another connection, within what is left of the budget.

    Args:
        pool: for its budget, and for another connection.
        name: of the transaction, for errors.
        lost: what the wait for the answer ended with.
        transaction_id: None if the transaction has written nothing.
        requests_before: what `cancel_requests` said when the transaction began.
        deliver_own_timeout: waits for the scope's own timeout, where the server's limit has acted first.

    Returns:
        The error that stands for the transaction if it did not take effect, or if nobody knows; and what came meanwhile and comes only
        once.

    Checkpoint: only if it asks; a cancellation that comes too late is raised by the next checkpoint.
    """
    if transaction_id is None:
        return caused(refusals.commit_of_nothing_lost(name), lost), None
    seconds = pool.settings.commit_timeout_seconds
    is_cancelled = anyio.current_effective_deadline() <= anyio.current_time() or cancel_requests() > requests_before
    outcome, held = await settle(pool.connect_beside, transaction_id, seconds=seconds * (1 - ANSWER_PART) if is_cancelled else seconds)
    if outcome == "committed":
        if held is None:
            deliver_unseen(requests_before)  # the cancel under which the connection was waited for and lost
        return None, held
    if outcome == "rolled back":
        await checkpoint_if_cancelled()
        await deliver_own_timeout()
        return caused(refusals.commit_lost(name), lost), held
    return caused(refusals.outcome_unknown(name, transaction_id), lost), held


def caused(error: BaseException, cause: BaseException) -> BaseException:
    """An error with its cause, for what is returned rather than raised."""
    error.__cause__ = cause
    return error
