"""Ways that fail, each with the class of its error and nothing left of it."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
from attrs import frozen

from tests.database.mixing.shop import Asked, Book, Shop, Way
from trioorm import Database, NoRowFound, UniqueViolation, evolve, select, sql
from trioorm.errors import DataError, ForeignKeyViolation, QueryCanceled, StatementError, TrioormError, UndefinedTable, UsageError


@frozen
class Failing:
    """A way and the error that must come of it."""

    way: Way
    error: type[Exception]


FAILURES: dict[str, Failing] = {}


def _fails_with(error: type[Exception]) -> Callable[[Way], Way]:
    def register(way: Way) -> Way:
        FAILURES[getattr(way, "__name__", "")] = Failing(way, error)
        return way

    return register


_BY_NUMBER = select(Book).order_by(Book.id)
_DIVIDES = "SELECT 1000 / ({number}::int - i) FROM generate_series(1, 3000) AS i"


def _one_that_is_there(shop: Shop) -> Book:
    return shop.listed[0] if shop.books else Book(id=1, shelf_id=99, title="", pages=0)  # which no shelf takes either


@_fails_with(TrioormError)
async def insert_twice(shop: Shop, asked: Asked, number: int) -> None:
    await asked.insert(_one_that_is_there(shop))


@_fails_with(UniqueViolation)
async def insert_some_twice(shop: Shop, asked: Asked, number: int) -> None:
    books = shop.new([2, 700][number % 2])
    await asked.insert_many([*books, books[0]])


@_fails_with(UniqueViolation)
async def copy_in_twice(shop: Shop, asked: Asked, number: int) -> None:
    books = shop.new([2, 700][number % 2])
    await asked.copy_in(Book, [*books, books[-1]])


@_fails_with(LookupError)
async def copy_in_from_what_fails(shop: Shop, asked: Asked, number: int) -> None:
    def books() -> Iterator[Book]:
        yield from shop.new(number % 700)
        raise LookupError("the source is at fault")

    async def books_ahead() -> AsyncIterator[Book]:
        for book in books():
            yield book

    await asked.copy_in(Book, books() if number % 2 else books_ahead())


@_fails_with(ForeignKeyViolation)
async def copy_in_without_shelf(shop: Shop, asked: Asked, number: int) -> None:
    await asked.copy_in(Book, [*shop.new(number % 3), evolve(shop.new(1)[0], shelf_id=99)])


@_fails_with(NoRowFound)
async def update_of_none(shop: Shop, asked: Asked, number: int) -> None:
    await asked.update_many([*(evolve(book, title="never") for book in shop.some(number)), *shop.new(1)])


@_fails_with(DataError)
async def divided(shop: Shop, asked: Asked, number: int) -> None:
    await asked.fetch_all(sql("SELECT {number}::int / 0", number=number))


@_fails_with(DataError)
async def stream_divided(shop: Shop, asked: Asked, number: int) -> None:
    """The error comes behind rows."""
    async with asked.stream(sql(_DIVIDES, number=number % 3000 + 1), batch_rows=number % 40 + 1) as quotients:
        async for _ in quotients:
            pass


@_fails_with(DataError)
async def copy_out_divided(shop: Shop, asked: Asked, number: int) -> None:
    text = sql(_DIVIDES, number=number % 3000 + 1) if number % 2 else sql("SELECT 1 / (1500 - i) FROM generate_series(1, 3000) AS i")
    async with asked.copy_out(text, format="csv") as blocks:
        async for _ in blocks:
            pass


@_fails_with(DataError)
async def middle_of_a_flight(shop: Shop, asked: Asked, number: int) -> None:
    async with asked.flight(commit=True) if isinstance(asked, Database) else asked.flight() as flight:
        flight.fetch_all(_BY_NUMBER)
        flight.insert_many(shop.new(3))
        flight.fetch_all(sql("SELECT 1 / {zero}::int", zero=0))
        flight.insert_many(shop.new(3))


@_fails_with(UniqueViolation)
async def end_of_a_flight(shop: Shop, asked: Asked, number: int) -> None:
    [book] = shop.new(1)
    async with asked.flight(commit=True) if isinstance(asked, Database) else asked.flight() as flight:
        flight.insert(book)
        flight.insert(book)


@_fails_with(UndefinedTable)
async def unknown_table(shop: Shop, asked: Asked, number: int) -> None:
    nowhere = sql("SELECT * FROM nowhere").reads_only()
    if number % 2:
        await asked.fetch_many(_BY_NUMBER, nowhere, _BY_NUMBER)
    else:
        await asked.fetch_all(nowhere)


@_fails_with(StatementError)
async def bad_text(shop: Shop, asked: Asked, number: int) -> None:
    await asked.execute(sql("SELEC 1"))


@_fails_with(DataError)
async def bad_type(shop: Shop, asked: Asked, number: int) -> None:
    await asked.fetch_many(sql("SELECT ({text}::text)::int", text="x").reads_only(), _BY_NUMBER)


@_fails_with(UsageError)
async def bad_value(shop: Shop, asked: Asked, number: int) -> None:
    bad: Any = "many"
    await asked.insert_many([*shop.new(2), evolve(shop.new(1)[0], pages=bad)])


@_fails_with(QueryCanceled)
async def too_slow(shop: Shop, asked: Asked, number: int) -> None:
    """The server's own limit, set for one transaction only."""
    if isinstance(asked, Database):
        async with asked.transaction(settings={"statement_timeout": "5ms"}) as tx:
            await _sleep(tx)
    await asked.execute(sql("SET LOCAL statement_timeout = '5ms'"))
    await _sleep(asked)


async def _sleep(asked: Asked) -> None:
    with anyio.fail_after(30):
        await asked.execute(sql("SELECT pg_sleep(20)"))
