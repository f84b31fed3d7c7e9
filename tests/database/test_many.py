"""Many objects at once: in order, all or none."""

import datetime
import decimal
import enum
import random
from collections.abc import Sequence
from typing import Any

import pytest

from trioorm import (
    CheckViolation,
    Column,
    Database,
    Model,
    NoRowFound,
    QueryError,
    StaleObject,
    Transaction,
    UniqueViolation,
    column,
    evolve,
    open_database,
    select,
    sql,
    update,
)
from trioorm.database.objects import update_objects


class Size(enum.Enum):
    SMALL = "s, {"
    LARGE = 'l"\\'


class Ware(Model, table="wares"):
    id: Column[int] = column(primary_key=True, generated=True)
    name: Column[str] = column(unique=True)
    price: Column[decimal.Decimal] = column(default=decimal.Decimal("1.50"), check=lambda price: price >= decimal.Decimal(0))
    size: Column[Size | None] = column(default=None)
    seen: Column[datetime.datetime | None] = column(default=None)
    doubled: Column[int] = column(generated_as=lambda: Ware.id * 2)
    code: Column[str] = column(server_default="none")


class Tagged(Model, table="taggeds"):
    """With an array, so that rows travel value by value."""

    key: Column[int] = column(primary_key=True)
    shelf: Column[int] = column(primary_key=True)
    tags: Column[list[str]]


class Versioned(Model, table="versioneds"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]
    version: Column[int] = column(version=True)


_TRIGGER = "RETURNS trigger LANGUAGE plpgsql AS"


def _ware(number: int, name: str) -> Ware:
    return evolve(Ware(name=name), id=number, code="x")


async def _wares(db: Database, count: int) -> list[Ware]:
    await db.create_schema(Ware)
    return await db.insert_many([Ware(name=f"ware {number}") for number in range(count)])


async def test_rows_come_back_in_the_order_given(dsn: str) -> None:
    names = [f'{number}"\\,{{' for number in range(5_000)]
    random.Random(1).shuffle(names)
    async with open_database(dsn) as db:
        await db.create_schema(Ware)
        await db.execute(sql("ALTER TABLE wares ALTER code SET DEFAULT md5(random()::text)"))
        await db.execute(sql(f"CREATE FUNCTION dearer() {_TRIGGER} 'BEGIN NEW.price := NEW.price + 1; RETURN NEW; END'"))
        await db.execute(sql("CREATE TRIGGER dearer BEFORE INSERT ON wares FOR EACH ROW EXECUTE FUNCTION dearer()"))
        rows = await db.insert_many([Ware(name=name, size=Size.LARGE if "7" in name else None) for name in names])
        assert [row.name for row in rows] == names
        assert [row.id for row in rows] == list(range(1, len(names) + 1)), "numbered in this order too"
        assert all(row.doubled == row.id * 2 and row.price == decimal.Decimal("2.50") for row in rows)
        assert len({row.code for row in rows}) > 4_000, "a default of the server's is computed for each row"
        some_left_out = [Ware(name=f"x{number}") for number in range(300)]
        some_left_out = [evolve(ware, code="given") if number % 3 else ware for number, ware in enumerate(some_left_out)]
        rows = await db.insert_many(some_left_out)
        assert [row.name for row in rows] == [ware.name for ware in some_left_out]
        assert [row.code == "given" for row in rows] == [number % 3 > 0 for number in range(300)]


async def test_rows_of_a_partitioned_table_come_back_in_order(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.execute(sql("CREATE TABLE versioneds (id bigint PRIMARY KEY, name text, version bigint DEFAULT 1) PARTITION BY HASH (id)"))
        for part in ("0", "1", "2"):
            await db.execute(sql(f"CREATE TABLE part_{part} PARTITION OF versioneds FOR VALUES WITH (MODULUS 3, REMAINDER {part})"))
        keys = random.Random(2).sample(range(10_000), 3_000)
        rows = await db.insert_many([Versioned(id=key, name=f"n{key}") for key in keys])
        assert [row.id for row in rows] == keys
        changed = await db.update_many([evolve(row, name=row.name + "!") for row in rows])
        assert [(row.id, row.name, row.version) for row in changed] == [(key, f"n{key}!", 2) for key in keys]


async def test_what_a_trigger_leaves_out_is_told(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Ware)
        skipping = "BEGIN IF NEW.name = ''b'' THEN RETURN NULL; END IF; RETURN NEW; END"
        await db.execute(sql(f"CREATE FUNCTION skip() {_TRIGGER} '{skipping}'"))
        await db.execute(sql("CREATE TRIGGER skip BEFORE INSERT ON wares FOR EACH ROW EXECUTE FUNCTION skip()"))
        with pytest.raises(NoRowFound, match="gave 3 objects of Ware, and 2 rows came back"):
            await db.insert_many([Ware(name=name) for name in "abc"])


async def test_more_rows_than_there_are_bind_values(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Tagged)
        rows = [Tagged(key=number, shelf=number % 7, tags=["a", str(number)]) for number in range(25_000)]
        assert await db.insert_many(rows) == rows
        changed = [evolve(row, tags=[*row.tags, "{new}"]) for row in rows]
        assert await db.update_many(changed) == changed
        assert await db.fetch_all(select(Tagged).order_by(Tagged.key)) == changed
        with pytest.raises(NoRowFound, match=r"no row for 2 of 25,002 objects, and did nothing: key=-1, shelf=0; key=-2, shelf=0\."):
            await db.update_many([*rows, Tagged(key=-1, shelf=0, tags=[]), Tagged(key=-2, shelf=0, tags=[])])
        assert await db.fetch_all(select(Tagged).order_by(Tagged.key)) == changed
        with pytest.raises(QueryError, match=r"Two rows of update_many\(\) have the same key"):
            await db.update_many([*rows, rows[0]])


async def test_update_many_writes_each_row(dsn: str) -> None:
    async with open_database(dsn) as db:
        wares = await _wares(db, 50)
        moment = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        changed = [
            evolve(ware, price=ware.price + ware.id, size=(None, *Size)[ware.id % 3], seen=moment if ware.id % 2 else None)
            for ware in wares
        ]
        random.Random(3).shuffle(changed)
        before = [evolve(ware) for ware in changed]
        assert await db.update_many(iter(changed)) == changed
        assert changed == before
        assert await db.fetch_all(select(Ware).order_by(Ware.id)) == sorted(changed, key=lambda ware: ware.id)
        assert await db.update_many([]) == []
        async with db.transaction() as tx, tx.savepoint() as sp:
            assert await sp.update_many(wares) == wares
        assert await db.fetch_all(select(Ware).order_by(Ware.id)) == wares


async def test_one_statement_and_one_plan_for_any_number(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        wares = await _wares(db, 30)
        for count in (2, 3, 30):
            await db.update_many(wares[:count])
        counted = sql("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'UPDATE%'").returns(int)
        assert await db.fetch_value(counted) == 1


@pytest.mark.parametrize("inside", [False, True])
async def test_all_or_none(dsn: str, inside: bool) -> None:
    async with open_database(dsn) as db:
        wares = await _wares(db, 20)
        cheaper = [evolve(ware, price=decimal.Decimal(0)) for ware in wares]
        gone = [evolve(wares[0], id=number) for number in range(100, 107)]

        async def attempt(runner: Database | Transaction) -> None:
            said = "no row for 7 of 27 objects, and did nothing: id=100; id=101; id=102; id=103; id=104, and 2 more"
            with pytest.raises(NoRowFound, match=said):
                await runner.update_many([*cheaper, *gone])
            with pytest.raises(CheckViolation) as caught:
                await runner.update_many([*cheaper[:3], evolve(wares[3], price=decimal.Decimal(-1)), *cheaper[4:]])
            assert (caught.value.model, caught.value.columns, caught.value.rows) == (Ware, ("price",), (3,))
            with pytest.raises(UniqueViolation) as taken:
                await runner.update_many([evolve(wares[1], name="new"), evolve(wares[2], name="ware 9")])
            assert taken.value.rows == (1,)

        if inside:
            async with db.transaction() as tx:
                await tx.execute(update(Ware).set(Ware.name, "kept").where(Ware.id == 20))
                await attempt(tx)
            wares[19].name = "kept"
        else:
            await attempt(db)
        assert await db.fetch_all(select(Ware).order_by(Ware.id)) == wares


class Draft(Model, table="drafts"):
    id: Column[int] = column(primary_key=True)
    text: Column[str]
    xmin: Column[int] = column(version="xmin")


async def test_versions_that_postgresql_keeps_are_minded(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Draft)
        drafts = await db.insert_many([Draft(id=number, text="a") for number in range(3)])
        changed = await db.update_many([evolve(draft, text="b") for draft in drafts])
        assert [draft.text for draft in changed] == ["b"] * 3
        with pytest.raises(StaleObject, match="id=0"):
            await db.update_many(drafts)
        assert await db.update_many(changed) != changed, "each write makes a new version"


async def test_versions_are_minded(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Versioned)
        rows = await db.insert_many([Versioned(id=number, name="a") for number in range(5)])
        changed = await db.update_many([evolve(row, name="b") for row in rows])
        assert [row.version for row in changed] == [2] * 5
        await db.update(evolve(changed[3], name="c"))
        with pytest.raises(StaleObject, match=r"update_many did nothing: the row of this Versioned \(id=3\)") as caught:
            await db.update_many(changed)
        assert (caught.value.key, caught.value.safe_to_retry) == ((3,), False)
        assert {row.version for row in await db.fetch_all(select(Versioned))} == {2, 3}


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([Ware(name="a")], "this Ware has no id yet, which is its primary key"),
        ([Versioned(id=1, name="a")], "this Versioned has no version yet, which is its version"),
        ([evolve(Ware(name="a"), id=1)], "this Ware has no value for code, so its row cannot be written whole"),
        ([_ware(1, "a"), Tagged(key=1, shelf=1, tags=[])], "was given an object of Tagged"),
        ([_ware(1, "a"), _ware(1, "b")], "have the same key"),
        ([Ware], "takes an object of a model, not the class Ware"),
    ],
)
async def test_what_cannot_be_updated_is_refused_before_it_is_sent(dsn: str, objects: Sequence[Any], said: str) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(QueryError, match=said):
            await db.update_many(objects)


def test_the_statement() -> None:
    (statement,) = update_objects([evolve(Versioned(id=1, name="a"), version=4), evolve(Versioned(id=2, name="b"), version=9)])
    assert str(statement) == (
        'UPDATE "versioneds"\n'
        'SET "name" = "rows"."name", "version" = "versioneds"."version" + 1\n'
        'FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) AS "rows" ("id", "version", "name", "trioorm_place")\n'
        'WHERE "rows"."id" = "versioneds"."id" AND "rows"."version" = "versioneds"."version"\n'
        'RETURNING "versioneds"."id", "versioneds"."name", "versioneds"."version", "rows"."trioorm_place"'
    )
    assert statement.bind_values == ([1, 2], [4, 9], ["a", "b"], [0, 1])
