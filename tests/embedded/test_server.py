"""What one owner can do with its server, and that nothing is left of it."""

import select
import socket
import time
from pathlib import Path

import anyio
import psycopg
import pytest

from tests.embedded.owners import wait_until
from trioorm.embedded import AsyncServer, Server, ServerOptions, StopMode, open_server, running_server
from trioorm.errors import EmbeddedServerError, UsageError


def ask(conninfo: str, query: str) -> object:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def run(conninfo: str, statement: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement.encode())


async def test_serves_and_leaves_nothing() -> None:
    async with open_server() as server:
        pid = server.pid
        assert pid is not None
        ran = server.is_running
        assert ask(server.conninfo(), "SELECT 42") == 42
        assert f"running as process {pid}" in repr(server)
    assert (ran, server.is_running, server.pid) == (True, False, None)
    assert not Path(f"/proc/{pid}").exists()
    assert not server.directory.exists()


def test_serves_plain_python_and_leaves_nothing() -> None:
    with running_server() as server:
        pid = server.pid
        assert ask(server.conninfo(), "SELECT 42") == 42
    assert not Path(f"/proc/{pid}").exists()
    assert not server.directory.exists()


async def test_ends_the_sessions_of_clients_that_stay() -> None:
    async with open_server() as server:
        connection = psycopg.connect(server.conninfo())
    with pytest.raises(psycopg.OperationalError), connection:
        connection.execute("SELECT 1")


@pytest.mark.parametrize("after_seconds", [0.0, 0.02, 0.1, 0.2, 0.35, 0.5])
async def test_leaves_nothing_when_cancelled_while_starting(
    after_seconds: float, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(short_folder))
    with anyio.CancelScope() as scope:
        scope.cancel() if after_seconds == 0 else None
        scope.deadline = anyio.current_time() + after_seconds
        async with open_server():
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert list(short_folder.iterdir()) == []
    assert processes_below(short_folder) == []


async def test_a_cancelled_block_ends_its_server() -> None:
    seen: list[AsyncServer] = []
    pid = None
    with anyio.CancelScope() as scope:
        async with open_server() as server:
            seen.append(server)
            pid = server.pid
            scope.cancel()
            await anyio.sleep_forever()
    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()
    assert not seen[0].directory.exists()


async def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    seen: list[AsyncServer] = []
    with pytest.raises(ZeroDivisionError):
        async with open_server() as server:
            seen.append(server)
            raise ZeroDivisionError
    assert not seen[0].directory.exists()


def processes_below(folder: Path) -> list[str]:
    """The command lines that name the folder."""
    found: list[str] = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = (process / "cmdline").read_bytes().decode().replace("\0", " ")
            except OSError:
                continue
            if str(folder) in command:
                found.append(command)
    return found


async def test_restart_keeps_data_and_address() -> None:
    async with open_server() as server:
        address, pid = server.conninfo(), server.pid
        run(address, "CREATE TABLE kept AS SELECT 7 AS number")
        await server.restart()
        assert server.pid != pid
        assert server.conninfo() == address
        assert ask(address, "SELECT number FROM kept") == 7


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_stops_and_starts(own_server: Server, mode: StopMode) -> None:
    run(own_server.conninfo(), "CREATE TABLE kept AS SELECT 7 AS number")
    own_server.stop(mode)
    assert own_server.pid is None
    assert not own_server.is_running
    assert "stopped" in repr(own_server)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(own_server.conninfo())
    own_server.stop()  # nothing to do, and says nothing
    own_server.start()
    own_server.start()
    assert ask(own_server.conninfo(), "SELECT number FROM kept") == 7


def test_smart_stop_waits_for_clients(own_server: Server) -> None:
    with psycopg.connect(own_server.conninfo()) as connection:
        steps = own_server._membership.stop_steps("smart")  # pyright: ignore[reportPrivateUsage] - to look between two steps
        next(steps)
        wait_until(lambda: not own_server.is_running, "the server stops taking connections")
        next(steps)
        assert connection.execute("SELECT 1").fetchone() == (1,)
    for seconds in steps:
        time.sleep(seconds)
    assert own_server.pid is None


def test_what_was_committed_outlives_a_kill(own_server: Server) -> None:
    for number in range(3):
        run(own_server.conninfo(), f"CREATE TABLE kept_{number} AS SELECT {number} AS number")
        own_server.kill()
        assert own_server.pid is None
        own_server.start()
        assert "not properly shut down" in own_server.log_tail(lines=50)
        assert ask(own_server.conninfo(), f"SELECT number FROM kept_{number}") == number


def test_a_killed_server_leaves_no_shared_memory(own_server: Server) -> None:
    segment = (own_server.data_directory / "postmaster.pid").read_text().split("\n")[6].split()
    with running_server() as other:
        own_segment = (other.data_directory / "postmaster.pid").read_text().split("\n")[6].split()
        with psycopg.connect(other.conninfo()):
            mapped = Path(f"/proc/{other.pid}/maps").read_text()
            other.kill()
    assert segment in shared_memory_segments()
    assert own_segment not in shared_memory_segments()
    assert "/SYSV" in mapped
    assert "/dev/shm/" not in mapped  # what it shares otherwise lies in its folder


def shared_memory_segments() -> list[list[str]]:
    """Key and number of each System V segment of this machine."""
    return [line.split()[:2] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]


def test_a_frozen_server_answers_when_thawed(own_server: Server) -> None:
    with psycopg.connect(own_server.conninfo(), autocommit=True) as connection:
        own_server.freeze()
        connection.pgconn.send_query(b"SELECT 1")
        connection.pgconn.flush()
        assert select.select([connection.pgconn.socket], [], [], 0.3)[0] == []
        own_server.thaw()
        assert select.select([connection.pgconn.socket], [], [], 10)[0] != []
        while connection.pgconn.get_result() is not None:
            pass


async def test_a_frozen_server_is_ended_with_its_block() -> None:
    async with open_server() as server:
        pid = server.pid
        server.freeze()
    assert not Path(f"/proc/{pid}").exists()
    assert not server.directory.exists()


def test_several_servers_stand_side_by_side(own_server: Server) -> None:
    with running_server() as second, running_server() as third:
        servers = [own_server, second, third]
        assert len({server.pid for server in servers}) == 3
        folders = [ask(server.conninfo(), "SHOW data_directory") for server in servers]
        assert folders == [str(server.data_directory) for server in servers]


def test_a_database_is_a_copy_of_its_template(own_server: Server) -> None:
    template = own_server.create_database("first")
    run(template, "CREATE TABLE kept AS SELECT 7 AS number")
    copy = own_server.create_database('odd "name"', template="first")
    assert ask(copy, "SELECT number FROM kept") == 7
    with pytest.raises(EmbeddedServerError, match=r"'first' could not be copied from 'template1'.*already exists"):
        own_server.create_database("first")
    with psycopg.connect(copy):
        own_server.drop_database('odd "name"')
    own_server.drop_database('odd "name"')
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(copy)


async def test_a_database_can_be_made_without_blocking_the_loop() -> None:
    async with open_server() as server:
        assert ask(await server.create_database("made"), "SELECT current_database()") == "made"
        await server.drop_database("made")


# Options


def test_options_reach_the_server() -> None:
    options = ServerOptions(max_connections=17, settings={"work_mem": "5MB", "jit": False, "random_page_cost": 1.5})
    with running_server(options=options) as server:
        address = server.conninfo()
        names = [
            "max_connections",
            "work_mem",
            "jit",
            "random_page_cost",
            "fsync",
            "full_page_writes",
            "listen_addresses",
            "server_encoding",
        ]
        assert [ask(address, f"SHOW {name}") for name in names] == ["17", "5MB", "off", "1.5", "off", "off", "", "UTF8"]


def test_a_folder_that_stays_waits_for_the_disk(tmp_path: Path) -> None:
    with running_server(tmp_path / "database") as server:
        assert [ask(server.conninfo(), f"SHOW {name}") for name in ["fsync", "full_page_writes"]] == ["on", "on"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"max_connections": 0}, "at least 1"),
        ({"port": 5433}, r"without tcp=True(.|\n)*ServerOptions\(tcp=True, port=5433\)"),
        ({"tcp": True, "port": 70000}, "between 1 and 65535"),
        ({"settings": {"max_connections": 5}}, "use max_connections= instead"),
        ({"settings": {"x; y": 5}}, "no name of a server setting"),
    ],
)
def test_options_that_cannot_be_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ServerOptions(**wrong)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - wrong on purpose


async def test_a_setting_the_server_does_not_know_is_told_with_the_log() -> None:
    with pytest.raises(EmbeddedServerError, match=r"ended while it was starting(.|\n)*no_such_setting(.|\n)*To fix it") as caught:
        async with open_server(options=ServerOptions(settings={"no_such_setting": 1})):
            pytest.fail("it started")
    assert "no_such_setting" in caught.value.log_tail


# TCP


def test_listens_on_tcp_with_a_password() -> None:
    with running_server(options=ServerOptions(tcp=True)) as server:
        address = server.conninfo(tcp=True)
        assert ask(address, "SELECT inet_server_addr()") is not None
        assert f"port={server.port}" in address
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"host=127.0.0.1 port={server.port} user=postgres password=wrong")
        server.restart()
        assert server.conninfo(tcp=True) == address


def test_without_tcp_says_how_to_get_it(own_server: Server) -> None:
    with pytest.raises(EmbeddedServerError, match=r"ServerOptions\(tcp=True\)"):
        own_server.conninfo(tcp=True)


def test_takes_another_port_when_the_last_one_is_taken(tmp_path: Path) -> None:
    options = ServerOptions(tcp=True)
    with running_server(tmp_path / "database", options) as server:
        first = server.port
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first))
        other.listen()
        with running_server(tmp_path / "database", options) as server:
            assert server.port != first
            assert ask(server.conninfo(tcp=True), "SELECT 1") == 1


def test_a_port_asked_for_and_taken_is_an_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(EmbeddedServerError, match=rf"Address already in use(.|\n)*{port}|{port}(.|\n)*Address already in use"),
            running_server(options=ServerOptions(tcp=True, port=port)),
        ):
            pytest.fail("it started")
