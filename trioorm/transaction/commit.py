"""The answer to COMMIT: taken whatever is cancelled, its tag checked, and asked for on another connection when it is lost.

One way for all that commit: a block, and a transaction that travels as one flight. The budget is the pool's `commit_timeout_seconds`, for
the answer and the settling together.
"""

from collections.abc import Awaitable, Callable

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from trioorm.errors import ConnectionLost, TransactionId
from trioorm.pool import Pool
from trioorm.transaction import refusals
from trioorm.transaction.outcome import settle
from trioorm.transaction.runner import Connection, failure_among
from trioorm.wire import OnCancel, command
from trioorm.wire.flight import Answer
from trioorm.wire.interrupt import Held, cancel_requests, deliver_unseen

__all__ = ["COMMIT", "CommitAnswer", "caused"]

COMMIT = command(b"COMMIT")

# Of the commit budget, the part kept for asking on another connection when COMMIT was not answered.
_SETTLING_PART = 0.4


class CommitAnswer:
    """How one transaction's COMMIT is waited for.

    Args:
        pool: for its budget, and for another connection.
        name: of the transaction, for errors.
        requests_before: what `cancel_requests` said when the transaction began.
        deliver_own_timeout: waits for the scope's own timeout, where the server's limit has acted first.
    """

    __slots__ = ("_deliver_own_timeout", "_name", "_pool", "_requests_before")

    def __init__(self, pool: Pool, name: str, *, requests_before: int, deliver_own_timeout: Callable[[], Awaitable[None]]) -> None:
        self._pool = pool
        self._name = name
        self._requests_before = requests_before
        self._deliver_own_timeout = deliver_own_timeout

    async def take(
        self, connection: Connection, answer: Answer, transaction_id: Callable[[], TransactionId | None]
    ) -> tuple[BaseException | None, Held]:
        """Wait for the answer.

        Args:
            connection: where COMMIT was queued.
            answer: to COMMIT alone.
            transaction_id: tells it; None if the transaction has written nothing.

        Returns:
            The error that stands for the transaction if it did not take effect, or if nobody knows; and what came meanwhile and comes only
            once.

        Checkpoint: only if it waits; a cancellation that comes too late is raised by the next checkpoint.
        """
        seconds = self._pool.settings.commit_timeout_seconds
        try:
            results = await connection.arrive(answer, on_cancel=OnCancel.FINISH, seconds=seconds * (1 - _SETTLING_PART))
        except ConnectionLost as lost:
            return await self._settle(lost, transaction_id(), seconds)
        if (failure := failure_among([COMMIT], results)) is not None:
            return failure, None
        if results[0].command_status != b"COMMIT":
            return refusals.answered_otherwise(self._name, results[0].command_status), None
        return None, None

    async def _settle(
        self, lost: ConnectionLost, transaction_id: TransactionId | None, seconds: float
    ) -> tuple[BaseException | None, Held]:
        """The answer of COMMIT is lost: ask on another connection, within what is left of the budget."""
        if transaction_id is None:
            return caused(refusals.commit_of_nothing_lost(self._name), lost), None
        is_cancelled = anyio.current_effective_deadline() <= anyio.current_time() or cancel_requests() > self._requests_before
        outcome, held = await settle(
            self._pool.connect_beside, transaction_id, seconds=seconds * _SETTLING_PART if is_cancelled else seconds
        )
        if outcome == "committed":
            if held is None:
                deliver_unseen(self._requests_before)  # the cancel under which the connection was waited for and lost
            return None, held
        if outcome == "rolled back":
            await checkpoint_if_cancelled()
            await self._deliver_own_timeout()
            return caused(refusals.commit_lost(self._name), lost), held
        return caused(refusals.outcome_unknown(self._name, transaction_id), lost), held


def caused(error: BaseException, cause: BaseException) -> BaseException:
    """An error with its cause, for what is returned rather than raised."""
    error.__cause__ = cause
    return error
