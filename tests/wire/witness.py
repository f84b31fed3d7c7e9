"""A second pair of eyes on the server, and short ways to write steps and read results.

The contract: the witness speaks psycopg's synchronous API over a connection of its own, so that nothing under test can make it lie; its
questions take less than a millisecond, so they are asked without leaving the event loop. Waits are for what the server itself reports.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import LiteralString

import anyio
import psycopg
from attrs import frozen
from psycopg.pq.abc import PGresult

from trioorm.wire import AnyIOConnection, Statement, Step

_PATIENCE_SECONDS = 10.0


@frozen
class Witness:
    """Looks at the server from outside.

    Attributes:
        connection: synchronous, in autocommit, used by the test alone.
    """

    connection: "psycopg.Connection[tuple[object, ...]]"

    def value(self, question: LiteralString, *values: object) -> object:
        """The first column of the only row."""
        row = self.connection.execute(question, values or None).fetchone()
        assert row is not None
        return row[0]

    def run(self, statement: LiteralString, *values: object) -> None:
        """Run a statement."""
        self.connection.execute(statement, values or None)

    def terminate(self, pid: int) -> None:
        """End a session from the server's side, and wait until it is gone."""
        assert self.value("SELECT pg_terminate_backend(%s, 5000)", pid) is True

    def becomes_true(self, question: LiteralString, *values: object, within_seconds: float) -> bool:
        """Ask again and again for a bounded time, standing still."""
        deadline = time.monotonic() + within_seconds
        while not (answer := self.value(question, *values) is True) and time.monotonic() < deadline:
            time.sleep(0.005)
        return answer

    def is_alive(self, pid: int) -> bool:
        """Whether the server has a session of this number."""
        return self.value("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid) == 1

    async def until(self, question: LiteralString, *values: object) -> None:
        """Wait until a question is answered with true."""
        with anyio.fail_after(_PATIENCE_SECONDS):
            while self.value(question, *values) is not True:  # noqa: ASYNC110 - the server tells nobody when it changes
                await anyio.sleep(0.002)

    async def until_waiting(self, pid: int, event: str = "PgSleep") -> None:
        """Wait until a session is busy with one thing: "PgSleep", "relation" (a table lock), "ClientWrite", ..."""
        question = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s AND state = 'active' AND wait_event = %s)"
        await self.until(question, pid, event)

    @contextmanager
    def locked(self, table: LiteralString) -> Generator[Callable[[], None]]:
        """Lock a table, from a second connection; gives what unlocks it at once, without leaving the event loop."""
        seen = self.connection.info
        with psycopg.connect(seen.dsn, password=seen.password or None) as other:
            other.execute(f"LOCK TABLE {table}")
            yield other.rollback

    async def until_gone(self, pid: int) -> None:
        """Wait until a session has left the server."""
        await self.until("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)", pid)


def step(text: str, *values: str | None) -> Step:
    """A step of a statement prepared under a name of its own; values and results as text."""
    return again(Statement(text.encode(), result_format=psycopg.pq.Format.TEXT), *values)


def again(statement: Statement, *values: str | None) -> Step:
    """Another execution of the same statement."""
    packed = [None if value is None else value.encode() for value in values]
    return Step(statement, packed, [psycopg.pq.Format.TEXT] * len(packed))


def text_rows(result: PGresult) -> list[tuple[str | None, ...]]:
    """The rows of a result that came as text."""

    def cell(row: int, column: int) -> str | None:
        value = result.get_value(row, column)
        return None if value is None else value.decode()

    return [tuple(cell(row, column) for column in range(result.nfields)) for row in range(result.ntuples)]


async def only_value(connection: AnyIOConnection, text: str, *values: str | None) -> str | None:
    """Run one statement by a flight and take its only value."""
    [result] = await connection.fly([step(text, *values)])
    [[value]] = text_rows(result)
    return value


def statuses(results: Sequence[PGresult]) -> list[str]:
    """The names of the results' states."""
    return [psycopg.pq.ExecStatus(result.status).name for result in results]


async def works(connection: AnyIOConnection) -> bool:
    """Whether a connection is idle and answers the question that it was asked, not an older one."""
    return connection.is_idle and await only_value(connection, "SELECT 'asked just now'") == "asked just now"
