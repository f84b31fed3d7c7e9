"""COPY into the server: all rows or none, at the server's pace, and left at any moment."""

import math
from collections.abc import Awaitable, Callable

import anyio
import psycopg
import pytest
from psycopg.pq import TransactionStatus

from tests.wire.witness import Witness, works
from trioorm.errors import ConnectionLost, DatabaseError, DataError, QueryCanceled, UndefinedTable, UniqueViolation
from trioorm.testing import Cancellation, SweepRun, available_cancellations, server_is_quiet, sweep
from trioorm.wire import AnyIOConnection, CopyIn, CopyOut, OnCancel, after_cleanup, command

_COPY = b"COPY person FROM STDIN"


@pytest.fixture(autouse=True)
def _table(witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text PRIMARY KEY, age int)")


def _count(witness: Witness) -> object:
    return witness.value("SELECT count(*) FROM person")


async def _copy_rows(connection: AnyIOConnection, *pieces: bytes, on_cancel: OnCancel = OnCancel.SETTLE) -> int:
    """The whole life of a COPY, as everybody who uses `CopyIn` has to write it."""
    copying = CopyIn(connection, _COPY)
    try:
        await copying.start()
        for piece in pieces:
            await copying.write(piece)
        return await copying.finish(on_cancel=on_cancel)
    except BaseException as error:
        raise after_cleanup(error, await copying.abort()) or error from None


async def test_rows_arrive(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        assert await _copy_rows(connection, b"Ada\t36\n", b"Grace\t", b"85\n") == 2
        assert _count(witness) == 2
        assert await works(connection)


async def test_no_rows_are_fine(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        assert await _copy_rows(connection) == 0
        assert await works(connection)


async def test_nothing_is_there_before_the_end(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        copying = CopyIn(connection, _COPY)
        await copying.start()
        await copying.write(b"Ada\t36\n")
        assert _count(witness) == 0
        assert await copying.finish(on_cancel=OnCancel.SETTLE) == 1
        assert _count(witness) == 1


async def test_abort_writes_nothing_and_frees_the_connection(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        copying = CopyIn(connection, _COPY)
        await copying.start()
        await copying.write(b"Ada\t36\n" * 1)
        assert await copying.abort() is None
        assert _count(witness) == 0
        assert await works(connection)
        assert await copying.abort() is None, "a second time does nothing"


async def test_abort_before_the_start_and_after_the_end_does_nothing(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        copying = CopyIn(connection, _COPY)
        assert await copying.abort() is None
        await copying.start()
        assert await copying.finish(on_cancel=OnCancel.SETTLE) == 0
        assert await copying.abort() is None
        assert await works(connection)


async def test_a_row_that_does_not_fit_writes_nothing(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        with pytest.raises(DataError, match="invalid input syntax"):
            await _copy_rows(connection, b"Ada\t36\n", b"Grace\told\n")
        assert _count(witness) == 0
        assert await works(connection)


async def test_a_key_that_is_there_already_writes_nothing(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        with pytest.raises(UniqueViolation) as failure:
            await _copy_rows(connection, b"Ada\t36\n", b"Ada\t37\n")
        assert failure.value.constraint == "person_pkey"
        assert _count(witness) == 0
        assert await works(connection)


async def test_an_early_error_does_not_hang_the_writer(dsn: str, witness: Witness) -> None:
    """The server has given up at the first row and throws the other megabytes away."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        with pytest.raises(DataError):
            await _copy_rows(connection, b"Ada\told\n", *[b"x" * 100_000 + b"\t1\n" for _ in range(100)])
        assert _count(witness) == 0
        assert await works(connection)


async def test_a_missing_table_is_refused_at_the_start(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        with pytest.raises(UndefinedTable, match="nowhere"):
            await CopyIn(connection, b"COPY nowhere FROM STDIN").start()
        assert await works(connection)


@pytest.mark.parametrize("text", [b"SELECT 1", b"SELECT 1; SELECT 2", b"", b"COPY person TO STDOUT"])
async def test_a_statement_that_is_no_copy_in_is_refused(dsn: str, witness: Witness, text: bytes) -> None:
    witness.run("INSERT INTO person VALUES ('Ada', 36)")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        with anyio.fail_after(5):
            with pytest.raises(DatabaseError, match="no COPY FROM STDIN"):
                await CopyIn(connection, text).start()
        assert connection.closed or await works(connection)


async def test_megabytes(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        piece = b"x" * 4000
        rows = b"".join(b"%d-%s\t%d\n" % (number, piece, number) for number in range(2000))
        assert len(rows) > 8_000_000
        assert await _copy_rows(connection, rows) == 2000
        assert _count(witness) == 2000


async def test_in_a_transaction_it_shares_its_fate(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        for end, expected in ((b"ROLLBACK", 0), (b"COMMIT", 1)):
            await connection.fly([command(b"BEGIN")])
            assert await _copy_rows(connection, b"Ada\t36\n", on_cancel=OnCancel.STOP) == 1
            assert connection.info.transaction_status == TransactionStatus.INTRANS
            await connection.fly([command(end)])
            assert _count(witness) == expected


async def test_a_cancelled_start_that_waits_for_a_lock(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection, await AnyIOConnection.connect(dsn) as other:
        await other.execute("LOCK TABLE person")
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_copy_rows, connection, b"Ada\t36\n")
            await witness.until_waiting(connection.info.backend_pid, "relation")
            nursery.cancel_scope.cancel()
        assert await works(connection)
        await other.rollback()
        assert _count(witness) == 0


async def test_a_start_that_is_cancelled_when_the_server_is_ready(dsn: str, witness: Witness) -> None:
    """The answer "send your rows" is in the socket already; nobody ever sends them, and the server must hear of it."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        with witness.locked("person") as unlock, anyio.fail_after(10):
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(_copy_rows, connection, b"Ada\t36\n")
                await witness.until_waiting(connection.info.backend_pid, "relation")
                unlock()
                ready = "SELECT wait_event = 'ClientRead' AND state = 'active' FROM pg_stat_activity WHERE pid = %s"
                assert witness.becomes_true(ready, connection.info.backend_pid, within_seconds=5)
                nursery.cancel_scope.cancel()
        assert await works(connection)
        assert _count(witness) == 0


async def test_a_writer_cancelled_between_two_rows(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        with anyio.CancelScope() as scope:
            copying = CopyIn(connection, _COPY)
            try:
                await copying.start()
                await copying.write(b"Ada\t36\n")
                scope.cancel()
                await anyio.sleep(math.inf)
            finally:
                assert await copying.abort() is None
        assert scope.cancelled_caught
        assert await works(connection)
        assert _count(witness) == 0


async def test_a_writer_whose_socket_is_full_is_cancelled(dsn: str, witness: Witness) -> None:
    """The server waits for a lock in the middle of the COPY and takes no more bytes."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection, await AnyIOConnection.connect(dsn) as other:
        await other.execute("INSERT INTO person VALUES ('Ada', 36)")
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_copy_rows, connection, b"Ada\t36\n", *[b"x" * 100_000 + b"%d\t1\n" % number for number in range(100)])
            await witness.until_waiting(connection.info.backend_pid, "transactionid")
            await anyio.sleep(0.02)  # for the socket to fill; nobody reports that
            nursery.cancel_scope.cancel()
        assert connection.closed or await works(connection)
        await other.rollback()
        assert _count(witness) == 0


async def test_the_end_that_waits_for_a_lock_is_cancelled(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection, await AnyIOConnection.connect(dsn) as other:
        await other.execute("INSERT INTO person VALUES ('Ada', 36)")
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_copy_rows, connection, b"Ada\t36\n")
            await witness.until_waiting(connection.info.backend_pid, "transactionid")
            nursery.cancel_scope.cancel()
        assert await works(connection)
        await other.rollback()
        assert _count(witness) == 0


async def test_a_cancellation_by_somebody_else_is_an_error(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        copying = CopyIn(connection, _COPY)
        await copying.start()
        witness.run("SELECT pg_cancel_backend(%s)", connection.info.backend_pid)
        with pytest.raises(QueryCanceled):
            await copying.write(b"Ada\t36\n")
            await copying.finish(on_cancel=OnCancel.SETTLE)
        assert await copying.abort() is None
        assert await works(connection)


async def test_on_a_closed_connection_it_is_lost(dsn: str) -> None:
    connection = await AnyIOConnection.connect(dsn, autocommit=True)
    await connection.close()
    with pytest.raises(ConnectionLost, match="closed"):
        await CopyIn(connection, _COPY).start()


# Sweeps.


async def _sweep(witness: Witness, dsn: str, operate: Callable[[AnyIOConnection], Awaitable[object]]) -> None:
    connection = await AnyIOConnection.connect(dsn, autocommit=True)

    async def check(run: SweepRun) -> None:
        nonlocal connection
        await server_is_quiet(witness.connection)
        assert _count(witness) == (2 if run.ended_normally else 0)
        witness.run("TRUNCATE person")
        if connection.closed:
            connection = await AnyIOConnection.connect(dsn, autocommit=True)
        assert await works(connection)

    try:
        report = await sweep(lambda _: operate(connection), check=check, may_absorb=True)
    finally:
        connection.close_nowait()
    assert report.cancellations >= len(report.kinds) * 2, f"\n{report}"


async def test_sweep_over_a_copy(dsn: str, witness: Witness) -> None:
    await _sweep(witness, dsn, lambda connection: _copy_rows(connection, b"Ada\t36\n", b"Grace\t85\n"))


async def test_sweep_over_a_large_copy(dsn: str, witness: Witness) -> None:
    rows = b"%s\t%d\n"
    large = [rows % (letter * 3_000_000, age) for letter, age in ((b"a", 36), (b"g", 85))]
    witness.run("ALTER TABLE person DROP CONSTRAINT person_pkey")  # an index entry cannot be that large
    await _sweep(witness, dsn, lambda connection: _copy_rows(connection, *large))


async def test_a_start_that_is_cancelled_as_it_wakes(dsn: str, witness: Witness) -> None:
    """asyncio's own cancel in place of the answer "send your rows": the answer has been read, though `start` never saw it."""
    if Cancellation.TASK_ON_WAKING not in available_cancellations():
        return  # Trio keeps what was handed over, and raises at the next checkpoint; the sweep above has that

    async def check(run: SweepRun) -> None:
        assert await works(connection)

    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await sweep(lambda _: _start_alone(connection), kinds=[Cancellation.TASK_ON_WAKING], check=check)


async def _start_alone(connection: AnyIOConnection) -> None:
    copying = CopyIn(connection, _COPY)
    error: BaseException | None = None
    try:
        await copying.start()
    except BaseException as raised:
        error = raised
    if (ending := after_cleanup(error, await copying.abort())) is not None:
        raise ending


async def test_psycopgs_copy_and_ours_take_turns(dsn: str, witness: Witness) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        async with connection.cursor().copy("COPY person FROM STDIN") as copy:
            await copy.write_row(("Hedy", 85))
        assert await _copy_rows(connection, b"Ada\t36\n") == 1
        with pytest.raises(psycopg.errors.UniqueViolation):
            async with connection.cursor().copy("COPY person FROM STDIN") as copy:
                await copy.write_row(("Hedy", 85))
        assert _count(witness) == 2
        assert await works(connection)


@pytest.mark.parametrize("text", [b"COPY person FROM STDIN", b"SELECT name FROM person", b"COPY person TO STDOUT; DROP TABLE person"])
async def test_what_is_no_copy_out_is_refused_and_the_connection_works(dsn: str, witness: Witness, text: bytes) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        copying = CopyOut(connection, text)
        with pytest.raises(DatabaseError, match=r"is no COPY TO STDOUT|cannot insert multiple commands"):
            await copying.next_block()
        assert await copying.close() is None
        assert _count(witness) == 0
        assert await works(connection)


async def test_rows_come_out_until_the_end(dsn: str, witness: Witness) -> None:
    witness.run("INSERT INTO person VALUES ('Ada', 36)")
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        copying = CopyOut(connection, b"COPY person TO STDOUT")
        assert await copying.next_block() == b"Ada\t36\n"
        assert await copying.next_block() is None
        assert await copying.next_block() is None, "the end stays the end"
        assert await copying.close() is None
        assert await works(connection)
