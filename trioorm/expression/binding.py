"""From a Python value to a bind: its place in the shape, the value itself, and its type.

The contract: whether a value fits is decided by its class, when the expression is built; whether it is in range, when it is packed.
The type of a bind never depends on more than the value's class, or equal shapes would have different types.
"""

import datetime
import decimal
import enum
import typing

from trioorm.errors import BindError, QueryError
from trioorm.expression.shape import PLACES, Bind
from trioorm.expression.types import BIGINT, DATE, DOUBLE, JSONB, NUMERIC, SqlType, type_of_value


def accepts(sql_type: SqlType, value: object) -> bool:
    """Whether a value can be bound as this type, judged by its class."""
    python = sql_type.python
    if type(value) is python:
        return sql_type.element is None or _accepts_items(sql_type.element, typing.cast("list[object]", value))
    if isinstance(value, bool):
        return sql_type is JSONB
    if sql_type is JSONB:
        return value is None or isinstance(value, (dict, list, tuple, str, int, float))
    if sql_type is DATE:
        return isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
    if sql_type is DOUBLE or sql_type is NUMERIC:
        return isinstance(value, (int, python))
    if sql_type.element is not None:
        return isinstance(value, (list, tuple)) and _accepts_items(sql_type.element, typing.cast("list[object]", value))
    if isinstance(value, enum.Enum) and sql_type.enum is None:
        return isinstance(value, python)  # members of an IntEnum or StrEnum are plain values too
    return isinstance(value, python)


def _accepts_items(element: SqlType, items: list[object]) -> bool:
    return all(item is None or accepts(element, item) for item in items)


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
        check_aware(value, of=of)
        return Bind(own, cast=True), own
    if type(value) is preferred.python and preferred.plain:
        return PLACES[preferred], preferred
    if accepts(preferred, value):
        check_aware(value, of=of)
        return PLACES[preferred], preferred
    if preferred.family == "number" and isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool):
        own = DOUBLE if isinstance(value, float) else NUMERIC if isinstance(value, decimal.Decimal) else BIGINT
        return Bind(own, cast=True), own
    raise wrong_class(value, preferred, of=of)


def check_aware(value: object, *, of: object) -> None:
    """Refuse a datetime without a time zone.

    Raises:
        BindError: as said.
    """
    if isinstance(value, datetime.datetime) and value.tzinfo is None:
        raise BindError(
            f"A datetime without a time zone was given for {of}.\n"
            "It names no moment until somebody guesses its zone.\n"
            "To fix it:\n"
            "  wrong: datetime.now()\n"
            "  right: datetime.now(UTC), or value.replace(tzinfo=...)"
        )


def bind_array(values: "list[object]", element: SqlType | None, *, of: object) -> tuple[list[object], SqlType]:
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
    for item in values:
        if not accepts(element, item):
            raise wrong_class(item, element, of=of)
        check_aware(item, of=of)
    return values, element


def wrong_class(value: object, expected: SqlType, *, of: object) -> QueryError:
    """The error for a value whose class does not fit. The value itself is not shown: it may be a secret."""
    python = expected.enum.__name__ if expected.enum is not None else "JSON" if expected is JSONB else expected.python.__name__
    hint = {
        ("datetime", "date"): "value.date()",
        ("date", "datetime"): "datetime.combine(value, time(), tzinfo=UTC)",
        ("str", "int"): "int(value)",
        ("str", "uuid"): "UUID(value)",
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
