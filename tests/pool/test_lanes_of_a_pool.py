"""Lanes as a part of their pool: how they count, what becomes of reads when one breaks, and how they end."""

import anyio
import anyio.lowlevel
import pytest

from tests.pool.lanes import ACTIVE, OTHER_SESSIONS, open_lanes, proven_echo, proven_step
from tests.wire.witness import Witness, again
from trioorm.errors import ConnectionLost, DatabaseError, QueryCanceled
from trioorm.pool import PoolClosed, PoolOptions, open_pool
from trioorm.testing import pool_is_whole, server_is_quiet
from trioorm.wire import Step, lane

# Connections that break.


async def test_a_thousand_reads_in_flight_survive_the_loss_of_their_lane(
    dsn: str, witness: Witness, guarded: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "SLOW_SECONDS", 60.0)  # or those behind the locked table were sent elsewhere before
    async with open_lanes(dsn, witness, lane_depth=1000) as reads:
        echo = proven_echo()
        await reads.value(guarded)
        answers: dict[int, str | None] = {}

        async def read(number: int) -> None:
            answers[number] = await reads.value(guarded if number == 0 else again(echo, str(number)))

        pid = reads.pid
        async with anyio.create_task_group() as nursery:
            with witness.locked("guarded") as unlock:
                nursery.start_soon(read, 0)
                await witness.until_waiting(pid, "relation")
                for number in range(1, 1000):
                    nursery.start_soon(read, number)
                await reads.until_depth(1000)
                witness.terminate(pid)
                unlock()
        assert answers == {0: "guarded", **{number: str(number) for number in range(1, 1000)}}
        assert reads.figures.sent_elsewhere == 1000
        assert reads.pool.statistics().pool_size <= 2
        await reads.until_open(1)
        assert reads.pid != pid
        assert await reads.value(again(echo, "again")) == "again"


async def test_a_read_is_run_again_once_and_no_more(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        kills_itself = proven_step("SELECT pg_terminate_backend(pg_backend_pid())::text")
        with pytest.raises((ConnectionLost, DatabaseError)):
            await reads.value(kills_itself)
        assert reads.figures.sent_elsewhere == 1


async def test_an_idle_lane_that_the_server_closes_is_noticed_at_once(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        witness.terminate(reads.pid)
        with anyio.fail_after(5):
            while reads.figures.open:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.001)
        assert await reads.value(again(proven_echo(), "elsewhere")) == "elsewhere"
        assert reads.figures.sent_elsewhere == 0


# Accounting.


async def test_lanes_are_taken_out_of_the_pools_size(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness, lanes=2, max_size=4) as reads:
        leases = [await reads.pool.acquire() for _ in range(2)]
        assert witness.value(OTHER_SESSIONS) == 4
        with anyio.move_on_after(0.05) as scope:
            await reads.pool.acquire()
        assert scope.cancelled_caught, "all that may be lent are on loan"
        assert witness.value(OTHER_SESSIONS) == 4
        for lease in leases:
            lease.release()


async def test_lanes_must_leave_something(dsn: str) -> None:
    with pytest.raises(ValueError, match=r"lanes \(3\) takes too much of max_size \(3\)"):
        open_pool(dsn, lanes=3, max_size=3)
    with pytest.raises(ValueError, match="lanes"):
        open_pool(dsn, lanes=1, max_size=3, reserved_size=2)
    async with open_pool(dsn, lanes=2, max_size=4) as pool:
        with pytest.raises(ValueError, match="lanes"):
            pool.resize(1, 2)


async def test_a_drained_pool_opens_other_lanes(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        pid = reads.pid
        reads.pool.drain()
        await witness.until_gone(pid)
        await reads.until_open(1)
        assert reads.pid != pid


async def test_a_lane_that_is_drained_answers_those_who_read_through_it(dsn: str, witness: Witness, guarded: Step) -> None:
    async with open_lanes(dsn, witness) as reads:
        pid, answers = reads.pid, list[str | None]()

        async def read() -> None:
            answers.append(await reads.value(guarded))

        async with anyio.create_task_group() as nursery:
            with witness.locked("guarded") as unlock:
                nursery.start_soon(read)
                await witness.until_waiting(pid, "relation")
                reads.pool.drain()
                assert reads.lane.is_retired
                unlock()
        assert answers == ["guarded"]
        assert reads.figures.sent_elsewhere == 0
        await witness.until_gone(pid)


@pytest.mark.parametrize("options", [PoolOptions(max_idle_seconds=0.05), PoolOptions(max_lifetime_seconds=0.1)], ids=["idle", "old"])
async def test_lanes_are_closed_as_connections_are(dsn: str, witness: Witness, options: PoolOptions) -> None:
    async with open_lanes(dsn, witness, **options) as reads:
        await witness.until_gone(reads.pid)


async def test_what_sets_a_connection_up_sets_lanes_up_too(dsn: str, witness: Witness) -> None:
    seen: list[int] = []

    async def configure(connection: object) -> None:
        seen.append(1)

    async with open_lanes(dsn, witness, configure=configure) as reads:
        assert reads.pool.statistics().connections_num == len(seen) >= 2


async def test_a_lane_that_cannot_be_opened_is_tried_again_with_delays(dsn: str, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    def longest(least: float, most: float) -> float:
        return most

    monkeypatch.setattr("trioorm.resilience.backoff.random.uniform", longest)
    tries = 0

    async def configure(connection: object) -> None:
        nonlocal tries
        tries += 1
        if 2 <= tries <= 4:
            raise RuntimeError("not yet")

    started_at = anyio.current_time()
    async with open_lanes(dsn, witness, configure=configure) as reads:
        assert anyio.current_time() - started_at > 0.05 + 0.1 + 0.2
        assert tries == 5
        assert await reads.value(again(proven_echo(), "x")) == "x"


# The end.


async def test_closing_waits_for_reads_and_then_stops_them(dsn: str, witness: Witness) -> None:
    refused: list[str] = []
    finished: list[str | None] = []
    async with anyio.create_task_group() as nursery:
        async with open_lanes(dsn, None, cleanup_timeout_seconds=0.3) as reads:

            async def slow() -> None:
                with pytest.raises((PoolClosed, QueryCanceled)):
                    await reads.value(proven_step("SELECT 'x' FROM pg_sleep(60)"))
                refused.append("slow")

            async def quick() -> None:
                finished.append(await reads.value(again(proven_echo(), "x")))

            nursery.start_soon(quick)
            await anyio.lowlevel.checkpoint()
            nursery.start_soon(slow)
            await witness.until_waiting(reads.pid)
            started_at = anyio.current_time()
            # The block of `open_lanes` would look whether all is quiet; the pool's alone is left here.
            await reads.pool.close()
            assert anyio.current_time() - started_at < 0.3 + 1.0
    assert (finished, refused) == (["x"], ["slow"])
    await server_is_quiet(witness.connection)


async def test_closing_is_quick_when_nobody_reads(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        pid = reads.pid
        started_at = anyio.current_time()
        await reads.pool.close()
        assert anyio.current_time() - started_at < 0.5
        with pytest.raises(PoolClosed):
            await reads.value(again(proven_echo(), "x"))
    await witness.until_gone(pid)
    await pool_is_whole(reads.pool.statistics)
    assert witness.value(ACTIVE) == 0
