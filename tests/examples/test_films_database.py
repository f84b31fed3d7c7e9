"""The films example's own functions on a small catalogue, whose answers can be worked out by hand."""

import datetime

import anyio
import pytest
from rich.console import Console

from examples.films.console import Report
from examples.films.load import load
from examples.films.models import MODELS, Credit, Film, Genre, Person, Role, Screening
from examples.films.own_schema import open_in_own_schema
from examples.films.page import film_page, lines_of_page
from examples.films.questions import co_actors, films_by_year, films_of, top_directors
from examples.films.rates import read_by_key
from examples.films.source import Catalogue, normalise
from examples.films.transactions import (
    FIRST_EVENING,
    plan_evening,
    plan_evening_with_a_stuck_child,
    programme,
    queries_still_running,
)
from tests.examples.test_source import record
from tests.transaction.conftest import Flights
from trioorm import Database, ForeignKeyViolation, count, open_database, select, sql


def small_catalogue() -> Catalogue:
    return normalise(
        iter(
            [
                record(id="1", title="One", year="1991", genres="War|Drama", directors="Ann", cast="Bo|Cy|Di", box_office_usd="10.5"),
                record(
                    id="2",
                    title="Two",
                    year="1991",
                    released="1991-05-05",
                    genres="Drama",
                    directors="Ann|Ed",
                    cast="Cy|Bo",
                    box_office_usd="4",
                ),
                record(id="3", title="Three", year="2003", released="2003-03-03", genres="Comedy", directors="Bo", cast="Bo|Cy|Ann"),
            ]
        )
    )


def quiet_report() -> Report:
    return Report(Console(quiet=True))


async def loaded(db: Database, catalogue: Catalogue) -> None:
    await db.create_schema(*MODELS)
    await load(db, catalogue, quiet_report())


async def schemas(dsn: str) -> int:
    async with open_database(dsn) as db:
        return await db.fetch_value(sql("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'trioorm\\_films\\_%'").returns(int))


async def test_questions_have_the_answers_worked_out_by_hand(dsn: str) -> None:
    async with open_in_own_schema(dsn) as db:
        await loaded(db, small_catalogue())
        assert [(name, films, float(takings)) for name, films, takings in await top_directors(db)] == [("Ann", 2, 14.5), ("Ed", 1, 4.0)]
        found = [(film.title, sorted(genres)) for film, genres in await films_of(db, "Cy")]
        assert found == [("Three", ["Comedy"]), ("One", ["Drama", "War"]), ("Two", ["Drama"])]
        assert await co_actors(db, "Bo") == [("Cy", 3), ("Ann", 1), ("Di", 1)]
        assert await films_by_year(db) == {1991: 2, 2003: 1}
        async with db.transaction(read_only=True) as tx:
            assert await top_directors(tx, limit=1) == (await top_directors(db))[:1]


async def test_a_page_is_one_statement_and_one_trip(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_in_own_schema(dsn) as db:
        await loaded(db, small_catalogue())
        noted = Flights(monkeypatch)
        film = await db.fetch_one(film_page(1, most_cast=2, most_films=1))
        assert noted.sent == [["WITH"]]
        assert (film.title, film.cast_count, len(film.genres)) == ("One", 3, 2)
        assert [credit.person.name for credit in film.cast] == ["Bo", "Cy"]
        assert [[(other.title, other.directors) for other in credit.person.acted_in] for credit in film.cast] == [
            [("Three", [film.cast[0].person])],
            [("Three", [film.cast[0].person])],
        ]
        assert film.cast[0].person.acted_in[0] is film.cast[1].person.acted_in[0]
        del noted.sent[:]
        async with db.transaction(read_only=True) as tx:
            assert await lines_of_page(tx, 2) == [
                "Two (1991), by Ann, Ed",
                "Drama",
                "2 in the cast, among them",
                "  Cy, of 3 films, also in Three (2003); One (1991)",
                "  Bo, of 3 films, also in Three (2003); One (1991)",
            ]
        assert noted.sent[0] == ["BEGIN", "WITH"]
        plan = await db.explain(film_page(1), analyze=True)
        below = [load.relation for load in plan.loads]
        assert below == ["Film.directors", "Film.genres", "Film.countries", "Film.cast_count", "Film.cast"]
        people = plan.loads[4].plan.loads[0]
        assert [load.relation for load in people.plan.loads] == ["Person.film_count", "Person.acted_in"]


async def test_every_object_comes_back_as_it_was_loaded(dsn: str) -> None:
    catalogue = small_catalogue()
    async with open_in_own_schema(dsn) as db:
        await loaded(db, catalogue)
        assert await db.fetch_all(select(Film).order_by(Film.id)) == catalogue.films
        assert await db.fetch_all(select(Person).order_by(Person.id)) == catalogue.people
        assert await db.fetch_all(select(Genre).order_by(Genre.id)) == catalogue.genres
        credits = await db.fetch_all(select(Credit).order_by(Credit.film_id, Credit.role, Credit.position))
        assert credits == catalogue.credits
        assert credits[0].role is Role.DIRECTOR
        reads = await read_by_key(db, catalogue.films, reads=250)
        assert reads.unchanged == reads.count == 250


async def test_a_load_with_a_reference_that_leads_nowhere_loads_nothing(dsn: str) -> None:
    catalogue = small_catalogue()
    catalogue.credits[-1].person_id = 99
    async with open_in_own_schema(dsn) as db:
        await db.create_schema(*MODELS)
        with pytest.raises(ForeignKeyViolation):
            await load(db, catalogue, quiet_report())
        assert await db.fetch_value(select(count()).from_(Film)) == 0


def festival_films() -> Catalogue:
    """Three films for each decade, of which the one with the higher meter and then the more reviews is the better."""
    records: list[dict[str, str]] = []
    for decade in range(1940, 2020, 10):
        for offset, (meter, reviews) in enumerate([("90", "60"), ("95", "70"), ("95", "80"), ("99", "10"), ("", "99")]):
            year = str(decade + offset)
            records.append(record(id=f"{year}", title=f"of {year}", year=year, review_meter_percent=meter, review_count=reviews))
    return normalise(iter(records))


async def test_an_evening_is_planned_by_all_tasks_together(dsn: str) -> None:
    async with open_in_own_schema(dsn) as db:
        await loaded(db, festival_films())
        await plan_evening(db, FIRST_EVENING)
        await plan_evening(db, FIRST_EVENING + datetime.timedelta(days=1))
        planned = [(screening.hall, film.year, screening.starts_at.day) for screening, film in await programme(db)]
        first = [(hall, 1932 + 10 * hall, 1) for hall in range(1, 9)]
        second = [(hall, 1931 + 10 * hall, 2) for hall in range(1, 9)]
        assert planned == first + second


async def test_an_evening_that_lacks_one_film_is_not_planned_at_all(dsn: str) -> None:
    async with open_in_own_schema(dsn) as db:
        await loaded(db, normalise(record(id=str(year), year=str(year), review_count="80") for year in range(1940, 2000, 10)))
        with pytest.raises(ExceptionGroup) as raised:
            await plan_evening(db, FIRST_EVENING)
        assert {type(error).__name__ for error in raised.value.exceptions} == {"NoRowFound"}
        assert await programme(db) == []


async def test_a_stuck_evening_leaves_nothing_of_itself(dsn: str) -> None:
    async with open_in_own_schema(dsn) as db:
        await loaded(db, festival_films())
        ended = await plan_evening_with_a_stuck_child(db, FIRST_EVENING, timeout_seconds=0.5)
        assert (ended.was_cancelled, ended.rows_inside) == (True, 8)
        assert await programme(db) == []
        assert await queries_still_running(db) == 0
        pool = db.statistics()
        assert (pool.on_loan, pool.waiting, pool.idle) == (0, 0, pool.pool_size)


async def test_a_query_that_still_runs_is_seen(dsn: str) -> None:
    async with open_in_own_schema(dsn) as db:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(db.execute, sql("SELECT pg_sleep(60)"))
            with anyio.fail_after(10):
                while await queries_still_running(db) != 1:  # noqa: ASYNC110 - the server tells nobody that a query has begun
                    await anyio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert await queries_still_running(db) == 0


async def test_two_runs_at_once_do_not_meet(dsn: str) -> None:
    async with open_in_own_schema(dsn) as one, open_in_own_schema(dsn) as other:
        await one.create_schema(*MODELS)
        await other.create_schema(*MODELS)
        await one.insert(Genre(id=1, name="Noir"))
        assert await other.fetch_all(select(Genre)) == []


async def test_tables_of_the_same_names_are_left_alone(dsn: str) -> None:
    async with open_database(dsn) as mine:
        await mine.create_schema(*MODELS)
        await mine.insert(Genre(id=1, name="Noir"))
        async with open_in_own_schema(dsn) as db:
            await loaded(db, small_catalogue())
        assert [genre.name for genre in await mine.fetch_all(select(Genre))] == ["Noir"]
        assert await mine.fetch_value(select(count()).from_(Film)) == 0


async def test_the_schema_goes_when_the_block_fails(dsn: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_in_own_schema(dsn) as db:
            await db.create_schema(*MODELS)
            assert await schemas(dsn) == 1
            raise ZeroDivisionError
    assert await schemas(dsn) == 0


async def test_the_schema_goes_when_the_block_is_cancelled(dsn: str) -> None:
    with anyio.CancelScope() as scope:
        async with open_in_own_schema(dsn) as db:
            await db.create_schema(*MODELS)
            scope.cancel()
            await db.fetch_all(select(Screening))
    assert scope.cancelled_caught
    assert await schemas(dsn) == 0


async def test_options_in_the_address_are_kept(dsn: str) -> None:
    async with open_in_own_schema(f"{dsn} options='-c statement_timeout=12345'") as db:
        settings = sql("SELECT current_setting('statement_timeout'), current_schema()").returns(str, str)
        timeout, schema = await db.fetch_one(settings)
    assert timeout == "12345ms"
    assert schema.startswith("trioorm_films_")
