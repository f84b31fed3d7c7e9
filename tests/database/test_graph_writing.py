"""Graphs of objects, inserted; and the rows between two objects, replaced."""

from collections.abc import Awaitable, Callable

import anyio
import psycopg
import pytest

from tests.database.library import MODELS, Chicken, Credit, Egg, Film, FilmGenre, Genre, Hall, Label, Labelling, Person, Poster, Role, Seat
from tests.query.shop import unchecked
from tests.transaction.conftest import Flights
from tests.transaction.conftest import flights as flights
from tests.wire.witness import Witness
from trioorm import (
    ForeignKeyViolation,
    LinkChanges,
    Load,
    NoRowFound,
    NotNullViolation,
    QueryError,
    RelationNotLoaded,
    UniqueViolation,
    count,
    evolve,
    insert,
    open_database,
    select,
    sql,
)
from trioorm.testing import SweepRun, available_cancellations, pool_is_whole, server_is_quiet, sweep


def credit(person: Person, role: Role = Role.CAST) -> Credit:
    made = Credit(role=role)
    object.__setattr__(made, "person", person)  # it is frozen
    return made


def alien() -> Film:
    """A film with all that belongs to it, none of it stored."""
    scott, weaver = Person(name="Scott"), Person(name="Weaver")
    film = Film(title="Alien")
    film.credits = [credit(scott, Role.DIRECTOR), credit(weaver), credit(weaver)]
    film.genres = [Genre(name="horror"), Genre(name="space")]
    film.poster = Poster(words="In space")
    return film


WHOLE: list[Load[Film]] = [Film.credits.load(Credit.person), Film.genres, Film.poster]


async def test_a_graph_is_inserted_in_the_order_of_its_keys(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(*MODELS)
        given = alien()
        noted = Flights(monkeypatch)
        async with db.transaction() as tx:
            film = await tx.insert(given, with_=WHOLE)
        assert [flight.count("INSERT") for flight in noted.sent] == [3, 3, 0], "two levels of keys, and COMMIT"
        assert [one.film_id for one in film.credits] == [film.id] * 3
        assert [one.person.name for one in film.credits] == ["Scott", "Weaver", "Weaver"]
        assert film.credits[1].person is film.credits[2].person, "one object is one row"
        assert [one.person_id for one in film.credits] == [one.person.id for one in film.credits]
        assert (film.poster is not None and film.poster.film_id, [genre.name for genre in film.genres]) == (film.id, ["horror", "space"])

        loaded = await db.fetch_one(select(Film).load(*WHOLE))
        assert (loaded, loaded.credits, loaded.genres, loaded.poster) == (film, film.credits, film.genres, film.poster)
        assert [one.person for one in loaded.credits] == [one.person for one in film.credits]
        assert await db.fetch_value(select(count()).from_(Person)) == 2

        assert given == Film(title="Alien"), "what was given is as it was"
        assert (given.credits[0] == Credit(role=Role.DIRECTOR), given.genres[0] == Genre(name="horror")) == (True, True)
        with pytest.raises(RelationNotLoaded):
            _ = film.sequels


async def test_the_number_of_statements_does_not_depend_on_the_number_of_objects(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(*MODELS)
        noted = Flights(monkeypatch)
        films = await db.insert_many([alien() for _ in range(50)], with_=WHOLE)
        assert sum(flight.count("INSERT") for flight in noted.sent) == 6
        assert len(noted.sent) == 3
        assert len({one.id for film in films for one in film.credits}) == 150
        loaded = await db.fetch_all(select(Film).order_by(Film.id).load(*WHOLE))
        assert [[one.person for one in film.credits] for film in loaded] == [[one.person for one in film.credits] for film in films]


async def test_what_is_stored_is_referred_to(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(*MODELS)
        weaver = await db.insert(Person(name="Weaver"))
        horror = await db.insert(Genre(name="horror"))
        first = await db.insert(Film(title="Alien"))
        film = Film(title="Aliens")
        film.credits, film.genres, film.sequel_of = [credit(weaver)], [horror, Genre(name="action")], first
        film.labels = [await db.insert(Label(name="good"))]
        film = await db.insert(film, with_=[Film.credits.load(Credit.person), Film.genres, Film.sequel_of, Film.labels])
        assert film.credits[0].person is weaver
        assert (film.genres[0] is horror, film.sequel_of is first, film.sequel_of_id) == (True, True, first.id)
        assert await db.fetch_value(select(count()).from_(Person)) == 1
        assert await db.fetch_one(select(Labelling)) == Labelling(film_id=film.id, name="good", weight=7), "with the model's own defaults"
        with pytest.raises(ForeignKeyViolation):
            missing = Film(title="x")
            missing.labels = [Label(name="a key of Python's says nothing about being stored")]
            await db.insert(missing, with_=[Film.labels])


async def test_circles_and_both_directions(dsn: str) -> None:
    """A relation and its inverse name one key, and one row in between; a model leads to itself."""
    async with open_database(dsn) as db:
        await db.create_schema(*MODELS)
        film, weaver, horror = Film(title="Alien"), Person(name="Weaver"), Genre(name="horror")
        shared = credit(weaver)
        object.__setattr__(shared, "film", film)
        film.credits, weaver.credits, weaver.friends = [shared], [shared], [weaver]
        film.genres, horror.films = [horror], [film]
        second, third = Film(title="Aliens"), Film(title="Alien 3")
        film.sequels, second.sequels, third.sequels = [second], [third], []
        made = await db.insert(
            film,
            with_=[
                Film.credits.load(Credit.film, Credit.person.load(Person.credits, Person.friends)),
                Film.genres.load(Genre.films),
                Film.sequels.load(Film.sequels),
            ],
        )
        assert (made.credits[0].film is made, made.credits[0].person.credits == made.credits, made.genres[0].films == [made]) == (True,) * 3
        assert made.credits[0].person.friends == [made.credits[0].person]
        assert (made.sequels[0].sequel_of_id, made.sequels[0].sequels[0].sequel_of_id) == (made.id, made.sequels[0].id)
        assert await db.fetch_value(select(count()).from_(FilmGenre)) == 1


async def test_keys_of_several_columns_and_one_to_one(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(*MODELS)
        hall = Hall(house="a", number=2)
        hall.seats = [Seat(), Seat(house="a")]
        hall = await db.insert(hall, with_=[Hall.seats])
        assert [(seat.house, seat.hall_number) for seat in hall.seats] == [("a", 2)] * 2
        bare = Film(title="x")
        bare.poster, bare.credits, bare.sequel_of = None, [], None
        bare = await db.insert(bare, with_=[Film.poster, Film.credits, Film.sequel_of])
        assert (bare.poster, bare.credits, bare.sequel_of) == (None, [], None)
        poster = Poster(words="x")
        poster.film = Film(title="y")
        poster = await db.insert(poster, with_=[Poster.film])
        assert poster.film_id == poster.film.id


async def test_everything_or_nothing_and_the_object_that_was_wrong(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(*MODELS)
        await db.execute(sql("ALTER TABLE credits ADD CONSTRAINT credits_agent_id_key UNIQUE (agent_id)"))
        agent = await db.insert(Person(name="Agent"))
        film = alien()
        film.credits = [evolve(one, agent_id=agent.id) for one in film.credits[1:]]
        for one in film.credits:
            object.__setattr__(one, "person", agent)
        with pytest.raises(UniqueViolation, match=r"It is about Credit\.agent_id") as raised:
            await db.insert(film, with_=[Film.credits.load(Credit.person), Film.genres])
        assert raised.value.rows == (0, 1)
        assert [await db.fetch_value(select(count()).from_(model)) for model in (Film, Genre, Credit)] == [0, 0, 0]
        with pytest.raises(NotNullViolation):
            await db.insert(Credit(role=Role.CAST))


def wrong(change: Callable[[Film], object]) -> Film:
    film = alien()
    change(film)
    return film


def circle() -> Chicken:
    chicken, egg = Chicken(), Egg()
    chicken.egg, egg.chicken = egg, chicken
    return chicken


def set_credits(value: object) -> Callable[[Film], object]:
    return lambda film: setattr(film, "credits", value)


async def test_what_is_refused_before_anything_is_sent(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    two = Film(title="two")
    two.credits = alien().credits
    agent = alien()
    agent.credits = [evolve(agent.credits[0], agent_id=4)]
    object.__setattr__(agent.credits[0], "agent", None)
    stored = evolve(Person(name="x"), id=5)
    stored.friends = [Person(name="new")]
    befriended = wrong(set_credits([credit(stored)]))
    incomplete = wrong(set_credits([Credit(role=Role.CAST)]))
    shared = alien().credits
    one, other = wrong(set_credits(shared)), wrong(set_credits(shared))
    async with open_database(dsn) as db:
        noted = Flights(monkeypatch)
        for objects, relations, message in (
            ([Film(title="x")], [Film.credits], r"Film\.credits too, which was not set on this Film.*film\.credits = \[\]"),
            ([alien()], [Film.sequel_of], r"film\.sequel_of = \.\.\."),
            ([wrong(set_credits(3))], [Film.credits], "is a int"),
            ([wrong(set_credits([Person(name="x")]))], [Film.credits], r"Film\.credits holds a Person, and it leads to Credit"),
            ([wrong(set_credits([None]))], [Film.credits], "holds a NoneType"),
            ([wrong(set_credits([credit(unchecked(None))]))], [Film.credits.load(Credit.person)], r"Credit\.person is never None"),
            ([agent], [Film.credits.load(Credit.agent)], "whose agent_id says otherwise"),
            ([incomplete], [Film.credits], "this Credit has no value for person_id, and no relation"),
            ([alien()], [Film.credits.limit(1)], "takes Film.credits as it is"),
            ([alien()], [Film.credits.where(Credit.role == Role.CAST)], "has a condition, order or limit"),
            ([wrong(lambda film: setattr(film, "cast", []))], [Film.cast], r"for Film\.cast: it has a condition"),
            ([wrong(lambda film: setattr(film, "people", []))], [Film.people], r"Credit for Film\.people: role of Credit has no default"),
            ([befriended], [Film.credits.load(Credit.person.load(Person.friends))], "of a Person that is stored already"),
            ([circle()], [Chicken.egg.load(Egg.chicken)], "because the key of this Chicken needs that of this Egg needs that of this"),
            ([one, other], [Film.credits.load(Credit.person)], r"Credit\.film_id would get its value .*, from another Film"),
            ([wrong(set_credits([evolve(shared[0], film_id=3)]))], [Film.credits], "would get its value from Film.credits, and has one"),
            ([alien()], [Credit.film], "would load Credit.film onto Film"),
            ([alien()], [Film.id], "takes relations, and got"),
        ):  # fmt: skip
            with pytest.raises(QueryError, match=f"(?s){message}"):
                await unchecked(db).insert_many(objects, with_=relations)
        with pytest.raises(QueryError, match="not the class Film"):
            await unchecked(db).insert(Film, with_=WHOLE)
        assert noted.sent == []


async def test_a_graph_cancelled_anywhere(dsn: str) -> None:
    """In a transaction of its own: all of it or nothing."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        async with open_database(dsn, max_size=2) as db:
            await db.create_schema(*MODELS)

            async def operation() -> None:
                film = await db.insert(alien(), with_=WHOLE)
                assert len(film.credits) == 3

            def make_operation(_k: int) -> Awaitable[None]:
                return operation()

            async def check(run: SweepRun) -> None:
                await pool_is_whole(db.statistics)
                await server_is_quiet(connection)
                counted = [await db.fetch_value(select(count()).from_(model)) for model in (Film, Credit, Person, Genre, FilmGenre, Poster)]
                assert counted == ([1, 3, 2, 2, 2, 1] if run.ended_normally else [0] * 6)
                connection.execute("TRUNCATE films, people, credits, genres, film_genre, labels, labellings, posters, seats, friends")

            report = await sweep(make_operation, check=check, may_absorb=True)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())


# Links.


async def test_links_become_exactly_these(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(*MODELS)
        genres = await db.insert_many([Genre(name=name) for name in "abcd"])
        film, other = await db.insert_many([Film(title="Alien"), Film(title="Aliens")])
        await db.replace_links(other, Film.genres, genres)

        async def held() -> list[str]:
            await db.load([film], Film.genres)
            return [genre.name for genre in film.genres]

        assert await db.replace_links(film, Film.genres, genres[:2]) == LinkChanges(added=2, removed=0)
        assert await held() == ["a", "b"]
        noted = Flights(monkeypatch)
        async with db.transaction() as tx:
            assert await tx.replace_links(film, Film.genres, [genres[1], genres[2], genres[2]]) == LinkChanges(added=1, removed=1)
        assert [flight.count("DELETE") + flight.count("INSERT") for flight in noted.sent] == [0, 2, 0], "what is there is read with BEGIN"
        assert await held() == ["b", "c"]
        del noted.sent[:]
        assert await db.replace_links(film, Film.genres, genres[1:3]) == LinkChanges(added=0, removed=0)
        assert {"INSERT", "DELETE"}.isdisjoint(word for flight in noted.sent for word in flight)
        assert await db.replace_links(film, Film.genres, []) == LinkChanges(added=0, removed=2)
        assert await held() == []
        await db.load([other], Film.genres)
        assert len(other.genres) == 4, "others' links are left alone"
        assert await db.replace_links(genres[0], Genre.films, [film]) == LinkChanges(added=1, removed=1), "from the other side"


async def test_links_with_columns_of_their_own(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(*MODELS)
        good, bad = await db.insert_many([Label(name="good"), Label(name="bad")])
        film = await db.insert(Film(title="Alien"))
        await db.execute(insert(Labelling).values(Labelling(film_id=film.id, name="good", weight=1)))
        assert await db.replace_links(film, Film.labels, [good, bad]) == LinkChanges(added=1, removed=0)
        rows = await db.fetch_all(select(Labelling.name, Labelling.weight).order_by(Labelling.name))
        assert rows == [("bad", 7), ("good", 1)], "what was there keeps its columns"


async def test_links_that_cannot_be_replaced(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(*MODELS)
        film = await db.insert(Film(title="Alien"))
        replace = unchecked(db).replace_links
        for owner, relation, targets, message in (
            (film, Film.credits, [], "got Film.credits, which is a has_many"),
            (film, Film.sequel_of, [], "which is a belongs_to"),
            (film, Film.cast, [], "it has a condition"),
            (film, Film.people, [], "role of Credit has no default"),
            (film, Film.genres.limit(1), [], "as it is"),
            (film, Film.genres, [Genre(name="x")], "not stored yet"),
            (Film(title="x"), Film.genres, [], "not stored yet"),
            (film, Film.genres, [Person(name="x")], "leads to Genre, and replace_links.* was given a Person"),
            (film, Genre.films, [], "would load Genre.films onto Film"),
            (Film, Film.genres, [], "not the class Film"),
        ):  # fmt: skip
            with pytest.raises(QueryError, match=message):
                await replace(owner, relation, targets)
        with pytest.raises(NoRowFound, match=r"Film whose genres are to be replaced"):
            await db.replace_links(evolve(film, id=99), Film.genres, [])
        with pytest.raises(ForeignKeyViolation):
            await db.replace_links(film, Film.labels, [Label(name="nowhere")])


async def test_two_who_replace_the_same_links_go_one_after_the_other(dsn: str, witness: Witness) -> None:
    async with open_database(dsn, max_size=4) as db:
        await db.create_schema(*MODELS)
        genres = await db.insert_many([Genre(name=name) for name in "abcd"])
        film = await db.insert(Film(title="Alien"))
        async with anyio.create_task_group() as nursery:
            async with db.transaction() as tx:
                await tx.replace_links(film, Film.genres, genres[:3])
                nursery.start_soon(db.replace_links, film, Film.genres, genres[1:])
                await witness.until("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')")
        await db.load([film], Film.genres)
        assert [genre.name for genre in film.genres] == ["b", "c", "d"]


async def test_replacing_links_cancelled_anywhere(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        async with open_database(dsn, max_size=2) as db:
            await db.create_schema(*MODELS)
            genres = await db.insert_many([Genre(name=name) for name in "ab"])
            film = await db.insert(Film(title="Alien"))
            await db.replace_links(film, Film.genres, genres[:1])

            async def operation() -> None:
                await db.replace_links(film, Film.genres, genres[1:])

            def make_operation(_k: int) -> Awaitable[None]:
                return operation()

            async def check(run: SweepRun) -> None:
                await pool_is_whole(db.statistics)
                await server_is_quiet(connection)
                await db.load([film], Film.genres)
                assert [genre.name for genre in film.genres] == (["b"] if run.ended_normally else ["a"])
                await db.replace_links(film, Film.genres, genres[:1])

            report = await sweep(make_operation, check=check, may_absorb=True)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())
