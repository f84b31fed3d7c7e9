"""Turns: who may use a transaction's connection next, first come first served.

The contract: a turn is taken by a statement for one flight, or by a block (a savepoint, a stream, a COPY) for its whole length. Statements
that wait one behind the other are sent together when the turn comes to them; they are passengers then. Whoever is inside of a block that
has the turn and asks for the outer turn would wait for itself, so it is refused at once, with the way out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import anyio
from psycopg.pq.abc import PGresult

from trioorm.errors import TransactionBusy
from trioorm.pool import place_of_caller
from trioorm.transaction.inside import is_inside
from trioorm.wire import Step

_MOST_PASSENGERS = 100


class Passenger:
    """A statement that waits for its turn, and may be sent with others.

    Attributes:
        steps: what to run.
        is_write: whether they may change something.
        alone: it is not sent with others, because it has a timeout of its own: one that is over in line leaves no trace then.
        called: set when it has been sent and answered, or when it has the turn for itself.
        carried: it was taken along by somebody else's flight.
        cancellation: what its task was cancelled by while it waited; nobody asks for it any more then.
        results, error: what came of it, when carried.
    """

    __slots__ = ("alone", "called", "cancellation", "carried", "error", "has_left", "is_write", "results", "steps")

    def __init__(self, steps: Sequence[Step], *, is_write: bool, alone: bool) -> None:
        self.steps = steps
        self.is_write = is_write
        self.alone = alone
        self.called = anyio.Event()
        self.carried = False
        self.cancellation: BaseException | None = None
        self.results: list[PGresult] | None = None
        self.error: BaseException | None = None
        # Set while it is under way: tells its flight that it was cancelled.
        self.has_left: Callable[[], None] | None = None

    @property
    def has_arrived(self) -> bool:
        """Whether its fate is known."""
        return self.results is not None or self.error is not None

    def arrive(self, results: list[PGresult]) -> None:
        """It succeeded."""
        self.results = results
        self.called.set()

    def fail(self, error: BaseException) -> None:
        """It failed."""
        self.error = error
        self.called.set()


class Turns:
    """The line of those who want one transaction's connection. A block is one, by inheritance: a part that called back into it would be
    garbage with it, in a circle, at the end of every transaction.

    Attributes:
        turn_is_taken: whether somebody has the turn.
    """

    turn_is_taken = False
    _holder: object | None = None
    _line: deque[anyio.Event | Passenger] | None = None

    def carry(self, passengers: list[Passenger]) -> bool:
        """Start a flight for several statements, whose end gives the turn back; False when it cannot be."""
        return False

    def _join_the_line(self, waiting: anyio.Event | Passenger) -> deque[anyio.Event | Passenger]:
        if self._line is None:
            self._line = deque()
        self._line.append(waiting)
        return self._line

    async def take_turn(self) -> None:
        """Wait for the turn.

        Raises:
            TransactionBusy: the turn is held by a block that this code is inside of. Nothing was sent; not safe to retry.

        Checkpoint: only if it waits.
        """
        if not self.turn_is_taken:
            self.turn_is_taken = True
            return
        self._refuse_inside_holder()
        handed_over = anyio.Event()
        line = self._join_the_line(handed_over)
        try:
            await handed_over.wait()
        except BaseException:
            if handed_over.is_set():
                self.give_turn()  # handed over in the very moment of leaving: to the next
            else:
                line.remove(handed_over)
            raise

    async def ride(self, passenger: Passenger) -> None:
        """Wait until a statement was carried by a flight with others, or has the turn for itself (`carried` says which).

        Raises:
            TransactionBusy: as `take_turn`.

        Checkpoint: only if it waits.
        """
        if not self.turn_is_taken:
            self.turn_is_taken = True
            return
        self._refuse_inside_holder()
        line = self._join_the_line(passenger)
        try:
            await passenger.called.wait()
        except BaseException as cancellation:
            passenger.cancellation = cancellation
            if passenger.carried:
                if passenger.has_left is not None and not passenger.has_arrived:
                    passenger.has_left()
            elif passenger.called.is_set():
                self.give_turn()
            else:
                line.remove(passenger)
            raise

    def _refuse_inside_holder(self) -> None:
        if self._holder is not None and is_inside(self._holder):
            raise TransactionBusy(
                f"this transaction is busy: {self._holder} holds it, and this very code ({place_of_caller()}) is inside of that block.\n"
                "It would wait for itself, for ever. "
                "To fix it: use the inner block's own object (`sp` of `async with tx.savepoint() as sp`); "
                "finish or leave the stream first, or read it whole with `fetch_all`, "
                "or through a server-side cursor, between whose batches other statements may run: `tx.stream(..., cursor=True)`."
            )

    def hold_turn_for(self, block: object) -> None:
        """Say that the turn just taken lasts for a whole block."""
        self._holder = block

    def give_turn(self) -> None:
        """Hand the turn to the next in line, or to all statements that are next. Never waits."""
        self._holder = None
        line = self._line
        if not line:
            self.turn_is_taken = False
            return
        if isinstance(first := line[0], anyio.Event):
            line.popleft()
            first.set()
            return
        together = _statements_in_front(line)
        for passenger in together:
            line.popleft()
            passenger.carried = True
        if len(together) > 1 and self.carry(together):
            return
        for passenger in together:
            passenger.carried = False
        line.extendleft(reversed(together[1:]))
        first.called.set()


def _statements_in_front(line: deque[anyio.Event | Passenger]) -> list[Passenger]:
    together: list[Passenger] = []
    for waiting in line:
        if not isinstance(waiting, Passenger) or (together and waiting.alone) or len(together) == _MOST_PASSENGERS:
            break
        together.append(waiting)
        if waiting.alone:
            break
    return together
