"""SQL's rules in plain Python: what a term and a question are, three truth values, NULLs in order, frames. See `semantics.py`."""

# Expressions of any class are mixed by chance here, so no checker can know theirs; `tests/typing` is about that.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import functools
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from hypothesis import strategies as st

from trioorm.expression import (
    Column,
    Ordering,
)
from trioorm.model import Model, column
from trioorm.query import Query, alias

Row: TypeAlias = dict[str, Any]
Data: TypeAlias = dict[str, list[Row]]
Env: TypeAlias = dict[str, Any]
"""What an expression sees: a row under the name of each table, all data under "", the rows of a group under "group"."""

INT, TEXT, BOOL = "int", "text", "bool"
NUMBERS = (-2, -1, 0, 1, 2, 3)
WORDS = ("", "a", "b", "ab", "ba", "aab")
PATTERNS = ("%", "a%", "%b", "_", "%a%", "a_")


class Item(Model, table="items"):
    id: Column[int] = column(primary_key=True)
    a: Column[int | None]
    b: Column[int | None]
    word: Column[str | None]
    flag: Column[bool | None]


class Part(Model, table="parts"):
    id: Column[int] = column(primary_key=True)
    a: Column[int | None]
    b: Column[int | None]
    word: Column[str | None]
    flag: Column[bool | None]


OTHER = alias(Item, "other")
COLUMNS = {"id": INT, "a": INT, "b": INT, "word": TEXT, "flag": BOOL}
TABLES: dict[str, tuple[type[Item] | type[Part], str]] = {"items": (Item, "items"), "parts": (Part, "parts"), "other": (OTHER, "items")}
"""Each table under its name in statements, and whose rows it has."""
NOTHING_THERE: Row = dict.fromkeys(COLUMNS)

DATA: st.SearchStrategy[Data] = st.fixed_dictionaries(
    {
        name: st.lists(
            st.tuples(
                st.none() | st.sampled_from(NUMBERS),
                st.none() | st.sampled_from(NUMBERS),
                st.none() | st.sampled_from(WORDS),
                st.none() | st.booleans(),
            ),
            min_size=3 if name == "items" else 0,
            max_size=8,
        ).map(lambda rows: [dict(zip(COLUMNS, (number, *row), strict=True)) for number, row in enumerate(rows, 1)])
        for name in ("items", "parts")
    }
)


class Term(NamedTuple):
    """An expression, and its value for what it sees."""

    expression: Any  # of whatever class; what type checkers refuse is tested in tests/typing
    of: Callable[[Env], Any]
    kind: str


class Question(NamedTuple):
    """A statement, and the rows that it must give; in this order if `ordered`."""

    statement: Query[Any]
    rows: Callable[[Data], list[tuple[Any, ...]]]
    ordered: bool
    kinds: tuple[str, ...]


# SQL's rules.


def and3(truths: Sequence[bool | None]) -> bool | None:
    return False if any(truth is False for truth in truths) else None if None in truths else True


def or3(truths: Sequence[bool | None]) -> bool | None:
    return True if any(truth is True for truth in truths) else None if None in truths else False


def not3(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def known(function: Callable[..., Any], *values: Any) -> Any:  # noqa: ANN401 - values of any column
    """Most functions and operators give NULL as soon as one operand is NULL."""
    return None if any(value is None for value in values) else function(*values)


def divided(a: int, b: int) -> int:
    """Towards zero, where Python divides downwards."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def remainder(a: int, b: int) -> int:
    return a - b * divided(a, b)


def is_like(text: str, pattern: str) -> bool:
    return re.fullmatch("".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern), text, re.DOTALL) is not None


COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class Order(NamedTuple):
    """A term of an ORDER BY."""

    term: Term
    descending: bool
    nulls: str | None

    @property
    def built(self) -> Ordering:
        made: Any = self.term.expression.desc if self.descending else self.term.expression.asc
        ordering: Ordering = made(nulls=self.nulls)
        return ordering

    @property
    def nulls_first(self) -> bool:
        return self.nulls == "first" or (self.nulls is None and self.descending)


def compared(orders: Sequence[Order], left: Env, right: Env) -> int:
    for order in orders:
        a, b = order.term.of(left), order.term.of(right)
        if a is None or b is None:
            if (a is None) is not (b is None):
                return -1 if (a is None) == order.nulls_first else 1
        elif a != b:
            return -1 if (a < b) != order.descending else 1
    return 0


def in_order(orders: Sequence[Order], envs: Sequence[Env]) -> list[Env]:
    return sorted(envs, key=functools.cmp_to_key(functools.partial(compared, orders)))


class Frame(NamedTuple):
    unit: str
    start: int | None
    end: int | None
    exclude: str | None


def framed(frame: Frame | None, orders: Sequence[Order], partition: list[Env], at: int) -> list[Env]:
    """The rows of a frame, by the definition of the manual, section 4.2.8."""
    here = partition[at]
    peers = [compared(orders, here, other) == 0 for other in partition]
    unit, start, end, exclude = frame if frame is not None else Frame("range_", None, 0, None)
    groups: list[int] = []
    for number, row in enumerate(partition):
        groups.append(0 if number == 0 else groups[-1] + (compared(orders, partition[number - 1], row) != 0))

    def distance(other: int) -> int | None:
        """How far a row lies from this one, in the frame's unit; None where no number says so."""
        if unit == "rows":
            return other - at
        if unit == "groups" or (start in (None, 0) and end in (None, 0)):
            return groups[other] - groups[at]
        a, b = orders[0].term.of(here), orders[0].term.of(partition[other])
        if a is None or b is None:
            return None
        away: int = a - b if orders[0].descending else b - a
        return away

    kept: list[Env] = []
    for other, env in enumerate(partition):
        away = distance(other)
        if away is None:  # NULLs are peers, from which no number leads away; a NULL and a number: one lies wholly before the other
            inside = peers[other] or (start is None if other < at else end is None)
        else:
            inside = (start is None or away >= start) and (end is None or away <= end)
        left_out = (
            (exclude == "current row" and other == at)
            or (exclude == "group" and peers[other])
            or (exclude == "ties" and peers[other] and other != at)
        )
        if inside and not left_out:
            kept.append(env)
    return kept
