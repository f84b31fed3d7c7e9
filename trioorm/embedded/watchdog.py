"""The process that runs one PostgreSQL server and ends it when nobody uses it any more.

It is started as a program of its own (`python -I -S watchdog.py JOB`), because only a separate process survives the SIGKILL of the
server's owner; the package imports the functions about processes from here. So this file needs the standard library only, and Linux's
/proc.

The contract with the owners (`lifecycle.py`): each holds a shared `flock` on the folder's `owners.lock` for as long as it uses the
server, and the kernel drops that lock when the owner dies, however it dies. This process waits for the exclusive lock; once it has it,
nobody is left, and it ends the server and tidies up. It is also the only one that ends a server whose owners have left in good order. The
second lock, `start.lock`, is inherited from the owner that starts the server and is kept until the server accepts connections, so that no
two processes start at once. Into the pipe that it inherits as well goes one byte as soon as it guards a running server; only then the owner
goes on, since a server that the owner stops at once would otherwise look here like one that never came up, and nobody would tidy up.

`PR_SET_PDEATHSIG` makes the server follow this process. It would not do in the owner: that signal follows the thread that started the
server, and Trio's worker threads end after some seconds without work.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from typing import TypedDict

EXIT_INITDB_FAILED = 3
EXIT_SERVER_FAILED = 4

_IPC_RMID = 0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.005


class Job(TypedDict):
    """What an owner asks for, as JSON in the only argument.

    `{data}` and `{password}` in the commands stand for the two paths, or for open descriptors of them when the server's account cannot
    pass the folders above.
    """

    folder: str
    temporary: bool
    initdb: list[str] | None
    postgres: list[str]
    uid: int | None
    gid: int | None
    by_descriptor: bool
    copies: list[tuple[str, str]]
    programs: str
    sockets: str
    owners_lock: str
    start_lock_descriptor: int
    ready_descriptor: int
    fast_stop_seconds: float


# Processes of a data folder, found by their working directory: the postmaster enters the data folder and its children inherit that.


def processes_of(data: str) -> list[int]:
    """The processes of the server in this data folder, postmaster first; those that merely wait to be reaped do not count."""
    try:
        wanted = os.stat(data)
    except FileNotFoundError:
        return []
    found: list[int] = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.path.samestat(os.stat(f"/proc/{name}/cwd"), wanted):
                found.append(int(name))
        except OSError:
            continue
    postmaster = _pid_in_lock_file(data)
    return sorted(found, key=lambda pid: (pid != postmaster, pid))


def running_postmaster(data: str) -> int | None:
    """The process id of the server's first process, or None when the folder has no running server, whatever an old lock file says."""
    pid = _pid_in_lock_file(data)
    if pid is None:
        return None
    try:
        return pid if os.path.samestat(os.stat(f"/proc/{pid}/cwd"), os.stat(data)) else None
    except OSError:
        return None


def is_ready(data: str) -> bool:
    """Whether the server in this data folder accepts connections, as its own lock file says on the eighth line."""
    lines = _lock_file_lines(data)
    return len(lines) >= 8 and lines[7].strip() == "ready" and running_postmaster(data) is not None


def send_signal(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def end_steps(data: str, fast_stop_seconds: float) -> Generator[float]:
    """End the server: politely, then abruptly, then by force. Yields the seconds to wait before going on; also ends a frozen server."""
    stages = [(signal.SIGINT, fast_stop_seconds), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 10.0)]
    for number, patience_seconds in stages:
        deadline = time.monotonic() + patience_seconds
        first = True
        while pids := processes_of(data):
            if first or number == signal.SIGKILL:
                send_signal(pids, signal.SIGCONT)
                postmaster = running_postmaster(data)
                # Without a postmaster only its children are left, and these do not know SIGINT as a wish to end the server.
                send_signal([postmaster] if postmaster and number != signal.SIGKILL else pids, number)
                first = False
            if time.monotonic() > deadline:
                break
            yield _POLL_SECONDS
        else:
            return


def remove_tree(path: str) -> None:
    """Remove a folder even if a dying process still adds files to it."""
    for _ in range(20):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return
        time.sleep(_POLL_SECONDS)


def is_own_outer_folder(path: str) -> bool:
    """Whether this is a folder that we made in a public place, so that it may be used and removed; a link to it can be anybody's."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.basename(path).startswith("trioorm-") and stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def tidy_up(folder: str, *, temporary: bool) -> None:
    """Remove what must not outlive the server: everything of a temporary one, sockets and copied programs of one that stays."""
    link = os.path.join(folder, "outside")
    if os.path.islink(link):
        outer = os.readlink(link)
        if is_own_outer_folder(outer):
            remove_tree(outer)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)
    if temporary:
        _remove_shared_memory(os.path.join(folder, "data"))
        remove_tree(folder)
    else:
        remove_tree(os.path.join(folder, "programs"))


def _remove_shared_memory(data: str) -> None:
    # A server that was killed leaves a System V segment, which only its next start would remove. Its lock file names it by key and number.
    lines = _lock_file_lines(data)
    words = lines[6].split() if len(lines) > 6 else []
    if len(words) != 2:
        return
    with contextlib.suppress(OSError), open("/proc/sysvipc/shm", encoding="ascii") as segments:
        for line in segments:
            found = line.split()
            if found[:2] == words and found[6] == "0":  # nobody is attached
                ctypes.CDLL(None).shmctl(int(words[1]), _IPC_RMID, None)


def _lock_file_lines(data: str) -> list[str]:
    try:
        with open(os.path.join(data, "postmaster.pid"), encoding="utf-8") as file:
            return file.read().split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return []


def _pid_in_lock_file(data: str) -> int | None:
    lines = _lock_file_lines(data)
    try:
        return int(lines[0]) if lines else None
    except ValueError:
        return None  # being written just now


# The program.


class _NobodyLeft(Exception):
    """All owners have gone before the server was up."""


class _Watchdog:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.data = os.path.join(job["folder"], "data")
        self.fresh = self.data + ".new"
        self.owners = os.open(job["owners_lock"], os.O_RDWR | os.O_CLOEXEC)
        os.set_inheritable(job["start_lock_descriptor"], False)
        os.set_inheritable(job["ready_descriptor"], False)

    def run(self) -> int:
        """Bring the server up, wait for its end or for the last owner's, and leave nothing behind. Returns the exit status."""
        try:
            remove_tree(self.job["programs"])  # from an earlier release perhaps, if a watchdog was killed
            for source, target in self.job["copies"]:
                _copy_for_all(source, target)
            if self.job["initdb"] is not None and not os.path.exists(os.path.join(self.data, "PG_VERSION")):
                status = self._initialise(self.job["initdb"])
                if status:
                    return status
            self._clear_wreck()
            server = self._spawn(self.job["postgres"], self.data, preexec=_die_with_parent())
            while not is_ready(self.data):
                if server.poll() is not None:
                    return EXIT_SERVER_FAILED
                if self._is_nobody_left():
                    raise _NobodyLeft
                time.sleep(_POLL_SECONDS)
            os.close(self.job["start_lock_descriptor"])
            with contextlib.suppress(BrokenPipeError):  # an owner that was killed; the lock tells of that
                os.write(self.job["ready_descriptor"], b"1")
            os.close(self.job["ready_descriptor"])
            self._serve_until_the_end(server)
        except _NobodyLeft:
            self._end()
            self._reap_orphans()
            tidy_up(self.job["folder"], temporary=self.job["temporary"])
        return 0

    def _serve_until_the_end(self, server: subprocess.Popen[bytes]) -> None:
        nobody_left = threading.Event()

        def wait_for_last_owner() -> None:
            fcntl.flock(self.owners, fcntl.LOCK_EX)
            nobody_left.set()
            self._end()

        last_owner = threading.Thread(target=wait_for_last_owner, daemon=True)
        last_owner.start()
        server.wait()
        self._reap_orphans()
        if self.job["temporary"]:
            last_owner.join()  # a stopped temporary server may be started again, so its folder goes only with its owner
        if nobody_left.is_set():
            last_owner.join()
            tidy_up(self.job["folder"], temporary=self.job["temporary"])

    def _reap_orphans(self) -> None:
        """Reap the children of a postmaster that was killed.

        In a container whose first process reaps nobody, they would stay as zombies.
        """
        deadline = time.monotonic() + 2
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < deadline:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    time.sleep(_POLL_SECONDS)

    def _initialise(self, command: list[str]) -> int:
        # Built aside and renamed when complete: a folder that was interrupted half way would look like a whole one.
        remove_tree(self.fresh)
        os.mkdir(self.fresh, 0o700)
        if self.job["uid"] is not None and self.job["gid"] is not None:
            os.chown(self.fresh, self.job["uid"], self.job["gid"])
        initdb = self._spawn(command, self.fresh)
        while initdb.poll() is None:
            if self._is_nobody_left():
                os.killpg(initdb.pid, signal.SIGKILL)
                initdb.wait()
                self._reap_orphans()
                _remove_shared_memory(self.fresh)
                remove_tree(self.fresh)
                raise _NobodyLeft
            time.sleep(_POLL_SECONDS)
        if initdb.returncode != 0:
            remove_tree(self.fresh)
            return EXIT_INITDB_FAILED
        os.rename(self.fresh, self.data)
        return 0

    def _clear_wreck(self) -> None:
        """After a SIGKILL of the server its children may live on and its lock file stays; both would keep a new server from starting."""
        deadline = time.monotonic() + 10
        while pids := processes_of(self.data):
            send_signal(pids, signal.SIGKILL)
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        stale = _pid_in_lock_file(self.data)
        if stale is not None and os.path.exists(f"/proc/{stale}"):
            # The number belongs to another program by now, or to a zombie that nobody reaps; the server would take it for a server.
            # Otherwise the file stays: from it the server learns which shared memory the crash has left.
            _remove_shared_memory(self.data)
            os.unlink(os.path.join(self.data, "postmaster.pid"))
        for name in os.listdir(self.job["sockets"]):
            os.unlink(os.path.join(self.job["sockets"], name))

    def _spawn(self, command: list[str], data: str, preexec: Callable[[], None] | None = None) -> subprocess.Popen[bytes]:
        uid, gid = self.job["uid"], self.job["gid"]
        kept: list[int] = []
        places = {"{data}": data, "{password}": os.path.join(self.job["folder"], "password")}
        if self.job["by_descriptor"]:
            for word, path in places.items():
                descriptor = os.open(path, os.O_RDONLY)
                kept.append(descriptor)
                places[word] = f"/proc/self/fd/{descriptor}"
        words = [places.get(word, word) for word in command]
        try:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                cwd="/",
                env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
                pass_fds=kept,
                start_new_session=True,
                preexec_fn=preexec,  # noqa: PLW1509 - this process has no second thread yet
                umask=0o077,
            )
        finally:
            for descriptor in kept:
                os.close(descriptor)

    def _is_nobody_left(self) -> bool:
        try:
            fcntl.flock(self.owners, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _end(self) -> None:
        for seconds in end_steps(self.data, self.job["fast_stop_seconds"]):
            time.sleep(seconds)


def _copy_for_all(source: str, target: str) -> None:
    """Copy a folder so that every account can read it."""
    shutil.copytree(source, target, symlinks=True, copy_function=_link_or_copy)
    for folder, _, _ in os.walk(target):
        os.chmod(folder, 0o755)


def _link_or_copy(source: str, target: str) -> None:
    mode = os.stat(source).st_mode
    wanted = mode | 0o444 | (0o111 if mode & 0o100 else 0)
    if mode == wanted:
        with contextlib.suppress(OSError):  # another file system
            os.link(source, target)  # a tenth of the time, and no room
            return
    shutil.copyfile(source, target)
    os.chmod(target, wanted & 0o777)


def _adopt_orphans() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _die_with_parent() -> Callable[[], None]:
    libc = ctypes.CDLL(None)  # loaded here, since between fork and exec nothing may be allocated that a lock protects

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT))

    return ask_kernel


def main() -> None:
    """Run the job given as the only argument, then leave without waiting for threads that wait for a lock."""
    os.setsid()  # away from the terminal, so that Ctrl-C reaches the owner alone
    os.umask(0o022)
    _adopt_orphans()
    status = 1
    try:
        job: Job = json.loads(sys.argv[1])
        status = _Watchdog(job).run()
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
