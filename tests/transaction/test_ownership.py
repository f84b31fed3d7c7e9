"""Who may use a transaction: whoever carries the mark of its block, while the block is open. Nobody else reaches the server."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from typing import cast

import anyio
import anyio.to_thread
import pytest

from tests.transaction.conftest import Flights
from tests.transaction.ledger import Entry, keys_in, open_ledger, write
from trioorm import ForeignTask, Savepoint, Transaction, TransactionClosed, select


class _Handed:
    """A transaction on its way to a task that was started before it was opened."""

    def __init__(self) -> None:
        self.block: Transaction | Savepoint | None = None
        self.is_there = anyio.Event()
        self.was_used = anyio.Event()

    def give(self, block: Transaction | Savepoint) -> None:
        self.block = block
        self.is_there.set()

    async def use(self) -> None:
        await self.is_there.wait()
        assert self.block is not None
        try:
            await write(self.block, 1)
        finally:
            self.was_used.set()


@pytest.mark.parametrize("kind", ["transaction", "savepoint"])
async def test_a_task_from_outside_is_refused_before_anything_is_sent(dsn: str, kind: str, flights: Callable[[], Flights]) -> None:
    handed = _Handed()

    async def outsider() -> None:
        with pytest.raises(
            ForeignTask, match=r"'outsider', which is not inside its block: task .* opened it at .*test_ownership.py:"
        ) as caught:
            await handed.use()
        assert not caught.value.safe_to_retry

    async with open_ledger(dsn) as db, anyio.create_task_group() as nursery:
        nursery.start_soon(outsider, name="outsider")
        async with db.transaction() as tx:
            noted = flights()
            if kind == "transaction":
                handed.give(tx)
                await handed.was_used.wait()
            else:
                async with tx.savepoint() as sp:
                    handed.give(sp)
                    await handed.was_used.wait()
        assert noted.sent == []


async def test_every_way_in_is_closed_to_it(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            outside = Context()

            async def refused() -> None:
                with pytest.raises(ForeignTask):
                    await tx.fetch_all(select(Entry))
                with pytest.raises(ForeignTask):
                    tx.start_soon(write, tx, 1)
                with pytest.raises(ForeignTask):
                    await tx.start(write, tx, 1)
                with pytest.raises(ForeignTask):
                    tx.on_commit(write, db, 2)
                with pytest.raises(ForeignTask):
                    async with tx.stream(select(Entry)):
                        pass
                with pytest.raises(ForeignTask):
                    await tx.copy_in(Entry, [Entry(key=1)])
                with pytest.raises(ForeignTask):
                    async with tx.savepoint() as sp:
                        await write(sp, 1)

            async with anyio.create_task_group() as nursery:
                outside.run(cast("Callable[..., object]", nursery.start_soon), refused)
        assert keys_in(dsn) == []


async def test_a_task_of_another_nursery_that_was_started_inside_is_allowed(dsn: str) -> None:
    async with open_ledger(dsn) as db, anyio.create_task_group() as nursery:
        async with db.transaction() as tx:
            done = anyio.Event()

            async def helper() -> None:
                await write(tx, 1)
                done.set()

            nursery.start_soon(helper)
            await done.wait()
        assert keys_in(dsn) == [1]


async def test_children_of_children_are_allowed_without_ceremony(dsn: str) -> None:
    async def family(tx: Transaction, key: int) -> None:
        await write(tx, key)
        if key < 3:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(family, tx, key + 1)

    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            tx.start_soon(family, tx, 1)
        assert keys_in(dsn) == [1, 2, 3]


async def test_a_thread_that_comes_back_to_the_loop_is_allowed(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(write, tx, 1))
        assert keys_in(dsn) == [1]


async def test_an_asynchronous_fixture_may_hand_it_to_its_test(dsn: str) -> None:
    """As pytest's plugins do it: the block is entered in one call of a generator, used outside of it, and left in another call."""

    @asynccontextmanager
    async def fixture() -> AsyncGenerator[Transaction]:
        async with open_ledger(dsn) as db, db.transaction() as tx:
            yield tx

    async with fixture() as tx:
        await write(tx, 1)
    assert keys_in(dsn) == [1]


async def test_after_the_end_nobody_is_allowed(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
        with pytest.raises(TransactionClosed, match="has ended"):
            await write(tx, 2)
        assert keys_in(dsn) == [1]
