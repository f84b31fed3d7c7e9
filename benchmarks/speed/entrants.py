"""Who takes part: the name, the file, the event loop and the packages that it needs.

The contract: a contender's file is imported only in the process that runs it, so that no library costs another one anything.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from attrs import frozen

from benchmarks.speed.contender import Contender, offers
from benchmarks.speed.pgbench import SCRIPTS, program
from benchmarks.speed.workloads import Workload

Loop = Literal["trio", "asyncio", "uvloop"]


@frozen
class Entrant:
    """A contender by name.

    Attributes:
        module, class_name: where it is written.
        packages: what must be installed, as the package index names it.
        is_orm: whether it gives objects of models.
        is_limit: whether it only shows what cannot be passed; it is no rival.
    """

    name: str
    module: str
    class_name: str
    loop: Loop
    packages: tuple[str, ...]
    is_orm: bool = False
    is_limit: bool = False

    def load(self) -> type[Contender]:
        """Import its class."""
        found: type[Contender] = getattr(import_module(f"benchmarks.speed.contenders.{self.module}"), self.class_name)
        return found

    @property
    def gives_rows(self) -> bool:
        """Whether it can be compared with the others; pgbench is only timed."""
        return self.name != PGBENCH

    def does(self, workload: Workload) -> bool:
        """Whether it has a way to do this."""
        return workload.name in SCRIPTS if not self.gives_rows else offers(self.load(), workload.method, workload.opening)

    def missing(self) -> list[str]:
        """What of it is not installed."""
        if not self.gives_rows and program() is None:
            return ["PostgreSQL's program pgbench"]
        return [package for package in self.packages if not is_installed(package)]


PGBENCH = "pgbench"
_UVLOOP = ("uvloop",)
_ALL = (
    Entrant("asyncpg", "with_asyncpg", "Asyncpg", "asyncio", ("asyncpg",)),
    Entrant("asyncpg on uvloop", "with_asyncpg", "Asyncpg", "uvloop", ("asyncpg", *_UVLOOP)),
    Entrant("psycopg", "with_psycopg", "Psycopg", "asyncio", ("psycopg", "psycopg-pool")),
    Entrant("trioorm on Trio", "with_trioorm", "Trioorm", "trio", ("trioorm",), is_orm=True),
    Entrant("trioorm on asyncio", "with_trioorm", "Trioorm", "asyncio", ("trioorm",), is_orm=True),
    Entrant("trioorm on uvloop", "with_trioorm", "Trioorm", "uvloop", ("trioorm", *_UVLOOP), is_orm=True),
    Entrant("SQLAlchemy", "with_sqlalchemy", "Sqlalchemy", "asyncio", ("sqlalchemy", "asyncpg"), is_orm=True),
    Entrant("Tortoise", "with_tortoise", "TortoiseOrm", "asyncio", ("tortoise-orm", "asyncpg"), is_orm=True),
    Entrant("Piccolo", "with_piccolo", "Piccolo", "asyncio", ("piccolo", "asyncpg"), is_orm=True),
    Entrant("libpq on Trio", "with_libpq", "Libpq", "trio", ("psycopg", "trio"), is_limit=True),
    Entrant(PGBENCH, "", "", "asyncio", (), is_limit=True),
)

ENTRANTS = {entrant.name: entrant for entrant in _ALL}
BASELINE = "asyncpg"


def chosen(names: Sequence[str]) -> list[Entrant]:
    """The entrants that a user means: a whole name, or the first word of several."""
    return [entrant for entrant in _ALL if any(entrant.name == name or entrant.name.split()[0] == name for name in names)]


def is_installed(package: str) -> bool:
    """Whether a package is there, by the name that the package index has for it."""
    return _version(package) is not None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions(entrants: Sequence[Entrant]) -> dict[str, str]:
    """The versions of what takes part."""
    names = {package for entrant in entrants for package in entrant.packages} | {"psycopg", "trio", "anyio"}
    return {name: found for name in sorted(names) if (found := _version(name)) is not None}
