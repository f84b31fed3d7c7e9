"""A pool with lanes, and short words for reading through them.

The contract: even a single reader goes on a lane, as many would. After the block of `open_lanes`, when it ended well, every reader was
answered, the pool was whole and the server quiet.
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Unpack

import anyio
import pytest
from attrs import frozen

from tests.wire.witness import Witness, step, text_rows
from trioorm.pool import LaneStatistics, Pool, PoolOptions, lanes, open_pool
from trioorm.pool.lanes import Lanes
from trioorm.testing import pool_is_whole, server_is_quiet
from trioorm.transaction import PoolRunner
from trioorm.wire import Statement, Step
from trioorm.wire.lane import Lane

OTHER_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
ACTIVE = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'"


def proven_echo() -> Statement:
    """A new statement that gives back its only value, as if it had been fast often enough."""
    return proven(step("SELECT $1::text", "")).statement


def proven(read: Step) -> Step:
    """The step, as if its statement had been fast often enough."""
    while not read.statement.pace.is_proven:
        read.statement.pace.note(0.0)
    return read


def proven_step(text: str, *values: str) -> Step:
    """A step of a new statement, as if it had been fast often enough."""
    return proven(step(text, *values))


@frozen
class Reads:
    """Reads outside of any transaction."""

    pool: Pool

    async def value(self, read: Step) -> str | None:
        """The only value of a read, by whatever way it goes."""
        result = await PoolRunner(self.pool).run_one(read.statement, read.values, read.formats, is_write=False)
        [[value]] = text_rows(result)
        return value

    @property
    def lanes(self) -> Lanes:
        """Of the pool."""
        return self.pool.lanes

    @property
    def lane(self) -> Lane:
        """The only lane."""
        [lane] = self.lanes.open_lanes
        return lane

    @property
    def pid(self) -> int:
        """The process id of the only lane's session."""
        return self.lane.connection.info.backend_pid

    @property
    def figures(self) -> LaneStatistics:
        """What the pool says of its lanes."""
        return self.pool.statistics().lanes

    async def until_open(self, number: int) -> None:
        """Read until so many lanes are open: they are opened in the background, when somebody would read through one."""
        nothing = proven_step("SELECT ''")
        with anyio.fail_after(10):
            while self.figures.open < number:
                await self.value(nothing)

    async def until_depth(self, depth: int) -> None:
        """Wait until so many statements are under way on the only lane."""
        with anyio.fail_after(10):
            while self.lane.depth != depth:  # noqa: ASYNC110 - a lane tells nobody
                await anyio.sleep(0.001)


@contextmanager
def shared_by_few() -> Generator[None]:
    """A block in which a lane is used even when there are connections enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "FEW_LOANS", 0)
        yield


@asynccontextmanager
async def open_lanes(dsn: str, witness: Witness | None, **options: Unpack[PoolOptions]) -> AsyncGenerator[Reads]:
    """A pool whose lanes are open, and stay so while nobody reads for a while."""
    options = {"lanes": 1, "max_size": 3, "check_after_idle_seconds": 60.0, **options}
    with shared_by_few():
        async with open_pool(dsn, **options) as pool:
            async with _looked_after(pool, pool.lanes.limit, witness) as reads:
                yield reads


@asynccontextmanager
async def _looked_after(pool: Pool, number: int, witness: Witness | None) -> AsyncGenerator[Reads]:
    reads = Reads(pool)
    await reads.until_open(number)
    yield reads
    if witness is not None:
        await server_is_quiet(witness.connection)
    with anyio.fail_after(1):
        while any(reads.figures.depths):  # noqa: ASYNC110 - a lane tells nobody
            await anyio.sleep(0.001)
    await pool_is_whole(pool.statistics)
