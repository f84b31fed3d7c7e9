"""What a pool does by itself over time, or when it is told: lifetimes, shrinking, resizing, draining, checking, reserving, shedding."""

import logging
from time import monotonic

import anyio
import pytest
from anyio.abc import TaskStatus

from tests.pool.test_pool_line import until_idle, until_waiting
from tests.wire.witness import Witness, only_value, works
from trioorm.pool import Connection, Lease, Pool, PoolTimeout, TooManyRequests, open_pool
from trioorm.pool.line import Shedding


async def _borrow(pool: Pool, count: int) -> list[Lease]:
    return [await pool.acquire() for _ in range(count)]


def _pids(leases: list[Lease]) -> set[int]:
    return {lease.connection.info.backend_pid for lease in leases}


async def _until_closed(connection: Connection) -> None:
    with anyio.fail_after(5):
        while not connection.closed:  # noqa: ASYNC110 - the pool tells nobody when it closes one
            await anyio.sleep(0.002)


async def test_what_lies_idle_too_long_is_closed_down_to_the_least_size(dsn: str) -> None:
    async with open_pool(dsn, min_size=1, max_size=4, max_idle_seconds=0.05) as pool:
        leases = await _borrow(pool, 4)
        for lease in leases:
            lease.release()
        await until_idle(pool, 1)
        assert pool.statistics().pool_size == 1
        assert leases[-1].connection.is_idle, "the one given back last is kept, the coldest go"


async def test_a_connection_that_is_too_old_is_replaced(dsn: str) -> None:
    async with open_pool(dsn, min_size=1, max_size=1, max_lifetime_seconds=0.2) as pool:
        lease = await pool.acquire()
        old = lease.connection
        lease.release()
        await _until_closed(old)
        with await pool.acquire() as connection:
            assert await works(connection)
            assert connection is not old


async def test_one_that_comes_back_with_another_encoding_is_closed(dsn: str) -> None:
    """Else text that the next sends, which is UTF-8, would be taken for something else, and written so."""
    async with open_pool(dsn, min_size=0, max_size=1) as pool:
        async with pool.connection() as changed:
            await changed.execute("SET client_encoding TO latin1")
        assert pool.statistics().returns_bad == 1
        with await pool.acquire() as connection:
            assert connection is not changed
            assert await only_value(connection, "SELECT length($1)", "é") == "1"


async def test_one_that_has_become_too_old_on_loan_is_closed_as_it_comes_back(dsn: str) -> None:
    async with open_pool(dsn, min_size=0, max_size=1, max_lifetime_seconds=0.05) as pool:
        for waits in (False, True):
            lease = await pool.acquire()
            async with anyio.create_task_group() as nursery:
                if waits:
                    nursery.start_soon(_borrow_and_work, pool)
                    await until_waiting(pool, 1)
                await anyio.sleep(0.06)
                lease.release()
                assert lease.connection.closed, "neither lent on nor left lying"


async def _borrow_and_work(pool: Pool) -> None:
    with await pool.acquire() as connection:
        assert await works(connection)


async def test_lifetimes_differ_so_that_not_all_end_at_once(dsn: str) -> None:
    async with open_pool(dsn, min_size=0, max_size=8, max_lifetime_seconds=1000) as pool:
        before = monotonic()
        for lease in await _borrow(pool, 8):
            lease.release()
        ends = [member.expires_at - before for member in pool._idle]  # pyright: ignore[reportPrivateUsage] - nothing else tells
        assert 900 <= min(ends) < max(ends) <= 1000 + monotonic() - before
        assert max(ends) - min(ends) > 1, "they were opened within less"


async def test_a_smaller_pool_closes_what_is_too_much(dsn: str) -> None:
    async with open_pool(dsn, min_size=0, max_size=4) as pool:
        leases = await _borrow(pool, 4)
        leases[0].release()
        pool.resize(0, 2)
        assert pool.statistics().pool_size == 3
        assert leases[0].connection.closed
        leases[1].release()
        assert leases[1].connection.closed, "one too many is closed as it comes back"
        leases[2].release()
        assert leases[2].connection.is_idle
        leases[3].release()
        assert (pool.statistics().pool_size, pool.statistics().pool_max) == (2, 2)


async def test_a_larger_pool_serves_those_in_line(dsn: str) -> None:
    async with open_pool(dsn, min_size=0, max_size=1) as pool, anyio.create_task_group() as nursery:
        lease = await pool.acquire()

        async def borrow() -> None:
            with await pool.acquire() as connection:
                assert await works(connection)

        nursery.start_soon(borrow)
        await until_waiting(pool, 1)
        pool.resize(0, 2)
        await until_idle(pool, 1)
        lease.release()


async def test_draining_replaces_every_connection(dsn: str) -> None:
    async with open_pool(dsn, min_size=2, max_size=2) as pool:
        await until_idle(pool, 2)
        leases = await _borrow(pool, 2)
        before = _pids(leases)
        leases[0].release()
        pool.drain()
        assert leases[0].connection.closed
        leases[1].release()
        assert leases[1].connection.closed, "one on loan goes when it comes back"
        await until_idle(pool, 2)
        after = await _borrow(pool, 2)
        assert not before & _pids(after)
        for lease in after:
            lease.release()


async def test_draining_replaces_a_connection_that_is_just_being_reset(dsn: str) -> None:
    at_reset, go_on = anyio.Event(), anyio.Event()

    async def reset(_: Connection) -> None:
        at_reset.set()
        await go_on.wait()

    async with open_pool(dsn, max_size=1, reset=reset) as pool:
        lease = await pool.acquire()
        lease.release()
        await at_reset.wait()
        pool.drain()
        go_on.set()
        await _until_closed(lease.connection)
        with await pool.acquire() as connection:
            assert connection is not lease.connection
            assert await works(connection)


async def test_a_pool_that_has_shrunk_keeps_what_comes_back_again(dsn: str) -> None:
    async with open_pool(dsn, min_size=2, max_size=2) as pool:
        await until_idle(pool, 2)
        kept, surplus = [await pool.acquire(briefly=True) for _ in range(2)]
        kept.release()
        surplus.release()
        kept, surplus = [pool.lend_at_once() or pytest.fail("there were two") for _ in range(2)]
        pool.resize(1, 1)
        surplus.release()
        assert surplus.connection.closed
        kept.release()
        for _ in range(2):
            lease = pool.lend_at_once() or await pool.acquire(briefly=True)
            assert lease.connection is kept.connection
            lease.release()
        assert not kept.connection.closed


async def test_a_check_replaces_what_is_dead(dsn: str, witness: Witness) -> None:
    async with open_pool(dsn, min_size=2, max_size=2) as pool:
        await until_idle(pool, 2)
        leases = await _borrow(pool, 2)
        dead = leases[0].connection
        for lease in leases:
            lease.release()
        witness.terminate(dead.info.backend_pid)
        await pool.check()
        assert dead.closed
        await until_idle(pool, 2)
        assert pool.statistics().connections_lost == 1


async def test_one_idle_for_long_is_asked_before_it_is_lent(dsn: str, witness: Witness) -> None:
    async with open_pool(dsn, min_size=1, max_size=1, check_after_idle_seconds=0) as pool:
        with await pool.acquire() as connection:
            pid = connection.info.backend_pid
        with await pool.acquire():
            asked = witness.value("SELECT query FROM pg_stat_activity WHERE pid = %s", pid)
        assert asked == "", "the sign of life is an empty statement"


async def test_reserved_connections_are_for_those_who_ask(dsn: str) -> None:
    served: list[str] = []
    async with open_pool(dsn, min_size=0, max_size=2, reserved_size=1) as pool, anyio.create_task_group() as nursery:
        usual = await pool.acquire()

        async def borrow(name: str, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
            task_status.started()
            with await pool.acquire():
                served.append(name)

        nursery.start_soon(borrow, "usual")
        await until_waiting(pool, 1)
        health = await pool.acquire(reserved=True)
        assert await works(health.connection)
        assert served == []
        health.release()
        assert pool.statistics().waiting == 1, "what was reserved is not given to the others"
        usual.release()
    assert served == ["usual"]


async def test_a_long_loan_is_logged_once_with_its_place(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="trioorm.pool"):
        async with open_pool(dsn, min_size=1, max_size=1, long_loan_seconds=0.02) as pool:
            with await pool.acquire():
                with anyio.fail_after(5):
                    while not caplog.records:  # noqa: ASYNC110 - a log is read, not waited for
                        await anyio.sleep(0.005)
                await anyio.sleep(0.1)  # several times as long, in which nothing more may be logged
    assert len(caplog.records) == 1
    assert "test_pool_keeping.py" in caplog.records[0].getMessage()


async def test_a_leaked_lease_is_named_and_logged_once(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    leases: list[Lease] = []

    async def forget(pool: Pool) -> None:
        leases.append(await pool.acquire())

    with caplog.at_level(logging.WARNING, logger="trioorm.pool"):
        async with open_pool(dsn, max_size=1, max_idle_seconds=0.02, timeout_seconds=0.3) as pool:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(forget, pool, name="forgetful")
            with pytest.raises(PoolTimeout, match=r"task 'forgetful' \(which has ended\) for .* borrowed at .*test_pool_keeping\.py"):
                await pool.acquire()
            assert len(caplog.records) == 1, "it was looked at a dozen times"
            assert "task 'forgetful' has ended without giving back the connection" in caplog.text
            assert "test_pool_keeping.py" in caplog.text
            leases[0].release()
    assert len(caplog.records) == 1


async def test_what_is_not_given_back_at_the_end_is_logged(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="trioorm.pool"):
        async with open_pool(dsn, cleanup_timeout_seconds=0.05) as pool:
            await pool.acquire()
        assert len(caplog.records) == 1
    assert "did not give its connection back when the pool was closed" in caplog.text
    assert "test_pool_keeping.py" in caplog.text


def test_shedding_begins_after_a_whole_slow_interval_and_ends_with_a_good_one() -> None:
    shedding = Shedding(target_seconds=0.1, interval_seconds=1.0)
    assert not shedding.turns_away(5.0, now=10.0), "nothing is known yet"
    assert not shedding.turns_away(0.5, now=10.5)
    assert shedding.turns_away(0.5, now=11.1), "even the shortest wait of the last interval was too long"
    assert not shedding.turns_away(0.15, now=11.2), "within twice the target"
    assert not shedding.turns_away(0.05, now=11.3)
    assert not shedding.turns_away(5.0, now=12.2), "the last interval had a good wait"


async def test_a_slow_line_turns_away(dsn: str) -> None:
    async with open_pool(dsn, min_size=1, max_size=1, queue_target_seconds=0.001, queue_interval_seconds=0.01) as pool:
        refused: list[TooManyRequests] = []
        served: list[int] = []

        async def borrow(number: int) -> None:
            try:
                with await pool.acquire():
                    served.append(number)
                    await anyio.sleep(0.01)
            except TooManyRequests as error:
                refused.append(error)

        async with anyio.create_task_group() as nursery:
            for number in range(20):
                nursery.start_soon(borrow, number)
        assert served
        assert refused
        assert len(served) + len(refused) == 20
        assert all(error.safe_to_retry and "the line has been slow" in str(error) for error in refused)
        with await pool.acquire() as connection:
            assert await works(connection)
