"""psycopg's own API over `AnyIOConnection`: what works with `psycopg.AsyncConnection` works here, on Trio too."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, cast

import anyio
import psycopg
import pytest
from psycopg import errors
from psycopg.pq import TransactionStatus
from psycopg.rows import class_row, dict_row, scalar_row

from tests.wire.witness import Witness, only_value, works
from trioorm.wire import AnyIOConnection


class Person:
    def __init__(self, name: str, age: int) -> None:
        self.name = name
        self.age = age


@asynccontextmanager
async def _table(dsn: str) -> AsyncGenerator[AnyIOConnection]:
    """A connection to a database with an empty table `person`."""
    async with await AnyIOConnection.connect(dsn) as connection:
        await connection.execute("CREATE TABLE person (name text PRIMARY KEY, age int)")
        await connection.commit()
        yield connection


async def test_execute_and_every_fetch(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn) as connection:
        cursor = await connection.execute("SELECT * FROM generate_series(1, 6) AS number")
        assert cursor.rowcount == 6
        assert await cursor.fetchone() == (1,)
        assert await cursor.fetchmany(2) == [(2,), (3,)]
        assert [row async for row in cursor] == [(4,), (5,), (6,)]
        assert await cursor.fetchall() == []
        await cursor.execute("SELECT %s::int + %s", [1, 2])
        assert await cursor.fetchone() == (3,)


async def test_row_factories(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn) as connection:
        question = "SELECT 'Ada' AS name, 36 AS age"
        async with connection.cursor(row_factory=dict_row) as as_dict:
            assert await (await as_dict.execute(question)).fetchone() == {"name": "Ada", "age": 36}
        async with connection.cursor(row_factory=scalar_row) as as_value:
            assert await (await as_value.execute(question)).fetchone() == "Ada"
        async with connection.cursor(row_factory=class_row(Person)) as as_object:
            person = await (await as_object.execute(question)).fetchone()
            assert person is not None
            assert (person.name, person.age) == ("Ada", 36)


async def test_commit_and_rollback(dsn: str, witness: Witness) -> None:
    async with _table(dsn) as connection:
        await connection.execute("INSERT INTO person VALUES ('Ada', 36)")
        assert connection.info.transaction_status == TransactionStatus.INTRANS
        assert witness.value("SELECT count(*) FROM person") == 0
        await connection.commit()
        assert witness.value("SELECT count(*) FROM person") == 1
        await connection.execute("DELETE FROM person")
        await connection.rollback()
        assert witness.value("SELECT count(*) FROM person") == 1


async def test_the_block_commits_at_its_end_and_rolls_back_after_an_error(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text PRIMARY KEY, age int)")
    async with await AnyIOConnection.connect(dsn) as connection:
        await connection.execute("INSERT INTO person VALUES ('Ada', 36)")
    with pytest.raises(ZeroDivisionError):
        async with await AnyIOConnection.connect(dsn) as connection:
            await connection.execute("INSERT INTO person VALUES ('Grace', 85)")
            raise ZeroDivisionError
    assert witness.value("SELECT string_agg(name, ' ') FROM person") == "Ada"


async def test_transaction_blocks_nest_as_savepoints(dsn: str, witness: Witness) -> None:
    async with _table(dsn) as connection:
        async with connection.transaction():
            await connection.execute("INSERT INTO person VALUES ('Ada', 36)")
            with suppress(errors.UniqueViolation):
                async with connection.transaction():
                    await connection.execute("INSERT INTO person VALUES ('Grace', 85)")
                    await connection.execute("INSERT INTO person VALUES ('Ada', 36)")
        assert connection.is_idle
        assert witness.value("SELECT string_agg(name, ' ') FROM person") == "Ada"


async def test_server_errors_are_psycopgs(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn) as connection:
        with pytest.raises(errors.UndefinedTable, match="nowhere"):
            await connection.execute("SELECT * FROM nowhere")
        with pytest.raises(errors.InFailedSqlTransaction):
            await connection.execute("SELECT 1")
        await connection.rollback()
        assert await works(connection)


async def test_pipeline_sends_many_statements_at_once(dsn: str, witness: Witness) -> None:
    async with _table(dsn) as connection:
        async with connection.pipeline() as pipeline, connection.cursor() as cursor:
            for number in range(50):
                await connection.execute("INSERT INTO person VALUES (%s, %s)", [f"person {number}", number])
            await cursor.execute("SELECT sum(age) FROM person")
            await pipeline.sync()
            assert await cursor.fetchone() == (sum(range(50)),)
        await connection.commit()
        assert witness.value("SELECT count(*) FROM person") == 50
        assert await works(connection), "flights can be sent again after the pipeline"


async def test_a_flight_inside_psycopgs_pipeline_is_refused(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        async with connection.pipeline():
            with pytest.raises(psycopg.ProgrammingError, match="inside psycopg's own pipeline"):
                await only_value(connection, "SELECT 1")
        assert await works(connection)


async def test_flights_and_psycopgs_cursors_take_turns(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        for number in range(10):
            assert await only_value(connection, "SELECT $1::text", f"{number}") == f"{number}"
            assert await (await connection.execute("SELECT %s::int", [number])).fetchone() == (number,)


async def test_server_side_cursor(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn) as connection:
        async with connection.cursor(name="numbers", scrollable=True) as cursor:
            await cursor.execute("SELECT * FROM generate_series(1, 1000) AS number")
            cursor.itersize = 100
            assert await cursor.fetchmany(2) == [(1,), (2,)]
            await cursor.scroll(500, mode="absolute")
            assert await cursor.fetchone() == (501,)
            assert [number async for (number,) in cursor] == list(range(502, 1001))
        await connection.rollback()
        assert await works(connection)


async def test_cursor_stream(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        cursor = connection.cursor()
        assert [row async for row in cursor.stream("SELECT * FROM generate_series(1, 3)")] == [(1,), (2,), (3,)]
        rows = cursor.stream("SELECT * FROM generate_series(1, 1000000)", size=10)
        async with aclosing(cast("AsyncGenerator[tuple[int], None]", rows)):
            assert await anext(rows) == (1,)
        assert await works(connection), "a stream that was left early leaves the connection free"


async def test_copy_in_and_out(dsn: str) -> None:
    async with _table(dsn) as connection:
        cursor = connection.cursor()
        async with cursor.copy("COPY person FROM STDIN") as copy:
            for number in range(1000):
                await copy.write_row((f"person {number:04}", number))
        assert cursor.rowcount == 1000
        async with cursor.copy("COPY (SELECT * FROM person ORDER BY name) TO STDOUT") as copy:
            copy.set_types(["text", "int4"])
            rows = [row async for row in copy.rows()]
        assert rows == [(f"person {number:04}", number) for number in range(1000)]
        await connection.commit()
        assert await works(connection)


async def test_executemany(dsn: str) -> None:
    async with _table(dsn) as connection:
        cursor = connection.cursor()
        await cursor.executemany(
            "INSERT INTO person VALUES (%s, %s) RETURNING age", [(f"person {number}", number) for number in range(20)], returning=True
        )
        ages = [await cursor.fetchone()]
        while cursor.nextset():
            ages.append(await cursor.fetchone())
        assert ages == [(number,) for number in range(20)]
        await connection.commit()


async def test_notifies_come_as_they_are_sent(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("LISTEN news")
        heard: list[str] = []

        async def listen() -> None:
            heard.extend([notification.payload async for notification in connection.notifies(stop_after=3)])

        with anyio.fail_after(5):
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(listen)
                for word in ("one", "two", "three"):
                    await anyio.lowlevel.checkpoint()
                    witness.run("SELECT pg_notify('news', %s)", word)
        assert heard == ["one", "two", "three"]
        assert await works(connection)


async def test_notifies_ends_by_its_own_timeout_and_by_a_scope(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("LISTEN news")
        assert [notification async for notification in connection.notifies(timeout=0.05)] == []
        assert await works(connection)
        with anyio.move_on_after(0.05) as scope:
            async for _ in connection.notifies():
                pytest.fail("nobody sent anything")
        assert scope.cancelled_caught
        assert await works(connection)


async def test_prepared_statements_of_psycopg(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        for number in range(3):
            assert await (await connection.execute("SELECT %s::int * 2", [number])).fetchone() == (number * 2,)
        cursor = await connection.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%* 2'", prepare=False)
        assert await cursor.fetchone() == (1,)


async def test_settings_of_a_transaction(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
        await connection.set_read_only(True)
        cursor = await connection.execute("SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
        assert await cursor.fetchone() == ("serializable", "on")
        await connection.rollback()
        await connection.set_autocommit(True)
        assert await works(connection)


async def test_two_tasks_on_one_connection_take_turns(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        answers: dict[int, Any] = {}

        async def ask(number: int) -> None:
            answers[number] = await (await connection.execute("SELECT %s::int FROM pg_sleep(0.001)", [number])).fetchone()

        async with anyio.create_task_group() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
        assert answers == {number: (number,) for number in range(20)}


async def test_a_cancelled_statement_is_stopped_and_the_connection_goes_on(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        pid = connection.info.backend_pid
        async with anyio.create_task_group() as nursery:

            async def long_statement() -> None:
                await connection.execute("SELECT pg_sleep(60)")

            nursery.start_soon(long_statement)
            await witness.until_waiting(pid)
            nursery.cancel_scope.cancel()
        assert witness.value("SELECT state FROM pg_stat_activity WHERE pid = %s", pid) == "idle"
        assert await works(connection)


async def test_cancel_safe_from_another_task(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:

        async def cancel() -> None:
            await witness.until_waiting(connection.info.backend_pid)
            await connection.cancel_safe()

        with anyio.fail_after(5):
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(cancel)
                with pytest.raises(errors.QueryCanceled):
                    await connection.execute("SELECT pg_sleep(60)")
        await connection.cancel_safe()
        assert await works(connection), "there was nothing to cancel the second time, and nothing was"
