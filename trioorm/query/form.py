"""What a select is apart from its values, remembered step by step.

A program builds the same statements all day, each time with other values. What `.where(User.age > 18)` makes of a select depends only on
what the select was and on the shape of the condition; so the first time it is worked out, with everything that must be checked, and from
then on it is found by one look into a dictionary (as a JavaScript engine finds the layout of an object to which a property is added).

The contract: a `Form` stands for one shape; two may stand for the same one, since the memory is emptied when it is full, and then a step
is worked out again. A step is remembered only if its outcome depends on nothing but its key, and only after it has succeeded. A form
holds no values; those of a select lie in one tuple, in the order of their places.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast, final, overload

from trioorm.expression import interned
from trioorm.expression.shape import Shape
from trioorm.query.shape import Limits, SelectShape
from trioorm.query.statement import Clause

CLAUSES: Final = (
    "_ctes", "_distinct_on", "_items", "_source_values", "_joins", "_where", "_group_by", "_having", "_windows", "_order_by", "_limit",
    "_offset",
)  # fmt: skip
"""What of a select may hold values, in the order of their places."""

V = TypeVar("V")
Step: TypeAlias = "tuple[Form, int]"
"""Where a step leads: to a form, and how many of the values that the select had come behind those that are added."""


@final
class Form:
    """Attributes:
    shape: of the whole select.
    bounds: where the values of each clause begin and end.
    steps: those that lead on from here, by all that their outcome depends on.
    is_limited: whether it has a limit, which a further one would replace.
    """

    __slots__ = ("_parts", "bounds", "is_limited", "shape", "steps")

    def __init__(self, parts: Mapping[str, object], counts: Mapping[str, int]) -> None:
        self._parts = parts
        self.steps: dict[object, Step] = {}
        self.bounds: dict[str, tuple[int, int]] = {}
        end = 0
        for name in CLAUSES:
            begin, end = end, end + counts.get(name, 0)
            self.bounds[name] = begin, end
        self.is_limited = "_limit" in parts
        self.shape = _shape_of(parts)

    @staticmethod
    def of(parts: Mapping[str, object]) -> "Form":
        """The form of a select with these clauses and settings, and no others."""
        return Form(*_without_values(parts))

    def changed(self, changes: Mapping[str, object]) -> "Form":
        """The form of the select with other clauses or settings in place of its own."""
        parts, counts = _without_values(changes)
        own = {name: end - begin for name, (begin, end) in self.bounds.items()}
        return Form({**self._parts, **parts}, {**own, **counts})

    def part(self, name: str, values: tuple[object, ...], default: V) -> V:
        """A clause or a setting of a select that has these values."""
        begin, end = self.bounds.get(name, (0, 0))
        if name == "_source_values":
            return cast("V", values[begin:end])
        held = self._parts.get(name, default)
        return cast("V", Clause(cast("Clause", held).shapes, values[begin:end]) if end > begin else held)

    def end_of(self, clause: str) -> int:
        """How many values come behind those of a clause."""
        return self.bounds[CLAUSES[-1]][1] - self.bounds[clause][1]


def _without_values(parts: Mapping[str, object]) -> tuple[dict[str, object], dict[str, int]]:
    """Clauses and settings without their values, and the number of those."""
    bare: dict[str, object] = {}
    counts: dict[str, int] = {}
    for name, part in parts.items():
        if isinstance(part, Clause):
            bare[name], counts[name] = Clause(part.shapes), len(part.bind_values)
        elif name == "_source_values":
            counts[name] = len(cast("tuple[object, ...]", part))
        else:
            bare[name] = part
    return bare, counts


def _shape_of(parts: Mapping[str, object]) -> SelectShape:
    def shapes(name: str) -> tuple[Any, ...]:
        clause = parts.get(name)
        return clause.shapes if isinstance(clause, Clause) else ()

    def setting(name: str, default: object = None) -> Any:  # noqa: ANN401 - whatever the clause said
        return parts.get(name, default)

    return SelectShape(
        with_=shapes("_ctes"),
        distinct=setting("_distinct", default=False),
        distinct_on=shapes("_distinct_on"),
        items=shapes("_items"),
        source=setting("_source"),
        joins=shapes("_joins"),
        where=shapes("_where"),
        group_by=shapes("_group_by"),
        having=shapes("_having"),
        windows=shapes("_windows"),
        order_by=shapes("_order_by"),
        limits=limits_of(shapes("_limit"), shapes("_offset"), with_ties=setting("_with_ties", default=False)),
        locks=setting("_locks", default=()),
        into=setting("_into"),
    )


def limits_of(limit: tuple[Shape, ...], offset: tuple[Shape, ...], *, with_ties: bool) -> Limits | None:
    """LIMIT and OFFSET from their clauses."""
    return Limits(limit[0] if limit else None, with_ties, offset[0] if offset else None) if limit or offset else None


class part(Generic[V]):  # noqa: N801 - stands where a default would
    """A clause or setting of a select, worked out from its form when it is read."""

    def __init__(self, default: V) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type) -> "part[V]": ...
        @overload
        def __get__(self, instance: object, owner: type) -> V: ...

    def __get__(self, instance: Any, owner: type) -> "V | part[V]":
        return self if instance is None else instance.form.part(self._name, instance.bind_values, self._default)


class Steps:
    """The memory of steps: those that begin a select here, the others at the form that they lead on from. All are forgotten when there
    are too many.

    Attributes:
        roots: the steps that begin a select, by what it is of.
    """

    __slots__ = ("_count", "_memories", "roots")

    def __init__(self) -> None:
        self.roots: dict[object, Step] = {}
        self._memories: list[dict[object, Step]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Forget all steps."""
        for memory in self._memories:
            memory.clear()
        self._memories.clear()
        self._count = 0

    def remember(self, memory: dict[object, Step], key: object, form: Form, clause: str = CLAUSES[-1]) -> None:
        """Keep a step.

        Args:
            memory: the roots, or the steps of the form that it leads on from.
            key: all that its outcome depends on.
            form: what it led to.
            clause: to which values were added, behind those that it had.
        """
        if self._count >= interned.MOST_REMEMBERED:
            self.clear()
        if not memory:
            self._memories.append(memory)
        memory[key] = form, form.end_of(clause)
        self._count += 1


STEPS: Final = Steps()
