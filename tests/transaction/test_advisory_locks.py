"""Advisory locks: one holder at a time, none left behind, and a body that is stopped when its lock is gone."""

import anyio
import anyio.lowlevel
import pytest

from tests.transaction.ledger import FAILS, fail_with, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import Database, LockLost, QueryError, open_database, sql
from trioorm.errors import LockNotAvailable, UsageError, leaves_of
from trioorm.testing import pool_is_whole, running_proxy
from trioorm.transaction.advisory_lock import lock_number

HOLDERS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
WAITERS = "SELECT count(*) = %s FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.mark.parametrize("key", [0, -1, 2**63 - 1, -(2**63), "nightly report", ""])
async def test_is_held_for_the_block_and_no_longer(dsn: str, witness: Witness, key: int | str) -> None:
    async with open_ledger(dsn) as db:
        async with db.advisory_lock(key) as lock:
            assert lock.number == lock_number(key)
            held = "SELECT classid::bigint << 32 | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted"
            assert witness.value(held) == lock.number
        assert witness.value(HOLDERS) == 0


def test_a_name_stands_for_the_same_number_for_ever() -> None:
    assert lock_number("nightly report") == 1451769646762480301
    assert lock_number("nightly report") != lock_number("nightly reports")


@pytest.mark.parametrize("key", [2**63, True, 1.5, None, b"x"])
async def test_other_keys_are_refused(dsn: str, key: object) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(QueryError, match="To fix it"):
            db.advisory_lock(key)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def test_one_holder_at_a_time(dsn: str) -> None:
    inside = 0
    entered = 0

    async def enter(db: Database) -> None:
        nonlocal inside, entered
        async with db.advisory_lock("the door"):
            inside += 1
            entered += 1
            assert inside == 1
            await anyio.lowlevel.checkpoint()
            await db.fetch_all(sql("SELECT 1"))
            inside -= 1

    async with open_ledger(dsn, max_size=8) as db:
        async with anyio.create_task_group() as nursery:
            for _ in range(6):
                nursery.start_soon(enter, db)
    assert entered == 6


async def test_shared_with_those_who_share_it(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        async with db.advisory_lock(1, shared=True), db.advisory_lock(1, shared=True, nowait=True):
            assert witness.value(HOLDERS) == 2
            with pytest.raises(LockNotAvailable):
                async with db.advisory_lock(1, nowait=True):
                    pytest.fail("it is shared by others")
        async with db.advisory_lock(1, nowait=True):
            with pytest.raises(LockNotAvailable, match="the lock 1 is held by another session") as caught:
                async with db.advisory_lock(1, shared=True, nowait=True):
                    pytest.fail("it is not shared")
            assert caught.value.safe_to_retry
        assert witness.value(HOLDERS) == 0


async def test_waiting_ends_with_the_callers_scope(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        async with db.advisory_lock("x"):
            with anyio.move_on_after(0.05) as scope:
                async with db.advisory_lock("x"):
                    pytest.fail("another has it")
            assert scope.cancelled_caught
            assert witness.value(HOLDERS) == 1


@pytest.mark.parametrize("raised", [LookupError("mine"), ExceptionGroup("mine", [LookupError()])])
async def test_the_bodys_exception_comes_out_bare(dsn: str, witness: Witness, raised: Exception) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(type(raised)) as caught:
            async with db.advisory_lock("x"):
                raise raised
        assert caught.value is raised
        assert witness.value(HOLDERS) == 0


async def _kill_holder(witness: Witness) -> None:
    witness.run("SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted")


async def test_a_body_whose_lock_is_lost_is_cancelled(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(10):
            with pytest.raises(LockLost, match="the lock 'x' was lost: its connection broke") as caught:
                async with db.advisory_lock("x"):
                    await _kill_holder(witness)
                    await anyio.sleep_forever()
        assert not caught.value.safe_to_retry
        async with db.advisory_lock("x", nowait=True):
            pass


async def test_a_body_that_fails_as_its_lock_is_lost_is_told_of_second(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(10):
            with pytest.raises(ExceptionGroup) as caught:
                async with db.advisory_lock("x"):
                    await _kill_holder(witness)
                    try:
                        await anyio.sleep_forever()
                    finally:
                        raise LookupError("on the way out")
    assert [type(leaf) for leaf in leaves_of(caught.value)] == [LockLost, LookupError]


async def test_a_body_that_swallows_the_cancellation_is_told_all_the_same(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(10):
            with pytest.raises(LockLost):
                async with db.advisory_lock("x"):
                    await _kill_holder(witness)
                    try:
                        await anyio.sleep_forever()
                    except anyio.get_cancelled_exc_class():
                        pass


async def test_a_transaction_inside_is_rolled_back_with_it(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        with anyio.fail_after(10):
            with pytest.raises(LockLost):
                async with db.advisory_lock("x"):
                    async with db.transaction() as tx:
                        await write(tx, 1)
                        await _kill_holder(witness)
                        await tx.execute(sql("SELECT pg_sleep(60)"))
    assert keys_in(dsn) == []


async def test_a_lock_that_was_released_behind_our_back_was_lost(dsn: str, witness: Witness) -> None:
    """A session's lock can be given up by a statement, which only the session itself can run; here, by what waits in its connection."""
    async with open_ledger(dsn) as db:
        with pytest.raises(LockLost, match="it could not be released"):
            lock = db.advisory_lock("x")
            async with lock:
                lock.number += 1  # what is released at the end is not what was taken
        await pool_is_whole(db.statistics)
        await witness.until(f"SELECT ({HOLDERS}) = 0")  # the connection was closed, and its session ends with the lock


async def test_a_silent_network_loses_it(dsn: str) -> None:
    """Nothing says that the connection is gone; the sign of life is not answered."""
    with running_proxy(dsn) as proxy:
        async with open_database(proxy.conninfo(), listener_max_silence_seconds=0.2, cleanup_timeout_seconds=0.2) as db:
            with anyio.fail_after(20):
                with pytest.raises(LockLost):
                    async with db.advisory_lock("x"):
                        proxy.black_hole()
                        await anyio.sleep_forever()
            proxy.heal()


async def test_a_lock_can_be_entered_once(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        lock = db.advisory_lock("x")
        async with lock:
            assert "'x', held" in repr(lock)
        with pytest.raises(UsageError, match="was entered before"):
            async with lock:
                pytest.fail("it was entered")


# In a transaction.


async def test_in_a_transaction_it_is_held_until_that_ends(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await tx.advisory_lock("x")
            assert witness.value(HOLDERS) == 1
            async with db.transaction() as other:
                with pytest.raises(LockNotAvailable, match="'x'"):
                    await other.advisory_lock("x", nowait=True)
                with pytest.raises(LockNotAvailable):
                    await other.advisory_lock("x", shared=True, nowait=True)
                await write(other, 1)  # it goes on as if nothing had been
                await other.advisory_lock("y", shared=True)
        assert witness.value(HOLDERS) == 0
    assert keys_in(dsn) == [1]


async def test_in_a_savepoint_that_rolls_back_it_is_released(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            with pytest.raises(LookupError):
                async with tx.savepoint() as sp:
                    await sp.advisory_lock("x")
                    assert witness.value(HOLDERS) == 1
                    await fail_with(LookupError())
            assert witness.value(HOLDERS) == 0


async def test_a_child_waits_for_it_and_is_cancelled_with_its_siblings(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        async with db.advisory_lock("x"):
            with pytest.raises(ExceptionGroup):
                async with db.transaction() as tx:
                    pid = await process_of(tx)
                    tx.start_soon(tx.advisory_lock, "x")
                    await witness.until(WAITERS, 1)
                    assert pid
                    tx.start_soon(fail_with, LookupError())
            assert witness.value(WAITERS, 0)


async def test_an_error_before_it_is_named(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(Exception, match="division by zero"):
            async with db.transaction() as tx:
                await tx.execute(FAILS)
                await tx.advisory_lock("x")


async def test_through_a_pooler_only_a_transaction_has_it(dsn: str, witness: Witness) -> None:
    async with open_database(dsn, pooler="transaction") as db:
        with pytest.raises(UsageError, match="a connection pooler in transaction mode stands before the server"):
            async with db.advisory_lock("x"):
                pytest.fail("it would be another session's")
        async with db.transaction() as tx:
            await tx.advisory_lock("x")
            assert witness.value(HOLDERS) == 1
