"""Connecting: every host in turn, errors that name each reason and no password, and time limits that hold."""

import socket
import threading
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row

from tests.wire.witness import Witness, works
from trioorm.embedded import Server
from trioorm.errors import AuthenticationFailed, ConnectFailed, UsageError
from trioorm.wire import AnyIOConnection


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine on which nobody listens: bound, so that nobody else can take it meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield listener.getsockname()[1]


def _address(*, hosts: str, ports: str, connect_timeout: int = 10) -> str:
    return make_conninfo(host=hosts, port=ports, user="postgres", dbname="postgres", connect_timeout=connect_timeout)


def _assert_untold(secret: str, error: BaseException | None) -> None:
    """A traceback prints the error with its causes; none of them may tell the secret."""
    while error is not None:
        assert secret not in f"{error!s} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


async def test_connects_and_closes(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn) as connection:
        pid = connection.info.backend_pid
        assert witness.is_alive(pid)
        assert await works(connection)
    assert connection.closed
    await witness.until_gone(pid)


async def test_takes_psycopgs_options(dsn: str) -> None:
    connection = await AnyIOConnection[DictRow].connect(
        dsn, autocommit=True, prepare_threshold=None, row_factory=dict_row, application_name="by keyword"
    )
    async with connection:
        assert connection.autocommit
        assert connection.prepare_threshold is None
        cursor = await connection.execute("SELECT current_setting('application_name') AS name")
        assert await cursor.fetchall() == [{"name": "by keyword"}]
        assert connection.is_idle, "with autocommit no transaction is open after a statement"


async def test_a_unix_socket_that_is_not_there_is_named(tmp_path: object) -> None:
    with pytest.raises(ConnectFailed, match="To fix it") as failure:
        await AnyIOConnection.connect(_address(hosts=str(tmp_path), ports="5432"))
    assert f"{tmp_path}" in str(failure.value)
    assert failure.value.safe_to_retry
    assert not isinstance(failure.value, AuthenticationFailed)


async def test_a_port_on_which_nobody_listens_is_named(closed_port: int) -> None:
    with pytest.raises(ConnectFailed, match="Connection refused") as failure:
        await AnyIOConnection.connect(_address(hosts="127.0.0.1", ports=str(closed_port)))
    assert f"{closed_port}" in str(failure.value)
    assert "attempts failed" not in str(failure.value), "there was only one"


async def test_each_of_several_hosts_gives_its_reason(closed_port: int, tmp_path: object) -> None:
    with pytest.raises(ConnectFailed) as failure:
        await AnyIOConnection.connect(_address(hosts=f"{tmp_path},127.0.0.1", ports=f"5432,{closed_port}"))
    text = str(failure.value)
    assert "2 attempts failed" in text
    assert f"{tmp_path}" in text
    assert "No such file or directory" in text
    assert "Connection refused" in text


async def test_takes_the_next_host_when_the_first_is_down(dsn: str, closed_port: int) -> None:
    parts = conninfo_to_dict(dsn)
    address = make_conninfo(dsn, host=f"127.0.0.1,{parts['host']}", port=f"{closed_port},{parts['port']}")
    async with await AnyIOConnection.connect(address) as connection:
        assert await works(connection)


async def test_connects_over_tcp_with_a_password(rough_server: Server) -> None:
    async with await AnyIOConnection.connect(rough_server.conninfo(tcp=True)) as connection:
        assert connection.pgconn.used_password
        assert await works(connection)


async def test_a_wrong_password_is_refused_without_being_told(rough_server: Server) -> None:
    address = make_conninfo(rough_server.conninfo(tcp=True), password="swordfish-4711")
    with pytest.raises(AuthenticationFailed, match="To fix it: check the user, the password") as failure:
        await AnyIOConnection.connect(address)
    assert not failure.value.safe_to_retry
    assert failure.value.sqlstate == "28P01"
    _assert_untold("swordfish", failure.value)
    assert isinstance(failure.value, psycopg.OperationalError)
    assert failure.value.pgconn is not None
    assert failure.value.pgconn.used_password
    assert "swordfish" not in repr(failure.value.pgconn), "where psycopg's own has it"


async def test_a_missing_password_is_refused(rough_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    with pytest.raises(AuthenticationFailed) as failure:
        await AnyIOConnection.connect(_address(hosts="127.0.0.1", ports=str(rough_server.port)))
    assert isinstance(failure.value, psycopg.OperationalError)
    assert failure.value.pgconn is not None
    assert failure.value.pgconn.needs_password, "psycopg's way of asking whether to ask for one"


async def test_a_missing_database_is_named(server_dsn: str) -> None:
    with pytest.raises(AuthenticationFailed, match='database "nowhere" does not exist') as failure:
        await AnyIOConnection.connect(make_conninfo(server_dsn, dbname="nowhere"))
    assert failure.value.sqlstate == "3D000"


async def test_a_missing_role_is_named(server_dsn: str) -> None:
    with pytest.raises(AuthenticationFailed, match='role "nobody at all" does not exist'):
        await AnyIOConnection.connect(make_conninfo(server_dsn, user="nobody at all"))


async def test_a_host_name_is_looked_up_beside_the_event_loop(rough_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lookup stands still until the event loop has gone on: were it made on the loop, it would stand for ever."""
    loop_went_on = threading.Event()
    look_up = socket.getaddrinfo

    def slow_look_up(host: str, port: str, *, proto: int, type: int) -> object:
        assert loop_went_on.wait(5), "the event loop stood still during the lookup"
        return look_up(host, port, proto=proto, type=type)

    monkeypatch.setattr(socket, "getaddrinfo", slow_look_up)
    address = make_conninfo(rough_server.conninfo(tcp=True), host="localhost")
    connected = False

    async def connect() -> None:
        nonlocal connected
        async with await AnyIOConnection.connect(address) as connection:
            connected = await works(connection)

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(connect)
        await anyio.lowlevel.checkpoint()
        loop_went_on.set()
    assert connected


async def test_a_host_name_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConnectFailed, match=r"nowhere\.invalid"):
        await AnyIOConnection.connect(_address(hosts="nowhere.invalid", ports="5432"))


async def test_connect_timeout_bounds_each_attempt(black_hole: int) -> None:
    """The least that libpq allows is 2 s, so two attempts take 4."""
    started_at = anyio.current_time()
    with pytest.raises(ConnectFailed, match="timeout expired"):
        await AnyIOConnection.connect(_address(hosts="127.0.0.1", ports=str(black_hole), connect_timeout=2))
    assert 1.9 < anyio.current_time() - started_at < 3.0


async def test_a_scope_ends_connecting_at_once(black_hole: int) -> None:
    with anyio.fail_after(1.0):
        with anyio.move_on_after(0.02) as scope:
            await AnyIOConnection.connect(_address(hosts="127.0.0.1", ports=str(black_hole)))
        assert scope.cancelled_caught


async def test_a_full_server_says_so_and_may_be_asked_again(rough_server: Server) -> None:
    with psycopg.connect(rough_server.conninfo(), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN CONNECTION LIMIT 1")
    address = make_conninfo(rough_server.conninfo(), user="guest")
    async with await AnyIOConnection.connect(address):
        with pytest.raises(ConnectFailed, match="too many connections") as failure:
            await AnyIOConnection.connect(address)
    assert failure.value.safe_to_retry


async def test_a_malformed_address_is_refused_without_its_password() -> None:
    with pytest.raises((psycopg.ProgrammingError, UsageError)) as failure:
        await AnyIOConnection.connect("postgresql://ada:sword fish@host/shop")
    _assert_untold("sword fish", failure.value)


@pytest.mark.parametrize("address", ["dbnam=shop password=swordfish", "postgresql://ada:swordfish@host/shop?connecttimeout=3"])
async def test_a_misspelt_option_is_told_by_the_one_that_was_meant(address: str) -> None:
    with pytest.raises(psycopg.ProgrammingError, match=r"misspelt, and probably meant for (dbname|connect_timeout);") as failure:
        await AnyIOConnection.connect(address)
    _assert_untold("swordfish", failure.value)


async def test_the_rest_of_a_password_with_a_space_is_not_taken_for_an_option() -> None:
    with pytest.raises(psycopg.ProgrammingError) as failure:
        await AnyIOConnection.connect("host=db password=sword fish=4711")
    _assert_untold("fish", failure.value)
    assert "misspelt" not in str(failure.value)
