"""Models whose keys the server makes, for tests of writing graphs: films with their parts, people, genres, posters, halls."""

from __future__ import annotations

import enum
from collections.abc import Iterable  # noqa: TC003 - models look their annotations up

from trioorm import (
    UNSET,
    Column,
    Many,
    Model,
    One,
    TableConstraint,
    belongs_to,
    column,
    foreign_key,
    has_many,
    has_one,
    many_to_many,
)


class Role(enum.Enum):
    DIRECTOR = "director"
    CAST = "cast"


class Film(Model, table="films"):
    id: Column[int] = column(primary_key=True, generated=True)
    title: Column[str]
    sequel_of_id: Column[int | None] = column(default=None, references="films.id")

    sequel_of: One[Film | None] = belongs_to()
    sequels: Many[Film] = has_many(order_by=lambda: Film.id)
    credits: Many[Credit] = has_many(order_by=lambda: Credit.id)
    genres: Many[Genre] = many_to_many(through="film_genre", foreign_key="film_id", other_key="genre_id", order_by=lambda: Genre.name)
    cast: Many[Person] = many_to_many(through=lambda: Credit, other_key="person_id", where=lambda: Credit.role == Role.CAST)
    people: Many[Person] = many_to_many(through=lambda: Credit, other_key="person_id", order_by=lambda: Person.id)
    labels: Many[Label] = many_to_many(through=lambda: Labelling)
    poster: One[Poster | None] = has_one()


class Person(Model, table="people"):
    id: Column[int] = column(primary_key=True, generated=True, default=UNSET)
    name: Column[str]

    credits: Many[Credit] = has_many(foreign_key="person_id", order_by=lambda: Credit.id)
    friends: Many[Person] = many_to_many(through="friends", foreign_key="one_id", other_key="other_id", order_by=lambda: Person.id)


class Credit(Model, table="credits", frozen=True):
    id: Column[int] = column(primary_key=True, generated=True)
    film_id: Column[int] = column(references=Film.id, default=UNSET)
    person_id: Column[int] = column(references=Person.id, default=UNSET)
    agent_id: Column[int | None] = column(default=None, references=Person.id)
    role: Column[Role]

    film: One[Film] = belongs_to()
    person: One[Person] = belongs_to(foreign_key="person_id")
    agent: One[Person | None] = belongs_to(foreign_key="agent_id")


class Genre(Model, table="genres"):
    id: Column[int] = column(primary_key=True, generated=True, default=UNSET)
    name: Column[str]

    films: Many[Film] = many_to_many(through="film_genre", foreign_key="genre_id", other_key="film_id")


class FilmGenre(Model, table="film_genre"):
    film_id: Column[int] = column(primary_key=True, references=Film.id)
    genre_id: Column[int] = column(primary_key=True, references=Genre.id)


class Label(Model, table="labels"):
    name: Column[str] = column(primary_key=True)


class Labelling(Model, table="labellings"):
    """Its further columns have defaults."""

    film_id: Column[int] = column(primary_key=True, references=Film.id)
    name: Column[str] = column(primary_key=True, references=Label.name)
    weight: Column[int] = column(default=7)


class Poster(Model, table="posters"):
    film_id: Column[int] = column(primary_key=True, references=Film.id, default=UNSET)
    words: Column[str]

    film: One[Film] = belongs_to()


class Hall(Model, table="halls"):
    house: Column[str] = column(primary_key=True)
    number: Column[int] = column(primary_key=True)

    seats: Many[Seat] = has_many(order_by=lambda: Seat.id)


class Seat(Model, table="seats"):
    id: Column[int] = column(primary_key=True, generated=True, default=UNSET)
    house: Column[str] = column(default=UNSET)
    hall_number: Column[int] = column(default=UNSET)
    film_id: Column[int | None] = column(default=None, references=Film.id)

    hall: One[Hall] = belongs_to()

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        yield foreign_key(cls.house, cls.hall_number, references=(Hall.house, Hall.number))


class Chicken(Model, table="chickens"):
    """Neither goes first."""

    id: Column[int] = column(primary_key=True, generated=True)
    egg_id: Column[int] = column(references="eggs.id", default=UNSET)

    egg: One[Egg] = belongs_to()


class Egg(Model, table="eggs"):
    id: Column[int] = column(primary_key=True, generated=True)
    chicken_id: Column[int] = column(references=Chicken.id, default=UNSET)

    chicken: One[Chicken] = belongs_to()


class Friendship(Model, table="friends"):
    one_id: Column[int] = column(primary_key=True, references=Person.id)
    other_id: Column[int] = column(primary_key=True, references=Person.id)


MODELS = (Film, Person, Credit, Genre, FilmGenre, Label, Labelling, Poster, Hall, Seat, Friendship)
