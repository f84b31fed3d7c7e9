"""The hooks `configure`, `reset` and `check`: when they run, and that a connection on which one failed is never lent."""

import logging
from typing import Any, get_type_hints

import anyio
import pytest
from psycopg import errors as psycopg_errors

from tests.pool.test_pool_line import until_idle
from tests.wire.witness import Witness, only_value, works
from trioorm.errors import UsageError
from trioorm.pool import PoolOptions, PoolSettings, PoolTimeout, open_pool
from trioorm.testing import pool_is_whole
from trioorm.wire import AnyIOConnection

_ONLY_THE_WITNESS = "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"


class Hook:
    """A hook that does what it is told, one thing for each call, and remembers its connections."""

    def __init__(self, *acts: str) -> None:
        self.acts = list(acts)
        self.calls: list[AnyIOConnection[Any]] = []
        self.was_called = anyio.Event()

    async def __call__(self, connection: AnyIOConnection[Any]) -> None:
        self.calls.append(connection)
        self.was_called.set()
        match self.acts.pop(0) if self.acts else "":
            case "fail":
                raise ZeroDivisionError("the hook's own")
            case "refused":
                await connection.execute("SELECT 1/0")
            case "begin":
                await connection.execute("BEGIN")
            case "close":
                connection.close_nowait()
            case "hang":
                await connection.execute("SELECT pg_sleep(60)")
            case "sleep":
                await anyio.sleep_forever()
            case act:
                await connection.execute("SELECT set_config('trioorm.hook', %s, false)", [act or str(len(self.calls))])


async def _setting(connection: AnyIOConnection[Any]) -> str | None:
    return await only_value(connection, "SELECT current_setting('trioorm.hook', true)")


def test_options_and_settings_are_the_same() -> None:
    """The list stands twice, since type checkers read only what is written out."""
    assert list(get_type_hints(PoolOptions).items()) == list(get_type_hints(PoolSettings).items())


def test_a_setting_that_does_not_exist_is_named_with_the_right_one() -> None:
    options: Any = {"max_sizes": 5}
    with pytest.raises(TypeError, match=r"open_pool\(\) has no argument 'max_sizes'.\nTo fix it: write max_size\."):
        open_pool("", **options)
    with pytest.raises(TypeError, match=r"write timeout_seconds\."):
        open_pool("", timeout=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# configure


async def test_configure_sets_up_every_connection_before_it_is_lent(dsn: str) -> None:
    hook = Hook()
    async with open_pool(dsn, min_size=1, max_size=3, configure=hook) as pool:
        leases = [await pool.acquire() for _ in range(3)]
        assert [await _setting(lease.connection) for lease in leases] == ["1", "2", "3"]
        for lease in leases:
            lease.release()
        assert [connection for connection in hook.calls if connection.closed] == []
        async with pool.hub.listen("orders"):
            assert len(hook.calls) == 4, "the listeners' connection is set up too"


@pytest.mark.parametrize(
    ("act", "error", "text"),
    [
        ("fail", ZeroDivisionError, "the hook's own"),
        ("refused", psycopg_errors.DivisionByZero, "division by zero"),
        ("begin", UsageError, "`configure` left its connection in a transaction"),
        ("close", Exception, "was closed while the hook `configure`"),
    ],
)
async def test_configure_that_fails_on_entry_is_the_blocks_error(
    dsn: str, witness: Witness, act: str, error: type[Exception], text: str
) -> None:
    hook = Hook(act)
    with pytest.raises(error, match=text):
        async with open_pool(dsn, configure=hook):
            pytest.fail("the body must not run")
    assert [connection.closed for connection in hook.calls] == [True]
    await witness.until(_ONLY_THE_WITNESS)


@pytest.mark.parametrize("act", ["fail", "refused", "close"])
async def test_configure_that_fails_later_is_tried_again_and_its_connection_never_lent(dsn: str, witness: Witness, act: str) -> None:
    hook = Hook("", act, act)
    async with open_pool(dsn, min_size=1, max_size=2, configure=hook) as pool:
        first = await pool.acquire()
        second = await pool.acquire()
        assert await _setting(second.connection) == "4"
        assert [connection.closed for connection in hook.calls] == [False, True, True, False]
        assert pool.statistics().connections_errors == 2
        first.release()
        second.release()
        await pool_is_whole(pool.statistics)
        assert pool.statistics().pool_size == 2


async def test_configure_that_always_fails_is_named_by_the_timeout(dsn: str) -> None:
    async with open_pool(dsn, min_size=0, timeout_seconds=0.3, configure=Hook(*["fail"] * 1000)) as pool:
        with pytest.raises(PoolTimeout, match="the hook's own"):
            await pool.acquire()


async def test_configure_that_leaves_a_transaction_is_told_to_who_waits_at_once(dsn: str) -> None:
    """Trying again would not help, and would open connections as fast as the server gives them."""
    hook = Hook("begin")
    async with open_pool(dsn, min_size=0, configure=hook) as pool:
        with anyio.fail_after(5):
            with pytest.raises(UsageError, match="left its connection in a transaction"):
                await pool.acquire()
        assert len(hook.calls) == 1
        with await pool.acquire() as connection:
            assert await _setting(connection) == "2", "who asks later is given a new one"


@pytest.mark.parametrize("act", ["hang", "sleep"])
async def test_configure_that_is_cancelled_leaves_no_session(dsn: str, witness: Witness, act: str) -> None:
    """By the end of the pool, while a task waits for the connection; and by a timeout around the opening of the first."""
    hook = Hook(act, act)
    async with open_pool(dsn, min_size=0, configure=hook) as pool, anyio.create_task_group() as nursery:
        nursery.start_soon(pool.acquire)
        await hook.was_called.wait()
        nursery.cancel_scope.cancel()
    assert [connection.closed for connection in hook.calls] == [True]
    await witness.until(_ONLY_THE_WITNESS)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as nursery:
            hook.was_called = anyio.Event()

            async def cancel() -> None:
                await hook.was_called.wait()
                scope.cancel()

            nursery.start_soon(cancel)
            async with open_pool(dsn, configure=hook):
                pytest.fail("the body must not run")
    assert scope.cancelled_caught
    assert [connection.closed for connection in hook.calls] == [True, True]
    await witness.until(_ONLY_THE_WITNESS)


# reset


async def test_reset_runs_before_the_next_loan(dsn: str) -> None:
    hook = Hook("after the first", "after the second")
    async with open_pool(dsn, min_size=1, max_size=1, reset=hook) as pool:
        for expected in (None, "after the first", "after the second"):
            with await pool.acquire() as connection:
                assert await _setting(connection) == expected
        await until_idle(pool, 1)
        assert len(set(hook.calls)) == 1


@pytest.mark.parametrize("act", ["fail", "refused", "begin", "close", "hang", "sleep"])
async def test_a_connection_on_which_reset_failed_is_never_lent(dsn: str, caplog: pytest.LogCaptureFixture, act: str) -> None:
    hook = Hook(act)
    async with open_pool(dsn, min_size=1, max_size=1, reset=hook, cleanup_timeout_seconds=0.2) as pool:
        with caplog.at_level(logging.WARNING, logger="trioorm.pool"):
            with await pool.acquire() as first:
                pass
            with await pool.acquire() as second:
                assert second is not first
                assert await works(second)
        assert first.closed
        assert [record.getMessage() for record in caplog.records] == {
            "fail": ["the hook `reset` failed; the connection is closed"],
            "refused": ["the hook `reset` failed; the connection is closed"],
            "hang": ["the hook `reset` did not end within 0.2 s; the connection is closed"],
            "sleep": ["the hook `reset` did not end within 0.2 s; the connection is closed"],
        }.get(act, [])
        await until_idle(pool, 1)
        await pool_is_whole(pool.statistics)


async def test_reset_that_is_cancelled_by_the_pools_end_leaves_no_session(dsn: str, witness: Witness) -> None:
    hook = Hook("hang")
    async with open_pool(dsn, reset=hook) as pool:
        with await pool.acquire():
            pass
        await hook.was_called.wait()
        assert pool.statistics().pool_size == 1
        assert pool.statistics().pool_available == 0
    assert hook.calls[0].closed
    await witness.until(_ONLY_THE_WITNESS)


async def test_what_comes_back_in_a_transaction_is_closed_without_a_reset(dsn: str) -> None:
    hook = Hook()
    async with open_pool(dsn, min_size=1, max_size=1, reset=hook) as pool:
        with await pool.acquire() as connection:
            await connection.execute("BEGIN")
        assert connection.closed
        await until_idle(pool, 1)
        assert hook.calls == []


# check


async def test_check_is_asked_instead_of_a_sign_of_life(dsn: str) -> None:
    hook = Hook()
    async with open_pool(dsn, min_size=1, max_size=1, check_after_idle_seconds=0, check=hook) as pool:
        for _ in range(2):
            with await pool.acquire():
                pass
        assert len(hook.calls) == 2
        await pool.check()
        assert len(hook.calls) == 3


@pytest.mark.parametrize("act", ["fail", "refused", "begin", "close", "hang", "sleep"])
async def test_a_connection_that_check_refuses_is_replaced(dsn: str, act: str) -> None:
    hook = Hook(act)
    async with open_pool(dsn, min_size=1, max_size=1, check_after_idle_seconds=0, check=hook, cleanup_timeout_seconds=0.2) as pool:
        with await pool.acquire() as connection:
            assert await works(connection)
            assert connection is not hook.calls[0]
        assert hook.calls[0].closed
        assert pool.statistics().connections_lost == 1
        await pool_is_whole(pool.statistics)
