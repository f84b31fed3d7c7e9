"""The models: what a film, a person and a credit are, and how they hang together.

Each class is a table, each `Column[T]` a column of it. `Film.year` is an expression to ask questions with; `film.year` is an `int`.
Relations follow from the foreign keys, and are loaded by questions that ask for them, as figures of them are; see `page.py`.
"""

import datetime
import enum
from collections.abc import Iterable
from decimal import Decimal

from trioorm import (
    SMALLINT,
    Column,
    Figure,
    Many,
    Model,
    One,
    TableConstraint,
    belongs_to,
    column,
    count_of,
    has_many,
    many_to_many,
    unique,
)


class Role(enum.Enum):
    """What a person did for a film. PostgreSQL gets an enum type with these three labels."""

    DIRECTOR = "director"
    WRITER = "writer"
    CAST = "cast"


class Film(Model, table="films"):
    id: Column[int] = column(primary_key=True)
    imdb_id: Column[str] = column(index=True)  # not unique: two films of the source share theirs with another
    title: Column[str]
    year: Column[int] = column(type=SMALLINT, index=True, check=lambda year: year >= 1888)
    released: Column[datetime.date]
    runtime_minutes: Column[int | None] = column(type=SMALLINT)
    languages: Column[list[str]]
    studios: Column[list[str]]
    oscars: Column[int] = column(type=SMALLINT, default=0)
    review_meter_percent: Column[int | None] = column(type=SMALLINT)
    review_count: Column[int] = column(default=0)
    box_office_usd: Column[Decimal | None]

    directors: Many["Person"] = many_to_many(
        through=lambda: Credit, where=lambda: Credit.role == Role.DIRECTOR, order_by=lambda: Credit.position
    )
    cast: Many["Credit"] = has_many(where=lambda: Credit.role == Role.CAST, order_by=lambda: Credit.position)
    genres: Many["Genre"] = many_to_many(through=lambda: FilmGenre, order_by=lambda: Genre.name)
    countries: Many["Country"] = many_to_many(through=lambda: FilmCountry, order_by=lambda: Country.name)
    cast_count: Figure[int] = count_of(lambda: Film.cast)


class Person(Model, table="people"):
    id: Column[int] = column(primary_key=True)
    name: Column[str] = column(unique=True)

    acted_in: Many[Film] = many_to_many(
        through=lambda: Credit, where=lambda: Credit.role == Role.CAST, order_by=lambda: (Film.released.desc(), Film.id)
    )
    film_count: Figure[int] = count_of(lambda: Person.acted_in)


class Genre(Model, table="genres"):
    id: Column[int] = column(primary_key=True)
    name: Column[str] = column(unique=True)


class Country(Model, table="countries"):
    id: Column[int] = column(primary_key=True)
    name: Column[str] = column(unique=True)


class Credit(Model, table="credits"):
    """A person's part in a film. The place in the list belongs to the key: the source names one person twice in one cast."""

    film_id: Column[int] = column(primary_key=True, references=Film.id)
    role: Column[Role] = column(primary_key=True)
    position: Column[int] = column(primary_key=True, type=SMALLINT)
    person_id: Column[int] = column(references=Person.id, index=True)

    person: One[Person] = belongs_to()


class FilmGenre(Model, table="film_genre"):
    film_id: Column[int] = column(primary_key=True, references=Film.id)
    genre_id: Column[int] = column(primary_key=True, references=Genre.id)


class FilmCountry(Model, table="film_country"):
    film_id: Column[int] = column(primary_key=True, references=Film.id)
    country_id: Column[int] = column(primary_key=True, references=Country.id)


class Screening(Model, table="screenings"):
    """One film of a festival's programme; written by the transactions of this example, not by the source."""

    id: Column[int] = column(primary_key=True, generated=True)
    film_id: Column[int] = column(references=Film.id)
    hall: Column[int] = column(type=SMALLINT)
    starts_at: Column[datetime.datetime]

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        yield unique(cls.hall, cls.starts_at)


MODELS = (Film, Person, Genre, Country, Credit, FilmGenre, FilmCountry, Screening)
