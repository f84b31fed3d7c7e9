"""Shapes that are met again and again, made once and from then on told apart by identity.

A program compares the same columns with other values all day: `User.age > 18` has the same shape each time. What is interned is found by
one look into a dictionary, and serves as a key for what follows from it, without a walk through the shape.

The contract: an interned thing never stands for two shapes. Two of them may stand for one shape, since each memory here is emptied when it
is full (a program may make up aliases without end); then something is worked out again, and nothing else changes.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar, final

from trioorm.expression.shape import ColumnReference, Shape
from trioorm.expression.types import SqlType

K = TypeVar("K")
V = TypeVar("V")

MOST_REMEMBERED: Final = 10_000
"""How many entries a memory has at most."""


def remember(memory: dict[K, V], key: K, value: V) -> V:
    """Put something into a memory, emptying it first when it is full."""
    if len(memory) >= MOST_REMEMBERED:
        memory.clear()
    memory[key] = value
    return value


@final
class InternedCondition:
    """The shape of a condition, with the class of the conditions that have it."""

    __slots__ = ("comparison", "shape")

    def __init__(self, shape: Shape, comparison: type[Any]) -> None:
        self.shape = shape
        self.comparison = comparison


class _NoPlainValue:
    """What no value is an object of."""


@final
class InternedColumn:
    """What all columns of one shape and type share.

    Attributes:
        plain: the class of values that need no further look before they are bound; of none where each needs one.
        compared: what its comparisons were so far: by operator the condition with a value of `plain`, by operator and column the whole
            comparison with a column.
    """

    __slots__ = ("compared", "plain")

    def __init__(self, sql_type: SqlType | None) -> None:
        self.plain = sql_type.python if sql_type is not None and sql_type.plain else _NoPlainValue
        self.compared: dict[object, Any] = {}


_COLUMNS: dict[tuple[ColumnReference, SqlType | None], InternedColumn] = {}


def interned_column(shape: ColumnReference, sql_type: SqlType | None) -> InternedColumn:
    """The one for columns of this shape and type."""
    found = _COLUMNS.get((shape, sql_type))
    return found if found is not None else remember(_COLUMNS, (shape, sql_type), InternedColumn(sql_type))
