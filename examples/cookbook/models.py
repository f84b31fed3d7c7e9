"""The tables that the questions are about: those of the films example, and what critics, cinemas and viewers add to them."""

import datetime
import decimal
from collections.abc import Iterable

from examples.films.models import Country, Credit, Film, FilmCountry, FilmGenre, Genre, Person, Role
from trioorm import INTEGER, SMALLINT, VECTOR, Column, Json, Model, TableConstraint, TableIndex, check, column, extension, index, unique

__all__ = ["PARTS", "Country", "Credit", "Fact", "Film", "FilmCountry", "FilmGenre", "Genre", "Person", "Review", "Role", "Run", "Watch"]


class Review(Model, table="reviews"):
    id: Column[int] = column(primary_key=True)
    film_id: Column[int] = column(references=Film.id, index=True)
    critic: Column[str]
    stars: Column[int] = column(type=SMALLINT, check=lambda stars: stars.between(1, 5))
    words: Column[str]
    written_on: Column[datetime.date]

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        yield unique(cls.film_id, cls.critic)


class Run(Model, table="runs"):
    """A film's weeks in a cinema."""

    id: Column[int] = column(primary_key=True)
    film_id: Column[int] = column(references=Film.id, index=True)
    cinema: Column[str]
    first_day: Column[datetime.date]
    last_day: Column[datetime.date]
    price: Column[decimal.Decimal]
    tickets: Column[int] = column(type=INTEGER)

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        yield check(cls.first_day <= cls.last_day)


class Fact(Model, table="facts"):
    """What is known of a film and fits no column."""

    film_id: Column[int] = column(primary_key=True, references=Film.id)
    details: Column[dict[str, Json]]
    place: Column[list[float]] = column(type=VECTOR(3))

    @classmethod
    def table_indexes(cls) -> Iterable[TableIndex]:
        yield index(cls.details, method="gin")
        yield index(cls.place, method="hnsw", operator_class="vector_l2_ops", options={"m": 8})


class Watch(Model, table="watches"):
    """How often a viewer saw a film."""

    viewer: Column[str] = column(primary_key=True)
    film_id: Column[int] = column(primary_key=True, references=Film.id)
    times: Column[int] = column(type=INTEGER, default=1)
    last_on: Column[datetime.date]

    @classmethod
    def table_indexes(cls) -> Iterable[TableIndex]:
        yield index(cls.last_on)


PARTS = (
    extension("pg_trgm"),
    extension("vector"),
    Film,
    Person,
    Genre,
    Country,
    Credit,
    FilmGenre,
    FilmCountry,
    Review,
    Run,
    Fact,
    Watch,
)
"""Everything that `create_schema` is to make."""
