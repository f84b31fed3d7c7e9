"""How a transaction or a savepoint ends: whole, or not at all, and the connection given back in any case.

The contract: the block's end waits for the body and every child; it commits (or releases) only if none of them failed, was cancelled or
left the server's transaction in error; else everything is rolled back before the block's exception goes on. There is a last checkpoint
before the COMMIT; a cancellation that comes later finds the block committed, and is raised by the next one behind it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from math import inf
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio
import trio
from anyio.lowlevel import checkpoint
from psycopg import pq
from psycopg.pq.abc import PGresult

from trioorm.errors import CommitOutcomeUnknown, ConnectionLost, IntegrityError, TransactionClosed
from trioorm.pool import Mark
from trioorm.transaction import refusals
from trioorm.transaction.aftermath import aftermath, is_cancellation
from trioorm.transaction.commit import caused
from trioorm.transaction.deadline import NO_LIMIT
from trioorm.transaction.hooks import BlockHooks
from trioorm.transaction.inside import carry_blocks, leave_block, open_blocks
from trioorm.transaction.runner import Connection
from trioorm.transaction.server_side import ServerSide
from trioorm.transaction.turns import Turns
from trioorm.wire import OnCancel
from trioorm.wire.flight import Answer
from trioorm.wire.interrupt import Held, Shield, after_cleanup, deliver_again, deliver_unseen

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from trioorm.pool import Lease

__all__ = ["Leaving", "State"]

SentEnd: TypeAlias = tuple[Answer, float]
"""What was sent to end a block, and for how many seconds its answer is waited for after a cancellation."""

_INTRANS = int(pq.TransactionStatus.INTRANS)  # a plain number, as in `runner`
_INERROR = pq.TransactionStatus.INERROR
_UNKNOWN = pq.TransactionStatus.UNKNOWN
_FINISH = OnCancel.FINISH


State: TypeAlias = Literal["not entered", "open", "ended"]
"""Where a block is."""


class Leaving(Turns, ABC):
    """What is known of a block, and its end.

    Attributes:
        name: how it is called in errors.
        server_side: the transaction on the server that this block is, or is in.
        lease: the connection's, while the block is open.
        first_error: the error that put the transaction in error, to be named instead of the server's "current transaction is aborted".
        hooks: that it was given, if any.
    """

    name: str
    server_side: ServerSide
    # What few blocks change stands with the class: each attribute that a block sets for itself costs every block.
    lease: Lease | None = None
    first_error: BaseException | None = None
    hooks: BlockHooks | None = None
    _state: State = "not entered"
    _sends_ahead = False
    _has_begun = False
    _has_last_turn = False
    _has_had_children = False
    _connection: Connection | None = None
    _fate_is_unknown = False
    _owner: str | None = None
    _mark: Mark | None = None
    _requests_before = 0

    _end_tag: bytes
    _nursery: TaskGroup
    _nursery_block: AbstractAsyncContextManager[TaskGroup, bool | None]

    @property
    @abstractmethod
    def cleanup_timeout_seconds(self) -> float:
        """The bound of its end."""

    @property
    def connection_status(self) -> int:
        """libpq's transaction status."""
        return _UNKNOWN if self._connection is None else self._connection.pgconn.transaction_status

    def connection_or_none(self) -> Connection | None:
        """The connection, in error or not, unless it is gone."""
        return None if self.connection_status == _UNKNOWN else self._connection

    @trio.lowlevel.enable_ki_protection
    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> CoroutineType[Any, Any, None]:
        return self.leave(kind, error, traceback)  # type: ignore[return-value] # mypy calls a coroutine's type Coroutine

    @trio.lowlevel.enable_ki_protection
    async def leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        explain: Callable[[IntegrityError], None] | None = None,
    ) -> None:
        """End the block.

        Args:
            kind, error, traceback: as `__aexit__`.
            explain: called with the error of a constraint that refused the COMMIT, before it is raised.
        """
        lease, connection = self.lease, self._connection
        assert lease is not None, "the block is open"
        assert connection is not None, "the block is open"
        failure = error
        sent = None
        scope = self._nursery.cancel_scope
        if error is None and scope.deadline != inf:
            if anyio.current_time() >= scope.deadline:
                scope.cancel()  # it has passed unseen, and asyncio's timers would be looked at too late
        elif (
            error is None
            and self._sends_ahead
            and connection.on_trio
            and not self._has_had_children
            and not self.turn_is_taken
            and (self.server_side.limit is NO_LIMIT or not self.server_side.limit.has_passed)
            # The body has left all scopes that it has entered. One that it has not, such as that of a generator which it did not close,
            # makes Trio raise where the block's nursery ends; it has no word of its own to ask for that beforehand.
            and getattr(lease.task, "_cancel_status", None) is getattr(scope, "_cancel_status", None)
        ):
            # Nothing is left but to end the block. A nursery gives the event loop a turn as it ends, even when it had no children, and the
            # answer is often there by then. A deadline that has passed unseen is seen in that turn: then COMMIT comes after it.
            try:
                await connection.check_for_cancellation()
            except BaseException as cancelled:
                # As if the body had raised it: the nursery knows whether it came from the block's own scope.
                kind, failure, traceback = type(cancelled), cancelled, cancelled.__traceback__
            else:
                if connection.pgconn.transaction_status == _INTRANS and not self.server_side.may_have_written:
                    try:
                        sent = self._send_end()
                    except ConnectionLost:
                        pass  # nothing was sent
                    else:
                        self.turn_is_taken = self._has_last_turn = True
                        self._state = "ended"
        is_ahead = sent is not None
        was_inside = self._has_had_children and lease.step_out()  # without children there is nothing to wait for
        try:
            if await self._nursery_block.__aexit__(kind, failure, traceback):
                failure = None
        except BaseException as raised:
            failure = aftermath(failure, raised, self.first_error)
        finally:
            if was_inside:
                lease.step_in()
        cancelled_itself = failure is None and sent is None and self._nursery.cancel_scope.cancel_called
        self._state = "ended"
        blocks = open_blocks()
        if blocks and blocks[-1] is self:
            carry_blocks(blocks[:-1])  # as `leave_block`
        else:
            leave_block(self)
        took_effect, held = False, None
        try:
            if sent is None and failure is None and not cancelled_itself:
                failure, sent = await self._finish_well()
                took_effect = failure is None and sent is None  # nothing was begun
            if sent is not None:
                answer, seconds = sent
                refused: BaseException | None = None
                try:
                    results = await connection.arrive(answer, _FINISH, seconds, is_ahead)
                except ConnectionLost as lost:
                    refused, held = await self._end_unanswered(lost)
                    results = []
                except KeyboardInterrupt as ctrl_c:  # raised behind the answer, which was waited for all the same
                    results, held = answer.outcomes, ctrl_c
                if results and results[0].command_status != self._end_tag:
                    refused = self._refusal_of_end(results[0])
                if refused is not None:
                    failure = refused
                    self._fate_is_unknown |= isinstance(refused, CommitOutcomeUnknown)
                else:
                    took_effect = True
                    if failure is not None:
                        failure.add_note(f"What {self.name} did is committed: COMMIT had been sent when this came to light.")
            if not took_effect:
                held = await self._undo() or held
        finally:
            self._give_connection_back()
            if self._line and self._has_last_turn:
                self.give_turn()  # those in line learn that the block has ended
        if self.hooks is not None and not self._fate_is_unknown:
            self._settle_hooks(self.hooks, took_effect=took_effect)
        if took_effect and failure is None:
            if held is not None:
                deliver_again(held, held)  # too late to stop the COMMIT
            return
        failure = after_cleanup(failure, held)
        if failure is None:
            failure = refusals.cancelled_by_itself(self.name)
        if not is_cancellation(failure):
            deliver_unseen(self._requests_before)
        if failure is not error:
            if explain is not None and isinstance(failure, IntegrityError):
                explain(failure)
            raise failure

    async def _finish_well(self) -> tuple[BaseException | None, SentEnd | None]:
        """Send what makes the block's work take effect; why that cannot be, so that it must be rolled back."""
        connection = self._connection
        assert connection is not None, "the block has not given it back"
        try:
            await connection.check_for_cancellation()
            if self.server_side.limit is not NO_LIMIT and self.server_side.limit.has_passed:
                await checkpoint()  # asyncio sees a deadline one turn later
            if self.turn_is_taken:
                await self._take_last_turn()
            else:
                self.turn_is_taken = self._has_last_turn = True
            status = self.connection_status
            if status == _UNKNOWN:
                await self.deliver_own_timeout()
                return refusals.gone(self.name), None
            if status == _INERROR:
                return refusals.swallowed(self.name, self.first_error), None
            if self._has_begun and self.server_side.may_have_written:
                await self._learn_id(connection)
            try:
                return None, self._send_end()
            except ConnectionLost as lost:
                return caused(refusals.gone(self.name), lost), None
        except BaseException as cancelled:
            return cancelled, None

    async def _take_last_turn(self) -> bool:
        """Wait for the statement of a task that is no child of the block and is still under way; later ones are refused."""
        await self.take_turn()
        self._has_last_turn = True
        return True

    async def _undo(self) -> Held:
        """Roll back, with the turn, or close the connection if the turn does not come in time."""
        held: Held = None
        if not self._has_last_turn:
            with Shield(self.cleanup_timeout_seconds) as shield:
                connection = self.connection_or_none() if self.turn_is_taken else None
                # It runs the statement of a task that is no child of the block: what that does would be rolled back anyway.
                if connection is not None and not await connection.request_cancel(shield):
                    connection.close_nowait()
                await shield.wait(self._take_last_turn)
            held = shield.held
        if self._connection is None or self._connection.closed:
            return held
        if not self._has_last_turn:
            self._connection.close_nowait()
            return held
        return await self._roll_back(self._connection) or held

    def ended_by_text(self) -> TransactionClosed:
        """The error for a COMMIT, ROLLBACK or the like that somebody ran as a statement inside the block."""
        self._fate_is_unknown = True
        return refusals.ended_by_text(self.name)

    async def _learn_id(self, connection: Connection) -> None:
        """Ask for the id of a transaction that is about to be committed."""

    @abstractmethod
    def _send_end(self) -> SentEnd | None:
        """Send COMMIT or RELEASE, with the turn; None where there is nothing to end. Never waits.

        Raises:
            ConnectionLost: the connection is gone, and nothing was sent.
            TransactionClosed: a text that was run as a statement has ended the transaction.
        """

    @abstractmethod
    def _refusal_of_end(self, result: PGresult) -> BaseException | None:
        """The error that stands for the block, where what was sent is answered otherwise than by its tag."""

    @abstractmethod
    async def _end_unanswered(self, lost: ConnectionLost) -> tuple[BaseException | None, Held]:
        """The same where the connection broke; None if it took effect all the same. And what came meanwhile and comes only once."""

    @abstractmethod
    async def _roll_back(self, connection: Connection) -> Held:
        """Undo the block's work, under a shield and within the cleanup budget; what came meanwhile and comes only once."""

    async def deliver_own_timeout(self) -> None:
        """See `ServerLimit.deliver_own_timeout`."""
        await self.server_side.limit.deliver_own_timeout()

    def note_error(self, error: BaseException) -> None:
        """Remember the first error that put the transaction in error."""
        if self.first_error is None and self.connection_status in (_INERROR, _UNKNOWN):
            self.first_error = error

    @abstractmethod
    def _give_connection_back(self) -> None:
        """Give it back. Never waits."""

    @abstractmethod
    def _settle_hooks(self, hooks: BlockHooks, *, took_effect: bool) -> None:
        """Run the hooks, or hand them on, now that the block's fate is known. Never waits."""
