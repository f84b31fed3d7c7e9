"""asyncpg's pool in the storm, written as its documentation shows it. On asyncio, the only loop that it has.

Its connections refuse a second task while they work, so there is no operation with children.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from random import Random
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from benchmarks.storm.contender import FORBIDDEN_PART, Operation, PoolCounts, Undone, expect, operations_of

asyncpg: Any = import_module("asyncpg")  # so, because the package has no types

_CLOSE_SECONDS = 10.0

_INSERT = "INSERT INTO storm_rows VALUES ($1, $2)"


class AsyncpgPool:
    """See `Contender`."""

    name = f"asyncpg {asyncpg.__version__}"
    loops = ("asyncio",)

    @asynccontextmanager
    async def open(
        self, address: str, *, size: int, cleanup_timeout_seconds: float = 1.0, commit_timeout_seconds: float = 5.0
    ) -> AsyncGenerator["AsyncpgClient"]:
        parts = {name: str(value) for name, value in conninfo_to_dict(address).items()}
        where = {name: parts[name] for name in ("host", "port", "user") if name in parts}
        settings = {"application_name": parts["application_name"]}
        pool = await asyncpg.create_pool(**where, database=parts["dbname"], min_size=size, max_size=size, server_settings=settings)
        try:
            yield AsyncpgClient(pool)
        finally:
            # As its documentation advises, since close() waits for ever for a connection that is not given back.
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    def is_unknown(self, error: BaseException) -> bool:
        return False

    def is_unavailable(self, error: BaseException) -> bool:
        # Without a class of its own for a lost connection: InterfaceError is raised for that and for wrong use alike.
        return isinstance(
            error,
            (
                asyncpg.PostgresConnectionError,
                asyncpg.InterfaceError,
                asyncpg.AdminShutdownError,
                asyncpg.CrashShutdownError,
                asyncpg.CannotConnectNowError,
                OSError,
            ),
        )

    def is_rollback(self, error: BaseException) -> bool:
        return isinstance(error, asyncpg.InFailedSQLTransactionError)


class AsyncpgClient:
    """See `Client`."""

    def __init__(self, pool: Any) -> None:  # noqa: ANN401 - its stubs are generic in ways that help nobody here
        self._pool = pool
        self._busy: set[int] = set()

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Any]:
        pid = 0
        try:
            async with self._pool.acquire() as connection:
                pid = connection.get_server_pid()
                self._busy.add(pid)
                yield connection
        finally:
            self._busy.discard(pid)

    @property
    def operations(self) -> Mapping[str, Operation]:
        return operations_of(self)

    def busy_pids(self) -> set[int]:
        return set(self._busy)

    def counts(self) -> PoolCounts:
        size = self._pool.get_size()
        return PoolCounts(size - self._pool.get_idle_size(), 0, size)

    @asynccontextmanager
    async def hold(self, when_lent: Callable[[], None] = lambda: None) -> AsyncGenerator[int]:
        async with self._connection() as connection:
            when_lent()
            async with connection.transaction():
                yield connection.get_server_pid()

    async def read(self) -> None:
        async with self._connection() as connection:
            await connection.fetchval("SELECT 1")

    async def sleep(self, seconds: float) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_sleep($1)", seconds)

    async def insert_and_commit(self, number: int, before_commit: Callable[[], None]) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_INSERT, number, 0)
            before_commit()

    async def echo(self, random: Random, number: int) -> None:
        async with self._connection() as connection:
            answer = await connection.fetchval("SELECT $1::int", number)
        expect(answer, number)

    async def long_sleep(self, random: Random, number: int) -> None:
        await self.sleep(5)

    async def insert(self, random: Random, number: int) -> None:
        async with self._connection() as connection:
            await connection.execute(_INSERT, number, 0)

    async def insert_many(self, random: Random, number: int) -> None:
        async with self._connection() as connection:
            await connection.executemany(_INSERT, [(number, part) for part in range(3)])

    async def slow_insert(self, random: Random, number: int) -> None:
        async with self._connection() as connection:
            await connection.execute("INSERT INTO storm_rows SELECT $1, 0 FROM pg_sleep($2)", number, random.uniform(0, 0.01))

    async def transaction(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.transaction():
            for part in range(3):
                await connection.execute(_INSERT, number, part)
                if random.random() < 0.2:
                    await asyncio.sleep(random.uniform(0, 0.003))

    async def savepoint(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_INSERT, number, 0)
            try:
                async with connection.transaction():
                    await connection.execute(_INSERT, number, FORBIDDEN_PART)
                    raise Undone
            except Undone:
                pass
            async with connection.transaction():
                await connection.execute(_INSERT, number, 1)

    async def rolls_back(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_INSERT, number, 0)
            await connection.execute(_INSERT, number, 1)
            raise Undone

    async def swallows_an_error(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_INSERT, number, 0)
            try:
                await connection.execute("SELECT 1 / 0")
            except asyncpg.DivisionByZeroError:
                pass

    async def swallows_a_timeout(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_INSERT, number, 0)
            try:
                async with asyncio.timeout(random.uniform(0, 0.004)):
                    await connection.execute("SELECT pg_sleep(1)")
            except TimeoutError:
                pass

    async def stream(self, random: Random, number: int) -> None:
        rows = random.randrange(1, 400)
        leaves_at = random.randrange(1, 800)
        due = number
        async with self._connection() as connection, connection.transaction():
            async for answer in connection.cursor("SELECT generate_series($1::int, $2::int)", number, number + rows - 1):
                expect(answer[0], due)
                due += 1
                if due - number == leaves_at:
                    return

    async def copy_in(self, random: Random, number: int) -> None:
        async with self._connection() as connection:
            await connection.copy_records_to_table("storm_rows", records=[(number, part) for part in range(5)])
