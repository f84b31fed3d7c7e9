"""Passwords from functions: asked anew for each connection, told to nobody, and bounded."""

import logging
import threading
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.wire.witness import works
from trioorm import open_database, sql
from trioorm.embedded import Server
from trioorm.errors import AuthenticationFailed, ConnectFailed, UsageError
from trioorm.pool import open_pool
from trioorm.wire import AnyIOConnection


@pytest.fixture
def secret(rough_server: Server) -> str:
    return str(conninfo_to_dict(rough_server.conninfo(tcp=True))["password"])


@pytest.fixture
def address(rough_server: Server) -> str:
    """It asks for a password, and has none."""
    parts = conninfo_to_dict(rough_server.conninfo(tcp=True))
    del parts["password"]
    return make_conninfo("", **parts, passfile="/nonexistent")


async def test_an_async_function_is_asked_on_the_loop(address: str, secret: str) -> None:
    async def ask() -> str:
        assert threading.current_thread() is loop_thread
        await anyio.lowlevel.checkpoint()
        return secret

    loop_thread = threading.current_thread()
    for function in (ask, partial(ask)):
        async with await AnyIOConnection.connect(address, password=function) as connection:
            assert await works(connection)


async def test_a_plain_function_is_asked_in_a_thread(address: str, secret: str) -> None:
    """It may stand still: were it asked on the loop, the loop would stand with it for ever."""
    loop_went_on = threading.Event()
    connected = False

    def ask() -> str:
        assert loop_went_on.wait(5), "the event loop stood still"
        return secret

    async def connect() -> None:
        nonlocal connected
        async with await AnyIOConnection.connect(address, password=ask) as connection:
            connected = await works(connection)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connect)
        await anyio.lowlevel.checkpoint()
        loop_went_on.set()
    assert connected


async def test_text_wins_over_the_address(address: str, secret: str) -> None:
    async with await AnyIOConnection.connect(make_conninfo(address, password="wrong"), password=secret) as connection:
        assert await works(connection)


async def test_it_is_asked_anew_for_each_connection(address: str, secret: str) -> None:
    asked: list[int] = []

    async def ask() -> str:
        asked.append(len(asked))
        return secret

    async with open_database(address, max_size=2, password=ask) as db:
        assert len(asked) == 1
        async with db.transaction() as one, db.transaction() as other:
            assert await one.fetch_value(sql("SELECT 1").returns(int)) + await other.fetch_value(sql("SELECT 1").returns(int)) == 2
        assert len(asked) == 2
        async with db.listen("news"):
            assert len(asked) == 3, "the connection that listens is another one"
    async with open_pool(address, password=ask):
        assert len(asked) == 4


async def test_a_token_that_has_changed_is_taken(address: str, secret: str) -> None:
    """The first answer is out of date; the next connection has the new one."""
    answers = iter(["out of date", secret])

    async def ask() -> str:
        return next(answers)

    async with open_pool(address, min_size=0, password=ask) as pool:
        with pytest.raises(AuthenticationFailed):
            await pool.acquire()
        with await pool.acquire() as connection:
            assert connection.is_idle


async def test_it_is_told_nowhere(address: str, secret: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "swordfish-4711"
    with pytest.raises(AuthenticationFailed) as failure:
        await AnyIOConnection.connect(address, password=lambda: wrong)
    opened = open_database(address, password=secret)
    async with opened as db:
        assert secret not in f"{opened!r} {db!r} {db.address}"
    assert wrong not in f"{failure.value!r} {failure.value}"
    assert wrong not in caplog.text
    assert secret not in caplog.text


async def test_a_function_that_fails_is_named_and_may_be_asked_again(address: str) -> None:
    def ask() -> str:
        raise LookupError("the vault is sealed")

    with pytest.raises(ConnectFailed, match="the function that gives the password raised LookupError") as failure:
        await AnyIOConnection.connect(address, password=ask)
    assert failure.value.safe_to_retry
    assert isinstance(failure.value.__cause__, LookupError)


async def test_an_answer_that_is_no_text_is_wrong_use(address: str) -> None:
    with pytest.raises(UsageError, match="returned bytes") as failure:
        await AnyIOConnection.connect(address, password=lambda: b"swordfish")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - shown to be refused
    assert "swordfish" not in str(failure.value)


async def test_a_function_that_hangs_is_given_up_after_connect_timeout(address: str) -> None:
    with pytest.raises(ConnectFailed, match="did not answer within 2 s"):
        await AnyIOConnection.connect(make_conninfo(address, connect_timeout=2), password=anyio.sleep_forever)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - it never answers


async def test_a_scope_ends_a_function_that_hangs(address: str) -> None:
    asked = anyio.Event()
    ended = False

    async def ask() -> str:
        nonlocal ended
        asked.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended = True
        return "never"

    async def connect() -> None:
        await AnyIOConnection.connect(address, password=ask)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connect)
        await asked.wait()
        tasks.cancel_scope.cancel()
    assert ended
