"""What a transaction and a savepoint have in common: a block that is a nursery, takes turns on a connection, and ends whole or not at all.

The contract: the block's end waits for the body and every child; it commits (or releases) only if none of them failed, was cancelled or
left the server's transaction in error; else everything is rolled back before the block's exception goes on. What a connection is in is
asked of libpq, never of a flag of ours.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from types import CoroutineType
from typing import Any, Self, TypeVar, TypeVarTuple

import anyio
import trio
from anyio.abc import TaskStatus
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from trioorm.errors import ConnectionLost, DatabaseError
from trioorm.pool import Mark, OutcomeHook, mark_of_caller, shown
from trioorm.transaction import refusals
from trioorm.transaction.deadline import NO_LIMIT, SERVER_LIMITS
from trioorm.transaction.hold import ScopeHold
from trioorm.transaction.hooks import BlockHooks
from trioorm.transaction.inside import blocks_within, carry_blocks, is_inside, open_blocks
from trioorm.transaction.leaving import Leaving, State
from trioorm.transaction.nursery import open_nursery
from trioorm.transaction.runner import Connection, Hold, failure_among, is_stale_plan
from trioorm.transaction.shared_flight import fly_shared
from trioorm.transaction.turns import Passenger
from trioorm.wire import OnCancel, Statement, Step
from trioorm.wire.interrupt import cancel_requests

__all__ = ["Scope", "running_task_name"]

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_STATES: Mapping[State, str] = {"not entered": "was not entered", "open": "is open", "ended": "has ended"}

_INTRANS = int(pq.TransactionStatus.INTRANS)  # plain numbers, as in `runner`
_INERROR = pq.TransactionStatus.INERROR
_UNKNOWN = pq.TransactionStatus.UNKNOWN
_FATAL_ERROR = int(ExecStatus.FATAL_ERROR)
_STOP = OnCancel.STOP


class Scope(Leaving):
    """A block of statements that takes effect as a whole or not at all; itself a `Runner`."""

    in_transaction = True

    def __str__(self) -> str:
        return f"{self.name}, opened at {shown(self._mark)},"

    @property
    def state(self) -> State:
        """Where the block is."""
        return self._state

    # Entering.

    @trio.lowlevel.enable_ki_protection
    def __aenter__(self) -> CoroutineType[Any, Any, Self]:
        return self.enter(self, mark_of_caller())  # type: ignore[return-value] # mypy calls a coroutine's type Coroutine

    @trio.lowlevel.enable_ki_protection
    async def enter(self, opened: T, mark: Mark | None) -> T:
        """Open the block.

        Args:
            opened: what the caller's `async with` is given, which spares that a coroutine of its own.
            mark: where it is opened.
        """
        if self._state != "not entered":
            raise refusals.entered_before(self.name)
        self._mark = mark
        self._connection = connection = self._take_at_once() or await self._take_connection()
        try:
            self._nursery_block = block = open_nursery() if connection.on_trio else anyio.create_task_group()
            self._nursery = nursery = await block.__aenter__()
        except BaseException:
            self._give_connection_back()
            raise
        if self.server_side.limit is not NO_LIMIT and self.server_side.nursery is None:
            self.server_side.nursery = nursery
        carry_blocks((*open_blocks(), self))  # as `enter_block`
        if not connection.on_trio:
            self._requests_before = cancel_requests()
        self._state = "open"
        return opened

    @abstractmethod
    def _take_at_once(self) -> Connection | None:
        """Get the connection for the block's length, if that needs no wait and no second look."""

    @abstractmethod
    async def _take_connection(self) -> Connection:
        """Get it in any case."""

    # Children.

    @property
    def cancel_scope(self) -> anyio.CancelScope:
        """The scope of the whole block. Cancelling it rolls back, and the block then raises `TransactionRolledBack`.

        On Trio it is Trio's own, which has the same words.
        """
        if self._state != "open":
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
        carry_blocks(blocks_within(self))
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

    # Running statements.

    @trio.lowlevel.enable_ki_protection
    async def run(self, steps: Sequence[Step], is_write: bool, has_turn: bool = False) -> list[PGresult]:
        """See `Runner.run`. A cancellation that interrupts a statement puts the transaction in error, as PostgreSQL does.

        Args:
            steps, is_write: as there. Without a step, what opens the block is run all the same.
            has_turn: the caller has the turn, and keeps it.
        """
        if not has_turn:
            if self._state != "open" or self not in open_blocks():
                self.check_usable()
            for step in steps:
                if step.statement.ends_transaction:
                    raise refusals.would_end_by_text(self.name)
            if self.turn_is_taken:
                has_own_timeout = anyio.current_effective_deadline() < self.server_side.limit.deadline
                passenger = Passenger(steps, is_write=is_write, alone=has_own_timeout)
                await self.ride(passenger)
                if passenger.carried:
                    return await self._arrival_of(passenger)
            self.turn_is_taken = True
        try:
            connection, server_side = self._connection, self.server_side
            if connection is None or self._state != "open":
                connection = self.usable_connection()  # says what has become of it, while others had the turn
            await connection.check_for_cancellation()
            limit = server_side.limit
            if limit is not NO_LIMIT and connection.read_deadline() > limit.deadline:
                await server_side.follow_deadline()
            if self._has_begun and limit is NO_LIMIT and connection.pgconn.transaction_status == _INTRANS:
                opening: Sequence[Step] = ()
            else:
                opening = self.opening()
            probe = server_side.probe if is_write else ()
            if not (steps or opening or probe):
                return []
            flight = connection.take_off([*opening, *steps, *probe] if opening or probe else steps)
            try:
                results = await connection.arrive(flight, _STOP)
            except BaseException as error:
                await self._note_broken_off(error)
                raise
            finally:
                if opening:
                    self.opened(flight.outcomes)
            if flight.failed:
                await self.fail(connection, flight.steps, results)
            if probe:
                server_side.probed(results[-1])
            return results[len(opening) : len(opening) + len(steps)] if opening or probe else results
        finally:
            if not has_turn:
                if self._line:
                    self.give_turn()
                else:
                    self.turn_is_taken = False

    async def read(self, steps: Sequence[Step]) -> list[PGresult]:
        """See `Runner.read`; what they see is a matter of the transaction's isolation."""
        return await self.run(steps, is_write=False)

    @trio.lowlevel.enable_ki_protection
    async def run_one(self, statement: Statement, values: Sequence[Buffer | None], formats: Sequence[Format], is_write: bool) -> PGresult:
        """See `Runner.run_one`."""
        if self._state != "open" or self not in open_blocks():
            self.check_usable()
        if statement.ends_transaction:
            raise refusals.would_end_by_text(self.name)
        if self.turn_is_taken:
            (result,) = await self.run((Step(statement, values, formats),), is_write=is_write)
            return result
        self.turn_is_taken = True
        try:
            connection, server_side = self._connection, self.server_side
            assert connection is not None, "the block is open"
            await connection.check_for_cancellation()
            limit = server_side.limit
            if limit is not NO_LIMIT and connection.read_deadline() > limit.deadline:
                await server_side.follow_deadline()
            if self._has_begun and limit is NO_LIMIT and connection.pgconn.transaction_status == _INTRANS:
                opening: Sequence[Step] = ()
            else:
                opening = self.opening()
            probe = server_side.probe if is_write else ()
            if not opening and not probe:
                try:
                    result = await connection.ask(statement, values, formats, on_cancel=_STOP)
                except BaseException as error:
                    await self._note_broken_off(error)
                    raise
                if result.status == _FATAL_ERROR:
                    await self.fail(connection, statement.alone, (result,))
                return result
            # As `run`: a coroutine that both await would cost every first statement as much as it has to say.
            flight = connection.take_off((*opening, Step(statement, values, formats), *probe))
            try:
                results = await connection.arrive(flight, _STOP)
            except BaseException as error:
                await self._note_broken_off(error)
                raise
            finally:
                if opening:
                    self.opened(flight.outcomes)
            if flight.failed:
                await self.fail(connection, flight.steps, results)
            if probe:
                server_side.probed(results[-1])
            return results[len(opening)]
        finally:
            if self._line:
                self.give_turn()
            else:
                self.turn_is_taken = False

    async def _note_broken_off(self, error: BaseException) -> None:
        self.note_error(error)
        if isinstance(error, ConnectionLost):
            await self.deliver_own_timeout()

    async def fail(self, connection: Connection, sent: Sequence[Step], results: Sequence[PGresult]) -> None:
        """Raise the first error among the results of what was sent, which has put the transaction in error."""
        failure = failure_among(sent, results)
        assert failure is not None, "there is an error among the results"
        if is_stale_plan(failure):
            connection.retire_statements(sent)  # for the next transaction; this one is in error
            failure.safe_to_retry = True
        self.note_error(failure)
        if failure.sqlstate in SERVER_LIMITS:
            await self.deliver_own_timeout()
        raise failure

    async def _arrival_of(self, passenger: Passenger) -> list[PGresult]:
        error = passenger.error
        if error is None:
            assert passenger.results is not None, "it was called"
            return passenger.results
        if isinstance(error, ConnectionLost) or (isinstance(error, DatabaseError) and error.sqlstate in SERVER_LIMITS):
            await self.deliver_own_timeout()
        raise error

    # Several statements in one flight.

    def carry(self, passengers: list[Passenger]) -> bool:
        """Send the statements of several tasks together, from a child of the block; False when the block can have no more children."""
        if self._state != "open":
            return False
        try:
            self._nursery.start_soon(fly_shared, self, passengers, name="trioorm: statements of several tasks")
        except RuntimeError:
            return False
        return True

    @abstractmethod
    def opening(self) -> Sequence[Step]:
        """The commands that must precede the next statement: BEGIN with the server's limit, SAVEPOINT, or nothing.

        Raises:
            As `usable_connection`; and TransactionClosed: a text that was run as a statement has ended the transaction.
        """

    @abstractmethod
    def opened(self, results: Sequence[PGresult]) -> None:
        """Note which of the opening commands succeeded.

        Args:
            results: of a flight that began with them.
        """

    def hold(self, what: str, *, runs: Statement | None = None) -> Hold:
        """See `Runner.hold`."""
        self.check_usable()
        if runs is not None and runs.ends_transaction:
            raise refusals.would_end_by_text(self.name)
        return ScopeHold(self, what, guarded=runs is not None)

    def usable_connection(self) -> Connection:
        """The connection, if a statement can run on it now.

        Raises:
            TransactionClosed: the block has ended.
            ConnectionLost: the connection is gone. Safe to retry.
            TransactionAborted: an earlier error, named and chained, put the transaction in error.
        """
        if self._state != "open":
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
        if self._state != "open":
            raise refusals.not_open(self.name, _STATES[self._state], running_task_name())
        if not is_inside(self):
            owner = self._owner or (self.lease.holder if self.lease is not None else "?")
            raise refusals.foreign(self.name, running_task_name(), owner, shown(self._mark))


def running_task_name() -> str:
    """How the running task is called, for errors."""
    return anyio.get_current_task().name or "?"
