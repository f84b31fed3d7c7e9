"""From `films.csv.gz` to model objects: one line of text for each film becomes rows of seven tables.

A line lists people, genres and countries by name. Here each name becomes one row with a number of its own, numbered from 1 in order of
first appearance, and each mention becomes a row that links the two. Nothing here knows that a database exists.
"""

import csv
import datetime
import gzip
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import attrs

from examples.films.models import Country, Credit, Film, FilmCountry, FilmGenre, Genre, Person, Role
from trioorm import Model

FILMS_CSV = Path(__file__).with_name("films.csv.gz")

_ROLE_FIELDS = ((Role.DIRECTOR, "directors"), (Role.WRITER, "writers"), (Role.CAST, "cast"))


@attrs.frozen
class Catalogue:
    """All rows, table by table."""

    films: Sequence[Film]
    people: Sequence[Person]
    genres: Sequence[Genre]
    countries: Sequence[Country]
    credits: Sequence[Credit]
    film_genres: Sequence[FilmGenre]
    film_countries: Sequence[FilmCountry]

    def tables(self) -> tuple[tuple[type[Model], Sequence[Model]], ...]:
        """The models with their objects, in an order in which each refers only to earlier ones."""
        return (
            (Film, self.films),
            (Person, self.people),
            (Genre, self.genres),
            (Country, self.countries),
            (Credit, self.credits),
            (FilmGenre, self.film_genres),
            (FilmCountry, self.film_countries),
        )

    @property
    def row_count(self) -> int:
        """The number of rows in all tables together."""
        return sum(len(rows) for _, rows in self.tables())


def read_catalogue(path: Path = FILMS_CSV) -> Catalogue:
    """Read the whole source; takes about two seconds.

    Raises:
        OSError: the file cannot be read.
    """
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return normalise(csv.DictReader(lines))


def normalise(records: Iterator[dict[str, str]]) -> Catalogue:
    """Split films, as the source lists them, into the rows of seven tables."""
    films: list[Film] = []
    credits: list[Credit] = []
    film_genres: list[FilmGenre] = []
    film_countries: list[FilmCountry] = []
    people, genres, countries = _Numbering(), _Numbering(), _Numbering()
    for record in records:
        film = _film(record)
        films.append(film)
        for role, field in _ROLE_FIELDS:
            for position, name in enumerate(_names(record[field]), start=1):
                credits.append(Credit(film_id=film.id, role=role, position=position, person_id=people.number(name)))
        film_genres += [FilmGenre(film_id=film.id, genre_id=genres.number(name)) for name in _names(record["genres"])]
        film_countries += [FilmCountry(film_id=film.id, country_id=countries.number(name)) for name in _names(record["countries"])]
    return Catalogue(
        films=films,
        people=[Person(id=number, name=name) for name, number in people],
        genres=[Genre(id=number, name=name) for name, number in genres],
        countries=[Country(id=number, name=name) for name, number in countries],
        credits=credits,
        film_genres=film_genres,
        film_countries=film_countries,
    )


class _Numbering:
    """Gives each name a number, the same one each time."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers) + 1)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._numbers.items())


def _film(record: dict[str, str]) -> Film:
    return Film(
        id=int(record["id"]),
        imdb_id=record["imdb_id"],
        title=record["title"],
        year=int(record["year"]),
        released=datetime.date.fromisoformat(record["released"]),
        runtime_minutes=_whole(record["runtime_minutes"]),
        languages=_names(record["languages"]),
        studios=_names(record["production"], between=", "),
        oscars=_whole(record["oscars"]) or 0,
        review_meter_percent=_whole(record["review_meter_percent"]),
        review_count=_whole(record["review_count"]) or 0,
        box_office_usd=Decimal(record["box_office_usd"]) if record["box_office_usd"] else None,
    )


def _names(text: str, *, between: str = "|") -> list[str]:
    return text.split(between) if text else []


def _whole(text: str) -> int | None:
    """A whole number, which the source may write as `90.0`; nothing at all is not known."""
    return int(float(text)) if text else None
