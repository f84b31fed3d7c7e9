"""The fault proxy does each thing to a real connection that it says, and nothing else."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Literal

import anyio
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.wire.witness import Witness, only_value, step, works
from trioorm.embedded import Server, ServerOptions, running_server
from trioorm.errors import ConnectFailed, ConnectionLost, UsageError
from trioorm.testing import Direction, FaultProxy, running_proxy
from trioorm.wire import AnyIOConnection, OnCancel

_BIG = "SELECT repeat('x', 100000)"
_SLEEP = "SELECT pg_sleep(60)"


@pytest.fixture
def witness(dsn: str) -> Iterator[Witness]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield Witness(connection)


@pytest.fixture
def proxy(dsn: str) -> Iterator[FaultProxy]:
    with running_proxy(dsn) as proxy:
        yield proxy


async def connect(proxy: FaultProxy) -> AnyIOConnection:
    return await AnyIOConnection.connect(proxy.conninfo(), autocommit=True)


async def test_passes_everything_on(proxy: FaultProxy) -> None:
    async with await connect(proxy) as connection:
        assert await only_value(connection, _BIG) == "x" * 100_000
        figures = proxy.statistics()
        assert (figures.accepted, figures.open, figures.cancel_requests, figures.cuts) == (1, 1, 0, 0)
        assert figures.bytes_to_client > 100_000
        assert figures.chunks_to_client > figures.chunks_to_server > 0
        again = await only_value(connection, "SELECT 1")
        assert again == "1"
        assert proxy.statistics().chunks_to_server > figures.chunks_to_server


def test_serves_a_client_without_an_event_loop(dsn: str) -> None:
    with running_proxy(dsn) as proxy, psycopg.connect(proxy.conninfo()) as connection:
        assert connection.execute("SELECT 7").fetchone() == (7,)
        assert "1 connections open" in repr(proxy)


@pytest.mark.parametrize("listen", ["unix", "tcp"])
@pytest.mark.parametrize("tcp", [False, True])
def test_listens_and_connects_on_both_kinds_of_sockets(tcp_server: Server, listen: Literal["unix", "tcp"], *, tcp: bool) -> None:
    with running_proxy(tcp_server.conninfo(tcp=tcp), listen=listen) as proxy:
        for _ in range(2):
            with psycopg.connect(proxy.conninfo()) as connection:
                assert connection.execute("SELECT 7").fetchone() == (7,)
        assert proxy.statistics().accepted == 2
        proxy.refuse()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(proxy.conninfo())
        proxy.accept()
        with psycopg.connect(proxy.conninfo()) as connection:
            assert connection.execute("SELECT 7").fetchone() == (7,)


@pytest.fixture(scope="module")
def tcp_server() -> Iterator[Server]:
    with running_server(options=ServerOptions(tcp=True)) as server:
        yield server


async def test_another_database_of_the_same_server(proxy: FaultProxy) -> None:
    connection = await AnyIOConnection.connect(proxy.conninfo("postgres"), autocommit=True)
    async with connection:
        assert await only_value(connection, "SELECT current_database()") == "postgres"


async def test_the_end_of_the_client_reaches_the_server(proxy: FaultProxy, witness: Witness) -> None:
    connection = await connect(proxy)
    pid = connection.info.backend_pid
    await connection.close()
    await witness.until_gone(pid)


async def test_the_end_of_the_session_reaches_the_client(proxy: FaultProxy, witness: Witness) -> None:
    async with await connect(proxy) as connection:
        witness.terminate(connection.info.backend_pid)
        with pytest.raises(ConnectionLost):
            await only_value(connection, "SELECT 1")


# Slow networks.


async def test_delay_makes_answers_late_by_both_directions(proxy: FaultProxy) -> None:
    async with await connect(proxy) as connection:
        proxy.delay(0.1)
        started_at = time.perf_counter()
        assert await works(connection)
        assert time.perf_counter() - started_at >= 0.2
        proxy.delay(0, Direction.TO_SERVER)
        started_at = time.perf_counter()
        assert await works(connection)
        assert time.perf_counter() - started_at >= 0.1
        proxy.heal()
        assert await works(connection)


async def test_delay_does_not_slow_down_what_passes(proxy: FaultProxy) -> None:
    async with await connect(proxy) as connection:
        proxy.delay(0.1, Direction.TO_CLIENT)
        started_at = time.perf_counter()
        [result] = await connection.fly([step("SELECT generate_series(1, 200)")])
        assert result.ntuples == 200  # as many messages; one after the other they would take 20 s
        assert time.perf_counter() - started_at < 5


async def test_drip_passes_so_many_bytes_a_second(proxy: FaultProxy) -> None:
    async with await connect(proxy) as connection:
        proxy.drip(400_000, Direction.TO_CLIENT)
        started_at = time.perf_counter()
        assert await only_value(connection, _BIG) == "x" * 100_000
        assert time.perf_counter() - started_at >= 0.24
        proxy.drip(None)
        assert await works(connection)


# Networks that stand still.


async def test_freeze_holds_everything_and_thaw_loses_nothing(proxy: FaultProxy, witness: Witness) -> None:
    async with await connect(proxy) as connection:
        proxy.freeze()
        with anyio.move_on_after(0.1) as waiting:
            await AnyIOConnection.connect(proxy.conninfo())
        assert waiting.cancelled_caught, "it was accepted, and nothing answers"
        answers: list[str | None] = []

        async def ask() -> None:
            answers.append(await only_value(connection, "SELECT 'answered'"))

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert answers == []
            assert witness.value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s", "%answered%") == 0, "nothing came through"
            proxy.thaw()
        assert answers == ["answered"]


async def test_a_black_hole_takes_everything_and_keeps_the_session(proxy: FaultProxy, witness: Witness) -> None:
    connection = await connect(proxy)
    pid = connection.info.backend_pid
    connection.cleanup_timeout_seconds = 0.1
    proxy.black_hole()
    with anyio.move_on_after(0.1):
        await only_value(connection, "SELECT 1")
    assert connection.closed, "neither the answer nor the cancel request came through"
    assert witness.is_alive(pid), "it was told of no end"
    figures = proxy.statistics()
    assert figures.swallowed_bytes > 0
    assert figures.cancel_requests == 1
    proxy.heal()
    async with await connect(proxy) as later:
        assert await works(later)


async def test_a_dropped_server_side_leaves_the_client_waiting(proxy: FaultProxy, witness: Witness) -> None:
    connection = await connect(proxy)
    pid = connection.info.backend_pid
    proxy.drop_server_side()
    await witness.until_gone(pid)
    connection.cleanup_timeout_seconds = 0.1
    with anyio.move_on_after(0.1) as scope:
        await only_value(connection, "SELECT 1")
    assert scope.cancelled_caught
    await connection.close()


async def test_a_dropped_client_side_leaves_the_session_behind(proxy: FaultProxy, witness: Witness) -> None:
    async with await connect(proxy) as connection:
        pid = connection.info.backend_pid
        proxy.drop_client_side()
        with pytest.raises(ConnectionLost):
            await only_value(connection, "SELECT 1")
    async with await connect(proxy) as later:
        assert await works(later)
        assert witness.is_alive(pid)
    witness.terminate(pid)


# Broken connections.


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_chunk_to_the_server_is_lost_or_delivered(proxy: FaultProxy, witness: Witness, *, delivered: bool) -> None:
    witness.run("CREATE TABLE person (name text)")
    async with await connect(proxy) as connection:
        pid = connection.info.backend_pid
        insert = step("INSERT INTO person VALUES ('Ada')")
        await connection.fly([step("SELECT 1")])
        sent = proxy.statistics().chunks_to_server
        await connection.fly([step("SELECT 2")])
        messages = proxy.statistics().chunks_to_server - sent  # of one statement; the last one, Sync, commits
        cut = proxy.cut_at(Direction.TO_SERVER, messages, delivered=delivered)
        with pytest.raises(ConnectionLost):
            await connection.fly([insert])
        assert cut.happened
        await witness.until_gone(pid)
    assert witness.value("SELECT count(*) FROM person") == int(delivered)
    assert proxy.statistics().cuts == 1


async def test_a_cut_counts_from_when_it_was_armed_and_hits_one_connection(proxy: FaultProxy) -> None:
    async with await connect(proxy) as first, await connect(proxy) as second:
        cut = proxy.cut_at(Direction.TO_CLIENT, delivered=False)
        assert proxy.statistics().cuts == 0
        with pytest.raises(ConnectionLost):
            await only_value(first, "SELECT 1")
        assert cut.happened
        assert await works(second)
        unused = proxy.cut_at(Direction.TO_CLIENT, delivered=False)
        proxy.disarm(unused)
        assert await works(second)
        assert not unused.happened


async def test_cuts_in_the_middle_of_a_message(proxy: FaultProxy) -> None:
    async with await connect(proxy) as connection:
        before = proxy.statistics().bytes_to_client
        proxy.cut_after(Direction.TO_CLIENT, 5_000)
        with pytest.raises(ConnectionLost):
            await only_value(connection, _BIG)
        assert proxy.statistics().bytes_to_client - before == 5_000


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_on_tcp_ends_in_good_order_or_by_reset(dsn: str, *, reset: bool) -> None:
    with running_proxy(dsn, listen="tcp") as proxy:
        port = int(conninfo_to_dict(proxy.conninfo())["port"] or 0)
        with socket.create_connection(("127.0.0.1", port)) as client:
            body = struct.pack("!I", 3 << 16) + b"user\0postgres\0\0"
            client.sendall(struct.pack("!I", len(body) + 4) + body)
            assert client.recv(1) == b"R"  # the server asks for, or confirms, who we are
            proxy.cut_all(reset=reset)
            if reset:
                with pytest.raises(ConnectionResetError):
                    _read_to_the_end(client)
            else:
                _read_to_the_end(client)
        assert proxy.statistics().open == 0


def _read_to_the_end(client: socket.socket) -> None:
    while client.recv(65_536):
        pass


async def test_a_cut_of_all(proxy: FaultProxy) -> None:
    async with await connect(proxy) as first, await connect(proxy) as second:
        proxy.cut_all()
        assert proxy.statistics().cuts == 2
        for connection in (first, second):
            with pytest.raises(ConnectionLost):
                await only_value(connection, "SELECT 1")


async def test_a_chunk_can_be_what_one_read_gives(dsn: str) -> None:
    with running_proxy(dsn, unit="read") as proxy:
        async with await connect(proxy) as connection:
            before = proxy.statistics().chunks_to_server
            assert await works(connection)
            assert proxy.statistics().chunks_to_server - before == 1  # several messages, sent as one


# The door and cancel requests.


async def test_refuses_new_connections_and_keeps_old_ones(proxy: FaultProxy) -> None:
    async with await connect(proxy) as connection:
        proxy.refuse()
        with pytest.raises(ConnectFailed):
            await connect(proxy)
        assert await works(connection)
        proxy.accept()
        async with await connect(proxy) as later:
            assert await works(later)


async def test_cancel_requests_pass(proxy: FaultProxy) -> None:
    async with await connect(proxy) as connection:
        with anyio.move_on_after(0.1):
            await connection.fly([step(_SLEEP)])
        assert proxy.statistics().cancel_requests >= 1
        assert await works(connection)


@pytest.mark.parametrize("spared", [False, True])
async def test_cancel_requests_can_be_spared(dsn: str, witness: Witness, *, spared: bool) -> None:
    with running_proxy(dsn, spare_cancel_requests=spared) as proxy:
        connection = await connect(proxy)
        pid = connection.info.backend_pid
        connection.cleanup_timeout_seconds = 0.2
        async with anyio.create_task_group() as nursery:

            async def sleep() -> None:
                await connection.fly([step(_SLEEP)], on_cancel=OnCancel.STOP)

            nursery.start_soon(sleep)
            await witness.until_waiting(pid)
            proxy.freeze()
            nursery.cancel_scope.cancel()
        assert connection.closed, "the answer did not come through"
        question = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
        assert witness.becomes_true(question, pid, within_seconds=1.0 if spared else 0.1) is spared
        proxy.thaw()
        await witness.until_gone(pid)


# The proxy itself.


def test_leaves_no_thread_behind_and_refuses_its_use_afterwards(dsn: str) -> None:
    before = set(threading.enumerate())
    with running_proxy(dsn) as proxy:
        connection = psycopg.connect(proxy.conninfo())
    assert set(threading.enumerate()) == before
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()
    with pytest.raises(UsageError, match="the proxy has ended"):
        proxy.statistics()


def test_an_error_of_the_body_leaves_bare(dsn: str) -> None:
    with pytest.raises(ZeroDivisionError), running_proxy(dsn):
        raise ZeroDivisionError


@pytest.mark.parametrize("address", ["dbname=shop", "host=a,b", "host=a port=1,2"])
def test_refuses_an_address_that_names_no_one_server(address: str) -> None:
    with pytest.raises(UsageError, match="a proxy stands in front of one server"), running_proxy(address):
        pass


def test_refuses_faults_that_mean_nothing(dsn: str) -> None:
    with running_proxy(dsn) as proxy:
        for wrong in (
            lambda: proxy.delay(-1),
            lambda: proxy.drip(0),
            lambda: proxy.cut_at(Direction.TO_CLIENT, 0, delivered=True),
            lambda: proxy.cut_after(Direction.TO_CLIENT, 0),
        ):
            with pytest.raises(UsageError, match="To fix it"):
                wrong()


def test_a_server_that_is_not_there_ends_the_clients_connection() -> None:
    with running_proxy("host=/nonexistent") as proxy, pytest.raises(psycopg.OperationalError):
        psycopg.connect(proxy.conninfo("postgres"))
