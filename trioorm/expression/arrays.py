"""Functions of arrays: `arrays.length(Film.tags)`. Operators are methods of expressions: `has`, `contains`, `overlaps`, `+`, `[1]`.

Source: PostgreSQL manual, section 9.19.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from trioorm.expression import building
from trioorm.expression.expression import Expression, Operation
from trioorm.expression.shape import Function, Shape
from trioorm.expression.types import INTEGER, TEXT, SqlType, array_of

S = TypeVar("S")


def length(array: Expression[list[S] | None]) -> Expression[int]:
    """How many elements there are; 0 for an empty array."""
    return _call("cardinality", array, (), INTEGER)


def append(array: Expression[list[S]], element: S | Expression[S]) -> Expression[list[S]]:
    """The array with one more element at its end."""
    return _call("array_append", array, (_element(array, element),), array.sql_type)


def prepend(element: S | Expression[S], array: Expression[list[S]]) -> Expression[list[S]]:
    """The array with one more element at its beginning."""
    building.require_family(array, "arrays.prepend()", ("[]",), "an array")
    shape, values = _element(array, element)
    return Operation(Function("array_prepend", (shape, array.operand())), values + array.bind_values, array.sql_type)


def concat(array: Expression[list[S]], other: Sequence[S] | Expression[list[S]]) -> Expression[list[S]]:
    """Two arrays as one. `array + other` is the same."""
    return _call("array_cat", array, (_same(array, other),), array.sql_type)


def remove(array: Expression[list[S]], element: S | Expression[S]) -> Expression[list[S]]:
    """The array without all elements that equal this one."""
    return _call("array_remove", array, (_element(array, element),), array.sql_type)


def replace(array: Expression[list[S]], old: S | Expression[S], new: S | Expression[S]) -> Expression[list[S]]:
    """The array with another element in place of each that equals `old`."""
    return _call("array_replace", array, (_element(array, old), _element(array, new)), array.sql_type)


def position(array: Expression[list[S]], element: S | Expression[S]) -> Expression[int | None]:
    """Where the element stands first, counted from 1; NULL where it does not."""
    return _call("array_position", array, (_element(array, element),), INTEGER)


def positions(array: Expression[list[S]], element: S | Expression[S]) -> Expression[list[int]]:
    """Everywhere the element stands, counted from 1."""
    return _call("array_positions", array, (_element(array, element),), array_of(INTEGER))


def trim(array: Expression[list[S]], count: int) -> Expression[list[S]]:
    """The array without its last elements."""
    return _call("trim_array", array, (building.place_of(count, INTEGER, of="arrays.trim()"),), array.sql_type)


def to_text(array: Expression[list[S]], separator: str, null: str | None = None) -> Expression[str]:
    """The elements as one text. NULLs are left out, or written as `null`."""
    more = [building.place_of(given, TEXT, of="arrays.to_text()") for given in (separator, null) if given is not None]
    return _call("array_to_string", array, tuple(more), TEXT)


def _element(array: Expression[Any], element: object) -> building.Part:
    kind = array.sql_type
    inner = kind.element if kind is not None else None
    shape, values = building.operand_of(element, inner, of=f"an element of {array}")
    return building.named(shape), values


def _same(array: Expression[Any], other: object) -> building.Part:
    shape, values = building.operand_of(other, array.sql_type, of=array)
    return building.named(shape), values


def _call(name: str, array: Expression[Any], more: tuple[building.Part, ...], result: SqlType | None) -> Expression[Any]:
    building.require_family(array, f"{name}()", ("[]",), "an array")
    shapes: list[Shape] = [array.operand(), *(shape for shape, _ in more)]
    values = array.bind_values + tuple(value for _, given in more for value in given)
    return Operation(Function(name, tuple(shapes)), values, result)
