"""Programs that own an embedded server, so that tests can kill them, and ways to wait for a process or a file without sleeping for luck."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

OWNER_PROGRAM = """
import sys
from trioorm.embedded import ServerOptions, running_server
with running_server(*sys.argv[1:]) as server:
    print(server.pid, server.directory, flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""


def wait_until(holds: Callable[[], bool], what: str, *, within_seconds: float = 15.0) -> None:
    """Look at a thing until it is so; fail when it never is."""
    deadline = time.monotonic() + within_seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_seconds} s: {what}"
        time.sleep(0.005)


def wait_for_end(pid: int, *, within_seconds: float = 15.0) -> None:
    """Wait for the end of a process that need not be our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([descriptor], [], [], within_seconds)
        assert ended, f"process {pid} did not end within {within_seconds} s"
    finally:
        os.close(descriptor)


class Owner:
    """A process of its own that runs a server and keeps it until told to leave."""

    def __init__(self, program: str, arguments: list[str], environment: dict[str, str], account: tuple[int, int] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            user=None if account is None else account[0],
            group=None if account is None else account[1],
            extra_groups=None if account is None else [],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment},
        )

    def wait_for_server(self) -> tuple[int, Path]:
        """The server's process id and folder, as soon as it runs."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the owner ended with status {self.process.wait()} before its server ran"
        pid, folder = line.split(maxsplit=1)
        return int(pid), Path(folder.strip())

    def leave(self) -> None:
        """Let it end its block and itself."""
        answer, _ = self.process.communicate("\n", timeout=30)
        assert answer == "left\n"
        assert self.process.returncode == 0

    def kill(self) -> None:
        """SIGKILL, and wait until it has ended."""
        self.process.kill()
        self.process.wait(timeout=30)

    def close(self) -> None:
        """Kill it if it still runs, and close the pipes."""
        if self.process.poll() is None:
            self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


class StartOwner(Protocol):
    """What the fixture `start_owner` gives."""

    def __call__(
        self, *arguments: object, program: str = ..., temporary: Path | None = None, account: tuple[int, int] | None = None
    ) -> Owner: ...


def end_of(pid: int) -> None:
    """SIGKILL a process and wait for its end."""
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
