"""What goes wrong in a program's first week, and what it is told: each error says what happened, why, and how to fix it."""

import logging
import socket
from collections.abc import Iterator
from functools import partial

import anyio
import anyio.to_thread
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.database.zoo import Animal, Visit
from trioorm import (
    AuthenticationFailed,
    BindError,
    Column,
    ConnectFailed,
    DatabaseError,
    Model,
    PoolClosed,
    QueryError,
    TransactionAborted,
    UniqueViolation,
    column,
    open_database,
    select,
    sql,
)
from trioorm.embedded import Server, ServerOptions, running_server
from trioorm.errors import DataError, UndefinedColumn, UndefinedTable, UnknownColumn, UsageError, WrongDatabaseOwner

SECRET = "swordfish-7351"


@pytest.fixture(scope="module")
def tcp_server() -> Iterator[Server]:
    with running_server(options=ServerOptions(tcp=True)) as server:
        yield server


def _says(error: BaseException, *words: str) -> None:
    for word in words:
        assert word in str(error)
    assert "To fix it" in str(error)


def _assert_untold(secret: str, error: BaseException | None) -> None:
    """A traceback prints the error with its causes; none of them may tell the secret."""
    while error is not None:
        assert secret not in f"{error!s} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


# Statements.


async def test_an_unknown_column_of_a_model() -> None:
    with pytest.raises(UnknownColumn) as caught:
        select(Animal).where(Animal.colour == "red")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    _says(caught.value, "Animal", "colour")
    assert not hasattr(Animal, "colour")


class OlderAnimal(Model, table="animals"):
    """A model that has a column more than its table."""

    id: Column[int] = column(primary_key=True)
    colour: Column[str]


async def test_a_column_that_the_table_does_not_have(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        with pytest.raises(UndefinedColumn) as caught:
            await db.fetch_all(select(OlderAnimal))
        _says(caught.value, "42703", "colour", "Near:", ">>>", "Compare the model's columns with the table's")
        assert caught.value.statement is not None
        assert caught.value.position is not None


async def test_a_table_that_is_missing(dsn: str) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(UndefinedTable) as caught:
            await db.fetch_all(select(Animal))
        _says(caught.value, 'relation "animals" does not exist', "42P01", "await db.create_schema(...)")
        with pytest.raises(UndefinedTable):
            await db.insert(Animal(name="Ada"))
        with pytest.raises(UndefinedTable):
            await db.copy_in(Animal, [Animal(name="Ada")])
        with pytest.raises(UndefinedTable):
            async with db.stream(select(Animal)) as animals:
                await anext(animals)
        assert await db.fetch_value(sql("SELECT 1").returns(int)) == 1


async def test_a_value_of_the_wrong_type(dsn: str) -> None:
    with pytest.raises(QueryError) as caught:
        select(Animal).where(Animal.age == SECRET)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _says(caught.value, "str", "smallint")
    _assert_untold(SECRET, caught.value)


async def test_a_syntax_error_points_at_the_place(dsn: str) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(DatabaseError) as caught:
            await db.execute(sql("SELECT 1 FRM animals"))
        assert "42601" in str(caught.value)
        assert ">>> animals" in str(caught.value)


async def test_a_statement_after_a_failed_one(dsn: str) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(TransactionAborted) as caught:
            async with db.transaction(name="pay") as tx:
                with pytest.raises(UndefinedTable):
                    await tx.fetch_all(select(Animal))
                await tx.execute(sql("SELECT 1"))
        _says(caught.value, "the transaction 'pay' was aborted because of UndefinedTable: relation \"animals\" does not exist")


async def test_what_is_no_statement_is_refused(dsn: str) -> None:
    async with open_database(dsn) as db:
        for what in ("SELECT 1", Animal, None):
            with pytest.raises(UsageError) as caught:
                await db.fetch_all(what)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            _says(caught.value)
        with pytest.raises(UsageError):
            await db.insert(Animal)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


# The server.


async def test_a_server_that_is_not_there() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed) as caught:
            async with open_database(f"postgresql://ada:{SECRET}@127.0.0.1:{bound.getsockname()[1]}/shop"):
                pytest.fail("nobody listens there")
    _says(caught.value, "no connection could be made", "Connection refused", "check that the server runs and listens there")
    assert caught.value.safe_to_retry
    _assert_untold(SECRET, caught.value)


async def test_a_wrong_password(tcp_server: Server) -> None:
    address = make_conninfo(tcp_server.conninfo(tcp=True), password=SECRET)
    with pytest.raises(AuthenticationFailed) as caught:
        async with open_database(address):
            pytest.fail("the password is wrong")
    _says(caught.value, "password authentication failed", "retrying will not help")
    assert not caught.value.safe_to_retry
    assert caught.value.sqlstate == "28P01"
    _assert_untold(SECRET, caught.value)


async def test_a_wrong_password_without_a_first_connection_is_told_to_each_that_waits(tcp_server: Server) -> None:
    address = make_conninfo(tcp_server.conninfo(tcp=True), password=SECRET)
    refused: list[BaseException] = []
    async with open_database(address, min_size=0) as db:

        async def ask() -> None:
            with pytest.raises(AuthenticationFailed) as caught:
                await db.fetch_all(sql("SELECT 1"))
            refused.append(caught.value)

        async with anyio.create_task_group() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
    assert len(refused) == 3
    for error in refused:
        _assert_untold(SECRET, error)


async def test_a_database_that_does_not_exist(dsn: str) -> None:
    with pytest.raises(AuthenticationFailed, match="does not exist") as caught:
        async with open_database(make_conninfo(dsn, dbname="nowhere")):
            pytest.fail("there is no such database")
    assert caught.value.sqlstate == "3D000"


async def test_an_address_that_is_none() -> None:
    with pytest.raises(Exception, match=r"address|connection string|URI") as caught:
        async with open_database(f"postgresql://ada:{SECRET} fish@host/shop"):
            pytest.fail("the address is malformed")
    _assert_untold(SECRET, caught.value)


# The database object.


async def test_a_closed_database(dsn: str) -> None:
    async with open_database(dsn) as db:
        pass
    for use in (
        lambda: db.fetch_all(sql("SELECT 1")),
        lambda: db.insert(Animal(name="Ada")),
        lambda: db.copy_in(Animal, [Animal(name="Ada")]),
        lambda: db.create_schema(Animal),
        lambda: db.transaction().__aenter__(),
        lambda: db.stream(select(Animal)).__aenter__(),
    ):
        with pytest.raises(PoolClosed) as caught:
            await use()
        _says(caught.value, "its `async with` block has ended", "do the work inside the block")


async def test_a_database_opened_twice(dsn: str) -> None:
    opening = open_database(dsn)
    async with opening as db:
        with pytest.raises(UsageError, match="was entered before") as caught:
            async with opening:
                pytest.fail("it is open already")
        _says(caught.value)
        assert await db.fetch_value(sql("SELECT 1").returns(int)) == 1


async def test_another_event_loop(dsn: str, backend: str) -> None:
    async with open_database(dsn) as db:

        async def use() -> None:
            with pytest.raises(WrongDatabaseOwner) as caught:
                await db.fetch_all(sql("SELECT 1"))
            _says(caught.value, "opened in another event loop or thread", "anyio.from_thread.run")
            with pytest.raises(WrongDatabaseOwner):
                async with db.transaction():
                    pytest.fail("the database belongs to another loop")

        for other in ("trio", "asyncio"):
            await anyio.to_thread.run_sync(partial(anyio.run, use, backend=other))
        assert await db.fetch_value(sql("SELECT 1").returns(int)) == 1


@pytest.mark.parametrize("settings", [{"max_size": 0}, {"min_size": -1}, {"min_size": 5, "max_size": 2}, {"timeout_seconds": 0}])
async def test_settings_that_contradict(dsn: str, settings: dict[str, int]) -> None:
    with pytest.raises((ValueError, UsageError), match=r"min_size|max_size|timeout_seconds"):
        async with open_database(dsn, **settings):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            pytest.fail("these settings cannot hold")


# Secrets.


async def test_the_encoding_is_not_changed(dsn: str) -> None:
    """Text is sent as UTF-8, so the server would read other letters."""
    async with open_database(dsn, max_size=1) as db:
        with pytest.raises(QueryError, match="client_encoding cannot be changed here"):
            await db.execute(sql("SET client_encoding TO latin1"))
        async with db.transaction() as tx:
            with pytest.raises(QueryError, match="client_encoding cannot be changed here"):
                await tx.execute(sql("SELECT set_config('client_encoding', {encoding}, true)", encoding="latin1"))
        assert await db.fetch_value(sql("SELECT octet_length({letter})", letter="é").returns(int)) == 2


async def test_bind_values_are_in_no_error_text(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal, Visit)
        await db.insert(Animal(name=SECRET))
        with pytest.raises(UniqueViolation) as unique:
            await db.insert(Animal(name=SECRET))
        assert unique.value.detail is not None
        assert SECRET in unique.value.detail, "the server's own detail is kept, as an attribute"
        with pytest.raises(UndefinedColumn) as undefined:
            await db.fetch_all(sql("SELECT nothing FROM animals WHERE name = {word}", word=SECRET))
        with pytest.raises(BindError) as unfit:
            await db.fetch_all(sql("SELECT {word}", word=f"{SECRET}\0"))
        with pytest.raises(TransactionAborted) as aborted:
            async with db.transaction() as tx:
                with pytest.raises(UniqueViolation):
                    await tx.insert(Animal(name=SECRET))
                await tx.execute(sql("SELECT 1"))
    for caught in (unique, undefined, unfit):
        _assert_untold(SECRET, caught.value)
    _assert_untold(SECRET, aborted.value)


async def test_neither_values_nor_passwords_are_logged(tcp_server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    password = tcp_server.conninfo(tcp=True).partition("password=")[2].split(" ")[0]
    assert password
    async with open_database(tcp_server.conninfo(tcp=True), max_size=2) as db:
        assert password not in repr(db)
        await db.execute(sql("SELECT {word}", word=SECRET))
        with pytest.raises(DatabaseError):
            await db.execute(sql("SELECT {word} / 0", word=1))
        with anyio.move_on_after(0.05):
            await db.execute(sql("SELECT {word}, pg_sleep(60)", word=SECRET))
        pid = await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int))
        with psycopg.connect(tcp_server.conninfo()) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        await db.execute(sql("SELECT {word}", word=SECRET).reads_only())
        assert password not in repr(db)
    assert SECRET not in caplog.text
    assert password not in caplog.text


@pytest.mark.parametrize("to", ["int", "date", "uuid", "jsonb", "interval"])
async def test_a_value_that_the_server_quotes_is_not_handed_on(dsn: str, to: str) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(DataError) as caught:
            await db.fetch_all(sql(f"SELECT {{word}}::text::{to}", word=SECRET))  # pyright: ignore[reportArgumentType]
        _assert_untold(SECRET, caught.value)
        assert "(SQLSTATE 22" in str(caught.value)
        with pytest.raises(TransactionAborted) as aborted:
            async with db.transaction() as tx:
                with pytest.raises(DataError):
                    await tx.fetch_all(sql(f"SELECT {{word}}::text::{to}", word=SECRET))  # pyright: ignore[reportArgumentType]
                await tx.execute(sql("SELECT 1"))
        _assert_untold(SECRET, aborted.value)
