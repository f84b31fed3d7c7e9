"""The account a server runs under, and whether that account can reach a path.

The contract: PostgreSQL refuses to run as root, so root lends the server another account: the owner of an existing data folder, else
`nobody`. No account is created and no folder of the user's is opened to others. An ordinary user's server runs as that user (`None`
here).
"""

import os
import pwd
import stat
import tempfile
from pathlib import Path

from attrs import frozen

_LONGEST_SOCKET_PATH = 103  # bytes; the kernel's field has 108 on Linux and 104 elsewhere
_SOCKET_NAME = "/.s.PGSQL.65535"


@frozen
class Account:
    """A user and group by number."""

    uid: int
    gid: int


def server_account(data: Path) -> Account | None:
    """The account for the server of this data folder, or None for our own."""
    if os.geteuid() != 0:
        return None
    try:
        owner = data.stat()
    except FileNotFoundError:
        owner = None
    if owner is not None and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return Account(65534, 65534)  # the kernel's own number for nobody
    return Account(nobody.pw_uid, nobody.pw_gid)


def can_reach(path: Path, account: Account | None) -> bool:
    """Whether the account may pass every folder above an existing path; always true for our own account."""
    if account is None:
        return True
    return all(_allows(parent, account, search_only=True) for parent in path.resolve().parents)


def can_use(path: Path, account: Account | None) -> bool:
    """Whether the account reaches an existing path and may read it (and enter it, or run it)."""
    return can_reach(path, account) and (account is None or _allows(path.resolve(), account, search_only=False))


def _allows(path: Path, account: Account, *, search_only: bool) -> bool:
    # Mode bits only. An access list that says otherwise is met later, as the server's own error.
    found = path.stat()
    shift = 6 if found.st_uid == account.uid else 3 if found.st_gid == account.gid else 0
    bits = found.st_mode >> shift
    needs = stat.S_IXOTH if search_only else stat.S_IXOTH | stat.S_IROTH
    return bits & needs == needs


def fits_socket(folder: Path) -> bool:
    """Whether a socket in this folder has a path that the kernel takes."""
    return len(os.fsencode(str(folder) + _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH


def temporary_folder(account: Account | None) -> Path:
    """Make a folder with a short path that the account can reach; only its owner, we, may list or change it."""
    for root in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if root.is_dir() and os.access(root, os.W_OK) and can_use(root, account) and fits_socket(root / "trioorm-12345678" / "socket"):
            break
    else:
        root = Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="trioorm-", dir=root))
    if account is not None:
        folder.chmod(0o711)
    return folder
