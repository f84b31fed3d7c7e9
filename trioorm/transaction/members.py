"""The connections of one snapshot: who has which, and who waits.

The contract: a connection is handed over without an await, first come first served. Who would wait for itself, because streams that it is
inside of have all there are, is refused at once, or as soon as no more can be had. Knows nothing of snapshots: that each connection is good
for any of those who wait is all that counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import anyio
from attrs import define
from psycopg import pq

from trioorm.errors import ConnectionLost, TransactionBusy, TrioormError
from trioorm.pool import Lease
from trioorm.transaction.deadline import ServerLimit
from trioorm.transaction.inside import open_blocks
from trioorm.wire import AnyIOConnection

__all__ = ["Member", "Members"]

_INTRANS = pq.TransactionStatus.INTRANS


@define(eq=False, repr=False)
class Member:
    """One connection, with its transaction.

    Attributes:
        limit: what the server knows of the block's deadline in this transaction.
        held_by: the stream that has it, as the marks of the context know it.
    """

    lease: Lease
    limit: ServerLimit
    held_by: object | None = None

    @property
    def connection(self) -> AnyIOConnection[Any]:
        """The lease's."""
        return self.lease.connection

    @property
    def is_usable(self) -> bool:
        """Whether libpq says that the transaction is open and not in error."""
        return self.connection.pgconn.transaction_status == _INTRANS


class _Waiter:
    __slots__ = ("answered", "blocks", "error", "held_by", "member")

    def __init__(self, held_by: object | None) -> None:
        self.held_by = held_by
        self.blocks = open_blocks()
        self.answered = anyio.Event()
        self.member: Member | None = None
        self.error: TrioormError | None = None

    def serve(self, member: Member) -> None:
        member.held_by = self.held_by
        self.member = member
        self.answered.set()

    def refuse(self, error: TrioormError) -> None:
        self.error = error
        self.answered.set()


class Members:
    """The connections and the line for them.

    Args:
        name: of the block, for errors.
        most: how many there may be.
        open_another: starts a task that ends in `admit` or `could_not_open`; never waits.
    """

    def __init__(self, name: str, most: int, open_another: Callable[[], None]) -> None:
        self._name = name
        self._most = most
        self._open_another = open_another
        self._all: set[Member] = set()
        self._free: list[Member] = []
        self._line: deque[_Waiter] = deque()
        self._opening = 0
        self.may_grow = True

    def __len__(self) -> int:
        return len(self._all)

    async def borrow(self, held_by: object | None = None) -> Member:
        """Take a connection, the next that comes free.

        Raises:
            TransactionBusy: all that can be had are held by streams that this code is inside of.
            ConnectionLost: none is left. Safe to retry.

        Checkpoint: only if it waits.
        """
        if self._free:
            member = self._free.pop()
            member.held_by = held_by
            return member
        waiter = _Waiter(held_by)
        self._line.append(waiter)
        self._grow()
        self._refuse_the_stuck()
        try:
            await waiter.answered.wait()
        except BaseException:
            if waiter.member is not None:
                self.give_back(waiter.member)  # handed over in the very moment of leaving: to the next
            elif waiter.error is None:
                self._line.remove(waiter)
            raise
        if waiter.error is not None:
            raise waiter.error
        assert waiter.member is not None, "it was answered"
        return waiter.member

    def give_back(self, member: Member) -> None:
        """Hand a connection to the next in line; one whose transaction is gone is dropped. Never waits."""
        member.held_by = None
        if not member.is_usable:
            self._all.discard(member)
            member.lease.release()
            self._refuse_the_stuck()
        elif self._line:
            self._line.popleft().serve(member)
        else:
            self._free.append(member)

    def admit(self, member: Member, *, was_asked_for: bool = True) -> None:
        """Another connection is there."""
        self._opening -= was_asked_for
        self._all.add(member)
        self.give_back(member)

    def could_not_open(self) -> None:
        """Another connection was not to be had; it is asked for again when somebody else comes into the line."""
        self._opening -= 1
        self._refuse_the_stuck()

    def leave(self, error: TrioormError) -> list[Member]:
        """Let go of all of them, and refuse those who still wait. One that a task which is no child of the block still uses is closed."""
        members = list(self._all)
        for member in self._all.difference(self._free):
            member.connection.close_nowait()
        self._all.clear()
        self._free.clear()
        while self._line:
            self._line.popleft().refuse(error)
        return members

    def _grow(self) -> None:
        while self.may_grow and self._opening < len(self._line) and len(self._all) + self._opening < self._most:
            self._opening += 1
            self._open_another()

    def _refuse_the_stuck(self) -> None:
        """Refuse those whom nobody can serve any more, if no other connection is on its way."""
        if self._opening:
            return
        for waiter in tuple(self._line):
            if all(member.held_by is not None and member.held_by in waiter.blocks for member in self._all):
                self._line.remove(waiter)
                waiter.refuse(self._busy() if self._all else self._gone())

    def _busy(self) -> TransactionBusy:
        return TransactionBusy(
            f"{self._name} is busy: streams hold all of its connections ({len(self._all)} of at most {self._most}), and this very code is "
            "inside of them.\nIt would wait for itself, for ever. To fix it: finish or leave a stream first, read it whole with "
            "`fetch_all`, or give the snapshot and the pool more connections."
        )

    def _gone(self) -> ConnectionLost:
        return ConnectionLost(f"no connection of {self._name} is left.\nTo fix it: open another snapshot.", safe_to_retry=True)
