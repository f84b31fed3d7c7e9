"""What a select is apart from its values, remembered step by step.

A program builds the same statements all day, each time with other values. What `.where(User.age > 18)` makes of a select depends only on
what the select was and on the shape of the condition; so the first time it is worked out, with everything that must be checked, and from
then on it is found by one look into a dictionary (as a JavaScript engine finds the layout of an object to which a property is added).

The contract: a `Form` stands for one shape; two may stand for the same one, since the memory is emptied when it is full, and then a step
is worked out again. A step is remembered only if its outcome depends on nothing but its key, and only after it has succeeded. The
values of a select with a form lie in one tuple, in the order of their places.
"""

from collections.abc import MutableMapping
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast, overload

from trioorm.expression.interned import remember
from trioorm.query.statement import Clause

CLAUSES: Final = (
    "_ctes", "_distinct_on", "_items", "_source_values", "_joins", "_where", "_group_by", "_having", "_windows", "_order_by", "_limit",
    "_offset",
)  # fmt: skip
"""What of a select may hold values, in the order of their places."""
SETTINGS: Final = ("_distinct", "_source", "_locks", "_with_ties", "_into")
"""The rest of what its shape is made of."""

Attributes: TypeAlias = MutableMapping[str, object]
V = TypeVar("V")


class Form:
    """Attributes:
    shape: of the whole select.
    fixed: the attributes of the select that hold no values.
    parts: those that do, with the end of their values.
    bounds: where the values of each clause begin and end.
    """

    __slots__ = ("bounds", "fixed", "is_limited", "parts", "shape")

    def __init__(self, shape: tuple[object, ...], attributes: Attributes) -> None:
        self.shape = shape
        self.fixed: dict[str, object] = {}
        self.parts: list[tuple[str, tuple[object, ...] | None, int]] = []
        self.bounds: dict[str, tuple[int, int]] = {}
        end = 0
        for name in CLAUSES:
            held = attributes.get(name)
            values = values_in(held)
            self.bounds[name] = (end, end + len(values))
            end += len(values)
            if values:
                self.parts.append((name, held.shapes if isinstance(held, Clause) else None, end))
            elif held is not None:
                self.fixed[name] = held
        self.is_limited = bool(values_in(attributes.get("_limit")))
        self.fixed.update((name, held) for name, held in attributes.items() if name in SETTINGS)

    def attributes(self, values: tuple[object, ...]) -> dict[str, object]:
        """The attributes of a select with these values."""
        made = self.fixed.copy()
        begin = 0
        for name, shapes, end in self.parts:
            own = values[begin:end]
            made[name] = own if shapes is None else Clause(cast("tuple[tuple[object, ...], ...]", shapes), own)
            begin = end
        return made


class part(Generic[V]):  # noqa: N801 - stands where a default would
    """An attribute of a query, worked out from its form when it is first read."""

    def __init__(self, default: V) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "part[V]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> V: ...
    def __get__(self, instance: object, owner: type) -> "V | part[V]":
        if instance is None:
            return self
        attributes: dict[str, Any] = instance.__dict__
        if "form" in attributes:
            attributes.update(attributes["form"].attributes(attributes["bind_values"]))
        return cast("V", attributes.setdefault(self._name, self._default))


Step: TypeAlias = tuple[Form, int]
"""Where a step leads: to a form, and how many of the values that the select had come behind those that are added."""

STEPS: dict[object, Step] = {}


def remember_step(key: object, form: Form, clause: str) -> None:
    """Keep a step.

    Args:
        key: all that its outcome depends on.
        form: what it led to.
        clause: to which values were added, behind those that it had.
    """
    remember(STEPS, key, (form, form.bounds[CLAUSES[-1]][1] - form.bounds[clause][1]))


def values_in(held: object) -> tuple[object, ...]:
    """The values of a clause, or of the first table's."""
    return held.bind_values if isinstance(held, Clause) else cast("tuple[object, ...]", held or ())
