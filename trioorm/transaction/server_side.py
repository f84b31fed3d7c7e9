"""What a transaction and all its savepoints know of their one transaction on the server: its id, and the limit it has there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from psycopg.pq.abc import PGresult

from trioorm.transaction.deadline import NO_LIMIT
from trioorm.transaction.outcome import PROBE, read_probe

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from trioorm.errors import TransactionId

__all__ = ["ServerSide"]


class ServerSide:
    """One transaction on the server.

    Attributes:
        limit: what the server knows of the deadline of the block.
        nursery: of the block, once it is entered.
        may_have_written: something was written by other means than a statement; the id is asked for before COMMIT.
        probe: what to send behind a write so that the transaction's id is known before COMMIT.
    """

    __slots__ = ("_answer", "limit", "may_have_written", "nursery", "probe")

    def __init__(self) -> None:
        self.limit = NO_LIMIT
        self.nursery: TaskGroup | None = None
        self.may_have_written = False
        self.probe = PROBE
        self._answer: PGresult | None = None  # of the probe, once it had an id; read when somebody needs it, which is seldom

    async def follow_deadline(self) -> None:
        """See whether the deadline of the block's own scope was moved later.

        Where the running code stands, an inner scope's may be in force; but none can be later than the block's, so only a later one asks.

        Checkpoint: only if it asks.
        """
        if anyio.current_effective_deadline() <= self.limit.deadline:
            return
        asked = anyio.Event()

        async def ask() -> None:
            self.limit.deadline = anyio.current_effective_deadline()
            asked.set()

        try:
            assert self.nursery is not None, "the block is open"
            self.nursery.start_soon(ask, name="trioorm: reading the deadline of a transaction")
        except RuntimeError:
            return  # the block is ending, and no statement of its own comes any more
        await asked.wait()

    def id(self) -> TransactionId | None:
        """The transaction's id, once it has written something."""
        return None if self._answer is None else read_probe(self._answer)

    def probed(self, result: PGresult) -> None:
        """Note what the probe said."""
        if result.get_value(0, 0) is not None:
            self._answer = result
            self.probe = ()
