"""SQLAlchemy's ORM on asyncpg: a session for each piece of work, bulk operations where its documentation recommends them.

Single statements run in sessions of an engine in AUTOCOMMIT, which spares them BEGIN and ROLLBACK; transactions in those of an
ordinary one.
"""

import datetime
import decimal
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from benchmarks.speed.contender import Address, Contender, GuestRow, Opening, VisitRow


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {int: BigInteger, datetime.datetime: DateTime(timezone=True)}


class Person(Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    age: Mapped[int]


class Reading(Base):
    __tablename__ = "reading"
    id: Mapped[int] = mapped_column(primary_key=True)
    device: Mapped[str]
    taken_at: Mapped[datetime.datetime]
    amount: Mapped[decimal.Decimal]
    ratio: Mapped[float]
    is_valid: Mapped[bool]
    kind: Mapped[int]
    token: Mapped[uuid.UUID]
    note: Mapped[str | None]
    details: Mapped[Any] = mapped_column(JSONB)


class Artist(Base):
    __tablename__ = "artist"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Film(Base):
    __tablename__ = "film"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    year: Mapped[int]
    rating: Mapped[int]

    directors: Mapped[list[Artist]] = relationship(
        secondary="credit",
        primaryjoin="and_(Film.id == Credit.film_id, Credit.role == 'director')",
        order_by="Credit.place",
        viewonly=True,
    )
    cast: Mapped[list[Artist]] = relationship(
        secondary="credit",
        primaryjoin="and_(Film.id == Credit.film_id, Credit.role == 'cast')",
        order_by="Credit.place",
        viewonly=True,
    )
    reviews: Mapped[list["Review"]] = relationship(order_by="Review.id", viewonly=True)


class Credit(Base):
    __tablename__ = "credit"
    id: Mapped[int] = mapped_column(primary_key=True)
    film_id: Mapped[int] = mapped_column(ForeignKey("film.id"))
    artist_id: Mapped[int] = mapped_column(ForeignKey("artist.id"))
    role: Mapped[str]
    place: Mapped[int]


class Review(Base):
    __tablename__ = "review"
    id: Mapped[int] = mapped_column(primary_key=True)
    film_id: Mapped[int] = mapped_column(ForeignKey("film.id"))
    stars: Mapped[int]
    body: Mapped[str]


class Guest(Base):
    __tablename__ = "guest"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str]
    age: Mapped[int]


class Visit(Base):
    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int]
    page: Mapped[str]
    at: Mapped[datetime.datetime]
    seconds: Mapped[float]


class Account(Base):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    balance: Mapped[int]


class Entry(Base):
    __tablename__ = "entry"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    account_id: Mapped[int]
    amount: Mapped[int]


class Sqlalchemy(Contender):
    async def open(self, where: Address, opening: Opening, size: int) -> None:
        options = {"host": where.host, "port": where.port, "user": where.user, "database": where.database, "password": where.password}
        self._engine = create_async_engine("postgresql+asyncpg://", connect_args=options, pool_size=size, max_overflow=0)
        self._transaction = async_sessionmaker(self._engine, expire_on_commit=False).begin
        self._session: Callable[[], AsyncSession] = async_sessionmaker(
            self._engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False
        )
        self._compiled: dict[Any, Any] = {}

    async def close(self) -> None:
        await self._engine.dispose()

    async def get(self, key: int) -> object:
        async with self._session() as session:
            return await session.get(Person, key)

    async def filter(self, age: int) -> Sequence[object]:
        async with self._session() as session:
            return (await session.scalars(select(Person).where(Person.age == age).order_by(Person.id))).all()

    async def fetch_wide(self, after: int) -> Sequence[object]:
        async with self._session() as session:
            statement = select(Reading).where(Reading.id > after, Reading.id <= after + 1000).order_by(Reading.id)
            return (await session.scalars(statement)).all()

    async def stream(self, take: Callable[[object], object]) -> None:
        async with self._transaction() as session:
            readings = await session.stream_scalars(select(Reading).order_by(Reading.id).execution_options(yield_per=1000))
            async for some in readings.partitions():
                for reading in some:
                    take(reading)

    async def film(self, key: int) -> object:
        async with self._session() as session:
            loads = selectinload(Film.directors), selectinload(Film.cast), selectinload(Film.reviews)
            return (await session.scalars(select(Film).where(Film.id == key).options(*loads))).one()

    async def insert(self, name: str, age: int) -> int:
        async with self._session() as session:
            guest = Guest(name=name, age=age)
            session.add(guest)
            await session.commit()
            return guest.id

    async def insert_many(self, guests: Sequence[GuestRow]) -> list[int]:
        async with self._transaction() as session:
            statement = insert(Guest).returning(Guest.id, sort_by_parameter_order=True)
            return list(await session.scalars(statement, [{"name": name, "age": age} for name, age in guests]))

    async def insert_objects(self, guests: Sequence[GuestRow]) -> list[int]:
        made = [Guest(name=name, age=age) for name, age in guests]
        async with self._transaction() as session:
            session.add_all(made)
        return [guest.id for guest in made]

    async def load(self, visits: Sequence[VisitRow]) -> None:
        names = ("id", "person_id", "page", "at", "seconds")
        async with self._transaction() as session:
            await session.execute(insert(Visit), [dict(zip(names, visit, strict=True)) for visit in visits])

    async def update(self, key: int, balance: int) -> None:
        async with self._transaction() as session:
            statement = update(Account).where(Account.id == key).values(balance=balance)
            await session.execute(statement, execution_options={"synchronize_session": False})

    async def update_many(self, balances: Sequence[tuple[int, int]]) -> None:
        async with self._transaction() as session:
            await session.execute(update(Account), [{"id": key, "balance": balance} for key, balance in balances])

    async def transfer(self, key: int, amount: int) -> None:
        async with self._transaction() as session:
            account = await session.get_one(Account, key, with_for_update=True)
            account.balance -= amount
            session.add(Entry(account_id=key, amount=amount))

    async def pooled_get(self, key: int) -> object:
        async with self._session() as session:
            return await session.get(Person, key)

    def build(self, year: int) -> tuple[str, Sequence[object]]:
        statement = (
            select(Credit, Film.title, Artist.name)
            .join(Film, Film.id == Credit.film_id)
            .join(Artist, Artist.id == Credit.artist_id)
            .where(Film.year == year, Film.rating >= 5, Credit.role == "cast", Credit.place > 5)
            .order_by(Credit.id.desc())
            .limit(20)
        )
        # What an engine does before it calls the driver; there is no public way to its cache.
        compiled, extracted, *_ = statement._compile_w_cache(self._engine.dialect, compiled_cache=self._compiled, column_keys=[])
        parameters = compiled.construct_params(extracted_parameters=extracted)
        return compiled.string, [parameters[name] for name in compiled.positiontup]
