"""Runs every async test on Trio and on asyncio, and gives each test a fresh database on a real server.

The contract: `async def test_...` needs no mark; it is collected twice, as `[trio]` (pytest-trio) and `[asyncio]` (AnyIO's plugin).
Fixtures are synchronous; what a test opens it opens with `async with`. A session that outlives its test fails that test.

Settings: `TRIOORM_TEST_DSN` names a server to use instead of an embedded one; its user must be allowed to create databases. With
`TRIOORM_TEST_UVLOOP=1` the tests that are named for asyncio run on uvloop.

Why the marks are set here and neither plugin's automatic mode is used: pytest-trio's takes the asyncio variants too and runs them under
Trio, without a word. `tests/test_backends.py` holds this file to its word.
"""

import inspect
import os
import signal
import time
import uuid
from collections.abc import Generator, Iterator

import hypothesis
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from trioorm.embedded import Server, ServerOptions, running_server

_LEAVE_SECONDS = 1.0  # the time a server may take to notice that a client has gone

hypothesis.settings.register_profile(
    "trioorm",
    deadline=None,  # examples talk to a server; pytest-timeout bounds the whole test
    # One database serves all examples of a test; they are written for that.
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("trioorm")

# A runner in the background may have been started with Ctrl-C ignored; tests of Ctrl-C, and the programs that they start, want it as usual.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Both event loops.


def _inner_test(function: object) -> object:
    """The test as written: below `@given` it lies one layer deeper."""
    hypothesis_handle = getattr(function, "hypothesis", None)
    return function if hypothesis_handle is None else hypothesis_handle.inner_test


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: object) -> None:
    if collector.istestfunction(obj, name) and inspect.iscoroutinefunction(_inner_test(obj)):
        assert inspect.isfunction(obj)
        pytest.mark.usefixtures("backend", "anyio_backend")(obj)
        obj.__dict__["_test_as_written"] = _inner_test(obj)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "_test_as_written" in metafunc.function.__dict__:
        both = [pytest.param("trio", marks=pytest.mark.trio), pytest.param("asyncio", marks=pytest.mark.anyio)]
        metafunc.parametrize("backend", both, indirect=True, scope="session")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    # Each plugin replaces the function inside `@given` by one that starts its own loop, and leaves it there: the second backend would find
    # the first one's, and run on it.
    function = getattr(item, "obj", None)
    as_written = getattr(function, "_test_as_written", None)
    hypothesis_handle = getattr(function, "hypothesis", None)
    if as_written is not None and hypothesis_handle is not None:
        hypothesis_handle.inner_test = as_written
    return (yield)


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """The event loop of an async test: "trio" or "asyncio"."""
    name: object = getattr(request, "param", None)
    if not isinstance(name, str):
        raise pytest.UsageError("The fixture 'backend' belongs to async tests; this one is synchronous and runs on no event loop.")
    return name


@pytest.fixture(scope="session")
def anyio_backend(backend: str) -> tuple[str, dict[str, bool]] | None:
    """What AnyIO's plugin runs a test on; it leaves the test alone when this is None."""
    return ("asyncio", {"use_uvloop": "TRIOORM_TEST_UVLOOP" in os.environ}) if backend == "asyncio" else None


# Servers and databases.


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """The address of the administrator's database on the server of this process (each xdist worker has its own)."""
    given = os.environ.get("TRIOORM_TEST_DSN")
    if given:
        yield given
        return
    with running_server(options=ServerOptions(max_connections=200, settings={"max_prepared_transactions": 10})) as server:
        yield server.conninfo()


@pytest.fixture
def dsn(server_dsn: str) -> Iterator[str]:
    """The address of a fresh, empty database. It is dropped after the test, which fails if a session of it is left."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        # file_copy copies files where the default writes all pages to the log: a third of the time.
        strategy = "STRATEGY file_copy" if connection.info.server_version >= 150000 else ""
        connection.execute(sql.SQL(f"CREATE DATABASE {{}} TEMPLATE template0 {strategy}").format(sql.Identifier(name)))
    try:
        yield make_conninfo(server_dsn, dbname=name)
        leftovers = _leftover_sessions(server_dsn, name)
    finally:
        with psycopg.connect(server_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    if leftovers:
        pytest.fail(
            f"{len(leftovers)} session(s) of the test's database were still there {_LEAVE_SECONDS} s after the test:\n"
            + "\n".join(leftovers),
            pytrace=False,
        )


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server of the test's own, to kill, freeze or restart."""
    with running_server() as server:
        yield server


def _leftover_sessions(server_dsn: str, database: str) -> list[str]:
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        deadline = time.monotonic() + _LEAVE_SECONDS
        while True:
            rows = connection.execute(
                "SELECT pid, application_name, state, left(query, 200) FROM pg_stat_activity"
                " WHERE datname = %s AND backend_type = 'client backend' ORDER BY pid",
                [database],
            ).fetchall()
            if not rows or time.monotonic() > deadline:
                return [f"  process {pid} ({name or 'no application name'}), {state}: {query}" for pid, name, state, query in rows]
            time.sleep(0.01)
