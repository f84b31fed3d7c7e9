"""The server's own limit for a transaction, taken from the deadline of the block's scope: a backstop for a dead client or network.

The contract: the client's own cancellation comes first. The server is told the deadline plus the cleanup budget, together with BEGIN and at
no extra trip; past it, it ends the transaction by itself, so that no lock outlives its owner. A deadline that is moved later goes with the
next statement.

PostgreSQL 17 has `transaction_timeout`, which ends the session. It counts from the moment it is set, also inside a running transaction, and
is started anew only after it was set to 0. Before 17 the two limits for what can hold a lock stand in: for one statement, and for the time
between two.

Source: https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-TRANSACTION-TIMEOUT
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import anyio
from psycopg.pq import Format

from trioorm.wire import Statement, Step, command

_HAS_TRANSACTION_TIMEOUT = 170000
_LONGEST_MILLISECONDS = 2**31 - 1

_NEVER = math.inf

_TELL = Statement(b"SELECT set_config('transaction_timeout', $1::text, true)", result_format=Format.TEXT)
_TELL_BEFORE_17 = Statement(
    b"SELECT set_config('statement_timeout', $1::text, true), set_config('idle_in_transaction_session_timeout', $1::text, true)",
    result_format=Format.TEXT,
)

SERVER_LIMITS: Final = ("25P04", "57014")
"""What a limit of the server ends a transaction with: its own for the whole transaction, or, before PostgreSQL 17, for a statement."""


class ServerLimit:
    """What the server was last told of one block's deadline.

    Args:
        deadline: of the block's scope when it was entered, on the clock of `anyio.current_time`; infinite for none.
        budget_seconds: how much later than the deadline the server may act.
    """

    __slots__ = ("_budget_seconds", "_is_set", "_told", "deadline")

    def __init__(self, deadline: float, budget_seconds: float) -> None:
        self.deadline = deadline
        self._told = _NEVER
        self._is_set = False
        self._budget_seconds = budget_seconds

    @property
    def has_passed(self) -> bool:
        """Whether the block's deadline has passed, so that its scope is cancelled or about to be."""
        return anyio.current_time() >= self.deadline

    async def deliver_own_timeout(self) -> None:
        """When the server acted first, because this program was too busy to: wait for the scope's own timeout, which is due.

        Checkpoint: only if the deadline has passed.
        """
        if self.has_passed:
            await anyio.sleep(self._budget_seconds)

    def steps(self, server_version: int, *, behind: Sequence[Step] = ()) -> Sequence[Step]:
        """The commands that tell the server what it does not know yet; they go with the next statement of the running transaction.

        Args:
            server_version: as libpq has it.
            behind: what goes before them.
        """
        if self.deadline == self._told:
            return behind or []
        self._told = self.deadline
        milliseconds = self._milliseconds()
        if server_version >= _HAS_TRANSACTION_TIMEOUT:
            steps = [_set("transaction_timeout", 0)] if self._is_set else []
            if milliseconds or not self._is_set:
                steps.append(_set("transaction_timeout", milliseconds))
        else:
            steps = [_set("statement_timeout", milliseconds), _set("idle_in_transaction_session_timeout", milliseconds)]
        self._is_set = True
        return [*behind, *steps]

    def first_step(self, server_version: int) -> Step:
        """What tells the server the same as a step among others, in a transaction without a block, in which SET LOCAL is not heard.

        Args:
            server_version: as libpq has it.
        """
        milliseconds = b"%d" % self._milliseconds()
        if server_version >= _HAS_TRANSACTION_TIMEOUT:
            return Step(_TELL, (milliseconds,), (Format.TEXT,))
        return Step(_TELL_BEFORE_17, (milliseconds,), (Format.TEXT,))

    def _milliseconds(self) -> int:
        """From now to the limit; 0 is none."""
        if self.deadline == _NEVER:
            return 0
        remaining = max(0.001, self.deadline - anyio.current_time() + self._budget_seconds) * 1000
        return 0 if remaining > _LONGEST_MILLISECONDS else math.ceil(remaining)


NO_LIMIT = ServerLimit(_NEVER, 0.0)
"""For a block without a deadline. One serves all, since nothing can move a deadline that is infinite further away."""


def limit_for(deadline: float, budget_seconds: float) -> ServerLimit:
    """The limit for a block that is entered under a deadline."""
    return NO_LIMIT if deadline == _NEVER else ServerLimit(deadline, budget_seconds)


@lru_cache(1000)  # the same timeout is mostly the same number, to the millisecond
def _set(name: str, milliseconds: int) -> Step:
    return command(f"SET LOCAL {name} = {milliseconds}".encode())
