"""Transactions that are tried again, on a real server: conflicts at any statement and at COMMIT, lost connections, children, deadlines."""

import anyio
import pytest

from tests.transaction.ledger import Entry, fail_with, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import (
    CommitOutcomeUnknown,
    Database,
    DatabaseError,
    Retry,
    SerializationFailure,
    Transaction,
    TransactionRolledBack,
    attempts_of,
    count,
    open_database,
    select,
    sql,
)
from trioorm.errors import TransactionAborted, UsageError
from trioorm.query import Sql

QUICK = Retry(base_seconds=0.001, max_seconds=0.01)


async def count_then_add(tx: Transaction, key: int, met: anyio.Event | None = None, other: anyio.Event | None = None) -> int:
    """The write skew that SERIALIZABLE refuses: add an entry only while there are fewer than two."""
    seen = await tx.fetch_value(select(count()).from_(Entry))
    if met is not None and other is not None:
        met.set()
        await other.wait()
    if seen < 2:
        await write(tx, key)
    return seen


async def test_returns_what_the_function_returned(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        assert await db.run_in_transaction(count_then_add, 1) == 0
        assert await db.run_in_transaction(count_then_add, 2, retry=QUICK, isolation="serializable", name="second") == 1
    assert keys_in(dsn) == [1, 2]


async def test_a_conflict_is_run_again_and_sees_the_other(dsn: str) -> None:
    """Both read the same, whatever comes first; one of them is refused, at its statement or at COMMIT, and reads again."""
    async with open_ledger(dsn) as db:
        await write(db, 0)
        first, second = anyio.Event(), anyio.Event()
        seen: list[int] = []

        async def run(key: int, met: anyio.Event, other: anyio.Event) -> None:
            seen.append(await db.run_in_transaction(count_then_add, key, met, other, isolation="serializable", retry=QUICK))

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(run, 1, first, second)
            nursery.start_soon(run, 2, second, first)
        assert sorted(seen) == [1, 2]
        assert len(keys_in(dsn)) == 2


async def test_a_conflict_at_commit_is_run_again_by_the_loop(dsn: str) -> None:
    """The transaction that has done all its statements when another one commits is refused at COMMIT."""
    async with open_ledger(dsn) as db:
        numbers: list[int] = []
        async for attempt in db.attempts(isolation="serializable", retry=QUICK):
            async with attempt as tx:
                numbers.append(attempt.number)
                await count_then_add(tx, 10 + attempt.number)
                if attempt.number == 1:
                    async with db.transaction(isolation="serializable") as rival:
                        await count_then_add(rival, 1)
        assert numbers == [1, 2]
        assert keys_in(dsn) == [1, 12]


async def test_a_deadlock_is_run_again(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        await write(db, 1)
        await write(db, 2)
        one, two = anyio.Event(), anyio.Event()

        async def both(tx: Transaction, first: int, second: int, mine: anyio.Event, other: anyio.Event) -> None:
            await tx.execute(sql("UPDATE entries SET note = note || 'x' WHERE key = {key}", key=first))
            mine.set()
            await other.wait()
            await tx.execute(sql("UPDATE entries SET note = note || 'x' WHERE key = {key}", key=second))

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(db.run_in_transaction, both, 1, 2, one, two)
            nursery.start_soon(db.run_in_transaction, both, 2, 1, two, one)
        assert [entry.note for entry in await db.fetch_all(select(Entry))] == ["xx", "xx"]


async def test_a_lost_connection_is_run_again(dsn: str, witness: Witness) -> None:
    killed = False

    async def write_and_die_once(tx: Transaction) -> None:
        nonlocal killed
        await write(tx, 1)
        if not killed:
            killed = True
            witness.terminate(await process_of(tx))
        await write(tx, 2)

    async with open_ledger(dsn) as db:
        await db.run_in_transaction(write_and_die_once, retry=QUICK)
    assert keys_in(dsn) == [1, 2]


async def test_children_have_ended_before_the_next_attempt(dsn: str) -> None:
    running = 0
    most = 0

    async def child(tx: Transaction) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await write(tx, 5)
            await anyio.sleep_forever()
        finally:
            running -= 1

    async def refused(tx: Transaction) -> None:
        await anyio.wait_all_tasks_blocked()
        raise SerializationFailure("made up", sqlstate="40001")

    async def parent(tx: Transaction) -> None:
        assert running == 0
        tx.start_soon(child, tx)
        tx.start_soon(refused, tx)

    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            await db.run_in_transaction(parent, retry=Retry(max_attempts=3, base_seconds=0.001))
        statistics = attempts_of(caught.value)
        assert statistics is not None
        assert statistics.attempts == 3
        assert (running, most) == (0, 1)
    assert keys_in(dsn) == []


@pytest.mark.parametrize("then", ["end", "another statement"])
async def test_a_swallowed_conflict_is_run_again(dsn: str, then: str) -> None:
    """What comes out is not the conflict but that nothing was written because of it."""
    number = 0

    async def swallow(tx: Transaction) -> None:
        nonlocal number
        number += 1
        if number == 1:
            try:
                await tx.execute(sql("DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '40001'; END $$"))
            except DatabaseError:
                pass
        if number > 1 or then != "end":
            await write(tx, number)

    async with open_ledger(dsn) as db:
        await db.run_in_transaction(swallow, retry=QUICK)
    assert keys_in(dsn) == [2]


async def test_a_swallowed_bug_is_not(dsn: str) -> None:
    async def swallow(tx: Transaction) -> None:
        try:
            await tx.execute(sql("SELECT 1 / 0"))
        except DatabaseError:
            pass

    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack) as caught:
            await db.run_in_transaction(swallow, retry=QUICK)
        assert caught.value.attempts is not None
        assert caught.value.attempts.attempts == 1
        assert not TransactionAborted("", sqlstate="25P02").safe_to_retry


async def test_an_unknown_outcome_never_is(dsn: str) -> None:
    calls = 0

    async def unknown(tx: Transaction) -> None:
        nonlocal calls
        calls += 1
        tx.start_soon(fail_with, CommitOutcomeUnknown("of a single write elsewhere"))

    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup):
            await db.run_in_transaction(unknown, retry=QUICK)
    assert calls == 1


async def test_a_plan_gone_stale_is_run_again(dsn: str, witness: Witness) -> None:
    """Refused before it ran, because a table has changed since it was prepared."""
    read = sql("SELECT * FROM entries")
    async with open_ledger(dsn, max_size=1) as db:
        await write(db, 1)
        await db.fetch_all(read)
        witness.run("ALTER TABLE entries ADD COLUMN more int")
        assert len((await db.run_in_transaction(_fetch, read, retry=QUICK))[0]) == 3


async def _fetch(tx: Transaction, statement: Sql) -> list[tuple[object, ...]]:
    return await tx.fetch_all(statement)


async def test_inside_a_transaction_it_is_refused(dsn: str) -> None:
    async def nested(tx: Transaction) -> None:
        with pytest.raises(UsageError, match="inside of the transaction 'outer', on the same database"):
            await db.run_in_transaction(write, 2)
        with pytest.raises(UsageError, match="inside of the transaction"):
            db.attempts()
        async with tx.savepoint() as sp:
            with pytest.raises(UsageError, match="inside of the transaction"):
                db.attempts()
            await write(sp, 1)
        tx.start_soon(refused_in_child)

    async def refused_in_child() -> None:
        with pytest.raises(UsageError, match="inside of the transaction"):
            await db.run_in_transaction(write, 2)

    async with open_ledger(dsn) as db:
        await db.run_in_transaction(nested, name="outer")
        await db.run_in_transaction(write, 3)
    assert keys_in(dsn) == [1, 3]


async def test_another_database_may_be_inside(dsn: str, server_dsn: str) -> None:
    async def inner(tx: Transaction, other: Database) -> None:
        await write(tx, await other.run_in_transaction(_one))

    async with open_ledger(dsn) as db, open_database(server_dsn) as other:
        await db.run_in_transaction(inner, other)
    assert keys_in(dsn) == [1]


async def _one(tx: Transaction) -> int:
    return await tx.fetch_value(sql("SELECT 1").returns(int))
