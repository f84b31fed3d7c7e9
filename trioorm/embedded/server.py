"""The handles of embedded servers: `open_server` for Trio and asyncio, `running_server` for plain Python.

The contract: the block of the handle owns its share of the server. A temporary server ends, and its folder goes, with its block or with
its process, whichever ends first; a server in a folder of the caller's ends when the last block that uses the folder does.
"""

import contextlib
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from trioorm.embedded import watchdog
from trioorm.embedded.folder import lasting_folder, new_temporary_folder
from trioorm.embedded.lifecycle import Membership, Steps, StopMode
from trioorm.embedded.options import ServerOptions
from trioorm.errors import EmbeddedServerError


class _ServerHandle:
    """What both handles share: where the server is, and the acts that take no waiting."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    @property
    def directory(self) -> Path:
        """The folder that holds data, log and locks."""
        return self._membership.folder.path

    @property
    def data_directory(self) -> Path:
        """PostgreSQL's data folder."""
        return self._membership.folder.data

    @property
    def socket_directory(self) -> Path:
        """The folder of the unix socket, as `host=` wants it."""
        return self._membership.socket_directory

    @property
    def port(self) -> int:
        """The port number. It names the unix socket; something listens on it only with `ServerOptions(tcp=True)`."""
        return self._membership.port

    @property
    def pid(self) -> int | None:
        """The process id of the server's first process; None when it is not running."""
        return watchdog.running_postmaster(self._membership.data)

    @property
    def is_running(self) -> bool:
        """Whether the server is up and accepts connections."""
        return watchdog.is_ready(self._membership.data)

    def conninfo(self, database: str = "postgres", *, tcp: bool = False) -> str:
        """The address of a database of this server, for `open_database` or any libpq program.

        Args:
            database: its name.
            tcp: the address on 127.0.0.1, with the password, instead of the unix socket.
        """
        if not tcp:
            return make_conninfo(host=str(self.socket_directory), port=self.port, user="postgres", dbname=database)
        if not self._membership.options.tcp:
            raise EmbeddedServerError("This server listens on no TCP port.\nTo fix it, start it with ServerOptions(tcp=True).")
        password = self._membership.folder.password()
        return make_conninfo(host="127.0.0.1", port=self.port, user="postgres", password=password, dbname=database)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the server's log."""
        return self._membership.folder.log_tail(lines=lines)

    def kill(self) -> None:
        """SIGKILL all of the server's processes, as a crash would; `start` brings it up again. Takes milliseconds."""
        self._membership.kill()

    def freeze(self) -> None:
        """SIGSTOP all of the server's processes: connections stay open and nothing answers."""
        self._membership.freeze()

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._membership.thaw()

    def __repr__(self) -> str:
        pid = self.pid
        return f"<{type(self).__name__} in {self.directory}, {'stopped' if pid is None else f'running as process {pid}'}>"

    def _create_database(self, name: str, template: str) -> str:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(sql.Identifier(name), sql.Identifier(template))
        self._run_as_administrator(statement, f"Database {name!r} could not be copied from {template!r}")
        return self.conninfo(name)

    def _drop_database(self, name: str) -> None:
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        self._run_as_administrator(statement, f"Database {name!r} could not be dropped")

    def _run_as_administrator(self, statement: sql.Composed, failure: str) -> None:
        try:
            with psycopg.connect(self.conninfo(), autocommit=True) as connection:
                connection.execute(statement)
        except psycopg.Error as error:
            raise EmbeddedServerError(f"{failure}: {str(error).strip()}", log_tail=self.log_tail()) from error


class Server(_ServerHandle):
    """An embedded server, used from plain Python."""

    def start(self) -> None:
        """Start the server again after `stop` or `kill`; does nothing when it runs."""
        _drive(self._membership.start_steps())

    def stop(self, mode: StopMode = "fast") -> None:
        """End the server and keep its data.

        Args:
            mode: "smart" waits for clients to leave, "fast" ends their sessions, "immediate" skips the checkpoint, so that the next start
                recovers.
        """
        _drive(self._membership.stop_steps(mode))

    def restart(self, mode: StopMode = "fast") -> None:
        """`stop`, then `start`; addresses stay the same."""
        self.stop(mode)
        self.start()

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database as a copy of another one (tens of milliseconds) and return its conninfo.

        Raises:
            EmbeddedServerError: the name is taken, or somebody is connected to the template.
        """
        return self._create_database(name, template)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, ending the sessions in it."""
        self._drop_database(name)


class AsyncServer(_ServerHandle):
    """An embedded server, used from Trio or asyncio."""

    async def start(self) -> None:
        """Start the server again after `stop` or `kill`; does nothing when it runs.

        Checkpoint: always.
        """
        await anyio.lowlevel.checkpoint()
        await _drive_async(self._membership.start_steps())

    async def stop(self, mode: StopMode = "fast") -> None:
        """End the server and keep its data.

        Args:
            mode: "smart" waits for clients to leave, "fast" ends their sessions, "immediate" skips the checkpoint, so that the next start
                recovers.

        Checkpoint: always.
        """
        await anyio.lowlevel.checkpoint()
        await _drive_async(self._membership.stop_steps(mode))

    async def restart(self, mode: StopMode = "fast") -> None:
        """`stop`, then `start`; addresses stay the same.

        Checkpoint: always.
        """
        await self.stop(mode)
        await self.start()

    async def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database as a copy of another one (tens of milliseconds) and return its conninfo.

        It runs in a worker thread and is not interrupted by cancellation.

        Raises:
            EmbeddedServerError: the name is taken, or somebody is connected to the template.

        Checkpoint: always.
        """
        return await anyio.to_thread.run_sync(self._create_database, name, template)

    async def drop_database(self, name: str) -> None:
        """Drop a database if it exists, ending the sessions in it. Runs in a worker thread and is not interrupted by cancellation.

        Checkpoint: always.
        """
        await anyio.to_thread.run_sync(self._drop_database, name)


@contextmanager
def running_server(path: str | Path | None = None, options: ServerOptions | None = None) -> Generator[Server]:
    """Run a server of one's own, from plain Python.

    Args:
        path: a folder that stays and may be used by several processes at once; None for a temporary one.
        options: how to run it.

    Raises:
        EmbeddedServerError: no PostgreSQL programs, or it did not start; the text holds the end of its log.
    """
    membership = _membership(path, options)
    _drive(membership.join_steps())
    try:
        yield Server(membership)
    finally:
        _drive_to_end(membership.leave_steps())


@asynccontextmanager
async def open_server(path: str | Path | None = None, options: ServerOptions | None = None) -> AsyncGenerator[AsyncServer]:
    """Run a server of one's own, from Trio or asyncio.

    When the block is cancelled, its end holds up the event loop for as long as the server takes to end (20 to 50 ms): a cancelled task
    may not wait.

    Args:
        path: a folder that stays and may be used by several processes at once; None for a temporary one.
        options: how to run it.

    Raises:
        EmbeddedServerError: no PostgreSQL programs, or it did not start; the text holds the end of its log.

    Checkpoint: always on entry; on exit only if it waits, which it does when it is the server's last owner.
    """
    await anyio.lowlevel.checkpoint()  # here and not later: a cancellation that waits already finds nothing to clean up
    membership = _membership(path, options)
    await _drive_async(membership.join_steps())
    try:
        yield AsyncServer(membership)
    finally:
        leaving = membership.leave_steps()
        try:
            await _drive_async(leaving, close=False)
        finally:
            _drive_to_end(leaving)


def _membership(path: str | Path | None, options: ServerOptions | None) -> Membership:
    folder = new_temporary_folder() if path is None else lasting_folder(Path(path))
    return Membership(folder, ServerOptions() if options is None else options)


def _drive(steps: Steps) -> None:
    with contextlib.closing(steps):
        for seconds in steps:
            time.sleep(seconds)


def _drive_to_end(steps: Steps) -> None:
    for seconds in steps:
        time.sleep(seconds)


async def _drive_async(steps: Steps, *, close: bool = True) -> None:
    try:
        for seconds in steps:
            await anyio.sleep(seconds)
    finally:
        if close:
            steps.close()
