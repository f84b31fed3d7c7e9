"""Connections that die under a transaction, and servers that stop answering: what is known afterwards, and how long it takes."""

import time
import uuid
from collections.abc import Iterator

import anyio
import pytest

from tests.transaction.ledger import SLEEP, Block, Entry, Sleeper, keys_in, open_ledger, process_of, write
from tests.wire.witness import Witness
from trioorm import CommitOutcomeUnknown, ConnectionLost, Database, Transaction, open_database, select, sql
from trioorm.embedded import Server, running_server
from trioorm.pool import lending
from trioorm.testing import running_proxy

_SLACK_SECONDS = 1.0  # two busy cores, and time.monotonic is the real clock


async def _works(db: Database) -> None:
    assert await db.fetch_value(sql("SELECT 7").returns(int)) == 7


async def test_killed_between_two_statements(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(ConnectionLost) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                witness.terminate(await process_of(tx))
                await write(tx, 2)
        assert caught.value.safe_to_retry, "it stood in a transaction, which the server has rolled back"
        assert keys_in(dsn) == []
        await _works(db)


async def test_killed_under_a_statement(dsn: str, witness: Witness) -> None:
    sleeper = Sleeper(witness)
    async with open_ledger(dsn) as db:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(sleeper.kill_when_asleep)
            with pytest.raises(ConnectionLost) as caught:
                async with db.transaction() as tx:
                    await write(tx, 1)
                    await sleeper.sleep_on(tx)
            assert caught.value.safe_to_retry
        assert keys_in(dsn) == []
        await _works(db)


async def test_killed_while_the_body_does_something_else(dsn: str, witness: Witness) -> None:
    """COMMIT is sent into a connection that is gone already; whether the server got it cannot be seen from here."""
    async with open_ledger(dsn) as db:
        with pytest.raises((ConnectionLost, CommitOutcomeUnknown)):
            async with db.transaction() as tx:
                await write(tx, 1)
                witness.terminate(await process_of(tx))
        assert keys_in(dsn) == []
        await _works(db)


async def test_killed_under_a_block_that_asked_nothing_it_is_nobodys(dsn: str, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of who stands in line nor of who comes right behind it and does not look."""
    monkeypatch.setattr(lending, "_JUST_NOW_SECONDS", 60.0)
    async with open_ledger(dsn, max_size=1) as db:
        for _ in range(2):
            pid = await process_of(db)
            async with db.transaction():
                witness.terminate(pid)
            await _works(db)
        pid = await process_of(db)
        async with anyio.create_task_group() as nursery:
            async with db.transaction():
                nursery.start_soon(_works, db)
                await anyio.wait_all_tasks_blocked()
                assert db.statistics().requests_waiting == 1
                witness.terminate(pid)


async def test_a_network_that_died_under_a_block_that_asked_nothing_holds_nobody_up(dsn: str) -> None:
    """However often such blocks come one behind the other: each time nothing was asked, and nothing tells what has happened."""
    idle_seconds = 0.1
    with running_proxy(dsn) as proxy:
        async with open_database(proxy.conninfo(), max_size=1, check_after_idle_seconds=idle_seconds, cleanup_timeout_seconds=0.2) as db:
            await _works(db)
            proxy.drop_server_side()
            with anyio.fail_after(4 * idle_seconds + 2 * 0.2 + 2 * _SLACK_SECONDS):
                for _ in range(4):
                    async with db.transaction():
                        await anyio.sleep(idle_seconds / 2)
                await _works(db)
            assert db.statistics().connections_lost == 1


async def test_killed_and_swallowed(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(ConnectionLost, match="nothing was written") as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                witness.terminate(await process_of(tx))
                with pytest.raises(ConnectionLost):
                    await write(tx, 2)
                with pytest.raises(ConnectionLost, match="the connection of the transaction is gone"):
                    await write(tx, 3)
        assert caught.value.safe_to_retry
        assert keys_in(dsn) == []


async def test_killed_inside_a_savepoint(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(ConnectionLost) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                async with tx.savepoint() as sp:
                    await write(sp, 2)
                    witness.terminate(await process_of(sp))
                    await write(sp, 3)
        assert caught.value.safe_to_retry
        assert keys_in(dsn) == []
        await _works(db)


async def test_killed_inside_a_savepoint_and_swallowed_around_it(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(ConnectionLost) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                with pytest.raises(ConnectionLost):
                    async with tx.savepoint() as sp:
                        await write(sp, 2)
                        witness.terminate(await process_of(sp))
                        await write(sp, 3)
        assert caught.value.safe_to_retry
        assert keys_in(dsn) == []


async def test_killed_under_a_stream(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(ConnectionLost) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                pid = await process_of(tx)
                async with tx.stream(sql("SELECT repeat('x', 1000) FROM generate_series(1, 100000)").returns(str)) as rows:
                    await anext(rows)
                    witness.terminate(pid)
                    async for _ in rows:
                        pass
        assert caught.value.safe_to_retry
        assert keys_in(dsn) == []
        await _works(db)


async def test_killed_under_a_child(dsn: str, witness: Witness) -> None:
    sleeper = Sleeper(witness)
    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.start_soon(sleeper.sleep_on, tx)
                tx.start_soon(sleeper.kill_when_asleep)
                await anyio.sleep_forever()
        assert [type(error) for error in caught.value.exceptions] == [ConnectionLost]
        assert keys_in(dsn) == []
        await _works(db)


# COMMIT without an answer.


async def _make_commit_slow(db: Database, seconds: float = 60) -> None:
    """A deferred trigger sleeps inside COMMIT."""
    await db.execute(sql("CREATE TABLE doze (seconds float8)"))
    await db.execute(sql("INSERT INTO doze VALUES ({seconds})", seconds=float(seconds)))
    await db.execute(
        sql("""
            CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM pg_sleep(seconds) FROM doze;
                RETURN NULL;
            END $$
        """)
    )
    await db.execute(
        sql("CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON entries DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION doze()")
    )


async def test_killed_while_commit_runs_the_server_is_asked_how_it_ended(dsn: str, witness: Witness) -> None:
    sleeper = Sleeper(witness)
    async with open_ledger(dsn) as db:
        await _make_commit_slow(db)
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(sleeper.kill_when_asleep)
            with pytest.raises(ConnectionLost, match="the server says that it was rolled back") as caught:
                async with db.transaction(name="pay") as tx:
                    await write(tx, 1)
                    sleeper.runs_on(await process_of(tx))
            assert caught.value.safe_to_retry
            assert "the transaction 'pay'" in str(caught.value)
            assert isinstance(caught.value.__cause__, ConnectionLost)
        assert keys_in(dsn) == []
        await _works(db)


async def test_killed_under_a_single_write_the_outcome_is_unknown(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn, max_size=1) as db:
        await _make_commit_slow(db)
        sleeper = Sleeper(witness)
        sleeper.runs_on(await process_of(db))
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(sleeper.kill_when_asleep)
            with pytest.raises(CommitOutcomeUnknown) as caught:
                await write(db, 1)
            assert not caught.value.safe_to_retry
            assert caught.value.transaction_id is None
        assert keys_in(dsn) == []
        await _works(db)


async def test_killed_under_a_single_read_it_is_safe_to_retry(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn, max_size=1) as db:
        sleeper = Sleeper(witness)
        sleeper.runs_on(await process_of(db))
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(sleeper.kill_when_asleep)
            with pytest.raises(ConnectionLost) as caught:
                await db.execute(SLEEP.reads_only())
            assert caught.value.safe_to_retry
        await _works(db)


async def test_cancelled_while_commit_runs_it_is_waited_for_and_the_cancellation_kept(dsn: str, witness: Witness) -> None:
    """COMMIT takes 0.3 s, the cancellation comes meanwhile, and the block ends normally: the row is there."""
    ended_normally = False
    async with open_ledger(dsn) as db:
        await _make_commit_slow(db, 0.3)
        async with anyio.create_task_group() as nursery:
            with anyio.CancelScope() as scope:
                async with db.transaction() as tx:
                    await write(tx, 1)
                    sleeper = Sleeper(witness)
                    sleeper.runs_on(await process_of(tx))
                    nursery.start_soon(sleeper.cancel_when_asleep, scope)
                ended_normally = True
                await anyio.sleep_forever()
            assert scope.cancelled_caught
        assert ended_normally
        assert keys_in(dsn) == [1]


async def test_cancelled_while_commit_runs_too_long_it_is_ended_and_rolled_back(dsn: str, witness: Witness) -> None:
    async with open_ledger(dsn, commit_timeout_seconds=2.0) as db:
        await _make_commit_slow(db)
        sleeper = Sleeper(witness)
        started_at = time.monotonic()
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as nursery:
            with scope:
                async with db.transaction() as tx:
                    await write(tx, 1)
                    sleeper.runs_on(await process_of(tx))
                    nursery.start_soon(sleeper.cancel_when_asleep, scope)
        assert scope.cancelled_caught
        assert time.monotonic() - started_at < 2.0 + _SLACK_SECONDS
        assert keys_in(dsn) == []


# A server that does not answer.


@pytest.fixture(scope="module")
def lone_server() -> Iterator[Server]:
    """One server for all tests that freeze it and thaw it again."""
    with running_server() as server:
        yield server


@pytest.fixture
def lone_dsn(lone_server: Server) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:16]}"
    address = lone_server.create_database(name, template="template0")
    try:
        yield address
    finally:
        lone_server.thaw()
        lone_server.drop_database(name)


@pytest.mark.parametrize("where", ["statement", "stream", "copy", "savepoint", "child", "idle"])
async def test_a_frozen_server_holds_nobody_longer_than_the_cleanup_may_take(lone_server: Server, lone_dsn: str, where: str) -> None:
    budget = 0.4

    async def freeze_and_ask(block: Block) -> None:
        lone_server.freeze()
        await block.execute(SLEEP)

    def entries() -> Iterator[Entry]:
        for key in range(2, 10_000_000):
            if key == 5000:
                lone_server.freeze()
            yield Entry(key=key, note="x" * 1000)

    async def work(tx: Transaction) -> None:
        match where:
            case "statement":
                await freeze_and_ask(tx)
            case "child":
                tx.start_soon(freeze_and_ask, tx)
            case "savepoint":
                async with tx.savepoint() as sp:
                    await write(sp, 2)
                    await freeze_and_ask(sp)
            case "stream":
                async with tx.stream(sql("SELECT repeat('x', 1000) FROM generate_series(1, 10000000)").returns(str)) as rows:
                    await anext(rows)
                    lone_server.freeze()
                    async for _ in rows:
                        pass
            case "copy":
                await tx.copy_in(Entry, entries())
            case _:
                lone_server.freeze()
                await anyio.sleep_forever()

    async with open_database(lone_dsn, cleanup_timeout_seconds=budget, max_size=2) as db:
        await db.create_schema(Entry)
        with anyio.CancelScope() as scope:
            async with db.transaction() as tx:
                await write(tx, 1)
                scope.deadline = anyio.current_time() + 0.3
                await work(tx)
        assert scope.cancelled_caught
        # A savepoint and its transaction each have the budget.
        assert anyio.current_time() - scope.deadline < 2 * budget + _SLACK_SECONDS
        assert db.statistics().on_loan == 0
        lone_server.thaw()
        assert await db.fetch_all(select(Entry)) == []


async def test_a_frozen_server_under_commit_leaves_the_outcome_unknown(lone_server: Server, lone_dsn: str) -> None:
    async with open_database(lone_dsn, commit_timeout_seconds=0.4, max_size=2) as db:
        await db.create_schema(Entry)
        scope = anyio.CancelScope()
        with pytest.raises(CommitOutcomeUnknown) as caught, scope:
            async with db.transaction() as tx:
                await write(tx, 1)
                lone_server.freeze()
                scope.deadline = anyio.current_time() + 0.1
        overrun = anyio.current_time() - scope.deadline
        assert overrun < 0.4 + _SLACK_SECONDS
        assert db.statistics().on_loan == 0
        lone_server.thaw()
        transaction_id = caught.value.transaction_id
        assert transaction_id is not None
        with anyio.fail_after(10):
            while (outcome := await db.outcome(transaction_id)) == "in progress":
                pass  # every question is a trip to the server, which works through what it was sent
        assert outcome == ("committed" if await db.fetch_all(select(Entry)) else "rolled back")


async def test_a_frozen_server_under_a_single_write_leaves_the_outcome_unknown(lone_server: Server, lone_dsn: str) -> None:
    async with open_database(lone_dsn, cleanup_timeout_seconds=0.4, max_size=2) as db:
        await db.create_schema(Entry)
        lone_server.freeze()
        with anyio.move_on_after(0.1) as scope:
            with pytest.raises(CommitOutcomeUnknown):
                await write(db, 1)
        assert anyio.current_time() - scope.deadline < 0.4 + _SLACK_SECONDS
        lone_server.thaw()


async def test_a_frozen_server_does_not_hold_up_the_end_of_the_database(lone_server: Server, lone_dsn: str) -> None:
    with anyio.fail_after(5):
        async with open_database(lone_dsn, cleanup_timeout_seconds=0.3) as db:
            with anyio.move_on_after(0.1):
                async with db.transaction() as tx:
                    await process_of(tx)
                    lone_server.freeze()
                    await tx.execute(SLEEP)
    lone_server.thaw()


async def test_a_crashed_server_is_found_again(own_server: Server) -> None:
    async with open_database(own_server.conninfo(), max_size=2) as db:
        await db.create_schema(Entry)
        await write(db, 1)
        with pytest.raises(ConnectionLost) as caught:
            async with db.transaction() as tx:
                await write(tx, 2)
                own_server.kill()
                await write(tx, 3)
        assert caught.value.safe_to_retry
        own_server.start()
        assert [entry.key for entry in await db.fetch_all(select(Entry))] == [1]
