"""Exercises after the storm: each brings about one situation again and again, because a storm meets it too seldom."""

import anyio
import anyio.to_thread
import attrs

from benchmarks.storm.faults import terminate
from benchmarks.storm.load import Row
from trioorm import CommitOutcomeUnknown, Database, TrioormError, open_database, sql
from trioorm.embedded import AsyncServer

_PID = sql("SELECT pg_backend_pid()").returns(int).reads_only()


@attrs.frozen(kw_only=True)
class DrillFigures:
    """What the drills found.

    Attributes:
        capacity: how many connections could be borrowed at the same time after the storm.
        dead_hand_outs: reads that failed after idle sessions were terminated, of `hand_outs`.
        close_seconds: how long closing took with users that do not let go.
        commit_overrun_seconds: how long a COMMIT on a frozen server went on after its deadline.
        commit_unknown: whether it then raised `CommitOutcomeUnknown`.
    """

    capacity: int
    hand_outs: int
    dead_hand_outs: int
    close_seconds: float
    commit_overrun_seconds: float
    commit_unknown: bool


async def all_at_once(db: Database, size: int) -> set[int]:
    """Borrow every connection at the same time; the sessions' process ids."""
    pids: set[int] = set()
    everybody = anyio.Event()

    async def borrow() -> None:
        async with db.transaction() as tx:
            pids.add(await tx.fetch_value(_PID))
            if len(pids) == size:
                everybody.set()
            await everybody.wait()

    with anyio.move_on_after(2):
        async with anyio.create_task_group() as nursery:
            for _ in range(size):
                nursery.start_soon(borrow)
    return pids


async def idle_death(db: Database, server: AsyncServer, *, size: int, rounds: int) -> tuple[int, int]:
    """Terminate idle sessions and read at once; how many reads there were, and how many failed."""
    reads = failures = 0

    async def read() -> None:
        nonlocal failures
        try:
            await db.fetch_value(_PID)
        except TrioormError:
            failures += 1

    for _ in range(rounds):
        await all_at_once(db, size)
        await anyio.to_thread.run_sync(terminate, server.conninfo(), 1.0)
        async with anyio.create_task_group() as nursery:
            for _ in range(2 * size):
                nursery.start_soon(read)
                reads += 1
    return reads, failures


async def close_with_stuck_users(address: str, *, size: int) -> float:
    """Leave a database whose connections are all in use by tasks that do not end; how many seconds it took."""
    stuck = 0
    all_stuck = anyio.Event()

    async def hold(db: Database, *, in_statement: bool) -> None:
        nonlocal stuck
        try:
            async with db.transaction() as tx:
                await tx.fetch_value(_PID)
                stuck += 1
                if stuck == size:
                    all_stuck.set()
                await (tx.execute(sql("SELECT pg_sleep(60)")) if in_statement else anyio.sleep_forever())
        except TrioormError:
            pass  # the database was closed under it

    seconds = float("inf")
    async with anyio.create_task_group() as nursery:
        async with open_database(address, max_size=size) as db:
            for place in range(size):
                nursery.start_soon(lambda in_statement: hold(db, in_statement=in_statement), place % 2 == 0)
            await all_stuck.wait()
            started_at = anyio.current_time()
        seconds = anyio.current_time() - started_at
        nursery.cancel_scope.cancel()
    return seconds


async def commit_on_a_frozen_server(address: str, server: AsyncServer, *, commit_timeout_seconds: float) -> tuple[float, bool]:
    """Freeze the server before a COMMIT that is cancelled; how many seconds it overran its deadline, and whether it said "unknown"."""
    unknown = False
    async with open_database(address, max_size=1, commit_timeout_seconds=commit_timeout_seconds) as db:
        with anyio.move_on_after(0.1) as scope:
            try:
                async with db.transaction() as tx:
                    await tx.insert(Row(attempt=-1, part=0))
                    server.freeze()
            except CommitOutcomeUnknown:
                unknown = True
        overrun = anyio.current_time() - scope.deadline
        server.thaw()
    return overrun, unknown


async def drill(db: Database, address: str, server: AsyncServer, *, size: int, rounds: int, commit_timeout_seconds: float) -> DrillFigures:
    """All of them, one after the other."""
    capacity = len(await all_at_once(db, size))
    hand_outs, dead_hand_outs = await idle_death(db, server, size=size, rounds=rounds)
    close_seconds = await close_with_stuck_users(address, size=size)
    commit_overrun, unknown = await commit_on_a_frozen_server(address, server, commit_timeout_seconds=commit_timeout_seconds)
    return DrillFigures(
        capacity=capacity,
        hand_outs=hand_outs,
        dead_hand_outs=dead_hand_outs,
        close_seconds=close_seconds,
        commit_overrun_seconds=commit_overrun,
        commit_unknown=unknown,
    )
