"""Piccolo's ORM on asyncpg."""

from collections.abc import Callable, Sequence
from typing import Any

from piccolo.columns import JSONB, UUID, BigInt, BigSerial, Boolean, DoublePrecision, ForeignKey, Numeric, Text, Timestamptz
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

from benchmarks.speed.contender import Address, Contender, GuestRow, Opening, VisitRow

_PARAMETERS = 32_767  # of one statement
_VISITS = _PARAMETERS // 5


class Person(Table):
    id = BigInt(primary_key=True)
    name = Text()
    age = BigInt()


class Reading(Table):
    id = BigInt(primary_key=True)
    device = Text()
    taken_at = Timestamptz()
    amount = Numeric()
    ratio = DoublePrecision()
    is_valid = Boolean()
    kind = BigInt()
    token = UUID()
    note = Text(null=True)
    details = JSONB()


class Artist(Table):
    id = BigInt(primary_key=True)
    name = Text()


class Film(Table):
    id = BigInt(primary_key=True)
    title = Text()
    year = BigInt()
    rating = BigInt()


class Credit(Table):
    id = BigInt(primary_key=True)
    film = ForeignKey(Film, db_column_name="film_id")
    artist = ForeignKey(Artist, db_column_name="artist_id")
    role = Text()
    place = BigInt()


class Review(Table):
    id = BigInt(primary_key=True)
    film = ForeignKey(Film, db_column_name="film_id")
    stars = BigInt()
    body = Text()


class Guest(Table):
    id = BigSerial(primary_key=True)
    name = Text()
    age = BigInt()


class Visit(Table):
    id = BigInt(primary_key=True)
    person_id = BigInt()
    page = Text()
    at = Timestamptz()
    seconds = DoublePrecision()


class Account(Table):
    id = BigInt(primary_key=True)
    owner = Text()
    balance = BigInt()


class Entry(Table):
    id = BigSerial(primary_key=True)
    account_id = BigInt()
    amount = BigInt()


_TABLES = (Person, Reading, Artist, Film, Credit, Review, Guest, Visit, Account, Entry)


class Piccolo(Contender):
    async def open(self, where: Address, opening: Opening, size: int) -> None:
        options = {"host": where.host, "port": where.port, "user": where.user, "database": where.database, "password": where.password}
        self._engine = PostgresEngine(config=options)
        for table in _TABLES:
            table._meta._db = self._engine
        await self._engine.start_connection_pool(min_size=size, max_size=size)

    async def close(self) -> None:
        await self._engine.close_connection_pool()

    async def get(self, key: int) -> object:
        return await Person.objects().get(Person.id == key)

    async def filter(self, age: int) -> Sequence[object]:
        return await Person.objects().where(Person.age == age).order_by(Person.id)

    async def fetch_wide(self, after: int) -> Sequence[object]:
        readings = Reading.objects().where(Reading.id > after, Reading.id <= after + 1000).order_by(Reading.id)
        return await readings.output(load_json=True)

    async def stream(self, take: Callable[[object], object]) -> None:
        readings = Reading.objects().order_by(Reading.id).output(load_json=True)
        async with await readings.batch(batch_size=1000) as batch:
            async for some in batch:
                for reading in some:
                    take(reading)

    async def film(self, key: int) -> object:
        film = await Film.objects().get(Film.id == key)
        directors = await Credit.objects(Credit.artist).where(Credit.film == key, Credit.role == "director").order_by(Credit.place)
        cast = await Credit.objects(Credit.artist).where(Credit.film == key, Credit.role == "cast").order_by(Credit.place)
        reviews = await Review.objects().where(Review.film == key).order_by(Review.id)
        return film, [credit.artist for credit in directors], [credit.artist for credit in cast], reviews

    async def insert(self, name: str, age: int) -> int:
        guest = Guest(name=name, age=age)
        await guest.save()
        return guest.id

    async def insert_many(self, guests: Sequence[GuestRow]) -> list[int]:
        inserted = await Guest.insert(*[Guest(name=name, age=age) for name, age in guests])
        return [guest["id"] for guest in inserted]

    async def insert_objects(self, guests: Sequence[GuestRow]) -> list[int]:
        made = [Guest(name=name, age=age) for name, age in guests]
        await Guest.insert(*made)
        return [guest.id for guest in made]

    async def load(self, visits: Sequence[VisitRow]) -> None:
        async with self._engine.transaction():
            for start in range(0, len(visits), _VISITS):
                some = visits[start : start + _VISITS]
                await Visit.insert(*[Visit(id=id, person_id=person, page=page, at=at, seconds=secs) for id, person, page, at, secs in some])

    async def update(self, key: int, balance: int) -> None:
        async with self._engine.transaction():
            await Account.update({Account.balance: balance}).where(Account.id == key)

    async def update_many(self, balances: Sequence[tuple[int, int]]) -> None:
        async with self._engine.transaction():
            for key, balance in balances:
                await Account.update({Account.balance: balance}).where(Account.id == key)

    async def transfer(self, key: int, amount: int) -> None:
        async with self._engine.transaction():
            account = await Account.objects().where(Account.id == key).lock_rows("UPDATE").first()
            account.balance -= amount
            await account.save([Account.balance])
            await Entry(account_id=key, amount=amount).save()

    async def pooled_get(self, key: int) -> object:
        return await Person.objects().get(Person.id == key)

    def build(self, year: int) -> tuple[str, Sequence[object]]:
        query = (
            Credit.select(Credit.all_columns(), Credit.film.title, Credit.artist.name)
            .where(Credit.film.year == year, Credit.film.rating >= 5, Credit.role == "cast", Credit.place > 5)
            .order_by(Credit.id, ascending=False)
            .limit(20)
        )
        text, values = query.querystrings[0].compile_string()
        return text, values

    def plain_film(self, film: Any) -> list[object]:
        film, directors, cast, reviews = film
        return [
            film.title,
            [artist.name for artist in directors],
            [artist.name for artist in cast],
            [[review.stars, review.body] for review in reviews],
        ]
