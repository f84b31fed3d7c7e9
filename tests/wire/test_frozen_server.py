"""A server that stands still (SIGSTOP): connections stay open and nothing answers, yet every cleanup ends in time."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager

import anyio
import psycopg
import pytest

from tests.wire.witness import Witness, step, works
from trioorm.embedded import Server
from trioorm.errors import CommitOutcomeUnknown, ConnectFailed, ConnectionLost
from trioorm.wire import AnyIOConnection, CopyIn, OnCancel, RowStream

_BUDGET_SECONDS = 0.2
_SLACK_SECONDS = 0.6  # for a busy machine; a cleanup without a bound would last for ever
_LONG = "SELECT pg_sleep(60)"

Operation = Callable[[AnyIOConnection], Awaitable[object]]


@pytest.fixture
def server(rough_server: Server) -> Server:
    return rough_server


@pytest.fixture(autouse=True)
def _thawed(server: Server) -> Generator[None]:
    """Frozen by the tests, so that a failed one leaves the next a server that answers."""
    yield
    server.thaw()


@pytest.fixture
def own_witness(server: Server) -> Generator[Witness]:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        witness = Witness(connection)
        witness.run("DROP TABLE IF EXISTS person")
        witness.run("CREATE TABLE person (name text)")
        yield witness
        server.thaw()
        # A frozen server hears of its clients' end when it thaws: nothing goes on running.
        others = "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        assert witness.becomes_true(others, within_seconds=2)


@asynccontextmanager
async def _connection(server: Server) -> AsyncGenerator[AnyIOConnection]:
    connection = await AnyIOConnection.connect(server.conninfo(), autocommit=True)
    connection.cleanup_timeout_seconds = _BUDGET_SECONDS
    async with connection:
        yield connection


async def _cancel_when_frozen(
    server: Server, witness: Witness, connection: AnyIOConnection, operation: Operation, *, event: str = "PgSleep"
) -> float:
    """Start an operation, freeze the server under it, cancel, and return how many seconds it took to end."""
    cancelled_at = ended_at = 0.0

    async def operate() -> None:
        nonlocal ended_at
        try:
            await operation(connection)
        finally:
            ended_at = anyio.current_time()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(operate)
            await witness.until_waiting(connection.info.backend_pid, event)
            server.freeze()
            cancelled_at = anyio.current_time()
            nursery.cancel_scope.cancel()
    return ended_at - cancelled_at


async def test_stopping_is_bounded_and_the_connection_closed(server: Server, own_witness: Witness) -> None:
    async with _connection(server) as connection:
        lasted = await _cancel_when_frozen(server, own_witness, connection, lambda connection: connection.fly([step(_LONG)]))
        assert _BUDGET_SECONDS * 0.9 < lasted < _BUDGET_SECONDS + _SLACK_SECONDS
        assert connection.closed
        assert not connection.is_idle


async def test_stopping_psycopgs_statement_is_bounded(server: Server, own_witness: Witness) -> None:
    async with _connection(server) as connection:
        lasted = await _cancel_when_frozen(server, own_witness, connection, lambda connection: connection.execute(_LONG))
        assert lasted < _BUDGET_SECONDS + _SLACK_SECONDS
        assert connection.closed


@pytest.mark.parametrize("by", ["its timeout", "a cancellation"])
async def test_a_cancel_request_that_is_given_up_on_its_way_closes_the_connection(server: Server, own_witness: Witness, by: str) -> None:
    """It might hit whatever statement comes next."""
    async with _connection(server) as connection:
        server.freeze()
        started_at = anyio.current_time()
        if by == "its timeout":
            with pytest.raises(psycopg.errors.CancellationTimeout):
                await connection.cancel_safe(timeout=_BUDGET_SECONDS)
        else:
            with anyio.move_on_after(0.01) as scope:
                await connection.cancel_safe()
            assert scope.cancelled_caught
        lasted = anyio.current_time() - started_at
        assert _BUDGET_SECONDS * 0.9 < lasted < _BUDGET_SECONDS + _SLACK_SECONDS
        assert connection.closed


async def test_the_outcome_of_a_settled_write_is_unknown(server: Server, own_witness: Witness) -> None:
    async def write(connection: AnyIOConnection) -> None:
        with pytest.raises(CommitOutcomeUnknown, match="read the row back") as failure:
            await connection.fly([step("INSERT INTO person SELECT 'Ada' FROM pg_sleep(60)")], on_cancel=OnCancel.SETTLE)
        assert not failure.value.safe_to_retry
        assert failure.value.transaction_id is None

    async with _connection(server) as connection:
        lasted = await _cancel_when_frozen(server, own_witness, connection, write)
        assert lasted < _BUDGET_SECONDS + _SLACK_SECONDS
        assert connection.closed


async def test_finishing_has_the_bound_that_it_was_given(server: Server, own_witness: Witness) -> None:
    async def finish(connection: AnyIOConnection) -> None:
        with pytest.raises(ConnectionLost, match=r"no answer came within 0\.4 s"):
            # Short, since what is to be finished is not cancelled on the server.
            await connection.fly([step("SELECT pg_sleep(1)")], on_cancel=OnCancel.FINISH, seconds=0.4)

    async with _connection(server) as connection:
        lasted = await _cancel_when_frozen(server, own_witness, connection, finish)
        assert 0.36 < lasted < 0.4 + _SLACK_SECONDS
        assert connection.closed


async def test_closing_a_stream_is_bounded(server: Server, own_witness: Witness) -> None:
    async def read(connection: AnyIOConnection) -> None:
        stream = RowStream(connection, step("SELECT pg_sleep(0.3) FROM generate_series(1, 100)"), chunk_rows=1)
        try:
            while await stream.next_chunk() is not None:
                pass
        finally:
            assert await stream.close() is None

    async with _connection(server) as connection:
        lasted = await _cancel_when_frozen(server, own_witness, connection, read)
        assert lasted < _BUDGET_SECONDS + _SLACK_SECONDS
        assert connection.closed


async def test_aborting_a_copy_whose_socket_is_full_is_bounded(server: Server, own_witness: Witness) -> None:
    async def copy(connection: AnyIOConnection) -> None:
        copying = CopyIn(connection, b"COPY person FROM STDIN")
        await copying.start()
        try:
            server.freeze()
            with anyio.fail_after(0.05):
                while True:
                    await copying.write(b"Ada\n" * 10_000)
        finally:
            started_at = anyio.current_time()
            assert await copying.abort() is None
            assert anyio.current_time() - started_at < _BUDGET_SECONDS + _SLACK_SECONDS

    async with _connection(server) as connection:
        with pytest.raises(TimeoutError):
            await copy(connection)
        assert connection.closed
    server.thaw()
    assert own_witness.value("SELECT count(*) FROM person") == 0


async def test_a_cleanup_flight_is_bounded(server: Server, own_witness: Witness) -> None:
    async with _connection(server) as connection:
        server.freeze()
        started_at = anyio.current_time()
        with anyio.CancelScope() as scope:
            scope.cancel()
            assert await connection.fly_shielded([step("SELECT 1")], seconds=0.3) == (None, None)
        assert 0.27 < anyio.current_time() - started_at < 0.3 + _SLACK_SECONDS
        assert connection.closed


async def test_a_server_that_thaws_in_time_costs_nothing(server: Server, own_witness: Witness) -> None:
    async with _connection(server) as connection:
        connection.cleanup_timeout_seconds = 5
        async with anyio.create_task_group() as nursery:

            async def long_statement() -> None:
                await connection.fly([step(_LONG)])

            nursery.start_soon(long_statement)
            await own_witness.until_waiting(connection.info.backend_pid)
            server.freeze()
            nursery.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.2)  # it is cancelled, and asks a server that does not answer
            server.thaw()
        assert await works(connection)


async def test_connecting_is_left_at_once(server: Server, own_witness: Witness) -> None:
    server.freeze()
    with anyio.fail_after(1):
        with anyio.move_on_after(0.05) as scope:
            await AnyIOConnection.connect(server.conninfo())
        assert scope.cancelled_caught
    with pytest.raises(ConnectFailed, match="timeout expired"):
        await AnyIOConnection.connect(server.conninfo(), connect_timeout=2)


def test_asyncios_cancels_during_a_bounded_cleanup_are_held(server: Server, own_witness: Witness) -> None:
    async def main() -> None:
        async with _connection(server) as connection:

            async def long_statement() -> None:
                await connection.fly([step(_LONG)])

            task = asyncio.create_task(long_statement())
            await own_witness.until_waiting(connection.info.backend_pid)
            server.freeze()
            cancelled_at = anyio.current_time()
            for _ in range(5):
                task.cancel()
                await asyncio.sleep(_BUDGET_SECONDS / 10)
            await asyncio.wait([task])
            assert task.cancelled()
            assert _BUDGET_SECONDS * 0.9 < anyio.current_time() - cancelled_at < _BUDGET_SECONDS + _SLACK_SECONDS
            assert connection.closed

    asyncio.run(main())
