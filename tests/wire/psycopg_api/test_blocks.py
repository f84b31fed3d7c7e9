"""psycopg's blocks: transactions and nested ones, two-phase commit, pipelines, and COPY both ways."""

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import date
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import AsyncConnection, AsyncCopy, AsyncCursor, AsyncPipeline, AsyncTransaction, Rollback, Xid, errors, sql
from psycopg.abc import Buffer
from psycopg.copy import AsyncLibpqWriter, AsyncQueuedLibpqWriter, AsyncWriter
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.transaction import OutOfOrderTransactionNesting

from tests.wire.psycopg_api.covers import covers
from tests.wire.witness import Witness, works
from trioorm.wire import AnyIOConnection

_ROWS = [("Ada", 36, date(1815, 12, 10)), ("Gracé\t", 85, None), ("", 0, date(2000, 1, 1))]


@asynccontextmanager
async def _table(dsn: str, *, autocommit: bool = True) -> AsyncGenerator[AnyIOConnection]:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("CREATE TABLE person (name text PRIMARY KEY, age int, born date)")
        await connection.set_autocommit(autocommit)
        yield connection


async def _insert(connection: AnyIOConnection, *names: str) -> None:
    for name in names:
        await connection.execute("INSERT INTO person VALUES (%s)", [name])


def _names(witness: Witness) -> object:
    return witness.value("SELECT coalesce(string_agg(name, ' ' ORDER BY name), '') FROM person")


# Transactions.


@covers(AsyncConnection, "transaction")
@covers(AsyncTransaction, "Status status savepoint_name connection pgconn force_rollback")
@pytest.mark.parametrize("autocommit", [True, False])
async def test_transactions_and_nested_ones(dsn: str, witness: Witness, autocommit: bool) -> None:
    async with _table(dsn, autocommit=autocommit) as connection:
        async with connection.transaction() as outer:
            assert (outer.connection, outer.pgconn) == (connection, connection.pgconn)
            assert (outer.status, outer.savepoint_name) == (outer.Status.ACTIVE, "")
            assert not outer.force_rollback
            await _insert(connection, "a")
            async with connection.transaction() as inner:
                assert inner.savepoint_name == "_pg3_2"
                await _insert(connection, "b")
            assert inner.status == AsyncTransaction.Status.COMMITTED
            named: list[AsyncTransaction] = []
            with pytest.raises(errors.UniqueViolation):
                async with connection.transaction("mine") as mine:
                    named.append(mine)
                    assert mine.savepoint_name == "mine"
                    await _insert(connection, "c", "a")
            assert named[0].status == AsyncTransaction.Status.ROLLED_BACK_WITH_ERROR
            with pytest.raises(psycopg.ProgrammingError, match=r"Explicit commit\(\) forbidden"):
                await connection.commit()
            with pytest.raises(psycopg.ProgrammingError, match=r"Explicit rollback\(\) forbidden"):
                await connection.rollback()
            with pytest.raises(TypeError, match="only once"):
                async with outer:
                    pass
        assert outer.status == outer.Status.COMMITTED
        assert await works(connection)
    assert _names(witness) == "a b"


@covers(AsyncConnection, "transaction")
async def test_what_rolls_a_transaction_back(dsn: str, witness: Witness) -> None:
    def roll_back(block: AsyncTransaction | None = None) -> None:
        raise Rollback(block)

    async with _table(dsn) as connection:
        async with connection.transaction(force_rollback=True) as forced:
            await _insert(connection, "a")
        assert forced.status == forced.Status.ROLLED_BACK_EXPLICITLY
        async with connection.transaction():
            await _insert(connection, "b")
            roll_back()
        async with connection.transaction() as outer:
            await _insert(connection, "c")
            async with connection.transaction():
                roll_back(outer)
        async with connection.transaction():
            await _insert(connection, "d")
            async with connection.transaction():
                await _insert(connection, "e")
                roll_back()
        with pytest.raises(LookupError):
            async with connection.transaction():
                await _insert(connection, "f")
                raise LookupError
        assert await works(connection)
    assert _names(witness) == "d"


async def test_transactions_that_end_out_of_order(dsn: str) -> None:
    async with _table(dsn) as connection:
        first, second = connection.transaction(), connection.transaction()
        await first.__aenter__()
        await second.__aenter__()
        with pytest.raises(OutOfOrderTransactionNesting):
            await first.__aexit__(None, None, None)
        await connection.close()


async def test_a_transaction_that_cannot_begin_leaves_the_next_one_to(dsn: str) -> None:
    async with _table(dsn) as connection:
        with pytest.raises(errors.SyntaxError):
            async with connection.transaction():
                await connection.execute("nonsense")
        async with connection.transaction():
            await _insert(connection, "a")
        assert await works(connection)


# Two phases.


@contextmanager
def _two_phases(witness: Witness) -> Generator[None]:
    """Skips when the server cannot; leaves nothing prepared behind, whose locks would outlive the test."""
    if witness.value("SELECT current_setting('max_prepared_transactions')") == "0":
        pytest.skip("the server has max_prepared_transactions = 0")
    try:
        yield
    finally:
        for (gid,) in witness.connection.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()").fetchall():
            witness.connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))


@covers(AsyncConnection, "xid tpc_begin tpc_prepare tpc_commit tpc_rollback tpc_recover")
async def test_two_phase_commit(dsn: str, witness: Witness) -> None:
    with _two_phases(witness):
        async with _table(dsn, autocommit=False) as connection:
            xid = connection.xid(1, "mine", "branch")
            await connection.tpc_begin(xid)
            await _insert(connection, "prepared")
            await connection.tpc_prepare()
            assert connection.is_idle
            with pytest.raises(psycopg.ProgrammingError):
                await connection.cancel_safe()
            await connection.tpc_commit()
            assert _names(witness) == "prepared"

            await connection.tpc_begin("one phase")
            await _insert(connection, "one")
            await connection.tpc_commit()

            await connection.tpc_begin("back")
            await _insert(connection, "gone")
            await connection.tpc_rollback()

            await connection.tpc_begin(connection.xid(7, "left", "behind"))
            await _insert(connection, "recovered")
            await connection.tpc_prepare()
            with pytest.raises(psycopg.ProgrammingError, match=r"commit\(\) cannot be used"):
                await connection.commit()
            await connection.close()
        async with await AnyIOConnection.connect(dsn) as connection:
            (found,) = [each for each in await connection.tpc_recover() if each.database == connection.info.dbname]
            assert isinstance(found, Xid)
            assert (found.format_id, found.gtrid, found.bqual) == (7, "left", "behind")
            assert connection.is_idle
            await connection.tpc_commit(found)
            assert await works(connection)
        assert _names(witness) == "one prepared recovered"


# Pipelines.


@covers(AsyncConnection, "pipeline")
@covers(AsyncPipeline, "sync status is_supported pgconn level command_queue result_queue")
async def test_pipelines(dsn: str, witness: Witness) -> None:
    async with _table(dsn) as connection:
        assert AsyncPipeline.is_supported()
        async with connection.pipeline() as pipeline:
            assert pipeline.status == PipelineStatus.ON
            assert pipeline.pgconn is connection.pgconn
            assert pipeline.level == 1
            first = await connection.execute("INSERT INTO person VALUES ('a') RETURNING name")
            assert pipeline.result_queue or pipeline.command_queue, "nothing was waited for"
            async with connection.transaction():
                await _insert(connection, "b")
                async with connection.pipeline() as inner:
                    assert inner is pipeline
                    await _insert(connection, "c")
            second = await connection.execute("SELECT count(*) FROM person")
            assert await second.fetchone() == (3,)
            assert await first.fetchone() == ("a",)
            await pipeline.sync()
            with pytest.raises(errors.UniqueViolation):
                await connection.execute("INSERT INTO person VALUES ('a')")
                await pipeline.sync()
        assert await works(connection)
        with pytest.raises(errors.UndefinedTable):
            async with connection.pipeline() as pipeline:
                await connection.execute("SELECT * FROM nowhere")
                await _insert(connection, "never run")
                await pipeline.sync()
        assert await works(connection)
    assert _names(witness) == "a b c"


@covers(AsyncConnection, "pipeline")
async def test_an_error_at_the_end_of_a_pipeline_and_one_of_its_body(dsn: str, witness: Witness) -> None:
    async with _table(dsn) as connection:
        with pytest.raises(errors.UndefinedTable):
            async with connection.pipeline():
                await connection.execute("SELECT * FROM nowhere")
        assert await works(connection)
        with pytest.raises(LookupError):
            async with connection.pipeline():
                await _insert(connection, "sent")
                raise LookupError
        assert await works(connection)
        with pytest.raises(LookupError):
            async with connection.pipeline():
                await connection.execute("INSERT INTO person SELECT 'slow' FROM pg_sleep(1.2)")
                raise LookupError
        assert not connection.closed, "the answer is waited for, as psycopg does, and not only for the cleanup budget"
        assert await works(connection)
    assert _names(witness) == "sent slow"


# COPY.


@covers(AsyncCursor, "copy")
@covers(AsyncCopy, "write_row set_types rows read_row read write writer")
@pytest.mark.parametrize("options", ["", "(FORMAT binary)"])
async def test_copying_rows(dsn: str, options: LiteralString) -> None:
    async with _table(dsn) as connection:
        async with connection.cursor() as cursor:
            async with cursor.copy(f"COPY person FROM STDIN {options}") as copy:
                assert isinstance(copy.writer, AsyncLibpqWriter)
                copy.set_types(["text", "int4", "date"])
                for row in _ROWS:
                    await copy.write_row(row)
            assert cursor.rowcount == 3
            async with cursor.copy(f"COPY person TO STDOUT {options}") as copy:
                copy.set_types(["text", "int4", "date"])
                assert [row async for row in copy.rows()] == _ROWS
            async with cursor.copy(f"COPY person TO STDOUT {options}") as copy:
                copy.set_types(["text", "int4", "date"])
                assert await copy.read_row() == _ROWS[0]
                assert [await copy.read_row() for _ in range(3)] == [*_ROWS[1:], None]
            async with cursor.copy(f"COPY person TO STDOUT {options}") as copy:
                blocks = [bytes(block) async for block in copy]
            async with cursor.copy(f"COPY person TO STDOUT {options}") as copy:
                again: list[bytes] = []
                while block := await copy.read():
                    again.append(bytes(block))
            assert again == blocks
            await connection.execute("TRUNCATE person")
            async with cursor.copy(f"COPY person FROM STDIN {options}") as copy:
                for each in blocks:
                    await copy.write(each)
            assert cursor.rowcount == 3
        assert await works(connection)


@covers(AsyncCopy, "write rows")
async def test_copying_text_with_parameters(dsn: str) -> None:
    async with _table(dsn) as connection:
        cursor = connection.cursor()
        async with cursor.copy("COPY person (name) FROM STDIN (FORMAT csv)") as copy:
            await copy.write('"a"\n')
            await copy.write(b"b\n")
        assert cursor.rowcount == 2
        async with cursor.copy("COPY (SELECT * FROM person WHERE name > %s) TO STDOUT", ["a"]) as copy:
            assert [row async for row in copy.rows()] == [("b", None, None)]
        assert await works(connection)


async def test_a_large_block_and_a_slow_server(dsn: str) -> None:
    """More than libpq's buffer holds, written to a server that takes it slowly."""
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("CREATE TABLE blob (x text)")
        cursor = connection.cursor()
        async with cursor.copy("COPY blob FROM STDIN") as copy:
            for _ in range(20):
                await copy.write(b"x" * 1_000_000 + b"\n")
        assert cursor.rowcount == 20


async def test_errors_end_a_copy(dsn: str) -> None:
    async with _table(dsn) as connection:
        cursor = connection.cursor()
        with pytest.raises(errors.InvalidTextRepresentation):
            async with cursor.copy("COPY person (age) FROM STDIN") as copy:
                await copy.write("nonsense\n")
        assert await works(connection)
        with pytest.raises(LookupError):
            async with cursor.copy("COPY person FROM STDIN") as copy:
                await copy.write_row(_ROWS[0])
                raise LookupError
        assert await works(connection)
        with pytest.raises(LookupError):
            async with cursor.copy("COPY (SELECT generate_series(1, 1000000)) TO STDOUT") as copy:
                await copy.read()
                raise LookupError
        assert await works(connection)
        for many in (3, 1_000_000):  # all there when it is left, and still coming
            async with cursor.copy("COPY (SELECT generate_series(1, %s)) TO STDOUT", [many]) as copy:
                async for _ in copy:
                    break
            assert await works(connection), "psycopg leaves the rest in the way of all that follows"
        with pytest.raises(psycopg.ProgrammingError, match="COPY"):
            async with cursor.copy("SELECT 1"):
                pass
        with pytest.raises(psycopg.ProgrammingError, match=r"copy\(\)"):
            await cursor.execute("COPY person TO STDOUT")
        await connection.close()  # as under psycopg, the server is in the middle of that COPY


class _Collecting(AsyncWriter):
    def __init__(self) -> None:
        self.data = b""
        self.finished: list[BaseException | None] = []

    async def write(self, data: Buffer) -> None:
        self.data += bytes(data)

    async def finish(self, exc: BaseException | None = None) -> None:
        self.finished.append(exc)


@covers(AsyncCopy, "writer write_row finish")
async def test_writers_of_every_kind(dsn: str, witness: Witness) -> None:
    async with _table(dsn) as connection:
        cursor = connection.cursor()
        writer: AsyncWriter
        for number, make in enumerate((AsyncLibpqWriter, AsyncQueuedLibpqWriter)):
            writer = make(cursor, flush_threshold=10)
            async with cursor.copy("COPY person (name, age) FROM STDIN", writer=writer) as copy:
                for each in range(2000):
                    await copy.write_row((f"{number} {each}", each))
            assert cursor.rowcount == 2000
        assert witness.value("SELECT count(*) FROM person") == 4000
        await connection.execute("TRUNCATE person")

        collecting = _Collecting()
        async with AsyncCopy(connection.cursor(), binary=False, writer=collecting) as copy:
            assert copy.writer is collecting
            await copy.write_row(("a", 1))
            await copy.write_row(("b", 2))
        assert collecting.data == b"a\t1\nb\t2\n"
        assert collecting.finished == [None]
        by_hand = AsyncCopy(connection.cursor(), binary=False, writer=collecting)
        await by_hand.write_row(("c", 3))
        await by_hand.finish(None)
        assert collecting.data.endswith(b"b\t2\nc\t3\n")
        assert await works(connection)


async def test_copy_from_one_connection_to_another(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE twin (name text, age int, born date)")
    async with _table(dsn) as source, await AnyIOConnection.connect(dsn, autocommit=True) as target:
        rows: Sequence[Any] = _ROWS
        async with source.cursor() as cursor:
            await cursor.executemany("INSERT INTO person VALUES (%s, %s, %s)", rows)
        async with (
            source.cursor().copy("COPY person TO STDOUT (FORMAT binary)") as out,
            target.cursor().copy("COPY twin FROM STDIN (FORMAT binary)") as into,
        ):
            async for block in out:
                await into.write(block)
        assert witness.value("SELECT count(*) FROM (TABLE person EXCEPT TABLE twin) AS missing") == 0
        assert await works(source)
        assert target.info.transaction_status == TransactionStatus.IDLE
