"""Hostile text where it is sent by itself: settings, roles, channels, locks. What is meant happens, or is refused; nothing else does."""

import contextlib

import anyio
import pytest

from tests.database.zoo import Animal
from trioorm import BindError, DatabaseError, QueryError, identifier, open_database, select, sql

REFUSED = (DatabaseError, QueryError, BindError)
HOSTILE = [
    "'; DROP TABLE animals; --", '"; DROP TABLE animals; --', "\\'; DROP TABLE animals; --", "$$; DROP TABLE animals; $$", "$1", "*/ /*",
    "x\0y", "", "é" * 32, "x" * 64, "%s", "{x}", "a.b",
]  # fmt: skip


async def test_hostile_text_is_only_text(dsn: str) -> None:
    async with open_database(dsn, max_size=3) as db:
        await db.create_schema(Animal)
        await db.insert(Animal(name="Rex"))
        for text in HOSTILE:
            for name, value in ((text, "1"), ("application_name", text), ("app.user", text)):
                with contextlib.suppress(*REFUSED):
                    async with db.transaction(settings={name: value}) as tx:
                        found = await tx.fetch_value(sql("SELECT current_setting({name})", name=name).returns(str))
                        assert found == value or name == "application_name"  # which the server cuts and cleans
                with contextlib.suppress(*REFUSED):
                    async with db.flight(commit=True, settings={name: value}) as flight:
                        shown = flight.fetch_value(sql("SELECT current_setting({name})", name=name).returns(str))
                    assert shown.value == value or name == "application_name"
                with contextlib.suppress(*REFUSED):
                    async with db.transaction() as tx, tx.savepoint() as sp:
                        await sp.settings(**{name: value})
            with contextlib.suppress(*REFUSED):
                async with db.transaction(role=text) as tx:
                    await tx.fetch_value(select(Animal.name))
                raise AssertionError(f"there is no role {text!r}")
            with contextlib.suppress(*REFUSED):
                async with db.flight(commit=True, role=text) as flight:
                    flight.execute(select(Animal.name))
                raise AssertionError(f"there is no role {text!r}")
            with contextlib.suppress(*REFUSED):
                async with db.transaction(name=text) as tx, tx.savepoint() as sp:
                    await sp.advisory_lock(text)
            with contextlib.suppress(*REFUSED):
                async with db.advisory_lock(text):
                    pass
            with contextlib.suppress(*REFUSED):
                async with db.flight(commit=True, name=text) as flight:
                    flight.notify(text, text)
            with contextlib.suppress(*REFUSED), anyio.fail_after(10):
                async with db.listen(text) as heard:
                    await db.notify(text, text)
                    async for event in heard:
                        assert (getattr(event, "channel", None), getattr(event, "payload", None)) == (text, text)
                        break
            with pytest.raises(REFUSED):
                await db.copy_in(identifier("animals"), [("Rex II",)], columns=[text])
            with pytest.raises(REFUSED):
                await db.copy_in(identifier("animals"), [("Rex II",)], columns=["name"], on_conflict="do_nothing", on=text)
            with pytest.raises(REFUSED):
                await db.copy_in(identifier(text), [("Rex II",)], columns=["name"])
            assert await db.fetch_all(select(Animal.name)) == ["Rex"]
