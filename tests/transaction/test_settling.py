"""A COMMIT whose answer is lost: the server is asked, and what it says is believed only with proof."""

import contextlib
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import anyio.to_thread
import psycopg
import pytest

from tests.transaction.ledger import Entry, keys_in, open_ledger, write
from trioorm import CommitOutcomeUnknown, ConnectionLost, Database, TransactionId, open_database, select
from trioorm.embedded import Server
from trioorm.testing import Direction, FaultProxy, pool_is_whole, running_proxy, server_is_quiet
from trioorm.transaction import Outcome, ask_outcome, begin_steps
from trioorm.transaction.outcome import PROBE, read_probe
from trioorm.wire import AnyIOConnection, command


@pytest.fixture
def proxy(dsn: str) -> Iterator[FaultProxy]:
    with running_proxy(dsn) as proxy:
        yield proxy


# The network fails, the server goes on.


async def test_a_commit_whose_answer_is_lost_is_found_committed(dsn: str, proxy: FaultProxy) -> None:
    async with open_ledger(proxy.conninfo()) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            proxy.cut_at(Direction.TO_CLIENT, delivered=False)
        assert keys_in(dsn) == [1]
        await _works(db)


async def test_a_commit_that_never_arrived_is_found_rolled_back(dsn: str, proxy: FaultProxy) -> None:
    """The server's session still has the transaction open, since nobody told it that the network is gone; it is ended."""
    async with open_ledger(proxy.conninfo()) as db:
        with pytest.raises(ConnectionLost, match="the server says that it was rolled back") as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                proxy.drop_client_side()
        assert caught.value.safe_to_retry
        assert keys_in(dsn) == []
        await server_is_quiet(dsn)
        await _works(db)


async def test_a_lost_commit_of_a_transaction_that_wrote_nothing_is_definite(proxy: FaultProxy) -> None:
    async with open_ledger(proxy.conninfo()) as db:
        with pytest.raises(ConnectionLost, match="it had written nothing") as caught:
            async with db.transaction() as tx:
                await tx.fetch_all(select(Entry))
                proxy.cut_at(Direction.TO_CLIENT, delivered=False)
        assert caught.value.safe_to_retry


async def test_what_a_copy_wrote_is_asked_for_too(dsn: str, proxy: FaultProxy) -> None:
    async with open_ledger(proxy.conninfo()) as db:
        async with db.transaction() as tx:
            await tx.copy_in(Entry, [Entry(key=key) for key in range(3)])
            # Parse, bind, row description, row, tag and ready: the answer to the question for the id. The next is that to COMMIT.
            proxy.cut_at(Direction.TO_CLIENT, 7, delivered=False)
        assert keys_in(dsn) == [0, 1, 2]


async def test_a_write_inside_a_savepoint_is_known_by_its_transaction(dsn: str, proxy: FaultProxy) -> None:
    async with open_ledger(proxy.conninfo()) as db:
        async with db.transaction() as tx:
            async with tx.savepoint() as sp:
                await write(sp, 1)
            proxy.cut_at(Direction.TO_CLIENT, delivered=False)
        assert keys_in(dsn) == [1]


async def test_while_no_connection_can_be_made_it_is_asked_again(dsn: str, proxy: FaultProxy) -> None:
    async def accept_again() -> None:
        while proxy.statistics().cuts == 0:
            await anyio.lowlevel.checkpoint()
        proxy.accept()

    async with open_ledger(proxy.conninfo()) as db, anyio.create_task_group() as nursery:
        async with db.transaction() as tx:
            tx.on_rollback(_never)
            await write(tx, 1)
            nursery.start_soon(accept_again)
            proxy.refuse()
            proxy.cut_at(Direction.TO_CLIENT, delivered=False)
        assert keys_in(dsn) == [1]


async def _never() -> None:
    raise AssertionError("the transaction was committed")


async def test_out_of_reach_for_too_long_it_is_unknown_with_its_id(dsn: str, proxy: FaultProxy) -> None:
    async with open_database(proxy.conninfo(), max_size=2, commit_timeout_seconds=0.5) as db:
        await db.create_schema(Entry)
        with pytest.raises(CommitOutcomeUnknown, match=r"await db.outcome\(error.transaction_id\)") as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                proxy.refuse()
                proxy.cut_at(Direction.TO_CLIENT, delivered=False)
        assert not caught.value.safe_to_retry
        transaction_id = caught.value.transaction_id
        assert transaction_id is not None
        assert str(transaction_id.number) in str(caught.value)
        proxy.heal()
        proxy.accept()
        assert await db.outcome(transaction_id) == "committed"
        assert keys_in(dsn) == [1]
        await pool_is_whole(db.statistics)


@pytest.mark.parametrize("found", ["committed", "rolled back", "unknown"])
async def test_hooks_follow_what_the_server_says_and_do_not_run_when_nobody_knows(dsn: str, proxy: FaultProxy, found: str) -> None:
    ran: list[str] = []

    async def note(hook: str) -> None:
        ran.append(hook)

    async with open_database(proxy.conninfo(), max_size=2, commit_timeout_seconds=0.5 if found == "unknown" else 5.0) as db:
        await db.create_schema(Entry)
        with contextlib.suppress(ConnectionLost, CommitOutcomeUnknown):
            async with db.transaction() as tx:
                tx.on_commit(note, "committed")
                tx.on_rollback(note, "rolled back")
                await write(tx, 1)
                if found == "unknown":
                    proxy.refuse()
                if found == "rolled back":
                    proxy.drop_client_side()
                else:
                    proxy.cut_at(Direction.TO_CLIENT, delivered=False)
        proxy.heal()
        proxy.accept()
    # The end of the database has waited for its hooks.
    assert ran == ([] if found == "unknown" else [found])
    assert keys_in(dsn) == ([] if found == "rolled back" else [1])


async def test_cancelled_while_it_is_being_settled_it_still_says_how_it_ended(dsn: str, proxy: FaultProxy) -> None:
    async with open_ledger(proxy.conninfo()) as db:
        after = False
        with anyio.CancelScope() as scope:
            async with db.transaction() as tx:
                await write(tx, 1)
                proxy.cut_at(Direction.TO_CLIENT, delivered=False)
                proxy.delay(0.1)  # asking takes long enough for the deadline
                scope.deadline = anyio.current_time() + 0.2
            after = True
            await anyio.lowlevel.checkpoint()
        assert after or scope.cancelled_caught
        assert keys_in(dsn) == ([1] if after else [])


# The server crashes.


class _Prepared:
    """A transaction on a connection of its own, whose id is known."""

    def __init__(self, connection: AnyIOConnection[object], transaction_id: TransactionId) -> None:
        self.connection = connection
        self.id = transaction_id

    async def commit(self) -> None:
        (result,) = await self.connection.fly([command(b"COMMIT")])
        assert result.command_status == b"COMMIT"


async def _write_unfinished(server: Server, key: int) -> _Prepared:
    connection: AnyIOConnection[object] = await AnyIOConnection.connect(server.conninfo(), autocommit=True)
    write_it = command(f"INSERT INTO entries VALUES ({key}, '')".encode())
    *_, result = await connection.fly([*begin_steps(None), write_it, *PROBE])
    transaction_id = read_probe(result)
    assert transaction_id is not None
    return _Prepared(connection, transaction_id)


async def _outcome(server: Server, transaction_id: TransactionId) -> Outcome:
    async with await AnyIOConnection.connect(server.conninfo(), autocommit=True) as connection:
        return await ask_outcome(connection, transaction_id)


def _run(server: Server, statement: str) -> object:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row: tuple[object, ...] | None = cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]


def _crash(server: Server) -> None:
    server.kill()
    server.start()


@pytest.fixture
def crashing_server(own_server: Server) -> Server:
    _run(own_server, "CREATE TABLE entries (key bigint PRIMARY KEY, note text)")
    _run(own_server, "CHECKPOINT")
    return own_server


async def test_an_id_that_a_crash_lost_and_the_server_issued_again_is_rolled_back(crashing_server: Server) -> None:
    """The trap: the status says `committed`, of another transaction with the same number."""
    server = crashing_server
    prepared = await _write_unfinished(server, 1)
    _crash(server)
    prepared.connection.close_nowait()
    numbers: set[int] = set()
    for key in range(10, 40):
        with psycopg.connect(server.conninfo()) as connection:
            connection.execute("INSERT INTO entries VALUES (%s, '')", [key])
            row = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
            assert row is not None
            numbers.add(row[0])
            connection.commit()
        if prepared.id.number in numbers:
            break
    assert prepared.id.number in numbers, "the server issued the id again"
    assert _run(server, f"SELECT pg_xact_status('{prepared.id.number}'::xid8)") == "committed"
    assert await _outcome(server, prepared.id) == "rolled back"


async def test_an_id_of_the_future_is_rolled_back(crashing_server: Server) -> None:
    prepared = await _write_unfinished(crashing_server, 1)
    _crash(crashing_server)
    prepared.connection.close_nowait()
    with pytest.raises(psycopg.DataError, match="is in the future"):
        _run(crashing_server, f"SELECT pg_xact_status('{prepared.id.number}'::xid8)")
    assert await _outcome(crashing_server, prepared.id) == "rolled back"


async def test_committed_before_a_crash_is_believed_as_long_as_the_recovery_proves_it(crashing_server: Server) -> None:
    prepared = await _write_unfinished(crashing_server, 1)
    await prepared.commit()
    prepared.connection.close_nowait()
    _crash(crashing_server)
    assert await _outcome(crashing_server, prepared.id) == "committed"
    _run(crashing_server, "INSERT INTO entries VALUES (2, '')")
    _run(crashing_server, "CHECKPOINT")
    assert await _outcome(crashing_server, prepared.id) == "unknown", "the recovery's own checkpoint is not the last one any more"


async def test_unfinished_but_on_disk_before_a_crash_is_rolled_back(crashing_server: Server) -> None:
    prepared = await _write_unfinished(crashing_server, 1)
    later = await _write_unfinished(crashing_server, 2)
    await later.commit()  # its commit takes the log of the other along
    for each in (prepared, later):
        each.connection.close_nowait()
    _crash(crashing_server)
    assert await _outcome(crashing_server, prepared.id) == "rolled back"
    assert await _outcome(crashing_server, later.id) == "committed"


async def test_a_restart_in_good_order_is_no_crash(crashing_server: Server) -> None:
    prepared = await _write_unfinished(crashing_server, 1)
    await prepared.commit()
    prepared.connection.close_nowait()
    crashing_server.stop()
    crashing_server.start()
    _run(crashing_server, "INSERT INTO entries VALUES (2, '')")
    _run(crashing_server, "CHECKPOINT")
    assert await _outcome(crashing_server, prepared.id) == "committed"


async def test_running_committed_and_rolled_back_are_told_apart(crashing_server: Server) -> None:
    running, committed, rolled_back = [await _write_unfinished(crashing_server, key) for key in (1, 2, 3)]
    await committed.commit()
    await rolled_back.connection.fly([command(b"ROLLBACK")])
    assert await _outcome(crashing_server, running.id) == "in progress"
    assert await _outcome(crashing_server, committed.id) == "committed"
    assert await _outcome(crashing_server, rolled_back.id) == "rolled back"
    for each in (running, committed, rolled_back):
        each.connection.close_nowait()


async def test_another_timeline_proves_nothing(crashing_server: Server) -> None:
    """As after a standby has taken over: what it says `committed` of may be another transaction."""
    prepared = await _write_unfinished(crashing_server, 1)
    await prepared.commit()
    prepared.connection.close_nowait()
    elsewhere = TransactionId(number=prepared.id.number, assigned_at=prepared.id.assigned_at, timeline="000000FE")
    assert await _outcome(crashing_server, elsewhere) == "unknown"


async def test_a_role_without_privileges_may_ask(crashing_server: Server) -> None:
    _run(crashing_server, "CREATE ROLE plain LOGIN")
    prepared = await _write_unfinished(crashing_server, 1)
    await prepared.commit()
    prepared.connection.close_nowait()
    conninfo = crashing_server.conninfo().replace("user=postgres", "user=plain")
    async with await AnyIOConnection.connect(conninfo, autocommit=True) as connection:
        assert await ask_outcome(connection, prepared.id) == "committed"
    _crash(crashing_server)
    async with await AnyIOConnection.connect(conninfo, autocommit=True) as connection:
        assert await ask_outcome(connection, prepared.id) == "committed"


async def test_a_transaction_that_a_crash_interrupts_in_its_commit_is_settled(own_server: Server) -> None:
    """The server dies with COMMIT under way and comes back within the budget."""
    with running_proxy(own_server.conninfo()) as proxy:
        async with open_database(proxy.conninfo(), max_size=2) as db:
            await db.create_schema(Entry)
            with contextlib.suppress(ConnectionLost):
                async with db.transaction() as tx:
                    await write(tx, 1)
                    proxy.freeze()  # COMMIT leaves, and arrives nowhere
                    async with anyio.create_task_group() as nursery:
                        nursery.start_soon(anyio.to_thread.run_sync, _crash, own_server)
                    proxy.cut_all()
                    proxy.thaw()
            assert await db.fetch_all(select(Entry)) == []


async def _works(db: Database) -> None:
    await db.fetch_all(select(Entry))
    await pool_is_whole(db.statistics)
