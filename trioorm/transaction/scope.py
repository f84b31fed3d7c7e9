"""What a transaction and a savepoint have in common: a block that is a nursery, takes turns on a connection, and ends whole or not at all.

The contract: the block's end waits for the body and every child; it commits (or releases) only if none of them failed, was cancelled or
left the server's transaction in error; else everything is rolled back before the block's exception goes on. What a connection is in is
asked of libpq, never of a flag of ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVarTuple

import anyio
import trio
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint_if_cancelled
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.pq import Format
from psycopg.pq.abc import PGresult

from trioorm.errors import CommitOutcomeUnknown, ConnectionLost, DatabaseError, TransactionClosed
from trioorm.pool import Mark, OutcomeHook, shown
from trioorm.transaction import refusals
from trioorm.transaction.aftermath import aftermath, is_cancellation
from trioorm.transaction.deadline import NO_LIMIT, SERVER_LIMITS
from trioorm.transaction.hold import ScopeHold
from trioorm.transaction.hooks import BlockHooks
from trioorm.transaction.inside import blocks_within, enter_block, is_inside, leave_block, open_blocks, restore_blocks
from trioorm.transaction.nursery import open_nursery
from trioorm.transaction.runner import Connection, Hold, failure_among, failure_of, is_stale_plan
from trioorm.transaction.server_side import ServerSide
from trioorm.transaction.shared_flight import fly_shared
from trioorm.transaction.turns import Passenger, Turns
from trioorm.wire import OnCancel, Statement, Step
from trioorm.wire.interrupt import Held, Shield, after_cleanup, cancel_requests, deliver_again, deliver_unseen

if TYPE_CHECKING:
    from trioorm.pool import Lease

__all__ = ["Scope", "running_task_name"]

Arguments = TypeVarTuple("Arguments")

_INERROR = pq.TransactionStatus.INERROR
_UNKNOWN = pq.TransactionStatus.UNKNOWN


class _State(Enum):
    NEW = "not entered"
    OPEN = "open"
    ENDED = "ended"


_OPEN = _State.OPEN
_STATES = {_State.NEW: "was not entered", _State.OPEN: "is open", _State.ENDED: "has ended"}


class Scope(Turns, ABC):
    """A block of statements that takes effect as a whole or not at all; itself a `Runner`.

    Attributes:
        name: how it is called in errors.
        cleanup_timeout_seconds: the bound of its end.
        server_side: the transaction on the server that this block is, or is in.
        lease: the connection's, while the block is open.
        first_error: the error that put the transaction in error, to be named instead of the server's "current transaction is aborted".
        hooks: that it was given, if any.
    """

    in_transaction = True

    def __init__(self, name: str, server_side: ServerSide, *, cleanup_timeout_seconds: float) -> None:
        self.name = name
        self.server_side = server_side
        self.cleanup_timeout_seconds = cleanup_timeout_seconds
        self.lease: Lease | None = None
        self.first_error: BaseException | None = None
        self.hooks: BlockHooks | None = None
        self._state = _State.NEW
        self._has_last_turn = False
        self._has_had_children = False
        self._connection: Connection | None = None
        self._fate_is_unknown = False
        self._owner: str | None = None
        self._mark: Mark | None = None
        self._check_for_cancellation: Callable[[], Awaitable[None]] = checkpoint_if_cancelled

    def __str__(self) -> str:
        return f"{self.name}, opened at {shown(self._mark)},"

    @property
    def state(self) -> str:
        """Where the block is: "not entered", "open" or "ended"."""
        return self._state.value

    # Entering.

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        if self._state is not _State.NEW:
            raise refusals.entered_before(self.name)
        self._connection = connection = await self._take_connection()
        self._check_for_cancellation = connection.check_for_cancellation
        try:
            self._nursery_block = open_nursery(on_trio=connection.on_trio)
            self._nursery = await self._nursery_block.__aenter__()
        except BaseException:
            self._give_connection_back()
            raise
        if self.server_side.nursery is None:
            self.server_side.nursery = self._nursery
        enter_block(self)
        self._requests_before = 0 if connection.on_trio else cancel_requests()
        self._state = _OPEN
        return self

    @abstractmethod
    async def _take_connection(self) -> Connection:
        """Get the connection for the block's length, and note where it was opened."""

    @abstractmethod
    def _give_connection_back(self) -> None:
        """Give it back. Never waits."""

    # Children.

    @property
    def cancel_scope(self) -> anyio.CancelScope:
        """The scope of the whole block. Cancelling it rolls back, and the block then raises `TransactionRolledBack`.

        On Trio it is Trio's own, which has the same words.
        """
        if self._state is not _OPEN:
            raise refusals.not_open(self.name, _STATES[self._state], running_task_name())
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
            ForeignTask: the caller is not inside the block. Nothing was started.
        """
        self.check_usable()
        name = name or getattr(function, "__qualname__", None)
        self._has_had_children = True
        self._nursery.start_soon(self._child, self._coming_child(), function, arguments, name=name)

    async def start(self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: object, name: object = None) -> Any:  # noqa: ANN401 - whatever it reports
        """Start a child and wait until it has called `task_status.started(value)`; returns the value.

        Checkpoint: always.
        """
        self.check_usable()
        name = name or getattr(function, "__qualname__", None)
        self._has_had_children = True
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
        self.check_usable()
        if self.hooks is None:
            self.hooks = BlockHooks()
        self.hooks.add(hook, on_commit=on_commit)

    def take_over(self, inner: BlockHooks) -> None:
        """Remember the hooks of an inner block that has taken effect."""
        if self.hooks is None:
            self.hooks = inner
        else:
            self.hooks.take_over(inner)

    @abstractmethod
    def _settle_hooks(self, hooks: BlockHooks, *, took_effect: bool) -> None:
        """Run the hooks, or hand them on, now that the block's fate is known. Never waits."""

    # Running statements.

    @trio.lowlevel.enable_ki_protection
    async def run(self, steps: Sequence[Step], *, is_write: bool) -> list[PGresult]:
        """See `Runner.run`. A cancellation that interrupts a statement puts the transaction in error, as PostgreSQL does."""
        self.check_usable()
        if self.turn_is_taken:
            has_own_timeout = anyio.current_effective_deadline() < self.server_side.limit.deadline
            passenger = Passenger(steps, is_write=is_write, alone=has_own_timeout)
            await self.ride(passenger)
            if passenger.carried:
                return await self._arrival_of(passenger)
        else:
            self.turn_is_taken = True
        try:
            return await self.run_in_turn(steps, is_write=is_write)
        finally:
            self.give_turn()

    async def read(self, steps: Sequence[Step]) -> list[PGresult]:
        """See `Runner.read`; what they see is a matter of the transaction's isolation."""
        return await self.run(steps, is_write=False)

    @trio.lowlevel.enable_ki_protection
    async def run_one(
        self, statement: Statement, values: Sequence[Buffer | None], formats: Sequence[Format], *, is_write: bool
    ) -> PGresult:
        """See `Runner.run_one`."""
        if self._state is not _OPEN or self not in open_blocks():
            self.check_usable()
        if self.turn_is_taken:
            (result,) = await self.run((Step(statement, values, formats),), is_write=is_write)
            return result
        self.turn_is_taken = True
        try:
            await self._check_for_cancellation()
            if self.server_side.limit is not NO_LIMIT:
                await self.server_side.follow_deadline()
            connection = self.usable_connection()
            opening, probe = self.opening(), self.server_side.probe_for(is_write=is_write)
            if opening or probe:
                (result,) = await self._fly(connection, opening, (Step(statement, values, formats),), probe)
                return result
            try:
                result = await connection.ask(statement, values, formats, on_cancel=OnCancel.STOP)
            except BaseException as error:
                await self._note_broken_off(error)
                raise
            if (failure := failure_of(statement.alone[0], result)) is not None:
                await self._note_failed(connection, statement.alone, failure)
                raise failure
            return result
        finally:
            self.give_turn()

    async def run_in_turn(self, steps: Sequence[Step], *, is_write: bool) -> list[PGresult]:
        """Run statements, the opening before them, in one flight; the turn is taken."""
        await self._check_for_cancellation()
        if self.server_side.limit is not NO_LIMIT:
            await self.server_side.follow_deadline()
        connection = self.usable_connection()
        opening, probe = self.opening(), self.server_side.probe_for(is_write=is_write)
        if not (steps or opening or probe):
            return []
        return await self._fly(connection, opening, steps, probe)

    async def _fly(self, connection: Connection, opening: Sequence[Step], steps: Sequence[Step], probe: Sequence[Step]) -> list[PGresult]:
        flight = connection.take_off([*opening, *steps, *probe])
        try:
            results = await connection.arrive(flight, on_cancel=OnCancel.STOP)
        except BaseException as error:
            await self._note_broken_off(error)
            raise
        finally:
            if opening:
                self.opened(flight.outcomes[: len(opening)])
        if flight.failed and (failure := failure_among(flight.steps, results)) is not None:
            await self._note_failed(connection, steps, failure)
            raise failure
        if probe:
            self.server_side.probed(results[-1])
        return results[len(opening) : len(opening) + len(steps)]

    async def _note_broken_off(self, error: BaseException) -> None:
        self.note_error(error)
        if isinstance(error, ConnectionLost):
            await self.deliver_own_timeout()

    async def _note_failed(self, connection: Connection, steps: Sequence[Step], failure: DatabaseError) -> None:
        if is_stale_plan(failure):
            connection.retire_statements(steps)  # for the next transaction; this one is in error
            failure.safe_to_retry = True
        self.note_error(failure)
        if failure.sqlstate in SERVER_LIMITS:
            await self.deliver_own_timeout()

    async def _arrival_of(self, passenger: Passenger) -> list[PGresult]:
        error = passenger.error
        if error is None:
            assert passenger.results is not None, "it was called"
            return passenger.results
        if isinstance(error, ConnectionLost) or (isinstance(error, DatabaseError) and error.sqlstate in SERVER_LIMITS):
            await self.deliver_own_timeout()
        raise error

    async def deliver_own_timeout(self) -> None:
        """See `ServerLimit.deliver_own_timeout`."""
        await self.server_side.limit.deliver_own_timeout()

    # Several statements in one flight.

    def carry(self, passengers: list[Passenger]) -> bool:
        """Send the statements of several tasks together, from a child of the block; False when the block can have no more children."""
        if self._state is not _OPEN:
            return False
        try:
            self._nursery.start_soon(fly_shared, self, passengers, name="trioorm: statements of several tasks")
        except RuntimeError:
            return False
        return True

    @abstractmethod
    def opening(self) -> Sequence[Step]:
        """The commands that must precede the next statement: BEGIN with the server's limit, SAVEPOINT, or nothing."""

    @abstractmethod
    def opened(self, results: Sequence[PGresult]) -> None:
        """Note which of the opening commands, by their results, succeeded."""

    def note_error(self, error: BaseException) -> None:
        """Remember the first error that put the transaction in error."""
        if self.first_error is None and self.connection_status in (_INERROR, _UNKNOWN):
            self.first_error = error

    def hold(self, what: str, *, guarded: bool = False) -> Hold:
        """See `Runner.hold`."""
        self.check_usable()
        return ScopeHold(self, what, guarded=guarded)

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
        if self._state is not _OPEN:
            raise refusals.not_open(self.name, _STATES[self._state], running_task_name())
        connection = self._connection
        status = _UNKNOWN if connection is None else connection.pgconn.transaction_status
        if connection is None or status == _UNKNOWN:
            raise refusals.gone(self.name) from self.first_error
        if status == _INERROR:
            raise refusals.aborted(self.name, self.first_error)
        return connection

    def check_usable(self) -> None:
        """Refuse whoever is not inside the open block.

        Raises:
            TransactionClosed: the block is not open.
            ForeignTask: the running task does not carry the block's mark.
        """
        if self._state is not _OPEN:
            raise refusals.not_open(self.name, _STATES[self._state], running_task_name())
        if not is_inside(self):
            owner = self._owner or (self.lease.holder if self.lease is not None else "?")
            raise refusals.foreign(self.name, running_task_name(), owner, shown(self._mark))

    # Leaving.

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        lease = self.lease
        assert lease is not None, "the block is open"
        failure = error
        was_inside = self._has_had_children and lease.step_out()  # without children there is nothing to wait for
        try:
            if await self._nursery_block.__aexit__(kind, error, traceback):
                failure = None
        except BaseException as raised:
            failure = aftermath(error, raised, self.first_error)
        finally:
            if was_inside:
                lease.step_in()
        cancelled_itself = failure is None and self._nursery.cancel_scope.cancel_called
        self._state = _State.ENDED
        leave_block(self)
        held = None
        try:
            if failure is None and not cancelled_itself:
                failure, held = await self._finish_well()
                self._fate_is_unknown |= isinstance(failure, CommitOutcomeUnknown)
            if failure is not None or cancelled_itself:
                held = await self._undo() or held
        finally:
            self._give_connection_back()
            if self._has_last_turn:
                self.give_turn()  # those in line learn that the block has ended
        if self.hooks is not None and not self._fate_is_unknown:
            self._settle_hooks(self.hooks, took_effect=failure is None and not cancelled_itself)
        if failure is None and not cancelled_itself:
            if held is not None:
                deliver_again(held, held)  # too late to stop the COMMIT
            return
        failure = after_cleanup(failure, held)
        if failure is None:
            failure = refusals.cancelled_by_itself(self.name)
        if not is_cancellation(failure):
            deliver_unseen(self._requests_before)
        if failure is not error:
            raise failure

    async def _finish_well(self) -> tuple[BaseException | None, Held]:
        """Make the block's work take effect; why it could not, and must be rolled back, else None; and what came meanwhile."""
        try:
            await self._check_for_cancellation()
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
            return await self._make_effective()
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

    @abstractmethod
    async def _make_effective(self) -> tuple[BaseException | None, Held]:
        """COMMIT or RELEASE; the error that stands for the block if it did not take effect, and what came meanwhile and comes once."""

    @abstractmethod
    async def _roll_back(self, connection: Connection) -> Held:
        """Undo the block's work, under a shield and within the cleanup budget; what came meanwhile and comes only once."""


def running_task_name() -> str:
    """How the running task is called, for errors."""
    return anyio.get_current_task().name or "?"
