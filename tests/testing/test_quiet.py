"""The checks of server and pool pass when all is well, wait for what passes, and name what does not."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import anyio
import attrs
import psycopg
import pytest

from trioorm.errors import UsageError
from trioorm.testing import InvariantBroken, pool_is_whole, server_is_quiet


@contextmanager
def sleeping_query(dsn: str, seconds: float, *, name: str = "sleeper") -> Generator[None]:
    """Run `pg_sleep` in a thread, and cancel it at the end when it still runs."""
    with psycopg.connect(dsn, autocommit=True, application_name=name) as connection, psycopg.connect(dsn, autocommit=True) as observer:

        def run() -> None:
            try:
                connection.execute("select pg_sleep(%s)", [seconds])
            except psycopg.errors.QueryCanceled:
                pass

        thread = threading.Thread(target=run)
        thread.start()
        try:
            seen = "select count(*) from pg_stat_activity where pid = %s and state = 'active'"
            while observer.execute(seen, [connection.info.backend_pid]).fetchone() == (0,):
                assert thread.is_alive()
            yield
        finally:
            connection.cancel_safe()
            thread.join()


async def test_a_server_without_other_work_is_quiet(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as idle, psycopg.connect(dsn, autocommit=True) as witness:
        idle.execute("select 1")
        await server_is_quiet(dsn, within_seconds=0)
        await server_is_quiet(witness, within_seconds=0)


async def test_waits_for_a_query_that_ends_soon(dsn: str) -> None:
    with sleeping_query(dsn, 0.2):
        with pytest.raises(InvariantBroken):
            await server_is_quiet(dsn, within_seconds=0)
        await server_is_quiet(dsn, within_seconds=5)


async def test_names_a_query_that_was_left_running(dsn: str) -> None:
    with sleeping_query(dsn, 60), psycopg.connect(dsn, autocommit=True) as witness:
        for server in (dsn, witness):
            with pytest.raises(InvariantBroken, match=r"1 sessions are still busy after 0\.05 s(.|\n)*sleeper\), active.*pg_sleep"):
                await server_is_quiet(server, within_seconds=0.05)


async def test_looks_only_at_the_application_that_is_named(dsn: str) -> None:
    with sleeping_query(dsn, 60, name="somebody else"):
        await server_is_quiet(dsn, application_name="shop", within_seconds=0)
        with pytest.raises(InvariantBroken):
            await server_is_quiet(dsn, application_name="somebody else", within_seconds=0)


async def test_a_transaction_that_was_left_open_is_not_quiet(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("select 1")
        with pytest.raises(InvariantBroken, match="idle in transaction"):
            await server_is_quiet(dsn, within_seconds=0.05)
        connection.rollback()
        await server_is_quiet(dsn, within_seconds=5)


async def test_refuses_a_witness_inside_a_transaction(dsn: str) -> None:
    with psycopg.connect(dsn) as witness:
        with pytest.raises(UsageError, match="autocommit=True"):
            await server_is_quiet(witness)


@attrs.frozen(kw_only=True)
class Figures:
    pool_size: int = 4
    idle: int = 4
    on_loan: int = 0
    waiting: int = 0


def in_turn(*figures: Figures) -> Callable[[], Figures]:
    """The figures one after the other, the last of them again and again."""
    left = list(figures)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


async def test_a_pool_with_all_connections_idle_is_whole() -> None:
    await pool_is_whole(in_turn(Figures()), within_seconds=0)
    await pool_is_whole(in_turn(Figures(pool_size=0, idle=0)), within_seconds=0)


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        (Figures(idle=3, on_loan=1), "1 connections are on loan and 0 tasks wait"),
        (Figures(waiting=2), "0 connections are on loan and 2 tasks wait"),
    ],
)
async def test_a_loan_or_a_waiter_is_a_leak_at_the_first_look(figures: Figures, message: str) -> None:
    with pytest.raises(InvariantBroken, match=message):
        await pool_is_whole(in_turn(figures, Figures()))


async def test_a_closed_connection_may_take_a_moment_to_be_replaced() -> None:
    await pool_is_whole(in_turn(Figures(idle=3), Figures(idle=3), Figures()), within_seconds=5)
    with pytest.raises(InvariantBroken, match=r"only 3 of its 4 connections are idle after 0\.02 s"):
        await pool_is_whole(in_turn(Figures(idle=3)), within_seconds=0.02)


async def test_a_check_can_be_cancelled(dsn: str) -> None:
    with sleeping_query(dsn, 60), anyio.move_on_after(0.1) as scope:
        await server_is_quiet(dsn, within_seconds=30)
    assert scope.cancelled_caught
