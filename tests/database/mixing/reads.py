"""Ways of reading, each of which knows the answer."""

import csv
import io
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import anyio

from tests.database.mixing.shop import SHELVES, Asked, Book, Shelf, Shop, Ways, in_transaction
from trioorm import Database, Snapshot, count, select, sql

READS = Ways()

_BY_NUMBER = select(Book).order_by(Book.id)
_MANY: Final = 6000
_WIDE: Final = "SELECT i, repeat('x', 1000) FROM generate_series(1, 6000) AS i"


@READS
async def get(shop: Shop, asked: Asked, number: int) -> None:
    for book in shop.some(number)[:1]:
        assert await asked.get(Book, book.id) == book


@READS
async def fetch_all(shop: Shop, asked: Asked, number: int) -> None:
    assert await asked.fetch_all(_BY_NUMBER) == shop.listed


@READS
async def fetch_some(shop: Shop, asked: Asked, number: int) -> None:
    after, most = number % 30, number % 4
    rows = await asked.fetch_all(_BY_NUMBER.where(Book.id > after).limit(most))
    assert rows == [book for book in shop.listed if book.id > after][:most]


@READS
async def fetch_one_and_value(shop: Shop, asked: Asked, number: int) -> None:
    assert await asked.fetch_one(select(Shelf).where(Shelf.id == number % 3 + 1)) == Shelf(id=number % 3 + 1, name=SHELVES[number % 3 + 1])
    assert await asked.fetch_value(select(count()).from_(Book)) == len(shop.books)
    assert await asked.fetch_optional(select(Book).where(Book.id == -1)) is None


@READS
async def stream(shop: Shop, asked: Asked, number: int) -> None:
    rows: list[Book] = []
    leaves_after = len(shop.books) if number % 2 else number % 11
    async with asked.stream(_BY_NUMBER, batch_rows=number % 6 + 1) as books:
        async for book in books:
            rows.append(book)
            if len(rows) > leaves_after:
                break
    assert rows == shop.listed[: leaves_after + 1]


@READS
async def wide_stream(shop: Shop, asked: Asked, number: int) -> None:
    """More than any buffer holds, so that the server still runs when it is left."""
    counted, leaves_after = 0, [1, 700, 10**6][number % 3]
    async with asked.stream(sql(_WIDE).returns(int, str), batch_rows=number % 900 + 1) as rows:
        async for each, _ in rows:
            counted += 1
            assert each == counted
            if counted > leaves_after:
                break
    assert counted == min(_MANY, leaves_after + 1)


@READS
async def stream_while_others_ask(shop: Shop, asked: Asked, number: int) -> None:
    """The stream has its connection, or is a cursor of the transaction's; inside it others ask."""
    inside = in_transaction(asked)
    if not inside and not shop.may_nest:
        return
    rows: list[Book] = []
    ways = [fetch_many, flight, loads, fetch_some, copy_out]
    async with asked.stream(_BY_NUMBER, batch_rows=number % 6 + 1, cursor=inside) as books:
        async for book in books:
            if len(rows) % 7 == 0:
                await ways[(number + len(rows)) % len(ways)](shop, asked, number)
            rows.append(book)
            if number % 3 == 0 and len(rows) > number % 11:
                break
    assert rows == shop.listed[: len(rows)]
    assert len(rows) == len(shop.books) or number % 3 == 0


@READS
async def stream_with_loads(shop: Shop, asked: Asked, number: int) -> None:
    inside = in_transaction(asked)
    if not inside and not shop.may_nest:
        return
    rows: list[tuple[Book, Shelf]] = []
    async with asked.stream(_BY_NUMBER.load(Book.shelf), batch_rows=number % 9 + 1, cursor=inside) as books:
        async for book in books:
            rows.append((book, book.shelf))
            if number % 3 == 0 and len(rows) > number % 11:
                break
    assert all(shelf == Shelf(id=book.shelf_id, name=SHELVES[book.shelf_id]) for book, shelf in rows)
    assert [book for book, _ in rows] == shop.listed[: len(rows)]
    assert len(rows) == len(shop.books) or number % 3 == 0


@READS
async def fetch_many(shop: Shop, asked: Asked, number: int) -> None:
    first, second, third = await asked.fetch_many(_BY_NUMBER, select(Book.id).order_by(Book.id.desc()).limit(number % 5), _BY_NUMBER)
    assert first == third == shop.listed
    assert second == sorted(shop.books, reverse=True)[: number % 5]


@READS
async def flight(shop: Shop, asked: Asked, number: int) -> None:
    async with asked.flight() as flight:
        every = flight.fetch_all(_BY_NUMBER)
        shelves = flight.fetch_all(select(Shelf).order_by(Shelf.id).load(Shelf.books))
        how_many = flight.fetch_value(select(count()).from_(Book))
        none = flight.fetch_optional(select(Book).where(Book.id == -number))
    assert every.value == shop.listed
    _check_shelves(shop, shelves.value)
    assert (how_many.value, none.value) == (len(shop.books), None)


@READS
async def loads(shop: Shop, asked: Asked, number: int) -> None:
    _check_shelves(shop, await asked.fetch_all(select(Shelf).order_by(Shelf.id).load(Shelf.books)))


@READS
async def load_onto(shop: Shop, asked: Asked, number: int) -> None:
    shelves = [Shelf(id=number, name=name) for number, name in SHELVES.items()]
    await asked.load(shelves, Shelf.books)
    _check_shelves(shop, shelves)


@READS
async def copy_out(shop: Shop, asked: Asked, number: int) -> None:
    query = _BY_NUMBER if number % 3 else _BY_NUMBER.where(Book.id > 0)
    async with asked.copy_out(query, format="csv") as copied:
        blocks = [block async for block in copied]
    rows = list(csv.reader(io.StringIO(b"".join(blocks).decode())))
    assert rows == [[str(book.id), str(book.shelf_id), book.title, str(book.pages)] for book in shop.listed]


@READS
async def copy_out_left_early(shop: Shop, asked: Asked, number: int) -> None:
    async with asked.copy_out(
        sql(_WIDE) if number % 2 else sql("SELECT {number}::int", number=number), format="text" if number % 3 else "binary"
    ) as copied:
        if number % 5:
            async for block in copied:
                assert block
                break


@READS
async def copy_out_objects(shop: Shop, asked: Asked, number: int) -> None:
    async with asked.copy_out(_BY_NUMBER) as books:
        assert [book async for book in books] == shop.listed


@READS
async def texts(shop: Shop, asked: Asked, number: int) -> None:
    wanted = [(book.id, book.title) for book in shop.some(number)]
    text = sql("SELECT id, title FROM books WHERE id = ANY({keys}) ORDER BY id", keys=[0, *(key for key, _ in wanted)])
    assert await asked.fetch_all(text.returns(int, str)) == wanted
    assert await asked.fetch_all(text.reads_only()) == wanted
    assert await asked.fetch_all(sql("VALUES ({number}::int), (NULL)", number=number)) == [(number,), (None,)]
    assert await asked.execute(sql("SET application_name = 'mixed'")) == 0


@READS
async def star(shop: Shop, asked: Asked, number: int) -> None:
    """The statement whose plan goes stale with each new column."""
    rows = await asked.fetch_all(sql("SELECT * FROM books ORDER BY id"))
    assert [row[:4] for row in rows] == [(book.id, book.shelf_id, book.title, book.pages) for book in shop.listed]
    assert {len(row) for row in rows} <= {shop.columns}


@READS
async def star_in_company(shop: Shop, asked: Asked, number: int) -> None:
    text = sql("SELECT * FROM books ORDER BY id").reads_only()
    first, books, second = await asked.fetch_many(text, _BY_NUMBER, text)
    assert first == second
    assert [row[0] for row in first] == [book.id for book in books] == sorted(shop.books)
    assert {len(row) for row in first} <= {shop.columns}


@READS
async def star_streamed(shop: Shop, asked: Asked, number: int) -> None:
    async with asked.stream(sql("SELECT * FROM books ORDER BY id"), batch_rows=number % 9 + 1) as rows:
        listed = [row async for row in rows]
    assert [row[0] for row in listed] == sorted(shop.books)
    assert {len(row) for row in listed} <= {shop.columns}


@READS
async def settings(shop: Shop, asked: Asked, number: int) -> None:
    """What a transaction or a cursor may have set must not be found by the next."""
    text = sql("SELECT name, setting FROM pg_settings WHERE name = ANY({names})", names=list(_SETTINGS))
    shown = await asked.fetch_all(text.returns(str, str))
    if in_transaction(asked):
        shown = [(name, setting) for name, setting in shown if name not in _LIMITS]
    assert dict(shown).items() <= _SETTINGS.items()
    assert await asked.fetch_all(sql("SELECT name FROM pg_cursors WHERE name LIKE 'mixed%'")) == []


_SETTINGS = {
    "TimeZone": "UTC",
    "client_encoding": "UTF8",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "lock_timeout": "0",
    "transaction_read_only": "off",
}
_LIMITS = ("statement_timeout", "transaction_timeout", "lock_timeout")


@READS
async def at_once(shop: Shop, asked: Asked, number: int) -> None:
    """Many tasks at once, through whatever connections and lanes there are; or by turns in a transaction."""
    works: list[Callable[[], Awaitable[None]]] = []
    for each in range(number % 8 + 2):
        way = [get, fetch_all, fetch_some, texts, fetch_many, loads, stream, fetch_one_and_value, get, fetch_some][(number + each) % 10]
        works.append(partial(way, shop, asked, number + each))
    await _together(works)


@READS
async def many_small_ones(shop: Shop, asked: Asked, number: int) -> None:
    """Enough of them, and the same ones, that lanes carry them."""
    for _ in range(2):
        await _together([partial(get, shop, asked, number + each) for each in range(12)])


async def _together(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    failures: list[Exception] = []

    async def one(work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:
            failures.append(error)

    async with anyio.create_task_group() as nursery:
        for work in works:
            nursery.start_soon(one, work)
    for failure in failures:
        raise failure


@READS
async def one_holds_the_others_up(shop: Shop, asked: Asked, number: int) -> None:
    """A read that is slow this time, in whose lane others may be, and which is then left."""
    if in_transaction(asked):
        return

    async def read(key: int, seconds: float) -> None:
        text = sql("SELECT {key}::int, pg_sleep({seconds}::float8)::text", key=key, seconds=seconds).reads_only()
        assert (await asked.fetch_all(text))[0][0] == key

    await _together([partial(read, each, 0.0) for each in range(8)])
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(read, 99, 5.0)
        await _together([partial(read, each, 0.0) for each in range(8)] if shop.may_nest else [])
        nursery.cancel_scope.cancel()
    await _together([partial(read, each, 0.0) for each in range(8)])


@READS
async def snapshot(shop: Shop, asked: Asked, number: int) -> None:
    if not isinstance(asked, Database):
        return
    async with asked.snapshot(connections=2) as snap:
        await _together([partial(_read_snapshot, shop, snap, each) for each in range(number % 4 + 1)])


async def _read_snapshot(shop: Shop, snap: Snapshot, number: int) -> None:
    assert await snap.fetch_all(_BY_NUMBER) == shop.listed
    async with snap.stream(_BY_NUMBER, batch_rows=3) as books:
        assert [book async for book in books] == shop.listed
    assert await snap.fetch_many(_BY_NUMBER, _BY_NUMBER) == (shop.listed, shop.listed)


@READS
async def with_a_lock(shop: Shop, asked: Asked, number: int) -> None:
    if isinstance(asked, Database):
        async with asked.advisory_lock("mixed"):
            if shop.may_nest:
                await fetch_many(shop, asked, number)
    else:
        await asked.advisory_lock("mixed")


@READS
async def explain(shop: Shop, asked: Asked, number: int) -> None:
    plan = await asked.explain(_BY_NUMBER, analyze=number % 2 == 0)
    assert "books" in str(plan)


@READS
async def notified(shop: Shop, asked: Asked, number: int) -> None:
    if not isinstance(asked, Database):
        return
    async with asked.listen("mixed") as events:
        await asked.notify("mixed", str(number))
        async with asked.transaction() as tx:
            await tx.notify("mixed", "in a transaction")
        told = [await anext(events), await anext(events)]
    assert [getattr(event, "payload", event) for event in told] == [str(number), "in a transaction"]


def _check_shelves(shop: Shop, shelves: list[Shelf]) -> None:
    assert [shelf.id for shelf in shelves] == list(SHELVES)
    for shelf in shelves:
        assert list(shelf.books) == shop.shelved(shelf.id)
