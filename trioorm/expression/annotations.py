"""From Python's classes to PostgreSQL's types: annotations of columns, classes of values, classes for composite types.

The contract: `type_of_annotation` and `type_of_value` are the only places that know which class stands for which type.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import ipaddress
import operator
import types
import typing
import uuid
from enum import Enum
from typing import TYPE_CHECKING

import attrs

from trioorm.errors import ModelError, QueryError
from trioorm.expression.types import (
    BIGINT,
    BOOLEAN,
    BYTEA,
    CALENDAR_INTERVAL,
    CIDR,
    DATE,
    DOUBLE,
    INET,
    INTERVAL,
    JSONB,
    NUMERIC,
    TEXT,
    TIME,
    TIMESTAMPTZ,
    TSQUERY,
    TSVECTOR,
    UUID,
    SqlType,
    array_of,
    range_of,
    sibling_of,
)
from trioorm.expression.values import Interval, Multirange, Range, TsQuery, TsVector
from trioorm.later import module_later

if TYPE_CHECKING:
    from trioorm.expression import user_types
    from trioorm.expression.user_types import CompositeType
else:
    user_types = module_later("trioorm.expression.user_types")

_BY_PYTHON: dict[object, SqlType] = {
    bool: BOOLEAN,
    int: BIGINT,
    float: DOUBLE,
    TsVector: TSVECTOR,
    TsQuery: TSQUERY,
    str: TEXT,
    bytes: BYTEA,
    decimal.Decimal: NUMERIC,
    datetime.datetime: TIMESTAMPTZ,
    datetime.date: DATE,
    datetime.time: TIME,
    datetime.timedelta: INTERVAL,
    Interval: CALENDAR_INTERVAL,
    uuid.UUID: UUID,
    ipaddress.IPv4Address: INET,
    ipaddress.IPv6Address: INET,
    ipaddress.IPv4Network: CIDR,
    ipaddress.IPv6Network: CIDR,
    dict: JSONB,
}


def type_of_annotation(annotation: object) -> tuple[SqlType, bool] | None:
    """The type that a column annotated `Column[annotation]` has, and whether it may be NULL; None when there is no such type.

    `int` is bigint, `list[T]` an array, `Range[T]` a range, `dict[...]` and `Json` are jsonb, an enum class is its enum type, `T | None`
    may be NULL.
    """
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_of_annotation(arguments[0])
    if origin in (typing.Union, types.UnionType):
        parts = [part for part in arguments if part is not types.NoneType]
        nullable = len(parts) < len(arguments)
        if len(parts) > 1 and any(typing.get_origin(part) is dict for part in parts):
            return JSONB, nullable
        found = {type_of_annotation(part) for part in parts}
        only = found.pop() if len(found) == 1 else None  # IPv4Address | IPv6Address is one type
        return (only[0], nullable) if only is not None else None
    if origin is list:
        element = type_of_annotation(arguments[0])
        return (array_of(element[0]), False) if element is not None and element[0].element is None else None
    if origin in (Range, Multirange):
        subtype = type_of_annotation(arguments[0])
        ranged = range_of(subtype[0]) if subtype is not None else None
        if ranged is None:
            return None
        return (ranged if origin is Range else sibling_of(ranged)), False
    if origin is dict:
        return JSONB, False
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return user_types.enum_type(annotation), False
    try:
        plain = _BY_PYTHON.get(annotation)  # pyright: ignore[reportUnknownArgumentType] - isinstance narrowed it to type[Unknown]
    except TypeError:  # an annotation that cannot be hashed is none of ours
        return None
    return (plain, False) if plain is not None else None


def type_of_class(python: object, place: str) -> SqlType:
    """The type that a class or a type, given as an argument, stands for.

    Raises:
        QueryError: none is known.
    """
    if isinstance(python, SqlType):
        return python
    found = type_of_annotation(python)
    if found is None:
        raise QueryError(
            f"{place} was given {getattr(python, '__name__', python)}, for which no PostgreSQL type is known.\n"
            f"To fix it: give a class such as int or str, or a type such as JSONB."
        )
    return found[0]


def type_of_value(value: object) -> SqlType:
    """The type that a value is bound with when nothing else says so. It depends on the value's class only, so that the shape does.

    Raises:
        QueryError: no PostgreSQL type is known for the value's class.
    """
    found = _BY_PYTHON.get(type(value)) or _type_of_container(value)
    if found is not None:
        return found
    if isinstance(value, Enum):
        return user_types.enum_type(type(value))
    for python, sql_type in _BY_PYTHON.items():
        if isinstance(python, type) and isinstance(value, python):
            return sql_type
    class_name = type(value).__qualname__
    raise QueryError(
        f"No PostgreSQL type is known for a value of class {class_name}.\n"
        "To fix it, one of:\n"
        "  1. compare it with a column, which has a type\n"
        "  2. say the type: literal(value, type=JSONB)"
    )


def _type_of_container(value: object) -> SqlType | None:
    """The type of a range, multirange or list, by the class of what it holds; None where it holds nothing or different things."""
    if isinstance(value, Range):
        whole = typing.cast("Range[object]", value)
        kinds = {type_of_value(bound) for bound in (whole.lower, whole.upper) if bound is not None}
        return range_of(kinds.pop()) if len(kinds) == 1 else None
    if isinstance(value, Multirange):
        ranges = {_type_of_container(each) for each in typing.cast("Multirange[object]", value)}
        only = ranges.pop() if len(ranges) == 1 else None
        return sibling_of(only) if only is not None else None
    if isinstance(value, (list, tuple)):
        kinds = {type_of_value(item) for item in typing.cast("list[object]", value) if item is not None}
        return array_of(kinds.pop()) if len(kinds) == 1 else None
    return None


def composite_type(python: type, *, name: str | None = None) -> CompositeType:
    """The composite type of an attrs class or dataclass: its fields are the type's, in order.

    Args:
        python: the class. Its fields are annotated as columns would be.
        name: of the type in PostgreSQL; by default the class's name in snake case.

    Raises:
        ModelError: the class is neither, or a field has a class that stands for no type.
    """
    hints = typing.get_type_hints(python)
    names = field_names(python)
    if not names:
        raise ModelError(
            f"{python.__qualname__} cannot be a composite type: it is no attrs class and no dataclass with fields.\n"
            "To fix it: decorate it with @attrs.frozen or @dataclass."
        )
    fields: list[tuple[str, SqlType]] = []
    for field in names:
        found = type_of_annotation(hints[field])
        if found is None:
            raise ModelError(
                f"{python.__qualname__}.{field} is {hints[field]!r}, for which no PostgreSQL type is known.\n"
                "To fix it: annotate it as a column would be."
            )
        fields.append((field, found[0]))
    read = operator.attrgetter(*names)
    return user_types.made_composite(python, name, tuple(fields), read if len(names) > 1 else lambda value: (read(value),))


def field_names(python: type) -> list[str]:
    """The names of the fields of an attrs class or dataclass that its constructor takes; none for other classes."""
    if attrs.has(python):
        return [field.name for field in attrs.fields(python) if field.init]
    if dataclasses.is_dataclass(python):
        return [field.name for field in dataclasses.fields(python) if field.init]
    return []
