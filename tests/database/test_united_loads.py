"""Graphs of one object, loaded as one statement: where it is one, and that it gives what several would."""

from typing import Any

import pytest

from tests.database.cinema import MODELS, Credit, Film, Hall, Person, Poster, Role, Seat, fill
from tests.query.shop import unchecked
from tests.transaction.conftest import Flights
from tests.transaction.conftest import flights as flights
from trioorm import (
    Column,
    Database,
    Json,
    Many,
    Model,
    NoRowFound,
    One,
    TooManyRows,
    any_,
    belongs_to,
    case,
    cast,
    column,
    func,
    has_many,
    has_one,
    literal,
    open_database,
    select,
    sql,
)
from trioorm.database.load_plan import known_plan
from trioorm.database.loading import fetch_with_loads
from trioorm.query.uniting import _BUILT_IN  # pyright: ignore[reportPrivateUsage]


async def opened(db: Database) -> None:
    await db.create_schema(*MODELS)
    await fill(db)


PAGE = (
    select(Film.credits.count(), Film)
    .where(Film.id == 1)
    .load(Film.credits.order_by(Credit.id).load(Credit.person.load(Person.friends), Credit.film), Film.genres, Film.poster)
)


async def test_a_graph_of_one_object_is_one_statement_wherever_it_is_fetched(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        noted = Flights(monkeypatch)

        def check(number: int, film: Film) -> None:
            (sent,) = [texts for texts in noted.sent if "WITH" in texts]
            assert [text for text in sent if text not in ("SAVEPOINT", "RELEASE", "BEGIN")] == ["WITH"]
            assert number == 3
            assert [credit.person.name for credit in film.credits] == ["Scott", "Weaver", "Holm"]
            assert [friend.name for friend in film.credits[2].person.friends] == ["Weaver"]
            assert all(credit.film is film for credit in film.credits)
            assert film.credits[2].person.friends[0] is film.credits[1].person
            assert ([genre.name for genre in film.genres], film.poster is not None) == (["horror"], True)
            noted.sent.clear()

        check(*await db.fetch_one(PAGE))
        async with db.transaction() as tx:
            noted.sent.clear()
            check(*await tx.fetch_one(PAGE))
        async with db.snapshot() as snap:
            noted.sent.clear()
            check(*await snap.fetch_one(PAGE))
        async with db.flight() as flight:
            page = flight.fetch_one(PAGE)
        check(*page.value)
        async with open_database(dsn, max_size=2, lanes=1) as fast:
            pages = [await fast.fetch_one(PAGE) for _ in range(100)]
            assert {(number, len(film.credits)) for number, film in pages} == {(3, 3)}


async def test_one_plan_of_the_servers_serves_for_all_values(dsn: str) -> None:
    """However rare or common a value is, or PostgreSQL would plan anew each time."""
    statement = select(Film).load(Film.credits.where(Credit.role == Role.DIRECTOR).limit(5).load(Credit.person), Film.cast)
    async with open_database(dsn, max_size=1) as db:
        await opened(db)
        await db.insert_many([Credit(id=number, film_id=1 + number % 50 // 49, person_id=1) for number in range(10, 3000)])
        await db.execute(sql("ANALYZE"))
        for number in range(30):
            await db.fetch_one(statement.where(Film.id == number % 3 + 1))
        plans = sql("SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE 'WITH trioorm_part%'").returns(
            int, int
        )
        ((generic, custom),) = await db.fetch_all(plans)
        assert custom <= 5
        assert generic >= 25


async def test_conditions_of_every_kind(dsn: str) -> None:
    """Values that are hidden in subqueries mean what they mean elsewhere."""
    conditions = [
        Credit.position.in_([1, 2]), Credit.role.in_([Role.CAST]), Credit.id == any_([2, 3]), Credit.id.between(2, 3),
        Credit.agent_id.is_distinct_from(4), cast(Credit.role, str).like("c%"), Credit.id * 2 + 1 > 4,
        (Credit.id == 2) | (Credit.position == 2),
        case((Credit.id == 1, 0), else_=1) == 1, func.coalesce(Credit.agent_id, 7) == 7, Credit.person_id.not_in([2]),
    ]  # fmt: skip
    async with open_database(dsn) as db:
        await opened(db)
        for condition in conditions:
            load = Film.credits.where(condition).order_by((Credit.id + 1).desc()).limit(2)
            statement = (
                select(Film)
                .where(Film.id == 1)
                .load(load.load(Credit.person.load(Person.credits.where(Credit.id.in_([1, 2, 4])).limit(2))))
            )
            united = known_plan(unchecked(db)._plans, statement, statement.loads).united
            assert united is not None
            (film,), (other,) = await db.fetch_all(statement), await _by_levels(db, statement)
            assert film.credits == other.credits != []
            assert [part.person.credits for part in film.credits] == [part.person.credits for part in other.credits]


class Maker(Model, table="makers"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]
    notes: Column[Json]
    version: Column[int] = column(version="xmin")

    things: Many["Thing"] = has_many(foreign_key="maker_id", order_by=lambda: Thing.id)
    first: One["Thing | None"] = has_one(foreign_key="maker_id")


class Thing(Model, table="things"):
    id: Column[int] = column(primary_key=True)
    maker_id: Column[int]
    label: Column[str]
    amount: Column[float]

    maker: One[Maker] = belongs_to(foreign_key="maker_id")


async def _by_levels(db: Database, statement: Any) -> list[Any]:  # noqa: ANN401 - any select
    return await fetch_with_loads(unchecked(db)._runner, unchecked(db)._plans, statement, by_level=True)


async def test_tables_of_other_types_than_their_models_say(dsn: str) -> None:
    """Each column has its own place in the united rows, so no type has to fit another."""
    async with open_database(dsn) as db:
        await db.execute(sql("CREATE DOMAIN word AS varchar(9)"))
        await db.execute(sql("CREATE TABLE makers (id int2 PRIMARY KEY, name char(4) NOT NULL, notes json NOT NULL)"))
        await db.execute(
            sql("CREATE TABLE things (id int4 PRIMARY KEY, maker_id int2 NOT NULL, label word NOT NULL, amount float4 NOT NULL)")
        )
        await db.execute(sql("""INSERT INTO makers VALUES (1, 'a', '{"b": 1, "a": 2}')"""))
        await db.execute(sql("INSERT INTO things VALUES (1, 1, 'x', 0.5), (2, 1, 'y', 1.5)"))
        statement = select(Maker).where(Maker.id == 1).load(Maker.things.load(Thing.maker))
        assert known_plan(unchecked(db)._plans, statement, statement.loads).united is not None
        (maker,), (other,) = await db.fetch_all(statement), await _by_levels(db, statement)
        assert (maker, maker.things) == (other, other.things)
        assert (maker.name, maker.notes, [thing.amount for thing in maker.things]) == ("a   ", {"b": 1, "a": 2}, [0.5, 1.5])
        assert all(thing.maker is maker for thing in maker.things)


class Path(Model, table="path"):
    id: Column[int] = column(primary_key=True)
    points: Many["Point"] = has_many(order_by=lambda: Point.id)


class Point(Model, table="point"):
    id: Column[int] = column(primary_key=True)
    path_id: Column[int] = column(references=Path.id)
    path: One[Path] = belongs_to()


async def test_tables_that_are_called_as_types_are(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Path, Point)
        await db.insert(Path(id=1))
        await db.insert_many([Point(id=1, path_id=1), Point(id=2, path_id=1)])
        path = await db.fetch_one(select(Path).where(Path.id == 1).load(Path.points.load(Point.path)))
        assert [point.id for point in path.points] == [1, 2]
        assert path.points[0].path is path


async def test_all_names_of_types_are_known(dsn: str) -> None:
    """Those of this server, apart from arrays and the system's own tables."""
    names = sql("SELECT typname::text FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typname !~ '^(_|pg_)'").returns(str)
    async with open_database(dsn) as db:
        assert set(await db.fetch_all(names)) - _BUILT_IN == set()


async def test_a_key_that_is_none_in_the_table(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.execute(sql("CREATE TABLE makers (id int8, name text NOT NULL, notes jsonb NOT NULL)"))
        await db.execute(sql("CREATE TABLE things (id int8, maker_id int8, label text, amount float8)"))
        await db.execute(sql("INSERT INTO makers VALUES (1, 'a', '1'), (1, 'b', '2')"))
        await db.execute(sql("INSERT INTO things VALUES (1, 1, 'x', 0)"))
        statement = select(Maker).where(Maker.id == 1).load(Maker.things)
        one, other = await db.fetch_all(statement)
        assert {one.name, other.name} == {"a", "b"}
        assert one.things == other.things == [Thing(id=1, maker_id=1, label="x", amount=0.0)]
        assert one.things is not other.things


async def test_one_object_where_none_or_several_are_found(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.execute(sql("CREATE TABLE makers (id int8 PRIMARY KEY, name text NOT NULL, notes jsonb NOT NULL)"))
        await db.execute(sql("CREATE TABLE things (id int8, maker_id int8, label text, amount float8)"))
        await db.execute(sql("INSERT INTO makers VALUES (1, 'a', '1'), (2, 'b', '2')"))
        await db.execute(sql("INSERT INTO things VALUES (1, 1, 'x', 0), (2, 1, 'y', 0), (3, 3, 'z', 0)"))
        maker = await db.fetch_one(select(Maker).where(Maker.id == 2).load(Maker.first))
        assert maker.first is None
        with pytest.raises(TooManyRows, match=r"Maker\.first leads to one Thing, and 2 rows were found for one Maker"):
            await db.fetch_one(select(Maker).where(Maker.id == 1).load(Maker.first))
        with pytest.raises(NoRowFound, match=r"Thing\.maker is never None"):
            await db.fetch_one(select(Thing).where(Thing.id == 3).load(Thing.maker))
        assert await db.fetch_optional(select(Maker).where(Maker.id == 3).load(Maker.first, Maker.things)) is None, "whatever refers to it"


async def test_more_columns_than_are_worth_while_travel_in_a_flight(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        statement = select(Hall).where(Hall.house == "x", Hall.number == 1).load(Hall.seats.load(Seat.hall))
        monkeypatch.setattr("trioorm.database.united._MOST_COLUMNS", 3)
        assert await db.fetch_all(statement) == []
        assert known_plan(unchecked(db)._plans, statement, statement.loads).united is None
        one = select(Poster).where(Poster.film_id == 1).load(Poster.film)
        assert (await db.fetch_one(one)).film.title == "Alien"


async def test_a_load_of_one_statement_is_explained_by_its_steps(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        plan = await db.explain(PAGE)
        measured = await db.explain(PAGE, analyze=True)
        nobody = await db.explain(select(Film).where(Film.id == 1).load(Film.credits.where(literal(value=False))))
    credits, genres, poster = measured.loads
    person, film = credits.plan.loads
    (friends,) = person.plan.loads
    named = [load.relation for load in (credits, person, friends, film, genres, poster)]
    assert named == ["Film.credits", "Credit.person", "Person.friends", "Credit.film", "Film.genres", "Film.poster"]
    assert [load.plan.root.rows for load in (credits, person, friends, film, genres, poster)] == [3, 3, 3, 1, 1, 1]
    assert {load.why for load in (credits, person)} == {"in the statement above"}
    assert measured.execution_seconds is not None
    assert credits.plan.execution_seconds is None, "that is of the whole"
    lines = plan.drawn(ascii_only=True).splitlines()
    assert "  Credit.person: flight 1, in the statement above" in lines
    assert lines[lines.index("Film.credits: flight 1, in the statement above") + 1 :][:3] == [
        "  Credit.person: flight 1, in the statement above",
        "    Person.friends: flight 1, in the statement above",
        "  Credit.film: flight 1, in the statement above",
    ]
    assert nobody.loads[0].relation == "Film.credits"
