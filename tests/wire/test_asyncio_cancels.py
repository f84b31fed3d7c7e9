"""asyncio's own cancels, which a shield does not stop and which come only once: never lost, never doubled, on asyncio and on uvloop."""

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import pytest

from tests.wire.witness import Witness, step, text_rows, works
from trioorm.wire import AnyIOConnection, OnCancel, RowStream

_LONG = "SELECT pg_sleep(60)"
_SHORT = "SELECT pg_sleep(0.1)"

Body = Callable[[AnyIOConnection], Awaitable[None]]
RunAsyncio = Callable[[Body], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, dsn: str) -> RunAsyncio:
    """Runs a body with a connection in a task of its own, which must end without a cancel request left over."""

    async def main(body: Body) -> None:
        async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
            await body(connection)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await asyncio.sleep(0)  # a cancel that was sent once too often would come here
            assert await works(connection)

    def run(body: Body) -> None:
        anyio.run(main, body, backend="asyncio", backend_options={"use_uvloop": request.param == "uvloop"})

    return run


async def _cancelled_task(
    witness: Witness, connection: AnyIOConnection, operation: Awaitable[object], *, times: int = 1
) -> asyncio.Task[object]:
    """Run an operation in a task of its own, cancel it while the server sleeps, and wait for its end."""

    async def operate() -> object:
        return await operation

    task = asyncio.create_task(operate())
    await witness.until_waiting(connection.info.backend_pid)
    for number in range(times):
        task.cancel(f"cancel {number}")
        await asyncio.sleep(0)
    await asyncio.wait([task])
    return task


def test_a_timeout_stops_the_statement(run: RunAsyncio) -> None:
    async def body(connection: AnyIOConnection) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connection.fly([step(_LONG)])
        assert connection.is_idle

    run(body)


def test_wait_for_stops_the_statement(run: RunAsyncio) -> None:
    async def body(connection: AnyIOConnection) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.fly([step(_LONG)]), 0.05)
        assert connection.is_idle

    run(body)


def test_a_timeout_stops_psycopgs_statement(run: RunAsyncio) -> None:
    async def body(connection: AnyIOConnection) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connection.execute(_LONG)
        assert connection.is_idle

    run(body)


def test_a_timeout_during_finishing_comes_afterwards(run: RunAsyncio) -> None:
    async def body(connection: AnyIOConnection) -> None:
        returned = False
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                [_, result] = await connection.fly([step(_SHORT), step("SELECT 'done'")], on_cancel=OnCancel.FINISH)
                returned = text_rows(result) == [("done",)]
                await asyncio.sleep(60)
        assert returned

    run(body)


def test_a_timeout_whose_block_ends_before_the_next_checkpoint_is_taken_back(run: RunAsyncio) -> None:
    """`asyncio.timeout` relieves the task of its cancel at the end of the block; sending it again after that would hit an innocent."""

    async def body(connection: AnyIOConnection) -> None:
        async with asyncio.timeout(0.05):
            await connection.fly([step(_SHORT)], on_cancel=OnCancel.FINISH)
        await asyncio.sleep(0.01)
        assert await works(connection)

    run(body)


def test_cancel_carries_its_message_through(run: RunAsyncio, witness: Witness) -> None:
    async def body(connection: AnyIOConnection) -> None:
        task = await _cancelled_task(witness, connection, connection.fly([step(_LONG)]))
        assert task.cancelled()
        with pytest.raises(asyncio.CancelledError, match="cancel 0"):
            task.result()
        assert connection.is_idle

    run(body)


def test_cancels_during_the_cleanup_do_not_break_it_off(run: RunAsyncio, witness: Witness) -> None:
    async def body(connection: AnyIOConnection) -> None:
        task = await _cancelled_task(witness, connection, connection.fly([step(_LONG)]), times=5)
        assert task.cancelled()
        assert connection.is_idle

    run(body)


def test_cancels_during_finishing_are_delivered_once(run: RunAsyncio, witness: Witness) -> None:
    async def body(connection: AnyIOConnection) -> None:
        seen: list[str] = []

        async def operation() -> None:
            await connection.fly([step(_SHORT)], on_cancel=OnCancel.FINISH)
            seen.append("returned")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.append("cancelled")
                await asyncio.sleep(0.01)
                seen.append("not cancelled again")
                raise

        task = await _cancelled_task(witness, connection, operation(), times=3)
        assert task.cancelled()
        assert seen == ["returned", "cancelled", "not cancelled again"]

    run(body)


def test_a_task_group_ends_its_other_tasks(run: RunAsyncio, witness: Witness) -> None:
    async def body(connection: AnyIOConnection) -> None:
        async def fail() -> None:
            await witness.until_waiting(connection.info.backend_pid)
            raise ZeroDivisionError

        with pytest.raises(ExceptionGroup) as failure:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await connection.fly([step(_LONG)])
        assert [type(error) for error in failure.value.exceptions] == [ZeroDivisionError]
        assert connection.is_idle

    run(body)


def test_a_task_group_whose_task_finishes_its_flight(run: RunAsyncio, witness: Witness) -> None:
    """The parent of an `asyncio.TaskGroup` takes its own cancel back, and must find it."""

    async def body(connection: AnyIOConnection) -> None:
        returned = False

        async def fail() -> None:
            await witness.until_waiting(connection.info.backend_pid)
            raise ZeroDivisionError

        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await connection.fly([step(_SHORT)], on_cancel=OnCancel.FINISH)
                returned = True
        assert returned

    run(body)


def test_a_scope_and_a_cancel_at_the_same_time(run: RunAsyncio, witness: Witness) -> None:
    """asyncio's own is raised, since the scope's comes again by itself."""

    async def body(connection: AnyIOConnection) -> None:
        scope = anyio.CancelScope()

        async def operation() -> None:
            with scope:
                await connection.fly([step(_LONG)])

        async def operate() -> None:
            await operation()

        task = asyncio.create_task(operate())
        await witness.until_waiting(connection.info.backend_pid)
        scope.cancel()
        task.cancel("asyncio's own")
        await asyncio.wait([task])
        assert task.cancelled()
        assert connection.is_idle

    run(body)


def test_a_stream_that_a_timeout_ends_early(run: RunAsyncio) -> None:
    async def body(connection: AnyIOConnection) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                stream = RowStream(connection, step("SELECT pg_sleep(0.01) FROM generate_series(1, 6000)"), chunk_rows=1)
                try:
                    while await stream.next_chunk() is not None:
                        pass
                finally:
                    assert await stream.close() is None
        assert connection.is_idle

    run(body)
