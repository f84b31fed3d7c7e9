"""Leaving the hub, closing it, and using it wrongly: nothing waits for a server that does not answer, and nothing is left behind."""

import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.pool.hub import notify, open_hub, payloads, take
from tests.wire.witness import Witness
from trioorm.embedded import Server
from trioorm.errors import QueryError, UsageError, WrongDatabaseOwner
from trioorm.pool import Pool, PoolClosed, open_pool
from trioorm.testing import count_suspensions
from trioorm.wire import AnyIOConnection


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
