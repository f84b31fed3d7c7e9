"""One flight for the statements of several tasks, each of which gets its own results, or its own error.

The contract: the statements run in the order in which they were asked for. Each task learns its fate as soon as its own answer has come. Of
statements behind a failed one the server runs none; their tasks are told which error aborted the transaction. When one of the tasks is
cancelled, the flight is stopped as soon as that task's statement is the one that runs, because a statement that was sent cannot be taken
back alone: that aborts the transaction, and those behind it are told so. Those ahead of it are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate

import anyio
import trio
from anyio.lowlevel import checkpoint_if_cancelled
from psycopg.pq.abc import PGresult

from trioorm.errors import ConnectionLost, DatabaseError, UsageError
from trioorm.transaction import refusals
from trioorm.transaction.open_block import OpenBlock
from trioorm.transaction.runner import Connection, is_stale_plan
from trioorm.transaction.turns import Passenger
from trioorm.wire import OnCancel, error_from_result, is_error
from trioorm.wire.flight import Flight
from trioorm.wire.readiness import Wait
from trioorm.wire.server_errors import is_farewell

__all__ = ["fly_shared"]

_QUERY_CANCELED = "57014"
_ABORTED_BEFORE = "25P02"


class SharedFlight:
    """A flight whose results go to several passengers. For the connection it is an answer like any other.

    Args:
        flight: under way.
        passengers: in the order of their steps.
        opening: how many steps of the flight come before theirs.
        failed: called with the first error; makes the error for a passenger behind it.
        stop: stops the flight on the server.

    Attributes:
        interruption: the cancellation of a passenger for which it was stopped.
    """

    __slots__ = ("_failed", "_first_error", "_flight", "_next", "_start", "_stop", "interruption", "passengers")

    def __init__(
        self,
        flight: Flight,
        passengers: Sequence[Passenger],
        opening: int,
        failed: Callable[[BaseException], Callable[[], BaseException]],
        stop: Callable[[], None],
    ) -> None:
        self._flight = flight
        self.passengers = passengers
        self._failed = failed
        self._stop = stop
        self._start = opening
        self._next = 0
        self._first_error: Callable[[], BaseException] | None = None
        self.interruption: BaseException | None = None

    @property
    def outcomes(self) -> list[PGresult]:
        """See `Flight`."""
        return self._flight.outcomes

    @property
    def sent(self) -> bool:
        """See `Flight`."""
        return self._flight.sent

    @property
    def complete(self) -> bool:
        """See `Flight`."""
        return self._flight.complete

    @property
    def failure(self) -> tuple[bytes, PGresult] | None:
        """See `Flight`."""
        return self._flight.failure

    def advance(self) -> Wait | None:
        """See `Flight.advance`; tells the passengers whose answers have come."""
        try:
            return self._flight.advance()
        finally:
            self._tell_those_that_arrived()
            self.stop_for_one_that_left()

    def stop_for_one_that_left(self) -> None:
        """Stop the flight if the statement that runs is that of a passenger who was cancelled."""
        if self.interruption is None and self._next < len(self.passengers):
            self.interruption = self.passengers[self._next].cancellation
            if self.interruption is not None:
                self._stop()

    def _tell_those_that_arrived(self) -> None:
        outcomes = self._flight.outcomes
        while self._next < len(self.passengers):
            passenger = self.passengers[self._next]
            end = self._start + len(passenger.steps)
            failure = self._failure_among(outcomes[:end])
            if (failure is None and len(outcomes) < end) or (failure is not None and is_farewell(failure[1])):
                return  # the server's farewell is no answer: the connection breaks, and `end` tells of that
            self._next += 1
            if failure is None:
                passenger.arrive(outcomes[self._start : end])
            else:
                self._tell_of_failure(passenger, failure)
            self._start = end

    def _failure_among(self, outcomes: Sequence[PGresult]) -> tuple[bytes, PGresult] | None:
        return self._flight.failure if any(is_error(outcome) for outcome in outcomes) else None

    def _tell_of_failure(self, passenger: Passenger, failure: tuple[bytes, PGresult]) -> None:
        if self._first_error is not None:
            passenger.fail(self._first_error())
            return
        text, result = failure
        error: DatabaseError = error_from_result(result, statement=text.decode())
        error.failed_step = next(step for step, outcome in zip(self._flight.steps, self.outcomes, strict=False) if is_error(outcome))
        if self.interruption is not None and error.sqlstate in (_QUERY_CANCELED, _ABORTED_BEFORE):
            # Another passenger's cancellation stopped this one's statement.
            self._first_error = self._failed(self.interruption)
            passenger.fail(self._first_error())
        else:
            self._first_error = self._failed(error)
            passenger.fail(error)

    def end(self, error: BaseException | None) -> None:
        """Tell everybody who has not been told, after the flight has ended for good."""
        self._tell_those_that_arrived()
        rest = [passenger for passenger in self.passengers if not passenger.has_arrived]
        if rest:
            cause = self.interruption or error
            assert cause is not None, "an answer that is whole has told everybody"
            make = self._first_error or self._failed(cause)
            for passenger in rest:
                passenger.fail(make())


@trio.lowlevel.enable_ki_protection
async def fly_shared(block: OpenBlock, passengers: Sequence[Passenger]) -> None:
    """Send the statements of several tasks together and tell each how its own ended; the turn is taken, and given back at the end.

    A child of the block. It has no error of its own.
    """
    shared: SharedFlight | None = None
    failure: BaseException | None = None
    with anyio.CancelScope() as scope:
        try:
            await checkpoint_if_cancelled()
            await block.server_side.follow_deadline()
            connection = block.usable_connection()
            waiting = [passenger for passenger in passengers if passenger.cancellation is None and not _is_refused(connection, passenger)]
            opening = block.opening()
            probe = block.server_side.probe if any(passenger.is_write for passenger in waiting) else ()
            steps = [step for passenger in waiting for step in passenger.steps]
            ends = set(accumulate((len(passenger.steps) for passenger in waiting), initial=len(opening)))
            flight = connection.take_off([*opening, *steps, *probe], told_after=ends)
            shared = SharedFlight(flight, waiting, len(opening), partial(_failed, block), scope.cancel)
            for passenger in waiting:
                passenger.has_left = shared.stop_for_one_that_left
            try:
                await connection.arrive(shared, OnCancel.STOP)
            finally:
                if opening:
                    block.opened(flight.outcomes)
            if probe and flight.failure is None:
                block.server_side.probed(flight.outcomes[-1])
            if isinstance(first := block.first_error, DatabaseError) and is_stale_plan(first):
                connection.retire_statements(flight.steps)
        except Exception as error:
            failure = error  # told to those who wait; the driver of a flight has no error of its own
        except BaseException as cancellation:
            failure = cancellation
            raise
        finally:
            if failure is not None:
                block.note_error(shared.interruption or failure if shared is not None else failure)
            if shared is not None:
                shared.end(failure)
            _tell_those_left_behind(block, passengers, failure)
            block.give_turn()


def _is_refused(connection: Connection, passenger: Passenger) -> bool:
    """Whether a statement cannot be sent on this connection; its own task is told, and the others' go on."""
    try:
        connection.check_steps(passenger.steps, in_transaction=True)
    except UsageError as refusal:
        passenger.fail(refusal)
        return True
    return False


def _failed(block: OpenBlock, error: BaseException) -> Callable[[], BaseException]:
    """Remember the error that aborted the transaction; what those behind it are told."""
    if block.first_error is None:
        block.first_error = error
    if isinstance(error, DatabaseError) and is_stale_plan(error):
        error.safe_to_retry = True
    lost = isinstance(error, ConnectionLost)
    return lambda: refusals.gone(block.name) if lost else refusals.aborted(block.name, error, was_sent=True)


def _tell_those_left_behind(block: OpenBlock, passengers: Sequence[Passenger], failure: BaseException | None) -> None:
    for passenger in passengers:
        if passenger.has_arrived or passenger.cancellation is not None:
            continue
        try:
            block.usable_connection()
        except Exception as refusal:
            passenger.fail(refusal)
        else:
            passenger.fail(refusals.aborted(block.name, failure))
