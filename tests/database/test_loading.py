"""Relations: what is loaded, in how many flights, and what is refused."""

import sys

import anyio
import attrs
import psycopg
import pytest

from tests.database.cinema import MODELS, Credit, Film, Hall, Person, Poster, Role, Seat, fill
from tests.query.shop import unchecked
from tests.transaction.conftest import flights as flights
from tests.transaction.conftest import witness as witness
from trioorm import (
    UNSET,
    Database,
    DatabaseError,
    NoRowFound,
    QueryError,
    RelationNotLoaded,
    TooManyRows,
    TransactionBusy,
    alias,
    delete,
    func,
    literal,
    max_,
    open_database,
    select,
    sql,
    update,
)
from trioorm.errors import UsageError
from trioorm.testing import SweepRun, available_cancellations, pool_is_whole, server_is_quiet, sweep


async def opened(db: Database) -> None:
    await db.create_schema(*MODELS)
    await fill(db)


FILMS = select(Film).order_by(Film.id)


async def test_every_kind_of_relation_is_loaded(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        alien, aliens, third = await db.fetch_all(
            FILMS.load(
                Film.credits.order_by(Credit.id).load(Credit.person, Credit.agent),
                Film.cast, Film.genres, Film.poster, Film.first_credit, Film.sequel_of, Film.sequels,
            )
        )  # fmt: skip
        assert [credit.person.name for credit in alien.credits] == ["Scott", "Weaver", "Holm"]
        assert [credit.agent.name if credit.agent else None for credit in alien.credits] == [None, "Agent", None]
        assert [person.name for person in alien.cast] == ["Weaver", "Holm"], "filtered and ordered by columns of the link"
        assert [genre.name for genre in aliens.genres] == ["action", "horror"], "through a table without a model"
        assert alien.poster is not None
        assert (alien.poster.words.split()[0], aliens.poster) == ("In", None)
        assert [film.first_credit.id if film.first_credit else None for film in (alien, aliens, third)] == [1, 4, None]
        assert (alien.sequel_of, aliens.sequel_of is alien, alien.sequels == [aliens]) == (None, True, True)
        assert (third.credits, third.cast, third.genres) == ([], [], [])


async def test_several_paths_lead_to_one_model_and_a_model_leads_to_itself(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        people = select(Person).order_by(Person.id)
        weaver, _, holm, agent = await db.fetch_all(people.load(Person.credits, Person.booked, Person.friends))
        assert ([credit.id for credit in weaver.credits], weaver.booked) == ([2, 4], [])
        assert (agent.credits, [credit.id for credit in agent.booked]) == ([], [2])
        assert weaver.friends == [holm, agent]
        assert (weaver.friends[0] is holm, holm.friends[0] is weaver, agent.friends) == (True, True, [])


@pytest.mark.parametrize("limited", [False, True])
async def test_keys_of_several_columns(dsn: str, limited: bool) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        await db.insert_many([Hall(house=house, number=number) for house in "ab" for number in (1, 2)])
        await db.insert_many([Seat(id=number, house="b", hall_number=number % 2 + 1) for number in range(6)])
        seats = Hall.seats.load(Seat.hall)
        halls = await db.fetch_all(select(Hall).order_by(Hall.house, Hall.number).load(seats.limit(2) if limited else seats))
        assert [[seat.id for seat in hall.seats] for hall in halls] == [[], [], [0, 2, 4][: 3 - limited], [1, 3, 5][: 3 - limited]]
        assert all(seat.hall is hall for hall in halls for seat in hall.seats)


async def test_conditions_order_and_limit_hold_for_each_owner(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        last = Film.credits.where(Credit.role == Role.CAST).order_by(Credit.id.desc())
        assert [[credit.id for credit in film.credits] for film in await db.fetch_all(FILMS.load(last))] == [[3, 2], [4], []]
        assert [[credit.id for credit in film.credits] for film in await db.fetch_all(FILMS.load(last.limit(1)))] == [[3], [4], []]
        assert [film.credits for film in await db.fetch_all(FILMS.load(last.limit(0)))] == [[], [], []]
        assert [[person.id for person in film.cast] for film in await db.fetch_all(FILMS.load(Film.cast.limit(1)))] == [[1], [1], []]
        by_name = FILMS.load(Film.cast.order_by(Person.name))
        assert [[person.name for person in film.cast] for film in await db.fetch_all(by_name)] == [["Holm", "Weaver"], ["Weaver"], []]


async def test_counts_are_expressions(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        cast = Film.credits.where(Credit.role == Role.CAST).count()
        counted = select(Film.id, Film.credits.count(), cast, Film.cast.count(), Film.sequels.count(), Film.genres.count())
        assert await db.fetch_all(counted.order_by(Film.id)) == [(1, 3, 2, 2, 1, 1), (2, 1, 1, 1, 1, 2), (3, 0, 0, 0, 0, 0)]
        assert await db.fetch_all(select(Film.id).where(Film.credits.count() > 2)) == [1]
        friends = Person.friends.where(Person.name == "Agent").count()
        assert await db.fetch_all(select(Person.id, friends).order_by(friends.desc(), Person.id)) == [(1, 1), (2, 0), (3, 0), (4, 0)]
        with pytest.raises(QueryError, match="at most the limit"):
            Film.credits.limit(3).count()


async def test_other_aggregates_are_expressions_too(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        latest = Film.credits.aggregate(max_(Credit.position))
        names = Film.cast.where(Person.id < 3).aggregate(func.string_agg(Person.name, ", ", order_by=Person.name.desc(), returns=str))
        followed = Film.sequels.aggregate(max_(Film.id))
        rows = await db.fetch_all(select(Film, latest, names, followed).order_by(Film.id).load(Film.poster))
        assert [(film.id, *rest) for film, *rest in rows] == [(1, 2, "Weaver", 2), (2, 1, "Weaver", 3), (3, None, None, None)]
        assert [film.poster is None for film, *_ in rows] == [False, True, True]
        with pytest.raises(QueryError, match="at most the limit"):
            Film.credits.limit(3).aggregate(max_(Credit.id))


async def test_a_row_is_one_object_within_a_load(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        films = await db.fetch_all(FILMS.load(Film.credits.load(Credit.film, Credit.person.load(Person.credits.load(Credit.film)))))
        weaver = next(credit.person for credit in films[0].credits if credit.person_id == 1)
        assert films[1].credits[0].person is weaver
        assert [credit.film for credit in weaver.credits] == films[:2]
        assert all(credit.film is film for film in films for credit in film.credits)
        joined = select(Film, Credit).join(Credit, Credit.film_id == Film.id).order_by(Credit.id).load(Credit.person, Film.genres)
        pairs = await db.fetch_all(joined)
        assert [film is pairs[0][0] for film, _ in pairs] == [True, True, True, False]
        assert pairs[1][1].person is pairs[3][1].person


async def test_cyclic_graphs_print_and_compare(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        one, other = [
            await db.fetch_one(select(Film).where(Film.id == 1).load(Film.credits.load(Credit.film), Film.sequels.load(Film.sequel_of)))
            for _ in range(2)
        ]
        assert one.credits[0].film is one
        assert (one == other, repr(one)) == (True, "Film(id=1, title='Alien', sequel_of_id=None)")
        assert attrs.asdict(unchecked(one)) == {"id": 1, "title": "Alien", "sequel_of_id": None}


async def test_objects_in_hand_are_loaded_each(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        films = [await db.get(Film, 1), await db.get(Film, 1), await db.get(Film, 2)]
        await db.load(films, Film.credits.order_by(Credit.id).load(Credit.person), Film.poster)
        assert [[credit.id for credit in film.credits] for film in films] == [[1, 2, 3], [1, 2, 3], [4]]
        assert films[0].credits is not films[1].credits
        assert films[0].credits[1].person is films[2].credits[0].person
        await db.load(films, Film.credits.limit(0))
        assert films[0].credits == [], "what was there is replaced"
        with pytest.raises(QueryError, match="does not have yet"):
            await db.load([unchecked(attrs.evolve)(films[0], id=UNSET)], Film.credits)


async def test_in_a_transaction_a_savepoint_a_snapshot_and_a_stream(dsn: str) -> None:
    statement = FILMS.load(Film.credits.order_by(Credit.id).load(Credit.person))
    names = [["Scott", "Weaver", "Holm"], ["Weaver"], []]

    def named(films: list[Film]) -> list[list[str]]:
        return [[credit.person.name for credit in film.credits] for film in films]

    async with open_database(dsn) as db:
        await opened(db)
        async with db.transaction() as tx:
            await tx.execute(update(Person).set(Person.name, "Sigourney").where(Person.id == 1))
            assert named(await tx.fetch_all(statement))[1] == ["Sigourney"], "by the transaction's own eyes"
            async with tx.savepoint() as sp:
                await sp.execute(delete(Credit).everywhere())
                assert named(await sp.fetch_all(statement)) == [[], [], []]
            async with tx.stream(statement, batch_rows=2, cursor=True) as films:
                assert named([film async for film in films]) == [[], [], []]
            with pytest.raises(UsageError, match="cursor=True"):
                tx.stream(statement)
            with pytest.raises(QueryError, match="copy_out loads no relations"):
                tx.copy_out(statement)
            await tx.execute(update(Person).set(Person.name, "Weaver").where(Person.id == 1))
        await fill(db)
        async with db.snapshot() as snapshot:
            await db.execute(update(Person).set(Person.name, "changed").everywhere())
            assert named(await snapshot.fetch_all(statement)) == names, "all levels see one moment"
            async with snapshot.stream(statement, batch_rows=2) as films:
                assert named([film async for film in films]) == names
            with pytest.raises(UsageError, match="needs no cursor"):
                snapshot.stream(statement, cursor=True)
        await fill(db)
        async with db.stream(statement, batch_rows=2) as films:
            assert named([film async for film in films]) == names
        await pool_is_whole(db.statistics)


async def test_a_stream_of_a_snapshot_loads_on_its_only_connection(dsn: str) -> None:
    statement = FILMS.load(Film.cast_count, Film.credits.order_by(Credit.id).load(Credit.person))
    cursors = sql("SELECT count(*) FROM pg_cursors WHERE name LIKE 'trioorm%'").returns(int)
    async with open_database(dsn, max_size=1) as db:
        await opened(db)
        async with db.snapshot(connections=1) as snap:
            for left_after in (1, 3):
                seen: list[tuple[int, int]] = []
                async with snap.stream(statement, batch_rows=1) as films:
                    async for film in films:
                        seen.append((film.cast_count, len(film.credits)))
                        if len(seen) == left_after:
                            break
                assert seen == [(2, 3), (1, 1), (0, 0)][:left_after]
                assert await snap.fetch_value(cursors) == 0, "it went with its block"
            async with snap.stream(statement) as films:
                with pytest.raises(TransactionBusy):
                    await snap.get(Film, 1)
                assert len([film async for film in films]) == 3
            lost = select(Film).load(Film.credits.where(Credit.id / (Credit.position * 0) == 1))
            async with snap.stream(lost) as broken:
                with pytest.raises(DatabaseError, match="division by zero"):
                    await anext(broken)
            assert (await snap.fetch_one(select(Film).where(Film.id == 1).load(Film.cast_count))).cast_count == 2
        await pool_is_whole(db.statistics)


async def test_a_stream_of_a_snapshot_cancelled_anywhere(dsn: str) -> None:
    statement = FILMS.load(Film.credits.order_by(Credit.id).load(Credit.person))
    with psycopg.connect(dsn, autocommit=True) as connection:
        async with open_database(dsn, max_size=2) as db:
            await opened(db)

            async def operation() -> None:
                async with db.snapshot(connections=1) as snap:
                    async with snap.stream(statement, batch_rows=2) as films:
                        titles = [film.title async for film in films if film.credits or film.id == 3]
                    assert titles == ["Alien", "Aliens", "Alien 3"]
                    await snap.fetch_all(FILMS)

            async def check(_run: SweepRun) -> None:
                await pool_is_whole(db.statistics)
                await server_is_quiet(connection)

            report = await sweep(lambda _k: operation(), check=check, may_absorb=True)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())


async def test_an_alias_is_loaded_as_its_model_and_optional_rows_may_be_missing(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        sequel = alias(Film, "sequel")
        rows = await db.fetch_all(
            select(Film, sequel).join(sequel, sequel.sequel_of_id == Film.id).order_by(Film.id).load(Film.genres).with_total()
        )
        assert [(len(film.genres), len(after.genres), total) for film, after, total in rows] == [(1, 2, 2), (2, 0, 2)]
        assert await db.fetch_optional(select(Film).where(literal(False)).load(Film.genres)) is None


async def test_a_relation_to_one_that_finds_another_number(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        await db.execute(sql("ALTER TABLE credits DROP CONSTRAINT credits_person_id_fkey"))
        await db.execute(sql("DELETE FROM people WHERE id = 2"))
        with pytest.raises(NoRowFound, match=r"Credit\.person is never None by its annotation"):
            await db.fetch_all(select(Credit).load(Credit.person))
        await db.execute(sql("ALTER TABLE posters DROP CONSTRAINT posters_pkey"))
        await db.insert(Poster(film_id=1, words="another"))
        with pytest.raises(TooManyRows, match=r"Film\.poster leads to one Poster, and 2 rows"):
            await db.fetch_all(select(Film).load(Film.poster))


async def test_what_was_not_loaded_says_where_it_was_fetched(dsn: str) -> None:
    """By each way on which objects come, also those below others; never a line of trioorm or of an event loop."""

    async def lines(*objects: Film | Credit) -> set[int]:
        found: set[int] = set()
        for each in objects:
            with pytest.raises(RelationNotLoaded) as raised:
                _ = each.sequels if isinstance(each, Film) else each.agent
            assert raised.value.fetched_at is not None
            file, _, line = raised.value.fetched_at.rpartition(":")
            assert file == __file__
            assert f"This {type(each).__name__} was fetched at {file}:{line}.\n" in str(raised.value)
            found.add(int(line) - first)
        return found

    async with open_database(dsn) as db:
        await opened(db)
        first = sys._getframe().f_lineno  # pyright: ignore[reportPrivateUsage] - what the lines below are counted from
        assert await lines(await db.get(Film, 1)) == {1}
        assert await lines(*await db.fetch_all(FILMS)) == {2}
        loaded = await db.fetch_all(FILMS.load(Film.credits))
        assert await lines(*loaded, *loaded[0].credits) == {3}
        assert await lines(await db.insert(Film(id=77, title="x"))) == {5}
        async with db.transaction() as tx, tx.stream(FILMS, cursor=True) as films:
            async for film in films:
                assert await lines(film) == {7}
            async with tx.savepoint() as sp:
                found = await sp.fetch_optional(FILMS.limit(1))
                assert found is not None
                assert await lines(found) == {10}
        async with db.flight() as flight:
            answer = flight.get(Film, 1)
        assert await lines(answer.value) <= {13, 14}
        film = await db.get(Film, 1)
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(db.load, [film], Film.credits)
        assert await lines(film) == {16}
        with pytest.raises(RelationNotLoaded) as raised:
            _ = film.credits[0].agent
        assert raised.value.fetched_at is None, "the event loop's lines tell nothing"


def test_what_was_not_loaded_says_so() -> None:
    film = Film(id=1, title="Alien")
    with pytest.raises(RelationNotLoaded) as raised:
        _ = film.credits
    assert "Film.credits was not loaded" in str(raised.value)
    assert "select(Film).load(Film.credits)" in str(raised.value)
    assert "await db.load([film], Film.credits)" in str(raised.value)
    assert (raised.value.model, raised.value.relation) == (Film, "credits")
    assert raised.value.fetched_at is None, "nobody fetched it"
    assert not isinstance(raised.value, AttributeError)
    with pytest.raises(RelationNotLoaded):
        hasattr(film, "credits")
    assert not hasattr(film, "credit")
    film.credits = []
    assert film.credits == []


def test_what_cannot_be_loaded_is_refused_when_the_statement_is_built() -> None:
    load = unchecked(select(Film)).load
    with pytest.raises(QueryError, match=r"would load Person\.credits onto Film"):
        load(Person.credits)
    with pytest.raises(QueryError, match=r"Film\.credits\.load\(\) would load Person\.friends onto Credit"):
        unchecked(Film.credits).load(Person.friends)
    with pytest.raises(QueryError, match="takes relations, and got"):
        load(Film.id)
    with pytest.raises(QueryError, match="these hold values"):
        unchecked(select(Film.id)).load(Film.credits)
    with pytest.raises(QueryError, match="loaded in two ways"):
        load(Film.credits.limit(1).load(Credit.film.load(Film.credits)))
    with pytest.raises(QueryError, match=r"Credit\.person is never None"):
        select(Credit).load(Credit.person.where(Person.id > 1))
    with pytest.raises(QueryError, match="a whole number"):
        Film.credits.limit(-1)
    with pytest.raises(QueryError, match="on the class is no list"):
        list(unchecked(Film.credits))
    with pytest.raises(QueryError, match="into"):
        select(Film).load(Film.credits).into(unchecked(dict))
    with pytest.raises(QueryError, match="cannot be replaced"):
        unchecked(Film).credits = []
