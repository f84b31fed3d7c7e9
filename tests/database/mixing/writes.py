"""Ways of writing: all of it takes effect, or nothing."""

import uuid

from tests.database.mixing.shop import Asked, Book, Shelf, Shop, Ways
from trioorm import Database, delete, evolve, identifier, insert, select, sql, update

WRITES = Ways()


@WRITES
async def insert_one(shop: Shop, asked: Asked, number: int) -> None:
    [book] = shop.new(1)
    assert await asked.insert(book) == book
    shop.put([book])


@WRITES
async def insert_some(shop: Shop, asked: Asked, number: int) -> None:
    books = shop.new([1, 3, 40, 700][number % 4])
    assert await asked.insert_many(books) == books
    shop.put(books)


@WRITES
async def insert_returning(shop: Shop, asked: Asked, number: int) -> None:
    books = shop.new(3)
    assert await asked.fetch_all(insert(Book).values(*books).returning(Book.id)) == [book.id for book in books]
    shop.put(books)


@WRITES
async def update_one(shop: Shop, asked: Asked, number: int) -> None:
    for book in shop.some(number)[:1]:
        changed = evolve(book, title=f"{number}", pages=number)
        assert await asked.update(changed, since=book if number % 2 else None) == changed
        shop.put([changed])


@WRITES
async def update_some(shop: Shop, asked: Asked, number: int) -> None:
    changed = [evolve(book, title=f"many {number}") for book in shop.some(number)]
    assert await asked.update_many(changed) == changed
    shop.put(changed)


@WRITES
async def set_each(shop: Shop, asked: Asked, number: int) -> None:
    changed = [evolve(book, pages=number + book.id) for book in shop.some(number)]
    if changed:
        rows = [{"id": book.id, "pages": book.pages} for book in changed]
        assert await asked.execute(update(Book).set_each(rows)) == len(changed)
        shop.put(changed)


@WRITES
async def update_by_text(shop: Shop, asked: Asked, number: int) -> None:
    changed = [evolve(book, title=f"text {number}") for book in shop.some(number)]
    keys = [book.id for book in changed]
    text = sql("UPDATE books SET title = {title} WHERE id = ANY({keys}) RETURNING id", title=f"text {number}", keys=[0, *keys]).returns(int)
    assert sorted(await asked.fetch_all(text)) == keys
    shop.put(changed)


@WRITES
async def patch(shop: Shop, asked: Asked, number: int) -> None:
    for book in shop.some(number)[:1]:
        changed = evolve(book, pages=book.pages + 1)
        assert await asked.patch(Book, book.id, pages=Book.pages + 1) == changed
        shop.put([changed])


@WRITES
async def upsert(shop: Shop, asked: Asked, number: int) -> None:
    book = evolve((shop.some(number) or shop.new(1))[0], title=f"upsert {number}")
    assert await asked.upsert(book) == book
    shop.put([book])


@WRITES
async def delete_some(shop: Shop, asked: Asked, number: int) -> None:
    gone = shop.some(number)[:2]
    if number % 2 and gone:
        gone = gone[:1]
        await asked.delete(gone[0])
    else:
        assert await asked.execute(delete(Book).where(Book.id.in_([book.id for book in gone]))) == len(gone)
    for book in gone:
        del shop.books[book.id]


@WRITES
async def copy_in(shop: Shop, asked: Asked, number: int) -> None:
    books = shop.new([0, 2, 600][number % 3])
    if number % 2:
        assert await asked.copy_in(Book, books) == len(books)
    else:
        rows = [(book.id, book.shelf_id, book.title, book.pages) for book in books]
        assert await asked.copy_in(identifier("books"), rows, columns=["id", "shelf_id", "title", "pages"]) == len(books)
    shop.put(books)


@WRITES
async def copy_in_over(shop: Shop, asked: Asked, number: int) -> None:
    there, books = [evolve(book, title=f"over {number}") for book in shop.some(number)], shop.new(2)
    if number % 2:
        assert await asked.copy_in(Book, [*there, *books], on_conflict="do_update") == len(there) + 2
        shop.put(there)
    else:
        assert await asked.copy_in(Book, [*there, *books], on_conflict="do_nothing") == 2
    shop.put(books)


@WRITES
async def flight_that_writes(shop: Shop, asked: Asked, number: int) -> None:
    [book], some = shop.new(1), shop.some(number)[:1]
    changed = [evolve(each, title=f"flight {number}") for each in some]
    before, after = shop.listed, sorted({**shop.books, **{each.id: each for each in (*changed, book)}}.values(), key=lambda each: each.id)
    async with asked.flight(commit=True) if isinstance(asked, Database) else asked.flight() as flight:
        first = flight.fetch_all(select(Book).order_by(Book.id))
        made = flight.insert(book)
        for each in changed:
            flight.execute(update(Book).set(Book.title, each.title).where(Book.id == each.id))
        last = flight.fetch_all(select(Book).order_by(Book.id))
        shelves = flight.fetch_all(select(Shelf).order_by(Shelf.id).load(Shelf.books))
    shop.put([book, *changed])
    assert (first.value, made.value, last.value) == (before, book, after)
    assert sorted(each.id for shelf in shelves.value for each in shelf.books) == [each.id for each in after]


@WRITES
async def utilities(shop: Shop, asked: Asked, number: int) -> None:
    name = identifier(f"t_{uuid.uuid4().hex}")
    await asked.execute(sql("CREATE TABLE {name} (id int)", name=name))
    await asked.execute(sql("INSERT INTO {name} SELECT generate_series(1, 9)", name=name))
    assert await asked.fetch_all(sql("SELECT * FROM {name} LIMIT 0", name=name)) == []
    await asked.execute(sql("ALTER TABLE {name} ADD COLUMN name text DEFAULT 'x'", name=name))
    assert await asked.fetch_all(sql("SELECT name FROM {name}", name=name).returns(str)) == ["x"] * 9
    await asked.execute(sql("DROP TABLE {name}", name=name))
