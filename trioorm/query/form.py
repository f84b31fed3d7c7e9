"""What a statement is apart from its values, remembered step by step.

A program builds the same statements all day, each time with other values. What `.where(User.age > 18)` makes of a select depends only on
what the select was and on the shape of the condition; so the first time it is worked out, with everything that must be checked, and from
then on it is found by one look into a dictionary (as a JavaScript engine finds the layout of an object to which a property is added).

The contract: a `Form` stands for one shape; two may stand for the same one, since the memory is emptied when it is full, and then a step
is worked out again. A step is remembered only if its outcome depends on nothing but its key, and only after it has succeeded. A form
holds no values; those of a statement lie in one tuple, in the order of their places. What has very many values has a form that is not
kept: such shapes are large, and seldom met twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast, final, overload

from trioorm.expression import interned
from trioorm.expression.shape import Shape
from trioorm.query.clause import Clause

MOST_VALUES: Final = 500
"""With more of them a form is not kept."""

V = TypeVar("V")
Step: TypeAlias = "tuple[Form, int]"
"""Where a step leads: to a form, and how many of the values that the statement had come behind those that are added."""


class Grammar(NamedTuple):
    """What the statements of one kind consist of.

    Attributes:
        clauses: what may hold values, in the order of their places; further parts are settings.
        shape_of: gives the shape of a form; it refuses one that is not complete.
    """

    clauses: tuple[str, ...]
    shape_of: Callable[[Form], Shape]


@final
class Form:
    """Attributes:
    grammar: of the statements that have it.
    parts: their clauses, without values, and settings.
    bounds: where the values of each clause begin and end.
    steps: those that lead on from here, by all that their outcome depends on.
    is_kept: it may be remembered.
    """

    __slots__ = ("_shape", "bounds", "grammar", "is_kept", "parts", "steps")

    def __init__(self, grammar: Grammar, parts: Mapping[str, Any], counts: Mapping[str, int]) -> None:
        self.grammar = grammar
        self.parts = parts
        self.steps: dict[object, Step] = {}
        self.bounds: dict[str, tuple[int, int]] = {}
        end = 0
        for name in grammar.clauses:
            begin, end = end, end + counts.get(name, 0)
            self.bounds[name] = begin, end
        self.is_kept = end <= MOST_VALUES
        self._shape: Shape | None = None

    @staticmethod
    def of(grammar: Grammar, **parts: object) -> Form:
        """The form of a statement with these clauses and settings, and no others."""
        return Form(grammar, *_without_values(parts))

    @property
    def shape(self) -> Shape:
        """Of the whole statement.

        Raises:
            QueryError: it is not complete.
        """
        if self._shape is None:
            self._shape = self.grammar.shape_of(self)
        return self._shape

    def changed(self, changes: Mapping[str, object]) -> Form:
        """The form of the statement with other clauses or settings in place of its own."""
        parts, counts = _without_values(changes)
        own = {name: end - begin for name, (begin, end) in self.bounds.items()}
        return Form(self.grammar, {**self.parts, **parts}, {**own, **counts})

    def part(self, name: str, values: tuple[object, ...], default: V) -> V:
        """A clause or a setting of a statement that has these values."""
        held = self.parts.get(name, default)
        begin, end = self.bounds.get(name, (0, 0))
        return cast("V", Clause(cast("Clause", held).shapes, values[begin:end]) if end > begin else held)

    def shapes(self, clause: str) -> tuple[Any, ...]:
        """What a clause holds."""
        held = self.parts.get(clause)
        return () if held is None else cast("Clause", held).shapes

    def values_behind(self, clause: str) -> int:
        """How many values come behind those of a clause."""
        return self.bounds[self.grammar.clauses[-1]][1] - self.bounds[clause][1]


def _without_values(parts: Mapping[str, object]) -> tuple[dict[str, object], dict[str, int]]:
    """Clauses and settings without their values, and the number of those."""
    bare: dict[str, object] = {}
    counts: dict[str, int] = {}
    for name, part in parts.items():
        if isinstance(part, Clause):
            bare[name], counts[name] = Clause(part.shapes), len(part.bind_values)
        else:
            bare[name] = part
    return bare, counts


class part(Generic[V]):  # noqa: N801 - stands where a default would
    """A clause or setting of a statement, worked out from its form when it is read."""

    def __init__(self, default: V) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type) -> part[V]: ...
        @overload
        def __get__(self, instance: object, owner: type) -> V: ...

    def __get__(self, instance: Any, owner: type) -> V | part[V]:
        return self if instance is None else instance.form.part(self._name, instance.bind_values, self._default)


class Steps:
    """The memory of steps: those that begin a statement, in the memory of its kind, the others at the form that they lead on from. All are
    forgotten when there are too many."""

    __slots__ = ("_count", "_memories")

    def __init__(self) -> None:
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

    def remember(self, memory: dict[object, Step], key: object, form: Form, clause: str | None = None) -> Step:
        """Keep a step, unless its form is not kept.

        Args:
            memory: that of the statements that begin so, or the steps of the form that it leads on from.
            key: all that its outcome depends on.
            form: what it led to.
            clause: to which values were added, behind those that it had; the last one if none is named.

        Returns:
            The step.
        """
        step = form, 0 if clause is None else form.values_behind(clause)
        if form.is_kept:
            if self._count >= interned.MOST_REMEMBERED:
                self.clear()
            if not memory:
                self._memories.append(memory)
            memory[key] = step
            self._count += 1
        return step


STEPS: Final = Steps()


def find_step(memory: dict[object, Step], key: object) -> Step | None:
    """A step by a key made of what the user gave; what cannot be hashed is no term, and refused by whoever asked."""
    try:
        return memory.get(key)
    except TypeError:
        return None
