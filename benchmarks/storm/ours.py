"""trioorm in the storm."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from random import Random

import anyio

from benchmarks.storm.contender import FORBIDDEN_PART, Operation, PoolCounts, Undone, expect, operations_of
from trioorm import (
    Column,
    CommitOutcomeUnknown,
    Database,
    Model,
    TransactionAborted,
    TransactionRolledBack,
    column,
    identifier,
    open_database,
    sql,
)
from trioorm.errors import DatabaseError, DatabaseUnavailable

_SAME_NAME = 500  # attempts

_PID = sql("SELECT pg_backend_pid()").returns(int).reads_only()


class Row(Model, table="storm_rows"):
    """One row that an attempt wrote."""

    attempt: Column[int] = column(primary_key=True)
    part: Column[int] = column(primary_key=True)


class Trioorm:
    """See `Contender`.

    Args:
        lanes: how many of the pool's connections single reads may share; None for its default.
    """

    loops = ("trio", "asyncio")

    def __init__(self, lanes: int | None = None) -> None:
        self._lanes = lanes
        self.name = "trioorm" if lanes is None else f"trioorm with lanes={lanes}"

    @asynccontextmanager
    async def open(
        self, address: str, *, size: int, cleanup_timeout_seconds: float = 1.0, commit_timeout_seconds: float = 5.0
    ) -> AsyncGenerator["TrioormClient"]:
        async with open_database(
            address,
            max_size=size,
            lanes=self._lanes,
            cleanup_timeout_seconds=cleanup_timeout_seconds,
            commit_timeout_seconds=commit_timeout_seconds,
        ) as db:
            yield TrioormClient(db)

    def is_unknown(self, error: BaseException) -> bool:
        return isinstance(error, CommitOutcomeUnknown)

    def is_unavailable(self, error: BaseException) -> bool:
        return isinstance(error, DatabaseUnavailable)

    def is_rollback(self, error: BaseException) -> bool:
        return isinstance(error, TransactionRolledBack | TransactionAborted)


class TrioormClient:
    """See `Client`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lanes = db._pool.lanes  # pyright: ignore[reportPrivateUsage] - the public figures do not tell of sessions

    @property
    def operations(self) -> Mapping[str, Operation]:
        more = {"children": Operation(self.children, rows=4, weight=8)}
        if self._lanes.limit:
            more["uneven read"] = Operation(self.uneven_read, rows=0, weight=20)
            more["read that fails"] = Operation(self.read_that_fails, rows=0, weight=8)
        return {**operations_of(self), **more}

    def busy_pids(self) -> set[int]:
        by_lanes = [lane.connection for lane in self._lanes.open_lanes if lane.is_waited_for]
        pids = {connection.info.backend_pid for connection in by_lanes if not connection.closed}  # one may be about to be replaced
        return pids | {loan.backend_pid for loan in self._db.statistics().loans}

    def counts(self) -> PoolCounts:
        statistics = self._db.statistics()
        ready = statistics.pool_available + statistics.on_loan + statistics.lanes.open
        return PoolCounts(statistics.on_loan, statistics.waiting, ready, reads_on_lanes=statistics.lanes.reads)

    @asynccontextmanager
    async def hold(self, when_lent: Callable[[], None] = lambda: None) -> AsyncGenerator[int]:
        async with self._db.transaction() as tx:
            when_lent()
            yield await tx.fetch_value(_PID)

    async def read(self) -> None:
        await self._db.fetch_value(_PID)

    async def sleep(self, seconds: float) -> None:
        async with self._db.transaction() as tx:
            await tx.execute(sql("SELECT pg_sleep({seconds})", seconds=seconds))

    async def insert_and_commit(self, number: int, before_commit: Callable[[], None]) -> None:
        async with self._db.transaction() as tx:
            await tx.insert(Row(attempt=number, part=0))
            before_commit()

    async def echo(self, random: Random, number: int) -> None:
        expect(await self._db.fetch_value(sql("SELECT {number}", number=number).returns(int).reads_only()), number)

    async def uneven_read(self, random: Random, number: int) -> None:
        """Quick as a rule, so that it goes on a lane, and then slow there. Under ever new names, or it would be kept off for good."""
        pause = 0.0 if random.random() < 0.97 else random.choice((0.03, 0.2))
        name = identifier(f"since {number // _SAME_NAME}")
        statement = sql("SELECT {number} AS {name} FROM pg_sleep({pause})", number=number, name=name, pause=pause)
        expect(await self._db.fetch_value(statement.returns(int).reads_only()), number)

    async def read_that_fails(self, random: Random, number: int) -> None:
        try:
            await self._db.fetch_value(sql("SELECT {number} / {zero}", number=number, zero=random.choice((0, 1))).returns(int).reads_only())
        except DatabaseError as error:
            if error.sqlstate != "22012":
                raise

    async def long_sleep(self, random: Random, number: int) -> None:
        await self._db.execute(sql("SELECT pg_sleep(5)").reads_only())

    async def insert(self, random: Random, number: int) -> None:
        await self._db.insert(Row(attempt=number, part=0))

    async def insert_many(self, random: Random, number: int) -> None:
        await self._db.insert_many([Row(attempt=number, part=part) for part in range(3)])

    async def slow_insert(self, random: Random, number: int) -> None:
        await self._db.execute(
            sql("INSERT INTO storm_rows SELECT {number}, 0 FROM pg_sleep({pause})", number=number, pause=random.uniform(0, 0.01))
        )

    async def transaction(self, random: Random, number: int) -> None:
        async with self._db.transaction() as tx:
            for part in range(3):
                await tx.insert(Row(attempt=number, part=part))
                if random.random() < 0.2:
                    await anyio.sleep(random.uniform(0, 0.003))

    async def children(self, random: Random, number: int) -> None:
        async with self._db.transaction() as tx:
            for part in range(3):
                tx.start_soon(tx.insert, Row(attempt=number, part=part))
            await tx.insert(Row(attempt=number, part=3))

    async def savepoint(self, random: Random, number: int) -> None:
        async with self._db.transaction() as tx:
            await tx.insert(Row(attempt=number, part=0))
            try:
                async with tx.savepoint() as sp:
                    await sp.insert(Row(attempt=number, part=FORBIDDEN_PART))
                    raise Undone
            except Undone:
                pass
            async with tx.savepoint() as sp:
                await sp.insert(Row(attempt=number, part=1))

    async def rolls_back(self, random: Random, number: int) -> None:
        async with self._db.transaction() as tx:
            await tx.insert(Row(attempt=number, part=0))
            tx.start_soon(partial(tx.insert, Row(attempt=number, part=1)))
            raise Undone

    async def swallows_an_error(self, random: Random, number: int) -> None:
        async with self._db.transaction() as tx:
            await tx.insert(Row(attempt=number, part=0))
            try:
                await tx.execute(sql("SELECT 1 / 0"))
            except DatabaseError:
                pass

    async def swallows_a_timeout(self, random: Random, number: int) -> None:
        async with self._db.transaction() as tx:
            await tx.insert(Row(attempt=number, part=0))
            with anyio.move_on_after(random.uniform(0, 0.004)):
                await tx.execute(sql("SELECT pg_sleep(1)"))

    async def stream(self, random: Random, number: int) -> None:
        rows = random.randrange(1, 400)
        leaves_at = random.randrange(1, 800)
        statement = sql("SELECT generate_series({first}, {last})", first=number, last=number + rows - 1).returns(int).reads_only()
        due = number
        async with self._db.stream(statement, batch_rows=50) as answers:
            async for answer in answers:
                expect(answer, due)
                due += 1
                if due - number == leaves_at:
                    return

    async def copy_in(self, random: Random, number: int) -> None:
        await self._db.copy_in(Row, [Row(attempt=number, part=part) for part in range(5)])
