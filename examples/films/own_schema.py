"""A schema of the example's own, on whatever server it is pointed at, so that tables that are there already are never touched."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import LiteralString

import anyio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from trioorm import Database, open_database, sql

_DROP_SECONDS = 10
_LETTERS: list[LiteralString] = ["b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "q", "r", "s", "t", "v", "w", "x", "z"]


@asynccontextmanager
async def open_in_own_schema(address: str) -> AsyncGenerator[Database]:
    """Open a database whose sessions work in a new, empty schema; it is dropped at the end with all that is in it.

    Args:
        address: of the server; "embedded:" starts one for the length of the block.

    Raises:
        ConnectFailed: the server cannot be reached.
        InsufficientPrivilege: the role may not create schemas in this database.

    Checkpoint: always.
    """
    schema = _new_name()
    async with open_database(address, max_size=1) as owner:
        options = conninfo_to_dict(owner.address).get("options") or ""
        inside = make_conninfo(owner.address, options=f"{options} -c search_path={schema}".strip(), application_name=schema)
        await owner.execute(sql(f"CREATE SCHEMA {schema}"))
        try:
            async with open_database(inside, max_size=10) as db:
                yield db
        finally:
            # Also when this task is cancelled, but not for ever.
            with anyio.move_on_after(_DROP_SECONDS, shield=True):
                await owner.execute(sql(f"DROP SCHEMA {schema} CASCADE"))


def _new_name() -> LiteralString:
    """A name that no schema has. Names cannot be bound as values are, so `sql()` takes them only when made of the program's own text."""
    return "trioorm_films_" + "".join(secrets.choice(_LETTERS) for _ in range(10))
