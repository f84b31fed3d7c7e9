"""How loads travel: in how many flights, at which moment, with which keys, and what is left when one is cancelled."""

from collections.abc import Awaitable, Iterable

import anyio
import psycopg
import pytest

from tests.database.cinema import Credit, Film, Person, Role
from tests.database.test_loading import FILMS, opened
from tests.query.shop import unchecked
from tests.transaction.conftest import Flights
from tests.transaction.conftest import flights as flights
from tests.transaction.conftest import witness as witness
from tests.wire.witness import Witness
from trioorm import (
    CHAR,
    Column,
    Database,
    DatabaseError,
    Many,
    Model,
    One,
    QueryError,
    RelationNotLoaded,
    Select,
    TableConstraint,
    TooManyRows,
    belongs_to,
    column,
    count,
    foreign_key,
    func,
    has_many,
    literal,
    open_database,
    select,
    sql,
)
from trioorm.pool import Connection
from trioorm.testing import SweepRun, available_cancellations, pool_is_whole, server_is_quiet, sweep


async def test_all_levels_are_one_flight_whatever_the_number_of_rows(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        statement = FILMS.load(Film.credits.load(Credit.person.load(Person.friends, Person.credits), Credit.agent), Film.genres, Film.cast)
        flight = ["BEGIN", "WITH", "WITH", "WITH", "SELECT", "SELECT", "SELECT", "SELECT", "SELECT", "COMMIT"]
        noted = Flights(monkeypatch)
        await db.fetch_all(statement)
        assert noted.sent == [flight], "eight statements, one for the films and one for each relation"
        await db.insert_many([Credit(id=number, film_id=3, person_id=number % 4 + 1) for number in range(10, 1000)])
        del noted.sent[:]
        films = await db.fetch_all(statement)
        assert noted.sent == [flight]
        assert sum(len(film.credits) for film in films) == 994
        del noted.sent[:]
        async with db.transaction() as tx:
            await tx.fetch_all(statement)
        async with db.transaction() as tx:
            await tx.load(films, Film.credits.load(Credit.person), Film.genres)
        async with db.snapshot() as snap:
            await snap.fetch_one(statement.where(Film.id == 1))
        loads = [[text for text in flight if text in ("WITH", "SELECT")] for flight in noted.sent]
        assert [len(texts) for texts in loads if texts] == [8, 3, 1, 1], "the third is the snapshot's own, the last is by a key"


@pytest.mark.parametrize("inside", [False, True])
async def test_a_load_shows_one_moment(dsn: str, witness: Witness, inside: bool) -> None:
    """Another commits between the statement for the films and the one for their credits. In a transaction its own isolation decides."""
    held = sql("pg_advisory_xact_lock_shared(7) IS NOT NULL").reads_only()
    statement = FILMS.where(unchecked(held)).load(Film.credits.order_by(Credit.id).load(Credit.person), Film.poster)
    found: list[Film] = []
    async with open_database(dsn) as db:
        await opened(db)
        witness.run("SELECT pg_advisory_lock(7)")

        async def load() -> None:
            if not inside:
                found.extend(await db.fetch_all(statement))
                return
            async with db.transaction() as tx:
                found.extend(await tx.fetch_all(statement))

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(load)
            await witness.until("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
            witness.run("DELETE FROM posters")
            witness.run("DELETE FROM credits WHERE id = 3")
            witness.run("UPDATE people SET name = 'changed'")
            witness.run("SELECT pg_advisory_unlock(7)")
    alien = found[0]
    names = [credit.person.name for credit in alien.credits]
    assert names == (["changed", "changed"] if inside else ["Scott", "Weaver", "Holm"])
    assert (alien.poster is None) is inside


async def test_a_load_that_fails_or_is_cancelled_gives_its_connection_back(dsn: str, witness: Witness) -> None:
    """It ends its transaction, so that the pool need not replace the connection; statements that are out of date are prepared anew."""
    process = sql("SELECT pg_backend_pid()").returns(int)
    nested = FILMS.load(Film.credits.load(Credit.person), Film.poster)
    async with open_database(dsn, max_size=1) as db:
        await opened(db)
        before = await db.fetch_value(process)
        await db.fetch_all(nested)
        witness.run("ALTER TABLE posters RENAME TO elsewhere")
        with pytest.raises(DatabaseError, match="posters"):
            await db.fetch_all(nested)
        witness.run("ALTER TABLE elsewhere RENAME TO posters")
        await db.execute(sql("DEALLOCATE ALL"))
        assert [film.poster is None for film in await db.fetch_all(nested)] == [False, True, True]
        async with anyio.create_task_group() as nursery:
            with witness.locked("people"):
                nursery.start_soon(db.fetch_all, nested)
                await witness.until_waiting(before, "relation")
                nursery.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await witness.until("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s AND state <> 'idle')", before)
        assert await db.fetch_value(process) == before


async def test_objects_in_hand_get_all_of_a_load_or_nothing_when_it_is_cancelled(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await opened(db)
        tries: list[list[Film]] = []

        def make_operation(_k: int) -> Awaitable[None]:
            async def operation() -> None:
                films = await db.fetch_all(FILMS)
                tries.append(films)
                await db.load(films, Film.credits.load(Credit.person), Film.genres)

            return operation()

        def is_there(owner: object, attribute: str) -> bool:
            try:
                getattr(owner, attribute)
            except RelationNotLoaded:
                return False
            return True

        async def check(_run: SweepRun) -> None:
            await pool_is_whole(db.statistics)
            for films in tries:
                there = {is_there(film, name) for film in films for name in ("credits", "genres")}
                assert len(there) == 1
                assert there == {False} or all(is_there(credit, "person") for film in films for credit in film.credits)

        report = await sweep(make_operation, check=check, may_absorb=True)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())


async def test_a_load_of_a_known_form_builds_no_statement(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def page(db: Database, films: Select[Film], most: int, role: Role) -> Film:
        credits = Film.credits.where(Credit.role == role).order_by(Credit.id).limit(most)
        return await db.fetch_one(films.load(Film.cast, credits.load(Credit.person), Film.genres))

    def build(*_args: object) -> None:
        raise AssertionError("a statement was built")

    async with open_database(dsn) as db:
        await opened(db)
        for films in (select(Film).where(Film.id == 1), select(Film).where(Film.id < 2)):
            await page(db, films, 9, Role.DIRECTOR)
            with monkeypatch.context() as patched:
                patched.setattr("trioorm.database.load_plan.find_related", build)
                patched.setattr("trioorm.query.uniting.find_for_one", build)
                film = await page(db, films, 1, Role.CAST)
                assert [credit.person.name for credit in film.credits] == ["Weaver"], "with the values of this time"
                with pytest.raises(AssertionError, match="was built"):
                    await db.fetch_one(films.load(Film.cast, Film.poster))


class Gauge(Model, table="gauges"):
    value: Column[float] = column(primary_key=True)
    label: Column[str] = column(type=CHAR(3))

    readings: Many["Reading"] = has_many(order_by=lambda: Reading.id)
    notes: Many["Note"] = has_many(foreign_key="label")


class Reading(Model, table="readings"):
    id: Column[int] = column(primary_key=True)
    value: Column[float] = column(references=Gauge.value)

    gauge: One[Gauge] = belongs_to()


class Note(Model, table="notes"):
    id: Column[int] = column(primary_key=True)
    label: Column[str] = column(type=CHAR(5))

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        yield foreign_key(cls.label, references=(Gauge.label,))


async def test_keys_that_no_text_holds_exactly_are_sent(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    third = 1 / 3
    async with open_database(dsn, configure=_few_digits) as db:
        await db.create_schema(Gauge, Reading)
        await db.insert(Gauge(value=third, label="a"))
        await db.insert_many([Reading(id=1, value=third), Reading(id=2, value=third)])
        noted = Flights(monkeypatch)
        statement = select(Reading).order_by(Reading.id).load(Reading.gauge.load(Gauge.readings))
        one, other = await db.fetch_all(statement)
        assert one.gauge is other.gauge
        assert one.gauge.readings == [one, other]
        assert [flight for flight in noted.sent if flight[0] == "BEGIN"] == [["BEGIN", "SELECT", "COMMIT"]] * 3
        plan = await db.explain(statement)
        assert plan.loads[0].plan.flight == 2
        assert "are sent" in plan.loads[0].why


async def _few_digits(connection: Connection) -> None:
    await connection.execute("SET extra_float_digits = 0")


async def test_what_only_the_server_takes_for_equal_says_so(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.execute(sql("CREATE TABLE gauges (value float8 PRIMARY KEY, label char(3) NOT NULL UNIQUE)"))
        await db.execute(sql("CREATE TABLE notes (id int8 PRIMARY KEY, label char(5) NOT NULL)"))
        await db.insert(Gauge(value=1.0, label="a"))
        await db.insert(Note(id=1, label="a"))
        with pytest.raises(QueryError, match=r"Gauge\.notes: the server found rows for a key that it takes for equal"):
            await db.fetch_all(select(Gauge).load(Gauge.notes))


async def test_rows_of_an_order_that_leaves_them_equal_keep_what_is_theirs(dsn: str) -> None:
    """The select gives other films each time that it runs, and is run once only."""
    async with open_database(dsn) as db:
        await opened(db)
        await db.insert_many([Film(id=number, title="") for number in range(10, 1000)])
        await db.insert_many([Credit(id=number, film_id=number, person_id=1) for number in range(10, 1000)])
        for order in (func.random(returns=float), Film.title):
            films = await db.fetch_all(select(Film).where(Film.id > 9).order_by(order).limit(7).load(Film.credits.load(Credit.person)))
            assert [(credit.id, credit.person.id) for film in films for credit in film.credits] == [(film.id, 1) for film in films]
            assert len(films) == 7


async def test_loads_travel_in_flights_of_others(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        noted = Flights(monkeypatch)
        async with db.transaction() as tx:
            async with tx.flight() as flight:
                films = flight.fetch_all(FILMS.load(Film.credits.order_by(Credit.id).load(Credit.person)))
                person = flight.fetch_one(select(Person).where(Person.id == 1).load(Person.friends, Person.credits.load(Credit.film)))
                nobody = flight.fetch_optional(select(Film).where(Film.id == 99).load(Film.genres))
                total = flight.fetch_value(select(count()).from_(Film))
        assert [len([text for text in sent if text in ("WITH", "SELECT")]) for sent in noted.sent[:1]] == [3 + 1 + 1 + 1], (
            "by a key it is one"
        )
        assert [[credit.person.name for credit in film.credits] for film in films.value] == [["Scott", "Weaver", "Holm"], ["Weaver"], []]
        assert ([friend.name for friend in person.value.friends], nobody.value, total.value) == (["Holm", "Agent"], None, 3)
        assert [credit.film.title for credit in person.value.credits] == ["Alien", "Aliens"]
        with pytest.raises(TooManyRows, match="3 rows were found where one"):
            async with db.flight() as other:
                other.fetch_one(FILMS.load(Film.poster))


async def test_nothing_is_sent_for_nobody(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        noted = Flights(monkeypatch)
        for nobody in (Film.id > 99, literal(value=False), Film.id.is_null()):  # the planner sees that of the last two
            assert await db.fetch_all(select(Film).where(nobody).load(Film.credits.load(Credit.person))) == []
        (alien,) = await db.fetch_all(select(Film).where(Film.id == 1).load(Film.sequel_of.load(Film.credits)))
        await db.load([], Film.credits)
        await db.load([alien], Film.sequel_of.load(Film.credits))
        assert (alien.sequel_of, len(noted.sent)) == (None, 4)


async def test_a_nested_load_cancelled_anywhere(dsn: str) -> None:
    """In a transaction and outside of one: the pool is whole, and what is loaded next is whole too."""
    nested = FILMS.load(Film.credits.order_by(Credit.id).load(Credit.person), Film.cast.limit(1))
    by_key = select(Film).where(Film.id == 1).load(Film.credits.load(Credit.person), Film.cast_count)
    with psycopg.connect(dsn, autocommit=True) as connection:
        async with open_database(dsn, max_size=2) as db:
            await opened(db)

            async def operation() -> None:
                films = await db.fetch_all(nested)
                await db.fetch_one(by_key)
                async with db.transaction() as tx:
                    await tx.load(films, Film.genres, Film.credits.order_by(Credit.id).load(Credit.film))

            def make_operation(_k: int) -> Awaitable[None]:
                return operation()

            async def check(_run: SweepRun) -> None:
                await pool_is_whole(db.statistics)
                await server_is_quiet(connection)
                films = await db.fetch_all(nested)
                assert [[credit.person.name for credit in film.credits] for film in films] == [["Scott", "Weaver", "Holm"], ["Weaver"], []]

            report = await sweep(make_operation, check=check, may_absorb=True)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())
