"""Models for the tests of the hall: one with ordinary columns, one with every type there is, and a pair with a foreign key."""

import datetime
import decimal
import enum
import uuid
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from trioorm import INTEGER, SMALLINT, UNSET, Column, Model, column

if TYPE_CHECKING:
    from collections.abc import Callable

M = TypeVar("M", bound=Model)


def changed(made: M, **values: object) -> M:
    """A copy of an object with some values changed: `attrs.evolve`, which mypy allows only on classes made by its own decorator."""
    return cast("Callable[..., M]", attrs.evolve)(made, **values)


class Mood(enum.Enum):
    """An enum whose labels need care: a space, quotes, a backslash, a comma, braces, a letter outside ASCII."""

    CALM = "calm"
    VERY_CALM = 'very "calm"'
    ODD = "odd\\{one,two}"
    FRÖHLICH = "fröhlich"
    NULL = "NULL"


class Animal(Model, table="animals"):
    """An ordinary table."""

    id: Column[int] = column(primary_key=True, generated=True, default=UNSET)
    name: Column[str] = column(unique=True)
    age: Column[int] = column(type=SMALLINT, default=0, check=lambda age: age >= 0)
    mood: Column[Mood | None] = column(default=None)


class Visit(Model, table="visits"):
    """Refers to animals, with a key of two columns."""

    animal_id: Column[int] = column(primary_key=True, references=lambda: Animal.id)
    day: Column[datetime.date] = column(primary_key=True)
    note: Column[str] = column(default="")


class Everything(Model, table="everything"):
    """A column of each type, an array of each, and each of them NULL."""

    key: Column[int] = column(primary_key=True)
    small: Column[int] = column(type=SMALLINT)
    whole: Column[int] = column(type=INTEGER)
    big: Column[int]
    flag: Column[bool]
    double: Column[float]
    exact: Column[decimal.Decimal]
    text: Column[str]
    data: Column[bytes]
    day: Column[datetime.date]
    time: Column[datetime.time]
    moment: Column[datetime.datetime]
    span: Column[datetime.timedelta]
    unique_id: Column[uuid.UUID]
    json: Column[dict[str, Any]]
    mood: Column[Mood]
    flags: Column[list[bool]]
    numbers: Column[list[int]]
    doubles: Column[list[float]]
    exacts: Column[list[decimal.Decimal]]
    texts: Column[list[str]]
    datas: Column[list[bytes]]
    days: Column[list[datetime.date]]
    moments: Column[list[datetime.datetime]]
    spans: Column[list[datetime.timedelta]]
    unique_ids: Column[list[uuid.UUID]]
    moods: Column[list[Mood]]
    no_number: Column[int | None] = column(default=None)
    no_text: Column[str | None] = column(default=None)
    no_mood: Column[Mood | None] = column(default=None)
    no_moods: Column[list[Mood] | None] = column(default=None)
    no_json: Column[dict[str, Any] | None] = column(default=None)
