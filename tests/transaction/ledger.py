"""A database with one table, in which each transaction leaves its entries or none; and short words for what tests do to it.

The contract: after the block of `open_ledger`, when it ended well, the pool was whole and the server quiet, so every test of a failure is
also a test that the failure left nothing behind.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio.lowlevel
import psycopg

from tests.wire.witness import Witness
from trioorm import Column, Database, Model, Savepoint, Transaction, column, open_database, sql
from trioorm.testing import pool_is_whole, server_is_quiet

Block = Transaction | Savepoint


class Entry(Model, table="entries"):
    """One row that a transaction wrote."""

    key: Column[int] = column(primary_key=True)
    note: Column[str] = column(default="")


SLEEP = sql("SELECT pg_sleep(60)")
FAILS = sql("SELECT 1 / 0")


@asynccontextmanager
async def open_ledger(
    dsn: str, *, max_size: int = 3, cleanup_timeout_seconds: float = 1.0, commit_timeout_seconds: float = 5.0
) -> AsyncGenerator[Database]:
    """A database with the empty table of entries."""
    async with open_database(
        dsn, max_size=max_size, cleanup_timeout_seconds=cleanup_timeout_seconds, commit_timeout_seconds=commit_timeout_seconds
    ) as db:
        await db.create_schema(Entry)
        yield db
        await pool_is_whole(db.statistics)
        await server_is_quiet(dsn)


def keys_in(dsn: str) -> list[int]:
    """The committed keys, as another session sees them."""
    with psycopg.connect(dsn) as connection:
        return [key for (key,) in connection.execute("SELECT key FROM entries ORDER BY key").fetchall()]


async def write(block: "Database | Block", key: int) -> None:
    """Write one entry."""
    await block.insert(Entry(key=key))


class Sleeper:
    """A statement that sleeps on the server for a minute, and the means to wait until it really does."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._known = anyio.Event()
        self.pid = 0

    def runs_on(self, pid: int) -> None:
        """Tell which process of the server will sleep."""
        self.pid = pid
        self._known.set()

    async def sleep_on(self, block: Block) -> None:
        """Sleep in a statement of this block."""
        self.runs_on(await process_of(block))
        await block.execute(SLEEP)

    async def until_asleep(self) -> None:
        """Wait until the server's process sleeps."""
        await self._known.wait()
        await self._witness.until_waiting(self.pid)

    async def kill_when_asleep(self) -> None:
        """End the session from the server's side once it sleeps."""
        await self.until_asleep()
        self._witness.terminate(self.pid)

    async def cancel_when_asleep(self, scope: anyio.CancelScope) -> None:
        """Cancel a scope once the server's process sleeps."""
        await self.until_asleep()
        scope.cancel()


async def process_of(block: "Database | Block") -> int:
    """The process id of the session that the block runs on."""
    return await block.fetch_value(sql("SELECT pg_backend_pid()").returns(int))


async def fail_with(error: BaseException) -> None:
    """A child that fails at once."""
    await anyio.lowlevel.checkpoint()
    raise error
