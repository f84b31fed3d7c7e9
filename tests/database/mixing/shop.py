"""The tables that all ways of asking read and write, and what must be in them.

The contract: a way runs one thing on a database, a transaction or a savepoint, compares its answer with `Shop.books`, and changes those
only when, and as soon as, its last wait has ended well. So whoever cancels it knows what must be left.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

from attrs import define, field, frozen

from tests.wire.witness import Witness
from trioorm import Column, Database, Many, Model, One, Savepoint, Transaction, belongs_to, column, has_many

Asked: TypeAlias = Database | Transaction | Savepoint
Way: TypeAlias = "Callable[[Shop, Asked, int], Awaitable[None]]"

SHELVES = {1: "top", 2: "middle", 3: "bottom"}
FIRST_BOOKS = 20


class Shelf(Model, table="shelves"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]

    books: "Many[Book]" = has_many(foreign_key="shelf_id", order_by=lambda: Book.id)


class Book(Model, table="books"):
    id: Column[int] = column(primary_key=True)
    shelf_id: Column[int] = column(references="shelves.id")
    title: Column[str]
    pages: Column[int]

    shelf: One[Shelf] = belongs_to()


@define
class Shop:
    """What must be in the tables, and what they may look like.

    Attributes:
        books: that are there, as the running block sees them.
        maybe: what is there instead, if a way that may take effect in spite of a cancellation was cancelled.
        columns: how many columns `books` has by now.
        altered: whether a column has come or changed, so that a plan may not fit any more.
        witness: another session, for what happens from outside.
        may_nest: whether there is another connection for what is asked inside a block.
        came: which ways came to their end.
    """

    witness: Witness
    may_nest: bool
    books: dict[int, Book] = field(factory=dict[int, Book])
    maybe: dict[int, Book] | None = None
    columns: int = 5
    altered: bool = False
    came: list[str] = field(factory=list[str])
    _last_id: int = FIRST_BOOKS

    @classmethod
    def opened(cls, witness: Witness, *, may_nest: bool) -> "Shop":
        """The tables as each program finds them."""
        witness.run("SET lock_timeout = '10s'")  # what was left running fails the program that left it
        witness.run("DROP TABLE IF EXISTS books, shelves")
        witness.run("CREATE TABLE shelves (id bigint PRIMARY KEY, name text NOT NULL)")
        witness.run(
            "CREATE TABLE books (id bigint PRIMARY KEY, shelf_id bigint NOT NULL REFERENCES shelves,"
            " title text NOT NULL, pages bigint, mark int)"
        )
        for number, name in SHELVES.items():
            witness.run("INSERT INTO shelves VALUES (%s, %s)", number, name)
        witness.run(
            "INSERT INTO books SELECT i, i %% 3 + 1, 'book ' || i, 100 + i FROM generate_series(1, %s) AS i",
            FIRST_BOOKS,
        )
        shop = cls(witness, may_nest=may_nest)
        shop.books = shop.seen()
        return shop

    def seen(self) -> dict[int, Book]:
        """The books that are committed, as another session sees them."""
        rows = self.witness.connection.execute("SELECT id, shelf_id, title, pages FROM books").fetchall()
        return {book.id: book for book in (_book(*row) for row in rows)}

    @property
    def listed(self) -> list[Book]:
        """By number."""
        return [self.books[number] for number in sorted(self.books)]

    def some(self, number: int) -> list[Book]:
        """Some of them, perhaps none."""
        return self.listed[number % 5 :: number % 7 + 1]

    def new(self, count: int) -> list[Book]:
        """Books that are nowhere yet."""
        first = self._last_id + 1
        self._last_id += count
        return [Book(id=i, shelf_id=i % 3 + 1, title=f"new {i}", pages=i) for i in range(first, first + count)]

    def put(self, books: Iterable[Book]) -> None:
        """Note what is in the table now."""
        self.books |= {book.id: book for book in books}

    def shelved(self, shelf: int) -> list[Book]:
        """What stands on a shelf."""
        return [book for book in self.listed if book.shelf_id == shelf]


def _book(*cells: Any) -> Book:  # noqa: ANN401 - as psycopg gives them
    number, shelf, title, pages = cells
    return Book(id=number, shelf_id=shelf, title=title, pages=pages)


@frozen
class Ways:
    """Ways by name; a file fills its own."""

    named: dict[str, Way] = field(factory=dict[str, Way])

    def __call__(self, way: Way) -> Way:
        self.named[getattr(way, "__name__", "")] = way
        return way


def in_transaction(asked: Asked) -> bool:
    """Whether statements run in one that is open."""
    return not isinstance(asked, Database)
