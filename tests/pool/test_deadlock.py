"""A deadlock in the pool's line is named, and nothing else is taken for one.

Every connection on loan to a block whose tasks all wait in this line: that is a deadlock. A lease that somebody may give back who does not
wait is none, however much it looks like one.
"""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from tests.pool.test_pool_line import until_waiting
from trioorm import Database, PoolTimeout, open_database, sql
from trioorm.pool import PoolDeadlock, open_pool
from trioorm.testing import pool_is_whole

_ONE = sql("SELECT 1").returns(int)

Nested = Callable[[Database], Awaitable[object]]


async def _body_of_a_transaction(db: Database) -> object:
    async with db.transaction():
        return await db.fetch_value(_ONE)


async def _body_of_a_savepoint(db: Database) -> object:
    async with db.transaction() as tx, tx.savepoint():
        return await db.fetch_value(_ONE)


async def _transaction_in_a_transaction(db: Database) -> object:
    async with db.transaction() as tx:
        await tx.fetch_value(_ONE)
        async with db.transaction() as other:
            return await other.fetch_value(_ONE)


async def _child_of_a_transaction(db: Database) -> None:
    """The body waits for the child, and the child for a connection."""
    async with db.transaction() as tx:
        tx.start_soon(db.fetch_value, _ONE)


async def _children_of_a_transaction(db: Database) -> object:
    async with db.transaction() as tx:
        tx.start_soon(db.fetch_value, _ONE)
        tx.start_soon(db.fetch_value, _ONE)
        return await db.fetch_value(_ONE)


async def _child_of_a_savepoint(db: Database) -> None:
    async with db.transaction() as tx, tx.savepoint() as sp:
        sp.start_soon(db.fetch_value, _ONE)


async def _body_of_a_stream(db: Database) -> None:
    async with db.stream(_ONE) as rows:
        async for _ in rows:
            await db.fetch_value(_ONE)


async def _body_with_a_child_that_ends_meanwhile(db: Database) -> object:
    """One child ends by itself, and only then all that are left wait: nobody asks in that moment."""
    async with db.transaction() as tx:
        tx.start_soon(anyio.sleep, 0.05)
        return await db.fetch_value(_ONE)


_DEADLOCKS: list[Nested] = [
    _body_of_a_transaction,
    _body_of_a_savepoint,
    _transaction_in_a_transaction,
    _child_of_a_transaction,
    _children_of_a_transaction,
    _child_of_a_savepoint,
    _body_of_a_stream,
    _body_with_a_child_that_ends_meanwhile,
]


@pytest.mark.parametrize("nested", _DEADLOCKS, ids=lambda nested: nested.__name__)
async def test_who_waits_for_itself_is_told(dsn: str, nested: Nested) -> None:
    async with open_database(dsn, max_size=1) as db:
        with anyio.fail_after(10):
            with pytest.raises((PoolDeadlock, ExceptionGroup)) as caught:
                await nested(db)
        assert isinstance(caught.value, PoolDeadlock) or caught.group_contains(PoolDeadlock)
        await pool_is_whole(db.statistics)
        assert await db.fetch_value(_ONE) == 1


@pytest.mark.parametrize("size", [2, 3])
async def test_tasks_that_each_hold_one_and_ask_for_a_second(dsn: str, size: int) -> None:
    """The one that completes the circle is told; its own connection serves the others, so all of them end."""
    endings: list[str] = []
    all_hold, holders = anyio.Event(), 0

    async def nest(db: Database) -> None:
        nonlocal holders
        try:
            async with db.transaction():
                holders += 1
                if holders == size:
                    all_hold.set()
                await all_hold.wait()
                await db.fetch_value(_ONE)
            endings.append("served")
        except PoolDeadlock as error:
            endings.append("told to pass the transaction on" if "pass the transaction (`tx`) on" in str(error) else str(error))

    async with open_database(dsn, max_size=size) as db:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as nursery:
                for _ in range(size):
                    nursery.start_soon(nest, db)
    assert sorted(endings) == ["served"] * (size - 1) + ["told to pass the transaction on"]


async def test_a_lease_that_another_task_gives_back_is_no_deadlock(dsn: str) -> None:
    """The task that took it waits, but it has handed the lease on."""
    async with open_pool(dsn, max_size=1) as pool:
        lease = await pool.acquire()

        async def give_back_later() -> None:
            await until_waiting(pool, 1)
            lease.release()

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(give_back_later)
            with anyio.fail_after(5):
                with await pool.acquire():
                    pass


async def test_a_block_entered_by_another_task_is_no_deadlock_of_the_one_that_borrowed(dsn: str) -> None:
    async with open_pool(dsn, max_size=1) as pool:
        lease = await pool.acquire()

        async def use() -> None:
            with lease:
                await until_waiting(pool, 1)

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(use)
            with anyio.fail_after(5):
                with await pool.acquire():
                    pass


async def test_a_child_that_still_works_may_end_it(dsn: str) -> None:
    """It fails, the transaction rolls back, and the other task, which waited too, is served."""
    served: list[int] = []

    async with open_database(dsn, max_size=2) as db:
        both_hold = anyio.Event()

        async def fail_when_both_wait() -> None:
            while db.statistics().waiting < 2:  # noqa: ASYNC110 - the pool tells nobody who waits
                await anyio.sleep(0.001)
            raise ZeroDivisionError

        async def first() -> None:
            try:
                async with db.transaction() as tx:
                    tx.start_soon(fail_when_both_wait)
                    await both_hold.wait()
                    await db.fetch_value(_ONE)
            except* ZeroDivisionError:
                pass

        async def second() -> None:
            async with db.transaction():
                both_hold.set()
                served.append(await db.fetch_value(_ONE))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(first)
                await anyio.wait_all_tasks_blocked()
                nursery.start_soon(second)
    assert served == [1]


async def test_a_child_that_has_not_begun_yet_may_end_it(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:

        async def fail() -> None:
            raise ZeroDivisionError

        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                tx.start_soon(fail)
                await db.fetch_value(_ONE)
        assert caught.group_contains(ZeroDivisionError)
        assert not caught.group_contains(PoolDeadlock)


async def test_who_holds_nothing_waits(dsn: str) -> None:
    """All connections are in a circle that is known to time out; a newcomer that holds none is not to blame."""
    async with open_database(dsn, max_size=1, timeout_seconds=0.2) as db:
        async with db.transaction():
            async with anyio.create_task_group() as nursery:

                async def ask() -> None:
                    with pytest.raises(PoolTimeout):
                        await db.fetch_value(_ONE)

                nursery.start_soon(ask)


async def test_a_reserved_connection_ends_it(dsn: str) -> None:
    """It is on loan to a task that does not wait, or free: who may take one is served."""
    async with open_pool(dsn, max_size=2, reserved_size=1) as pool:
        with await pool.acquire():
            with anyio.fail_after(5):
                with await pool.acquire(reserved=True):
                    pass
            with pytest.raises(PoolDeadlock):
                await pool.acquire()
