"""Joining, starting and leaving an embedded server, as steps that somebody else waits between.

The contract: each `..._steps` generator does one thing and yields the seconds to wait before it is resumed, so that the same code serves
plain Python, Trio and asyncio (`server.py` drives it). A generator that is closed half way leaves nothing behind. What decides is always
the thing itself (a lock, the server's lock file, the processes), never our own record of it, because other processes may use the same
folder.
"""

import fcntl
import json
import os
import signal
import socket
import sys
import time
import weakref
from collections.abc import Generator
from pathlib import Path
from typing import Literal

from trioorm.embedded import watchdog
from trioorm.embedded.account import can_reach
from trioorm.embedded.binaries import find_binaries, place_binaries
from trioorm.embedded.folder import Folder
from trioorm.embedded.options import ServerOptions
from trioorm.errors import EmbeddedServerError

StopMode = Literal["smart", "fast", "immediate"]
Steps = Generator[float]

_SIGNALS: dict[StopMode, signal.Signals] = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_POLL_SECONDS = 0.005
_TAKE_OVER_SECONDS = 1.0
_PORT_ATTEMPTS = 5
_START_LOCK_DESCRIPTOR = 3
_READY_DESCRIPTOR = 4

_unreaped: list[int] = []  # watchdogs of servers that others still use; reaped when they end


class Membership:
    """One user's share in a server: as long as it is held, the server stays.

    Attributes:
        folder: the server's folder.
        options: what this user asked for.
        port: the server's port number, which also names its unix socket.
        socket_directory: where that socket lies.
    """

    def __init__(self, folder: Folder, options: ServerOptions) -> None:
        self.folder = folder
        self.options = options
        self.port = 5432
        self.socket_directory = folder.path / "socket"
        self._watchdogs: list[int] = []
        self._owners_lock: int | None = folder.open_lock("owners.lock")
        self._process = os.getpid()
        _memberships.add(self)

    @property
    def data(self) -> str:
        return str(self.folder.data)

    @property
    def is_held(self) -> bool:
        return self._owners_lock is not None

    # Coming

    def join_steps(self) -> Steps:
        """Become an owner and start the server unless it runs already.

        Raises:
            EmbeddedServerError: it could not be started in time, or at all, or runs in another way than asked for.
        """
        deadline = time.monotonic() + self.options.start_timeout_seconds
        try:
            assert self._owners_lock is not None
            yield from self._lock_steps(self._owners_lock, fcntl.LOCK_SH, deadline)
            yield from self.start_steps()
        except BaseException:
            self._abandon()
            raise

    def start_steps(self) -> Steps:
        """Start the server unless it runs already, and wait until it accepts connections.

        Raises:
            EmbeddedServerError: as for `join_steps`.
        """
        deadline = time.monotonic() + self.options.start_timeout_seconds
        start_lock = self.folder.open_lock("start.lock")
        try:
            yield from self._lock_steps(start_lock, fcntl.LOCK_EX, deadline)
            if watchdog.running_postmaster(self.data) is None:
                yield from self._spawn_steps(start_lock, deadline)
            while not watchdog.is_ready(self.data):
                self._check_deadline(deadline)
                yield _POLL_SECONDS
            self._adopt_running_server()
        finally:
            os.close(start_lock)

    def _spawn_steps(self, start_lock: int, deadline: float) -> Steps:
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self.port = self._choose_port(again=attempt > 1)
            log_start = self.folder.log_size()
            process, news = self._spawn_watchdog(start_lock)
            self._watchdogs.append(process)
            try:
                while (status := _reap(process)) is None:
                    if _guards(news):
                        self.folder.write_own("port", str(self.port))
                        return
                    self._check_deadline(deadline)
                    yield _POLL_SECONDS
            finally:
                os.close(news)
            self._watchdogs.remove(process)
            log_tail = self.folder.log_tail(since_byte=log_start)
            port_is_taken = "could not bind" in log_tail or "Address already in use" in log_tail
            if not (port_is_taken and self.options.tcp and self.options.port is None) or attempt == _PORT_ATTEMPTS:
                raise _start_error(self.folder, status, log_tail)

    def _spawn_watchdog(self, start_lock: int) -> tuple[int, int]:
        """Start a watchdog. Returns its process id and the end of a pipe where it says that it guards a running server."""
        _reap_all()
        folder, options, account = self.folder, self.options, self.folder.account
        socket_directory, programs = folder.socket_directory(), folder.programs_directory()
        folder.password()
        placement = place_binaries(find_binaries(), account, programs)
        initdb = [str(placement.directory / "initdb"), "-D", "{data}", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"]
        initdb += ["--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile", "{password}"]
        postgres = [str(placement.directory / "postgres"), "-D", "{data}", "-k", str(socket_directory), "-p", str(self.port)]
        postgres += ["-c", f"listen_addresses={'127.0.0.1' if options.tcp else ''}", *options.command_line(temporary=folder.temporary)]
        job: watchdog.Job = {
            "folder": str(folder.path),
            "temporary": folder.temporary,
            "initdb": None if folder.is_initialised else initdb + (["--no-sync"] if folder.temporary or options.fsync is False else []),
            "postgres": postgres,
            "uid": None if account is None else account.uid,
            "gid": None if account is None else account.gid,
            "by_descriptor": not can_reach(folder.data, account),
            "copies": [(str(source), str(target)) for source, target in placement.copies],
            "programs": str(programs),
            "sockets": str(socket_directory),
            "owners_lock": str(folder.path / "owners.lock"),
            "start_lock_descriptor": _START_LOCK_DESCRIPTOR,
            "ready_descriptor": _READY_DESCRIPTOR,
            "fast_stop_seconds": options.stop_timeout_seconds,
        }
        if not sys.executable:
            raise EmbeddedServerError(
                "This Python does not know its own program (sys.executable is empty), which the server's watchdog needs."
            )
        command = [sys.executable, "-I", "-S", str(Path(watchdog.__file__).resolve()), json.dumps(job)]
        log = fcntl.fcntl(opened := folder.open_log(), fcntl.F_DUPFD_CLOEXEC, 10)
        lock = fcntl.fcntl(start_lock, fcntl.F_DUPFD_CLOEXEC, 10)
        os.close(opened)
        news, said = os.pipe()
        ready = fcntl.fcntl(said, fcntl.F_DUPFD_CLOEXEC, 10)
        os.close(said)
        try:
            process = os.posix_spawn(
                sys.executable,
                command,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log, 1),
                    (os.POSIX_SPAWN_DUP2, log, 2),
                    (os.POSIX_SPAWN_DUP2, lock, _START_LOCK_DESCRIPTOR),
                    (os.POSIX_SPAWN_DUP2, ready, _READY_DESCRIPTOR),
                ],
            )
        except BaseException:
            os.close(news)
            raise
        finally:
            os.close(log)
            os.close(lock)
            os.close(ready)
        os.set_blocking(news, False)
        return process, news

    def _choose_port(self, *, again: bool) -> int:
        if not self.options.tcp:
            return 5432  # names the socket only, in a folder of its own
        if self.options.port is not None:
            return self.options.port
        remembered = self.folder.remembered_port()
        if remembered is not None and not again:
            return remembered  # clients find a restarted server where it was
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    def _adopt_running_server(self) -> None:
        """Take over what another process chose when it started the server, and refuse when this contradicts our own options."""
        lines = (self.folder.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")
        self.port = int(lines[3])
        self.socket_directory = Path(lines[4])
        listens = bool(lines[5].strip())
        if self.options.tcp and (not listens or self.options.port not in (None, self.port)):
            found = f"on TCP port {self.port}" if listens else "without TCP"
            raise EmbeddedServerError(
                f"The server in {self.folder.path} is already running {found}, started by another process with other options.\n"
                "To fix it, give all processes the same options, or let the others leave first."
            )

    # Going

    def leave_steps(self) -> Steps:
        """Give up ownership. When nobody else uses the server, wait until it has ended and its traces are gone."""
        lock = self._owners_lock
        if lock is None:
            return
        self._owners_lock = None
        fcntl.flock(lock, fcntl.LOCK_UN)  # from here on the watchdog may end the server
        try:
            take_over_at = time.monotonic() + _TAKE_OVER_SECONDS
            while True:
                self._watchdogs = [process for process in self._watchdogs if _reap(process) is None]
                if _try_lock(lock, fcntl.LOCK_EX):
                    if not self._watchdogs and not watchdog.processes_of(self.data):
                        watchdog.tidy_up(str(self.folder.path), temporary=self.folder.temporary)
                        return
                    if time.monotonic() > take_over_at and not self._is_watched():
                        yield from watchdog.end_steps(self.data, self.options.stop_timeout_seconds)
                        continue
                elif not self.folder.temporary and _try_lock(lock, fcntl.LOCK_SH):
                    return  # others still use it
                fcntl.flock(lock, fcntl.LOCK_UN)
                yield _POLL_SECONDS
        finally:
            _unreaped.extend(self._watchdogs)
            os.close(lock)

    def _is_watched(self) -> bool:
        # A watchdog of our own that lives is about to act. One of another process cannot be asked; it had its second.
        return bool(self._watchdogs)

    def _abandon(self) -> None:
        """After a start that failed or was cancelled: leave at once, for a moment without yielding.

        No `await` is possible in a cancelled task without a shield, and shields stand on a higher floor. Killing initdb takes milliseconds.
        """
        for seconds in self.leave_steps():
            time.sleep(seconds)

    # Meanwhile

    def stop_steps(self, mode: StopMode) -> Steps:
        """Ask the server to end and wait until all its processes are gone; the folder stays."""
        postmaster = watchdog.running_postmaster(self.data)
        if postmaster is None:
            return
        watchdog.send_signal([postmaster], _SIGNALS[mode])
        deadline = time.monotonic() + self.options.stop_timeout_seconds
        while watchdog.processes_of(self.data):
            if mode != "smart" and time.monotonic() > deadline:
                yield from watchdog.end_steps(self.data, 0.0)
                return
            yield _POLL_SECONDS

    def kill(self) -> None:
        """SIGKILL the postmaster and all its children, and wait (milliseconds) until they are gone."""
        deadline = time.monotonic() + 10
        while pids := watchdog.processes_of(self.data):
            if time.monotonic() > deadline:
                raise EmbeddedServerError(f"The processes {pids} of the server in {self.folder.path} did not end within 10 s of SIGKILL.")
            watchdog.send_signal(pids, signal.SIGKILL)
            time.sleep(0.001)

    def freeze(self) -> None:
        """SIGSTOP the postmaster and all its children."""
        for _ in range(2):  # a child that was being forked during the first round is found in the second
            watchdog.send_signal(watchdog.processes_of(self.data), signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT the postmaster and all its children."""
        watchdog.send_signal(watchdog.processes_of(self.data), signal.SIGCONT)

    def forget_in_forked_child(self) -> None:
        """In a forked child: drop the inherited lock, so that only the parent's life counts."""
        if self._owners_lock is not None:
            os.close(self._owners_lock)
            self._owners_lock = None

    def _lock_steps(self, descriptor: int, kind: int, deadline: float) -> Steps:
        while not _try_lock(descriptor, kind):
            self._check_deadline(deadline)
            yield _POLL_SECONDS

    def _check_deadline(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            log_tail = self.folder.log_tail()
            raise EmbeddedServerError(
                f"The server in {self.folder.path} did not accept connections within {self.options.start_timeout_seconds} s.\n"
                f"The end of its log:\n{log_tail or '(empty)'}\n"
                "To fix it, see what the log says, or raise ServerOptions(start_timeout_seconds=...).",
                log_tail=log_tail,
            )


_memberships: "weakref.WeakSet[Membership]" = weakref.WeakSet()


def _forget_all_in_forked_child() -> None:
    for membership in list(_memberships):
        membership.forget_in_forked_child()
    _unreaped.clear()


os.register_at_fork(after_in_child=_forget_all_in_forked_child)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _guards(news: int) -> bool:
    """Whether the watchdog at the other end has said that it guards a running server."""
    try:
        return os.read(news, 1) != b""
    except BlockingIOError:
        return False


def _reap(process: int) -> int | None:
    """The exit status of a child of ours, or None while it runs; -1 when somebody else has reaped it."""
    try:
        found, status = os.waitpid(process, os.WNOHANG)
    except ChildProcessError:
        return -1
    return os.waitstatus_to_exitcode(status) if found else None


def _reap_all() -> None:
    _unreaped[:] = [process for process in _unreaped if _reap(process) is None]


def _start_error(folder: Folder, status: int | None, log_tail: str) -> EmbeddedServerError:
    what = {
        watchdog.EXIT_INITDB_FAILED: f"PostgreSQL's initdb could not make a data folder in {folder.path}",
        watchdog.EXIT_SERVER_FAILED: f"The server in {folder.path} ended while it was starting",
    }.get(status or 0, f"The watchdog of the server in {folder.path} ended with status {status}")
    return EmbeddedServerError(
        f"{what}.\nThe end of its log:\n{log_tail or '(empty)'}\n"
        "To fix it, do what the log says: often a setting the server does not know, a full disk, or data of another major version.",
        log_tail=log_tail,
    )
