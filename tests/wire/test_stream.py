"""Streams of rows: in chunks, at the reader's pace, and left at any moment."""

import math

import anyio
import pytest
from psycopg.pq import ExecStatus, Format, TransactionStatus

from tests.wire.witness import Witness, step, text_rows, works
from trioorm.errors import ConnectionLost, DataError, UndefinedTable
from trioorm.testing import SweepRun, server_is_quiet, sweep
from trioorm.wire import AnyIOConnection, OnCancel, RowStream, Statement, Step, command
from trioorm.wire.lane import Lane


async def _read_all(stream: RowStream) -> list[list[str | None]]:
    """The first column of each chunk."""
    chunks: list[list[str | None]] = []
    while (result := await stream.next_chunk()) is not None:
        chunks.append([row[0] for row in text_rows(result)])
    return chunks


async def test_rows_come_in_chunks_and_in_order(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        stream = RowStream(connection, step("SELECT generate_series(1, $1::int)", "25"), chunk_rows=10)
        chunks = [chunk for chunk in await _read_all(stream) if chunk]
        assert [len(chunk) for chunk in chunks] == [10, 10, 5]
        assert [value for chunk in chunks for value in chunk] == [f"{number}" for number in range(1, 26)]
        assert await stream.next_chunk() is None, "the end stays the end"
        assert await stream.close() is None
        assert await works(connection)


_FIFTY = step("SELECT generate_series(1, 50)")


async def _fly_fifty(connection: AnyIOConnection, *, prepared: bool) -> int:
    fifty = _FIFTY if prepared else Step(Statement(_FIFTY.statement.text, name=b""))
    return (await connection.fly([fifty]))[0].ntuples


@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize("to_its_end", [True, False])
async def test_a_flight_behind_a_stream_has_all_its_rows(dsn: str, prepared: bool, to_its_end: bool) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        assert await _fly_fifty(connection, prepared=prepared) == 50
        for _ in range(2):
            stream = RowStream(connection, _FIFTY, chunk_rows=3)
            assert await stream.next_chunk() is not None
            if to_its_end:
                await _read_all(stream)
            await stream.close()
            assert await _fly_fifty(connection, prepared=prepared) == 50, "libpq would give the first three"
            assert await _fly_fifty(connection, prepared=prepared) == 50
            assert await works(connection)


async def test_a_flight_with_its_commit_behind_a_stream_has_all_its_rows(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        begin = command(b"BEGIN ISOLATION LEVEL SERIALIZABLE")
        stream = RowStream(connection, _FIFTY, chunk_rows=3)
        await _read_all(stream)
        results = await connection.arrive(connection.take_off([begin, _FIFTY], commit=command(b"COMMIT")), OnCancel.COMMIT)
        assert [result.ntuples for result in results] == [0, 50, 0]
        assert results[-1].command_status == b"COMMIT"


async def test_an_error_in_a_flight_behind_a_stream_is_that_of_its_statement(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await _read_all(RowStream(connection, _FIFTY, chunk_rows=3))
        flight = connection.take_off([step("SELECT 1 / 0"), _FIFTY])
        results = await connection.arrive(flight, OnCancel.STOP)
        assert flight.failed
        assert [result.status for result in results] == [ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED]
        assert await _fly_fifty(connection, prepared=True) == 50


async def test_a_flight_behind_psycopgs_stream_has_all_its_rows(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        assert await _fly_fifty(connection, prepared=True) == 50
        assert len([row async for row in connection.cursor().stream("SELECT generate_series(1, 50)", size=3)]) == 50
        assert await _fly_fifty(connection, prepared=True) == 50


@pytest.mark.parametrize("size", [1, 3])
async def test_rows_in_parts_that_nobody_knew_of_are_no_answer(dsn: str, size: int) -> None:
    """Somebody has used libpq itself, so that the flight is not told to make it forget."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        assert await _fly_fifty(connection, prepared=True) == 50
        assert len([row async for row in connection.cursor().stream("SELECT generate_series(1, 50)", size=size)]) == 50
        connection.gave_parts = False
        with pytest.raises(ConnectionLost, match="rows came in parts"):
            await _fly_fifty(connection, prepared=True)
        assert connection.closed


@pytest.mark.parametrize("streams_by_psycopg", [False, True])
async def test_psycopgs_pipeline_behind_a_stream_has_all_its_rows(dsn: str, streams_by_psycopg: bool) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:

        async def read_a_stream() -> None:
            if streams_by_psycopg:
                assert len([row async for row in connection.cursor().stream("SELECT generate_series(1, 50)", size=3)]) == 50
            else:
                await _read_all(RowStream(connection, _FIFTY, chunk_rows=3))

        for _ in range(2):  # the first time a statement is prepared, which hides it
            await read_a_stream()
            async with connection.pipeline():
                cursor = await connection.execute("SELECT generate_series(1, 50)")
                assert len(await cursor.fetchall()) == 50
            await read_a_stream()
            cursor = connection.cursor()
            await cursor.executemany("SELECT generate_series(1, %s)", [(50,), (40,)], returning=True)
            assert [len(await result.fetchall()) async for result in cursor.results()] == [50, 40]
            assert await works(connection)


async def test_a_lane_behind_a_stream_gives_all_rows(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        for _ in range(2):
            await _read_all(RowStream(connection, _FIFTY, chunk_rows=3))
            lane = Lane(connection)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lane.drive)
                for _ in range(2):
                    answer = await lane.join(_FIFTY.statement, (), ()).wait()
                    assert answer is not None
                    assert answer.ntuples == 50
                lane.retire()
            assert not connection.closed
            assert await works(connection)


async def test_no_rows_still_tell_their_columns(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        stream = RowStream(connection, step("SELECT 1 AS number WHERE false"), chunk_rows=10)
        result = await stream.next_chunk()
        assert result is not None
        assert (result.ntuples, result.fname(0)) == (0, b"number")
        assert await stream.next_chunk() is None
        assert await works(connection)


async def test_values_come_in_the_format_that_was_asked_for(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        packed = Step(Statement(b"SELECT $1 + 1", (20,)), [(41).to_bytes(8, "big")], [Format.BINARY])
        result = await RowStream(connection, packed, chunk_rows=1).next_chunk()
        assert result is not None
        assert result.get_value(0, 0) == (42).to_bytes(8, "big")
        connection.close_nowait()


async def test_nothing_is_sent_before_the_first_chunk(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        stream = RowStream(connection, step("SELECT 1"), chunk_rows=1)
        assert await works(connection)
        assert await stream.close() is None
        assert await works(connection)


@pytest.mark.parametrize("chunks_read", [1, 3])
async def test_leaving_early_frees_the_connection_and_stops_the_server(dsn: str, witness: Witness, chunks_read: int) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        stream = RowStream(connection, step("SELECT number, repeat('x', 1000) FROM generate_series(1, 10000000) AS number"), chunk_rows=100)
        for _ in range(chunks_read):
            assert await stream.next_chunk() is not None
        assert await stream.close() is None
        assert witness.value("SELECT state FROM pg_stat_activity WHERE pid = %s", connection.info.backend_pid) == "idle"
        assert await works(connection)
        assert await stream.close() is None, "closing twice does nothing"


async def test_an_error_after_rows_is_raised_after_them(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        stream = RowStream(connection, step("SELECT 1 / (50 - number) FROM generate_series(1, 100) AS number"), chunk_rows=10)
        rows = 0
        with pytest.raises(DataError, match="division by zero") as failure:
            while (result := await stream.next_chunk()) is not None:
                rows += result.ntuples
        assert 40 <= rows <= 49
        assert failure.value.sqlstate == "22012"
        assert failure.value.statement == "SELECT 1 / (50 - number) FROM generate_series(1, 100) AS number"
        assert await stream.close() is None
        assert await works(connection)


async def test_an_error_before_any_row_is_raised_by_the_first_chunk(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        stream = RowStream(connection, step("SELECT * FROM nowhere"), chunk_rows=10)
        with pytest.raises(UndefinedTable, match="nowhere"):
            await stream.next_chunk()
        assert await stream.close() is None
        assert await works(connection)


async def test_in_a_transaction_the_transaction_goes_on(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.fly([command(b"BEGIN")])
        stream = RowStream(connection, step("SELECT generate_series(1, 100)"), chunk_rows=10)
        assert len([value for chunk in await _read_all(stream) for value in chunk]) == 100
        assert connection.info.transaction_status == TransactionStatus.INTRANS
        await connection.fly([command(b"ROLLBACK")])
        assert await works(connection)


async def test_a_slow_reader_stops_the_server(dsn: str, witness: Witness) -> None:
    """Between chunks nothing is read, so the server runs into a full socket and waits there, and memory does not grow."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        statement = "SELECT number, repeat('x', 1000) FROM generate_series(1, 20000) AS number"
        stream = RowStream(connection, step(statement), chunk_rows=100)
        assert await stream.next_chunk() is not None
        await witness.until_waiting(connection.info.backend_pid, "ClientWrite")
        for _ in range(3):
            assert await stream.next_chunk() is not None
        await witness.until_waiting(connection.info.backend_pid, "ClientWrite")
        read = 400
        while (result := await stream.next_chunk()) is not None:
            read += result.ntuples
        assert read == 20000
        assert await works(connection)


async def test_rows_larger_than_a_socket_holds(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        stream = RowStream(connection, step("SELECT repeat('x', 5000000) FROM generate_series(1, 5)"), chunk_rows=2)
        lengths = [len(value or "") for chunk in await _read_all(stream) for value in chunk]
        assert lengths == [5_000_000] * 5


async def test_large_parameters(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        stream = RowStream(connection, step("SELECT $1::text FROM generate_series(1, 3)", "x" * 3_000_000), chunk_rows=1)
        assert [len(value or "") for chunk in await _read_all(stream) for value in chunk] == [3_000_000] * 3


async def test_a_cancelled_reader_leaves_a_free_connection(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        async with anyio.create_task_group() as nursery:

            async def read() -> None:
                stream = RowStream(connection, step("SELECT pg_sleep(60)"), chunk_rows=1)
                try:
                    await stream.next_chunk()
                finally:
                    assert await stream.close() is None

            nursery.start_soon(read)
            await witness.until_waiting(connection.info.backend_pid)
            nursery.cancel_scope.cancel()
        assert await works(connection)


async def test_a_reader_cancelled_between_chunks_leaves_a_free_connection(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        with anyio.CancelScope() as scope:
            stream = RowStream(connection, step("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"), chunk_rows=10)
            try:
                assert await stream.next_chunk() is not None
                await witness.until_waiting(connection.info.backend_pid, "ClientWrite")
                scope.cancel()
                await anyio.sleep(math.inf)
            finally:
                assert await stream.close() is None
        assert scope.cancelled_caught
        assert await works(connection)


async def test_sweep_over_a_stream(dsn: str, witness: Witness) -> None:
    connection = await AnyIOConnection.connect(dsn, autocommit=True)

    async def operation() -> None:
        stream = RowStream(connection, step("SELECT repeat('x', 50000), pg_sleep(0.002) FROM generate_series(1, 4)"), chunk_rows=1)
        try:
            while await stream.next_chunk() is not None:
                pass
        finally:
            held = await stream.close()
            if held is not None:
                raise held

    async def check(run: SweepRun) -> None:
        await server_is_quiet(witness.connection)
        assert await works(connection), "with a server that answers, no connection is lost"

    async with connection:
        report = await sweep(lambda _: operation(), check=check)
    assert report.cancellations >= 2 * len(report.kinds), f"\n{report}"


async def test_a_stream_on_a_closed_connection_is_lost(dsn: str) -> None:
    connection = await AnyIOConnection.connect(dsn, autocommit=True)
    await connection.close()
    with pytest.raises(ConnectionLost, match="closed") as failure:
        await RowStream(connection, step("SELECT 1"), chunk_rows=1).next_chunk()
    assert failure.value.safe_to_retry
