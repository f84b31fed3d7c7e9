"""The folder of an embedded server: what lies where, and who may open it.

    FOLDER/
      data/         PostgreSQL's own data folder
      server.log    what the server and its watchdog wrote
      password      of the user postgres, for TCP connections
      port          the port of the last start; it names the unix socket too
      socket/       the unix socket
      programs/     a copy of PostgreSQL's programs while the server runs, when its account cannot reach their own place
      outside       a link to a folder elsewhere that holds the last two, when this path is too long for a socket or closed to that account
      owners.lock   held shared by every process that uses the server (`watchdog.py`)
      start.lock    held while the server is being started

The contract: a temporary folder is made here with a short path; a folder that stays is made on first use and never shared with anything
else.
"""

import os
import secrets
from pathlib import Path

from attrs import frozen

from trioorm.embedded import watchdog
from trioorm.embedded.account import Account, can_reach, fits_socket, server_account, temporary_folder
from trioorm.errors import EmbeddedServerError

_OURS = frozenset(
    {"data", "data.new", "server.log", "server.log.1", "password", "port", "socket", "programs", "outside", "owners.lock", "start.lock"}
)
_LONGEST_LOG_BYTES = 10_000_000


@frozen
class Folder:
    """One server's folder and the account that its server runs under (None: our own)."""

    path: Path
    temporary: bool
    account: Account | None

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def log(self) -> Path:
        return self.path / "server.log"

    @property
    def is_initialised(self) -> bool:
        return (self.data / "PG_VERSION").exists()

    def open_lock(self, name: str) -> int:
        """Open a lock file, not yet locked. The descriptor is the caller's to close."""
        return self.open_own(name, os.O_RDWR | os.O_CREAT)

    def open_log(self) -> int:
        """Open the log to append to it, setting aside one that has grown too long."""
        try:
            if self.log.stat().st_size > _LONGEST_LOG_BYTES:
                self.log.replace(self.path / "server.log.1")
        except FileNotFoundError:
            pass
        return self.open_own("server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def log_size(self) -> int:
        """Length of the log in bytes; 0 when there is none."""
        try:
            return self.log.stat().st_size
        except FileNotFoundError:
            return 0

    def log_tail(self, *, since_byte: int = 0, lines: int = 20) -> str:
        """The last lines of the log, at most those written after `since_byte`."""
        try:
            with self.log.open("rb") as file:
                file.seek(since_byte)
                written = file.read()
        except FileNotFoundError:
            return ""
        return "\n".join(written.decode("utf-8", errors="replace").splitlines()[-lines:])

    def password(self) -> str:
        """The password of the user postgres, made on first use."""
        path = self.path / "password"
        if not path.exists():
            self.write_own("password", secrets.token_urlsafe(24))
            if self.account is not None:
                os.chown(path, self.account.uid, self.account.gid)  # initdb reads it under that account
        return path.read_text(encoding="utf-8").strip()

    def remembered_port(self) -> int | None:
        """The port of the last start."""
        try:
            return int((self.path / "port").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def socket_directory(self) -> Path:
        """The folder of the unix socket, made on first use; only the server's account (and root) may pass it."""
        directory = self._runtime_directory() / "socket"
        directory.mkdir(mode=0o700, exist_ok=True)
        if self.account is not None:
            os.chown(directory, self.account.uid, self.account.gid)
        return directory

    def programs_directory(self) -> Path:
        """Where a copy of the programs would go, should the server's account not reach them; it may not exist."""
        return self._runtime_directory() / "programs"

    def _runtime_directory(self) -> Path:
        """This folder, or the one that `outside` links to where paths here are too long for a socket or closed to the account."""
        link = self.path / "outside"
        if not link.is_symlink() and fits_socket(self.path / "socket") and can_reach(self.path / "socket", self.account):
            return self.path
        if link.is_symlink():
            target = Path(os.readlink(link))
            if watchdog.is_own_outer_folder(str(target)):
                return target
            link.unlink()  # swept away meanwhile, with a cleaning of /tmp for instance, or another user's
        made = temporary_folder(self.account)
        link.symlink_to(made)
        return made

    def write_own(self, name: str, text: str) -> None:
        """Write a small file of ours, whole or not at all."""
        fresh = self.path / f"{name}.{os.getpid()}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            self._give_to_folder_owner(file.fileno())
            file.write(text)
        fresh.replace(self.path / name)

    def open_own(self, name: str, flags: int) -> int:
        """Open a file of ours in the folder, readable by its owner only.

        Raises:
            EmbeddedServerError: the folder was made by another user.
        """
        path = self.path / name
        try:
            descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except PermissionError as error:
            raise _closed_to_us(self.path) from error
        self._give_to_folder_owner(descriptor)
        return descriptor

    def _give_to_folder_owner(self, descriptor: int) -> None:
        # Root may use a user's folder in passing; what it adds must stay usable for that user.
        if os.geteuid() == 0:
            owner = self.path.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def new_temporary_folder() -> Folder:
    """Make a folder that goes with its server."""
    account = server_account(Path("/nonexistent"))
    return Folder(temporary_folder(account), temporary=True, account=account)


def lasting_folder(path: Path) -> Folder:
    """Take a folder that stays, making it when it is not there.

    Raises:
        EmbeddedServerError: the folder is somebody else's or holds other things. Not safe to retry.
    """
    path = path.expanduser().resolve()
    try:
        path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        names = {entry.name for entry in path.iterdir()}
    except FileExistsError as error:
        raise EmbeddedServerError(f"{path} is a file, but an embedded server needs a folder.\nTo fix it, name another path.") from error
    except PermissionError as error:
        raise _closed_to_us(path) from error
    except OSError as error:
        raise EmbeddedServerError(f"The folder {path} cannot be made: {error.strerror}.\nTo fix it, name another path.") from error
    if "PG_VERSION" in names:
        raise EmbeddedServerError(
            f"{path} is a PostgreSQL data folder that another program made.\n"
            "To fix it, start that server yourself and pass its address, or name a folder that is new or empty."
        )
    if names and not names & _OURS:
        raise EmbeddedServerError(
            f"{path} holds other files ({', '.join(sorted(names)[:3])}, ...) and no embedded server.\n"
            f"To fix it, name a folder of the server's own, such as {path / 'database'}"
        )
    folder = Folder(path, temporary=False, account=server_account(path / "data"))
    if folder.account is None and folder.data.exists() and folder.data.stat().st_uid != os.geteuid():
        raise _closed_to_us(path)
    return folder


def _closed_to_us(path: Path) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"{path} cannot be used by user number {os.geteuid()}: it, or the server's data in it, belong to another user.\n"
        "To fix it, one of:\n"
        "  1. run as the user who made the folder (root may use any)\n"
        "  2. name another folder"
    )
