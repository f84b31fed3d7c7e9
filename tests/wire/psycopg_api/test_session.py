"""psycopg's connection as a session: its settings, what it tells of itself, notices, notifications, cancelling, the block."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import psycopg
import pytest
import sniffio
import trio
from psycopg import AsyncConnection, AsyncCursor, ConnectionInfo, errors
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap
from psycopg.generators import fetch_many
from psycopg.pq import ConnStatus, PipelineStatus, TransactionStatus
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from tests.wire.psycopg_api.covers import covers
from tests.wire.witness import Witness, works
from trioorm.wire import AnyIOConnection


class MyCursor(AsyncCursor[Any]):
    """A cursor class of the caller's own."""

    def shout(self) -> str:
        return "mine"


class Shouted(TextLoader):
    def load(self, data: Buffer) -> str:
        return f"{bytes(data).decode()}!"


@covers(AsyncConnection, "connect closed close broken connection fileno prepare_threshold adapters cursor execute")
async def test_connecting_with_every_argument_and_closing(dsn: str) -> None:
    adapters = AdaptersMap(psycopg.adapters)
    adapters.register_loader("text", Shouted)

    class Context:
        connection = None

        def __init__(self) -> None:
            self.adapters = adapters

    connection = await AnyIOConnection[dict[str, Any]].connect(
        dsn,
        autocommit=True,
        prepare_threshold=None,
        context=Context(),
        row_factory=dict_row,
        cursor_factory=MyCursor,
        application_name="mine",
    )
    assert connection.connection is connection
    assert connection.fileno() == connection.pgconn.socket > 0
    assert connection.prepare_threshold is None
    assert connection.adapters is not adapters, "it is the connection's own copy"
    cursor = connection.cursor()
    assert isinstance(cursor, MyCursor)
    assert cursor.shout() == "mine"
    await cursor.execute("SELECT current_setting('application_name') AS name")
    assert await cursor.fetchone() == {"name": "mine!"}
    assert await (await connection.execute("SELECT 7 AS n", binary=True, prepare=False)).fetchone() == {"n": 7}
    await connection.close()
    await connection.close()
    assert connection.closed
    assert not connection.broken, "it was closed on purpose"
    with pytest.raises(psycopg.OperationalError, match="closed"):
        await connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="closed"):
        connection.cursor()


@covers(AsyncConnection, "broken closed")
async def test_a_session_that_the_server_ends_is_broken(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        witness.terminate(connection.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")
        assert connection.closed
        assert connection.broken
        await connection.close()
        assert connection.broken, "what broke is not closed on purpose any more"


@covers(AsyncConnection, "fileno")
async def test_the_socket_can_be_watched_by_others(dsn: str, witness: Witness) -> None:
    """psycopg's recipe for noticing that the server has gone: wait for the socket, then ask."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("LISTEN news")
        for _ in range(2):
            is_readable = await _watch(connection.fileno())
            witness.run("NOTIFY news")
            with anyio.fail_after(5):
                await is_readable()
                assert await works(connection), "and that takes what was there"
        is_readable = await _watch(connection.fileno())
        witness.terminate(connection.info.backend_pid)
        with anyio.fail_after(5):
            await is_readable()
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("SELECT 1")


async def _watch(fileno: int) -> Callable[[], Awaitable[object]]:
    """Watch a socket as a user would on the running event loop; what waits until it is readable."""
    if sniffio.current_async_library() == "trio":
        return partial(trio.lowlevel.wait_readable, fileno)
    event = asyncio.Event()
    asyncio.get_running_loop().add_reader(fileno, event.set)
    return event.wait


@covers(
    AsyncConnection,
    "autocommit set_autocommit isolation_level set_isolation_level read_only set_read_only deferrable set_deferrable commit rollback",
)
async def test_the_settings_of_transactions(dsn: str) -> None:
    shown = (
        "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'), "
        "current_setting('transaction_deferrable')"
    )
    async with await AnyIOConnection.connect(dsn) as connection:
        assert connection.autocommit is False, "as psycopg's: a statement begins a transaction"
        assert (connection.isolation_level, connection.read_only, connection.deferrable) == (None, None, None)
        for name in ("autocommit", "isolation_level", "read_only", "deferrable"):
            with pytest.raises(AttributeError, match=f"set_{name}"):
                setattr(connection, name, None)
        await connection.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
        await connection.set_read_only(True)
        await connection.set_deferrable(True)
        assert await (await connection.execute(shown)).fetchone() == ("serializable", "on", "on")
        with pytest.raises(psycopg.ProgrammingError, match="can't change 'autocommit' now"):
            await connection.set_autocommit(True)
        await connection.commit()
        await connection.set_isolation_level(None)
        await connection.set_read_only(None)
        await connection.set_deferrable(None)
        assert await (await connection.execute(shown)).fetchone() == ("read committed", "off", "off")
        await connection.rollback()
        await connection.set_autocommit(True)
        await connection.execute("SELECT 1")
        assert connection.info.transaction_status == TransactionStatus.IDLE
        assert await works(connection)


@covers(AsyncConnection, "info")
@covers(
    ConnectionInfo,
    "backend_pid dbname dsn encoding error_message full_protocol_version get_parameters host hostaddr options parameter_status password "
    "pipeline_status port server_version status timezone transaction_status user vendor",
)
async def test_what_a_connection_tells_of_itself(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True, options="-c application_name=told") as connection:
        info, seen = connection.info, witness.connection.info
        assert info.backend_pid == (await (await connection.execute("SELECT pg_backend_pid()")).fetchone() or (0,))[0]
        assert (info.dbname, info.user, info.host, info.port, info.hostaddr) == (
            seen.dbname,
            seen.user,
            seen.host,
            seen.port,
            seen.hostaddr,
        )
        assert info.get_parameters()["dbname"] == seen.dbname
        assert "password" not in info.dsn
        assert info.password == seen.password
        assert (info.encoding, info.vendor, info.server_version) == ("utf-8", "PostgreSQL", seen.server_version)
        assert info.full_protocol_version == seen.full_protocol_version
        assert info.options == "-c application_name=told"
        assert info.parameter_status("application_name") == "told"
        assert info.error_message == ""
        assert info.timezone == seen.timezone
        assert (info.status, info.transaction_status, info.pipeline_status) == (
            ConnStatus.OK,
            TransactionStatus.IDLE,
            PipelineStatus.OFF,
        )


@covers(AsyncConnection, "add_notice_handler remove_notice_handler")
async def test_notices(dsn: str) -> None:
    heard: list[str | None] = []

    def hear(notice: errors.Diagnostic) -> None:
        heard.append(notice.message_primary)

    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        connection.add_notice_handler(hear)
        await connection.execute("DO $$ BEGIN RAISE NOTICE 'listen'; END $$")
        connection.remove_notice_handler(hear)
        await connection.execute("DO $$ BEGIN RAISE NOTICE 'nobody'; END $$")
    assert heard == ["listen"]


@covers(AsyncConnection, "add_notify_handler remove_notify_handler")
async def test_handlers_of_notifications(dsn: str, witness: Witness) -> None:
    heard: list[str] = []

    def hear(notification: psycopg.Notify) -> None:
        heard.append(notification.payload)

    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        connection.add_notify_handler(hear)
        await connection.execute("LISTEN news")
        witness.run("SELECT pg_notify('news', 'one')")
        await connection.execute("SELECT 1")
        connection.remove_notify_handler(hear)
        witness.run("SELECT pg_notify('news', 'two')")
        await connection.execute("SELECT 1")
    assert heard == ["one"]


@covers(AsyncConnection, "notifies")
async def test_notifies(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("LISTEN news")
        witness.run("SELECT pg_notify('news', 'before')")
        assert await works(connection)
        witness.run("SELECT pg_notify('news', 'after')")
        heard = [each.payload async for each in connection.notifies(stop_after=2, timeout=5)]
        assert heard == ["before", "after"]
        assert [each async for each in connection.notifies(timeout=0)] == []
        witness.run("SELECT pg_notify('news', 'last')")
        notifies = connection.notifies()
        async for each in notifies:
            heard.append(each.payload)
            await notifies.aclose()
        assert heard[-1] == "last"
        assert await works(connection)


@covers(AsyncConnection, "notifies")
async def test_a_statement_of_the_task_that_iterates_over_notifies_is_refused_at_once(dsn: str, witness: Witness) -> None:
    """psycopg would wait for ever."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("LISTEN news")
        witness.run("SELECT pg_notify('news', 'one')")
        with anyio.fail_after(5):
            async with aclosing(connection.notifies()) as notifies:
                await anext(notifies)
                with pytest.raises(psycopg.ProgrammingError, match="this very task holds it"):
                    await connection.execute("SELECT 1")
        assert await works(connection)


@covers(AsyncConnection, "notifies")
async def test_iterations_that_are_left_early_free_the_connection(dsn: str, witness: Witness) -> None:
    """By whoever uses it next; psycopg leaves it to the event loop, some time later."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("LISTEN news")
        witness.run("SELECT pg_notify('news', 'one')")
        with anyio.fail_after(5):
            async for _ in connection.notifies():
                break
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)
            async for _ in connection.cursor().stream("SELECT * FROM generate_series(1, 1000000)", size=100):
                break
            assert await (await connection.execute("SELECT 2")).fetchone() == (2,)
            with anyio.CancelScope() as scope:
                async for _ in connection.cursor().stream("SELECT * FROM generate_series(1, 1000000)", size=100):
                    scope.cancel()
                    await anyio.lowlevel.checkpoint()
            assert await (await connection.execute("SELECT 3")).fetchone() == (3,)
            assert await works(connection)
            async for _ in connection.cursor().stream("SELECT * FROM generate_series(1, 1000000)", size=100):
                break
            await connection.close()


@covers(AsyncConnection, "cancel cancel_safe")
@pytest.mark.parametrize("way", ["cancel", "cancel_safe"])
async def test_cancelling_the_statement_of_another_task(dsn: str, witness: Witness, way: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:

        async def stop() -> None:
            await witness.until_waiting(connection.info.backend_pid)
            if way == "cancel":
                connection.cancel()
            else:
                await connection.cancel_safe(timeout=5)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(stop)
                with pytest.raises(errors.QueryCanceled):
                    await connection.execute("SELECT pg_sleep(60)")
        assert await works(connection)


@covers(AsyncConnection, "wait")
async def test_a_generator_of_psycopgs_own(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        connection.pgconn.send_query(b"SELECT 7")
        (result,) = await connection.wait(fetch_many(connection.pgconn), interval=0.1)
        assert result.get_value(0, 0) == b"7"


@covers(
    AsyncConnection,
    "Warning Error InterfaceError DatabaseError DataError OperationalError IntegrityError InternalError ProgrammingError NotSupportedError",
)
async def test_the_errors_are_attributes_too(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        assert connection.Warning is psycopg.Warning
        assert connection.Error is psycopg.Error
        assert connection.InterfaceError is psycopg.InterfaceError
        assert connection.DatabaseError is psycopg.DatabaseError
        assert connection.DataError is psycopg.DataError
        assert connection.OperationalError is psycopg.OperationalError
        assert connection.IntegrityError is psycopg.IntegrityError
        assert connection.InternalError is psycopg.InternalError
        assert connection.ProgrammingError is psycopg.ProgrammingError
        assert connection.NotSupportedError is psycopg.NotSupportedError
        with pytest.raises(connection.DataError):
            await connection.execute("SELECT 1 / 0")


@covers(AsyncConnection, "prepare_threshold prepared_max")
async def test_statements_are_prepared_when_they_were_used_often_enough(dsn: str) -> None:
    count = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%* 2%'"
    async with await AnyIOConnection.connect(dsn, autocommit=True, prepare_threshold=2) as connection:
        assert connection.prepare_threshold == 2
        assert connection.prepared_max == 100
        for number, prepared in ((1, 0), (2, 0), (3, 1), (4, 1)):
            assert await (await connection.execute("SELECT %s::int * 2", [number])).fetchone() == (2 * number,)
            assert await (await connection.execute(count, prepare=False)).fetchone() == (prepared,)
        await connection.execute("SELECT %s::int * 2 + 1", [1], prepare=True)
        assert await (await connection.execute(count, prepare=False)).fetchone() == (2,)
        connection.prepared_max = 2
        await connection.execute("SELECT %s::int * 2 + 2", [1], prepare=True)
        assert await (await connection.execute(count, prepare=False)).fetchone() == (2,), "the oldest was given up"


@covers(AsyncConnection, "rollback commit closed")
async def test_the_block_commits_or_rolls_back_and_closes(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text)")
    async with await AnyIOConnection.connect(dsn) as connection:
        await connection.execute("INSERT INTO person VALUES ('Ada')")
    assert connection.closed
    with pytest.raises(LookupError):
        async with await AnyIOConnection.connect(dsn) as connection:
            await connection.execute("INSERT INTO person VALUES ('Grace')")
            raise LookupError
    assert connection.closed
    async with await AnyIOConnection.connect(dsn) as connection:
        await connection.execute("INSERT INTO person VALUES ('Linus')")
        await connection.rollback()
        await connection.execute("INSERT INTO person VALUES ('Tove')")
        await connection.commit()
        await connection.close()
    assert witness.value("SELECT string_agg(name, ' ') FROM person") == "Ada Tove"
