"""Lanes as a part of their pool: how they count, what becomes of reads when one breaks, and how they end."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.pool.lanes import ACTIVE, OTHER_SESSIONS, Reads, open_lanes, proven_echo, proven_step, shared_by_few
from tests.pool.test_pool_line import until_idle
from tests.wire.witness import Witness, again, text_rows
from trioorm.errors import ConnectionLost, DatabaseError, QueryCanceled
from trioorm.pool import Lease, PoolClosed, PoolDeadlock, PoolSettings, lanes, open_pool
from trioorm.testing import pool_is_whole, running_proxy, server_is_quiet
from trioorm.wire import AnyIOConnection, OnCancel, Step, lane

# Connections that break.


async def test_a_thousand_reads_in_flight_survive_the_loss_of_their_lane(
    dsn: str, witness: Witness, guarded: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "HELD_UP_SECONDS", 60.0)  # or those behind the locked table were sent elsewhere before
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
        assert reads.pool.statistics().pool_size <= 3
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


async def test_lanes_count_among_the_pools_size(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness, lanes=2, min_size=4, max_size=4) as reads:
        await until_idle(reads.pool, 2)  # or the lanes would give way while others are opened
        with await reads.pool.acquire(), await reads.pool.acquire():
            figures = reads.pool.statistics()
            assert (figures.lanes.open, figures.on_loan, figures.pool_size) == (2, 2, 2)
            assert len(figures.loans) == 2
            assert witness.value(OTHER_SESSIONS) == 4


async def test_whoever_needs_all_connections_gets_all(dsn: str, witness: Witness) -> None:
    """Lanes give way when somebody waits and none comes free, and the connection is handed over, not opened anew."""
    async with open_lanes(dsn, witness, lanes=2, max_size=4) as reads:
        opened = reads.pool.statistics().connections_num
        leases = list[Lease]()
        with anyio.fail_after(5):
            for _ in range(4):
                leases.append(await reads.pool.acquire())
        assert reads.figures.open == 0
        assert witness.value(OTHER_SESSIONS) == 4
        assert reads.pool.statistics().connections_num - opened <= 2, "two were there"
        for lease in leases:
            lease.release()
        await reads.until_open(2)


@pytest.mark.usefixtures("patient")
async def test_a_lane_gives_way_once_its_readers_are_answered(dsn: str, witness: Witness, guarded: Step) -> None:
    answers = list[str | None]()
    async with open_lanes(dsn, witness, max_size=2) as reads, anyio.create_task_group() as nursery:

        async def read() -> None:
            answers.append(await reads.value(guarded))

        with witness.locked("guarded") as unlock:
            nursery.start_soon(read)
            await witness.until_waiting(reads.pid, "relation")
            lease = await reads.pool.acquire()
            with anyio.move_on_after(0.3) as scope:
                await reads.pool.acquire()
            lease.release()
            assert scope.cancelled_caught
            assert answers == []
            unlock()
        with anyio.fail_after(5):
            for lease in [await reads.pool.acquire() for _ in range(2)]:
                lease.release()
    assert answers == ["guarded"]


@pytest.mark.usefixtures("patient")
async def test_a_lane_stays_while_connections_come_and_go(dsn: str, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the line: a read on a lane is one less in it."""
    monkeypatch.setattr(lanes, "SLOW_SECONDS", 0.5)  # a busy machine may let nothing move for longer than it is
    async with open_lanes(dsn, witness, max_size=2) as reads:
        lane, echo = reads.lane, proven_echo()
        ends_at = anyio.current_time() + 1.5

        async def borrow() -> None:
            while anyio.current_time() < ends_at:
                with await reads.pool.acquire():
                    await anyio.sleep(0.001)

        async def read() -> None:
            while anyio.current_time() < ends_at:
                await reads.value(again(echo, "x"))

        async with anyio.create_task_group() as nursery:
            for _ in range(5):
                nursery.start_soon(borrow)
                nursery.start_soon(read)
        assert reads.lanes.open_lanes == (lane,)


async def test_a_lane_stands_in_line_like_everybody(dsn: str, witness: Witness) -> None:
    async with open_pool(dsn, max_size=2, lanes=1) as pool:
        with shared_by_few():
            reads = Reads(pool)
            first, second = await pool.acquire(), await pool.acquire()
            got = list[str]()

            async def borrow(name: str) -> None:
                with await pool.acquire():
                    got.append(name)
                    await anyio.sleep(0.01)

            async with anyio.create_task_group() as nursery:
                nursery.start_soon(borrow, "before it")
                await anyio.wait_all_tasks_blocked()
                pool.lanes.call()
                nursery.start_soon(reads.value, proven_step("SELECT 'calls for a lane'"))
                await anyio.wait_all_tasks_blocked()
                assert (pool.lanes.in_line, pool.statistics().requests_waiting) == (1, 2), "it is no task"
                first.release()
                assert not pool.lanes
                second.release()
                assert len(pool.lanes) == 1, "nor is it passed over"
            assert got == ["before it"]


async def test_a_lane_that_is_called_for_no_more_leaves_the_line(dsn: str) -> None:
    """Or the pool would try to open a connection for it for ever."""
    opened = 0

    async def connect() -> AnyIOConnection[Any]:
        nonlocal opened
        opened += 1
        if opened > 1:
            await anyio.sleep_forever()
        return await AnyIOConnection.connect(dsn, autocommit=True)

    async with open_pool(connect, max_size=2, lanes=1) as pool:
        with await pool.acquire():
            pool.lanes.call()
            read = proven_step("SELECT ''")
            assert pool.lanes.join(read.statement, read.values, read.formats) is None
            assert pool.lanes.in_line == 1
            with anyio.fail_after(5):
                while pool.lanes.are_called_for:  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.001)
            assert pool.lanes.in_line == 0
            assert pool._line.count == 0  # pyright: ignore[reportPrivateUsage] - the public figure leaves lanes out


async def test_a_deadlock_is_found_beside_a_lane(dsn: str) -> None:
    """The lane's connection goes first; then nothing can come free."""
    async with open_lanes(dsn, None, max_size=3, timeout_seconds=10.0) as reads:
        ended = list[str]()

        async def nest(both: anyio.Event) -> None:
            with await reads.pool.acquire():
                await both.wait()
                try:
                    with await reads.pool.acquire():
                        await anyio.sleep(0.1)
                    ended.append("got two")
                except PoolDeadlock:
                    ended.append("refused")

        both = anyio.Event()
        async with anyio.create_task_group() as nursery:
            for _ in range(2):
                nursery.start_soon(nest, both)
            with anyio.fail_after(5):
                while reads.pool.statistics().on_loan < 2:  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.001)
            both.set()
        assert ended == ["got two", "got two"]


@pytest.mark.parametrize(("size", "reserved", "most"), [(1, 0, 0), (4, 0, 0), (5, 0, 1), (5, 1, 0), (10, 0, 1), (10, 5, 1), (100, 0, 1)])
def test_how_many_lanes_there_are_when_nobody_says(size: int, reserved: int, most: int) -> None:
    assert PoolSettings(max_size=size, reserved_size=reserved, lanes=None).most_lanes == most


async def test_lanes_must_leave_something(dsn: str) -> None:
    with pytest.raises(ValueError, match=r"lanes \(3\) takes too much of max_size \(3\)"):
        open_pool(dsn, lanes=3, max_size=3)
    with pytest.raises(ValueError, match="lanes"):
        open_pool(dsn, lanes=1, max_size=3, reserved_size=2)
    async with open_pool(dsn, lanes=2, max_size=4) as pool:
        with pytest.raises(ValueError, match="lanes"):
            pool.resize(1, 2)


async def test_a_resized_pool_has_as_many_lanes_as_its_size_allows(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness, lanes=None, max_size=5) as reads:
        pid = reads.pid
        reads.pool.resize(1, 4)
        with anyio.fail_after(5):
            while reads.figures.open:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.001)
        assert await reads.value(again(proven_echo(), "x")) == "x"
        assert (reads.figures.open, reads.lanes.in_line) == (0, 0)
        assert witness.is_alive(pid), "its connection is the pool's again"
        reads.pool.resize(1, 5)
        await reads.until_open(1)


async def test_what_may_be_hit_by_a_late_cancel_is_never_lent_again(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        pid = reads.pid
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(reads.value, proven_step("SELECT 'x' FROM pg_sleep(60)"))
                await witness.until_waiting(pid)
                scope.cancel()
        await reads.until_depth(0)
        assert witness.is_alive(pid)
        reads.lanes.retire()
        await witness.until_gone(pid)


async def test_a_lane_under_way_ends_as_if_it_had_never_been_one(dsn: str, witness: Witness) -> None:
    """What it knows prepared is so still, and all that a connection can do works on it."""
    async with open_lanes(dsn, witness, max_size=1 + 1) as reads:
        pid, echo = reads.pid, proven_echo()
        assert await reads.value(again(echo, "x")) == "x"
        connection = reads.lane.connection
        prepared = len(connection.prepared_names)
        reads.lanes.limit = 0
        reads.lanes.retire()
        with anyio.fail_after(5):
            while reads.figures.open:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.001)
        leases = [await reads.pool.acquire() for _ in range(2)]
        [mine] = [lease.connection for lease in leases if lease.connection.info.backend_pid == pid]
        assert mine is connection
        assert len(connection.prepared_names) == prepared > 0
        read = again(echo, "one statement's way")
        answer = await connection.ask(read.statement, read.values, read.formats, on_cancel=OnCancel.STOP)
        assert text_rows(answer) == [("one statement's way",)]
        cursor = await connection.execute("SELECT %s::text", ["psycopg's way"])
        assert await cursor.fetchall() == [("psycopg's way",)]
        [row] = await connection.fly([again(echo, "a flight's way")])
        assert text_rows(row) == [("a flight's way",)]
        for lease in leases:
            lease.release()


async def test_a_drained_pool_opens_other_lanes(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        pid = reads.pid
        reads.pool.drain()
        await witness.until_gone(pid)
        await reads.until_open(1)
        assert reads.pid != pid


@pytest.mark.usefixtures("patient")
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


async def test_a_lane_that_is_old_is_closed_as_connections_are(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness, max_lifetime_seconds=0.1) as reads:
        await witness.until_gone(reads.pid)


async def test_a_lane_that_is_not_used_is_an_idle_connection_again(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness, max_idle_seconds=0.05) as reads:
        with anyio.fail_after(5):
            while reads.figures.open or reads.pool.statistics().pool_size > 1:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.001)
        await witness.until(f"SELECT ({OTHER_SESSIONS}) = 1")


async def test_a_lane_whose_network_died_while_it_was_idle_holds_nobody_up(dsn: str) -> None:
    """As little as a connection does, which is asked for a sign of life when it has lain still; the kernel takes two minutes to notice."""
    with running_proxy(dsn) as proxy:
        idle_seconds, cleanup_seconds = 0.1, 0.3
        async with open_lanes(
            proxy.conninfo(), None, max_size=2, check_after_idle_seconds=idle_seconds, cleanup_timeout_seconds=cleanup_seconds
        ) as reads:
            await anyio.sleep(2 * idle_seconds)
            proxy.drop_server_side()
            with anyio.fail_after(2 * 2 * cleanup_seconds + 2.0):  # two connections, each asked and then given up
                assert await reads.value(again(proven_echo(), "x")) == "x"


async def test_what_was_an_idle_lane_is_asked_before_it_is_lent(dsn: str) -> None:
    """It has lain still as a lane, not since it came back."""
    asked: list[object] = []

    async def check(connection: object) -> None:
        asked.append(connection)

    async with open_lanes(dsn, None, check_after_idle_seconds=0.3, check=check) as reads:
        assert await reads.value(again(proven_echo(), "x")) == "x"
        (lane,) = reads.pool.lanes.leases
        with anyio.fail_after(5):
            while reads.pool.lanes.leases:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.001)
        asked.clear()
        with await reads.pool.acquire() as connection:
            assert connection is lane.connection
        assert asked == [connection]


async def test_no_lane_is_opened_on_a_connection_that_has_lain_still(dsn: str) -> None:
    async with open_pool(dsn, min_size=2, max_size=3, lanes=1, check_after_idle_seconds=0.05) as pool:
        reads, read = Reads(pool), proven_step("SELECT 'x'")
        with shared_by_few():
            await until_idle(pool, 2)
            await anyio.sleep(0.1)
            pool.lanes.call()
            assert await reads.value(read) == "x"
            assert (len(pool.lanes), pool.lanes.in_line) == (0, 0)
            assert await reads.value(read) == "x"
            assert len(pool.lanes) == 1, "the first one has just been used"


async def test_what_sets_a_connection_up_sets_lanes_up_too(dsn: str, witness: Witness) -> None:
    seen: list[int] = []

    async def configure(connection: object) -> None:
        seen.append(1)

    async with open_lanes(dsn, witness, configure=configure) as reads:
        assert reads.pool.statistics().connections_num == len(seen) >= 2


async def test_a_lane_that_breaks_at_once_is_opened_again_with_delays(dsn: str, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    def longest(least: float, most: float) -> float:
        return most

    monkeypatch.setattr("trioorm.resilience.backoff.random.uniform", longest)
    async with open_lanes(dsn, witness) as reads:
        started_at = anyio.current_time()
        for _ in range(3):
            witness.terminate(reads.pid)
            with anyio.fail_after(5):
                while reads.figures.open:  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.001)
            await reads.until_open(1)
        assert anyio.current_time() - started_at > 0.05 + 0.1 + 0.2
        assert await reads.value(again(proven_echo(), "x")) == "x"


async def test_a_lane_that_is_refused_a_connection_is_put_off(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the line is slow, or no connection can be opened: nobody is hurt, and it comes later."""
    async with open_pool(dsn, max_size=2, lanes=1, timeout_seconds=10.0) as pool:
        reads, read = Reads(pool), proven_step("SELECT 'x'")
        with shared_by_few():
            async with anyio.create_task_group() as nursery:
                leases = [await pool.acquire() for _ in range(2)]
                pool.lanes.call()
                nursery.start_soon(reads.value, read)
                await anyio.wait_all_tasks_blocked()
                waiter = pool._line.first()  # pyright: ignore[reportPrivateUsage] - as those do that refuse it
                assert waiter is not None
                waiter.refuse(PoolClosed("not now"))
                assert pool.lanes.in_line == 0
                nursery.start_soon(reads.value, read)
                await anyio.wait_all_tasks_blocked()
                assert pool.lanes.in_line == 0, "not at once"
                for lease in leases:
                    lease.release()
            await reads.until_open(1)


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
