"""Classes for values that Python has none of its own for: ranges, calendar intervals, full-text vectors and queries.

The contract: frozen, hashable, equal by content. They know nothing of SQL; packing and unpacking are the hall's.
"""

from __future__ import annotations

import datetime
import typing
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs

from trioorm.errors import QueryError

T_co = TypeVar("T_co", covariant=True)
Bounds: TypeAlias = Literal["[)", "[]", "(]", "()"]


@attrs.frozen(init=False, repr=False)
class Range(Generic[T_co]):
    """A range of values: `Range(1, 5)` holds 1 and not 5, as PostgreSQL's ranges do unless they say otherwise.

    Two are equal when written alike: `Range(1, 4, "[]")` is not `Range(1, 5)`, though PostgreSQL gives whole numbers and dates back as the
    latter.

    Attributes:
        lower: the lower bound; None where the range has none (or is empty).
        upper: the upper bound, likewise.
        bounds: which of the two belong to the range, in mathematics' brackets. A bound that is not there never does.
        is_empty: it holds nothing. Made by `Range.empty()`.
    """

    lower: T_co | None
    upper: T_co | None
    bounds: Bounds
    is_empty: bool

    def __init__(self, lower: T_co | None = None, upper: T_co | None = None, bounds: Bounds = "[)", *, is_empty: bool = False) -> None:
        if bounds not in ("[)", "[]", "(]", "()"):
            raise QueryError(f"{bounds!r} is no kind of bounds.\nTo fix it: one of '[)', '[]', '(]' and '()'.")
        if is_empty:
            lower = upper = None
        left, right = "(" if lower is None else bounds[0], ")" if upper is None else bounds[1]
        make = typing.cast("Any", self).__attrs_init__  # made by attrs, unseen by pyright
        make(lower, upper, left + right, is_empty)

    @classmethod
    def empty(cls) -> Range[Any]:
        """The range that holds nothing."""
        return Range(is_empty=True)

    def __contains__(self, value: Any) -> bool:  # noqa: ANN401 - whatever can be compared with the bounds
        if self.is_empty or value is None:
            return False
        lower: Any = self.lower
        upper: Any = self.upper
        above = lower is None or value > lower or (self.bounds[0] == "[" and value == lower)
        below = upper is None or value < upper or (self.bounds[1] == "]" and value == upper)
        return bool(above and below)

    def __repr__(self) -> str:
        if self.is_empty:
            return "Range.empty()"
        return f"Range({self.lower!r}, {self.upper!r}, {self.bounds!r})"


class Multirange(tuple[Range[T_co], ...]):
    """Several ranges: `Multirange([Range(1, 3), Range(5, 7)])`. PostgreSQL gives them back in order, with those that touch made one."""

    __slots__ = ()

    def __contains__(self, value: object) -> bool:
        return any(value in each for each in self)

    def __repr__(self) -> str:
        return f"Multirange({list(self)!r})"


@attrs.frozen
class Interval:
    """A span of the calendar, as PostgreSQL keeps it: a month has no fixed number of days, nor a day of hours.

    A `datetime.timedelta` cannot say "one month"; `Column[Interval]` can.
    """

    months: int = 0
    days: int = 0
    microseconds: int = 0

    @classmethod
    def of(cls, *, years: int = 0, months: int = 0, weeks: int = 0, days: int = 0, span: datetime.timedelta | None = None) -> Interval:
        """From calendar units and a span of time: `Interval.of(months=1, span=timedelta(hours=2))`."""
        rest = span if span is not None else datetime.timedelta()
        micros = rest.seconds * 1_000_000 + rest.microseconds
        return cls(months=12 * years + months, days=7 * weeks + days + rest.days, microseconds=micros)


class TsVector(str):
    """A text as full-text search sees it, in PostgreSQL's writing: `'cat':3 'fat':2`. Made by `search.to_tsvector`."""

    __slots__ = ()


class TsQuery(str):
    """A query of full-text search, in PostgreSQL's writing: `'fat' & 'cat'`. Made by `search.websearch_to_tsquery` and its kin."""

    __slots__ = ()
