"""PgBouncer processes for tests: found on the machine, run as an ordinary user, reached by a unix socket.

The contract: a test that asks for one is skipped, with the reason, where there is no PgBouncer.
"""

import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from os import chown, geteuid
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

_START_SECONDS = 20.0


def pgbouncer_program() -> str:
    """Its path; skips the test when there is none."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("there is no PgBouncer on this machine (apt-get install pgbouncer)")
    return found


@contextmanager
def running_pgbouncer(dsn: str, *, pool_mode: str = "transaction", server_sessions: int = 1) -> Generator[str]:
    """Run one in front of a database; gives the address that leads through it."""
    program = pgbouncer_program()
    server = conninfo_to_dict(dsn)
    target = {"host": server["host"], "port": server.get("port", 5432), "user": server.get("user", "postgres")}
    if server.get("password"):
        target["password"] = server["password"]
    account = pwd.getpwnam("nobody") if geteuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        folder = Path(name)
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = {make_conninfo('', **target)}\n"
            f"[pgbouncer]\nunix_socket_dir = {folder}\nlisten_port = 6432\nlogfile = {folder / 'log'}\nauth_type = any\n"
            f"pool_mode = {pool_mode}\ndefault_pool_size = {server_sessions}\nmax_client_conn = 200\n"
        )
        if account is not None:
            chown(folder, account.pw_uid, account.pw_gid)
            folder.chmod(0o755)
            settings.chmod(0o644)
        process = subprocess.Popen(
            [program, "-q", str(settings)],
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )
        try:
            address = make_conninfo(dsn, host=str(folder), port=6432)
            _wait_until_ready(address, process, folder / "log")
            yield address
        finally:
            process.terminate()
            process.wait(timeout=10)


def _wait_until_ready(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(address).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PgBouncer did not start:\n{log.read_text() if log.exists() else 'no log'}", pytrace=False)
            time.sleep(0.01)
        else:
            return
