"""The PostgreSQL types that columns and bind values have, and the Python types they stand for.

The contract: a `SqlType` is one of the constants below, an array of one (`array_of`) or an enum's (`enum_type`). There is one object
for each type, so types are compared and hashed by identity. This file knows the names of types, not how their values travel: packing
and unpacking are the hall's.

Source: PostgreSQL manual, chapter 8 (data types).
"""

import datetime
import decimal
import re
import types
import typing
import uuid
from collections.abc import Mapping
from enum import Enum, Flag

import attrs

from trioorm.errors import ModelError, QueryError


@attrs.frozen(eq=False, repr=False)
class SqlType:
    """One PostgreSQL type.

    Attributes:
        name: as PostgreSQL spells it in DDL and casts (`double precision`); for an enum its bare name, not quoted; for an array the
            element's name and `[]`.
        python: the class of the values that a row of this type gives.
        element: what an array holds, None for all others.
        enum: the Python enum of an enum type, None for all others.
        family: types of one family can be compared with each other.
        rank: for numbers, which of two types holds the result of their arithmetic (the higher); 0 for all others.
        plain: a value whose class is exactly `python` needs no further look before it is bound.
        labels: for an enum type, PostgreSQL's labels with their members, in the order of declaration; else empty.
    """

    name: str
    python: type
    element: "SqlType | None" = None
    enum: type[Enum] | None = None
    family: str = ""
    rank: int = 0
    plain: bool = True
    labels: Mapping[str, Enum] = attrs.field(factory=lambda: types.MappingProxyType({}))

    def __repr__(self) -> str:
        return f"<SqlType {self.name}>"


SMALLINT = SqlType("smallint", int, family="number", rank=1)
INTEGER = SqlType("integer", int, family="number", rank=2)
BIGINT = SqlType("bigint", int, family="number", rank=3)
NUMERIC = SqlType("numeric", decimal.Decimal, family="number", rank=4)
DOUBLE = SqlType("double precision", float, family="number", rank=5)
BOOLEAN = SqlType("boolean", bool, family="boolean")
TEXT = SqlType("text", str, family="text")
BYTEA = SqlType("bytea", bytes, family="bytea")
DATE = SqlType("date", datetime.date, family="date")
TIME = SqlType("time", datetime.time, family="time")
TIMESTAMPTZ = SqlType("timestamptz", datetime.datetime, family="timestamptz", plain=False)
INTERVAL = SqlType("interval", datetime.timedelta, family="interval")
UUID = SqlType("uuid", uuid.UUID, family="uuid")
JSONB = SqlType("jsonb", object, family="jsonb", plain=False)

Json: typing.TypeAlias = typing.Union[dict[str, "Json | None"], list["Json | None"], str, int, float, bool]  # noqa: UP007 - `|` takes no forward name
"""The annotation of a jsonb column that may hold any JSON value; `Json | None` may be NULL too."""

BUILT_IN: tuple[SqlType, ...] = (
    SMALLINT, INTEGER, BIGINT, NUMERIC, DOUBLE, BOOLEAN, TEXT, BYTEA, DATE, TIME, TIMESTAMPTZ, INTERVAL, UUID, JSONB,
)  # fmt: skip

_BY_PYTHON: dict[object, SqlType] = {
    bool: BOOLEAN,
    int: BIGINT,
    float: DOUBLE,
    str: TEXT,
    bytes: BYTEA,
    decimal.Decimal: NUMERIC,
    datetime.datetime: TIMESTAMPTZ,
    datetime.date: DATE,
    datetime.time: TIME,
    datetime.timedelta: INTERVAL,
    uuid.UUID: UUID,
    dict: JSONB,
}
_ARRAYS: dict[SqlType, SqlType] = {}
_ENUMS: dict[tuple[type[Enum], str], SqlType] = {}


def array_of(element: SqlType) -> SqlType:
    """The type of one-dimensional arrays of `element`; a row gives a list.

    Raises:
        ModelError: `element` is itself an array; PostgreSQL has no arrays of arrays, only arrays of more dimensions.
    """
    known = _ARRAYS.get(element)
    if known is not None:
        return known
    if element.element is not None:
        raise ModelError(
            f"There is no array of {element.name}.\n"
            "PostgreSQL's arrays of several dimensions are one type with those of one, and must be rectangular.\n"
            "To fix it: keep the value as jsonb, with column(type=JSONB)."
        )
    return _ARRAYS.setdefault(element, SqlType(f"{element.name}[]", list, element=element, family=f"{element.family}[]", plain=False))


def enum_type(members: type[Enum], *, name: str | None = None) -> SqlType:
    """The PostgreSQL enum type of a Python enum.

    Args:
        members: the enum. A label is the member's value where that is a `str`, else the member's name.
        name: of the type in PostgreSQL; by default the class's name in snake case.

    Raises:
        ModelError: the enum has no members, is a flag, or has two members with one label.
    """
    type_name = name if name is not None else _snake_case(members.__name__)
    known = _ENUMS.get((members, type_name))
    if known is not None:
        return known
    if issubclass(members, Flag):
        raise ModelError(
            f"The flag {members.__name__} cannot be an enum type: a value may be several of its members at once.\n"
            "To fix it: store an int, or an array of a plain enum."
        )
    labels: dict[str, Enum] = {}
    for member in members:
        label = enum_label(member)
        if label in labels or not label or len(label.encode()) > 63 or "\0" in label:
            raise ModelError(
                f"{members.__name__}.{member.name} cannot be a label of an enum type: {label!r}.\n"
                "A label has 1 to 63 bytes and stands for one member only.\nTo fix it: change the member's value."
            )
        labels[label] = member
    if not labels:
        raise ModelError(f"The enum {members.__name__} has no members, so no value could be stored.\nTo fix it: give it members.")
    made = SqlType(type_name, members, enum=members, family=f"enum {type_name}", labels=types.MappingProxyType(labels))
    return _ENUMS.setdefault((members, type_name), made)


def enum_label(member: Enum) -> str:
    """The label by which PostgreSQL knows a member: its value where that is a `str`, else its name."""
    value: object = member.value
    return value if isinstance(value, str) else member.name


def type_of_annotation(annotation: object) -> tuple[SqlType, bool] | None:
    """The type that a column annotated `Column[annotation]` has, and whether it may be NULL; None when there is no such type.

    `int` is bigint, `list[T]` an array, `dict[...]` and `Json` are jsonb, an enum class is its enum type, `T | None` may be NULL.
    """
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return type_of_annotation(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(annotation) if part is not types.NoneType]
        nullable = len(parts) < len(typing.get_args(annotation))
        if len(parts) > 1 and any(typing.get_origin(part) is dict for part in parts):
            return JSONB, nullable
        found = type_of_annotation(parts[0]) if len(parts) == 1 else None
        return (found[0], nullable) if found is not None else None
    if origin is list:
        element = type_of_annotation(typing.get_args(annotation)[0])
        return (array_of(element[0]), False) if element is not None and element[0].element is None else None
    if origin is dict:
        return JSONB, False
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return enum_type(annotation), False
    try:
        plain = _BY_PYTHON.get(annotation)  # pyright: ignore[reportUnknownArgumentType] - isinstance narrowed it to type[Unknown]
    except TypeError:  # an annotation that cannot be hashed is none of ours
        return None
    return (plain, False) if plain is not None else None


def type_of_value(value: object) -> SqlType:
    """The type that a value is bound with when nothing else says so. It depends on the value's class only, so that the shape does.

    Raises:
        QueryError: no PostgreSQL type is known for the value's class.
    """
    found = _BY_PYTHON.get(type(value))
    if found is not None:
        return found
    if isinstance(value, Enum):
        return enum_type(type(value))
    for python, sql_type in _BY_PYTHON.items():
        if isinstance(python, type) and isinstance(value, python):
            return sql_type
    if isinstance(value, (list, tuple)):
        kinds = {type_of_value(item) for item in typing.cast("list[object]", value) if item is not None}
        if len(kinds) == 1:
            return array_of(kinds.pop())
    class_name = type(typing.cast("object", value)).__qualname__  # type: ignore[redundant-cast]  # pyright has it partly unknown here
    raise QueryError(
        f"No PostgreSQL type is known for a value of class {class_name}.\n"
        "To fix it, one of:\n"
        "  1. compare it with a column, which has a type\n"
        "  2. say the type: literal(value, type=JSONB)"
    )


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
