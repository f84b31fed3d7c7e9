"""One clause of a statement: what it holds, with the values."""

from __future__ import annotations

from trioorm.expression.expression import Expression, condition_operand
from trioorm.expression.shape import Shape


class Clause:
    """Conditions or terms gathered for a clause: shapes with their values."""

    __slots__ = ("bind_values", "shapes")

    def __init__(self, shapes: tuple[Shape, ...] = (), bind_values: tuple[object, ...] = ()) -> None:
        self.shapes = shapes
        self.bind_values = bind_values

    def with_(self, shape: Shape, values: tuple[object, ...]) -> Clause:
        """The clause with one more term."""
        return Clause((*self.shapes, shape), self.bind_values + values)

    def with_conditions(self, conditions: tuple[Expression[bool | None], ...], place: str) -> Clause:
        """The clause with more conditions, all of which must hold."""
        if len(conditions) == 1:  # the usual case
            return Clause((*self.shapes, condition_operand(conditions[0], place)), self.bind_values + conditions[0].bind_values)
        shapes = self.shapes
        values = self.bind_values
        for condition in conditions:
            shapes = (*shapes, condition_operand(condition, place))
            values = values + condition.bind_values
        return Clause(shapes, values)


NOTHING = Clause()
