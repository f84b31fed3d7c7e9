"""The figures of a pool: they say what is so now, and the counts add up to what was done."""

import re
from collections.abc import Awaitable, Callable

import anyio
import attrs
import pytest
from anyio.abc import TaskStatus
from psycopg_pool.base import BasePool

from tests.pool.test_pool_line import until_idle, until_waiting
from tests.wire.witness import Witness, step, works
from trioorm.errors import ConnectionLost
from trioorm.pool import Pool, PoolStatistics, PoolTimeout, open_pool
from trioorm.wire import AnyIOConnection, command


async def test_the_state_is_told_at_each_moment(dsn: str) -> None:
    async with open_pool(dsn, min_size=2, max_size=3) as pool:
        await until_idle(pool, 2)

        def state() -> tuple[int, int, int, int, int]:
            figures = pool.statistics()
            assert figures.pool_size == figures.idle + figures.on_loan + figures.connecting
            assert len(figures.loans) == figures.on_loan
            return figures.pool_size, figures.idle, figures.on_loan, figures.connecting, figures.waiting

        assert state() == (2, 2, 0, 0, 0)
        one = await pool.acquire()
        assert state() == (2, 1, 1, 0, 0)
        assert "1 idle, 1 on loan, 0 waiting, at most 3" in repr(pool)
        other = await pool.acquire()
        assert state() == (2, 0, 2, 0, 0)

        async def third() -> None:
            with await pool.acquire():
                assert state() == (3, 0, 3, 0, 0)

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(third)
            await until_waiting(pool, 1)
            assert state() == (3, 0, 2, 1, 1)
        assert state() == (3, 1, 2, 0, 0)
        one.release()
        other.release()
        assert state() == (3, 3, 0, 0, 0)
        assert (pool.statistics().pool_min, pool.statistics().pool_max) == (2, 3)
    assert state() == (0, 0, 0, 0, 0)


async def test_loans_name_task_place_and_session(dsn: str) -> None:
    async with open_pool(dsn, min_size=1) as pool:
        async with anyio.create_task_group() as nursery:

            async def borrow() -> None:
                with await pool.acquire() as connection:
                    [loan] = pool.statistics().loans
                    assert loan.holder == "the borrower"
                    assert loan.place.startswith(f"{__file__}:")
                    assert loan.backend_pid == connection.info.backend_pid
                    assert 0 <= loan.seconds < 1

            nursery.start_soon(borrow, name="the borrower")


async def test_loans_name_the_statement_that_runs(dsn: str, witness: Witness) -> None:
    """Without values; and nothing of it once it is over, or when psycopg sends another."""
    async with open_pool(dsn, min_size=1, max_size=1, timeout_seconds=0.05) as pool:

        async def work(
            send: Callable[[AnyIOConnection], Awaitable[object]], *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED
        ) -> None:
            with await pool.acquire() as connection:
                task_status.started(connection.info.backend_pid)
                await send(connection)

        async def seen(send: Callable[[AnyIOConnection], Awaitable[object]]) -> tuple[str, str]:
            found = ("", "")
            await until_idle(pool, 1)  # opening another may take longer than anybody waits
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as inner:
                    await witness.until_waiting(await inner.start(work, send))
                    with pytest.raises(PoolTimeout) as caught:
                        await pool.acquire()
                    [loan] = pool.statistics().loans
                    found = loan.statement, str(caught.value)
                    scope.cancel()
            return found

        long = step("SELECT pg_sleep($1::float),  " + ", ".join(["1"] * 100), "60")
        statement, text = await seen(lambda connection: connection.fly([command(b"BEGIN"), long]))
        assert statement == ("SELECT pg_sleep($1::float), " + ", ".join(["1"] * 100))[:80] + "..."
        assert f"s, running {statement}, borrowed at" in text
        statement, text = await seen(lambda connection: connection.execute("SELECT pg_sleep(60)"))
        assert statement == ""
        assert " s, borrowed at" in text
        await until_idle(pool, 1)
        with await pool.acquire() as connection:
            await connection.fly([step("SELECT 1")])
            assert pool.statistics().loans[0].statement == ""


async def test_counts_add_up(dsn: str, witness: Witness) -> None:
    timeout_seconds = 1.0  # long enough for a connection to be opened
    async with open_pool(dsn, min_size=1, max_size=2, timeout_seconds=timeout_seconds) as pool:
        await until_idle(pool, 1)

        async def work() -> None:
            with await pool.acquire() as connection:
                assert await works(connection)

        for _ in range(5):
            await work()
        figures = pool.statistics()
        assert (figures.requests_num, figures.requests_queued, figures.requests_errors) == (5, 0, 0)
        assert (figures.connections_num, figures.connections_errors, figures.connections_lost, figures.returns_bad) == (1, 0, 0, 0)
        assert figures.connections_ms > 0

        one, other = await pool.acquire(), await pool.acquire()

        async def in_vain() -> None:
            with pytest.raises(PoolTimeout):
                await pool.acquire()

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(in_vain)
            nursery.start_soon(in_vain)
        figures = pool.statistics()
        assert (figures.requests_num, figures.requests_queued, figures.requests_errors) == (9, 3, 2)
        assert figures.requests_wait_ms >= 2 * timeout_seconds * 1000
        assert figures.waiting_time.p99 >= timeout_seconds
        assert figures.waiting_time.p50 == 0, "of nine requests three have waited"
        one.release()

        witness.terminate(other.connection.info.backend_pid)
        with pytest.raises(ConnectionLost):
            await other.connection.fly([step("SELECT 1")])
        other.release()
        assert pool.statistics().returns_bad == 1
        assert pool.statistics().usage_ms >= timeout_seconds * 1000

        witness.terminate(one.connection.info.backend_pid)
        await work()
        assert pool.statistics().connections_lost == 1


async def test_a_request_that_is_given_up_counts_as_an_error(dsn: str) -> None:
    async with open_pool(dsn, min_size=1, max_size=1) as pool:
        with await pool.acquire():

            async def wait_in_line(pool: Pool) -> None:
                await pool.acquire()

            async with anyio.create_task_group() as nursery:
                nursery.start_soon(wait_in_line, pool)
                await until_waiting(pool, 1)
                nursery.cancel_scope.cancel()
        assert (pool.statistics().requests_num, pool.statistics().requests_errors, pool.statistics().waiting) == (2, 1, 0)


def test_it_has_the_keys_of_psycopg_pool() -> None:
    """Whoever reads its figures finds them under the same names."""
    names = {name for name in vars(BasePool) if re.fullmatch("_[A-Z_]+", name)}
    theirs = {getattr(BasePool, name) for name in names}
    assert theirs >= {"pool_min", "pool_available", "requests_waiting", "requests_wait_ms", "usage_ms", "returns_bad", "connections_lost"}
    assert theirs <= {each.name for each in attrs.fields(PoolStatistics)}
