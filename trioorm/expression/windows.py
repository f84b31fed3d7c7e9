"""Windows: which rows a window function sees, and in which order.

The contract: `window(...)` is a value of its own, so that one can be given to several functions, or a name in a statement.

Source: PostgreSQL manual, section 4.2.8 (window function calls).
"""

from __future__ import annotations

import datetime
import decimal
import typing
from collections.abc import Sequence
from typing import Literal, TypeAlias

from trioorm.errors import QueryError
from trioorm.expression import building
from trioorm.expression.annotations import type_of_value
from trioorm.expression.identifiers import quote_identifier
from trioorm.expression.node import Node, Ordering
from trioorm.expression.shape import Cast, Frame, Function, Over, Shape, Window
from trioorm.expression.values import Interval

Terms: TypeAlias = "Node[object] | Ordering | Sequence[Node[object] | Ordering]"
Bound: TypeAlias = int | float | decimal.Decimal | datetime.timedelta | Interval | None
"""How far from the row at hand: 0 is itself, a negative length before it, a positive one after it, None without end."""

Exclusion: TypeAlias = Literal["current row", "group", "ties"]


class WindowSpec:
    """A window. Made by `window`."""

    __slots__ = ("bind_values", "shape")

    def __init__(self, shape: Window, bind_values: tuple[object, ...]) -> None:
        self.shape = shape
        self.bind_values = bind_values


def window(
    *,
    partition_by: Terms = (),
    order_by: Terms = (),
    rows: tuple[Bound, Bound] | None = None,
    range_: tuple[Bound, Bound] | None = None,
    groups: tuple[Bound, Bound] | None = None,
    exclude: Exclusion | None = None,
    base: str = "",
) -> WindowSpec:
    """A window, for `over(...)`.

    Args:
        partition_by: what the rows of one partition have in common; one expression or several.
        order_by: their order in it.
        rows: the frame, counted in rows: `(-2, 0)` is the two rows before and the row itself, `(None, 0)` all up to it.
        range_: the frame by the value that the rows are ordered by: `(timedelta(days=-7), timedelta(0))`, or `(None, 0)`.
        groups: the frame, counted in groups of rows that are equal in the order.
        exclude: leave out the row itself, its whole group, or the others of its group.
        base: the name of a window of the statement that this one refines.

    Raises:
        QueryError: more than one frame, an exclusion without one, or bounds the wrong way round.
    """
    frames = [(unit, frame) for unit, frame in (("ROWS", rows), ("RANGE", range_), ("GROUPS", groups)) if frame is not None]
    if len(frames) > 1 or (exclude is not None and not frames):
        raise QueryError(
            "A window has one frame at most, and exclude= needs one.\nTo fix it: keep one of rows=, range_=, groups=, as in rows=(-2, 0)."
        )
    if base:
        quote_identifier(base)
    partition, values = terms_of(partition_by, "partition_by=")
    order, order_values = terms_of(order_by, "order_by=")
    values += order_values
    frame: Frame | None = None
    if frames:
        frame, frame_values = _frame(*frames[0], exclude)
        values += frame_values
    return WindowSpec(Window(partition, order, frame, base), values)


def over_parts(function: Node[object], spec: WindowSpec | str) -> building.Part:
    """A call over a window.

    Raises:
        QueryError: it is no call of a function.
    """
    shape = function.shape
    call = shape.operand if isinstance(shape, Cast) else shape  # sum_() casts what the window function gives
    if not isinstance(call, Function):
        raise QueryError(
            f"over() belongs to the call of a function, and {function} is none.\nTo fix it: rank().over(...), sum_(User.age).over(...)."
        )
    if isinstance(spec, str):
        quote_identifier(spec)
        made: Shape = Over(call, spec)
        values = function.bind_values
    else:
        made = Over(call, spec.shape)
        values = function.bind_values + spec.bind_values
    return (shape._replace(operand=made) if isinstance(shape, Cast) else made), values


def terms_of(terms: Terms, place: str) -> tuple[tuple[Shape, ...], tuple[object, ...]]:
    """Terms of ORDER BY or PARTITION BY, with their values."""
    shapes: list[Shape] = []
    values: tuple[object, ...] = ()
    for term in terms if isinstance(terms, (list, tuple)) else (terms,):
        if isinstance(term, Ordering):
            shapes.append(term.shape)
            values += term.bind_values
        elif isinstance(term, Node):
            found = term
            shapes.append(found.operand())
            values += found.bind_values
        else:
            raise QueryError(
                f"{place} takes columns and expressions, and got {term!r}.\nTo fix it: name the column through its class, as in User.age."
            )
    return tuple(shapes), values


def _frame(unit: str, bounds: tuple[Bound, Bound], exclude: str | None) -> tuple[Frame, tuple[object, ...]]:
    if exclude not in (None, "current row", "group", "ties"):
        raise QueryError(f'exclude={exclude!r} leaves nothing out.\nTo fix it: "current row", "group" or "ties".')
    if not isinstance(typing.cast("object", bounds), tuple) or len(bounds) != 2:  # callers without a type checker
        raise QueryError(f"A frame is a tuple of two bounds, and {bounds!r} is not.\nTo fix it: rows=(-2, 0); None is without end.")
    (start, start_values), (end, end_values) = _bound(unit, bounds[0], "PRECEDING"), _bound(unit, bounds[1], "FOLLOWING")
    return Frame(unit, start, end, (exclude or "").upper()), start_values + end_values


def _bound(unit: str, bound: Bound, outside: str) -> tuple[tuple[Shape | None, str], tuple[object, ...]]:
    """One end of a frame: what to write, and its value. `outside` is the side to which None reaches."""
    if bound is None:
        return (None, f"UNBOUNDED {outside}"), ()
    if isinstance(bound, bool) or (unit != "RANGE" and not isinstance(bound, int)):
        raise QueryError(
            f"{unit} is counted in whole numbers, and {type(bound).__qualname__} is none.\n"
            "To fix it: rows=(None, 0) is UNBOUNDED PRECEDING to CURRENT ROW, rows=(-2, 2) is 2 PRECEDING to 2 FOLLOWING; "
            "range_= for lengths of time."
        )
    if isinstance(bound, datetime.timedelta):
        negative, zero = bound < datetime.timedelta(), bound == datetime.timedelta()
        length: object = abs(bound)
    elif isinstance(bound, Interval):
        negative, zero = min(bound.months, bound.days, bound.microseconds) < 0, bound == Interval()
        length = Interval(abs(bound.months), abs(bound.days), abs(bound.microseconds)) if negative else bound
    else:
        negative, zero, length = bound < 0, bound == 0, abs(bound)
    if zero:
        return (None, "CURRENT ROW"), ()
    shape, values = building.place_of(length, type_of_value(length), of="a frame")
    return (shape, "PRECEDING" if negative else "FOLLOWING"), values
