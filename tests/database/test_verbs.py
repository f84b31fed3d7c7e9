"""Each verb: what it gives back, and each of its errors with its text."""

import datetime
from collections.abc import Awaitable, Callable

import pytest

from tests.database.cinema import Hall, Seat
from tests.database.zoo import Animal, Mood, Visit, changed
from trioorm import (
    BindError,
    CheckViolation,
    Database,
    ForeignKeyViolation,
    NoRowFound,
    NotNullViolation,
    QueryError,
    Savepoint,
    TooManyRows,
    Transaction,
    UniqueViolation,
    count,
    delete,
    insert,
    open_database,
    select,
    sql,
    update,
)
from trioorm.errors import UnknownMethod

Verbs = Database | Transaction | Savepoint
Test = Callable[[Verbs], Awaitable[None]]
DAY = datetime.date(2020, 2, 29)


@pytest.fixture(params=["database", "transaction", "savepoint"])
def on_each(request: pytest.FixtureRequest, dsn: str) -> Callable[[Test], Awaitable[None]]:
    """Run a test on a database, a transaction and a savepoint; all three have the same verbs."""

    async def run(test: Test) -> None:
        async with open_database(dsn) as db:
            await db.create_schema(Animal, Visit)
            if request.param == "database":
                await test(db)
                return
            async with db.transaction() as tx:
                if request.param == "transaction":
                    await test(tx)
                else:
                    async with tx.savepoint() as sp:
                        await test(sp)

    return run


OnEach = Callable[[Test], Awaitable[None]]


async def _three(verbs: Verbs) -> list[Animal]:
    return await verbs.insert_many([Animal(name="Ada", age=3), Animal(name="Bob", age=5, mood=Mood.CALM), Animal(name="Cleo", age=5)])


async def test_fetch_all(on_each: OnEach) -> None:
    async def test(verbs: Verbs) -> None:
        animals = await _three(verbs)
        assert await verbs.fetch_all(select(Animal).order_by(Animal.id)) == animals
        assert await verbs.fetch_all(select(Animal.name, Animal.age).where(Animal.age > 3).order_by(Animal.name)) == [
            ("Bob", 5),
            ("Cleo", 5),
        ]
        assert await verbs.fetch_all(select(Animal.mood).order_by(Animal.id)) == [None, Mood.CALM, None]
        assert await verbs.fetch_all(select(Animal).where(Animal.age > 99)) == []

    await on_each(test)


async def test_fetch_one(on_each: OnEach) -> None:
    async def test(verbs: Verbs) -> None:
        ada, *_ = await _three(verbs)
        assert await verbs.fetch_one(select(Animal).where(Animal.name == "Ada")) == ada
        with pytest.raises(NoRowFound, match="no row was found by:\nSELECT") as none:
            await verbs.fetch_one(select(Animal).where(Animal.name == "Zoe"))
        assert "To fix it: check the condition, or use `fetch_optional`" in str(none.value)
        assert "Zoe" not in str(none.value)
        with pytest.raises(TooManyRows, match="2 rows were found where one was asked for") as many:
            await verbs.fetch_one(select(Animal).where(Animal.age == 5))
        assert "To fix it: narrow the condition, or use `fetch_all`" in str(many.value)

    await on_each(test)


async def test_fetch_optional(on_each: OnEach) -> None:
    async def test(verbs: Verbs) -> None:
        ada, *_ = await _three(verbs)
        assert await verbs.fetch_optional(select(Animal).where(Animal.name == "Ada")) == ada
        assert await verbs.fetch_optional(select(Animal).where(Animal.name == "Zoe")) is None
        with pytest.raises(TooManyRows):
            await verbs.fetch_optional(select(Animal).where(Animal.age == 5))

    await on_each(test)


async def test_fetch_value(on_each: OnEach) -> None:
    async def test(verbs: Verbs) -> None:
        await _three(verbs)
        assert await verbs.fetch_value(select(count())) == 1
        assert await verbs.fetch_value(select(count(Animal.id))) == 3
        assert await verbs.fetch_value(sql("SELECT 7").returns(int)) == 7
        with pytest.raises(QueryError, match="fetch_value wants one column, and this statement gives 2 columns"):
            await verbs.fetch_value(select(Animal.id, Animal.name))
        with pytest.raises(QueryError, match=r"say what a sql\(\) text gives with `.returns\(int\)`"):
            await verbs.fetch_value(sql("SELECT 7"))
        with pytest.raises(QueryError):
            await verbs.fetch_value(select(Animal))
        with pytest.raises(NoRowFound):
            await verbs.fetch_value(select(Animal.id).where(Animal.name == "Zoe"))
        with pytest.raises(TooManyRows):
            await verbs.fetch_value(select(Animal.id))

    await on_each(test)


async def test_execute_counts_rows(on_each: OnEach) -> None:
    async def test(verbs: Verbs) -> None:
        await _three(verbs)
        assert await verbs.execute(update(Animal).set(Animal.age, 6).where(Animal.age == 5)) == 2
        assert await verbs.execute(delete(Animal).where(Animal.age == 99)) == 0
        assert await verbs.execute(select(Animal)) == 3
        assert await verbs.execute(insert(Animal).values(Animal(name="Dora"))) == 1
        assert await verbs.execute(sql("SET LOCAL work_mem = '1MB'")) == 0
        assert await verbs.execute(delete(Animal).everywhere()) == 4

    await on_each(test)


async def test_a_statement_without_rows_is_not_fetched(on_each: OnEach) -> None:
    async def test(verbs: Verbs) -> None:
        statement = update(Animal).set(Animal.age, 1).everywhere()
        for fetch in (verbs.fetch_all, verbs.fetch_one, verbs.fetch_optional):
            with pytest.raises(QueryError, match=r"add `.returning\(...\)`, or run it with `execute`"):
                await fetch(statement)
        with pytest.raises(QueryError, match="gives no rows"):
            verbs.stream(statement)

    await on_each(test)


async def test_get(on_each: OnEach) -> None:
    async def test(verbs: Verbs) -> None:
        ada, *_ = await _three(verbs)
        assert await verbs.get(Animal, ada.id) == ada
        visit = await verbs.insert(Visit(animal_id=ada.id, day=DAY))
        assert await verbs.get(Visit, ada.id, DAY) == visit
        with pytest.raises(NoRowFound, match="animals"):
            await verbs.get(Animal, 999)
        with pytest.raises(QueryError, match=r"the primary key of Visit is \(animal_id, day\), and 1 values were given") as wrong:
            await verbs.get(Visit, ada.id)
        assert "To fix it: get(Visit, animal_id, day)" in str(wrong.value)

    await on_each(test)


async def test_insert(on_each: OnEach) -> None:
    async def test(verbs: Verbs) -> None:
        made = Animal(name="Ada", age=3)
        ada = await verbs.insert(made)
        assert isinstance(ada.id, int)
        assert ada == changed(made, id=ada.id)
        assert "UNSET" in repr(made), "the object given is left as it was"

    await on_each(test)


async def test_insert_many(on_each: OnEach) -> None:
    async def test(verbs: Verbs) -> None:
        animals = [Animal(name=f"animal {number}", age=number % 7) for number in range(5000)]
        written = await verbs.insert_many(animals)
        assert [animal.name for animal in written] == [animal.name for animal in animals]
        assert await verbs.insert_many([]) == []
        assert await verbs.fetch_value(select(count(Animal.id))) == 5000

    await on_each(test)


async def test_insert_many_writes_all_or_none(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        with pytest.raises(UniqueViolation):
            await db.insert_many([Animal(name="Ada"), Animal(name="Bob"), Animal(name="Ada")])
        with pytest.raises(QueryError):
            await db.insert_many([Animal(name="Ada"), Visit(animal_id=1, day=DAY)])
        assert await db.fetch_all(select(Animal)) == []


async def test_update(on_each: OnEach) -> None:
    async def test(verbs: Verbs) -> None:
        ada, bob, _ = await _three(verbs)
        written = await verbs.update(changed(ada, age=4, mood=Mood.ODD))
        assert (written.id, written.age, written.mood) == (ada.id, 4, Mood.ODD)
        assert await verbs.get(Animal, ada.id) == written
        assert await verbs.get(Animal, bob.id) == bob, "no other row is written"
        with pytest.raises(NoRowFound):
            await verbs.update(changed(ada, id=999))
        with pytest.raises(QueryError, match="this Animal has no id yet, which is its primary key"):
            await verbs.update(Animal(name="Zoe"))

    await on_each(test)


async def test_delete(on_each: OnEach) -> None:
    async def test(verbs: Verbs) -> None:
        ada, bob, cleo = await _three(verbs)
        await verbs.delete(ada)
        assert await verbs.fetch_all(select(Animal).order_by(Animal.id)) == [bob, cleo]
        with pytest.raises(NoRowFound):
            await verbs.delete(ada)
        with pytest.raises(QueryError, match="use the object that `insert` returned"):
            await verbs.delete(Animal(name="Zoe"))

    await on_each(test)


async def test_upsert(on_each: OnEach) -> None:
    async def test(verbs: Verbs) -> None:
        ada = await verbs.upsert(Animal(name="Ada", age=3), on=Animal.name)
        again = await verbs.upsert(Animal(name="Ada", age=4), on=Animal.name)
        assert (again.id, again.age) == (ada.id, 4)
        by_key = await verbs.upsert(changed(again, name="Adele"))
        assert (by_key.id, by_key.name) == (ada.id, "Adele")
        assert await verbs.fetch_value(select(count(Animal.id))) == 1
        visit = Visit(animal_id=ada.id, day=DAY, note="first")
        assert await verbs.upsert(visit) == visit
        assert await verbs.upsert(changed(visit, note="second"), on=(Visit.animal_id, Visit.day)) == changed(visit, note="second")

    await on_each(test)


@pytest.mark.parametrize(
    ("bad", "error", "constraint"),
    [
        (Animal(name="Ada"), UniqueViolation, "animals_name_key"),
        (Animal(name="Zoe", age=-1), CheckViolation, "animals_age_check"),
        (Visit(animal_id=999, day=DAY), ForeignKeyViolation, "visits_animal_id_fkey"),
    ],
)
async def test_constraints(dsn: str, bad: Animal | Visit, error: type[Exception], constraint: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal, Visit)
        await db.insert(Animal(name="Ada"))
        with pytest.raises(error) as caught:
            await db.insert(bad)
        assert getattr(caught.value, "constraint", None) == constraint
        assert getattr(caught.value, "table", None) in ("animals", "visits")


async def test_a_missing_value(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        with pytest.raises(QueryError, match=r'"animals"\."name" would be set to None, but it is never NULL'):
            await db.insert(Animal(name=None))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(NotNullViolation) as caught:
            await db.execute(sql("INSERT INTO animals (name, age) VALUES (NULL, 1)"))
        assert caught.value.column == "name"


@pytest.mark.parametrize("age", [2**15, -(2**63) - 1])
async def test_a_number_out_of_range_is_refused_before_anything_is_sent(on_each: OnEach, age: int) -> None:
    async def test(verbs: Verbs) -> None:
        with pytest.raises(BindError, match="out of its range") as caught:
            await verbs.insert(Animal(name="Ada", age=age))
        assert "parameter $2 cannot be sent as smallint" in str(caught.value)
        assert 'INSERT INTO "animals" ("name", "age", ' in str(caught.value), "which says what $2 is"
        assert "nothing was sent" in str(caught.value)
        assert "column(type=...)" in str(caught.value)
        assert str(age) not in str(caught.value)
        with pytest.raises(BindError, match=r"^value 3 of parameter \$2 cannot be sent as smallint: .* Its class is int; nothing was sent"):
            await verbs.insert_many([Animal(name="Ada", age=1), Animal(name="Grace"), Animal(name="Linus", age=age)])
        await verbs.insert(Animal(name="Ada"))

    await on_each(test)


@pytest.mark.parametrize("age", [True, "seven", 1.5, b"1"])
async def test_a_value_of_another_class_is_refused_before_anything_is_sent(on_each: OnEach, age: int) -> None:
    async def test(verbs: Verbs) -> None:
        kind = type(age).__name__
        with pytest.raises(QueryError, match=f'A value of class {kind} was given for "animals"."age", which is smallint') as caught:
            await verbs.insert(Animal(name="Ada", age=age))
        assert "To fix it: " in str(caught.value)
        assert "seven" not in str(caught.value)
        if not isinstance(verbs, Database):
            await verbs.insert(Animal(name="Ada"))

    await on_each(test)


async def test_patch_writes_the_columns_that_are_named(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Hall, Seat)
        await db.insert_many([Hall(house="a", number=1), Hall(house="a", number=2)])
        await db.insert_many([Seat(id=number, house="a", hall_number=1) for number in (1, 2)])
        async with db.transaction() as tx:
            assert await tx.patch(Seat, 1, hall_number=2) == Seat(id=1, house="a", hall_number=2)
        assert await db.patch(Seat, 2, hall_number=Seat.hall_number + 1) == Seat(id=2, house="a", hall_number=2)
        assert await db.patch(Hall, "a", 1, number=3) == Hall(house="a", number=3)
        with pytest.raises(NoRowFound):
            await db.patch(Hall, "a", 1, number=3)
        with pytest.raises(ForeignKeyViolation):
            await db.patch(Seat, 1, hall_number=9)
        with pytest.raises(QueryError, match="no values"):
            await db.patch(Seat, 1)
        with pytest.raises(QueryError, match="seat_number"):
            await db.patch(Seat, 1, seat_number=1)
        with pytest.raises(QueryError, match=r"\(house, number\), and 1 values(.|\n)*patch\(Hall, house, number\)"):
            await db.patch(Hall, "a", number=3)
        assert await db.get(Seat, 1) == Seat(id=1, house="a", hall_number=2)


@pytest.mark.parametrize(
    ("owner", "name", "right"),
    [
        (Database, "fetchrow", "fetch_one"),
        (Database, "begin", r"async with db\.transaction"),
        (Transaction, "commit", "let the block end"),
        (Transaction, "rollback", "raise an exception in the block"),
        (Savepoint, "rollback", "raise an exception in the block"),
        (Transaction, "begin_nested", r"tx\.savepoint"),
    ],
)
def test_a_verb_of_other_libraries_names_ours(owner: type, name: str, right: str) -> None:
    assert not hasattr(owner, name)
    with pytest.raises(UnknownMethod, match=f"To fix it: .*{right}"):
        getattr(owner, name)


@pytest.mark.parametrize(("row", "right"), [(("Ada", 36), r"values_from\(rows, columns="), ({"name": "Ada"}, r"values\(\*rows\)")])
async def test_rows_that_are_no_objects_are_told_their_way(on_each: OnEach, row: object, right: str) -> None:
    async def test(verbs: Verbs) -> None:
        with pytest.raises(QueryError, match=f"takes objects of a model, not a {type(row).__name__}(.|\n)*{right}"):
            await verbs.insert_many([row])  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]

    await on_each(test)
