"""The films as the source lists them become rows of seven tables: exactly these many, each once, and all references lead somewhere."""

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.films.models import Film, Role
from examples.films.source import Catalogue, normalise, read_catalogue


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue()


def record(**fields: str) -> dict[str, str]:
    """A line of the source: a film about which little is known, but for the given fields."""
    return {
        "id": "1",
        "imdb_id": "tt0000001",
        "title": "Untitled",
        "year": "1999",
        "released": "1999-12-31",
        "runtime_minutes": "",
        "genres": "",
        "countries": "",
        "languages": "",
        "directors": "",
        "writers": "",
        "cast": "",
        "oscars": "0",
        "review_meter_percent": "",
        "review_count": "",
        "box_office_usd": "",
        "production": "",
    } | fields


def test_gives_the_known_number_of_rows_in_each_table(catalogue: Catalogue) -> None:
    assert {model.__name__: len(rows) for model, rows in catalogue.tables()} == {
        "Film": 17_472,
        "Person": 63_815,
        "Genre": 21,
        "Country": 136,
        "Credit": 234_372,
        "FilmGenre": 35_469,
        "FilmCountry": 23_289,
    }
    assert catalogue.row_count == 374_574


def test_no_key_is_given_twice(catalogue: Catalogue) -> None:
    keys: list[list[object]] = [
        [film.id for film in catalogue.films],
        [person.id for person in catalogue.people],
        [person.name for person in catalogue.people],
        [genre.id for genre in catalogue.genres],
        [genre.name for genre in catalogue.genres],
        [country.id for country in catalogue.countries],
        [country.name for country in catalogue.countries],
        [(credit.film_id, credit.role, credit.position) for credit in catalogue.credits],
        [(link.film_id, link.genre_id) for link in catalogue.film_genres],
        [(link.film_id, link.country_id) for link in catalogue.film_countries],
    ]
    for of_one_table in keys:
        assert len(set(of_one_table)) == len(of_one_table)


def test_one_person_is_in_one_cast_twice_which_is_why_the_place_belongs_to_the_key(catalogue: Catalogue) -> None:
    parts = Counter((credit.film_id, credit.role, credit.person_id) for credit in catalogue.credits)
    assert [count for count in parts.values() if count > 1] == [2]


def test_every_reference_leads_to_a_row_and_every_row_is_referred_to(catalogue: Catalogue) -> None:
    films = {film.id for film in catalogue.films}
    assert {credit.person_id for credit in catalogue.credits} == {person.id for person in catalogue.people}
    assert {link.genre_id for link in catalogue.film_genres} == {genre.id for genre in catalogue.genres}
    assert {link.country_id for link in catalogue.film_countries} == {country.id for country in catalogue.countries}
    for links in (catalogue.credits, catalogue.film_genres, catalogue.film_countries):
        assert {link.film_id for link in links} <= films


def test_tables_come_after_those_that_they_refer_to(catalogue: Catalogue) -> None:
    order = [model.__name__ for model, _ in catalogue.tables()]
    for later, earlier in [("Credit", "Film"), ("Credit", "Person"), ("FilmGenre", "Genre"), ("FilmCountry", "Country")]:
        assert order.index(later) > order.index(earlier)


def test_a_film_that_is_well_known_comes_out_right(catalogue: Catalogue) -> None:
    skyfall = next(film for film in catalogue.films if film.title == "Skyfall")
    assert (skyfall.year, skyfall.runtime_minutes, skyfall.languages) == (2012, 143, ["English"])
    assert skyfall.box_office_usd == Decimal(1_108_561_013)
    assert skyfall.studios == ["Columbia Pictures", "Eon Productions", "Metro-Goldwyn-Mayer", "United Artists"]
    names = {person.id: person.name for person in catalogue.people}
    directors = [names[credit.person_id] for credit in catalogue.credits if credit.film_id == skyfall.id and credit.role is Role.DIRECTOR]
    assert directors == ["Sam Mendes"]


def test_what_is_not_known_is_none_or_empty() -> None:
    [film] = normalise(iter([record()])).films
    assert film == Film(
        id=1,
        imdb_id="tt0000001",
        title="Untitled",
        year=1999,
        released=film.released,
        runtime_minutes=None,
        languages=[],
        studios=[],
        review_meter_percent=None,
        box_office_usd=None,
    )
    assert (film.released.year, film.released.month, film.released.day) == (1999, 12, 31)


def test_fractions_of_a_dollar_are_kept_and_minutes_are_whole() -> None:
    [film] = normalise(iter([record(box_office_usd="7.386", runtime_minutes="90.0")])).films
    assert film.box_office_usd == Decimal("7.386")
    assert film.runtime_minutes == 90


NAMES = st.lists(st.text(st.characters(exclude_characters="|", exclude_categories=["Cs"]), min_size=1, max_size=6), max_size=5)


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(("directors", "writers", "cast"), NAMES)), max_size=5))
def test_every_mention_of_a_name_can_be_found_again_in_its_place(films: list[dict[str, list[str]]]) -> None:
    records = [record(id=str(number), **{field: "|".join(names) for field, names in film.items()}) for number, film in enumerate(films)]
    catalogue = normalise(iter(records))
    names = {person.id: person.name for person in catalogue.people}
    assert len(set(names.values())) == len(names)
    found = {(credit.film_id, credit.role, credit.position): names[credit.person_id] for credit in catalogue.credits}
    fields = {"directors": Role.DIRECTOR, "writers": Role.WRITER, "cast": Role.CAST}
    assert found == {
        (number, fields[field], position): name
        for number, film in enumerate(films)
        for field, mentioned in film.items()
        for position, name in enumerate(mentioned, start=1)
    }
