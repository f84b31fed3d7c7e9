"""Statements that are found by their form: their own is all they hold besides values.

The contract: a method of such a statement looks for its step first, by what its outcome depends on, and only when there is none works it
out. Most can leave both to `_with`, which knows by their outcome that they have been here before; those that are called all day have a
key that is cheaper to make.
"""

from __future__ import annotations

from typing import Any, Self, TypeVar

from trioorm.expression.column import Column
from trioorm.expression.expression import Comparison, Expression, Operation
from trioorm.expression.shape import Shape
from trioorm.expression.types import BOOLEAN
from trioorm.model.metaclass import ModelMeta
from trioorm.query.clause import NOTHING, Clause
from trioorm.query.form import MOST_VALUES, STEPS, Form, Step, part
from trioorm.query.statement import Statement

R_co = TypeVar("R_co", covariant=True)


class Formed(Statement[R_co]):
    """A statement with a form."""

    # Slots, for what is made and read at each step.
    __slots__ = ("bind_values", "form")  # pyright: ignore[reportIncompatibleMethodOverride] - read only all the same
    form: Form
    bind_values: tuple[object, ...]

    @property
    def shape(self) -> Shape:
        return self.form.shape

    def _with(self, **changes: object) -> Self:
        """A copy with other clauses or settings."""
        # Whatever clause it was, its outcome is here; so what comes of it is known by its shape, and its values replace those it had.
        # Only the first gets more values or fewer, so it goes last: then `bounds` are right for all.
        form, values = self.form, self.bind_values
        key: list[object] = []
        for name, change in reversed(changes.items()):
            if isinstance(change, Clause):
                begin, end = form.bounds[name]
                values = values[:begin] + change.bind_values + values[end:]
                key += (name, change.shapes)
            else:
                key += (name, change)
        if len(values) > MOST_VALUES:
            return self._formed(form.changed(changes), values)
        whole = tuple(key)
        step = form.steps.get(whole) or STEPS.remember(form.steps, whole, form.changed(changes))
        return self._formed(step[0], values)

    def _step(self, step: Step, more: tuple[object, ...]) -> Self:
        """The statement that a step remembered leads to, with more values."""
        made: Any = type(self)()
        made.form, behind = step
        made.bind_values = self.bind_values[:-behind] + more + self.bind_values[-behind:] if behind else self.bind_values + more
        statement: Self = made
        return statement

    def _formed(self, form: Form, values: tuple[object, ...]) -> Self:
        """A statement of the same kind of another form, with all that is no part of forms."""
        made: Any = type(self)()
        made.form = form
        made.bind_values = values
        statement: Self = made
        return statement


class Filtered(Formed[R_co]):
    """One with conditions."""

    __slots__ = ()
    _where = part(NOTHING)

    def where(self, *conditions: Expression[bool | None]) -> Self:
        """Only rows for which all of these hold, added to the conditions so far."""
        form, values = self.form, self.bind_values
        for condition in conditions:
            step = form.steps.get(condition.condition if type(condition) is Comparison else _condition_key(condition))
            if step is None:
                break
            form, behind = step
            more = condition.bind_values
            values = values[:-behind] + more + values[-behind:] if behind else values + more
        else:
            return self._formed(form, values)
        made = self
        for condition in conditions:
            before = made
            made = before._with(_where=before._where.with_conditions((condition,), "where()"))
            key = _condition_key(condition)
            if key is not None:
                STEPS.remember(before.form.steps, key, made.form, "_where")
        return made


def _condition_key(condition: Expression[bool | None]) -> object:
    """By what the step to a further condition is remembered; None, by which none is, for what is no condition at first sight."""
    if type(condition) is Comparison:
        return condition.condition
    return ("where", condition.shape) if type(condition) is Operation and condition.sql_type is BOOLEAN else None


def stay(items: tuple[object, ...]) -> bool:
    """Whether these are models and columns of models, which are there as long as the program is: so they are known by identity."""
    return all(isinstance(item, ModelMeta) or (type(item) is Column and item.source.alias is None) for item in items)
