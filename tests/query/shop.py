"""The models that tests of statements share, and a way to run a statement without the hall.

The statements are run through psycopg's raw cursor, which sends `$1` as it stands; so what is tested here is the text and the values alone.
"""

import datetime
import decimal
import enum
import typing
from collections.abc import Iterable
from typing import Any, ClassVar

import psycopg
from psycopg.types.json import Jsonb

from trioorm.compiler import compile_statement, create_schema_statements, shape_and_values
from trioorm.expression import JSONB, SMALLINT, Column, Json, SqlType, enum_label, now
from trioorm.model import Model, column
from trioorm.query import Statement
from trioorm.schema import TableConstraint, TableIndex, check, index, unique


class Status(enum.Enum):
    OPEN = "open"
    PAID = "paid"
    SENT = "sent off"


class User(Model, table="users"):
    id: Column[int] = column(primary_key=True, generated=True)
    name: Column[str]
    age: Column[int] = column(type=SMALLINT, check=lambda age: age >= 0)
    email: Column[str | None] = column(default=None, unique=True)
    active: Column[bool] = column(default=True)
    manager_id: Column[int | None] = column(default=None, references="users.id", on_delete="set null")


class Order(Model, table="orders"):
    currency: ClassVar[str] = "EUR"

    id: Column[int] = column(primary_key=True, generated=True)
    user_id: Column[int] = column(references=lambda: User.id, on_delete="cascade", index=True)
    total: Column[decimal.Decimal]
    weight: Column[float] = column(default=0.0)
    status: Column[Status] = column(default=Status.OPEN)
    tags: Column[list[str]] = column(default_factory=list)
    extra: Column[Json | None] = column(default=None, type=JSONB)
    paid_at: Column[datetime.datetime | None] = column(default=None)
    created_at: Column[datetime.datetime] = column(server_default=now())

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        yield check((cls.status != Status.PAID) | cls.paid_at.is_not_null(), name="paid_orders_have_a_moment")

    @classmethod
    def table_indexes(cls) -> Iterable[TableIndex]:
        yield index(cls.created_at.desc(), where=cls.status == Status.OPEN)


class Line(Model, table="order_lines"):
    order_id: Column[int] = column(primary_key=True, references=Order.id, on_delete="cascade")
    number: Column[int] = column(primary_key=True)
    article: Column[str]
    amount: Column[int] = column(default=1)
    price: Column[decimal.Decimal] = column(default=decimal.Decimal(1))
    sum: Column[decimal.Decimal] = column(generated_as=lambda: Line.price * Line.amount)

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        yield unique(cls.order_id, cls.article)


def unchecked(value: object) -> Any:  # noqa: ANN401 - that is its purpose
    """A value as type checkers do not see it, for mistakes that they would refuse before the library does."""
    return value


MODELS = (Line, Order, User)


def open_shop(dsn: str) -> psycopg.Connection[tuple[object, ...]]:
    """A connection to a database that holds the empty tables of the shop."""
    connection = psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor)
    for text in create_schema_statements(MODELS):
        connection.execute(text.encode())
    return connection


def run(connection: psycopg.Connection[tuple[object, ...]], statement: Statement[object]) -> list[tuple[object, ...]]:
    """Run a statement and give its rows as psycopg decodes them; none when it returns none."""
    compiled = compile_statement(statement)
    values = compiled.arranged(shape_and_values(statement)[1])
    assert len(values) == len(compiled.bind_types)
    packed = [_packed(value, kind) for value, kind in zip(values, compiled.bind_types, strict=True)]
    cursor = connection.execute(compiled.text.encode(), packed)
    return cursor.fetchall() if cursor.description is not None else []


def _packed(value: object, kind: SqlType | None) -> object:
    if value is None or kind is None:
        return value
    if kind.element is not None:
        return [_packed(item, kind.element) for item in typing.cast("list[object]", value)]
    if kind is JSONB:
        return Jsonb(value)
    return enum_label(value) if isinstance(value, enum.Enum) else value
