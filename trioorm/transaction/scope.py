"""What a transaction and a savepoint have in common: a block that is a nursery, takes turns on a connection, and ends whole or not at all.

The contract: the block's end waits for the body and every child; it commits (or releases) only if none of them failed, was cancelled or
left the server's transaction in error; else everything is rolled back before the block's exception goes on. What a connection is in is
asked of libpq, never of a flag of ours.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVarTuple

import anyio
import psycopg
import trio
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint_if_cancelled
from psycopg import pq
from psycopg.pq.abc import PGresult

from trioorm.errors import (
    CommitOutcomeUnknown,
    ConnectionLost,
    TransactionAborted,
    TransactionClosed,
    TransactionRolledBack,
    is_safe_to_retry,
)
from trioorm.pool import OutcomeHook
from trioorm.transaction.aftermath import aftermath, is_cancellation
from trioorm.transaction.hooks import BlockHooks
from trioorm.transaction.inside import blocks_within, enter_block, restore_blocks
from trioorm.transaction.runner import BlockMark, Connection, Hold, failure_among, is_stale_plan
from trioorm.transaction.turns import Turns
from trioorm.wire import OnCancel, Step, command
from trioorm.wire.interrupt import Held, Shield, after_cleanup, cancel_requests, deliver_unseen

if TYPE_CHECKING:
    from trioorm.pool import Lease

__all__ = ["Scope"]

logger = logging.getLogger("trioorm.transaction")

Arguments = TypeVarTuple("Arguments")

_IDLE = pq.TransactionStatus.IDLE
_INERROR = pq.TransactionStatus.INERROR
_UNKNOWN = pq.TransactionStatus.UNKNOWN

# One name serves all: a stream or COPY holds the turn, so there is never more than one guard in a block, and an inner one hides an outer's.
_GUARD = command(b'SAVEPOINT "trioorm_guard"')
_UNDO_TO_GUARD = command(b'ROLLBACK TO "trioorm_guard"')
_RELEASE_GUARD = command(b'RELEASE "trioorm_guard"')


class _State(Enum):
    NEW = "not entered"
    OPEN = "open"
    ENDED = "ended"


_STATES = {_State.NEW: "was not entered", _State.OPEN: "is open", _State.ENDED: "has ended"}


class Scope(ABC):
    """A block of statements that takes effect as a whole or not at all; itself a `Runner`.

    Attributes:
        name: how it is called in errors.
        cleanup_timeout_seconds: the bound of its end.
        lease: the connection's, while the block is open.
    """

    in_transaction = True

    def __init__(self, name: str, *, cleanup_timeout_seconds: float) -> None:
        self.name = name
        self.cleanup_timeout_seconds = cleanup_timeout_seconds
        self.turns = Turns()
        self._state = _State.NEW
        self._has_last_turn = False
        self._connection: Connection | None = None
        self.lease: Lease | None = None
        # The error that put the transaction in error, to be named instead of the server's "current transaction is aborted".
        self.first_error: BaseException | None = None
        self.hooks = BlockHooks()
        self._fate_is_unknown = False

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> str:
        """Where the block is: "not entered", "open" or "ended"."""
        return self._state.value

    # Entering.

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        if self._state is not _State.NEW:
            raise TransactionClosed(f"{self.name} was entered before; a block can be entered once.\nTo fix it: open another one.")
        self._connection = await self._take_connection()
        try:
            self._nursery = anyio.create_task_group()
            await self._nursery.__aenter__()
        except BaseException:
            self._give_connection_back()
            raise
        self._marks_before = enter_block(self)
        self._requests_before = cancel_requests()
        self._state = _State.OPEN
        return self

    @abstractmethod
    async def _take_connection(self) -> Connection:
        """Get the connection for the block's length."""

    @abstractmethod
    def _give_connection_back(self) -> None:
        """Give it back. Never waits."""

    # Children.

    @property
    def cancel_scope(self) -> anyio.CancelScope:
        """The scope of the whole block. Cancelling it rolls back, and the block then raises `TransactionRolledBack`."""
        self._check_open()
        return self._nursery.cancel_scope

    def start_soon(self, function: Callable[[*Arguments], Awaitable[Any]], *arguments: *Arguments, name: object = None) -> None:
        """Start a child of this block.

        The block ends only when the child has; a child that fails cancels its siblings and the body, and the block rolls back.

        Args:
            function: an async function.
            arguments: for it.
            name: of the task, for errors and debuggers; the function's when None.

        Raises:
            TransactionClosed: the block has ended. Nothing was started.
        """
        self._check_open()
        name = name or getattr(function, "__qualname__", None)
        self._nursery.start_soon(self._child, self._coming_child(), function, arguments, name=name)

    async def start(self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: object, name: object = None) -> Any:  # noqa: ANN401 - whatever it reports
        """Start a child and wait until it has called `task_status.started(value)`; returns the value.

        Checkpoint: always.
        """
        self._check_open()
        name = name or getattr(function, "__qualname__", None)
        return await self._nursery.start(self._child, self._coming_child(), function, arguments, name=name)

    def _coming_child(self) -> object:
        """What stands for a child among the tasks inside the block until it runs."""
        assert self.lease is not None, "the block is open"
        place = object()
        self.lease.inside.add(place)
        return place

    async def _child(
        self, place: object, function: Callable[..., Awaitable[Any]], arguments: tuple[object, ...], **task_status: TaskStatus[Any]
    ) -> None:
        # A child belongs to this block, whatever inner savepoint its starter happened to be in.
        restore_blocks(blocks_within(self))
        lease = self.lease
        assert lease is not None, "a block ends after its children"
        lease.inside.discard(place)
        lease.step_in()
        try:
            await function(*arguments, **task_status)
        finally:
            lease.step_out()

    def add_hook(self, hook: OutcomeHook, *, on_commit: bool) -> None:
        """Remember a hook for one of the two outcomes.

        Raises:
            TransactionClosed: the block has ended.
        """
        self._check_open()
        self.hooks.add(hook, on_commit=on_commit)

    @abstractmethod
    def _settle_hooks(self, *, took_effect: bool) -> None:
        """Run the hooks, or hand them on, now that the block's fate is known. Never waits."""

    # Running statements.

    @trio.lowlevel.enable_ki_protection
    async def run(self, steps: Sequence[Step], *, is_write: bool) -> list[PGresult]:
        """See `Runner.run`. A cancellation that interrupts a statement puts the transaction in error, as PostgreSQL does."""
        self._check_open()
        await self.turns.take()
        try:
            return await self.run_in_turn(steps)
        finally:
            self.turns.give()

    async def run_in_turn(self, steps: Sequence[Step]) -> list[PGresult]:
        """Run statements, the opening before them, in one flight; the turn is taken."""
        await checkpoint_if_cancelled()
        connection = self.usable_connection()
        opening = self.opening()
        sent = [*opening, *steps]
        flight = connection.take_off(sent)
        try:
            results = await connection.arrive(flight, on_cancel=OnCancel.STOP)
        except BaseException as error:
            self.note_error(error)
            raise
        finally:
            self.opened(flight.outcomes[: len(opening)])
        if (failure := failure_among(sent, results)) is not None:
            if is_stale_plan(failure):
                connection.retire_statements(steps)  # for the next transaction; this one is in error
                failure.safe_to_retry = True
            self.note_error(failure)
            raise failure
        return results[len(opening) :]

    @abstractmethod
    def opening(self) -> list[Step]:
        """The commands that must precede the next statement: BEGIN, SAVEPOINT, or nothing."""

    @abstractmethod
    def opened(self, results: Sequence[PGresult]) -> None:
        """Note which of the opening commands, by their results, succeeded."""

    def note_error(self, error: BaseException) -> None:
        """Remember the first error that put the transaction in error."""
        if self.first_error is None and self.connection_status in (_INERROR, _UNKNOWN):
            self.first_error = error

    def hold(self, what: str, *, guarded: bool = False) -> Hold:
        """See `Runner.hold`."""
        self._check_open()
        return _ScopeHold(self, what, guarded=guarded)

    @property
    def connection_status(self) -> int:
        """libpq's transaction status."""
        return _UNKNOWN if self._connection is None else self._connection.pgconn.transaction_status

    def connection_or_none(self) -> Connection | None:
        """The connection, in error or not, unless it is gone."""
        return None if self.connection_status == _UNKNOWN else self._connection

    def usable_connection(self) -> Connection:
        """The connection, if a statement can run on it now.

        Raises:
            TransactionClosed: the block has ended.
            ConnectionLost: the connection is gone. Safe to retry.
            TransactionAborted: an earlier error, named and chained, put the transaction in error.
        """
        self._check_open()
        connection, status = self._connection, self.connection_status
        if connection is None or status == _UNKNOWN:
            raise self.gone() from self.first_error
        if status == _INERROR:
            raise self._aborted()
        return connection

    def _aborted(self) -> TransactionAborted:
        first = self.first_error
        if first is None:
            reason = "a failed statement"
        elif is_cancellation(first):
            reason = "a statement that a cancellation interrupted"
        else:
            reason = f"{type(first).__name__}: {str(first).partition(chr(10))[0]}"
        error = TransactionAborted(
            f"{self.name} was aborted because of {reason}\n"
            "PostgreSQL refuses every further statement until it is rolled back; nothing was sent.\n"
            "To fix it: let the first error leave the block, or put the statement that may fail into `async with tx.savepoint() as sp`.",
            sqlstate="25P02",
            message_primary="current transaction is aborted",
        )
        error.__cause__ = first
        error.safe_to_retry = first is not None and is_safe_to_retry(first)
        return error

    def _check_open(self) -> None:
        if self._state is not _State.OPEN:
            task = anyio.get_current_task().name
            raise TransactionClosed(
                f"{self.name} was used by task {task!r}, but its block {_STATES[self._state]}. Nothing was sent.\n"
                "To fix it: do the work inside `async with`, in the body or in a task started with `tx.start_soon`."
            )

    # Leaving.

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        failure = await self._join(kind, error, traceback)
        cancelled_itself = failure is None and self._nursery.cancel_scope.cancel_called
        self._state = _State.ENDED
        restore_blocks(self._marks_before)
        held = None
        try:
            if failure is None and not cancelled_itself:
                failure = await self._finish_well()
                self._fate_is_unknown |= isinstance(failure, CommitOutcomeUnknown)
            if failure is not None or cancelled_itself:
                held = await self._undo()
        finally:
            self._give_connection_back()
            if self._has_last_turn:
                self.turns.give()  # those in line learn that the block has ended
        if not self._fate_is_unknown:
            self._settle_hooks(took_effect=failure is None and not cancelled_itself)
        failure = after_cleanup(failure, held)
        if failure is None and cancelled_itself:
            failure = TransactionRolledBack(
                f"{self.name} was cancelled by its own cancel_scope and rolled back; nothing was written.\n"
                "To fix it: if that was meant, catch this error around the block."
            )
        if failure is not None and not is_cancellation(failure):
            deliver_unseen(self._requests_before)
        if failure is not None and failure is not error:
            raise failure

    async def _join(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> BaseException | None:
        """Wait for the children; what went wrong in the body or in them, in the shape in which the block will raise it."""
        lease = self.lease
        assert lease is not None, "the block is open"
        was_inside = lease.step_out()
        try:
            swallowed = await self._nursery.__aexit__(kind, error, traceback)
        except BaseException as raised:
            return aftermath(error, raised, self.first_error)
        finally:
            if was_inside:
                lease.step_in()
        return None if swallowed else error

    async def _finish_well(self) -> BaseException | None:
        """Make the block's work take effect; why it could not, and must be rolled back, else None."""
        try:
            await checkpoint_if_cancelled()
            await self._take_last_turn()
        except BaseException as cancelled:
            return cancelled
        status = self.connection_status
        if status == _UNKNOWN:
            return self.gone()
        if status == _INERROR:
            first = self.first_error
            rolled_back = TransactionRolledBack(
                f"{self.name} was rolled back instead of committed, because a statement in it had failed or was interrupted"
                f"{f' ({type(first).__name__})' if first else ''} and the error was swallowed inside the block.\nNothing was written. "
                "To fix it: let the error leave the block, or put the statement that may fail into `async with tx.savepoint() as sp`.",
                first_error=first,
            )
            rolled_back.__cause__ = first
            return rolled_back
        return await self._make_effective()

    async def _take_last_turn(self) -> bool:
        """Wait for the statement of a task that is no child of the block and is still under way; later ones are refused."""
        await self.turns.take()
        self._has_last_turn = True
        return True

    async def _cancel_statement(self) -> bool:
        """Stop the statement of a task that is no child of the block: what it does would be rolled back anyway."""
        if self._connection is not None:
            try:
                await self._connection.cancel_safe(timeout=self.cleanup_timeout_seconds)
            except psycopg.Error as error:
                logger.debug("a statement could not be cancelled before a rollback: %s", error)
        return True

    async def _undo(self) -> Held:
        """Roll back, with the turn, or close the connection if the turn does not come in time."""
        held: Held = None
        if not self._has_last_turn:
            with Shield(self.cleanup_timeout_seconds) as shield:
                if self.turns.busy:
                    await shield.wait(self._cancel_statement)
                await shield.wait(self._take_last_turn)
            held = shield.held
        if self._connection is None or self._connection.closed:
            return held
        if not self._has_last_turn:
            self._connection.close_nowait()
            return held
        return await self._roll_back(self._connection) or held

    def gone(self) -> ConnectionLost:
        """The error for a connection that broke before COMMIT was sent."""
        return ConnectionLost(
            f"the connection of {self.name} is gone, so the server has rolled the whole transaction back; nothing was written.\n"
            "To fix it: run the whole transaction again.",
            safe_to_retry=True,
        )

    def ended_by_text(self) -> TransactionClosed:
        """The error for a COMMIT, ROLLBACK or the like that somebody ran as a statement inside the block."""
        self._fate_is_unknown = True
        return TransactionClosed(
            f"a statement inside {self.name} ended its transaction (COMMIT, ROLLBACK or the like as text).\n"
            "What came before may be written, and what comes after is not protected.\n"
            "To fix it: let the block end the transaction; to roll back, raise an exception."
        )

    @abstractmethod
    async def _make_effective(self) -> BaseException | None:
        """COMMIT or RELEASE; the error that stands for the block if it did not take effect."""

    @abstractmethod
    async def _roll_back(self, connection: Connection) -> Held:
        """Undo the block's work, under a shield and within the cleanup budget; what came meanwhile and comes only once."""


class _ScopeHold:
    """The turn of a scope, taken by a stream or a COPY for its whole length."""

    __slots__ = ("_guarded", "_mark", "_scope")

    def __init__(self, scope: Scope, what: str, *, guarded: bool) -> None:
        self._scope = scope
        self._mark = BlockMark(f"{what} of {scope.name}")
        self._guarded = guarded

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Connection:
        scope = self._scope
        await scope.turns.take()
        try:
            connection = scope.usable_connection()
            if self._guarded or scope.opening():
                await scope.run_in_turn([_GUARD] if self._guarded else [])
        except BaseException:
            scope.turns.give()
            raise
        scope.turns.hold_for(self._mark)
        self._mark.enter()
        return connection

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._mark.leave()
        held = None
        try:
            if self._guarded:
                held = await self._lift_guard()
            if error is not None:
                self._scope.note_error(error)
        finally:
            self._scope.turns.give()
        if (raised := after_cleanup(error, held)) is not None and raised is not error:
            raise raised

    async def _lift_guard(self) -> Held:
        connection = self._scope.connection_or_none()
        if connection is None:
            return None
        if self._scope.connection_status == _INERROR:
            _, held = await connection.fly_shielded([_UNDO_TO_GUARD, _RELEASE_GUARD], seconds=connection.cleanup_timeout_seconds)
            return held
        try:
            await connection.fly([_RELEASE_GUARD], on_cancel=OnCancel.FINISH)
        except ConnectionLost as lost:
            raise self._scope.gone() from lost
        return None
