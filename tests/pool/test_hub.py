"""The hub of listeners on real servers: one connection for all, nothing missed in silence, nothing left behind."""

import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.wire.witness import Witness
from trioorm.embedded import Server, StopMode
from trioorm.errors import AuthenticationFailed, ConnectFailed, QueryError, UsageError, WrongDatabaseOwner
from trioorm.pool import Gap, ListenEvent, Notification, Overflow, Pool, PoolClosed, Subscription, open_pool
from trioorm.testing import count_suspensions
from trioorm.wire import AnyIOConnection


class Connector:
    """Opens connections for a pool and remembers them; those of the hub are told by `max_size`, since the pool opens none by itself."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.attempts = 0
        self.opened: list[AnyIOConnection[Any]] = []
        self.pids: list[int] = []
        self._news = anyio.Event()

    async def __call__(self) -> AnyIOConnection[Any]:
        self.attempts += 1
        self._tell()
        connection: AnyIOConnection[Any] = await AnyIOConnection.connect(self.address, autocommit=True, client_encoding="utf8")
        self.opened.append(connection)
        self.pids.append(connection.info.backend_pid)
        self._tell()
        return connection

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def until_attempts(self, number: int) -> None:
        """Wait until so many connections have been asked for."""
        with anyio.fail_after(10):
            while self.attempts < number:
                await self._news.wait()


@asynccontextmanager
async def open_hub(address: str, *, max_silence_seconds: float = 60.0) -> AsyncGenerator[tuple[Pool, Connector]]:
    """A pool that opens no connection until it is asked for one, so that all are the hub's."""
    connector = Connector(address)
    async with open_pool(connector, min_size=0, max_size=1, listener_max_silence_seconds=max_silence_seconds) as pool:
        yield pool, connector


async def take(events: Subscription, number: int) -> list[ListenEvent]:
    """The next events, which must come soon."""
    with anyio.fail_after(10):
        return [await anext(events) for _ in range(number)]


async def payloads(events: Subscription, number: int) -> list[str]:
    """The payloads of the next notifications."""
    return [event.payload if isinstance(event, Notification) else repr(event) for event in await take(events, number)]


def notify(witness: Witness, channel: str, *sent: str) -> None:
    """Send notifications, each in a transaction of its own."""
    for payload in sent:
        witness.run("SELECT pg_notify(%s, %s)", channel, payload)


# Hearing.


async def test_a_notification_comes_with_channel_payload_and_sender(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, _):
        async with pool.hub.listen("orders") as events:
            notify(witness, "orders", "seven")
            witness.run("NOTIFY orders")
            [first, second] = await take(events, 2)
            sender = witness.connection.info.backend_pid
            assert first == Notification("orders", "seven", sender)
            assert second == Notification("orders", "", sender)


async def test_nothing_that_is_sent_after_entry_is_missed(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, connector):
        async with pool.hub.listen("kept open"):
            for number in range(30):
                async with pool.hub.listen(f"channel {number}", f"second {number}") as events:
                    notify(witness, f"second {number}", str(number))
                    assert await payloads(events, 1) == [str(number)]
        for number in range(5):
            async with pool.hub.listen("alone") as events:
                notify(witness, "alone", str(number))
                assert await payloads(events, 1) == [str(number)]
        assert connector.attempts == 6


@pytest.mark.parametrize("channel", ["Orders", 'a "quoted" name', "o'rders; SELECT 1", "Straße", "x" * 63])
async def test_a_channels_name_is_taken_as_it_is(dsn: str, witness: Witness, channel: str) -> None:
    async with open_hub(dsn) as (pool, _):
        async with pool.hub.listen(channel) as events:
            notify(witness, channel.lower(), "not for us unless it is the same")
            notify(witness, channel, "for us")
            expected = ["for us"] if channel != channel.lower() else ["not for us unless it is the same"]
            assert await payloads(events, 1) == expected


async def test_a_channel_named_twice_is_heard_once(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, _):
        async with pool.hub.listen("orders", "orders", "last") as events:
            notify(witness, "orders", "one")
            notify(witness, "last", "two")
            assert await payloads(events, 2) == ["one", "two"]


async def test_many_subscribers_share_one_connection_which_ends_with_the_last(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, connector):
        heard: list[str] = []
        everyone_listens, listening = anyio.Event(), 0

        async def subscriber(number: int) -> None:
            nonlocal listening
            async with pool.hub.listen("all", f"only {number}") as events:
                listening += 1
                if listening == 20:
                    everyone_listens.set()
                heard.extend(await payloads(events, 2))

        async with anyio.create_task_group() as nursery:
            for number in range(20):
                nursery.start_soon(subscriber, number)
            await everyone_listens.wait()
            notify(witness, "all", "for all")
            for number in range(20):
                notify(witness, f"only {number}", f"for {number}")
        assert sorted(heard) == sorted(["for all"] * 20 + [f"for {number}" for number in range(20)])
        assert connector.attempts == 1
        assert pool.statistics().pool_size == 0, "it is none of the pool's own"
        await witness.until_gone(connector.pids[0])
        assert "no subscribers" in repr(pool.hub)


async def test_the_hub_needs_no_place_in_the_pool(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, connector):
        with await pool.acquire():
            async with pool.hub.listen("orders") as events:
                notify(witness, "orders", "heard")
                assert await payloads(events, 1) == ["heard"]
                assert pool.statistics().pool_size == 1
        assert connector.attempts == 2


async def test_who_comes_when_the_last_has_just_left_gets_a_new_connection(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, connector):
        async with pool.hub.listen("orders"):
            pass
        async with pool.hub.listen("orders") as events:
            notify(witness, "orders", "heard")
            assert await payloads(events, 1) == ["heard"]
            await witness.until_gone(connector.pids[0])
        assert connector.attempts == 2


async def test_several_tasks_may_share_one_subscription(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, _):
        async with pool.hub.listen("work") as events:
            done: list[str] = []

            async def worker() -> None:
                done.extend(await payloads(events, 1))

            async with anyio.create_task_group() as nursery:
                for _ in range(3):
                    nursery.start_soon(worker)
                await anyio.wait_all_tasks_blocked()
                notify(witness, "work", "a", "b", "c")
            assert sorted(done) == ["a", "b", "c"]


async def test_a_channel_that_nobody_hears_any_more_is_given_up(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, connector):
        async with pool.hub.listen("kept") as kept:
            async with pool.hub.listen("kept", 'left "behind"'):
                pass
            last_query = "SELECT query = %s AND state = 'idle' FROM pg_stat_activity WHERE pid = %s"
            await witness.until(last_query, 'UNLISTEN "left ""behind"""', connector.pids[0])
            notify(witness, "kept", "still heard")
            assert await payloads(kept, 1) == ["still heard"]
            async with pool.hub.listen('left "behind"') as again:
                notify(witness, 'left "behind"', "heard again")
                assert await payloads(again, 1) == ["heard again"]
        assert connector.attempts == 1


async def test_it_is_given_up_after_a_reconnect_too(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, connector):
        async with pool.hub.listen("kept"):
            async with pool.hub.listen("left") as events:
                witness.terminate(connector.pids[0])
                assert await take(events, 1) == [Gap()]
            last_query = "SELECT query = %s AND state = 'idle' FROM pg_stat_activity WHERE pid = %s"
            await witness.until(last_query, 'UNLISTEN "left"', connector.pids[1])


async def test_waiting_for_notifications_does_not_spin(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, connector):
        async with pool.hub.listen("orders") as events:
            [connection] = connector.opened
            waits = 0
            wait_for_input = connection.wait_for_input

            async def counted() -> None:
                nonlocal waits
                waits += 1
                await wait_for_input()

            connection.wait_for_input = counted  # type: ignore[method-assign]
            notify(witness, "orders", "one")
            assert await payloads(events, 1) == ["one"]
            await anyio.wait_all_tasks_blocked()
            before = waits
            for _ in range(500):
                await anyio.lowlevel.checkpoint()
            assert waits == before
            notify(witness, "orders", "two")
            assert await payloads(events, 1) == ["two"]
            assert 0 < waits - before <= 2


# Slow subscribers.


async def test_a_slow_subscriber_is_told_what_it_missed_and_holds_up_nobody(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, _):
        async with pool.hub.listen("orders", buffer=2) as slow, pool.hub.listen("orders", buffer=100) as quick:
            notify(witness, "orders", *"abcde")
            assert await payloads(quick, 5) == list("abcde")
            assert await payloads(slow, 1) == ["a"]
            notify(witness, "orders", *"fg")
            assert await payloads(quick, 2) == list("fg")
            assert await payloads(slow, 4) == ["b", repr(Overflow(3)), "f", repr(Overflow(1))]
            notify(witness, "orders", "h")
            assert await payloads(slow, 1) == ["h"]


# Lost connections.


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
        assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
            "the connection for notifications was lost, opening another"
        ]


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


# Leaving and closing.


async def test_a_frozen_server_holds_up_neither_entering_nor_leaving_nor_closing(own_server: Server) -> None:
    """A channel that is heard already needs no answer, leaving never does, and closing breaks a LISTEN off."""

    async def enter(pool: Pool) -> None:
        with pytest.raises(PoolClosed):
            async with pool.hub.listen("stock"):
                pass

    with anyio.fail_after(5):
        async with anyio.create_task_group() as nursery:
            async with open_hub(own_server.conninfo()) as (pool, _):
                async with pool.hub.listen("orders"):
                    own_server.freeze()
                    second = pool.hub.listen("orders")
                    await second.__aenter__()
                    assert await count_suspensions(second.__aexit__(None, None, None)) == 0
                    with anyio.move_on_after(0.05) as scope:
                        async with pool.hub.listen("prices"):
                            pass
                    assert scope.cancelled_caught
                    nursery.start_soon(enter, pool)
                    await anyio.wait_all_tasks_blocked()
    own_server.thaw()


async def test_leaving_does_not_suspend_and_the_session_ends(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, connector):
        events = pool.hub.listen("orders")
        await events.__aenter__()
        assert await count_suspensions(events.__aexit__(None, None, None)) == 0
        await witness.until_gone(connector.pids[0])


async def test_one_who_gives_up_while_the_connection_is_opened_leaves_nothing(dsn: str) -> None:
    opening, opened = anyio.Event(), False

    async def slow() -> AnyIOConnection[Any]:
        nonlocal opened
        opening.set()
        try:
            await anyio.sleep_forever()
        finally:
            opened = True
        raise AssertionError

    async with open_pool(slow, min_size=0) as pool:
        async with anyio.create_task_group() as nursery:

            async def enter() -> None:
                async with pool.hub.listen("orders"):
                    pass

            nursery.start_soon(enter)
            await opening.wait()
            nursery.cancel_scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert opened, "opening it goes on although nobody wants it"


async def test_an_error_of_the_body_leaves_bare(dsn: str) -> None:
    async with open_hub(dsn) as (pool, _):
        with pytest.raises(LookupError, match="the body's"):
            async with pool.hub.listen("orders"):
                raise LookupError("the body's")


async def test_closing_the_pool_ends_every_iteration(dsn: str, witness: Witness) -> None:
    ended = 0
    listening = anyio.Event()

    async def subscriber(pool: Pool) -> None:
        nonlocal ended
        with pytest.raises(PoolClosed, match="the database is closed"):
            async with pool.hub.listen("orders") as events:
                listening.set()
                async for event in events:
                    raise AssertionError(event)
        ended += 1

    async with anyio.create_task_group() as nursery:
        async with open_hub(dsn) as (pool, connector):
            nursery.start_soon(subscriber, pool)
            await listening.wait()
        await witness.until_gone(connector.pids[0])
    assert ended == 1


async def test_a_closed_pool_admits_nobody(dsn: str) -> None:
    async with open_hub(dsn) as (pool, _):
        hub = pool.hub
    with pytest.raises(PoolClosed):
        async with hub.listen("orders"):
            pass


async def test_what_had_come_before_the_pool_was_closed_can_still_be_taken(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, _):
        events = pool.hub.listen("orders")
        await events.__aenter__()
        async with pool.hub.listen("orders") as other:
            notify(witness, "orders", "last words")
            await take(other, 1)
    assert await payloads(events, 1) == ["last words"]
    with pytest.raises(PoolClosed):
        await anext(events)


async def test_closing_the_pool_while_one_enters(dsn: str) -> None:
    connecting = anyio.Event()

    async def never() -> AnyIOConnection[Any]:
        connecting.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def enter(pool: Pool) -> None:
        with pytest.raises(PoolClosed):
            async with pool.hub.listen("orders"):
                pass

    async with anyio.create_task_group() as nursery:
        async with open_pool(never, min_size=0) as pool:
            nursery.start_soon(enter, pool)
            await connecting.wait()


# Wrong use.


async def test_wrong_use_is_told(dsn: str) -> None:
    async with open_hub(dsn) as (pool, connector):
        with pytest.raises(QueryError, match="no channels"):
            pool.hub.listen()
        with pytest.raises(QueryError, match="is empty"):
            pool.hub.listen("orders", "")
        with pytest.raises(UsageError, match="buffer must be at least 1"):
            pool.hub.listen("orders", buffer=0)
        events = pool.hub.listen("orders")
        with pytest.raises(UsageError, match="async with"):
            async for _ in events:
                pass
        assert connector.attempts == 0
        async with events:
            with pytest.raises(UsageError, match="entered before"):
                await events.__aenter__()
        with pytest.raises(UsageError, match="only inside the block"):
            await anext(events)


async def test_one_who_waits_in_another_task_when_the_block_ends_is_told(dsn: str) -> None:
    async with open_hub(dsn) as (pool, _):
        async with anyio.create_task_group() as nursery:

            async def wait() -> None:
                with pytest.raises(UsageError, match="only inside the block"):
                    await anext(events)

            async with pool.hub.listen("orders") as events:
                nursery.start_soon(wait)
                await anyio.wait_all_tasks_blocked()


async def test_another_loop_is_refused(dsn: str, backend: str) -> None:
    async with open_hub(dsn) as (pool, _):
        refused: list[BaseException] = []

        async def elsewhere() -> None:
            with pytest.raises(WrongDatabaseOwner) as caught:
                async with pool.hub.listen("orders"):
                    pass
            refused.append(caught.value)

        thread = threading.Thread(target=lambda: anyio.run(elsewhere, backend=backend))
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        assert len(refused) == 1
