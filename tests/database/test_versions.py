"""Objects that know of which version of their row they are, and updates of what has changed."""

import copy
import datetime
from collections.abc import Awaitable
from typing import Any

import anyio
import psycopg
import pytest

from tests.query.shop import unchecked
from tests.transaction.conftest import Flights
from tests.transaction.conftest import flights as flights
from tests.wire.witness import Witness
from trioorm import (
    UNSET,
    Column,
    Database,
    Model,
    ModelError,
    NoRowFound,
    QueryError,
    Retry,
    StaleObject,
    Transaction,
    column,
    create_schema_statements,
    delete,
    evolve,
    excluded,
    insert,
    merge,
    open_database,
    select,
    update,
)
from trioorm.database.objects import changes_of, patch_by_key, stale
from trioorm.testing import SweepRun, available_cancellations, pool_is_whole, server_is_quiet, sweep


class Film(Model, table="films"):
    id: Column[int] = column(primary_key=True, generated=True, default=UNSET)
    title: Column[str]
    year: Column[int | None] = column(default=None)
    tags: Column[list[str]] = column(default_factory=list)
    version: Column[int] = column(version=True)


class Song(Model, table="songs", frozen=True):
    """Its version is the server's own."""

    id: Column[int] = column(primary_key=True)
    title: Column[str]
    xmin: Column[int] = column(version="xmin")


class Plain(Model, table="plain"):
    id: Column[int] = column(primary_key=True)
    title: Column[str]
    at: Column[datetime.datetime | None] = column(default=None)


async def opened(db: Database) -> None:
    await db.create_schema(Film, Song, Plain)


def test_what_is_made_of_a_version() -> None:
    films, songs = create_schema_statements([Film, Song])
    assert '"version" bigint NOT NULL DEFAULT 1' in films
    assert "xmin" not in songs
    counted = '"version" = "films"."version" + 1'
    assert counted in str(update(Film).set(Film.title, "x").everywhere())
    assert counted in str(insert(Film).values(Film(title="x")).on_conflict(Film.id).do_update())
    assert counted in str(update(Film).set_each([{"id": 1, "title": "x"}]))
    assert str(update(Film).set_each([evolve(Film(id=1, title="x"), version=3)])).count("version") == 2, "counted up, not set"
    matched = merge(Film).using(Song, on=Film.id == Song.id).when_matched()
    assert counted in str(matched.update({Film.title: Song.title}))
    assert "version" not in str(matched.delete())
    assert "+ 1" not in str(update(Film).set({Film.title: "x", Film.version: 7}).everywhere()), "who sets it has said it"
    assert "xmin" not in str(update(Song).set(Song.title, "x").everywhere())


@pytest.mark.parametrize("how", [{"default": 1}, {"default": UNSET}, {"generated": True}, {"server_default": 1}, {"primary_key": True}])
def test_a_version_has_no_other_value(how: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="has its value from the server"):
        unchecked(column)(version=True, **how)


def test_a_version_that_is_none() -> None:
    with pytest.raises(ModelError, match=r"Wrong\.version is a version, which is a whole number"):

        class Wrong(Model, table="wrong"):  # pyright: ignore[reportUnusedClass] - making it is what fails
            id: Column[int] = column(primary_key=True)
            version: Column[str] = unchecked(column)(version=True)

    with pytest.raises(ModelError, match="2 versions: one, other"):

        class Twice(Model, table="twice"):  # pyright: ignore[reportUnusedClass] - making it is what fails
            id: Column[int] = column(primary_key=True)
            one: Column[int] = column(version=True)
            other: Column[int] = column(version="xmin")

    with pytest.raises(ModelError, match="xmin has its name"):

        class Named(Model, table="named"):  # pyright: ignore[reportUnusedClass] - making it is what fails
            id: Column[int] = column(primary_key=True)
            version: Column[int] = column(version="xmin", name="row_version")


async def test_a_counted_version_goes_up_with_each_write(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        film = await db.insert(Film(title="Alien"))
        assert film.version == 1
        film.title = "Alien!"
        film = await db.update(film)
        assert (film.title, film.version) == ("Alien!", 2)
        assert (await db.patch(Film, film.id, year=1979)).version == 3
        await db.execute(update(Film).set(Film.year, Film.year).everywhere())
        assert (await db.get(Film, film.id)).version == 4
        await db.copy_in(Film, [evolve(film, title="copied")], on_conflict="do_update")
        await db.execute(
            insert(Film).values(Film(id=film.id, title="x")).on_conflict(Film.id).do_update(set={Film.title: excluded(Film).title})
        )
        film = await db.get(Film, film.id)
        assert (film.title, film.version) == ("x", 6)
        one, other = await db.insert_many([Film(title="one"), Film(title="other")])
        assert (one.version, other.version) == (1, 1)


@pytest.mark.parametrize("model", [Film, Song])
async def test_a_stale_object_is_not_written(dsn: str, model: type[Film] | type[Song]) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        old = await db.insert(model(id=7, title="one"))
        fresh = await db.update(evolve(old, title="two"))

        for write in (
            lambda: db.update(evolve(old, title="three")),
            lambda: db.update(evolve(old, title="three"), since=old),
            lambda: db.delete(old),
            lambda: db.upsert(evolve(old, title="three")),
            lambda: unchecked(db.patch)(model, 7, title="three", **{version_of(model): getattr(old, version_of(model))}),
        ):
            with pytest.raises(StaleObject, match=rf"this {model.__name__} \(id=7\) was changed or deleted") as raised:
                await write()
            assert (raised.value.model, raised.value.key, raised.value.safe_to_retry) == (model, (7,), False)
            assert f"await tx.get({model.__name__}, {model.__name__.lower()}.id)" in str(raised.value)
        assert await db.get(model, 7) == fresh

        again = await db.upsert(evolve(fresh, title="four"))
        assert again.title == "four"
        patched = await unchecked(db.patch)(model, 7, title="five", **{version_of(model): getattr(again, version_of(model))})
        await db.delete(patched)
        for gone in (db.update, db.delete):
            with pytest.raises(StaleObject):
                await gone(patched)
        back = await db.upsert(patched)
        with pytest.raises(StaleObject):
            await db.update(patched)  # the row that is there now is another one
        await db.upsert(model(id=7, title="new"))  # an object of no version overwrites
        with pytest.raises(StaleObject):
            await db.delete(back)


def version_of(model: type[Film] | type[Song]) -> str:
    return "version" if model is Film else "xmin"


async def test_an_object_of_no_version_has_no_row_to_update(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        for write in (db.update, db.delete):
            with pytest.raises(QueryError, match="no version yet, which is its version"):
                await write(Film(id=1, title="x"))
        with pytest.raises(NoRowFound) as raised:
            await db.patch(Film, 1, title="x")
        assert not isinstance(raised.value, StaleObject), "no version was named"
        with pytest.raises(QueryError, match="no values"):
            await db.patch(Film, 1, version=1)


def test_a_key_of_text_is_named_and_not_shown() -> None:
    class Account(Model, table="accounts"):
        email: Column[str] = column(primary_key=True)
        version: Column[int] = column(version=True)

    error = stale(Account, ("ada@example.com",), "update", safe_to_retry=True)
    assert "Account (email) was changed" in str(error)
    assert error.key == ("ada@example.com",)


@pytest.mark.parametrize("model", [Film, Song])
async def test_of_two_transactions_the_second_is_stale(dsn: str, witness: Witness, model: type[Film] | type[Song]) -> None:
    """Both fetch, the first writes, the second waits for its row and finds it changed when the first has committed."""
    async with open_database(dsn) as db:
        await opened(db)
        await db.insert(model(id=7, title="one"))
        met: list[StaleObject] = []

        async def second() -> None:
            async with db.transaction() as tx:
                mine = await tx.get(model, 7)
                fetched.set()
                await written.wait()
                try:
                    await tx.update(evolve(mine, title="second"))
                except StaleObject as error:
                    met.append(error)

        fetched, written = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(second)
            async with db.transaction() as tx:
                mine = await tx.get(model, 7)
                await fetched.wait()
                await tx.update(evolve(mine, title="first"))
                written.set()
                await witness.until("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')")
        assert [error.safe_to_retry for error in met] == [True]
        assert (await db.get(model, 7)).title == "first"


async def test_no_change_is_lost_when_the_work_is_run_again(dsn: str) -> None:
    async with open_database(dsn, max_size=4) as db:
        await opened(db)
        film = await db.insert(Film(title="Alien", year=0))

        async def count_up(tx: Transaction) -> None:
            mine = await tx.get(Film, film.id)
            await anyio.lowlevel.checkpoint()
            await tx.update(evolve(mine, year=(mine.year or 0) + 1))

        async def many() -> None:
            for _ in range(5):
                await db.run_in_transaction(count_up, retry=Retry(max_attempts=1000))

        async with anyio.create_task_group() as nursery:
            for _ in range(4):
                nursery.start_soon(many)
        film = await db.get(Film, film.id)
        assert (film.year, film.version) == (20, 21)


async def test_a_version_of_the_server_can_be_read_like_others(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        song = await db.insert(Song(id=1, title="x"))
        assert song.xmin == await db.fetch_value(select(Song.xmin)) > 0
        inner = select(Song).cte("inner_songs")
        assert await db.fetch_one(select(inner[Song])) == song
        assert await db.fetch_all(delete(Song).where(Song.xmin == song.xmin).returning(Song)) == [song]


# What has changed since.


async def test_only_what_has_changed_is_written(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        film = await db.insert(Film(title="Alien", tags=["space"]))
        plain = await db.insert(Plain(id=1, title="x"))
        await db.patch(Plain, 1, at=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        changed = await db.update(evolve(plain, title="y"), since=plain)
        assert (changed.title, changed.at is not None, plain.title) == ("y", True, "x"), "what others wrote to other columns stays"
        before = copy.deepcopy(film)
        film.tags.append("horror")
        noted = Flights(monkeypatch)
        film = await db.update(film, since=before)
        assert (film.tags, film.version, noted.sent) == (["space", "horror"], 2, [["UPDATE"]])
        same = await db.update(film, since=film)
        assert (same == film, same is not film, len(noted.sent)) == (True, True, 1), "nothing is sent when nothing has changed"
        with pytest.raises(NoRowFound):
            await db.update(Plain(id=2, title="z"), since=Plain(id=2, title="y"))


def test_the_statement_of_an_update_since() -> None:
    one = Plain(id=1, title="x")
    assert changes_of(evolve(one), one) is None
    assert changes_of(evolve(one, title="y"), one) == {"title": "y"}
    statement = patch_by_key(Plain, (1,), {"title": "y"})
    assert str(statement).split("\nRETURNING")[0] == 'UPDATE "plain"\nSET "title" = $1\nWHERE "plain"."id" = $2'
    film = evolve(Film(id=1, title="x"), version=3)
    assert changes_of(evolve(film), film) is None
    assert changes_of(evolve(film, year=1), film) == {"year": 1, "version": 3}
    assert '"films"."version" = $3' in str(patch_by_key(Film, (1,), {"year": 1, "version": 3}))


async def test_what_an_object_cannot_be_compared_with(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        one = Plain(id=1, title="x")
        with pytest.raises(QueryError, match="was given a Song"):
            await unchecked(db).update(one, since=Song(id=1, title="x"))
        with pytest.raises(QueryError, match="a Plain of another key"):
            await db.update(one, since=Plain(id=2, title="x"))
        with pytest.raises(QueryError, match="set to UNSET"):
            await db.update(unchecked(evolve)(one, title=UNSET), since=one)


async def test_a_versioned_update_cancelled_anywhere(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        async with open_database(dsn, max_size=2) as db:
            await opened(db)
            held = [await db.insert(Film(title="0"))]

            async def operation(k: int) -> None:
                await db.update(evolve(held[0], title=str(k)), since=held[0])

            def make_operation(k: int) -> Awaitable[None]:
                return operation(k)

            async def check(run: SweepRun) -> None:
                await pool_is_whole(db.statistics)
                await server_is_quiet(connection)
                film = await db.get(Film, held[0].id)
                assert film.version == held[0].version + run.ended_normally, "written once or not at all"
                held[0] = await db.update(evolve(film, title="0"))

            report = await sweep(make_operation, check=check, may_absorb=True)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())
