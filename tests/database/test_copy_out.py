"""copy_out: rows as objects, or as the bytes of a file of the server's making; with bind values; left at any moment."""

import csv
import io
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import psycopg
import pytest

from tests.database.zoo import Animal
from tests.transaction.ledger import Entry
from tests.transaction.swept import Operation, sweep_ledger
from tests.wire.witness import Witness
from trioorm import (
    ConnectionLost,
    CopyBlock,
    Database,
    DatabaseError,
    QueryError,
    Sql,
    TransactionBusy,
    TypedSql,
    Verbs,
    insert,
    open_database,
    select,
    sql,
    update,
)
from trioorm.testing import available_cancellations, pool_is_whole, server_is_quiet

TEMPORARY = sql("SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'").returns(int)
Work = Callable[[Verbs], Awaitable[None]]
PID = sql("SELECT pg_backend_pid()").returns(int)


def _many(in_all: int) -> TypedSql[tuple[int, str]]:
    return sql("SELECT n, repeat('x', 1000) FROM generate_series(1, {in_all}) n", in_all=in_all).returns(int, str)


MANY = sql("SELECT n, repeat('x', 1000) FROM generate_series(1, 200000) n").returns(int, str)  # 200 MB


async def _all(block: CopyBlock) -> bytes:
    async with block as blocks:
        return b"".join([each async for each in blocks])


@asynccontextmanager
async def _verbs(dsn: str, inside: bool) -> AsyncGenerator[Verbs]:
    """A database, or a transaction in it, with some animals."""
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        await db.insert_many([Animal(name=name, age=age) for name, age in [("Ada", 3), ('B "b"', 5), ("C,\nc", 7)]])
        if inside:
            async with db.transaction() as tx:
                yield tx
                assert await tx.fetch_value(TEMPORARY) == 0
        else:
            yield db
        assert await db.fetch_value(TEMPORARY) == 0
        await pool_is_whole(db.statistics)


inside_or_not = pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])


@inside_or_not
async def test_objects_and_rows(dsn: str, inside: bool) -> None:
    async with _verbs(dsn, inside) as verbs:
        async with verbs.copy_out(Animal) as animals:
            assert [animal.name async for animal in animals] == ["Ada", 'B "b"', "C,\nc"]
        async with verbs.copy_out(select(Animal.name, Animal.age).where(Animal.age > 3).order_by(Animal.age)) as rows:
            assert [row async for row in rows] == [('B "b"', 5), ("C,\nc", 7)]


@inside_or_not
async def test_csv(dsn: str, inside: bool) -> None:
    query = select(Animal.name, Animal.age).order_by(Animal.age)
    async with _verbs(dsn, inside) as verbs:
        plain = await _all(verbs.copy_out(query, format="csv"))
        assert plain == b'Ada,3\n"B ""b""",5\n"C,\nc",7\n'
        assert await _all(verbs.copy_out(query, format="csv", header=True)) == b"name,age\n" + plain
        whole = (await _all(verbs.copy_out(Animal, format="csv", header=True))).decode()
        assert [row["name"] for row in csv.DictReader(io.StringIO(whole, newline=""))] == ["Ada", 'B "b"', "C,\nc"]


@inside_or_not
async def test_with_bind_values(dsn: str, inside: bool) -> None:
    async with _verbs(dsn, inside) as verbs:
        query = select(Animal.name, Animal.age).where(Animal.age > 3).order_by(Animal.age.desc()).limit(5)
        assert await _all(verbs.copy_out(query, format="text")) == b'C,\\nc\t7\nB "b"\t5\n'
        assert await _all(verbs.copy_out(query, format="csv", header=True)) == b'name,age\n"C,\nc",7\n"B ""b""",5\n'
        hostile = sql("SELECT {text} AS a, 2 AS a, 3 -- and a remark", text="'); DROP TABLE animals; --").returns(str, int, int)
        assert await _all(verbs.copy_out(hostile, format="csv", header=True)) == b"a,a,?column?\n'); DROP TABLE animals; --,2,3\n"


@inside_or_not
async def test_binary(dsn: str, inside: bool) -> None:
    async with _verbs(dsn, inside) as verbs:
        written = await _all(verbs.copy_out(select(Animal.name, Animal.age).where(Animal.age == 3), format="binary"))
        assert written == (b"PGCOPY\n\xff\r\n\0" + struct.pack("!iihi", 0, 0, 2, 3) + b"Ada" + struct.pack("!ihh", 2, 3, -1))


@pytest.mark.parametrize("values", [False, True], ids=["bare", "bind values"])
async def test_every_row_once_and_in_order_in_blocks(dsn: str, values: bool) -> None:
    text = (
        "SELECT n, 'some words' FROM generate_series(1, {in_all}) n ORDER BY n % 7, n"
        if values
        else ("SELECT n, 'some words' FROM generate_series(1, 100000) n ORDER BY n % 7, n")
    )
    query = sql(text, in_all=100_000).returns(int, str) if values else sql(text).returns(int, str)
    async with open_database(dsn) as db:
        taken: list[bytes] = []
        async with db.copy_out(query, format="csv") as blocks:
            async for block in blocks:
                assert block.endswith(b"\n"), "rows are whole"
                taken.append(block)
    assert len(taken) > 20
    assert max(map(len, taken)) < 70_000
    numbers = [int(line.partition(b",")[0]) for line in b"".join(taken).splitlines()]
    assert numbers == sorted(range(1, 100_001), key=lambda number: (number % 7, number))


async def test_no_rows(dsn: str) -> None:
    async with open_database(dsn) as db:
        assert await _all(db.copy_out(sql("SELECT 1 WHERE false").returns(int), format="csv")) == b""


async def test_what_was_copied_can_be_copied_in(dsn: str) -> None:
    """psycopg takes what the server wrote."""
    async with _verbs(dsn, False) as verbs:
        written = await _all(verbs.copy_out(Animal, format="binary"))
        with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE others (LIKE animals)")
            with cursor.copy("COPY others FROM STDIN (FORMAT binary)") as copy:
                copy.write(written)
            assert cursor.execute("SELECT count(*) FROM (TABLE others INTERSECT TABLE animals) AS same").fetchone() == (3,)


@pytest.mark.parametrize("values", [False, True], ids=["bare", "bind values"])
@pytest.mark.parametrize("way", ["break", "error", "cancel"])
@inside_or_not
async def test_leaving_early_stops_the_server_and_keeps_the_connection(
    dsn: str, witness: Witness, inside: bool, way: str, values: bool
) -> None:
    query = _many(30_000) if values else MANY

    async def leave(verbs: Verbs) -> None:
        with anyio.CancelScope() as scope:
            try:
                async with verbs.copy_out(query, format="csv") as blocks:
                    await anext(blocks)
                    if way == "error":
                        raise LookupError
                    if way == "cancel":
                        scope.cancel()
                        await anext(blocks)
            except LookupError:
                pass
        assert scope.cancelled_caught == (way == "cancel")

    async with _verbs(dsn, inside) as verbs:
        pid = await verbs.fetch_value(PID)
        if inside:
            await verbs.insert(Animal(name="before"))
        await leave(verbs)
        assert await verbs.fetch_value(PID) == pid
        assert await verbs.fetch_value(TEMPORARY) == 0
        if inside:
            assert await verbs.fetch_value(sql("SELECT count(*) FROM animals WHERE name = 'before'").returns(int)) == 1
    await server_is_quiet(witness.connection)


@inside_or_not
async def test_a_block_that_nobody_reads(dsn: str, inside: bool) -> None:
    async with _verbs(dsn, inside) as verbs:
        for query in (MANY, _many(10)):
            async with verbs.copy_out(query, format="csv"):
                pass


async def test_a_slow_consumer_slows_the_server_down(dsn: str, witness: Witness) -> None:
    async with open_database(dsn) as db:
        pid = await db.fetch_value(PID)
        async with db.copy_out(MANY, format="csv") as blocks:
            await anext(blocks)
            await witness.until_waiting(pid, "ClientWrite")


async def test_a_cancelled_wait_loses_no_rows(dsn: str) -> None:
    """Whoever gives up waiting, and goes on later, has all rows."""
    slow = sql("SELECT n, pg_sleep(n * 0.05)::text, repeat('x', 9000) FROM generate_series(1, 4) n").returns(int, str, str)
    taken: list[bytes] = []
    async with open_database(dsn) as db, db.copy_out(slow, format="csv") as blocks:
        ended = False
        while not ended:
            with anyio.move_on_after(0.03):
                try:
                    taken.append(await anext(blocks))
                except StopAsyncIteration:
                    ended = True
    assert [int(line.partition(b",")[0]) for line in b"".join(taken).splitlines()] == [1, 2, 3, 4]


@inside_or_not
@pytest.mark.parametrize("divisor", [sql("SELECT 10 / (4 - n) FROM generate_series(1, 9) n"), sql("SELECT {one} / 0", one=1)])
async def test_an_error_of_the_server_is_raised_as_ours(dsn: str, inside: bool, divisor: Sql) -> None:
    async with open_database(dsn, max_size=1) as db:
        with pytest.raises(DatabaseError, match="division by zero"):
            if inside:
                async with db.transaction() as tx:
                    await _all(tx.copy_out(divisor, format="csv"))
            else:
                await _all(db.copy_out(divisor, format="csv"))
        await pool_is_whole(db.statistics)


async def test_a_caught_error_leaves_the_transaction_usable(dsn: str) -> None:
    async with open_database(dsn) as db, db.transaction() as tx:
        with pytest.raises(DatabaseError, match="division by zero"):
            await _all(tx.copy_out(sql("SELECT 1 / 0"), format="csv"))
        assert await tx.fetch_value(sql("SELECT 7").returns(int)) == 7


async def test_a_connection_that_dies_under_it(dsn: str, witness: Witness) -> None:
    async with open_database(dsn) as db:
        pid = await db.fetch_value(PID)
        with pytest.raises(ConnectionLost) as caught:
            async with db.copy_out(MANY, format="csv") as blocks:
                await anext(blocks)
                witness.terminate(pid)
                async for _ in blocks:
                    pass
        assert caught.value.safe_to_retry
        await pool_is_whole(db.statistics)
        assert await db.fetch_value(sql("SELECT 7").returns(int)) == 7


async def test_using_the_transaction_inside_is_refused(dsn: str) -> None:
    async with open_database(dsn) as db, db.transaction() as tx:
        async with tx.copy_out(MANY, format="csv") as blocks:
            await anext(blocks)
            with pytest.raises(TransactionBusy, match="a COPY of the transaction"):
                await tx.fetch_value(PID)


REFUSED: list[tuple[Callable[[Any], object], str]] = [
    (lambda db: db.copy_out(insert(Animal).values({"name": "x"}).returning(Animal.id), format="csv"), "copies the rows of a query"),
    (lambda db: db.copy_out(update(Animal).set(Animal.age, 1).everywhere()), "copies the rows of a query"),
    (lambda db: db.copy_out(Animal, format="text", header=True), 'header=True\\) is for format="csv"'),
    (lambda db: db.copy_out(Animal, header=True), 'header=True\\) is for format="csv"'),
    (lambda db: db.copy_out(Animal, format="CSV); DROP TABLE animals"), "is 'csv', 'text' or 'binary'"),
]


@pytest.mark.parametrize(("copy", "words"), REFUSED, ids=["insert", "update", "header of text", "header of objects", "format"])
async def test_what_is_refused(dsn: str, copy: Callable[[Any], object], words: str) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(QueryError, match=words):
            copy(db)


async def test_on_a_snapshot(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        await db.insert(Animal(name="Ada", age=3))
        async with db.snapshot() as snap:
            assert await _all(snap.copy_out(select(Animal.name), format="csv")) == b"Ada\n"
            with pytest.raises(QueryError, match="cannot be made in a snapshot"):
                snap.copy_out(select(Animal.name).where(Animal.age == 3), format="csv")
            async with snap.copy_out(select(Animal.name).where(Animal.age == 3)) as names:
                assert [name async for name in names] == ["Ada"]
            await snap.fetch_all(select(Animal))


async def test_a_read_only_transaction_refuses_the_temporary_table(dsn: str) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(DatabaseError, match="read-only transaction"):
            async with db.transaction(read_only=True) as tx:
                await _all(tx.copy_out(_many(3), format="csv"))


async def _copy_out(verbs: Verbs) -> None:
    assert await _all(verbs.copy_out(Entry, format="csv")) == b"9,before\n"


async def _copy_out_with_values(verbs: Verbs) -> None:
    assert await _all(verbs.copy_out(select(Entry).where(Entry.key > 1), format="csv")) == b"9,before\n"


async def _left_early(verbs: Verbs) -> None:
    async with verbs.copy_out(_many(300), format="csv") as blocks:
        await anext(blocks)


async def _failing(verbs: Verbs) -> None:
    try:
        await _all(verbs.copy_out(sql("SELECT 1 / {zero}", zero=0), format="csv"))
    except DatabaseError:
        pass


def _in_transaction(work: Work) -> Operation:
    async def operation(db: Database) -> None:
        async with db.transaction() as tx:
            await tx.insert(Entry(key=1))
            await tx.execute(sql("DELETE FROM entries WHERE key = 1"))
            await work(tx)
            assert await tx.fetch_value(TEMPORARY) == 0

    return operation


@inside_or_not
@pytest.mark.parametrize("work", [_copy_out, _copy_out_with_values, _left_early, _failing], ids=lambda work: work.__name__.strip("_"))
async def test_cancelled_anywhere(dsn: str, witness: Witness, work: Work, inside: bool) -> None:
    operation = _in_transaction(work) if inside else work
    may_absorb = inside or work is not _copy_out
    report = await sweep_ledger(dsn, witness, operation, leaves=[9], before=[9], may_absorb=may_absorb)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())
    assert witness.value("SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'") == 0
