"""A cinema with relations of every kind, for tests of loading: films, people, their parts, rooms with composite keys.

The contract: `fill` makes a database whose rows follow from its arguments alone.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable  # noqa: TC003 - models look their annotations up

from attrs import frozen

from trioorm import (
    Column,
    Database,
    Figure,
    Many,
    Model,
    One,
    TableConstraint,
    aggregate_of,
    belongs_to,
    column,
    count_of,
    delete,
    foreign_key,
    has_many,
    has_one,
    many_to_many,
    max_,
)


class Role(enum.Enum):
    DIRECTOR = "director"
    CAST = "cast"


class Film(Model, table="films"):
    id: Column[int] = column(primary_key=True)
    title: Column[str]
    sequel_of_id: Column[int | None] = column(default=None, references="films.id")

    sequel_of: One[Film | None] = belongs_to()
    sequels: Many[Film] = has_many(order_by=lambda: Film.id)
    credits: Many[Credit] = has_many()
    cast: Many[Person] = many_to_many(
        through=lambda: Credit, other_key="person_id", where=lambda: Credit.role == Role.CAST, order_by=lambda: (Credit.position, Person.id)
    )
    genres: Many[Genre] = many_to_many(through="film_genre", foreign_key="film_id", other_key="genre_id", order_by=lambda: Genre.name)
    poster: One[Poster | None] = has_one()
    first_credit: One[Credit | None] = has_one(order_by=lambda: Credit.id)
    cast_count: Figure[int] = count_of(lambda: Film.cast)
    last_position: Figure[int | None] = aggregate_of(lambda: Film.credits.where(Credit.id > 0), lambda: max_(Credit.position + 1))


class Person(Model, table="people"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]

    credits: Many[Credit] = has_many(foreign_key="person_id", order_by=lambda: Credit.id)
    booked: Many[Credit] = has_many(foreign_key="agent_id", order_by=lambda: Credit.id)
    friends: Many[Person] = many_to_many(through=lambda: Friendship, foreign_key="one_id", other_key="other_id", order_by=lambda: Person.id)
    friend_count: Figure[int] = count_of(lambda: Person.friends)


class Credit(Model, table="credits"):
    """Two paths lead to people: the person and their agent."""

    id: Column[int] = column(primary_key=True)
    film_id: Column[int] = column(references=Film.id, index=True)
    person_id: Column[int] = column(references=Person.id, index=True)
    agent_id: Column[int | None] = column(default=None, references=Person.id)
    role: Column[Role] = column(default=Role.CAST)
    position: Column[int] = column(default=0)

    film: One[Film] = belongs_to()
    person: One[Person] = belongs_to(foreign_key="person_id")
    agent: One[Person | None] = belongs_to(foreign_key="agent_id")


class Friendship(Model, table="friendships", frozen=True):
    one_id: Column[int] = column(primary_key=True, references=Person.id)
    other_id: Column[int] = column(primary_key=True, references=Person.id)

    other: One[Person] = belongs_to(foreign_key="other_id")


class Genre(Model, table="genres"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]


class FilmGenre(Model, table="film_genre"):
    film_id: Column[int] = column(primary_key=True, references=Film.id)
    genre_id: Column[int] = column(primary_key=True, references=Genre.id)


class Poster(Model, table="posters"):
    film_id: Column[int] = column(primary_key=True, references=Film.id)
    words: Column[str]

    film: One[Film] = belongs_to()


class Hall(Model, table="halls"):
    house: Column[str] = column(primary_key=True)
    number: Column[int] = column(primary_key=True)

    seats: Many[Seat] = has_many(order_by=lambda: Seat.id)


class Seat(Model, table="seats"):
    id: Column[int] = column(primary_key=True)
    house: Column[str]
    hall_number: Column[int]

    hall: One[Hall] = belongs_to()

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        yield foreign_key(cls.house, cls.hall_number, references=(Hall.house, Hall.number))


MODELS = (Film, Person, Credit, Friendship, Genre, FilmGenre, Poster, Hall, Seat)


@frozen
class Rows:
    """What the tables hold."""

    films: list[Film]
    people: list[Person]
    credits: list[Credit]
    friendships: list[Friendship]
    genres: list[Genre]
    film_genres: list[FilmGenre]
    posters: list[Poster]


SMALL = Rows(
    films=[Film(id=1, title="Alien"), Film(id=2, title="Aliens", sequel_of_id=1), Film(id=3, title="Alien 3", sequel_of_id=2)],
    people=[Person(id=1, name="Weaver"), Person(id=2, name="Scott"), Person(id=3, name="Holm"), Person(id=4, name="Agent")],
    credits=[
        Credit(id=1, film_id=1, person_id=2, role=Role.DIRECTOR),
        Credit(id=2, film_id=1, person_id=1, agent_id=4, position=1),
        Credit(id=3, film_id=1, person_id=3, position=2),
        Credit(id=4, film_id=2, person_id=1, position=1),
    ],
    friendships=[Friendship(one_id=1, other_id=3), Friendship(one_id=1, other_id=4), Friendship(one_id=3, other_id=1)],
    genres=[Genre(id=1, name="horror"), Genre(id=2, name="action")],
    film_genres=[FilmGenre(film_id=1, genre_id=1), FilmGenre(film_id=2, genre_id=1), FilmGenre(film_id=2, genre_id=2)],
    posters=[Poster(film_id=1, words="In space no one can hear you scream")],
)


async def fill(db: Database, rows: Rows = SMALL) -> None:
    """Put rows into tables that are there, in place of all that they held."""
    async with db.transaction() as tx:
        for model in (Poster, FilmGenre, Genre, Friendship, Credit, Person, Film):
            await tx.execute(delete(model).everywhere())
    await db.insert_many(rows.films)
    await db.insert_many(rows.people)
    await db.insert_many(rows.credits)
    await db.insert_many(rows.friendships)
    await db.insert_many(rows.genres)
    await db.insert_many(rows.film_genres)
    await db.insert_many(rows.posters)
