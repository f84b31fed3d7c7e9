"""From a Python value to a bind: its place in the shape, the value itself, and its type.

The contract: whether a value fits is decided by its class, when the expression is built; whether it is in range, when it is packed.
The type of a bind never depends on more than the value's class, or equal shapes would have different types.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import typing

from trioorm.errors import BindError, QueryError
from trioorm.expression.annotations import type_of_value
from trioorm.expression.column_values import kinds_of
from trioorm.expression.shape import PLACES, Bind
from trioorm.expression.types import BIGINT, DOUBLE, JSONB, NUMERIC, TIMESTAMP, SqlType
from trioorm.expression.user_made import is_composite, is_json
from trioorm.expression.values import Multirange, Range


def accepts(sql_type: SqlType, value: object) -> bool:
    """Whether a value can be bound as this type, judged by its class and the classes of what it holds."""
    python = sql_type.python
    if type(value) is python and sql_type.plain:
        return True
    if sql_type.element is not None:
        return _is_list(value) and _accepts_items(sql_type.element, typing.cast("list[object]", value))
    if is_json(sql_type):
        return isinstance(value, python) and value is not None
    if sql_type.subtype is not None:
        return _accepts_range(sql_type, sql_type.subtype, value)
    if is_composite(sql_type):
        return isinstance(value, python) and (python is not tuple or len(typing.cast("tuple[object, ...]", value)) == len(sql_type.fields))
    match sql_type.family:
        case "jsonb":
            return value is None or isinstance(value, (dict, list, tuple, str, int, float))
        case "vector":
            return _is_list(value) and all(_is_number(item) for item in typing.cast("list[object]", value))
        case "hstore":
            return isinstance(value, dict)
        case _:
            return _accepts_plain(sql_type, value)


def _accepts_plain(sql_type: SqlType, value: object) -> bool:
    python = sql_type.python
    if isinstance(value, bool):
        return python is bool
    if python is datetime.date:
        return isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
    if python is float or python is decimal.Decimal:
        return isinstance(value, (int, python))
    if isinstance(value, enum.Enum) and sql_type.enum is None:
        return isinstance(value, python)  # members of an IntEnum or StrEnum are plain values too
    return isinstance(value, sql_type.classes or python)


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) and not isinstance(value, Multirange)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _accepts_items(element: SqlType, items: list[object]) -> bool:
    return all(item is None or accepts(element, item) for item in items)


def _accepts_range(sql_type: SqlType, subtype: SqlType, value: object) -> bool:
    if sql_type.python is Multirange:
        return isinstance(value, Multirange) and all(_has_bounds(subtype, each) for each in typing.cast("Multirange[object]", value))
    return isinstance(value, Range) and _has_bounds(subtype, typing.cast("Range[object]", value))


def _has_bounds(subtype: SqlType, value: Range[object]) -> bool:
    return all(bound is None or accepts(subtype, bound) for bound in (value.lower, value.upper))


def bind(value: object, preferred: SqlType | None, *, of: object) -> tuple[Bind, SqlType]:
    """The place and the type for a value that meets something of type `preferred`.

    A number that the preferred type does not hold is bound as its own type, so `orders.total > 1.5` works on a bigint too; any other
    class is refused.

    Args:
        of: what the value meets, for the error's text.

    Raises:
        QueryError: the value's class does not fit.
        BindError: a moment without a time zone.
    """
    if preferred is None:
        own = type_of_value(value)
        check_aware(value, own, of=of)
        return Bind(own, cast=True), own
    if type(value) is preferred.python and preferred.plain:
        return PLACES[preferred], preferred
    if accepts(preferred, value):
        check_aware(value, preferred, of=of)
        return PLACES[preferred], preferred
    if is_json(preferred) and accepts(JSONB, value):  # a part of the JSON, as in contains({"city": "Rome"})
        return PLACES[JSONB], JSONB
    if preferred.family == "number" and isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool):
        own = DOUBLE if isinstance(value, float) else NUMERIC if isinstance(value, decimal.Decimal) else BIGINT
        return Bind(own, cast=True), own
    raise wrong_class(value, preferred, of=of)


def check_aware(value: object, sql_type: SqlType | None = None, *, of: object) -> None:
    """Refuse a datetime without a time zone where a moment is meant, and one with a time zone where the hands of a clock are.

    Raises:
        BindError: as said.
    """
    if isinstance(value, Range):
        ranged = typing.cast("Range[object]", value)
        check_aware(ranged.lower, sql_type, of=of)
        check_aware(ranged.upper, sql_type, of=of)
    elif isinstance(value, (list, tuple)):
        for item in typing.cast("list[object]", value):
            check_aware(item, sql_type, of=of)
    if not isinstance(value, datetime.datetime):
        return
    if sql_type is not None and TIMESTAMP in (sql_type, sql_type.element, sql_type.subtype):
        if value.tzinfo is not None:
            raise BindError(
                f"A datetime with a time zone was given for {of}, which is timestamp: what a clock on some wall shows.\n"
                "To fix it: value.replace(tzinfo=None), once it is in the zone that is meant; or at_time_zone(...) on the column."
            )
    elif value.tzinfo is None:
        raise BindError(
            f"A datetime without a time zone was given for {of}.\n"
            "It names no moment until somebody guesses its zone.\n"
            "To fix it:\n"
            "  wrong: datetime.now()\n"
            "  right: datetime.now(UTC), or value.replace(tzinfo=...)"
        )


def bind_array(values: list[object], element: SqlType | None, *, of: object) -> tuple[list[object], SqlType]:
    """The list for `= ANY(...)` and the type of its elements.

    Raises:
        QueryError: an element is None or of a class that does not fit, or there is nothing to tell the type.
    """
    if any(item is None for item in values):
        raise QueryError(
            f"None is among the values compared with {of}.\n"
            "NULL equals nothing in SQL, so it would never match, and in not_in() it would make every row fail.\n"
            "To fix it: leave None out and say it: column.in_([...]) | column.is_null()."
        )
    if element is None:
        if not values:
            raise QueryError(f"The type of an empty list compared with {of} is not known.\nTo fix it: cast({of}, ...) first.")
        element = type_of_value(values[0])
    if element.element is not None:
        raise QueryError(f"in_() on {of} would need an array of arrays.\nTo fix it: or_(*(column == value for value in values)).")
    if element.plain and kinds_of(values) == {element.python}:
        return values, element
    for item in values:
        if not accepts(element, item):
            raise wrong_class(item, element, of=of)
        check_aware(item, element, of=of)
    return values, element


def wrong_class(value: object, expected: SqlType, *, of: object) -> QueryError:
    """The error for a value whose class does not fit. The value itself is not shown: it may be a secret."""
    python = "JSON" if expected is JSONB else expected.python.__name__
    if expected.element is not None or expected.subtype is not None:
        inner = expected.element or expected.subtype
        python = f"{python}[{inner.python.__name__ if inner is not None else ''}]"
    hint = {
        ("datetime", "date"): "value.date()",
        ("date", "datetime"): "datetime.combine(value, time(), tzinfo=UTC)",
        ("str", "int"): "int(value)",
        ("str", "UUID"): "UUID(value)",
        ("str", "IPv4Address"): "ipaddress.ip_address(value)",
        ("str", "IPv4Network"): "ipaddress.ip_network(value)",
        ("timedelta", "Interval"): "Interval.of(span=value)",
    }.get((type(value).__name__, python), f"a {python}")
    if expected.enum is not None:
        hint = f"a member, such as {expected.enum.__name__}.{next(iter(expected.labels.values())).name}"
    return QueryError(
        f"A value of class {type(value).__qualname__} was given for {of}, which is {expected.name} ({python} in Python).\n"
        f"To fix it: give {hint}; or cast() the other side if you mean it."
    )


def same_family(left: SqlType | None, right: SqlType | None) -> bool:
    """Whether two types can be compared; an unknown type can with all."""
    return left is None or right is None or left is right or left.family == right.family


def limit_bind(count: int, what: str) -> tuple[Bind, int]:
    """The bind of LIMIT or OFFSET.

    Raises:
        QueryError: `count` is no whole number from 0.
    """
    if type(count) is not int or count < 0:  # a bool is no number of rows
        raise QueryError(f"{what} was given {count!r}.\nTo fix it: give a whole number from 0.")
    return Bind(BIGINT), count
