"""The hub whose connection is lost: it opens another, tells every subscriber of the gap, and ends only when trying again cannot help."""

import logging
from typing import Any

import anyio
import anyio.to_thread
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.pool.hub import notify, open_hub, payloads, take
from tests.wire.witness import Witness
from trioorm.embedded import Server, StopMode
from trioorm.errors import AuthenticationFailed, ConnectFailed
from trioorm.pool import Gap, open_pool
from trioorm.wire import AnyIOConnection


async def test_a_lost_connection_is_replaced_and_every_subscriber_told(
    dsn: str, witness: Witness, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hub(dsn) as (pool, connector):
        async with pool.hub.listen("orders") as first, pool.hub.listen("orders", "stock") as second:
            notify(witness, "orders", "before")
            assert await payloads(first, 1) == ["before"]
            with caplog.at_level(logging.WARNING, "trioorm.pool"):
                witness.terminate(connector.pids[0])
                assert await take(first, 1) == [Gap()]
            assert await payloads(second, 2) == ["before", repr(Gap())]
            notify(witness, "stock", "after")
            notify(witness, "orders", "after that")
            assert await payloads(second, 2) == ["after", "after that"]
            assert await payloads(first, 1) == ["after that"]
        assert connector.attempts == 2
        assert [record.getMessage() for record in caplog.records] == [
            "the connection for notifications was lost, opening another: terminating connection due to administrator command"
        ], "once, and in the server's own words"


async def test_losing_it_again_and_again_is_told_in_order(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, connector):
        async with pool.hub.listen("orders") as events:
            for number in range(4):
                witness.terminate(connector.pids[-1])
                assert await take(events, 1) == [Gap()]
                notify(witness, "orders", str(number))
                assert await payloads(events, 1) == [str(number)]


async def test_one_who_enters_while_the_connection_is_lost_gets_in(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, connector):
        async with pool.hub.listen("orders") as first:
            witness.terminate(connector.pids[0])
            async with pool.hub.listen("stock") as second:
                notify(witness, "stock", "heard")
                assert await payloads(second, 1) == ["heard"], "it was not there when the connection was lost, so it gets no gap"
            assert await take(first, 1) == [Gap()]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_server_that_is_restarted_is_found_again(own_server: Server, mode: StopMode) -> None:
    async with open_hub(own_server.conninfo()) as (pool, connector):
        async with pool.hub.listen("orders") as events:
            await anyio.to_thread.run_sync(own_server.stop, mode)
            await connector.until_attempts(3)
            with pytest.raises(ConnectFailed) as caught:
                async with pool.hub.listen("orders"):
                    pass
            assert caught.value.safe_to_retry
            await anyio.to_thread.run_sync(own_server.start)
            assert await take(events, 1) == [Gap()]
            with psycopg.connect(own_server.conninfo(), autocommit=True) as connection:
                connection.execute("NOTIFY orders, 'after'")
            assert await payloads(events, 1) == ["after"]


async def test_a_server_that_falls_silent_is_noticed(own_server: Server) -> None:
    async with open_hub(own_server.conninfo(), max_silence_seconds=0.8) as (pool, connector):
        async with pool.hub.listen("orders") as events:
            own_server.freeze()
            try:
                await connector.until_attempts(2)
                with anyio.fail_after(5):
                    with pytest.raises(ConnectFailed, match="does not answer"):
                        async with pool.hub.listen("orders"):
                            pass
            finally:
                own_server.thaw()
            assert await take(events, 1) == [Gap()]
            with psycopg.connect(own_server.conninfo(), autocommit=True) as connection:
                connection.execute("NOTIFY orders, 'after'")
            assert await payloads(events, 1) == ["after"]


async def test_a_quiet_connection_is_asked_for_a_sign_of_life_and_kept(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn, max_silence_seconds=0.8) as (pool, connector):
        async with pool.hub.listen("orders") as events:
            asked = "SELECT query = '' AND state_change > %s FROM pg_stat_activity WHERE pid = %s"
            for _ in range(3):
                now = witness.value("SELECT clock_timestamp()")
                await witness.until(asked, now, connector.pids[0])
            notify(witness, "orders", "heard")
            assert await payloads(events, 1) == ["heard"]
        assert connector.attempts == 1


async def test_a_server_that_does_not_let_us_in_again_ends_the_subscriptions(dsn: str, witness: Witness) -> None:
    witness.run("DROP ROLE IF EXISTS listener")
    witness.run("CREATE ROLE listener LOGIN")
    try:
        async with open_hub(make_conninfo(dsn, user="listener")) as (pool, connector):
            async with pool.hub.listen("orders") as events:
                witness.run("ALTER ROLE listener NOLOGIN")
                witness.terminate(connector.pids[0])
                with anyio.fail_after(10):
                    with pytest.raises(AuthenticationFailed):
                        await anext(events)
            witness.run("ALTER ROLE listener LOGIN")
            async with pool.hub.listen("orders") as events:
                notify(witness, "orders", "heard")
                assert await payloads(events, 1) == ["heard"]
    finally:
        witness.run("DROP ROLE listener")


async def test_a_first_connection_that_fails_is_the_error_of_all_who_enter(dsn: str, witness: Witness) -> None:
    async with open_hub("host=127.0.0.1 port=1") as (pool, connector):

        async def enter() -> None:
            with pytest.raises(ConnectFailed):
                async with pool.hub.listen("orders"):
                    pass

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(enter)
            nursery.start_soon(enter)
        assert connector.attempts == 1
        connector.address = dsn
        async with pool.hub.listen("orders") as events:
            notify(witness, "orders", "heard")
            assert await payloads(events, 1) == ["heard"]


async def test_a_hook_that_raises_is_the_error_of_who_enters(dsn: str) -> None:
    async def broken() -> AnyIOConnection[Any]:
        raise LookupError("the hook's own")

    async with open_pool(broken, min_size=0) as pool:
        with pytest.raises(ConnectFailed, match="the hook's own") as caught:
            async with pool.hub.listen("orders"):
                pass
        assert isinstance(caught.value.__cause__, LookupError)
