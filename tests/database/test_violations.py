"""Constraint violations: what they say of models, columns and the objects given, and what they keep to themselves."""

import datetime
import decimal
import enum
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import psycopg
import pytest

from trioorm import (
    CheckViolation,
    Column,
    Database,
    ForeignKeyViolation,
    IntegrityError,
    Model,
    NotNullViolation,
    TableConstraint,
    TableIndex,
    UniqueViolation,
    check,
    column,
    evolve,
    index,
    insert,
    lower,
    open_database,
    select,
    sql,
    unique,
    update,
)
from trioorm.errors import ExclusionViolation


class Colour(enum.Enum):
    RED = "red"


class Person(Model, table="persons"):
    id: Column[int] = column(primary_key=True, generated=True)
    email: Column[str] = column(unique=True)
    nick: Column[str | None] = column(default=None, name="nick name")
    age: Column[int] = column(default=18, check=lambda age: age >= 0)
    born: Column[datetime.date] = column(default=datetime.date(2000, 1, 1))
    balance: Column[decimal.Decimal] = column(default=decimal.Decimal("0.50"))
    key: Column[uuid.UUID] = column(default=uuid.UUID(int=7))
    active: Column[bool] = column(default=True)
    colour: Column[Colour] = column(default=Colour.RED)
    weight: Column[float] = column(default=1.5)
    friend_id: Column[int | None] = column(default=None, references=lambda: Person.id)

    @classmethod
    def table_constraints(cls) -> Sequence[TableConstraint]:
        return [unique(cls.nick, cls.age), check(cls.age < cls.weight * 1000, name="light")]

    @classmethod
    def table_indexes(cls) -> Sequence[TableIndex]:
        return [index(lower(cls.nick), unique=True, name="one_nick")]


@asynccontextmanager
async def open_persons(dsn: str, *, error_values: bool = False) -> AsyncGenerator[Database]:
    async with open_database(dsn, error_values=error_values) as db:
        await db.create_schema(Person)
        yield db


async def test_a_unique_violation_names_model_column_and_constraint(dsn: str) -> None:
    async with open_persons(dsn) as db:
        await db.insert(Person(email="ada"))
        with pytest.raises(UniqueViolation) as caught:
            await db.insert(Person(email="ada"))
        error = caught.value
        assert (error.model, error.columns, error.constraint, error.rows) == (Person, ("email",), "persons_email_key", (0,))
        assert error.values is None
        assert str(error) == (
            "duplicate key value violates unique constraint \"persons_email_key\" (SQLSTATE 23505), table 'persons'\n"
            "It is about Person.email."
        )


@pytest.mark.parametrize(
    ("objects", "rows"),
    [
        ([Person(email="new"), Person(email="taken"), Person(email="newer")], (1,)),
        ([Person(email="twice"), Person(email="other"), Person(email="twice")], (0, 2)),
    ],
)
async def test_it_says_which_of_many(dsn: str, objects: list[Person], rows: tuple[int, ...]) -> None:
    async with open_persons(dsn) as db:
        await db.insert(Person(email="taken"))
        with pytest.raises(UniqueViolation) as caught:
            await db.insert_many(objects)
        assert caught.value.rows == rows
        said = str(caught.value).splitlines()[-1]
        assert said == f"It is about Person.email. Of the 3 objects given, it is number {' or '.join(map(str, rows))}, counted from 0."
        assert not any(each.email in said.replace("email", "") for each in objects)


_GOOD = [Person(email=f"person {number}", nick=f"nick {number}") for number in range(3)]


@pytest.mark.parametrize(
    ("bad", "kind", "columns", "constraint"),
    [
        (Person(email="x", age=-1), CheckViolation, ("age",), "persons_age_check"),
        (Person(email="x", age=5000), CheckViolation, ("age", "weight"), "light"),
        (Person(email="x, (y)", age=-1, nick="a" * 100), CheckViolation, ("age",), "persons_age_check"),
        (Person(email="x", friend_id=99), ForeignKeyViolation, ("friend_id",), "persons_friend_id_fkey"),
        (Person(email="x", nick="nick 1"), UniqueViolation, ("nick", "age"), "persons_nick name_age_key"),
        (Person(email="x", nick="Nick 1", age=3), UniqueViolation, ("nick",), "one_nick"),
        (Person(email="x", nick=None), NotNullViolation, ("nick",), None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_every_kind_of_constraint(
    dsn: str, bad: Person, kind: type[IntegrityError], columns: tuple[str, ...], constraint: str | None
) -> None:
    async with open_persons(dsn) as db:
        if kind is NotNullViolation:
            await db.execute(sql('ALTER TABLE persons ALTER "nick name" SET NOT NULL'))  # which the model does not know
        elif bad.nick is None:
            bad = evolve(bad, nick="somebody")
        with pytest.raises(kind) as caught:
            await db.insert_many([*_GOOD, bad])
        error = caught.value
        assert (type(error), error.model, error.columns, error.constraint) == (kind, Person, columns, constraint)
        if constraint == "one_nick":
            assert error.rows == (), "an expression's value is not the column's"
        else:
            assert error.rows[-1] == 3
            assert "it is number" in str(error)
        with pytest.raises(kind) as caught:
            await db.insert_many([*_GOOD[:2], bad] if kind is not UniqueViolation else [_GOOD[1], bad])
        assert caught.value.model is Person


async def test_values_are_there_on_request_and_never_in_the_text(dsn: str) -> None:
    async with open_persons(dsn, error_values=True) as db:
        await db.insert(Person(email="secret"))
        with pytest.raises(UniqueViolation) as caught:
            await db.insert(Person(email="secret"))
        assert caught.value.values == {"email": "secret"}
        assert "secret" not in str(caught.value)
        with pytest.raises(CheckViolation) as refused:
            await db.insert_many([Person(email="a"), Person(email="b", age=-77)])
        assert refused.value.values == {"age": -77}
        assert "77" not in str(refused.value)
        with pytest.raises(UniqueViolation) as caught:
            await db.execute(insert(Person).values(Person(email="secret")))
        assert caught.value.values == {"email": "secret"}, "as the server quotes it"
        with pytest.raises(CheckViolation) as refused:
            await db.execute(update(Person).set(Person.age, -1).everywhere())
        assert refused.value.values is None, "a whole row is quoted without names"


async def test_other_statements_know_the_model_too(dsn: str) -> None:
    async with open_persons(dsn) as db:
        await db.insert_many(_GOOD)
        with pytest.raises(CheckViolation) as refused:
            await db.execute(update(Person).set(Person.age, -1).where(Person.email == "person 1"))
        assert (refused.value.model, refused.value.columns, refused.value.rows) == (Person, ("age",), ())
        with pytest.raises(UniqueViolation) as caught:
            await db.execute(sql("UPDATE persons SET email = 'x'"))
        assert (caught.value.model, caught.value.columns) == (Person, ("email",))
        with pytest.raises(UniqueViolation) as caught:
            await db.copy_in(Person, _GOOD)
        assert (caught.value.model, caught.value.columns) == (Person, ("email",))
        with pytest.raises(UniqueViolation) as caught:
            async with db.transaction() as tx:
                await tx.insert(_GOOD[0])
        assert caught.value.columns == ("email",)
        person = await db.insert(Person(email="y"))
        person.email = "person 1"
        with pytest.raises(UniqueViolation) as caught:
            await db.update(person)
        assert caught.value.rows == (0,)
        person.id, person.email = 77, "person 2"
        with pytest.raises(UniqueViolation) as caught:
            await db.upsert(person)
        assert caught.value.columns == ("email",)


async def test_a_table_that_no_model_was_seen_of_keeps_the_servers_words(dsn: str) -> None:
    async with open_database(dsn, error_values=True) as db:
        await db.execute(sql("CREATE TABLE other (a int PRIMARY KEY)"))
        await db.execute(sql("INSERT INTO other VALUES (1)"))
        with pytest.raises(UniqueViolation) as caught:
            await db.execute(sql("INSERT INTO other VALUES (1)"))
        assert (caught.value.model, caught.value.columns, caught.value.values) == (None, (), None)
        assert "It is about" not in str(caught.value)


class Booking(Model, table="bookings"):
    room: Column[int] = column(primary_key=True)
    starts: Column[int] = column(primary_key=True)


async def test_a_constraint_that_only_the_table_knows(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "CREATE TABLE bookings (room bigint, starts bigint, PRIMARY KEY (room, starts),"
            " EXCLUDE USING gist (int8range(starts, starts + 10) WITH &&))"
        )
        connection.execute("ALTER TABLE bookings ADD CONSTRAINT one_room UNIQUE (room)")
    async with open_database(dsn) as db:
        await db.insert(Booking(room=1, starts=0))
        with pytest.raises(ExclusionViolation) as excluded:
            await db.insert(Booking(room=2, starts=5))
        assert (excluded.value.model, excluded.value.columns) == (Booking, ())
        with pytest.raises(UniqueViolation) as caught:
            await db.insert_many([Booking(room=7, starts=50), Booking(room=1, starts=100)])
        assert (caught.value.columns, caught.value.constraint, caught.value.rows) == (("room",), "one_room", (1,))
        with pytest.raises(UniqueViolation) as caught:
            await db.insert_many([Booking(room=1, starts=0)])
        assert caught.value.columns == ("room", "starts")


async def test_a_deferred_constraint_at_commit(dsn: str) -> None:
    async with open_persons(dsn) as db:
        await db.execute(sql("ALTER TABLE persons ALTER CONSTRAINT persons_friend_id_fkey DEFERRABLE INITIALLY DEFERRED"))
        with pytest.raises(ForeignKeyViolation) as caught:
            async with db.transaction() as tx:
                await tx.insert(Person(email="x", friend_id=99))
        assert (caught.value.model, caught.value.columns) == (Person, ("friend_id",))


async def test_a_deferred_constraint_without_a_transaction(dsn: str) -> None:
    """The statement itself succeeds, and its commit is refused: at the very end of the server's answer."""
    async with open_persons(dsn) as db:
        await db.execute(sql("ALTER TABLE persons ALTER CONSTRAINT persons_friend_id_fkey DEFERRABLE INITIALLY DEFERRED"))
        ada = await db.insert(Person(email="ada"))
        for write in (
            lambda: db.insert(Person(email="x", friend_id=99)),
            lambda: db.insert_many([Person(email="x"), Person(email="y", friend_id=99)]),
            lambda: db.patch(Person, ada.id, friend_id=99),
            lambda: db.execute(insert(Person).values_from([Person(email="x", friend_id=99)])),
            lambda: db.execute(sql("UPDATE persons SET friend_id = 99")),
        ):
            with pytest.raises(ForeignKeyViolation) as caught:
                await write()
            assert (caught.value.model, caught.value.columns) == (Person, ("friend_id",))
        assert await db.fetch_all(select(Person.email, Person.friend_id)) == [("ada", None)], "and the connection is as before"
        assert db.statistics().returns_bad == 0


async def test_a_row_that_is_still_referred_to(dsn: str) -> None:
    async with open_persons(dsn, error_values=True) as db:
        ada = await db.insert(Person(email="ada"))
        await db.insert(Person(email="grace", friend_id=ada.id))
        with pytest.raises(ForeignKeyViolation) as caught:
            await db.delete(ada)
        assert (caught.value.model, caught.value.columns, caught.value.rows) == (Person, ("friend_id",), ())
