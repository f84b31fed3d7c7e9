"""Dead connections and dead servers: nobody is handed a dead connection, and the pool is whole again by itself."""

from collections.abc import Iterator

import anyio
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.pool.test_pool_line import until_idle, until_waiting
from tests.wire.witness import Witness, step, works
from trioorm.embedded import Server
from trioorm.errors import AuthenticationFailed, ConnectFailed, ConnectionLost
from trioorm.pool import Pool, PoolTimeout, open_pool
from trioorm.testing import pool_is_whole, running_proxy
from trioorm.wire import AnyIOConnection, command


def _pids(witness: Witness) -> list[int]:
    """The sessions of the database, the witness apart."""
    rows = witness.connection.execute(
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    ).fetchall()
    return [pid for (pid,) in rows if isinstance(pid, int)]


async def _all_work(pool: Pool, number: int) -> None:
    """So many tasks at once borrow a connection, and each one that they get is alive."""

    async def work() -> None:
        with await pool.acquire() as connection:
            assert await works(connection)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as nursery:
            for _ in range(number):
                nursery.start_soon(work)


async def test_after_all_sessions_were_ended_nobody_gets_a_dead_one(dsn: str, witness: Witness) -> None:
    async with open_pool(dsn, min_size=3, max_size=3) as pool:
        await until_idle(pool, 3)
        for round_number in range(3):
            for pid in _pids(witness):
                witness.terminate(pid)
            await _all_work(pool, 6)
            assert pool.statistics().connections_lost == (round_number + 1) * 3
            await pool_is_whole(pool.statistics)


async def test_a_session_that_ended_while_on_loan_is_not_handed_over(dsn: str, witness: Witness) -> None:
    """The holder did not use it, so nobody has noticed; its farewell lies unread in the socket."""
    async with open_pool(dsn, min_size=1, max_size=1) as pool:
        lease = await pool.acquire()
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_all_work, pool, 1)
            await until_waiting(pool, 1)
            witness.terminate(lease.connection.info.backend_pid)
            lease.release()


async def test_a_session_that_ended_while_on_loan_is_not_lent_again_at_once(dsn: str, witness: Witness) -> None:
    """Who takes what has just come back does not look, since most have just been answered."""
    async with open_pool(dsn, min_size=1, max_size=1) as pool:
        lease = await pool.acquire()
        witness.terminate(lease.connection.info.backend_pid)
        lease.release()
        lease = pool.lend_at_once() or await pool.acquire(briefly=True)
        assert await works(lease.connection)
        lease.release()


@pytest.mark.parametrize("in_line", [False, True])
async def test_a_session_whose_network_died_while_on_loan_is_asked_before_it_is_lent(dsn: str, in_line: bool) -> None:
    """Its holder asked nothing of it, and nothing tells what has happened; the kernel takes two minutes to notice."""
    idle_seconds = 0.05
    with running_proxy(dsn) as proxy:
        async with open_pool(proxy.conninfo(), max_size=1, check_after_idle_seconds=idle_seconds, cleanup_timeout_seconds=0.2) as pool:
            lease = await pool.acquire()
            proxy.drop_server_side()
            async with anyio.create_task_group() as nursery:
                if in_line:
                    nursery.start_soon(_all_work, pool, 1)
                    await until_waiting(pool, 1)
                await anyio.sleep(2 * idle_seconds)
                lease.release()
                if not in_line:
                    await _all_work(pool, 1)
            assert pool.statistics().connections_lost == 1
            await pool_is_whole(pool.statistics)


async def test_one_that_was_on_loan_for_long_and_lives_goes_on_to_who_is_in_line(dsn: str) -> None:
    async with open_pool(dsn, max_size=1, check_after_idle_seconds=0) as pool:
        lease = await pool.acquire()
        pid = lease.connection.info.backend_pid
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_all_work, pool, 2)
            await until_waiting(pool, 2)
            lease.release()
        with await pool.acquire() as connection:
            assert connection.info.backend_pid == pid
        assert pool.statistics().connections_lost == 0


async def test_the_sizes_are_kept_after_losses(dsn: str, witness: Witness) -> None:
    async with open_pool(dsn, min_size=3, max_size=5) as pool:
        await until_idle(pool, 3)
        for pid in _pids(witness):
            witness.terminate(pid)
        with await pool.acquire() as connection:
            assert await works(connection)
        await until_idle(pool, 3)
        await witness.until("SELECT count(*) = 4 FROM pg_stat_activity WHERE datname = current_database()")


async def test_the_least_size_is_kept_after_one_loss_that_a_look_found(dsn: str, witness: Witness) -> None:
    """The dead one is passed over and a live one lent; the dead one is replaced all the same."""
    async with open_pool(dsn, min_size=2, max_size=5) as pool:
        await until_idle(pool, 2)
        leases = [await pool.acquire() for _ in range(2)]
        for lease in leases:
            lease.release()
        witness.terminate(leases[1].connection.info.backend_pid)
        with await pool.acquire() as connection:
            assert connection is leases[0].connection
        await until_idle(pool, 2)


async def test_a_connection_lost_under_its_holder_is_replaced(dsn: str, witness: Witness) -> None:
    async with open_pool(dsn, min_size=1, max_size=1) as pool:
        with await pool.acquire() as connection:
            witness.terminate(connection.info.backend_pid)
            with pytest.raises(ConnectionLost):
                await connection.fly([step("SELECT 1")])
        await until_idle(pool, 1)
        await _all_work(pool, 2)
        assert pool.statistics().returns_bad == 1


@pytest.mark.parametrize("left", ["in a transaction", "in a failed transaction", "closed", "busy"])
async def test_what_is_not_provably_idle_is_closed_and_replaced(dsn: str, witness: Witness, left: str) -> None:
    async with open_pool(dsn, min_size=1, max_size=1) as pool:
        with await pool.acquire() as connection:
            pid = connection.info.backend_pid
            if left == "closed":
                connection.close_nowait()
            elif left == "busy":
                connection.take_off([step("SELECT pg_sleep(0.2)")])
                connection.pgconn.flush()
            else:
                await connection.fly([command(b"BEGIN"), step("SELECT 1/0" if "failed" in left else "SELECT 1")])
        assert connection.closed
        await until_idle(pool, 1)
        await _all_work(pool, 2)
        await witness.until_gone(pid)


async def test_a_waiter_gets_the_replacement_of_what_came_back_broken(dsn: str) -> None:
    async with open_pool(dsn, min_size=1, max_size=1) as pool:
        lease = await pool.acquire()
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_all_work, pool, 3)
            await until_waiting(pool, 3)
            lease.connection.close_nowait()
            lease.release()
        await pool_is_whole(pool.statistics)


@pytest.mark.parametrize("end", ["restart", "crash"])
async def test_after_the_server_was_restarted_it_goes_on(rough_server: Server, end: str) -> None:
    async with open_pool(rough_server.conninfo(), min_size=2, max_size=4) as pool:
        await until_idle(pool, 2)
        if end == "restart":
            rough_server.restart()
        else:
            rough_server.kill()
            rough_server.start()
        await _all_work(pool, 8)
        await pool_is_whole(pool.statistics)
        assert pool.statistics().connections_lost == 2


async def test_who_waits_while_the_server_is_away_is_served_when_it_is_back(rough_server: Server) -> None:
    async with open_pool(rough_server.conninfo(), min_size=1, max_size=2) as pool:
        rough_server.kill()
        try:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(_all_work, pool, 4)
                with anyio.fail_after(5):
                    while pool.statistics().connections_errors < 3:  # noqa: ASYNC110 - the pool tries in the background
                        await anyio.sleep(0.005)
                assert pool.statistics().waiting == 4
                rough_server.start()
        finally:
            rough_server.start()
        await pool_is_whole(pool.statistics)


async def test_the_timeout_tells_why_no_connection_could_be_opened(tmp_path: object) -> None:
    address = make_conninfo(host=str(tmp_path), user="postgres", dbname="postgres")
    async with open_pool(address, min_size=0, max_size=2, timeout_seconds=0.2) as pool:
        with pytest.raises(PoolTimeout, match="Opening another failed: no connection could be made") as failure:
            await pool.acquire()
        assert f"{tmp_path}" in str(failure.value)
        assert failure.value.on_loan == 0


async def test_attempts_to_open_come_with_pauses(tmp_path: object) -> None:
    async with open_pool(f"host={tmp_path}", min_size=0, max_size=1, timeout_seconds=0.5) as pool:
        with pytest.raises(PoolTimeout):
            await pool.acquire()
        assert 1 < pool.statistics().connections_errors < 50, "without pauses it would be hundreds"


async def test_failing_fast_tells_at_once(tmp_path: object) -> None:
    address = make_conninfo(host=str(tmp_path), user="postgres", dbname="postgres")
    async with open_pool(address, min_size=0, fail_fast=True) as pool:
        with anyio.fail_after(2):
            with pytest.raises(ConnectFailed, match="No such file or directory"):
                await pool.acquire()


@pytest.fixture
def guest(server_dsn: str, dsn: str) -> Iterator[str]:
    """The address of the test's database for a role that may be locked out."""
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest_of_the_pool LOGIN")
    yield make_conninfo(dsn, user="guest_of_the_pool")
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute("DROP ROLE guest_of_the_pool")


async def test_who_is_not_let_in_any_more_is_told_at_once(guest: str, witness: Witness) -> None:
    """Waiting would not help, so nobody waits for the timeout."""
    async with open_pool(guest, min_size=1, max_size=1) as pool:
        witness.run("ALTER ROLE guest_of_the_pool NOLOGIN")
        for pid in _pids(witness):
            witness.terminate(pid)
        for _ in range(2):
            with anyio.fail_after(2):
                with pytest.raises(AuthenticationFailed, match="not permitted to log in"):
                    await pool.acquire()
        witness.run("ALTER ROLE guest_of_the_pool LOGIN")
        await _all_work(pool, 2)


async def test_an_error_of_the_connect_function_that_is_none_of_ours_is_told_to_who_waits(dsn: str) -> None:
    """A background task that raised would end the whole pool; this one goes to the waiter, whoever wrote the function."""
    broken = True

    async def connect() -> AnyIOConnection:
        if broken:
            raise ZeroDivisionError("a slip of the pen")
        return await AnyIOConnection.connect(dsn, autocommit=True)

    async with open_pool(connect, min_size=0, max_size=1, timeout_seconds=1) as pool:
        with pytest.raises(PoolTimeout, match="a slip of the pen"):
            await pool.acquire()
        broken = False
        await _all_work(pool, 2)
