"""One schema with everything that a schema can hold, for tests of its records, its statements and what a server makes of them."""

import datetime
import decimal
import uuid
from collections.abc import Iterable

from trioorm.compiler import SchemaPart
from trioorm.expression import SMALLINT, Column, Expression, count, func, lower, now
from trioorm.model import UNSET, Model, column
from trioorm.query import Select, alias, select
from trioorm.schema import (
    TableConstraint,
    TableIndex,
    check,
    exclude,
    extension,
    foreign_key,
    identity,
    index,
    sequence,
    unique,
)

trigrams = extension("pg_trgm")
btree_gist = extension("btree_gist", schema="house")
numbers = sequence("room numbers", schema="house", start=100, increment=10, min_value=1, max_value=1000, cache=2, cycle=True)


class Kept(Model, abstract=True, schema="house"):
    id: Column[int] = column(primary_key=True, generated=identity(always=True, start=7, increment=2))
    made_at: Column[datetime.datetime] = column(server_default=now(), comment="by the server's clock")

    @classmethod
    def table_indexes(cls) -> Iterable[TableIndex]:
        yield index(cls.made_at, method="brin", options={"pages_per_range": 16})


class Room(Kept, table="rooms", comment="What can be booked; it's little"):
    number: Column[int] = column(server_default=numbers.next_value(), unique=True, default=UNSET)
    name: Column[str]
    floor: Column[int] = column(type=SMALLINT, check=lambda floor: floor >= -3)
    width: Column[decimal.Decimal]
    length: Column[decimal.Decimal]
    area: Column[decimal.Decimal] = column(generated_as=lambda: Room.width * Room.length, comment="in square metres")
    label: Column[str] = column(generated_as=lambda: lower(Room.name), stored=False)
    keeper_id: Column[int | None] = column(
        default=None, references=lambda: Keeper.id, on_delete="set null", deferrable=True, initially_deferred=True
    )
    code: Column[str | None] = column(default=None)

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        yield unique(cls.floor, cls.code, nulls_distinct=False)
        yield unique(cls.name, deferrable=True, initially_deferred=True)
        yield check(cls.width <= cls.length, name="the longer side is the length")

    @classmethod
    def table_indexes(cls) -> Iterable[TableIndex]:
        yield from super().table_indexes()
        yield index(cls.floor.desc(nulls="last"), cls.number, include=(cls.name, cls.area), where=cls.code.is_not_null())
        yield index(lower(cls.name), unique=True, options={"fillfactor": 70})
        yield index(cls.name, method="gin", operator_class="gin_trgm_ops", name="rooms_by_trigrams")
        yield index(cls.code, cls.floor, unique=True, nulls_distinct=False, operator_class=("text_pattern_ops", None))
        yield index(cls.number, method="hash", concurrently=True)


class Keeper(Kept, table="keepers"):
    name: Column[str]
    room_id: Column[int | None] = column(default=None, references="house.rooms.id")


class Booking(Model, table="bookings", schema="house"):
    room_id: Column[int] = column(primary_key=True, references=Room.id, on_delete="cascade")
    begins_at: Column[datetime.datetime] = column(primary_key=True)
    ends_at: Column[datetime.datetime]
    cancelled: Column[bool] = column(default=False)
    guest: Column[uuid.UUID] = column(server_default=func.gen_random_uuid(returns=uuid.UUID), default=UNSET)

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        during = func.tstzrange(cls.begins_at, cls.ends_at)
        yield exclude((cls.room_id, "="), (during, "&&"), where=~cls.cancelled, deferrable=True)


class Meal(Model, table="meals", schema="canteen"):
    room_id: Column[int] = column(primary_key=True)
    begins_at: Column[datetime.datetime] = column(primary_key=True)
    dish: Column[str] = column(primary_key=True)

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        yield foreign_key(
            cls.room_id,
            cls.begins_at,
            references=(Booking.room_id, Booking.begins_at),
            on_delete="cascade",
            on_update="restrict",
            deferrable=True,
            initially_deferred=True,
        )


class Usage(Model, view="usage", schema="house", comment="How often rooms are booked"):
    room_id: Column[int] = column(primary_key=True)
    name: Column[str]
    bookings: Column[int] = column(comment="without cancelled ones")

    @classmethod
    def view_query(cls) -> Select[tuple[int, str, int]]:
        return (
            select(Room.id, Room.name, count(Booking.room_id))
            .left_join(Booking, (Booking.room_id == Room.id) & Booking.cancelled.in_([False]))
            .where(Room.name != "it's closed")
            .group_by(Room.id)
        )


class BusyRoom(Model, materialized_view="busy_rooms", schema="house"):
    room_id: Column[int] = column(primary_key=True)
    name: Column[str]
    bookings: Column[int]

    @classmethod
    def view_query(cls) -> Expression[object]:
        used = alias(Usage, "used")
        return select(used).where(used.bookings > 1)

    @classmethod
    def table_indexes(cls) -> Iterable[TableIndex]:
        yield index(cls.room_id, unique=True)


PARTS: tuple[SchemaPart, ...] = (BusyRoom, Usage, Meal, Booking, Keeper, Room, numbers, btree_gist, trigrams)
"""In the wrong order."""
