"""What the storm needs of those who go through it: the same operations, and a look at their pool.

`ours.py` and `peer_*.py` hold one each, written as its users write it. What a contender has no way to do (tasks that share a transaction,
on some) is left out of its operations.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Protocol

import attrs

FORBIDDEN_PART = 100
"""Parts from here on stand in savepoints that are rolled back."""

TABLE = "CREATE TABLE storm_rows (attempt bigint, part bigint, PRIMARY KEY (attempt, part))"


class Undone(Exception):
    """Raised by an attempt inside its own block, so that it rolls back."""


@attrs.frozen
class Operation:
    """One kind of work.

    Attributes:
        run: does it, under a number.
        rows: how many rows it leaves when it takes effect; 0 for a read.
        weight: how often it is drawn.
        needs_cancel: whether it lasts for seconds unless it is cancelled.
        swallows: whether it hides an error from its own block.
    """

    run: Callable[[Random, int], Awaitable[None]]
    rows: int
    weight: int
    needs_cancel: bool = False
    swallows: bool = False


@attrs.frozen
class PoolCounts:
    """A pool at one moment: connections on loan, tasks in line, connections open and usable, and what came by shared ones so far."""

    on_loan: int
    waiting: int
    ready: int
    reads_on_lanes: int = 0


class Client(Protocol):
    """A database and its pool, opened by a contender."""

    @property
    def operations(self) -> Mapping[str, Operation]:
        """What it can do, by name."""
        ...

    def busy_pids(self) -> set[int]:
        """The sessions that some task is using."""
        ...

    def counts(self) -> PoolCounts:
        """The pool now."""
        ...

    def hold(self, when_lent: Callable[[], None] = lambda: None) -> AbstractAsyncContextManager[int]:
        """A connection for the length of a block, with something run on it; the process id of its session.

        Args:
            when_lent: called when the connection is there, before anything is run.
        """
        ...

    async def read(self) -> None:
        """The shortest of reads."""
        ...

    async def sleep(self, seconds: float) -> None:
        """A statement that lasts so long, in a transaction."""
        ...

    async def insert_and_commit(self, number: int, before_commit: Callable[[], None]) -> None:
        """A transaction that writes one row."""
        ...


class Contender(Protocol):
    """One library.

    Attributes:
        name: for the table.
        loops: the event loops on which it runs.
    """

    @property
    def name(self) -> str: ...

    @property
    def loops(self) -> tuple[str, ...]: ...

    def open(
        self, address: str, *, size: int, cleanup_timeout_seconds: float = 1.0, commit_timeout_seconds: float = 5.0
    ) -> AbstractAsyncContextManager[Client]:
        """Open its pool."""
        ...

    def is_unknown(self, error: BaseException) -> bool:
        """Whether it says that nobody knows whether a commit took effect."""
        ...

    def is_unavailable(self, error: BaseException) -> bool:
        """Whether a fault of the server or the network is the reason."""
        ...

    def is_rollback(self, error: BaseException) -> bool:
        """Whether it says that a block, in which an error was swallowed, was rolled back."""
        ...


def operations_of(client: "Works") -> dict[str, Operation]:
    """The usual operations, with their weights."""
    return {
        "echo": Operation(client.echo, rows=0, weight=20),
        "sleep": Operation(client.long_sleep, rows=0, weight=6, needs_cancel=True),
        "insert": Operation(client.insert, rows=1, weight=15),
        "insert_many": Operation(client.insert_many, rows=3, weight=5),
        "slow insert": Operation(client.slow_insert, rows=1, weight=8),
        "transaction": Operation(client.transaction, rows=3, weight=15),
        "savepoint": Operation(client.savepoint, rows=2, weight=8),
        "rolls back": Operation(client.rolls_back, rows=2, weight=3),
        "swallowed error": Operation(client.swallows_an_error, rows=1, weight=3, swallows=True),
        "swallowed timeout": Operation(client.swallows_a_timeout, rows=1, weight=3, swallows=True),
        "stream": Operation(client.stream, rows=0, weight=5),
        "copy_in": Operation(client.copy_in, rows=5, weight=5),
    }


class Works(Protocol):
    """The operations that every contender has."""

    async def echo(self, random: Random, number: int) -> None: ...
    async def long_sleep(self, random: Random, number: int) -> None: ...
    async def insert(self, random: Random, number: int) -> None: ...
    async def insert_many(self, random: Random, number: int) -> None: ...
    async def slow_insert(self, random: Random, number: int) -> None: ...
    async def transaction(self, random: Random, number: int) -> None: ...
    async def savepoint(self, random: Random, number: int) -> None: ...
    async def rolls_back(self, random: Random, number: int) -> None: ...
    async def swallows_an_error(self, random: Random, number: int) -> None: ...
    async def swallows_a_timeout(self, random: Random, number: int) -> None: ...
    async def stream(self, random: Random, number: int) -> None: ...
    async def copy_in(self, random: Random, number: int) -> None: ...


def expect(answer: object, due: int) -> None:
    """An answer must be the one that was asked for."""
    if answer != due:
        raise AssertionError(f"asked for {due}, and was given {answer}: the answer of somebody else")
