"""Lanes where everything goes wrong: readers cancelled anywhere, the network cut at every message, a server that stands still."""

import random
from collections.abc import Awaitable, Generator

import anyio
import psycopg
import pytest

from tests.pool.lanes import OTHER_SESSIONS, Reads, open_lanes, proven, proven_echo, proven_step
from tests.pool.pgbouncer import running_pgbouncer
from tests.wire.witness import Witness, again, step
from trioorm.embedded import Server
from trioorm.pool import Lease
from trioorm.testing import (
    CutRun,
    Effect,
    SweepRun,
    available_cancellations,
    cut_sweep,
    pool_is_whole,
    running_proxy,
    server_is_quiet,
    sweep,
)
from trioorm.wire import Step, lane


async def _everything_in_place(reads: Reads, witness: Witness, number: int) -> None:
    await pool_is_whole(reads.pool.statistics)
    await server_is_quiet(witness.connection)
    with anyio.fail_after(1):
        while any(reads.figures.depths):  # noqa: ASYNC110 - a lane tells nobody
            await anyio.sleep(0.001)
    echo = proven_echo()
    assert [await reads.value(again(echo, f"{number} {other}")) for other in range(2)] == [f"{number} 0", f"{number} 1"]


# Sweeps by suspension.


@pytest.mark.parametrize("seconds", [0, 0.02, 0.2], ids=["quick", "as slow as may be", "slow"])
async def test_a_read_cancelled_anywhere(dsn: str, witness: Witness, seconds: float) -> None:
    """Exactly one cancellation comes out, nothing goes on running, and the lane gives the next reader its own answer."""
    async with open_lanes(dsn, witness) as reads:
        pid = reads.pid

        def make_operation(k: int) -> Awaitable[object]:
            return reads.value(proven(step(f"SELECT $1::text FROM pg_sleep({seconds})", str(k))))

        async def check(run: SweepRun) -> None:
            await _everything_in_place(reads, witness, run.k)

        report = await sweep(make_operation, check=check)
        assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())
        assert reads.pid == pid, "the lane outlived all of it"


async def test_readers_beside_each_other_cancelled_anywhere(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        echo = proven_echo()

        async def together() -> None:
            async with anyio.create_task_group() as nursery:
                for number in range(3):
                    nursery.start_soon(reads.value, again(echo, str(number)))
                nursery.start_soon(reads.value, proven_step("SELECT 'slow' FROM pg_sleep(0.06)"))

        async def check(run: SweepRun) -> None:
            await _everything_in_place(reads, witness, run.k)

        report = await sweep(lambda k: together(), check=check)
        assert sum(run.reached for run in report.runs) > 4


async def test_a_pool_with_lanes_cancelled_anywhere(dsn: str, witness: Witness) -> None:
    """Opening it, reading through a lane, closing it."""
    await_others = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

    async def operation() -> None:
        async with open_lanes(dsn, None) as reads:
            await reads.value(proven_step("SELECT 'x'"))

    async def check(run: SweepRun) -> None:
        assert witness.becomes_true(await_others, within_seconds=2)

    report = await sweep(lambda k: operation(), check=check)
    assert sum(run.reached for run in report.runs) > 10


async def test_taking_a_lanes_connection_cancelled_anywhere(dsn: str, witness: Witness) -> None:
    """The lane gives way to who needs all connections, and comes back; no connection is lost on the way."""
    async with open_lanes(dsn, witness, max_size=2) as reads:
        echo = proven_echo()

        async def operation() -> None:
            leases = list[Lease]()
            try:
                await reads.value(again(echo, "x"))
                leases += [await reads.pool.acquire()]
                leases += [await reads.pool.acquire()]
            finally:
                for lease in leases:
                    lease.release()
            await reads.value(again(echo, "y"))

        async def check(run: SweepRun) -> None:
            await reads.until_open(1)
            await _everything_in_place(reads, witness, run.k)

        report = await sweep(lambda k: operation(), check=check)
        assert sum(run.reached for run in report.runs) > 3
        assert witness.value(OTHER_SESSIONS) == 2


# The network.


async def test_a_network_cut_at_each_message(dsn: str, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read may be run again, so it is, once; and the lane comes back."""
    monkeypatch.setattr(lane, "HELD_UP_SECONDS", 60.0)  # or a busy machine sends them to connections of their own
    with running_proxy(dsn) as proxy:
        async with open_lanes(proxy.conninfo(), witness) as reads:
            echo = proven_echo()

            async def operation() -> list[str | None]:
                answers: list[str | None] = []

                async def read(number: int) -> None:
                    answers.append(await reads.value(again(echo, str(number))))

                async with anyio.create_task_group() as nursery:
                    for number in range(3):
                        nursery.start_soon(read, number)
                return sorted(answers, key=str)

            async def check(run: CutRun) -> None:
                assert run.effect is Effect.HAPPENED
                assert run.value == ["0", "1", "2"]
                await server_is_quiet(witness.connection)
                with anyio.fail_after(5):
                    await reads.until_open(1)
                await pool_is_whole(reads.pool.statistics)

            report = await cut_sweep(proxy, operation, check=check)
        assert report.cuts > 8
        assert reads.figures.sent_elsewhere > 3


@pytest.fixture
def frozen(rough_server: Server) -> Generator[Server]:
    """A server to be frozen; it is thawed afterwards, and must then be left by all."""
    yield rough_server
    rough_server.thaw()
    with psycopg.connect(rough_server.conninfo(), autocommit=True) as connection:
        others = "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        assert Witness(connection).becomes_true(others, within_seconds=2)


async def test_readers_of_a_frozen_server_leave_by_their_deadlines(frozen: Server) -> None:
    """And the lane is given up, since its head cannot be stopped, and comes back."""
    async with open_lanes(frozen.conninfo(), None, cleanup_timeout_seconds=0.2, check_after_idle_seconds=60) as reads:
        echo, pid = proven_echo(), reads.pid
        frozen.freeze()
        overruns: list[float] = []

        async def read(number: int) -> None:
            deadline = anyio.current_time() + 0.01 * number
            with anyio.CancelScope(deadline=deadline):
                await reads.value(again(echo, str(number)))
            overruns.append(anyio.current_time() - deadline)

        async with anyio.create_task_group() as nursery:
            for number in range(10):
                nursery.start_soon(read, number)
        # Those on the lane leave at once; those who were sent to a connection after it was slow may take a cleanup's length.
        assert max(overruns) < 0.2 + 0.6
        with anyio.fail_after(5):
            while reads.figures.open:  # noqa: ASYNC110 - a lane tells nobody
                await anyio.sleep(0.005)
        frozen.thaw()
        await reads.until_open(1)
        assert reads.pid != pid
        assert await reads.value(again(echo, "thawed")) == "thawed"


# Load.


async def test_no_reader_gets_the_answer_of_another(dsn: str, witness: Witness) -> None:
    """A thousand readers, many cancelled at random moments, some with errors, some slow, and now and then the lane is killed."""
    chance = random.Random(7)
    async with open_lanes(dsn, witness, lanes=2, max_size=6, cleanup_timeout_seconds=2.0) as reads:
        echo, divides = proven_echo(), proven(step("SELECT (6000 / $1::int)::text", "1")).statement
        sleeps = proven(step("SELECT $1::text FROM pg_sleep(0.01)", "")).statement
        ended = {"right": 0, "cancelled": 0, "error": 0}

        async def expect(read: Step, right: str, seconds: float | None) -> None:
            with anyio.move_on_after(seconds) as scope:
                answer = await reads.value(read)
                assert answer == right
                ended["right"] += 1
            ended["cancelled"] += scope.cancelled_caught

        async def fails() -> None:
            with pytest.raises(Exception, match="division by zero"):
                await reads.value(again(divides, "0"))
            ended["error"] += 1

        async def reader(numbers: range) -> None:
            for number in numbers:
                seconds = chance.choice((None, None, 0.0, 0.0005, 0.002, 0.01))
                match number % 10:
                    case 0:
                        await fails()
                    case 1:
                        await expect(again(divides, str(number)), str(6000 // number), seconds)
                    case 2 if number % 50 == 2:
                        proven(again(sleeps, ""))
                        await expect(again(sleeps, str(number)), str(number), seconds)
                    case _:
                        await expect(again(echo, str(number)), str(number), seconds)

        async def kill() -> None:
            for _ in range(5):
                await anyio.sleep(0.05)
                for each in reads.lanes.open_lanes:
                    witness.run("SELECT pg_terminate_backend(%s)", each.connection.info.backend_pid)

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(kill)
            for number in range(100):
                nursery.start_soon(reader, range(number * 20, number * 20 + 20))
        assert ended["error"] == 200
        assert ended["right"] + ended["cancelled"] == 1800
        assert ended["right"] > 200
        assert ended["cancelled"] > 50
        await server_is_quiet(witness.connection)
        await reads.until_open(2)
        assert reads.figures.reads > 500


# Poolers.


async def test_through_pgbouncer(dsn: str, witness: Witness) -> None:
    """Nothing is prepared, and each statement may run in another session."""
    with running_pgbouncer(dsn, server_sessions=2) as address:
        async with open_lanes(address, None, max_size=4) as reads:
            echo, before = proven_echo(), reads.figures
            answers: dict[int, str | None] = {}

            async def read(number: int) -> None:
                answers[number] = await reads.value(again(echo, str(number)))

            async with anyio.create_task_group() as nursery:
                for number in range(200):
                    nursery.start_soon(read, number)
            assert answers == {number: str(number) for number in range(200)}
            assert reads.figures.reads - before.reads == 200
            assert witness.value("SELECT count(*) FROM pg_prepared_statements") == 0
            with anyio.move_on_after(0.05):
                await reads.value(proven_step("SELECT 'x' FROM pg_sleep(60)"))
            await server_is_quiet(witness.connection)
            assert await reads.value(again(echo, "after")) == "after"
