"""The repeat detector: what it counts, where, and what it says."""

import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable  # noqa: TC003 - of a local variable
from pathlib import Path

import anyio
import pytest

from tests.database.cinema import MODELS, Credit, Film, Person, fill
from tests.query.shop import unchecked
from trioorm import Database, RepeatedStatement, delete, evolve, open_database, select, update
from trioorm.database.repeats import OPEN_SCOPES
from trioorm.errors import UsageError

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


async def opened(db: Database) -> None:
    await db.create_schema(*MODELS)
    await fill(db)


async def people_one_by_one(db: Database, times: int) -> None:
    for _ in range(times):
        await db.get(Person, 1)


async def test_the_call_that_is_one_too_many_raises_with_the_line_and_the_batch_form(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        line = people_one_by_one.__code__.co_firstlineno + 2
        with pytest.raises(RepeatedStatement, match=r"has sent this 3 times, .*\(limit=3\) allows no more:\nget\(Person\)\n") as raised:
            async with db.no_repeats():
                await people_one_by_one(db, 9)
        assert (raised.value.place, raised.value.times) == (f"{__file__}:{line}", 4)
        assert "fetch_all(select(Person).where(Person.id.in_([...])))" in str(raised.value)
        async with db.no_repeats(limit=9):
            await people_one_by_one(db, 9)
        await people_one_by_one(db, 9)
        assert OPEN_SCOPES == []
        with pytest.raises(UsageError, match="how often"):
            db.no_repeats(limit=0)


async def test_each_verb_is_counted(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        film = await db.get(Film, 1)
        genres = (await db.fetch_one(select(Film).where(Film.id == 1).load(Film.genres))).genres

        async def stream() -> None:
            async with db.stream(select(Film).where(Film.id == 1)) as films:
                assert [film async for film in films] == [film]

        async def copy_out() -> None:
            async with db.copy_out(select(Film.id), format="csv") as blocks:
                assert b"1" in b"".join([block async for block in blocks])

        async def fly() -> None:
            async with db.flight() as flight:
                flight.get(Film, 1)
                flight.fetch_all(select(Person))

        verbs: list[tuple[Callable[[], Awaitable[object]], str]] = [
            (lambda: db.fetch_all(select(Film).where(Film.id == 1)), r"SELECT .*\.in_\("),
            (lambda: db.fetch_all(select(Film).where(Film.id == 1).load(Film.credits)), r"\.load\("),
            (lambda: db.fetch_one(select(Film).where(Film.id == 1)), "SELECT"),
            (lambda: db.fetch_optional(select(Film).where(Film.id == 1)), "SELECT"),
            (lambda: db.fetch_value(select(Film.title).where(Film.id == 1)), "SELECT"),
            (lambda: db.execute(update(Film).set(Film.title, "x").where(Film.id == 9)), "UPDATE"),
            (stream, "SELECT"),
            (lambda: db.load([film], Film.credits.load(Credit.person)), r"load\(Film, Film\.credits\.load\(Credit\.person\)\)"),
            (lambda: db.insert(Person(id=next(ids), name="x")), r"insert_many\(\[\.\.\.\]\) of all Persons"),
            (lambda: db.insert_many([Person(id=next(ids), name="x")]), r"insert_many\(\) once"),
            (lambda: db.update(film), "update_many"),
            (lambda: db.update(evolve(film, title="y"), since=film), "update_many"),
            (lambda: db.update_many([film]), r"update_many\(\) once"),
            (lambda: db.patch(Film, 1, title="x"), r"update\(Film\)\.set_each"),
            (lambda: db.upsert(film), r"copy_in\(Film, \[\.\.\.\], on_conflict"),
            (lambda: db.replace_links(film, Film.genres, genres), "replace_links"),
            (lambda: db.copy_in(Person, [Person(id=next(ids), name="x")]), r"copy_in\(Person\)(.|\n)*of all rows"),
            (copy_out, "SELECT"),
            (fly, r"a flight of 2, the first of them(.|\n)*one flight around the loop"),
            (lambda: db.fetch_many(select(Film), select(Person)), "a flight of 2"),
        ]  # fmt: skip
        ids = iter(range(100, 200))
        for verb, said in verbs:
            async with db.no_repeats(limit=2):
                await verb()
                await verb()
            with pytest.raises(RepeatedStatement, match=f"(?s){said}"):
                async with db.no_repeats(limit=2):
                    for _ in range(3):
                        await verb()
        with pytest.raises(RepeatedStatement, match=r"delete\(Person\)\.where\(Person\.id\.in_"):
            async with db.no_repeats(limit=1):
                for person in await db.fetch_all(select(Person).where(Person.id >= 100)):
                    await db.delete(person)
        assert len(await db.fetch_all(select(Person).where(Person.id >= 100))) > 1, "nothing was sent for the second"


async def test_other_lines_other_statements_and_what_travels_together_are_no_repeats(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        async with db.no_repeats(limit=1):
            await db.get(Film, 1)
            await db.get(Film, 1)
            for statement in (select(Film), select(Film.id), select(Film).where(Film.id > 1), select(Film).load(Film.credits)):
                await db.fetch_all(statement)
            await db.fetch_all(select(Person).load(Person.friends.load(Person.friends.load(Person.friends))))
            async with db.flight() as flight:
                for number in (1, 2, 3):
                    flight.get(Film, number)
            await db.insert_many([Person(id=number, name="x") for number in range(10, 20)])
            await db.execute(delete(Person).where(Person.id >= 10))


async def test_tasks_that_are_started_inside_count_and_others_do_not(dsn: str) -> None:
    async with open_database(dsn, max_size=4) as db:
        await opened(db)
        async with anyio.create_task_group() as nursery, db.no_repeats(limit=8):
            async with anyio.create_task_group() as inner:
                for _ in range(4):
                    inner.start_soon(people_one_by_one, db, 2)
            with pytest.raises(RepeatedStatement):
                await people_one_by_one(db, 1)
            del nursery
            with pytest.raises(RepeatedStatement):
                async with db.transaction() as tx:
                    await people_one_by_one(unchecked(tx), 1)
            # The block's own end would raise what was swallowed here.
            unchecked(OPEN_SCOPES[0])._found = None

        async def elsewhere() -> None:
            await entered.wait()
            await people_one_by_one(db, 9)
            done.set()

        entered, done = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(elsewhere)
            async with db.no_repeats(limit=1):
                entered.set()
                await done.wait()


async def test_a_scope_that_only_reports_says_it_once(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        async with db.no_repeats(limit=2, raises=False):
            await people_one_by_one(db, 9)
            await db.get(Film, 1)
        (record,) = [found for found in caplog.records if found.name == "trioorm.database"]
        assert record.levelname == "WARNING"
        assert (
            f"{__file__}:{people_one_by_one.__code__.co_firstlineno + 2} has sent this 2 times, and sends it again" in record.getMessage()
        )
        assert "fetch_all(select(Person).where(Person.id.in_([...])))" in record.getMessage()
        with pytest.raises(RepeatedStatement):
            async with db.no_repeats(limit=2), db.no_repeats(limit=1, raises=False):
                await people_one_by_one(db, 3)


async def test_what_is_swallowed_is_raised_by_the_end_of_the_block(dsn: str) -> None:
    async with open_database(dsn) as db:
        await opened(db)
        with pytest.raises(RepeatedStatement, match="has sent this 1 times"):
            async with db.no_repeats(limit=1):
                for _ in range(3):
                    try:
                        await db.get(Film, 1)
                    except RepeatedStatement:
                        pass
        with pytest.raises(ZeroDivisionError):
            async with db.no_repeats(limit=1):
                try:
                    await people_one_by_one(db, 2)
                except RepeatedStatement:
                    raise ZeroDivisionError from None
        with pytest.raises(RepeatedStatement):
            async with db.no_repeats(limit=1):
                async with db.no_repeats(limit=5):
                    await people_one_by_one(db, 2)
        async with open_database(dsn) as other:
            async with other.no_repeats(limit=1):
                await people_one_by_one(db, 3)
        assert OPEN_SCOPES == []


@pytest.mark.parametrize("event_loop", ["asyncio", "trio"])
def test_the_fixture_of_the_page(event_loop: str, dsn: str, tmp_path: Path) -> None:
    (fixture,) = re.findall(r"```python\n(# A conftest\.py\.\n.*?)```", PAGE.read_text(), re.DOTALL)
    loop = f"\n@pytest.fixture\ndef anyio_backend():\n    return {event_loop!r}\n\n@pytest.fixture\ndef address():\n    return {dsn!r}\n"
    (tmp_path / "conftest.py").write_text(fixture + loop)
    (tmp_path / "test_it.py").write_text(
        "import pytest\nfrom trioorm import sql\npytestmark = pytest.mark.anyio\n\n"
        "async def many(db, times):\n    for number in range(times):\n"
        "        await db.fetch_all(sql('SELECT {x}', x=number))\n\nasync def test_few(db):\n    await many(db, 3)\n\n"
        "async def test_many(db):\n    await many(db, 4)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:trio", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ), timeout=60, check=False)
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout
    assert "has sent this 3 times, and would send it again" in ran.stdout
