"""The values of one column of many rows, which are looked at as a whole.

Measured for a thousand integers: 7.5 µs to find their classes, of 35 for all that an array of them takes; so it is done once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class ColumnValues(list[Any]):
    """A list that knows the classes of its values. It is never changed.

    Attributes:
        kinds: those classes.
    """

    __slots__ = ("kinds",)

    def __init__(self, values: Iterable[object]) -> None:
        super().__init__(values)
        self.kinds = _kinds(self)


def kinds_of(values: Sequence[object]) -> set[type]:
    """The classes of values."""
    return values.kinds if type(values) is ColumnValues else _kinds(values)


def _kinds(values: Sequence[object]) -> set[type]:
    """As a rule they are all of one class, and to count it takes two thirds of the time that a set does."""
    kinds = list(map(type, values))
    return {kinds[0]} if kinds and kinds.count(kinds[0]) == len(kinds) else set(kinds)
