"""Figures: counts and other aggregates of what a relation leads to, loaded onto objects at any depth."""

import decimal
import json

import cattrs.preconf.json
import pydantic
import pytest

from tests.database.cinema import MODELS, Credit, Film, Person, fill
from tests.query.shop import unchecked
from tests.transaction.conftest import Flights
from trioorm import (
    Column,
    Database,
    Figure,
    Many,
    Model,
    ModelError,
    QueryError,
    RelationNotLoaded,
    TableConstraint,
    aggregate_of,
    as_dict,
    avg,
    column,
    configure_converter,
    count_of,
    evolve,
    foreign_key,
    func,
    has_many,
    open_database,
    select,
    unique,
)


async def opened(db: Database) -> None:
    await db.create_schema(*MODELS)
    await fill(db)


def figures(films: list[Film]) -> list[tuple[int, int | None]]:
    return [(film.cast_count, film.last_position) for film in films]


CAST = Film.credits.order_by(Credit.id).load(Credit.person.load(Person.friend_count, Person.friends), Credit.film.load(Film.cast_count))


async def test_figures_are_loaded_at_any_depth_in_the_same_trip(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        noted = Flights(monkeypatch)
        films = await db.fetch_all(select(Film).order_by(Film.id).load(Film.cast_count, Film.last_position, CAST))
        assert len(noted.sent) == 1
        assert figures(films) == [(2, 3), (1, 2), (0, None)]
        assert [(part.person.friend_count, part.film.cast_count) for part in films[0].credits] == [(0, 2), (2, 2), (1, 2)]
        film = await db.fetch_one(select(Film).where(Film.id == 1).load(Film.last_position, CAST))
        assert len(noted.sent) == 2
        assert (film.last_position, [part.person.friend_count for part in film.credits]) == (3, [0, 2, 1])
        (none,) = await db.fetch_all(select(Film).where(Film.id == 3).load(Film.last_position, Film.cast_count))
        assert figures([none]) == [(0, None)]
        assert await db.fetch_all(select(Film).where(Film.id == 99).load(Film.cast_count)) == []


async def test_figures_onto_objects_in_hand_in_streams_and_in_tuples(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        films = await db.fetch_all(select(Film).order_by(Film.id))
        await db.load([*films, evolve(films[0])], Film.cast_count, Film.last_position)
        assert figures(films) == [(2, 3), (1, 2), (0, None)]
        async with db.transaction() as tx, tx.stream(select(Film).order_by(Film.id).load(Film.cast_count), cursor=True) as rows:
            assert [film.cast_count async for film in rows] == [2, 1, 0]
        pairs = await db.fetch_all(select(Credit.id, Film).join(Film, Film.id == Credit.film_id).order_by(Credit.id).load(Film.cast_count))
        assert [(number, film.cast_count) for number, film in pairs] == [(1, 2), (2, 2), (3, 2), (4, 1)]
        assert pairs[0][1] is pairs[1][1]


async def test_where_counts_only_some(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        few = Film.last_position.where(Credit.position < 2)
        films = await db.fetch_all(select(Film).order_by(Film.id).load(few, Film.cast_count.where(Credit.position > 1)))
        assert figures(films) == [(1, 2), (0, 2), (0, None)]
        film = await db.fetch_one(select(Film).where(Film.id == 1).load(few))
        assert film.last_position == 2
        with pytest.raises(QueryError, match=r"Film\.last_position is loaded in two ways in one graph"):
            select(Film).load(few, Film.credits.load(Credit.film.load(Film.last_position)))


async def test_a_figure_that_was_not_loaded_says_so(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        film = await db.get(Film, 1)
        with pytest.raises(
            RelationNotLoaded, match=r"Film\.cast_count was not loaded(.|\n)*select\(Film\)\.load\(Film\.cast_count\)"
        ) as caught:
            _ = film.cast_count
        assert caught.value.relation == "cast_count"
        assert caught.value.fetched_at is not None
        film.cast_count = 7
        assert film.cast_count == 7
        assert "cast_count" not in repr(film)
        assert film == await db.get(Film, 1), "figures are no columns"


class Station(Model, table="stations", frozen=True):
    """Found by a key of two columns, one of which may be NULL."""

    id: Column[int] = column(primary_key=True)
    place: Column[str | None] = column(default=None)
    hour: Column[int] = column(default=0)

    readings: Many["Reading"] = has_many()
    mean: Figure[decimal.Decimal | None] = aggregate_of(lambda: Station.readings, lambda: avg(Reading.amount))
    listed: Figure[list[int] | None] = aggregate_of(
        lambda: Station.readings.where(Reading.amount > 10), lambda: func.array_agg(Reading.amount, order_by=Reading.amount)
    )
    reading_count: Figure[int] = count_of(lambda: Station.readings)

    @classmethod
    def table_constraints(cls) -> list[TableConstraint]:
        return [unique(cls.place, cls.hour)]


class Reading(Model, table="readings"):
    id: Column[int] = column(primary_key=True)
    place: Column[str | None] = column(default=None)
    hour: Column[int]
    amount: Column[int]

    @classmethod
    def table_constraints(cls) -> list[TableConstraint]:
        return [foreign_key(cls.place, cls.hour, references=(Station.place, Station.hour))]


@pytest.mark.parametrize("how", ["together", "by a key", "in hand"])
async def test_figures_of_other_types_by_keys_of_several_columns(dsn: str, how: str) -> None:
    loads = (Station.mean, Station.listed, Station.reading_count)
    async with open_database(dsn) as db:
        await db.create_schema(Station, Reading)
        await db.insert_many([Station(id=1, place="a", hour=1), Station(id=2, place="a", hour=2), Station(id=3)])
        amounts = [(1, 1, 5), (2, 1, 20), (3, 1, 11), (4, 2, 10)]
        await db.insert_many([Reading(id=number, place="a", hour=hour, amount=amount) for number, hour, amount in amounts])
        everything = select(Station).order_by(Station.id)
        if how == "in hand":
            stations = await db.fetch_all(everything)
            await db.load(stations, *loads)
        elif how == "together":
            stations = await db.fetch_all(everything.load(*loads))
        else:
            stations = [await db.fetch_one(select(Station).where(Station.id == number).load(*loads)) for number in (1, 2, 3)]
    assert [station.mean for station in stations] == [12, 10, None]
    assert [station.listed for station in stations] == [[11, 20], None, None]
    assert [station.reading_count for station in stations] == [3, 1, 0], "of no key there is none"


async def test_figures_leave_as_other_relations_do(dsn: str) -> None:
    converter = cattrs.preconf.json.make_converter()
    configure_converter(converter)
    adapter = pydantic.TypeAdapter(Film)
    async with open_database(dsn) as db:
        await opened(db)
        bare = await db.get(Film, 1)
        film = await db.fetch_one(select(Film).where(Film.id == 1).load(Film.cast_count, Film.last_position))
    columns = {"id": 1, "title": "Alien", "sequel_of_id": None}
    assert as_dict(film, Film.cast_count) == {**columns, "cast_count": 2}
    with pytest.raises(RelationNotLoaded):
        as_dict(bare, Film.cast_count)
    whole = {**columns, "cast_count": 2, "last_position": 3}
    assert (adapter.dump_python(bare), adapter.dump_python(film)) == (columns, whole)
    assert adapter.json_schema()["$defs"]["Film"]["properties"]["last_position"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
    again = adapter.validate_json(adapter.dump_json(film))
    assert (again, again.cast_count, again.last_position) == (film, 2, 3)
    with pytest.raises(pydantic.ValidationError, match="cast_count"):
        adapter.validate_python({**columns, "cast_count": "many"})
    assert json.loads(converter.dumps(film)) == whole
    assert converter.loads(converter.dumps(film), Film).cast_count == 2


async def test_figures_are_not_written(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        film = Film(id=9, title="Prometheus")
        with pytest.raises(QueryError, match=r"inserts objects, and Film\.cast_count is a figure of some"):
            await db.insert(film, with_=[Film.cast_count])
        with pytest.raises(QueryError, match="which is a count_of"):
            await db.replace_links(film, unchecked(Film.cast_count), [])


class Odd(Model, table="odd"):
    id: Column[int] = column(primary_key=True)
    films: Many[Film] = has_many(foreign_key="sequel_of_id")
    of_another: Figure[int] = count_of(lambda: Film.credits)
    of_one: Figure[int] = count_of(lambda: Film.poster)
    of_few: Figure[int] = count_of(lambda: Odd.films.limit(3))
    nested: Figure[int] = count_of(lambda: Odd.films.load(Film.credits))
    of_nothing: Figure[int] = count_of(lambda: unchecked(None))
    of_unknown_type: Figure[int] = aggregate_of(lambda: Odd.films, lambda: unchecked(func).mystery(Film.id))


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        ("of_another", r"Odd\.of_another is a figure of <ToMany Film\.credits>, which is no list of Odd(.|\n)*count_of\(lambda: Odd\."),
        ("of_one", "which is no list of Odd"),
        ("of_few", r"all that Odd\.films leads to, and that has an order, a limit or something to load below"),
        ("nested", "something to load below"),
        ("of_nothing", "figure of None"),
        ("of_unknown_type", r"PostgreSQL's type of the aggregate is not known(.|\n)*returns=int"),
    ],
)
async def test_what_no_figure_can_be_of_is_refused_when_it_is_used(dsn: str, figure: str, text: str) -> None:
    async with open_database(dsn, min_size=0) as db:
        with pytest.raises(ModelError, match=text):
            await db.fetch_all(select(Odd).load(getattr(Odd, figure)))


def test_contradictions_are_refused_when_the_class_is_made() -> None:
    with pytest.raises(ModelError, match=r"declared by count_of\(\) and annotated(.|\n)*To fix it: films: Figure\[\.\.\.\] = count_of"):

        class WrongKind(Model, table="wrong"):  # pyright: ignore[reportUnusedClass]
            id: Column[int] = column(primary_key=True)
            films: Many[Film] = unchecked(count_of)(lambda: Film.credits)

    with pytest.raises(ModelError, match=r"is a figure, and nothing says of what(.|\n)*count_of\(lambda: ...\) or aggregate_of"):

        class Undeclared(Model, table="wrong"):  # pyright: ignore[reportUnusedClass]
            id: Column[int] = column(primary_key=True)
            number: Figure[int]
