"""Functions and operators of ranges and multiranges: `ranges.lower(Booking.during)`, `ranges.adjacent(a, b)`.

`contains`, `contained_by` and `overlaps` are methods of expressions; `+`, `-` and `*` are union, difference and intersection.

Source: PostgreSQL manual, section 9.20.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

from trioorm.expression import building
from trioorm.expression.expression import Expression, Operation
from trioorm.expression.shape import Binary, Function
from trioorm.expression.types import BOOLEAN, SqlType, sibling_of
from trioorm.expression.values import Multirange, Range

S = TypeVar("S")
Ranged: TypeAlias = "Expression[Range[S] | None] | Expression[Multirange[S] | None]"
Other: TypeAlias = "Range[S] | Multirange[S] | Expression[Range[S]] | Expression[Multirange[S]]"


def lower(of: Ranged[S]) -> Expression[S | None]:
    """The lower bound; NULL where the range has none or is empty."""
    return _function("lower", of, _subtype(of))


def upper(of: Ranged[S]) -> Expression[S | None]:
    """The upper bound; NULL where the range has none or is empty."""
    return _function("upper", of, _subtype(of))


def is_empty(of: Ranged[S]) -> Expression[bool]:
    """Whether it holds nothing."""
    return _function("isempty", of, BOOLEAN)


def lower_inclusive(of: Ranged[S]) -> Expression[bool]:
    """Whether the lower bound belongs to it."""
    return _function("lower_inc", of, BOOLEAN)


def upper_inclusive(of: Ranged[S]) -> Expression[bool]:
    """Whether the upper bound belongs to it."""
    return _function("upper_inc", of, BOOLEAN)


def lower_infinite(of: Ranged[S]) -> Expression[bool]:
    """Whether it has no lower bound."""
    return _function("lower_inf", of, BOOLEAN)


def upper_infinite(of: Ranged[S]) -> Expression[bool]:
    """Whether it has no upper bound."""
    return _function("upper_inf", of, BOOLEAN)


def merge(a: Expression[Range[S]], b: Range[S] | Expression[Range[S]]) -> Expression[Range[S]]:
    """The smallest range that holds both, with what lies between them."""
    shape, values = building.part_of(a, "", b)
    assert isinstance(shape, Binary)
    return Operation(Function("range_merge", (shape.left, shape.right)), values, a.sql_type)


def span(of: Expression[Multirange[S]]) -> Expression[Range[S]]:
    """The smallest range that holds all of a multirange."""
    return _function("range_merge", of, _sibling(of))


def multirange(of: Expression[Range[S]]) -> Expression[Multirange[S]]:
    """A range as a multirange, whose `+` and `-` may leave gaps."""
    return _function("multirange", of, _sibling(of))


def aggregate(of: Ranged[S]) -> Expression[Multirange[S] | None]:
    """The union of the ranges of all rows (`range_agg`); NULL when there are no rows."""
    is_range = of.sql_type is not None and of.sql_type.python is Range
    return _function("range_agg", of, _sibling(of) if is_range else of.sql_type)


def adjacent(a: Ranged[S], b: Other[S]) -> Expression[bool]:
    """Whether the two touch without having anything in common (`-|-`)."""
    return _asked("-|-", a, b)


def before(a: Ranged[S], b: Other[S]) -> Expression[bool]:
    """Whether all of `a` lies before all of `b` (`<<`)."""
    return _asked("<<", a, b)


def after(a: Ranged[S], b: Other[S]) -> Expression[bool]:
    """Whether all of `a` lies after all of `b` (`>>`)."""
    return _asked(">>", a, b)


def ends_within(a: Ranged[S], b: Other[S]) -> Expression[bool]:
    """Whether `a` does not reach beyond the end of `b` (`&<`)."""
    return _asked("&<", a, b)


def begins_within(a: Ranged[S], b: Other[S]) -> Expression[bool]:
    """Whether `a` does not reach before the beginning of `b` (`&>`)."""
    return _asked("&>", a, b)


def _asked(operator: str, a: Expression[Any], b: object) -> Expression[bool]:
    building.require_family(a, operator, ("range",), "a range or multirange")
    return Operation(*building.part_of(a, operator, b), BOOLEAN)


def _function(name: str, of: Expression[Any], result: SqlType | None) -> Expression[Any]:
    building.require_family(of, f"{name}()", ("range",), "a range or multirange")
    return Operation(Function(name, (of.operand(),)), of.bind_values, result)


def _subtype(of: Expression[Any]) -> SqlType | None:
    return None if of.sql_type is None else of.sql_type.subtype


def _sibling(of: Expression[Any]) -> SqlType | None:
    return sibling_of(of.sql_type) if of.sql_type is not None and of.sql_type.subtype is not None else None
