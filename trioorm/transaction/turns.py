"""Turns: one statement at a time on a transaction's connection, first come first served.

The contract: a turn is taken by a statement for one flight, or by a block (a savepoint, a stream, a COPY) for its whole length. Whoever is
inside that very block and asks for the outer turn would wait for itself, so it is refused at once, with the way out.
"""

from collections import deque

import anyio

from trioorm.errors import TransactionBusy
from trioorm.transaction.inside import is_inside


class Turns:
    """The line of those who want one transaction's connection."""

    __slots__ = ("_busy", "_holder", "_line")

    def __init__(self) -> None:
        self._busy = False
        self._holder: object | None = None
        self._line: deque[anyio.Event] = deque()

    @property
    def busy(self) -> bool:
        """Whether somebody has the turn."""
        return self._busy

    async def take(self) -> None:
        """Wait for the turn.

        Raises:
            TransactionBusy: the turn is held by a block that this code is inside of. Nothing was sent; not safe to retry.

        Checkpoint: only if it waits.
        """
        if not self._busy:
            self._busy = True
            return
        if self._holder is not None and is_inside(self._holder):
            raise TransactionBusy(
                f"this transaction is busy: {self._holder} holds it, and this very code is inside of that block.\n"
                "It would wait for itself, for ever. "
                "To fix it: use the inner block's own object (`sp` of `async with tx.savepoint() as sp`); "
                "finish or leave the stream first, or read it whole with `fetch_all`, "
                "or through a server-side cursor, between whose batches other statements may run: `tx.stream(..., cursor=True)`."
            )
        handed_over = anyio.Event()
        self._line.append(handed_over)
        try:
            await handed_over.wait()
        except BaseException:
            if handed_over.is_set():
                self.give()  # handed over in the very moment of leaving: to the next
            else:
                self._line.remove(handed_over)
            raise

    def hold_for(self, block: object) -> None:
        """Say that the turn just taken lasts for a whole block."""
        self._holder = block

    def give(self) -> None:
        """Hand the turn to the next in line. Never waits."""
        self._holder = None
        if self._line:
            self._line.popleft().set()
        else:
            self._busy = False
