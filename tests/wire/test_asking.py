"""A single statement outside of libpq's pipeline mode: as a flight of one, whatever comes in its way."""

import anyio
import pytest
from psycopg.pq import Format, PipelineStatus
from psycopg.pq.abc import PGresult

from tests.wire.witness import Witness, statuses, step, text_rows, works
from trioorm.errors import ConnectionLost
from trioorm.testing import count_suspensions
from trioorm.wire import AnyIOConnection, OnCancel, Statement, error_from_result

_MEGABYTE = 1_000_000


async def _ask(connection: AnyIOConnection, statement: Statement, *values: str, on_cancel: OnCancel = OnCancel.STOP) -> PGresult:
    return await connection.ask(statement, [value.encode() for value in values], [Format.TEXT] * len(values), on_cancel=on_cancel)


def _text(text: str, *types: int) -> Statement:
    return Statement(text.encode(), types, Format.TEXT)


async def test_it_is_prepared_by_a_flight_and_then_costs_one_wait_outside_of_the_pipeline(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        statement = _text("SELECT $1::int + 1", 23)
        for number in range(3):
            assert text_rows(await _ask(connection, statement, f"{number}")) == [(f"{number + 1}",)]
        assert connection.pgconn.pipeline_status == PipelineStatus.OFF
        assert await count_suspensions(_ask(connection, statement, "7")) == 1
        assert await works(connection)
        assert text_rows(await _ask(connection, statement, "8")) == [("9",)]


async def test_large_answers_and_large_parameters_arrive_whole(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        statement = _text("SELECT repeat($1, 3) FROM generate_series(1, 5)", 25)
        await _ask(connection, statement, "short")
        assert text_rows(await _ask(connection, statement, "x" * 5 * _MEGABYTE)) == [("x" * 15 * _MEGABYTE,)] * 5
        assert await works(connection)


async def test_an_error_of_the_server_is_the_result(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        statement = _text("SELECT 1 / $1::int", 23)
        await _ask(connection, statement, "1")
        assert error_from_result(await _ask(connection, statement, "0")).sqlstate == "22012"
        assert text_rows(await _ask(connection, statement, "1")) == [("1",)]


async def test_a_write_that_cannot_be_committed_has_that_error(dsn: str, witness: Witness) -> None:
    """The statement succeeds and returns its row; a deferred constraint is looked at behind that."""
    witness.run("CREATE TABLE person (name text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        for text in ("INSERT INTO person VALUES ($1)", "INSERT INTO person VALUES ($1) RETURNING name"):
            statement = _text(text, 25)
            await _ask(connection, statement, text)
            assert statuses([await _ask(connection, statement, text)]) == ["FATAL_ERROR"]
            assert await works(connection)
    assert witness.value("SELECT count(*) FROM person") == 2


async def test_what_was_prepared_is_forgotten_with_deallocate(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        select, forget = _text("SELECT 1"), _text("DEALLOCATE ALL")
        for _ in range(3):
            await _ask(connection, select)
            await _ask(connection, forget)
            assert text_rows(await _ask(connection, select)) == [("1",)]


@pytest.mark.parametrize("on_cancel", [OnCancel.STOP, OnCancel.SETTLE])
async def test_a_cancellation_stops_it_on_the_server(dsn: str, witness: Witness, on_cancel: OnCancel) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        statement = _text("SELECT pg_sleep($1::float8)", 701)
        await _ask(connection, statement, "0")
        with anyio.move_on_after(0.05) as scope:
            await _ask(connection, statement, "30", on_cancel=on_cancel)
        assert scope.cancelled_caught
        assert witness.value("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(%%'") == 0
        assert text_rows(await _ask(connection, statement, "0")) == [("",)]


async def test_a_write_that_took_effect_ends_normally_when_settled(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text)")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        statement = _text("INSERT INTO person VALUES ($1)", 25)
        await _ask(connection, statement, "Ada")
        with anyio.CancelScope() as scope:
            scope.cancel()  # it is the caller who looks before it is sent
            outcome = await _ask(connection, statement, "Grace", on_cancel=OnCancel.SETTLE)
            assert outcome.command_status == b"INSERT 0 1"
            assert witness.value("SELECT count(*) FROM person") == 2
            await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught


async def test_a_connection_that_breaks_under_it_is_lost(dsn: str, witness: Witness) -> None:
    for on_cancel in (OnCancel.STOP, OnCancel.SETTLE):
        connection = await AnyIOConnection.connect(dsn, autocommit=True)
        statement = _text("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep($1::float8)", 701)
        harmless = _text("SELECT $1::text", 25)
        await _ask(connection, harmless, "x")
        await connection.fly([step("SELECT 1")])
        connection._prepared_names.add(statement.name)  # pyright: ignore[reportPrivateUsage] - it could be prepared by nothing but a run
        await connection.fly([step(f"PREPARE {statement.name.decode()} (float8) AS {statement.text.decode()}")])
        with pytest.raises(ConnectionLost) as lost:
            await _ask(connection, statement, "30", on_cancel=on_cancel)
        assert "terminating connection" in str(lost.value)
        assert connection.closed
