"""psycopg_pool in the storm, written as its documentation shows it. On asyncio, the only loop that it has."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeAlias

import psycopg
import psycopg_pool

from benchmarks.storm.contender import FORBIDDEN_PART, Operation, PoolCounts, Undone, expect, operations_of

_INSERT = "INSERT INTO storm_rows VALUES (%s, %s)"

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]


class PsycopgPool:
    """See `Contender`."""

    name = f"psycopg_pool {psycopg_pool.__version__}"
    loops = ("asyncio",)

    @asynccontextmanager
    async def open(
        self, address: str, *, size: int, cleanup_timeout_seconds: float = 1.0, commit_timeout_seconds: float = 5.0
    ) -> AsyncGenerator["PsycopgPoolClient"]:
        pool: psycopg_pool.AsyncConnectionPool[Connection] = psycopg_pool.AsyncConnectionPool(
            address, min_size=size, max_size=size, open=False
        )
        async with pool:
            yield PsycopgPoolClient(pool)

    def is_unknown(self, error: BaseException) -> bool:
        return False

    def is_unavailable(self, error: BaseException) -> bool:
        return isinstance(error, psycopg.OperationalError | OSError)

    def is_rollback(self, error: BaseException) -> bool:
        return isinstance(error, psycopg.errors.InFailedSqlTransaction)


class PsycopgPoolClient:
    """See `Client`."""

    def __init__(self, pool: psycopg_pool.AsyncConnectionPool[Connection]) -> None:
        self._pool = pool
        self._busy: set[int] = set()

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection]:
        pid = 0
        try:
            async with self._pool.connection() as connection:
                pid = connection.info.backend_pid
                self._busy.add(pid)
                yield connection
        finally:
            self._busy.discard(pid)

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {**operations_of(self), "children": Operation(self.children, rows=4, weight=8)}

    def busy_pids(self) -> set[int]:
        return set(self._busy)

    def counts(self) -> PoolCounts:
        statistics = self._pool.get_stats()
        size, available = statistics.get("pool_size", 0), statistics.get("pool_available", 0)
        return PoolCounts(size - available, statistics.get("requests_waiting", 0), size)

    @asynccontextmanager
    async def hold(self, when_lent: Callable[[], None] = lambda: None) -> AsyncGenerator[int]:
        async with self._connection() as connection:
            when_lent()
            await connection.execute("SELECT 1")
            yield connection.info.backend_pid

    async def read(self) -> None:
        async with self._connection() as connection:
            await connection.execute("SELECT 1")

    async def sleep(self, seconds: float) -> None:
        async with self._connection() as connection:
            await connection.execute("SELECT pg_sleep(%s)", [seconds])

    async def insert_and_commit(self, number: int, before_commit: Callable[[], None]) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_INSERT, [number, 0])
            before_commit()

    async def echo(self, random: Random, number: int) -> None:
        async with self._connection() as connection:
            cursor = await connection.execute("SELECT %s", [number])
            row = await cursor.fetchone()
        expect(row and row[0], number)

    async def long_sleep(self, random: Random, number: int) -> None:
        await self.sleep(5)

    async def insert(self, random: Random, number: int) -> None:
        async with self._connection() as connection:
            await connection.execute(_INSERT, [number, 0])

    async def insert_many(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(_INSERT, [(number, part) for part in range(3)])

    async def slow_insert(self, random: Random, number: int) -> None:
        async with self._connection() as connection:
            await connection.execute("INSERT INTO storm_rows SELECT %s, 0 FROM pg_sleep(%s)", [number, random.uniform(0, 0.01)])

    async def transaction(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.transaction():
            for part in range(3):
                await connection.execute(_INSERT, [number, part])
                if random.random() < 0.2:
                    await asyncio.sleep(random.uniform(0, 0.003))

    async def children(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.transaction(), asyncio.TaskGroup() as tasks:
            for part in range(4):
                tasks.create_task(connection.execute(_INSERT, [number, part]))

    async def savepoint(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_INSERT, [number, 0])
            try:
                async with connection.transaction():
                    await connection.execute(_INSERT, [number, FORBIDDEN_PART])
                    raise Undone
            except Undone:
                pass
            async with connection.transaction():
                await connection.execute(_INSERT, [number, 1])

    async def rolls_back(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_INSERT, [number, 0])
            await connection.execute(_INSERT, [number, 1])
            raise Undone

    async def swallows_an_error(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_INSERT, [number, 0])
            try:
                await connection.execute("SELECT 1 / 0")
            except psycopg.errors.DivisionByZero:
                pass

    async def swallows_a_timeout(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_INSERT, [number, 0])
            try:
                async with asyncio.timeout(random.uniform(0, 0.004)):
                    await connection.execute("SELECT pg_sleep(1)")
            except TimeoutError:
                pass

    async def stream(self, random: Random, number: int) -> None:
        rows = random.randrange(1, 400)
        leaves_at = random.randrange(1, 800)
        due = number
        async with self._connection() as connection, connection.cursor(name="storm") as cursor:
            await cursor.execute("SELECT generate_series(%s::int, %s::int)", [number, number + rows - 1])
            async for answer in cursor:
                expect(answer[0], due)
                due += 1
                if due - number == leaves_at:
                    return

    async def copy_in(self, random: Random, number: int) -> None:
        async with self._connection() as connection, connection.cursor() as cursor:
            async with cursor.copy("COPY storm_rows FROM STDIN") as copy:
                for part in range(5):
                    await copy.write_row((number, part))
