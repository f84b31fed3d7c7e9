"""Nothing of psycopg's asynchronous API is left untested: every public name of its classes, and all of it on uvloop too."""

import inspect
from collections.abc import Awaitable, Callable
from importlib import import_module
from itertools import product
from typing import Any

import anyio
import psycopg
import pytest

from tests.wire.psycopg_api.covers import covered, public_names
from tests.wire.witness import Witness

_MODULES = [import_module(f"tests.wire.psycopg_api.test_{theme}") for theme in ("session", "cursors", "blocks", "types")]

# Names of the implementation that begin with no underscore.
_INTERNAL = {
    psycopg.AsyncConnection: {"pgconn", "lock", "notice_handler", "notify_handler"},
    psycopg.ConnectionInfo: {"pgconn"},
    psycopg.AsyncCopy: {"cursor", "connection", "formatter"},
}

# What a class inherits is tested on the class that has it.
_PARENTS: dict[type, type] = {
    psycopg.AsyncServerCursor: psycopg.AsyncCursor,
    psycopg.AsyncRawCursor: psycopg.AsyncCursor,
    psycopg.AsyncClientCursor: psycopg.AsyncCursor,
    psycopg.AsyncRawServerCursor: psycopg.AsyncServerCursor,
}


@pytest.mark.parametrize(
    "owner",
    [
        psycopg.AsyncConnection,
        psycopg.ConnectionInfo,
        psycopg.AsyncCursor,
        psycopg.AsyncServerCursor,
        psycopg.AsyncRawCursor,
        psycopg.AsyncClientCursor,
        psycopg.AsyncRawServerCursor,
        psycopg.AsyncCopy,
        psycopg.AsyncTransaction,
        psycopg.AsyncPipeline,
    ],
)
def test_every_public_name_has_a_test(owner: type) -> None:
    names = public_names(owner) - _INTERNAL.get(owner, set())
    if parent := _PARENTS.get(owner):
        names -= public_names(parent)
    assert names - covered[owner] == set()


def _cases() -> list[Any]:
    """Every asynchronous test of this folder, with each of its parameters."""
    cases: list[Any] = []
    for module in _MODULES:
        for name, test in inspect.getmembers(module, inspect.iscoroutinefunction):
            if not name.startswith("test_"):
                continue
            marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
            choices = [[{mark.args[0]: value} for value in mark.args[1]] for mark in marks]
            for chosen in product(*choices):
                values: dict[str, Any] = {key: value for each in chosen for key, value in each.items()}
                identity = "-".join([name.removeprefix("test_"), *map(str, values.values())])
                cases.append(pytest.param(test, values, id=identity))
    return cases


@pytest.mark.parametrize(("test", "values"), _cases())
def test_on_uvloop(dsn: str, witness: Witness, test: Callable[..., Awaitable[None]], values: dict[str, Any]) -> None:
    given = {"dsn": dsn, "witness": witness}
    arguments = values | {name: value for name, value in given.items() if name in inspect.signature(test).parameters}

    async def run() -> None:
        await test(**arguments)

    anyio.run(run, backend="asyncio", backend_options={"use_uvloop": True})
