"""Every line of the table "What happens when" in docs/transactions.md, on both event loops.

The contract: one scenario for each line, found by the line's event; the line says what the block raises and what is written.
"""

import re
from collections.abc import Awaitable, Callable
from typing import cast

import anyio
import anyio.lowlevel
import pytest

from tests.docs.test_tables import table_after
from trioorm import (
    CheckViolation,
    Column,
    ConnectionLost,
    Database,
    DatabaseError,
    Model,
    Transaction,
    TrioormError,
    column,
    open_database,
    select,
    sql,
)
from trioorm.errors import leaves_of
from trioorm.query import Sql
from trioorm.testing import Direction, running_proxy

ROWS = {row[0]: row for row in table_after("transactions.md", "## What happens when")}


class Note(Model, table="notes"):
    text: Column[str] = column(primary_key=True)
    size: Column[int] = column(default=0, check=lambda size: size >= 0)


Scenario = Callable[[Database], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {}


class BodyError(Exception):
    pass


class ChildError(Exception):
    pass


def scenario(event: str) -> Callable[[Scenario], Scenario]:
    """Register what brings an event about; each scenario writes "a" and lets the block end as it will."""

    def register(function: Scenario) -> Scenario:
        SCENARIOS[event] = function
        return function

    return register


async def _fail_child() -> None:
    raise ChildError


async def _bad_statement(tx: Transaction) -> None:
    await tx.insert(Note(text="bad", size=-1))


@scenario("The body and all children end well")
async def _all_well(db: Database) -> None:
    async with db.transaction() as tx:
        tx.start_soon(tx.insert, Note(text="a"))


@scenario("The body raises an exception")
async def _body_raises(db: Database) -> None:
    async with db.transaction() as tx:
        tx.start_soon(anyio.sleep, 60)
        await tx.insert(Note(text="a"))
        raise BodyError


@scenario("A child raises an exception")
async def _child_raises(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.insert(Note(text="a"))
        tx.start_soon(_fail_child)
        tx.start_soon(anyio.sleep, 60)
        await anyio.sleep(60)


@scenario("The body and a child raise exceptions")
async def _both_raise(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.insert(Note(text="a"))
        tx.start_soon(_fail_child)
        raise BodyError


@scenario("A scope around the block is cancelled, or its deadline passes")
async def _deadline(db: Database) -> None:
    with anyio.move_on_after(0.1) as scope:
        async with db.transaction() as tx:
            await tx.insert(Note(text="a"))
            tx.start_soon(tx.execute, sql("SELECT pg_sleep(60)"))
    assert scope.cancelled_caught


@scenario("`tx.cancel_scope.cancel()`")
async def _own_scope(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.insert(Note(text="a"))
        tx.start_soon(anyio.sleep, 60)
        tx.cancel_scope.cancel()


@scenario("A statement fails, and its error leaves the block")
async def _statement_fails(db: Database) -> None:
    async with db.transaction() as tx:
        tx.start_soon(anyio.sleep, 60)
        await tx.insert(Note(text="a"))
        await _bad_statement(tx)


@scenario("A statement fails, and its error is swallowed inside the block")
async def _swallowed(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.insert(Note(text="a"))
        try:
            await _bad_statement(tx)
        except CheckViolation:
            pass


@scenario("A statement fails, is swallowed, and the refusal of another leaves the body")
async def _aborted(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.insert(Note(text="a"))
        try:
            await _bad_statement(tx)
        except CheckViolation:
            pass
        tx.start_soon(anyio.sleep, 60)
        await tx.insert(Note(text="b"))


@scenario("A child's own timeout interrupts its statement, and the child goes on")
async def _child_times_out(db: Database) -> None:
    async def child(tx: Transaction) -> None:
        with anyio.move_on_after(0.1):
            await tx.execute(sql("SELECT pg_sleep(60)"))

    async with db.transaction() as tx:
        await tx.insert(Note(text="a"))
        tx.start_soon(child, tx)


@scenario("A savepoint's block raises, and its error is caught around it")
async def _savepoint(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.insert(Note(text="a"))
        try:
            async with tx.savepoint() as sp:
                await sp.insert(Note(text="in the savepoint"))
                raise BodyError
        except BodyError:
            pass


async def _at_commit(db: Database, function: Sql) -> None:
    """Let the server do something in the middle of each COMMIT that follows an insert of a note."""
    await db.execute(sql("CREATE SEQUENCE commits"))
    await db.execute(function)
    await db.execute(
        sql(
            "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION at_commit()"
        )
    )


REFUSE = sql("CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RAISE foreign_key_violation; RETURN NULL; END $f$")
BE_SLOW = sql(
    "CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS"
    " $f$ BEGIN PERFORM nextval('commits'); PERFORM pg_sleep(0.4); RETURN NULL; END $f$"
)


@scenario("The server refuses the COMMIT")
async def _commit_refused(db: Database) -> None:
    await _at_commit(db, REFUSE)
    async with db.transaction() as tx:
        await tx.insert(Note(text="a"))


async def _backend(tx: Transaction) -> int:
    return await tx.fetch_value(sql("SELECT pg_backend_pid()").returns(int))


async def _terminate(db: Database, backend: int) -> None:
    await db.execute(sql("SELECT pg_terminate_backend({backend}::int, 5000)", backend=backend))


@scenario("The connection breaks before COMMIT is sent")
async def _broken_before(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.insert(Note(text="a"))
        backend = await _backend(tx)
        await _terminate(db, backend)
        await tx.insert(Note(text="b"))


@scenario("The connection breaks during COMMIT, and the server says it was rolled back")
async def _broken_during(db: Database) -> None:
    async def terminate(backend: int) -> None:
        while not await db.fetch_value(sql("SELECT is_called FROM commits").returns(bool)):  # noqa: ASYNC110 - a sequence tells nobody
            await anyio.sleep(0.01)
        await _terminate(db, backend)

    await _at_commit(db, BE_SLOW)
    caught: TrioormError | None = None
    async with anyio.create_task_group() as tasks:
        try:
            async with db.transaction() as tx:
                await tx.insert(Note(text="a"))
                tasks.start_soon(terminate, await _backend(tx))
        except TrioormError as error:
            caught = error
    if caught is not None:
        raise caught


@scenario("The connection breaks during COMMIT, and the server says it was committed")
async def _found_committed(db: Database) -> None:
    with running_proxy(db.address) as proxy:
        async with open_database(proxy.conninfo()) as through_proxy, through_proxy.transaction() as tx:
            await tx.insert(Note(text="a"))
            proxy.cut_at(Direction.TO_CLIENT, delivered=False)


@scenario("The connection breaks during COMMIT, and the server cannot be asked in time")
async def _nobody_to_ask(db: Database) -> None:
    with running_proxy(db.address) as proxy:
        async with open_database(proxy.conninfo(), commit_timeout_seconds=1.0) as through_proxy:
            async with through_proxy.transaction() as tx:
                await tx.insert(Note(text="a"))
                proxy.refuse()
                proxy.cut_at(Direction.TO_CLIENT, delivered=False)


@scenario("A cancellation comes while COMMIT is under way")
async def _cancelled_during(db: Database) -> None:
    await _at_commit(db, BE_SLOW)
    with anyio.move_on_after(0.2) as scope:
        async with db.transaction() as tx:
            await tx.insert(Note(text="a"))
        assert scope.cancel_called
        await anyio.lowlevel.checkpoint()
        pytest.fail("the next checkpoint must raise the cancellation")
    assert scope.cancelled_caught


def test_every_line_of_the_table_has_a_scenario() -> None:
    assert list(ROWS) == list(SCENARIOS)


@pytest.mark.parametrize("event", list(SCENARIOS))
async def test_it_happens_as_the_table_says(event: str, dsn: str) -> None:
    _, raises, written, _ = ROWS[event]
    async with open_database(dsn, max_size=3) as db:
        await db.create_schema(Note)
        raised: Exception | None = None
        with anyio.fail_after(20):
            try:
                await SCENARIOS[event](db)
            except Exception as error:
                raised = error
        _check_raised(raises, raised)
        notes = await db.fetch_all(select(Note.text))
        match written:
            case "everything" | "everything but the savepoint":
                assert notes == ["a"]
            case "nothing":
                assert notes == []
            case _:
                assert written == "everything or nothing"
        assert db.statistics().on_loan == 0


def _check_raised(said: str, raised: Exception | None) -> None:
    named = re.findall(r"`(\w+)`", said)
    if said.startswith(("nothing", "the cancellation")):
        assert raised is None
    elif "ExceptionGroup" in named:
        assert isinstance(raised, ExceptionGroup)
        expected = {ChildError, BodyError} if "both" in said else {ChildError}
        assert {type(error) for error in leaves_of(cast("ExceptionGroup[Exception]", raised))} == expected
    elif named:
        assert type(raised).__name__ in named
        if "with it as the cause" in said:
            assert raised is not None
            assert isinstance(raised.__cause__, CheckViolation)
    else:
        assert said.startswith("that ")
        assert isinstance(raised, BodyError | CheckViolation)
    if isinstance(raised, ConnectionLost):
        assert raised.safe_to_retry
    assert not isinstance(raised, DatabaseError) or raised.sqlstate
