"""The hub of listeners: one connection for all, nothing missed in silence, slow subscribers told."""

from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from psycopg.pq.abc import PGresult

from tests.pool.hub import notify, open_hub, payloads, take
from tests.wire.witness import Witness
from trioorm.errors import DatabaseError
from trioorm.pool import Gap, Notification, Overflow
from trioorm.wire import AnyIOConnection, OnCancel, Step, command


class Trips:
    """Counts the flights of a connection, and has the server refuse one command."""

    def __init__(self, connection: AnyIOConnection[Any], *, refused: str = "") -> None:
        self.number = 0
        self._refused = refused.encode()
        self._fly = connection.fly
        connection.fly = self._counted  # type: ignore[method-assign]

    async def _counted(self, steps: Sequence[Step], *, on_cancel: OnCancel = OnCancel.STOP, seconds: float | None = None) -> list[PGresult]:
        self.number += 1
        steps = [command(b"SELECT 1/0") if self._refused and step.statement.text == self._refused else step for step in steps]
        return await self._fly(steps, on_cancel=on_cancel, seconds=seconds)


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


async def test_a_thousand_who_come_together_are_let_in_by_a_few_trips(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, connector):
        async with pool.hub.listen("first"):
            trips = Trips(connector.opened[0])
            entered, everyone_listens, leave = 0, anyio.Event(), anyio.Event()

            async def subscriber(number: int) -> None:
                nonlocal entered
                async with pool.hub.listen("all", f"only {number}") as events:
                    entered += 1
                    if entered == 1000:
                        everyone_listens.set()
                    await leave.wait()
                    assert await payloads(events, 2) == ["for all", f"for {number}"]

            async with anyio.create_task_group() as nursery:
                for number in range(1000):
                    nursery.start_soon(subscriber, number)
                await everyone_listens.wait()
                assert trips.number <= 3
                notify(witness, "all", "for all")
                witness.run("SELECT pg_notify('only ' || number, 'for ' || number) FROM generate_series(0, 999) AS number")
                leave.set()
            await anyio.wait_all_tasks_blocked()
            assert trips.number <= 6


async def test_one_whose_channel_is_refused_does_not_keep_the_others_out(dsn: str, witness: Witness) -> None:
    async with open_hub(dsn) as (pool, connector):
        async with pool.hub.listen("first"):
            Trips(connector.opened[0], refused='LISTEN "refused"')
            heard: list[str] = []

            async def subscriber(channel: str) -> None:
                try:
                    async with pool.hub.listen(channel, f"second {channel}") as events:
                        notify(witness, f"second {channel}", channel)
                        heard.extend(await payloads(events, 1))
                except DatabaseError as error:
                    heard.append(error.sqlstate)

            async with anyio.create_task_group() as nursery:
                for channel in ("one", "refused", "two"):
                    nursery.start_soon(subscriber, channel)
            assert sorted(heard) == ["22012", "one", "two"]


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
