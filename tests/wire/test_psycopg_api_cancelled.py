"""psycopg's own blocks when a scope cancels them: their ends wait for the server, and a level cancellation raises there again."""

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from tests.wire.witness import Witness, works
from trioorm.wire import AnyIOConnection


@asynccontextmanager
async def _table(dsn: str) -> AsyncGenerator[AnyIOConnection]:
    """A connection to a database with an empty table `person`."""
    async with await AnyIOConnection.connect(dsn) as connection:
        await connection.execute("CREATE TABLE person (name text PRIMARY KEY, age int)")
        await connection.commit()
        yield connection


async def test_a_transaction_block_that_is_cancelled_is_rolled_back(dsn: str, witness: Witness) -> None:
    async with _table(dsn) as connection:
        with anyio.CancelScope() as scope:
            async with connection.transaction():
                await connection.execute("INSERT INTO person VALUES ('Ada', 36)")
                scope.cancel()
                await connection.execute("SELECT pg_sleep(60)")
        assert scope.cancelled_caught
        assert connection.is_idle or connection.closed
        assert witness.value("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") == 0


async def test_a_copy_that_is_cancelled_between_two_rows_is_ended(dsn: str, witness: Witness) -> None:
    """Cancelled while the connection waits for nothing: only the copy's own end can tell the server."""
    async with _table(dsn) as connection:
        await connection.set_autocommit(True)
        with anyio.CancelScope() as scope:
            async with connection.cursor().copy("COPY person FROM STDIN") as copy:
                await copy.write_row(("Ada", 36))
                scope.cancel()
                await anyio.sleep(math.inf)
        assert scope.cancelled_caught
        assert connection.is_idle or connection.closed
        assert witness.value("SELECT count(*) FROM person") == 0


async def test_a_pipeline_block_that_is_cancelled_leaves_the_connection_idle_or_closed(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        pid = connection.info.backend_pid
        async with anyio.create_task_group() as nursery:

            async def long_pipeline() -> None:
                async with connection.pipeline():
                    cursor = await connection.execute("SELECT pg_sleep(60)")
                    await cursor.fetchone()

            nursery.start_soon(long_pipeline)
            await witness.until_waiting(pid)
            nursery.cancel_scope.cancel()
        assert connection.closed or await works(connection)
