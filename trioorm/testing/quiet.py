"""Checks for after a sweep's run: no query left on the server, no connection lost from the pool.

The contract: a check returns normally when all is well and raises `InvariantBroken`, with what it saw, when it is still not well after a
bounded time. The server is asked over psycopg's synchronous connection in a worker thread, so that the witness does not depend on the
code that it testifies about, and works on every event loop.
"""

from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
import psycopg
from psycopg.rows import class_row

from trioorm.errors import UsageError
from trioorm.testing.report import InvariantBroken

_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.05

_BUSY_SESSIONS = """
select pid, state, coalesce(application_name, '') as application_name,
       extract(epoch from clock_timestamp() - coalesce(xact_start, query_start))::float8 as age_seconds,
       coalesce(query, '') as query
from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
  and state in ('active', 'idle in transaction', 'idle in transaction (aborted)', 'fastpath function call')
  and (%(application_name)s::text is null or application_name = %(application_name)s)
order by 4 desc nulls last
"""


@attrs.frozen
class BusySession:
    """A session of the server that runs a query or holds a transaction open."""

    pid: int
    state: str
    application_name: str
    age_seconds: float | None
    query: str

    def __str__(self) -> str:
        age = "" if self.age_seconds is None else f" for {self.age_seconds:.3f} s"
        return f"pid {self.pid} ({self.application_name or 'no application name'}), {self.state}{age}: {self.query}"


async def server_is_quiet(
    server: "str | psycopg.Connection[tuple[object, ...]]",
    *,
    application_name: str | None = None,
    within_seconds: float = 1.0,
) -> None:
    """Wait until no other session of this database runs a query or has a transaction open.

    Args:
        server: the address of the database, for a witness that connects and leaves each time; or an open synchronous connection in
            autocommit, which is quicker in a long sweep. It must not be used by anyone else meanwhile.
        application_name: look only at sessions of this name; by default at all of the database.
        within_seconds: how long to wait for the last query to go away.

    Raises:
        InvariantBroken: a session was still busy after that; its text names each one. Not safe to retry.
        UsageError: the connection is not in autocommit; inside a transaction, pg_stat_activity never changes.
        psycopg.OperationalError: the server cannot be reached.

    Checkpoint: always.
    """
    if isinstance(server, str):
        connection = await anyio.to_thread.run_sync(_connect, server)
        try:
            await _wait_until_quiet(connection, application_name, within_seconds)
        finally:
            connection.close()  # sends one message and closes the socket; it does not wait for the server
    else:
        if not server.autocommit:
            raise UsageError(
                "The witness's connection is not in autocommit.\n"
                "Inside a transaction, pg_stat_activity shows the same picture however often it is read.\n"
                "To fix it, open it with psycopg.connect(address, autocommit=True)."
            )
        await _wait_until_quiet(server, application_name, within_seconds)


class PoolFigures(Protocol):
    """What `pool_is_whole` needs to know of a pool; `Database.statistics()` has it."""

    @property
    def pool_size(self) -> int:
        """Connections that the pool has now, idle and on loan."""
        ...

    @property
    def idle(self) -> int:
        """Connections ready to be borrowed."""
        ...

    @property
    def on_loan(self) -> int:
        """Connections borrowed and not given back."""
        ...

    @property
    def waiting(self) -> int:
        """Tasks waiting in line for a connection."""
        ...


async def pool_is_whole(statistics: Callable[[], PoolFigures], *, within_seconds: float = 1.0) -> None:
    """Make sure that no connection is on loan and nobody waits, at once, and that all connections are idle within a short time.

    A loan that is given back late is a leak that mends itself by luck, so those figures must be right at the first look. A connection
    that was closed instead of given back may take a moment to be replaced.

    Args:
        statistics: called for fresh figures, such as `db.statistics`.
        within_seconds: how long the pool may take to replace closed connections.

    Raises:
        InvariantBroken: a figure is wrong; the text has all of them. Not safe to retry.

    Checkpoint: always.
    """
    figures = statistics()
    if figures.on_loan or figures.waiting:
        raise InvariantBroken(
            f"The pool is not whole: {figures.on_loan} connections are on loan and {figures.waiting} tasks wait.\n"
            f"All users have ended. It has {figures.pool_size} connections, {figures.idle} of them idle.\n"
            "To fix it, look for a way out of a block that does not give its connection back, or leaves the line without telling."
        )
    await anyio.lowlevel.checkpoint()
    pause_seconds = _FIRST_PAUSE_SECONDS
    deadline = anyio.current_time() + within_seconds
    while (figures := statistics()).idle != figures.pool_size:
        if anyio.current_time() >= deadline:
            raise InvariantBroken(
                f"The pool is not whole: only {figures.idle} of its {figures.pool_size} connections are idle after {within_seconds} s.\n"
                f"{figures.on_loan} are on loan and {figures.waiting} tasks wait.\n"
                "To fix it, look for a connection that was closed without its slot being given back."
            )
        await anyio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)


def _connect(address: str) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(address, autocommit=True, application_name="trioorm witness")


async def _wait_until_quiet(
    connection: "psycopg.Connection[tuple[object, ...]]", application_name: str | None, within_seconds: float
) -> None:
    pause_seconds = _FIRST_PAUSE_SECONDS
    deadline = anyio.current_time() + within_seconds
    while busy := await anyio.to_thread.run_sync(_busy_sessions, connection, application_name):
        if anyio.current_time() >= deadline:
            sessions = "\n".join(f"  {session}" for session in busy)
            raise InvariantBroken(
                f"The server is not quiet: {len(busy)} sessions are still busy after {within_seconds} s.\n{sessions}\n"
                "To fix it, look for a query that was left running without a cancel request, or a transaction without an end."
            )
        await anyio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)


def _busy_sessions(connection: "psycopg.Connection[tuple[object, ...]]", application_name: str | None) -> list[BusySession]:
    with connection.cursor(row_factory=class_row(BusySession)) as cursor:
        return cursor.execute(_BUSY_SESSIONS, {"application_name": application_name}).fetchall()
