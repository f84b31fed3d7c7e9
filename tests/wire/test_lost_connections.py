"""Connections that break: the error says whether the work may be done again, and no task, reader or descriptor is left behind."""

import sys
from collections.abc import Awaitable, Callable
from types import FrameType

import anyio
import anyio.lowlevel
import psycopg
import pytest
from psycopg.pq import TransactionStatus

from tests.wire.witness import Witness, only_value, step, works
from trioorm.embedded import Server
from trioorm.errors import CommitOutcomeUnknown, ConnectionLost, QueryCanceled
from trioorm.wire import AnyIOConnection, CopyIn, CopyOut, OnCancel, RowStream, command, error_from_result

_LONG = "SELECT pg_sleep(60)"


async def _while_waiting(witness: Witness, connection: AnyIOConnection, fault: Callable[[], object], wait: Awaitable[object]) -> None:
    """Let a fault strike while the connection's statement runs."""

    async def strike() -> None:
        await witness.until_waiting(connection.info.backend_pid)
        fault()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(strike)
            await wait


async def _lose(witness: Witness, connection: AnyIOConnection, on_cancel: OnCancel) -> BaseException:
    """What a flight raises whose session the administrator ends."""
    raised: list[BaseException] = []

    async def fly() -> None:
        with pytest.raises((ConnectionLost, CommitOutcomeUnknown)) as failure:
            await connection.fly([step(_LONG)], on_cancel=on_cancel)
        raised.append(failure.value)

    pid = connection.info.backend_pid
    await _while_waiting(witness, connection, lambda: witness.terminate(pid), fly())
    return raised[0]


@pytest.mark.parametrize("on_cancel", OnCancel)
async def test_a_terminated_session_says_so_and_is_safe_to_retry(dsn: str, witness: Witness, on_cancel: OnCancel) -> None:
    """The server said why before it closed, so the statement cannot have taken effect, a write neither."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        error = await _lose(witness, connection, on_cancel)
        assert isinstance(error, ConnectionLost)
        assert "terminating connection due to administrator command" in str(error)
        assert error.safe_to_retry
        assert connection.closed
        assert connection.info.transaction_status == TransactionStatus.UNKNOWN


async def test_a_closed_connection_sends_nothing_and_is_safe_to_retry(dsn: str) -> None:
    connection = await AnyIOConnection.connect(dsn, autocommit=True)
    await connection.close()
    for on_cancel in OnCancel:
        with pytest.raises(ConnectionLost) as failure:
            await connection.fly([step("SELECT 1")], on_cancel=on_cancel)
        assert failure.value.safe_to_retry
    assert not connection.is_idle


async def test_an_idle_connection_that_was_terminated_is_seen_by_its_unread_input(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        assert await works(connection)
        assert not connection.has_unread_input()
        witness.terminate(connection.info.backend_pid)
        assert connection.has_unread_input()
        with pytest.raises(ConnectionLost, match="terminating connection") as failure:
            await connection.fly([step("SELECT 1")])
        assert failure.value.safe_to_retry
        assert connection.closed


async def test_the_outcome_of_a_write_is_unknown_when_the_server_crashes(rough_server: Server) -> None:
    with psycopg.connect(rough_server.conninfo(), autocommit=True) as other:
        async with await AnyIOConnection.connect(rough_server.conninfo(), autocommit=True) as connection:

            async def write() -> None:
                with pytest.raises(CommitOutcomeUnknown) as failure:
                    await connection.fly([step("CREATE TABLE never_there AS SELECT 1 FROM pg_sleep(60)")], on_cancel=OnCancel.SETTLE)
                assert not failure.value.safe_to_retry

            await _while_waiting(Witness(other), connection, rough_server.kill, write())
            assert connection.closed
    rough_server.start()


async def test_a_read_is_safe_to_retry_when_the_server_crashes(rough_server: Server) -> None:
    with psycopg.connect(rough_server.conninfo(), autocommit=True) as other:
        async with await AnyIOConnection.connect(rough_server.conninfo(), autocommit=True) as connection:

            async def read() -> None:
                with pytest.raises(ConnectionLost) as failure:
                    await connection.fly([step(_LONG)])
                assert failure.value.safe_to_retry

            await _while_waiting(Witness(other), connection, rough_server.kill, read())
    rough_server.start()


async def test_psycopgs_statement_raises_psycopgs_error(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:

        async def execute() -> None:
            with pytest.raises(psycopg.OperationalError):
                await connection.execute(_LONG)

        pid = connection.info.backend_pid
        await _while_waiting(witness, connection, lambda: witness.terminate(pid), execute())


async def test_a_stream_that_breaks_off_says_so(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:

        async def read() -> None:
            stream = RowStream(connection, step("SELECT pg_sleep(0.2) FROM generate_series(1, 100)"), chunk_rows=1)
            with pytest.raises(ConnectionLost, match="terminating connection") as failure:
                while await stream.next_chunk() is not None:
                    pass
            assert failure.value.safe_to_retry
            assert await stream.close() is None

        pid = connection.info.backend_pid
        await _while_waiting(witness, connection, lambda: witness.terminate(pid), read())
        assert not connection.is_idle


async def test_a_copy_that_breaks_off_says_so(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text)")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        copying = CopyIn(connection, b"COPY person FROM STDIN")
        await copying.start()
        witness.terminate(connection.info.backend_pid)
        with pytest.raises(ConnectionLost) as failure:
            for _ in range(1000):
                await copying.write(b"Ada\n" * 10_000)
        assert failure.value.safe_to_retry
        assert await copying.abort() is None
        assert connection.closed
    assert witness.value("SELECT count(*) FROM person") == 0


async def test_closing_wakes_the_task_that_waits(dsn: str, witness: Witness) -> None:
    for on_cancel, expected in (
        (OnCancel.STOP, ConnectionLost),
        (OnCancel.SETTLE, CommitOutcomeUnknown),
        (OnCancel.FINISH, ConnectionLost),
    ):
        async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
            pid = connection.info.backend_pid

            async def fly(connection: AnyIOConnection, on_cancel: OnCancel, expected: type[Exception]) -> None:
                with pytest.raises(expected, match="closed"):
                    await connection.fly([step("SELECT pg_sleep(0.5)")], on_cancel=on_cancel)

            await _while_waiting(witness, connection, connection.close_nowait, fly(connection, on_cancel, expected))
            await witness.until_gone(pid)


async def test_closing_wakes_the_task_that_waits_in_psycopgs_statement(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:

        async def execute() -> None:
            with pytest.raises(psycopg.OperationalError, match="closed"):
                await connection.execute("SELECT pg_sleep(0.5)")

        await _while_waiting(witness, connection, connection.close_nowait, execute())


def test_a_connection_whose_loop_has_ended_may_still_be_closed(dsn: str) -> None:
    async def main() -> AnyIOConnection:
        connection = await AnyIOConnection.connect(dsn, autocommit=True)
        assert await works(connection)
        return connection

    connection = anyio.run(main, backend="trio")
    connection.close_nowait()
    assert connection.closed


@pytest.mark.parametrize("loop", ["trio", "asyncio", "uvloop"])
def test_closing_while_a_task_writes_leaves_its_descriptor_to_the_next(dsn: str, witness: Witness, loop: str) -> None:
    """A descriptor's number is given out again at once; what the old connection had registered must not stand in the way of the new one."""

    async def main() -> None:
        connection = await AnyIOConnection.connect(dsn, autocommit=True)
        fileno = connection.pgconn.socket

        async def write() -> None:
            with pytest.raises(ConnectionLost, match="closed"):
                await connection.fly([step("SELECT pg_sleep(0.5)"), step("SELECT length($1)", "x" * 30_000_000)])

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(write)
            await witness.until_waiting(connection.info.backend_pid)
            connection.close_nowait()
            async with await AnyIOConnection.connect(dsn, autocommit=True) as following:
                assert following.pgconn.socket == fileno, "the test means nothing otherwise"
                for _ in range(3):
                    assert await works(following)
                assert await only_value(following, "SELECT length($1)", "x" * 5_000_000) == "5000000"

    backend = "trio" if loop == "trio" else "asyncio"
    anyio.run(main, backend=backend, backend_options={"use_uvloop": True} if loop == "uvloop" else {})


async def _calls_while_idle() -> int:
    """How many functions are called in a fifth of a second in which there is nothing to do. How much time a spinning loop is given depends
    on what else the machine does."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        await anyio.sleep(0.2)
    finally:
        sys.setprofile(None)
    return calls


async def test_a_dead_connection_does_not_keep_the_loop_busy(dsn: str, witness: Witness) -> None:
    """A reader left registered on a socket at its end would be called without pause."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        assert await works(connection)
        witness.terminate(connection.info.backend_pid)
        await anyio.sleep(0.02)
        assert await _calls_while_idle() < 1000


async def test_a_paused_stream_does_not_keep_the_loop_busy(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        stream = RowStream(connection, step("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"), chunk_rows=10)
        assert await stream.next_chunk() is not None
        await anyio.sleep(0.02)
        assert await _calls_while_idle() < 1000
        await stream.close()
        assert await works(connection)


async def test_a_flight_inside_a_transaction_that_breaks_is_gone_whole(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text)")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.fly([command(b"BEGIN"), step("INSERT INTO person VALUES ('Ada')")])
        pid = connection.info.backend_pid
        witness.terminate(pid)
        with pytest.raises(ConnectionLost):
            await connection.fly([command(b"COMMIT")], on_cancel=OnCancel.FINISH)
    assert witness.value("SELECT count(*) FROM person") == 0


async def test_cleanup_on_a_broken_connection_gives_up_at_once(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.fly([command(b"BEGIN")])
        witness.terminate(connection.info.backend_pid)
        with anyio.fail_after(0.5):
            assert await connection.fly_shielded([command(b"ROLLBACK")], seconds=5) == (None, None)
        assert connection.closed


async def test_a_cancellation_by_somebody_else_is_the_statements_error(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:

        async def fly() -> None:
            [result] = await connection.fly([step(_LONG)])
            assert isinstance(error_from_result(result), QueryCanceled)

        pid = connection.info.backend_pid
        await _while_waiting(witness, connection, lambda: witness.run("SELECT pg_cancel_backend(%s)", pid), fly())
        assert await works(connection)


async def _read_stream(connection: AnyIOConnection) -> int:
    stream, rows = RowStream(connection, step("SELECT generate_series(1, 50)"), chunk_rows=20), 0
    while (chunk := await stream.next_chunk()) is not None:
        rows += chunk.ntuples
    return rows


async def _read_copy(connection: AnyIOConnection) -> int:
    copied, rows = CopyOut(connection, b"COPY (SELECT generate_series(1, 50)) TO STDOUT"), 0
    while (block := await copied.next_block()) is not None:
        rows += block.count(b"\n")
    return rows


async def _read_flight(connection: AnyIOConnection) -> int:
    return (await connection.fly([step("SELECT generate_series(1, 50)")]))[0].ntuples


@pytest.mark.parametrize("read", [_read_stream, _read_copy, _read_flight])
async def test_a_connection_closed_as_its_answer_wakes_the_reader_gives_no_part_of_it(
    dsn: str, read: Callable[[AnyIOConnection], Awaitable[int]]
) -> None:
    """By another task, in the very turn of the loop in which the answer came and before the reader has run."""
    for _ in range(3):
        connection = await AnyIOConnection.connect(dsn, autocommit=True)
        async with anyio.create_task_group() as nursery:

            async def close(connection: AnyIOConnection = connection) -> None:
                while connection.info.transaction_status != TransactionStatus.ACTIVE:
                    await anyio.lowlevel.checkpoint()
                while connection.pgconn.is_busy():
                    await anyio.lowlevel.checkpoint()
                connection.close_nowait()

            nursery.start_soon(close)
            try:
                assert await read(connection) == 50
                connection.close_nowait()  # it was too quick to be caught
            except ConnectionLost:
                pass
            nursery.cancel_scope.cancel()
        async with await AnyIOConnection.connect(dsn, autocommit=True) as other:  # perhaps of the same number
            assert await works(other)
