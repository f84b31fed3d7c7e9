"""A flight that is cancelled: stopped, settled or finished, on the server too, with a connection that is good for the next question."""

import os
import random
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from psycopg.pq import Format, TransactionStatus

from tests.wire.witness import Witness, again, only_value, step, text_rows, works
from trioorm.errors import ConnectionLost
from trioorm.testing import Direction, running_proxy
from trioorm.wire import AnyIOConnection, OnCancel, Statement, command, error_from_result
from trioorm.wire.server_errors import is_error

_LONG = "SELECT pg_sleep(60)"
_INSERT = "INSERT INTO person VALUES ('Ada')"


@pytest.fixture(autouse=True)
def _table(witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text)")


@asynccontextmanager
async def _cancelled_when(witness: Witness, connection: AnyIOConnection, event: str) -> AsyncGenerator[anyio.CancelScope]:
    """Cancels the block once the server says that the connection's statement waits for something."""
    pid = connection.info.backend_pid
    async with anyio.create_task_group() as nursery:
        with anyio.CancelScope() as scope:

            async def cancel_then() -> None:
                await witness.until_waiting(pid, event)
                scope.cancel()

            nursery.start_soon(cancel_then)
            yield scope


def _idle_at_once(witness: Witness, connection: AnyIOConnection) -> bool:
    return witness.value("SELECT state FROM pg_stat_activity WHERE pid = %s", connection.info.backend_pid) == "idle"


@pytest.mark.parametrize("on_cancel", [OnCancel.STOP, OnCancel.SETTLE])
async def test_a_long_statement_is_stopped_on_the_server(dsn: str, witness: Witness, on_cancel: OnCancel) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        async with _cancelled_when(witness, connection, "PgSleep") as scope:
            await connection.fly([step(_INSERT), step(_LONG)], on_cancel=on_cancel)
        assert scope.cancelled_caught
        assert _idle_at_once(witness, connection)
        assert witness.value("SELECT count(*) FROM person") == 0
        assert await works(connection)


async def test_steps_behind_the_stopped_one_are_not_run(dsn: str, witness: Witness) -> None:
    witness.run("CREATE SEQUENCE runs")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        async with _cancelled_when(witness, connection, "PgSleep") as scope:
            await connection.fly([step("SELECT nextval('runs')"), step(_LONG), step("SELECT nextval('runs')")])
        assert scope.cancelled_caught
        assert witness.value("SELECT last_value FROM runs") == 1
        assert await works(connection)


async def test_a_write_that_waits_for_a_lock_is_settled_as_not_written(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection, await AnyIOConnection.connect(dsn) as other:
        await other.execute("LOCK TABLE person")
        async with _cancelled_when(witness, connection, "relation") as scope:
            await connection.fly([step(_INSERT)], on_cancel=OnCancel.SETTLE)
        assert scope.cancelled_caught
        assert _idle_at_once(witness, connection)
        await other.rollback()
        assert witness.value("SELECT count(*) FROM person") == 0
        assert await works(connection)


async def _cancel_after_it_took_effect(witness: Witness, connection: AnyIOConnection, on_cancel: OnCancel) -> tuple[bool, bool]:
    """Cancel an insert when its row is there and its answer is still in the socket: the loop is held up meanwhile.

    Returns:
        Whether the flight returned, and whether the scope caught a cancellation.
    """
    returned = False

    async def insert() -> None:
        nonlocal returned
        [result] = await connection.fly([step(_INSERT)], on_cancel=on_cancel)
        assert result.command_tuples == 1
        returned = True
        await anyio.lowlevel.checkpoint()
        pytest.fail("the next checkpoint raises the cancellation")

    with witness.locked("person") as unlock, anyio.CancelScope() as scope:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(insert)
            await witness.until_waiting(connection.info.backend_pid, "relation")
            unlock()
            assert witness.becomes_true("SELECT count(*) = 1 FROM person", within_seconds=5)
            scope.cancel()
    return returned, scope.cancelled_caught


async def test_a_write_that_took_effect_ends_normally_when_settled(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        assert await _cancel_after_it_took_effect(witness, connection, OnCancel.SETTLE) == (True, True)
        assert await works(connection)


async def test_stopping_raises_even_when_it_took_effect(dsn: str, witness: Witness) -> None:
    """So STOP is for reads and for statements inside a transaction."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        assert await _cancel_after_it_took_effect(witness, connection, OnCancel.STOP) == (False, True)
        assert await works(connection)


async def test_finishing_waits_for_the_answer(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        returned = False
        async with _cancelled_when(witness, connection, "PgSleep") as scope:
            [_, result] = await connection.fly([step("SELECT pg_sleep(0.1)"), step("SELECT 'done'")], on_cancel=OnCancel.FINISH)
            returned = text_rows(result) == [("done",)]
            await anyio.lowlevel.checkpoint()
            returned = False  # not reached: the next checkpoint raises the cancellation
        assert returned
        assert scope.cancelled_caught
        assert await works(connection)


async def test_finishing_is_bounded(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        pid = connection.info.backend_pid
        async with _cancelled_when(witness, connection, "PgSleep"):
            cancelled_at = anyio.current_time()
            with pytest.raises(ConnectionLost, match=r"no answer came within 0\.1 s") as failure:
                await connection.fly([step("SELECT pg_sleep(0.5)")], on_cancel=OnCancel.FINISH, seconds=0.1)
            assert anyio.current_time() - cancelled_at < 1
        assert not failure.value.safe_to_retry
        assert connection.closed
        await witness.until_gone(pid)


async def test_in_a_cancelled_scope_only_finishing_sends(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        for on_cancel in (OnCancel.STOP, OnCancel.SETTLE):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await connection.fly([step(_INSERT)], on_cancel=on_cancel)
            assert scope.cancelled_caught
            assert witness.value("SELECT count(*) FROM person") == 0
        with anyio.CancelScope() as scope:
            scope.cancel()
            await connection.fly([step(_INSERT)], on_cancel=OnCancel.FINISH)
            assert witness.value("SELECT count(*) FROM person") == 1
        assert not scope.cancelled_caught, "no checkpoint came after it"
        assert await works(connection)


async def test_inside_a_transaction_the_transaction_fails_and_the_connection_lives(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        async with _cancelled_when(witness, connection, "PgSleep") as scope:
            await connection.fly([command(b"BEGIN"), step(_INSERT), step(_LONG)])
        assert scope.cancelled_caught
        assert connection.info.transaction_status == TransactionStatus.INERROR
        await connection.fly([command(b"ROLLBACK")])
        assert await works(connection)
        assert witness.value("SELECT count(*) FROM person") == 0


async def test_a_cancellation_outranks_the_statements_own_error(dsn: str, witness: Witness) -> None:
    """The answer is in the socket, an error; the caller is cancelled and wants to hear nothing else."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        for on_cancel in (OnCancel.STOP, OnCancel.SETTLE):
            with witness.locked("person") as unlock, anyio.CancelScope() as scope:
                async with anyio.create_task_group() as nursery:

                    async def fail(on_cancel: OnCancel = on_cancel) -> None:
                        await connection.fly([step("SELECT 1/0 FROM person")], on_cancel=on_cancel)

                    nursery.start_soon(fail)
                    await witness.until_waiting(connection.info.backend_pid, "relation")
                    unlock()
                    idle = "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = %s"
                    assert witness.becomes_true(idle, connection.info.backend_pid, within_seconds=5)
                    scope.cancel()
            assert scope.cancelled_caught
            assert await works(connection)


async def test_a_deadline_stops_like_a_cancellation(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.05):
                await connection.fly([step(_LONG)])
        assert _idle_at_once(witness, connection)
        assert await works(connection)


async def test_a_late_cancel_request_never_hits_the_next_statement(dsn: str) -> None:
    """Hundreds of cancellations at all moments around the end of a statement, each with the next statement at once behind it."""
    moments = random.Random(4711)
    nap = Statement(b"SELECT pg_sleep(0.001)")
    number = Statement(b"SELECT $1::int FROM pg_sleep(0.001)", result_format=Format.TEXT)
    cancelled = 0
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.fly([again(nap), again(number, "0")])
        for round_number in range(400):
            with anyio.move_on_after(moments.uniform(0, 0.003)) as scope:
                await connection.fly([again(nap)])
            cancelled += scope.cancelled_caught
            [result] = await connection.fly([again(number, f"{round_number}")])
            assert not is_error(result), f"round {round_number}: {error_from_result(result)}"
            assert text_rows(result) == [(f"{round_number}",)]
        assert not connection.closed
    assert 50 < cancelled < 390, "both ends of the race were seen"


async def test_a_statement_that_survives_a_cancel_request_gets_another(dsn: str, witness: Witness) -> None:
    """As one does whose request has overtaken it."""
    stubborn = "DO $$ BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(60); END $$"
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        for run in (lambda: connection.fly([step(stubborn)]), lambda: connection.execute(stubborn)):
            async with _cancelled_when(witness, connection, "PgSleep") as scope:
                await run()
            assert scope.cancelled_caught
            assert await works(connection), "one request would not have been enough, and the connection been closed"


@pytest.mark.parametrize("by", ["fly", "execute"])
async def test_a_cancel_request_still_under_way_when_the_answer_has_come_closes_the_connection(dsn: str, witness: Witness, by: str) -> None:
    """Or it would hit the next statement."""
    nap = "SELECT pg_sleep(0.2)"
    with running_proxy(dsn) as proxy:
        async with await AnyIOConnection.connect(proxy.conninfo(), autocommit=True) as connection:
            connection.cleanup_timeout_seconds = 0.5
            scope = anyio.CancelScope()

            async def delay_requests() -> None:
                await witness.until_waiting(connection.info.backend_pid)
                proxy.delay(2.0, Direction.TO_SERVER)
                scope.cancel()

            async with anyio.create_task_group() as nursery:
                with scope:
                    nursery.start_soon(delay_requests)
                    await (connection.fly([step(nap)]) if by == "fly" else connection.execute(nap))
            assert scope.cancelled_caught
            assert connection.closed


async def test_large_answers_are_drained_when_cancelled(dsn: str, witness: Witness) -> None:
    """The server is stopped in the middle of writing; what it had written must not be taken for the next answer."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        repeat = step("SELECT repeat('x', 1000000) FROM generate_series(1, 200)")
        for milliseconds in (2, 5, 10, 20):
            with anyio.move_on_after(milliseconds / 1000):
                await connection.fly([repeat, repeat])
            assert await works(connection)


async def test_large_parameters_are_given_up_when_cancelled_while_writing(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        value = "x" * 30_000_000
        async with _cancelled_when(witness, connection, "PgSleep") as scope:
            await connection.fly([step(_LONG), step("SELECT length($1)", value)])
        assert scope.cancelled_caught
        assert connection.closed or await works(connection)


@pytest.mark.parametrize("loop", ["trio", "asyncio", "uvloop"])
def test_control_c_stops_the_statement(dsn: str, witness: Witness, loop: str) -> None:
    ended: list[BaseException] = []
    idle: list[bool] = []

    async def main() -> None:
        async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
            async with anyio.create_task_group() as nursery:

                async def press() -> None:
                    await witness.until_waiting(connection.info.backend_pid)
                    os.kill(os.getpid(), signal.SIGINT)

                nursery.start_soon(press)
                try:
                    await connection.fly([step(_LONG)])
                except BaseException as error:
                    ended.append(error)
                    idle.append(_idle_at_once(witness, connection) and connection.is_idle)
                    raise

    with pytest.raises(KeyboardInterrupt):
        try:
            backend, options = ("trio", {}) if loop == "trio" else ("asyncio", {"use_uvloop": loop == "uvloop"})
            anyio.run(main, backend=backend, backend_options=options)
        except BaseExceptionGroup as group:  # Trio puts it into the nursery's group
            raise group.exceptions[0] from None
    assert len(ended) == 1
    assert idle == [True]


async def test_values_are_never_mixed_up_between_tasks_that_are_cancelled_at_random(dsn: str) -> None:
    """Each task has a connection of its own; what comes back is what it asked for."""
    moments = random.Random(42)
    mistakes: list[str] = []

    async def ask(name: str) -> None:
        async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
            for number in range(40):
                with anyio.move_on_after(moments.uniform(0, 0.004)):
                    value = await only_value(connection, "SELECT $1::text FROM pg_sleep(0.001)", f"{name} {number}")
                    if value != f"{name} {number}":
                        mistakes.append(f"{name} {number}: {value}")

    async with anyio.create_task_group() as nursery:
        for name in ("Ada", "Grace", "Hedy"):
            nursery.start_soon(ask, name)
    assert mistakes == []
