"""Ways of using a borrowed connection by psycopg's own API, and by our wire below the pool."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeAlias, cast

import psycopg
import pytest
from psycopg import AsyncCursor

from tests.database.mixing.shop import Book, Shop
from tests.wire.witness import step
from trioorm.wire import AnyIOConnection, RowStream

Connection: TypeAlias = AnyIOConnection[Any]
PsycopgWay: TypeAlias = Callable[[Shop, Connection, int], Awaitable[None]]

PSYCOPG_WAYS: dict[str, PsycopgWay] = {}

_BY_NUMBER = "SELECT id, title FROM books WHERE id > %s ORDER BY id"
_DIVIDES = "SELECT 1000 / (%s::int - i) FROM generate_series(1, 3000) AS i"
_WIDE: Final = "SELECT i, repeat('x', 1000) FROM generate_series(1, 6000) AS i"
_INSERT: Final = "INSERT INTO books (id, shelf_id, title, pages) VALUES (%s, %s, %s, %s)"


def _way(way: PsycopgWay) -> PsycopgWay:
    PSYCOPG_WAYS[getattr(way, "__name__", "")] = way
    return way


def _pairs(shop: Shop, after: int = 0) -> list[tuple[int, str]]:
    return [(book.id, book.title) for book in shop.listed if book.id > after]


def _cells(book: Book) -> tuple[int, int, str, int]:
    return book.id, book.shelf_id, book.title, book.pages


def _will_be(shop: Shop, *books: Book) -> None:
    """Note what may be there if the next wait is cancelled: psycopg does not say."""
    shop.maybe = {**shop.books, **{book.id: book for book in books}}


def _is(shop: Shop) -> None:
    assert shop.maybe is not None
    shop.books, shop.maybe = shop.maybe, None


@_way
async def execute(shop: Shop, connection: Connection, number: int) -> None:
    after = number % 30
    cursor = await connection.execute(_BY_NUMBER, [after], prepare=[True, False, None][number % 3], binary=number % 2 == 0)
    assert await cursor.fetchall() == _pairs(shop, after)


@_way
async def fetch_only_one(shop: Shop, connection: Connection, number: int) -> None:
    cursor = await connection.execute(_BY_NUMBER, [0])
    assert await cursor.fetchone() == next(iter(_pairs(shop)), None)


@_way
async def two_statements(shop: Shop, connection: Connection, number: int) -> None:
    cursor = await connection.execute("SELECT id FROM books ORDER BY id; SELECT 'second'")
    assert await cursor.fetchall() == [(number,) for number in sorted(shop.books)]
    if number % 2:
        assert cursor.nextset()
        assert await cursor.fetchall() == [("second",)]


def _stream(connection: Connection, size: int) -> AsyncGenerator[tuple[int, str]]:
    cursor: AsyncCursor[tuple[int, str]] = connection.cursor()
    return cast("AsyncGenerator[tuple[int, str]]", cursor.stream(_BY_NUMBER, [0], size=size))


@_way
async def stream(shop: Shop, connection: Connection, number: int) -> None:
    rows: list[tuple[int, str]] = []
    leaves_after = len(shop.books) if number % 2 else number % 11
    async with aclosing(_stream(connection, number % 4 + 1)) as streamed:
        async for row in streamed:
            rows.append(row)
            if len(rows) > leaves_after:
                break
    assert rows == _pairs(shop)[: leaves_after + 1]


@_way
async def wide_stream(shop: Shop, connection: Connection, number: int) -> None:
    counted = 0
    async for each, _ in connection.cursor().stream(_WIDE, size=number % 900 + 1):
        counted += 1
        assert each == counted
        if counted > number:
            break
    assert counted == number + 1
    await two_statements(shop, connection, number)  # the generator is ended by whoever of psycopg's comes next


@_way
async def wide_copy(shop: Shop, connection: Connection, number: int) -> None:
    counted = 0
    async with connection.cursor().copy("COPY (" + _WIDE + ") TO STDOUT") as copied:
        async for _ in copied.rows():
            counted += 1
            if counted > number:
                break
    assert counted == number + 1


@_way
async def stream_divided(shop: Shop, connection: Connection, number: int) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        async for _ in connection.cursor().stream(_DIVIDES, [number % 3000 + 1], size=number % 40 + 1):
            pass
    await _leave_error(connection)


@_way
async def server_cursor(shop: Shop, connection: Connection, number: int) -> None:
    async with connection.transaction():
        async with connection.cursor(name="mixed") as cursor:
            cursor.itersize = number % 7 + 1
            await cursor.execute(_BY_NUMBER, [0])
            assert await cursor.fetchmany(2) == _pairs(shop)[:2]
            if number % 2:
                assert [row async for row in cursor] == _pairs(shop)[2:]


@_way
async def pipeline(shop: Shop, connection: Connection, number: int) -> None:
    [book] = shop.new(1)
    before, after = _pairs(shop), sorted([*_pairs(shop), (book.id, book.title)])
    _will_be(shop, book)
    async with connection.pipeline() as pipeline:
        first = await connection.execute(_BY_NUMBER, [0])
        if number % 3:
            assert await first.fetchall() == before
        await connection.execute(_INSERT, _cells(book))
        if number % 2:
            await pipeline.sync()
        last = await connection.execute(_BY_NUMBER, [0])
    _is(shop)
    assert await last.fetchall() == after


@_way
async def pipeline_that_fails(shop: Shop, connection: Connection, number: int) -> None:
    with pytest.raises((psycopg.errors.DivisionByZero, psycopg.errors.PipelineAborted)):
        async with connection.pipeline():
            await connection.execute(_INSERT, _cells(shop.new(1)[0]))
            await connection.execute(_DIVIDES, [number % 3000 + 1])
            await connection.execute(_BY_NUMBER, [0])
    await _leave_error(connection)


@_way
async def execute_many(shop: Shop, connection: Connection, number: int) -> None:
    books = shop.new(number % 4 + 1)
    _will_be(shop, *books)
    cursor: AsyncCursor[Any] = connection.cursor()
    if number % 2:
        await cursor.executemany(_INSERT, [_cells(book) for book in books])
        _is(shop)
        assert cursor.rowcount == len(books)
        return
    await cursor.executemany(_INSERT + " RETURNING id, title", [_cells(book) for book in books], returning=True)
    _is(shop)
    assert [await each.fetchall() async for each in cursor.results()] == [[(book.id, book.title)] for book in books]


@_way
async def ask_many(shop: Shop, connection: Connection, number: int) -> None:
    cursor: AsyncCursor[Any] = connection.cursor()
    await cursor.executemany(_BY_NUMBER, [(0,), (5,), (10**6,)], returning=True)
    assert [await each.fetchall() async for each in cursor.results()] == [_pairs(shop), _pairs(shop, 5), []]


@_way
async def copy_out(shop: Shop, connection: Connection, number: int) -> None:
    rows: list[tuple[str, ...]] = []
    async with connection.cursor().copy("COPY (SELECT id, title FROM books ORDER BY id) TO STDOUT") as copied:
        async for row in copied.rows():
            rows.append(row)
            if number % 3 == 0 and len(rows) > number % 11:
                break
    assert rows == [(str(key), title) for key, title in _pairs(shop)][: len(rows)]
    assert len(rows) == len(shop.books) or number % 3 == 0


@_way
async def copy_in(shop: Shop, connection: Connection, number: int) -> None:
    books = shop.new(number % 40)
    _will_be(shop, *books)
    async with connection.cursor().copy("COPY books (id, shelf_id, title, pages) FROM STDIN") as copied:
        for book in books:
            await copied.write_row(_cells(book))
    _is(shop)


@_way
async def copy_in_that_fails(shop: Shop, connection: Connection, number: int) -> None:
    books = shop.new(3)
    expected = (psycopg.errors.UniqueViolation, KeyError)[number % 2]
    with pytest.raises(expected):
        async with connection.cursor().copy("COPY books (id, shelf_id, title, pages) FROM STDIN") as copied:
            for book in (*books, books[0]):
                await copied.write_row(_cells(book))
            if number % 2:
                raise KeyError
    await _leave_error(connection)


@_way
async def transaction(shop: Shop, connection: Connection, number: int) -> None:
    kept, gone = shop.new(2)
    _will_be(shop, kept)
    async with connection.transaction():
        await connection.execute(_INSERT, _cells(kept))
        with pytest.raises(psycopg.errors.UniqueViolation):
            async with connection.transaction():
                await connection.execute(_INSERT, _cells(gone))
                await connection.execute(_INSERT, _cells(kept))
        if number % 2:
            async for _ in _stream(connection, 2):
                break
    _is(shop)


@_way
async def forget(shop: Shop, connection: Connection, number: int) -> None:
    match number % 3:
        case 0:
            await connection.execute("DEALLOCATE ALL")
        case 1:
            await connection.execute("DISCARD PLANS")
        case _:
            await connection.fly([step("DEALLOCATE ALL")])


async def _until(notices: AsyncGenerator[psycopg.Notify], payload: str) -> AsyncGenerator[psycopg.Notify]:
    async for notice in notices:
        yield notice
        if notice.payload == payload:
            return


@_way
async def hear(shop: Shop, connection: Connection, number: int) -> None:
    """A notification comes that perhaps nobody waits for; then it is among the next ones on this connection, as with psycopg's pool."""
    await connection.execute("LISTEN mixed_too")
    shop.witness.run("SELECT pg_notify('mixed_too', %s)", str(number))
    if number % 2:
        async with aclosing(connection.notifies(timeout=5)) as notices:
            assert str(number) in [notice.payload async for notice in _until(notices, str(number))]
    await connection.execute("UNLISTEN *")


@_way
async def divided(shop: Shop, connection: Connection, number: int) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await connection.execute("SELECT 1 / 0")
    await _leave_error(connection)


@_way
async def fly(shop: Shop, connection: Connection, number: int) -> None:
    results = await connection.fly([step("SELECT id FROM books ORDER BY id"), step("SELECT 'second'")])
    assert [result.ntuples for result in results] == [len(shop.books), 1]


@_way
async def row_stream(shop: Shop, connection: Connection, number: int) -> None:
    rows = RowStream(connection, step("SELECT id FROM books ORDER BY id"), chunk_rows=number % 6 + 1)
    counted = 0
    try:
        while (chunk := await rows.next_chunk()) is not None:
            counted += chunk.ntuples
            if number % 3 == 0:
                break
    finally:
        await rows.close()
    assert counted == len(shop.books) or number % 3 == 0


async def _leave_error(connection: Connection) -> None:
    """Where autocommit is off."""
    if not connection.autocommit:
        await connection.rollback()
