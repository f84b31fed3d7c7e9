"""trioorm, with objects of models out. The same file runs on Trio, on asyncio and on uvloop."""

import datetime
import decimal
import uuid
from collections.abc import Callable, Sequence

from psycopg.conninfo import make_conninfo

from benchmarks.speed.contender import Address, Contender, GuestRow, Opening, VisitRow
from trioorm import Column, Database, Json, Many, Model, column, has_many, insert, many_to_many, open_database, select, update
from trioorm.database.plan import PlanCache


class Person(Model, table="person"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]
    age: Column[int]


class Reading(Model, table="reading"):
    id: Column[int] = column(primary_key=True)
    device: Column[str]
    taken_at: Column[datetime.datetime]
    amount: Column[decimal.Decimal]
    ratio: Column[float]
    is_valid: Column[bool]
    kind: Column[int]
    token: Column[uuid.UUID]
    note: Column[str | None] = column(default=None)
    details: Column[Json]


class Artist(Model, table="artist"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]


class Film(Model, table="film"):
    id: Column[int] = column(primary_key=True)
    title: Column[str]
    year: Column[int]
    rating: Column[int]

    directors: Many[Artist] = many_to_many(through=lambda: Credit, where=lambda: Credit.role == "director", order_by=lambda: Credit.place)
    cast: Many[Artist] = many_to_many(through=lambda: Credit, where=lambda: Credit.role == "cast", order_by=lambda: Credit.place)
    reviews: Many["Review"] = has_many(order_by=lambda: Review.id)


class Credit(Model, table="credit"):
    id: Column[int] = column(primary_key=True)
    film_id: Column[int] = column(references=Film.id)
    artist_id: Column[int] = column(references=Artist.id)
    role: Column[str]
    place: Column[int]


class Review(Model, table="review"):
    id: Column[int] = column(primary_key=True)
    film_id: Column[int] = column(references=Film.id)
    stars: Column[int]
    body: Column[str]


class Guest(Model, table="guest"):
    id: Column[int] = column(primary_key=True, generated=True)
    name: Column[str]
    age: Column[int]


class Visit(Model, table="visit"):
    id: Column[int] = column(primary_key=True)
    person_id: Column[int]
    page: Column[str]
    at: Column[datetime.datetime]
    seconds: Column[float]


class Account(Model, table="account"):
    id: Column[int] = column(primary_key=True)
    owner: Column[str]
    balance: Column[int]


class Entry(Model, table="entry"):
    id: Column[int] = column(primary_key=True, generated=True)
    account_id: Column[int]
    amount: Column[int]


class Trioorm(Contender):
    openings = frozenset({Opening.SINGLE, Opening.POOL, Opening.LANES})

    _db: Database

    async def open(self, where: Address, opening: Opening, size: int) -> None:
        address = make_conninfo(host=where.host, port=where.port, user=where.user, dbname=where.database, password=where.password)
        self._block = open_database(address, min_size=size, max_size=size, lanes=None if opening is Opening.LANES else 0)
        self._db = await self._block.__aenter__()
        self._plans = PlanCache()

    async def close(self) -> None:
        await self._block.__aexit__(None, None, None)

    async def get(self, key: int) -> Person:
        return await self._db.get(Person, key)

    async def filter(self, age: int) -> list[Person]:
        return await self._db.fetch_all(select(Person).where(Person.age == age).order_by(Person.id))

    async def fetch_wide(self, after: int) -> list[Reading]:
        return await self._db.fetch_all(select(Reading).where(Reading.id > after, Reading.id <= after + 1000).order_by(Reading.id))

    async def stream(self, take: Callable[[object], object]) -> None:
        async with self._db.stream(select(Reading).order_by(Reading.id), batch_rows=1000) as readings:
            async for reading in readings:
                take(reading)

    async def film(self, key: int) -> Film:
        return await self._db.fetch_one(select(Film).where(Film.id == key).load(Film.directors, Film.cast, Film.reviews))

    async def insert(self, name: str, age: int) -> int:
        return (await self._db.insert(Guest(name=name, age=age))).id

    async def insert_many(self, guests: Sequence[GuestRow]) -> list[int]:
        return await self._db.fetch_all(insert(Guest).values_from(guests, columns=[Guest.name, Guest.age]).returning(Guest.id))

    async def insert_objects(self, guests: Sequence[GuestRow]) -> list[int]:
        inserted = await self._db.insert_many([Guest(name=name, age=age) for name, age in guests])
        return [guest.id for guest in inserted]

    async def load(self, visits: Sequence[VisitRow]) -> None:
        await self._db.copy_in(Visit, visits, columns=[Visit.id, Visit.person_id, Visit.page, Visit.at, Visit.seconds])

    async def update(self, key: int, balance: int) -> None:
        async with self._db.transaction() as tx:
            await tx.execute(update(Account).set(Account.balance, balance).where(Account.id == key))

    async def update_flight(self, key: int, balance: int) -> None:
        async with self._db.flight(commit=True) as flight:
            flight.execute(update(Account).set(Account.balance, balance).where(Account.id == key))

    async def update_many(self, balances: Sequence[tuple[int, int]]) -> None:
        await self._db.execute(update(Account).set_each(balances, columns=[Account.id, Account.balance]))

    async def transfer(self, key: int, amount: int) -> None:
        async with self._db.transaction() as tx:
            account = await tx.fetch_one(select(Account).where(Account.id == key).for_update())
            async with tx.flight() as flight:  # what needs no answer from each other travels together
                flight.execute(update(Account).set(Account.balance, account.balance - amount).where(Account.id == key))
                flight.execute(insert(Entry).values(Entry(account_id=key, amount=amount)))

    async def pooled_get(self, key: int) -> Person:
        return await self._db.get(Person, key)

    def build(self, year: int) -> tuple[str, Sequence[object]]:
        statement = (
            select(Credit, Film.title, Artist.name)
            .join(Film, Film.id == Credit.film_id)
            .join(Artist, Artist.id == Credit.artist_id)
            .where(Film.year == year, Film.rating >= 5, Credit.role == "cast", Credit.place > 5)
            .order_by(Credit.id.desc())
            .limit(20)
        )
        plan, values = self._plans.plan(statement)
        plan.step(values)  # packs the values for the wire
        return plan.compiled.text, values
