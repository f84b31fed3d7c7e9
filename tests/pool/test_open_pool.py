"""The block of a pool: it opens whole or not at all, its body's errors leave it as they were, and at its end nothing is left."""

import asyncio
import math
import os
import threading
import warnings
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
import psycopg_pool
import pytest
from psycopg.conninfo import make_conninfo

from tests.pool.test_pool_line import until_idle, until_waiting
from tests.wire.witness import Witness, only_value, statuses, step, works
from trioorm.errors import AuthenticationFailed, ConnectFailed, DatabaseClosed, WrongDatabaseOwner
from trioorm.pool import Pool, PoolClosed, open_pool
from trioorm.testing import SweepRun, server_is_quiet, sweep
from trioorm.wire import AnyIOConnection, OnCancel

_ONLY_THE_WITNESS = "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"


# Opening.


async def test_a_wrong_address_is_the_error_of_the_block(tmp_path: object) -> None:
    address = make_conninfo(host=str(tmp_path), user="postgres", dbname="postgres")
    with pytest.raises(ConnectFailed, match="No such file or directory"):
        async with open_pool(address):
            pytest.fail("the body must not run")


async def test_a_wrong_database_is_the_error_of_the_block(server_dsn: str) -> None:
    with pytest.raises(AuthenticationFailed, match='database "nowhere" does not exist'):
        async with open_pool(make_conninfo(server_dsn, dbname="nowhere"), min_size=4):
            pytest.fail("the body must not run")


async def test_with_no_least_size_a_wrong_address_is_found_later(tmp_path: object) -> None:
    async with open_pool(make_conninfo(host=str(tmp_path)), min_size=0) as pool:
        assert pool.statistics().pool_size == 0


async def test_the_least_size_is_opened_in_the_background(dsn: str, witness: Witness) -> None:
    async with open_pool(dsn, min_size=4, max_size=8) as pool:
        assert pool.statistics().pool_size == 4
        await until_idle(pool, 4)
        await witness.until("SELECT count(*) = 5 FROM pg_stat_activity WHERE datname = current_database()")
        assert pool.statistics().pool_size == 4
    await witness.until(_ONLY_THE_WITNESS)


async def test_sweep_over_the_whole_block(dsn: str, witness: Witness) -> None:
    """Connecting, borrowing and closing, with the background tasks that open the second connection."""

    async def operation() -> None:
        async with open_pool(dsn, min_size=2, max_size=2) as pool:
            with await pool.acquire() as connection:
                await connection.fly([step("SELECT pg_sleep(0.002)")])

    async def check(run: SweepRun) -> None:
        await server_is_quiet(witness.connection)
        await witness.until(_ONLY_THE_WITNESS)

    report = await sweep(lambda _: operation(), check=check)
    assert report.cancellations >= 3 * len(report.kinds), f"\n{report}"


async def test_sweep_over_a_block_that_ends_while_a_connection_is_on_loan(dsn: str, witness: Witness) -> None:
    """The end waits for the holder, in a shield; a cancellation that comes only once must not get lost there."""

    async def hold(pool: Pool, taken: anyio.Event) -> None:
        try:
            lease = await pool.acquire()
        except PoolClosed:
            return  # the cancelled operation was quicker
        with lease as connection:
            taken.set()
            with anyio.CancelScope(shield=True):
                await connection.fly([step("SELECT pg_sleep(0.01)")], on_cancel=OnCancel.FINISH)

    async with anyio.create_task_group() as outside:

        async def operation() -> None:
            taken = anyio.Event()
            async with open_pool(dsn, min_size=1, max_size=1) as pool:
                outside.start_soon(hold, pool, taken)
                await taken.wait()

        async def check(run: SweepRun) -> None:
            await server_is_quiet(witness.connection)
            await witness.until(_ONLY_THE_WITNESS)

        report = await sweep(lambda _: operation(), check=check, include_children=False)
        assert report.cancellations >= 2 * len(report.kinds), f"\n{report}"


# The body.


async def test_the_bodys_error_leaves_bare(dsn: str) -> None:
    error = ZeroDivisionError("the body's own")
    with pytest.raises(ZeroDivisionError) as failure:
        async with open_pool(dsn, min_size=3, max_size=3):
            raise error
    assert failure.value is error
    assert failure.value.__cause__ is None
    assert failure.value.__context__ is None


async def test_a_group_of_the_body_leaves_as_it_was(dsn: str) -> None:
    group = ExceptionGroup("the body's own", [ZeroDivisionError()])
    with pytest.raises(ExceptionGroup) as failure:
        async with open_pool(dsn):
            raise group
    assert failure.value is group


async def test_the_bodys_error_is_not_hidden_by_a_cancellation_around_it(dsn: str) -> None:
    with pytest.raises(ZeroDivisionError):
        with anyio.CancelScope() as scope:
            async with open_pool(dsn, min_size=3, max_size=3) as pool:
                await until_idle(pool, 3)
                scope.cancel()
                raise ZeroDivisionError


async def test_a_cancellation_of_the_body_leaves_bare(dsn: str, witness: Witness) -> None:
    with anyio.CancelScope() as scope:
        try:
            async with open_pool(dsn) as pool:
                with await pool.acquire():
                    scope.cancel()
                    await anyio.sleep(math.inf)
        except BaseException as error:
            assert isinstance(error, anyio.get_cancelled_exc_class())  # noqa: PT017 - it has to go on
            raise
    assert scope.cancelled_caught
    await witness.until(_ONLY_THE_WITNESS)


# Closing.


async def test_who_waits_when_it_is_closed_is_told(dsn: str) -> None:
    told = 0

    async def wait_in_line(pool: Pool) -> None:
        nonlocal told
        with pytest.raises(PoolClosed, match="while this task waited"):
            await pool.acquire()
        told += 1

    async with anyio.create_task_group() as nursery:
        async with open_pool(dsn, min_size=1, max_size=1, cleanup_timeout_seconds=0.1) as pool:
            lease = await pool.acquire()
            for _ in range(3):
                nursery.start_soon(wait_in_line, pool)
            await until_waiting(pool, 3)
        lease.release()
    assert told == 3


async def test_after_its_end_it_refuses(dsn: str) -> None:
    async with open_pool(dsn) as pool:
        pass
    with pytest.raises(PoolClosed, match="its `async with` block has ended") as failure:
        await pool.acquire()
    assert isinstance(failure.value, psycopg_pool.PoolClosed)
    assert isinstance(failure.value, DatabaseClosed)
    assert not failure.value.safe_to_retry
    assert "closed" in repr(pool)


async def test_the_end_waits_for_holders(dsn: str) -> None:
    answers: list[str | None] = []

    async def hold(pool: Pool, taken: anyio.Event) -> None:
        with await pool.acquire() as connection:
            taken.set()
            answers.append(await only_value(connection, "SELECT 'done' FROM pg_sleep(0.1)"))

    async with anyio.create_task_group() as nursery:
        async with open_pool(dsn) as pool:
            taken = anyio.Event()
            nursery.start_soon(hold, pool, taken)
            await taken.wait()
        assert answers == ["done"]
        assert pool.statistics().pool_size == 0


async def test_the_end_is_bounded_when_a_holder_does_not_give_back(dsn: str, witness: Witness) -> None:
    async with open_pool(dsn, cleanup_timeout_seconds=0.2) as pool:
        lease = await pool.acquire()
        started_at = anyio.current_time()
    assert 0.15 < anyio.current_time() - started_at < 1.7
    assert lease.connection.closed
    await witness.until(_ONLY_THE_WITNESS)
    lease.release()
    assert pool.statistics().pool_size == 0


@pytest.mark.parametrize("on_cancel", OnCancel)
async def test_a_statement_that_outlasts_the_end_is_stopped_on_the_server(dsn: str, witness: Witness, on_cancel: OnCancel) -> None:
    answers: list[str] = []

    async def hold(pool: Pool) -> None:
        with await pool.acquire() as connection:
            answers.extend(statuses(await connection.fly([step("SELECT pg_sleep(60)")], on_cancel=on_cancel)))

    async with anyio.create_task_group() as nursery:
        async with open_pool(dsn, cleanup_timeout_seconds=0.1) as pool:
            nursery.start_soon(hold, pool)
            await witness.until("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')")
        await server_is_quiet(witness.connection)
    assert answers == ["FATAL_ERROR"], "cancelled by the pool before it closes anything by force, so the holder has the server's answer"
    await witness.until(_ONLY_THE_WITNESS)


# Strangers.


async def _refused(pool: Pool) -> str:
    with pytest.raises(WrongDatabaseOwner) as failure:
        await pool.acquire()
    return str(failure.value)


@pytest.mark.parametrize("other", ["trio", "asyncio"])
async def test_another_event_loop_is_refused(dsn: str, other: str) -> None:
    async with open_pool(dsn) as pool:

        def run_elsewhere() -> str:
            return anyio.run(_refused, pool, backend=other)

        text = await anyio.to_thread.run_sync(run_elsewhere)
        assert "another event loop or thread" in text
        assert "To fix it" in text
        with await pool.acquire() as connection:
            assert await works(connection)


async def test_a_thread_without_a_loop_is_refused(dsn: str) -> None:
    async with open_pool(dsn) as pool:
        raised: list[BaseException] = []

        def drive_by_hand() -> None:
            try:
                pool.acquire().send(None)
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=drive_by_hand)
        thread.start()
        thread.join()
        assert [type(error) for error in raised] == [WrongDatabaseOwner]


async def test_a_forked_process_is_refused(dsn: str) -> None:
    async with open_pool(dsn) as pool:
        with await pool.acquire() as connection:
            assert await works(connection), "the task is known, and the same on both sides of the fork"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads; this child does nothing that needs them
            pid = os.fork()
        if pid == 0:
            status = 1
            try:
                pool.acquire().send(None)
            except WrongDatabaseOwner as error:
                status = 0 if "after a fork" in str(error) and f"{os.getppid()}" in str(error) else 2
            finally:
                os._exit(status)
        _, status = await anyio.to_thread.run_sync(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        with await pool.acquire() as connection:
            assert await works(connection)


# asyncio's own cancels.


def _on_asyncio(main: Callable[[], Awaitable[None]], *, use_uvloop: bool) -> None:
    async def run() -> None:
        await main()

    anyio.run(run, backend="asyncio", backend_options={"use_uvloop": use_uvloop})


@pytest.mark.parametrize("use_uvloop", [False, True])
def test_asyncios_timeouts_around_everything(dsn: str, witness: Witness, use_uvloop: bool) -> None:
    async def main() -> None:
        for milliseconds in range(0, 24, 2):
            try:
                async with asyncio.timeout(milliseconds / 1000):
                    async with open_pool(dsn, min_size=2, max_size=2) as pool:
                        with await pool.acquire() as connection:
                            await connection.fly([step("SELECT pg_sleep(0.005)")])
            except TimeoutError:
                pass
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await witness.until(_ONLY_THE_WITNESS)

    _on_asyncio(main, use_uvloop=use_uvloop)


@pytest.mark.parametrize("use_uvloop", [False, True])
def test_a_cancel_while_the_end_waits_for_a_holder_is_not_lost(dsn: str, use_uvloop: bool) -> None:
    async def main() -> None:
        released = asyncio.Event()
        at_its_end = asyncio.Event()
        after = False

        async def use() -> None:
            nonlocal after
            async with open_pool(dsn, cleanup_timeout_seconds=5) as pool:
                lease = await pool.acquire()

                async def release_later() -> None:
                    await released.wait()
                    lease.release()

                releasing = asyncio.create_task(release_later())
                at_its_end.set()
            await releasing
            await asyncio.sleep(0.01)
            after = True

        using = asyncio.create_task(use())
        await at_its_end.wait()
        await asyncio.sleep(0.01)
        using.cancel()
        await asyncio.sleep(0.01)
        released.set()
        await asyncio.wait([using])
        assert using.cancelled()
        assert not after

    _on_asyncio(main, use_uvloop=use_uvloop)


async def test_the_connect_function_may_be_ones_own(dsn: str) -> None:
    opened = 0

    async def connect() -> AnyIOConnection:
        nonlocal opened
        opened += 1
        return await AnyIOConnection.connect(dsn, autocommit=True, application_name=f"number {opened}")

    async with open_pool(connect, min_size=1, max_size=2) as pool:
        with await pool.acquire() as one, await pool.acquire() as other:
            names = {await only_value(connection, "SELECT current_setting('application_name')") for connection in (one, other)}
            assert names == {"number 1", "number 2"}
