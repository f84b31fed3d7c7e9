"""Exercises after the storm: each brings about one situation again and again, because a storm meets it too seldom."""

from random import Random
from time import perf_counter

import anyio
import anyio.to_thread
import attrs

from benchmarks.storm.contender import Client, Contender
from benchmarks.storm.faults import terminate
from benchmarks.storm.figures import percentile
from trioorm.embedded import AsyncServer

_WAITERS = 1000
_QUITTERS = 300
_HOLD_SECONDS = 0.02
_PATIENCE_SECONDS = 20.0
_READ_SECONDS = 3.0


@attrs.frozen(kw_only=True)
class Fairness:
    """A thousand tasks ask for a connection at the same time, and nearly a third of them give up at some moment.

    Attributes:
        served: how many had a connection to the end.
        forgotten: how many did not give up and never got one.
        overtaken: how many later ones were served before the one that was overtaken most.
        wait_ratio: the 99th percentile of waiting, of those who were served, over the time that all the work takes on so many connections.
    """

    served: int
    forgotten: int
    overtaken: int
    wait_ratio: float


@attrs.frozen(kw_only=True)
class DrillFigures:
    """What the drills found.

    Attributes:
        capacity: how many connections could be borrowed at the same time after the storm.
        dead_hand_outs: reads that failed after idle sessions were terminated, of `hand_outs`.
        close_seconds: how long closing took with users that do not let go.
        commit_overrun_seconds: how long a COMMIT on a frozen server went on after its deadline.
        commit_unknown: whether it then said that the outcome is unknown.
    """

    capacity: int
    hand_outs: int
    dead_hand_outs: int
    close_seconds: float
    commit_overrun_seconds: float
    commit_unknown: bool
    fairness: Fairness


async def all_at_once(client: Client, size: int) -> set[int]:
    """Borrow every connection at the same time; the sessions' process ids."""
    pids: set[int] = set()
    everybody = anyio.Event()

    async def borrow() -> None:
        async with client.hold() as pid:
            pids.add(pid)
            if len(pids) == size:
                everybody.set()
            await everybody.wait()

    with anyio.move_on_after(2):
        async with anyio.create_task_group() as nursery:
            for _ in range(size):
                nursery.start_soon(borrow)
    return pids


async def idle_death(client: Client, server: AsyncServer, *, size: int, rounds: int) -> tuple[int, int]:
    """Terminate idle sessions and read at once; how many reads there were, and how many failed or did not end."""
    reads = failures = 0

    async def read() -> None:
        nonlocal failures
        failures += 1
        try:
            with anyio.move_on_after(_READ_SECONDS) as scope:
                await client.read()
        except Exception:  # whatever it is, the reader did not get what it asked for
            return
        failures -= not scope.cancelled_caught

    for _ in range(rounds):
        await all_at_once(client, size)
        await anyio.to_thread.run_sync(terminate, server.conninfo(), 1.0)
        async with anyio.create_task_group() as nursery:
            for _ in range(2 * size):
                nursery.start_soon(read)
                reads += 1
    return reads, failures


async def fairness(client: Client, random: Random, *, size: int) -> Fairness:
    """See `Fairness`."""
    quitters = set(random.sample(range(_WAITERS), _QUITTERS))
    last_moment = _WAITERS * _HOLD_SECONDS / size
    joined: list[int] = []
    served: list[int] = []
    waits: list[float] = []
    done: set[int] = set()
    work = 0.0

    async def wait_in_line(number: int) -> None:
        nonlocal work
        patience = random.uniform(0, last_moment) if number in quitters else _PATIENCE_SECONDS
        joined.append(number)
        asked_at = perf_counter()
        got_at: float | None = None

        def when_lent() -> None:  # how long the server then takes to answer is not the line's doing
            nonlocal got_at
            got_at = perf_counter()
            served.append(number)

        try:
            with anyio.move_on_after(patience):
                async with client.hold(when_lent):
                    await anyio.sleep(_HOLD_SECONDS)
                done.add(number)
        finally:
            if got_at is not None:
                waits.append(got_at - asked_at)
                work += perf_counter() - got_at

    async with anyio.create_task_group() as nursery:
        for number in range(_WAITERS):
            nursery.start_soon(wait_in_line, number)
    place = {number: at for at, number in enumerate(joined)}
    overtaken = max((sum(place[later] > place[number] for later in served[:at]) for at, number in enumerate(served)), default=0)
    return Fairness(
        served=len(done),
        forgotten=_WAITERS - len(quitters | done),
        overtaken=overtaken,
        wait_ratio=percentile(waits, 99) / (work / size) if work else float("inf"),
    )


async def close_with_stuck_users(contender: Contender, address: str, *, size: int) -> float:
    """Leave a pool whose connections are all in use by tasks that do not end; how many seconds it took, at most so long as we wait."""
    stuck = 0
    all_stuck = anyio.Event()

    async def hold(client: Client, *, in_statement: bool) -> None:
        nonlocal stuck
        try:
            if in_statement:
                stuck += 1
                await client.sleep(60)
            async with client.hold():
                stuck += 1
                if stuck == size:
                    all_stuck.set()
                await anyio.sleep_forever()
        except Exception:
            return  # it was closed under it

    started_at = anyio.current_time()
    seconds = float("inf")
    async with anyio.create_task_group() as nursery:
        try:
            with anyio.move_on_after(_PATIENCE_SECONDS):
                async with contender.open(address, size=size) as client:
                    for place in range(size):
                        nursery.start_soon(lambda in_statement: hold(client, in_statement=in_statement), place % 2 == 0)
                    await all_stuck.wait()
                    started_at = anyio.current_time()
        finally:
            seconds = anyio.current_time() - started_at
            nursery.cancel_scope.cancel()
    return seconds


async def commit_on_a_frozen_server(
    contender: Contender, address: str, server: AsyncServer, *, commit_timeout_seconds: float
) -> tuple[float, bool]:
    """Freeze the server before a COMMIT that is cancelled; how many seconds it overran its deadline, and whether it said "unknown"."""
    unknown = False
    overrun = float("inf")
    async with contender.open(address, size=1, commit_timeout_seconds=commit_timeout_seconds) as client:
        async with anyio.create_task_group() as nursery:

            async def thaw_at_last() -> None:
                await anyio.sleep(_PATIENCE_SECONDS)
                server.thaw()

            nursery.start_soon(thaw_at_last)
            with anyio.move_on_after(0.1) as scope:
                try:
                    await client.insert_and_commit(-1, server.freeze)
                except Exception as error:  # whatever it says
                    unknown = contender.is_unknown(error)
            overrun = anyio.current_time() - scope.deadline
            nursery.cancel_scope.cancel()
        server.thaw()
    return overrun, unknown


async def drill(
    contender: Contender,
    client: Client,
    address: str,
    server: AsyncServer,
    random: Random,
    *,
    size: int,
    rounds: int,
    commit_timeout_seconds: float,
) -> DrillFigures:
    """All of them, one after the other."""
    capacity = len(await all_at_once(client, size))
    fair = await fairness(client, random, size=size)
    hand_outs, dead_hand_outs = await idle_death(client, server, size=size, rounds=rounds)
    close_seconds = await close_with_stuck_users(contender, address, size=size)
    commit_overrun, unknown = await commit_on_a_frozen_server(contender, address, server, commit_timeout_seconds=commit_timeout_seconds)
    return DrillFigures(
        capacity=capacity,
        hand_outs=hand_outs,
        dead_hand_outs=dead_hand_outs,
        close_seconds=close_seconds,
        commit_overrun_seconds=commit_overrun,
        commit_unknown=unknown,
        fairness=fair,
    )
