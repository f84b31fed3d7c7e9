"""A server lives exactly as long as somebody uses it: owners that are killed, that fork, that share a folder."""

import contextlib
import os
import shutil
import signal
import threading
from pathlib import Path

import psycopg
import pytest

from tests.embedded.owners import StartOwner, end_of, wait_for_end, wait_until
from trioorm.embedded import ServerOptions, running_server
from trioorm.errors import EmbeddedServerError


def ask(conninfo: str, query: str) -> object:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def watchdog_of(server: int) -> int:
    """The parent of a server's first process."""
    return int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(process: int) -> list[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == process:
                found.append(int(stat.parent.name))
        except OSError:
            continue
    return found


# Owners that are killed


def test_a_server_ends_when_its_owner_is_killed(start_owner: StartOwner, short_folder: Path) -> None:
    owner = start_owner(temporary=short_folder)
    pid, folder = owner.wait_for_server()
    watchdog = watchdog_of(pid)
    assert folder.exists()
    owner.kill()
    wait_for_end(pid)
    wait_for_end(watchdog)
    assert list(short_folder.iterdir()) == []


def test_a_stopped_server_leaves_nothing_when_its_owner_is_killed(start_owner: StartOwner, short_folder: Path) -> None:
    program = """
import sys
from trioorm.embedded import running_server
with running_server() as server:
    first = server.pid
    server.kill(); server.start(); server.stop()
    print(first, server.directory, flush=True)
    sys.stdin.readline()
"""
    owner = start_owner(program=program, temporary=short_folder)
    _, folder = owner.wait_for_server()
    assert folder.exists()
    owner.kill()
    wait_until(lambda: not any(short_folder.iterdir()), "the folder goes")


def test_a_server_that_ended_as_soon_as_it_was_up_leaves_nothing(start_owner: StartOwner, short_folder: Path) -> None:
    program = """
import sys
from trioorm.embedded import running_server
with running_server() as server:
    server.kill()
    print(0, server.directory, flush=True)
    sys.stdin.readline()
"""
    owners = [start_owner(program=program, temporary=short_folder) for _ in range(4)]
    for owner in owners:
        owner.wait_for_server()
        owner.kill()
    wait_until(lambda: not any(short_folder.iterdir()), "the folders go")


def test_nothing_is_left_when_the_owner_is_killed_during_initdb(start_owner: StartOwner, short_folder: Path) -> None:
    owner = start_owner(temporary=short_folder)
    wait_until(lambda: any(short_folder.glob("*/data.new/PG_VERSION")), "initdb is at work")
    owner.kill()
    wait_until(lambda: not any(short_folder.iterdir()), "the folder goes")


def test_a_forked_child_does_not_keep_the_server(start_owner: StartOwner, short_folder: Path) -> None:
    program = """
import os, sys, time
from trioorm.embedded import running_server
with running_server() as server:
    child = os.fork()
    if child == 0:
        time.sleep(600)
    print(server.pid, child, flush=True)
    sys.stdin.readline()
"""
    owner = start_owner(program=program, temporary=short_folder)
    pid, child = owner.wait_for_server()
    owner.kill()
    wait_for_end(pid)
    assert Path(f"/proc/{child}").exists()
    end_of(int(str(child)))
    wait_until(lambda: not any(short_folder.iterdir()), "the folder goes")


def test_a_forked_child_that_leaves_the_block_does_not_end_the_server(start_owner: StartOwner) -> None:
    program = """
import os, sys
from trioorm.embedded import running_server
with running_server() as server:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print(server.pid, server.directory, flush=True)
        sys.stdin.readline()
if child:
    print("left", flush=True)
"""
    owner = start_owner(program=program)
    pid, folder = owner.wait_for_server()
    assert ask(f"host={folder}/socket user=postgres", "SELECT 1") == 1
    assert watchdog_of(pid)
    owner.leave()


def test_a_server_outlives_the_thread_that_started_it(start_owner: StartOwner) -> None:
    program = """
import sys, threading
from trioorm.embedded import running_server
manager = running_server()
servers = []
thread = threading.Thread(target=lambda: servers.append(manager.__enter__()))
thread.start(); thread.join()
print(servers[0].pid, servers[0].directory, flush=True)
sys.stdin.readline()
manager.__exit__(None, None, None)
print("left", flush=True)
"""
    owner = start_owner(program=program)
    _, folder = owner.wait_for_server()
    assert ask(f"host={folder}/socket user=postgres", "SELECT 1") == 1
    owner.leave()


def test_the_server_ends_when_its_watchdog_is_killed() -> None:
    with running_server() as server:
        assert server.pid is not None
        pid, watchdog = server.pid, watchdog_of(server.pid)
        os.kill(watchdog, signal.SIGKILL)
        wait_for_end(pid)
        assert not server.is_running
        server.start()
        assert ask(server.conninfo(), "SELECT 1") == 1
    assert not server.directory.exists()


def test_nothing_is_left_when_the_watchdog_is_killed_and_the_server_frozen() -> None:
    with running_server() as server:
        assert server.pid is not None
        pid, watchdog = server.pid, watchdog_of(server.pid)
        server.freeze()
        os.kill(watchdog, signal.SIGKILL)
    wait_for_end(pid)
    assert not server.directory.exists()


def test_no_process_is_left_unreaped(start_owner: StartOwner) -> None:
    before = set(children_of(os.getpid()))
    with running_server() as server:
        server.restart()
        server.kill()
        server.start()
        with pytest.raises(EmbeddedServerError), running_server(options=ServerOptions(settings={"no_such_setting": 1})):
            pytest.fail("it started")
    assert set(children_of(os.getpid())) - before == set()


# Folders that stay


def test_data_stay_in_a_folder(tmp_path: Path) -> None:
    with running_server(tmp_path / "deep" / "database") as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        pid, address = server.pid, server.conninfo()
    assert not Path(f"/proc/{pid}").exists()
    with running_server(str(tmp_path / "deep" / "database")) as server:
        assert server.pid != pid
        assert ask(server.conninfo(), "SELECT number FROM kept") == 7
        assert server.directory == tmp_path / "deep" / "database"
    assert address.endswith("dbname=postgres")


def test_processes_share_a_folder_and_the_last_one_out_ends_the_server(start_owner: StartOwner, short_folder: Path) -> None:
    folder = short_folder / "database"
    first = start_owner(folder)
    pid, _ = first.wait_for_server()
    second = start_owner(folder)
    assert second.wait_for_server() == (pid, folder)
    first.leave()  # it started the server, and its watchdog stays behind
    with running_server(folder) as server:
        assert server.pid == pid
        assert ask(server.conninfo(), "SELECT 1") == 1
    second.kill()
    wait_for_end(pid)
    assert not (folder / "data" / "postmaster.pid").exists()


def test_leaving_in_good_order_waits_for_the_end_of_the_server(start_owner: StartOwner, short_folder: Path) -> None:
    folder = short_folder / "database"
    first = start_owner(folder)
    pid, _ = first.wait_for_server()
    with running_server(folder) as server:
        first.kill()
        assert ask(server.conninfo(), "SELECT 1") == 1
        assert server.pid == pid
    assert not Path(f"/proc/{pid}").exists()


def test_processes_that_start_at_once_get_one_server(start_owner: StartOwner, short_folder: Path) -> None:
    owners = [start_owner(short_folder / "database") for _ in range(3)]
    assert len({owner.wait_for_server() for owner in owners}) == 1
    for owner in owners:
        owner.leave()


def test_one_process_may_open_a_folder_twice(tmp_path: Path) -> None:
    with running_server(tmp_path / "database") as first:
        pid = first.pid
        with running_server(tmp_path / "database") as second:
            assert second.pid == pid
        assert ask(first.conninfo(), "SELECT 1") == 1
    assert not Path(f"/proc/{pid}").exists()


def test_starts_again_after_everything_was_killed(start_owner: StartOwner, short_folder: Path) -> None:
    folder = short_folder / "database"
    owner = start_owner(folder)
    pid, _ = owner.wait_for_server()
    with psycopg.connect(f"host={folder}/socket user=postgres", autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    watchdog = watchdog_of(pid)
    os.kill(watchdog, signal.SIGSTOP)  # so that it cannot tidy up
    owner.process.kill()
    for process in [pid, *children_of(pid)]:
        with contextlib.suppress(ProcessLookupError):  # the children of a server that has gone end by themselves
            os.kill(process, signal.SIGKILL)
    end_of(watchdog)
    wait_for_end(pid)
    assert (folder / "data" / "postmaster.pid").exists()
    with running_server(folder) as server:
        assert ask(server.conninfo(), "SELECT number FROM kept") == 7


def test_starts_though_the_old_process_number_belongs_to_another_program(start_owner: StartOwner, short_folder: Path) -> None:
    folder = short_folder / "database"
    with running_server(folder) as server:
        server.kill()
        lock_file = folder / "data" / "postmaster.pid"
        old = lock_file.read_text().split("\n")
        lock_file.write_text("\n".join([str(os.getpid()), *old[1:]]))
        server.start()
        assert ask(server.conninfo(), "SELECT 1") == 1
    assert not server.is_running


def test_starts_though_a_child_of_the_killed_server_lives_on(tmp_path: Path) -> None:
    with running_server(tmp_path / "database") as server:
        assert server.pid is not None
        with psycopg.connect(server.conninfo()) as connection:
            lonely = connection.info.backend_pid
            os.kill(lonely, signal.SIGSTOP)
            end_of(server.pid)
            assert Path(f"/proc/{lonely}").exists()
            server.start()
            assert ask(server.conninfo(), "SELECT 1") == 1


def test_an_initdb_that_was_interrupted_is_begun_again(start_owner: StartOwner, short_folder: Path) -> None:
    folder = short_folder / "database"
    owner = start_owner(folder)
    wait_until((folder / "data.new" / "PG_VERSION").exists, "initdb is at work")
    owner.kill()
    with running_server(folder) as server:
        assert ask(server.conninfo(), "SELECT 1") == 1
    assert not (folder / "data.new").exists()


def test_a_folder_too_deep_for_a_socket_has_it_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30)
    with running_server(folder) as server:
        outside = server.socket_directory
        assert folder not in outside.parents
        assert outside.stat().st_mode & 0o777 == 0o700
        assert (folder / "outside").readlink() == outside.parent
        server.restart()
        assert server.socket_directory == outside
        assert ask(server.conninfo(), "SELECT 1") == 1
    assert not outside.parent.exists()
    assert not (folder / "outside").is_symlink()


def test_a_link_to_somebody_elses_folder_is_not_followed(tmp_path: Path, short_folder: Path) -> None:
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    (short_folder / "precious").touch()
    (folder / "outside").symlink_to(short_folder)
    with running_server(folder) as server:
        assert short_folder not in server.socket_directory.parents
        shutil.rmtree(server.socket_directory.parent)
        (folder / "outside").unlink()
        (folder / "outside").symlink_to(short_folder)
    assert (short_folder / "precious").exists()


def test_other_options_of_a_running_server_are_refused(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "database"),
        pytest.raises(EmbeddedServerError, match="already running without TCP"),
        running_server(tmp_path / "database", ServerOptions(tcp=True)),
    ):
        pytest.fail("joined")


def test_a_start_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with (
        pytest.raises(EmbeddedServerError, match=r"did not accept connections within 0.1 s(.|\n)*start_timeout_seconds"),
        running_server(tmp_path / "database", ServerOptions(start_timeout_seconds=0.1)),
    ):
        pytest.fail("it started")
    assert not (tmp_path / "database" / "data.new").exists()
    with running_server(tmp_path / "database") as server:
        assert server.is_running


def test_leaving_at_the_same_moment_ends_the_server(tmp_path: Path) -> None:
    for _ in range(3):
        together = threading.Barrier(3)
        pids: list[int | None] = []

        def use(together: threading.Barrier = together, pids: list[int | None] = pids) -> None:
            with running_server(tmp_path / "database") as server:
                pids.append(server.pid)
                together.wait(30)

        users = [threading.Thread(target=use) for _ in range(3)]
        for user in users:
            user.start()
        for user in users:
            user.join(30)
        assert len(set(pids)) == 1
        assert pids[0] is not None
        wait_for_end(pids[0], within_seconds=5)


# Folders that cannot be used


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(EmbeddedServerError, match=r"holds other files \(thesis.tex, ...\)"), running_server(tmp_path):
        pytest.fail("it started")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_data_folder_of_another_program_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("18\n")
    with pytest.raises(EmbeddedServerError, match="data folder that another program made"), running_server(tmp_path):
        pytest.fail("it started")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError, match="is a file"), running_server(tmp_path / "file"):
        pytest.fail("it started")


def test_data_of_another_major_version_are_told_by_the_log(tmp_path: Path) -> None:
    with running_server(tmp_path / "database") as server:
        server.stop()
        (server.data_directory / "PG_VERSION").write_text("11\n")
        with pytest.raises(EmbeddedServerError, match=r"initialized by PostgreSQL version 11"):
            server.start()


def test_the_log_is_set_aside_when_it_grows(tmp_path: Path) -> None:
    folder = tmp_path / "database"
    with running_server(folder) as server:
        server.stop()
        with (folder / "server.log").open("ab") as log:
            log.truncate(11_000_000)
        server.start()
        assert (folder / "server.log").stat().st_size < 1_000_000
        assert (folder / "server.log.1").stat().st_size == 11_000_000
