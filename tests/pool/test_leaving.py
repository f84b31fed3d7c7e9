"""Sessions that the pool has left: they are stopped, and counted, so that the server never has more of them than `max_size`."""

import time

import anyio
import pytest

from tests.pool.test_pool_line import until_idle
from tests.wire.witness import Witness, only_value, step, works
from trioorm.embedded import Server
from trioorm.errors import ConnectionLost
from trioorm.pool import Pool, PoolTimeout, open_pool
from trioorm.testing import pool_is_whole
from trioorm.wire import AnyIOConnection, OnCancel, Step

# The witness's own is one of them.
_SESSIONS = "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"


def _set_off(connection: AnyIOConnection, statement: Step) -> None:
    """Send a statement and do not wait for it, so that it runs when the connection comes back."""
    connection.take_off([statement])
    connection.pgconn.flush()


async def _until_left(pool: Pool) -> None:
    with anyio.fail_after(10):
        while pool.statistics().leaving:  # noqa: ASYNC110 - the pool tells nobody when a session has ended
            await anyio.sleep(0.002)


async def test_a_statement_that_still_runs_is_stopped_and_its_session_counted_until_then(dsn: str, witness: Witness) -> None:
    async with open_pool(dsn, min_size=0, max_size=1) as pool:
        with await pool.acquire() as connection:
            _set_off(connection, step("SELECT pg_sleep(60)"))
            await witness.until_waiting(connection.info.backend_pid)
        assert pool.statistics().leaving == 1
        assert pool.statistics().pool_size == 0
        with await pool.acquire() as connection:
            assert pool.statistics().leaving == 0
            assert await only_value(connection, _SESSIONS) == "1"
        assert witness.value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()") == 0


async def test_one_that_survives_the_first_request_is_asked_again(dsn: str, witness: Witness) -> None:
    stubborn = "DO $$ BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(60); END $$"
    async with open_pool(dsn, min_size=0, max_size=1) as pool:
        with await pool.acquire() as connection:
            pid = connection.info.backend_pid
            _set_off(connection, step(stubborn))
            await witness.until_waiting(pid)
        await _until_left(pool)
        assert not witness.is_alive(pid)


async def test_a_write_that_was_waited_for_in_vain_is_not_stopped(dsn: str, witness: Witness) -> None:
    """A COMMIT is sent this way. Stopping one that waits for a standby would commit it on this server alone."""
    witness.run("CREATE TABLE notes (id int)")
    async with open_pool(dsn, min_size=0, max_size=1) as pool:
        with anyio.CancelScope() as scope, await pool.acquire() as connection:
            scope.cancel()
            with pytest.raises(ConnectionLost):
                await connection.fly([step("INSERT INTO notes SELECT 1 FROM pg_sleep(0.4)")], on_cancel=OnCancel.FINISH, seconds=0.05)
        assert pool.statistics().leaving == 1
        with await pool.acquire() as connection:
            assert await only_value(connection, _SESSIONS) == "1"
            assert await only_value(connection, "SELECT count(*) FROM notes") == "1"


async def test_commits_that_hang_do_not_use_up_the_server(dsn: str, witness: Witness) -> None:
    """Their places are lent on, but only as many as there are."""
    hanging = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"

    async with open_pool(dsn, min_size=0, max_size=2, cleanup_timeout_seconds=0.05, timeout_seconds=0.3) as pool:

        async def hang() -> None:
            with anyio.CancelScope() as scope, await pool.acquire() as connection:
                scope.cancel()
                with pytest.raises(ConnectionLost):
                    await connection.fly([step("SELECT pg_sleep(60)")], on_cancel=OnCancel.FINISH, seconds=0.05)

        for _ in range(4):
            await hang()
        with pytest.raises(PoolTimeout, match="2 closed connections take places until the server has ended their sessions"):
            await pool.acquire()
        assert witness.value(f"SELECT count(*) FROM ({hanging}) q") == 4
        assert pool.statistics().leaving == 2
        witness.run(f"SELECT pg_terminate_backend(pid) FROM ({hanging}) q")
        with await pool.acquire() as connection:
            assert await works(connection)
        await _until_left(pool)
        await hang()
        with await pool.acquire() as connection:
            assert await works(connection), "those that have ended count no more"
        witness.run(f"SELECT pg_terminate_backend(pid) FROM ({hanging}) q")


async def test_what_the_server_has_ended_already_is_not_waited_for(dsn: str, witness: Witness) -> None:
    async with open_pool(dsn, min_size=1, max_size=1) as pool:
        with await pool.acquire() as connection:
            witness.terminate(connection.info.backend_pid)
        with await pool.acquire() as connection:
            assert await works(connection)
        assert pool.statistics().leaving == 0


@pytest.mark.parametrize("act", ["drain", "lose", "leave dirty"])
async def test_there_are_never_more_sessions_than_the_size(dsn: str, witness: Witness, act: str) -> None:
    """Replacing connections as fast as it goes."""
    size = 3
    seen: list[object] = []
    async with open_pool(dsn, min_size=size, max_size=size) as pool:

        async def work() -> None:
            for _ in range(15):
                with await pool.acquire() as connection:
                    seen.append(witness.value(_SESSIONS))
                    assert await works(connection)
                    if act == "drain":
                        pool.drain()
                    elif act == "lose":
                        connection.close_nowait()
                    else:
                        _set_off(connection, step("SELECT pg_sleep(0.01)"))

        async with anyio.create_task_group() as nursery:
            for _ in range(2 * size):
                nursery.start_soon(work)
        await until_idle(pool, size)
        await pool_is_whole(pool.statistics)
    assert max(int(str(count)) for count in seen) <= size


async def test_a_frozen_server_holds_up_the_replacement_no_longer_than_a_cleanup_may_take(rough_server: Server) -> None:
    async with open_pool(rough_server.conninfo(), min_size=1, max_size=1, cleanup_timeout_seconds=0.3) as pool:
        with await pool.acquire() as connection:
            rough_server.freeze()
            try:
                _set_off(connection, step("SELECT 1"))
                started_at = time.monotonic()
                connection.close_nowait()
            except BaseException:
                rough_server.thaw()
                raise
        try:
            assert pool.statistics().leaving == 1
            with anyio.fail_after(10):
                while not pool.statistics().connecting:  # noqa: ASYNC110 - the pool tries in the background
                    await anyio.sleep(0.005)
            assert time.monotonic() - started_at > 0.25
            assert pool.statistics().leaving == 0
        finally:
            rough_server.thaw()
        with anyio.fail_after(5):
            with await pool.acquire() as connection:
                assert await works(connection)


async def test_the_end_of_the_pool_waits_for_none_of_them(rough_server: Server) -> None:
    async with open_pool(rough_server.conninfo(), min_size=1, max_size=1, cleanup_timeout_seconds=60) as pool:
        with await pool.acquire() as connection:
            rough_server.freeze()
            _set_off(connection, step("SELECT 1"))
        assert pool.statistics().leaving == 1
        started_at = time.monotonic()
    try:
        assert time.monotonic() - started_at < 5
    finally:
        rough_server.thaw()
