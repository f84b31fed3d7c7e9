"""Flights: several statements in one trip, prepared once, and errors at the step that made them."""

from itertools import pairwise

import anyio
import pytest
from psycopg.pq import ExecStatus, Format

from tests.wire.witness import Witness, again, only_value, statuses, step, text_rows, works
from trioorm.errors import StatementError, TransactionAborted, UndefinedColumn, UndefinedTable, UniqueViolation
from trioorm.testing import count_suspensions
from trioorm.wire import AnyIOConnection, OnCancel, Statement, Step, command, error_from_result, is_error

_MEGABYTE = 1_000_000


async def _prepared_names(connection: AnyIOConnection) -> list[str]:
    """What the server itself says that it keeps; asked without preparing anything."""
    [result] = await connection.fly([command(b"SELECT name FROM pg_prepared_statements ORDER BY prepare_time, name")])
    return [name for (name,) in text_rows(result) if name is not None]


async def test_results_come_in_the_order_of_the_steps(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        results = await connection.fly(
            [
                step("SELECT $1::text", "first"),
                step("SELECT WHERE false"),
                step("SELECT generate_series(1, 3)"),
                step("SELECT $1::int", None),
            ]
        )
        assert [text_rows(result) for result in results] == [[("first",)], [], [("1",), ("2",), ("3",)], [(None,)]]


async def test_an_empty_flight_comes_back_empty(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        assert await connection.fly([]) == []
        assert await works(connection)


async def test_many_statements_cost_one_trip(dsn: str) -> None:
    """Suspensions are counted, not time: each trip is at least one."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        statement = Statement(b"SELECT $1::int + 1", result_format=Format.TEXT)
        for _ in range(2):  # the first flight prepares
            assert await count_suspensions(connection.fly([again(statement, f"{number}") for number in range(20)])) <= 2
        results = await connection.fly([again(statement, f"{number}") for number in range(20)])
        assert [text_rows(result) for result in results] == [[(f"{number + 1}",)] for number in range(20)]


async def test_a_flight_that_cannot_be_committed_has_the_error_at_its_last_step(dsn: str, witness: Witness) -> None:
    """Each statement succeeds; the sync commits, and a deferred constraint refuses that."""
    witness.run("CREATE TABLE person (name text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    insert = Statement(b"INSERT INTO person VALUES ($1)", (25,), Format.TEXT)
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        for names in (("Ada", "Ada"), ("Ada", "Ada", "Grace")):
            results = await connection.fly([again(insert, name) for name in names])
            assert statuses(results) == ["COMMAND_OK"] * (len(names) - 1) + ["FATAL_ERROR"]
            assert isinstance(error_from_result(results[-1]), UniqueViolation)
        assert connection.is_idle
        assert witness.value("SELECT count(*) FROM person") == 0
        assert await works(connection)


async def test_a_write_that_is_cancelled_in_its_commit_did_not_take_effect(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text)")
    witness.run("CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'")
    witness.run("CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON person DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION doze()")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        ended: list[str] = []

        async def write() -> None:
            await connection.fly([step("INSERT INTO person VALUES ('Ada')")], on_cancel=OnCancel.SETTLE)
            ended.append("normally")

        with anyio.fail_after(10):
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(write)
                await witness.until_waiting(connection.info.backend_pid)
                nursery.cancel_scope.cancel()
        assert ended == []
        assert witness.value("SELECT count(*) FROM person") == 0
        assert await works(connection)


async def test_a_flight_without_a_transaction_is_one_transaction(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text PRIMARY KEY)")
    insert = Statement(b"INSERT INTO person VALUES ($1)", (25,), Format.TEXT)
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        results = await connection.fly([again(insert, "Ada"), again(insert, "Grace"), again(insert, "Ada")])
        assert statuses(results) == ["COMMAND_OK", "COMMAND_OK", "FATAL_ERROR"]
        assert witness.value("SELECT count(*) FROM person") == 0
        results = await connection.fly([again(insert, "Ada"), again(insert, "Grace")])
        assert [result.command_tuples for result in results] == [1, 1]
        assert witness.value("SELECT count(*) FROM person") == 2


async def test_binary_parameters_and_results(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        statement = Statement(b"SELECT $1 + 1", (20,))
        [result] = await connection.fly([Step(statement, [(41).to_bytes(8, "big")], [Format.BINARY])])
        assert result.get_value(0, 0) == (42).to_bytes(8, "big")


# Prepared statements.


async def test_a_statement_is_prepared_once_per_connection(dsn: str) -> None:
    statement = Statement(b"SELECT $1::int * 7", result_format=Format.TEXT)
    for _ in range(2):
        async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
            assert await _prepared_names(connection) == []
            for number in range(5):
                [one, other] = await connection.fly([again(statement, f"{number}"), again(statement, f"{number + 1}")])
                assert (text_rows(one), text_rows(other)) == ([(f"{number * 7}",)], [(f"{(number + 1) * 7}",)])
            assert await _prepared_names(connection) == [statement.name.decode()]


async def test_statements_have_names_of_their_own(dsn: str) -> None:
    """Of the same text too: it may be prepared for other types."""
    names = [Statement(b"SELECT 1").name for _ in range(3)]
    assert len(set(names)) == 3
    assert all(int(one.split(b"_")[1]) < int(other.split(b"_")[1]) for one, other in pairwise(names))


async def test_commands_are_not_prepared(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        results = await connection.fly([command(b"BEGIN"), command(b"SELECT 1"), command(b"COMMIT")])
        assert statuses(results) == ["COMMAND_OK", "TUPLES_OK", "COMMAND_OK"]
        assert await _prepared_names(connection) == []


async def test_the_least_recently_used_statement_is_given_up_first(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        connection.statement_cache_size = 3
        one, two, three, four = (Statement(f"SELECT {number}".encode(), result_format=Format.TEXT) for number in (1, 2, 3, 4))
        for statement in (one, two, three, one, four):
            [result] = await connection.fly([again(statement)])
            assert text_rows(result) == [(statement.text.split()[1].decode(),)]
        assert set(await _prepared_names(connection)) == {statement.name.decode() for statement in (three, one, four)}
        [result] = await connection.fly([again(two)])
        assert text_rows(result) == [("2",)], "what was given up is prepared anew"
        assert set(await _prepared_names(connection)) == {statement.name.decode() for statement in (one, four, two)}


async def test_one_flight_may_prepare_more_than_the_limit(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        connection.statement_cache_size = 2
        statements = [Statement(f"SELECT {number}".encode(), result_format=Format.TEXT) for number in range(6)]
        for chosen in (statements, statements[2:4], statements[::-1], [*statements[:3], *statements[:3]], statements[5:]):
            results = await connection.fly([again(statement) for statement in chosen])
            assert [text_rows(result) for result in results] == [[(statement.text.split()[1].decode(),)] for statement in chosen]
        last = Statement(b"SELECT 'last'", result_format=Format.TEXT)
        await connection.fly([again(last)])
        assert await _prepared_names(connection) == [statements[5].name.decode(), last.name.decode()], "back at the limit"


async def test_a_failed_flight_gives_nothing_up_by_mistake(dsn: str) -> None:
    """The order to give a statement up stands behind the failed step, so the server never hears of it."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        connection.statement_cache_size = 2
        one, two, three = (Statement(f"SELECT {number}".encode(), result_format=Format.TEXT) for number in (1, 2, 3))
        await connection.fly([again(one), again(two)])
        results = await connection.fly([command(b"SELECT 1/0"), again(three)])
        assert statuses(results) == ["FATAL_ERROR", "PIPELINE_ABORTED"]
        assert await _prepared_names(connection) == [one.name.decode(), two.name.decode()]
        for statement, text in ((one, "1"), (two, "2"), (three, "3"), (one, "1"), (two, "2")):
            [result] = await connection.fly([again(statement)])
            assert text_rows(result) == [(text,)]
        assert len(await _prepared_names(connection)) <= 2


# Errors.


async def test_an_error_of_execution_stands_at_its_step(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        divide = Statement(b"SELECT 1 / $1::int", result_format=Format.TEXT)
        results = await connection.fly([step("SELECT 'before'"), again(divide, "0"), step("SELECT 'behind'"), again(divide, "1")])
        assert statuses(results) == ["TUPLES_OK", "FATAL_ERROR", "PIPELINE_ABORTED", "PIPELINE_ABORTED"]
        assert [is_error(result) for result in results] == [False, True, False, False]
        assert error_from_result(results[1]).sqlstate == "22012"
        [result] = await connection.fly([again(divide, "1")])
        assert text_rows(result) == [("1",)], "the statement itself was prepared, and is right"
        assert await works(connection)


async def test_an_error_of_preparation_stands_at_its_step(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        wrong = Statement(b"SELECT nothing FROM nowhere", result_format=Format.TEXT)
        for _ in range(2):
            results = await connection.fly([step("SELECT 'before'"), again(wrong), again(wrong), step("SELECT 'behind'")])
            assert statuses(results) == ["TUPLES_OK", "FATAL_ERROR", "PIPELINE_ABORTED", "PIPELINE_ABORTED"]
            assert isinstance(error_from_result(results[1]), UndefinedTable)
            assert wrong.name.decode() not in await _prepared_names(connection)
        assert await works(connection)


async def test_a_statement_that_failed_to_prepare_works_once_its_table_is_there(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        early = Statement(b"SELECT name FROM person", result_format=Format.TEXT)
        assert statuses(await connection.fly([again(early)])) == ["FATAL_ERROR"]
        witness.run("CREATE TABLE person AS SELECT 'Ada' AS name")
        [result] = await connection.fly([again(early)])
        assert text_rows(result) == [("Ada",)]


async def test_nothing_behind_a_failed_step_is_run(dsn: str, witness: Witness) -> None:
    witness.run("CREATE SEQUENCE runs")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        count = Statement(b"SELECT nextval('runs')", result_format=Format.TEXT)
        await connection.fly([again(count), command(b"SELECT 1/0"), again(count), again(count)])
        assert witness.value("SELECT last_value FROM runs") == 1


async def test_in_a_failed_transaction_everything_but_its_end_is_refused(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.fly([command(b"BEGIN"), command(b"SELECT 1/0")])
        [result] = await connection.fly([step("SELECT 1")])
        assert isinstance(error_from_result(result), TransactionAborted)
        [result] = await connection.fly([command(b"COMMIT")])
        assert result.command_status == b"ROLLBACK"
        assert await works(connection)


async def test_errors_name_what_the_server_named(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text PRIMARY KEY)")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        insert = Statement(b"INSERT INTO person VALUES ($1)", (25,))
        [_, result] = await connection.fly([again(insert, "Ada 4711"), again(insert, "Ada 4711")])
        error = error_from_result(result, statement="INSERT INTO person VALUES ($1)")
        assert isinstance(error, UniqueViolation)
        assert (error.sqlstate, error.table, error.constraint, error.schema_name) == ("23505", "person", "person_pkey", "public")
        assert error.statement == "INSERT INTO person VALUES ($1)"
        assert "4711" not in str(error), "a text may go to a log, and values may not"
        assert error.detail is not None
        assert "4711" in error.detail
        assert error.__cause__ is None


async def test_errors_show_the_place_in_the_statement(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text)")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        text = "SELECT name, näme_with_umlaut, nombre FROM person"
        [result] = await connection.fly([step("SELECT name, 'ä', nombre FROM person")])
        error = error_from_result(result, statement="SELECT name, 'ä', nombre FROM person")
        assert isinstance(error, UndefinedColumn)
        assert ">>> nombre FROM person" in str(error)
        [result] = await connection.fly([step(text)])
        assert ">>> näme_with_umlaut" in str(error_from_result(result, statement=text))


async def test_too_few_values_are_the_servers_error(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        [result] = await connection.fly([step("SELECT $1::text || $2::text", "alone")])
        assert result.status == ExecStatus.FATAL_ERROR
        assert not isinstance(error_from_result(result), StatementError), "08P01 is an error of the protocol"
        assert await works(connection)


# Volume.


async def test_megabytes_both_ways_at_once(dsn: str) -> None:
    """Were nothing read while writing, each side would wait for the other for ever: neither socket nor server buffers this much."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        echo = Statement(b"SELECT $1::text", result_format=Format.TEXT)
        texts = [f"{number}" * _MEGABYTE for number in range(8)]
        results = await connection.fly([again(echo, text) for text in texts])
        assert [text_rows(result) == [(text,)] for text, result in zip(texts, results, strict=True)] == [True] * 8
        assert await works(connection)


async def test_thousands_of_steps_with_large_answers(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        repeat = Statement(b"SELECT repeat($1, 10000)", (25,), Format.TEXT)
        results = await connection.fly([again(repeat, "x" * (number % 3 + 1)) for number in range(2000)])
        assert [len(result.get_value(0, 0) or b"") for result in results] == [10000 * (number % 3 + 1) for number in range(2000)]


@pytest.mark.parametrize("on_cancel", OnCancel)
async def test_every_way_of_ending_gives_the_results_when_nothing_is_cancelled(dsn: str, on_cancel: OnCancel) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        [result] = await connection.fly([step("SELECT 'as ever'")], on_cancel=on_cancel)
        assert text_rows(result) == [("as ever",)]
        assert await only_value(connection, "SELECT $1::text", None) is None
