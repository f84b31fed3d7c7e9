"""`merge(Model).using(source, on=...)`: insert, change or remove rows by how they meet those of another table.

The contract: the first WHEN that fits a row decides, as in SQL; they are rendered in the order in which they were said.

Source: https://www.postgresql.org/docs/current/sql-merge.html
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Generic, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression.expression import Expression, Operation, condition_operand
from trioorm.expression.shape import Function, Shape, Source
from trioorm.expression.types import TEXT
from trioorm.model.model import Model
from trioorm.query.assignment import counted_up, field_named, require_values, value_for
from trioorm.query.clause import NOTHING, Clause
from trioorm.query.entity import entity_of
from trioorm.query.form import Form, Grammar, Step, part
from trioorm.query.shape import Assignment, MergeAction, MergeShape
from trioorm.query.tables import Table, from_item_of
from trioorm.query.write import Write, begin, returned_into

M = TypeVar("M", bound=Model)

Values: typing.TypeAlias = Mapping[str, object] | Mapping[Expression[object], object]


class Merge(Write, Generic[M]):
    """Rows of one model brought together with those of another table. Made by `merge(...).using(...)`."""

    __slots__ = ()
    _actions = part(NOTHING)

    def when_matched(self, *conditions: Expression[bool | None]) -> WhenMatched[M]:
        """For rows that both have, and for which all conditions hold."""
        return WhenMatched(self, "MATCHED", conditions)

    def when_not_matched(self, *conditions: Expression[bool | None]) -> WhenNotMatched[M]:
        """For rows of the source that the model's table lacks."""
        return WhenNotMatched(self, "NOT MATCHED", conditions)

    def when_not_matched_by_source(self, *conditions: Expression[bool | None]) -> WhenMatched[M]:
        """For rows of the model's table that the source lacks (PostgreSQL 17)."""
        return WhenMatched(self, "NOT MATCHED BY SOURCE", conditions)

    def with_source(self, using: Clause) -> Merge[M]:
        """The merge with its source and condition; called by `MergeTarget`."""
        return self._with(_using=using)

    def with_action(self, action: MergeAction, values: tuple[object, ...]) -> Merge[M]:
        """The merge with one more WHEN; called by its two halves."""
        return self._with(_actions=self._actions.with_(action, values))

    @property
    def source(self) -> Source:
        """The name that the model's table goes by."""
        return typing.cast("Source", self.form.parts["_source"])


def _merge_shape(form: Form) -> Shape:
    actions = form.shapes("_actions")
    if not actions:
        raise QueryError(
            f"merge({form.parts['_info'].model.__name__}) does nothing.\n"
            "To fix it: .when_matched().update({...}), .when_not_matched().insert({...})"
        )
    using, condition = form.shapes("_using")
    shape = MergeShape(form.shapes("_ctes"), form.parts["_source"], using, condition, actions, form.shapes("_returning"))
    return returned_into(form, shape)


_MERGE: typing.Final = Grammar(("_ctes", "_using", "_actions", "_returning"), _merge_shape)
_MERGES: typing.Final[dict[object, Step]] = {}
"""The steps that begin one, by the model."""


class _When(Generic[M]):
    """The first half of a WHEN."""

    def __init__(self, merge: Merge[M], when: str, conditions: tuple[Expression[bool | None], ...]) -> None:
        self._merge = merge
        self._when = when
        self._conditions = Clause().with_conditions(conditions, "when") if conditions else Clause()

    def do_nothing(self) -> Merge[M]:
        """Leave such rows alone."""
        return self._then("DO NOTHING", {})

    def _then(self, then: str, values: Mapping[typing.Any, object]) -> Merge[M]:
        assignments: list[Assignment] = []
        bound = self._conditions.bind_values
        for column, value in values.items():
            field = field_named(self._merge.info, column, f"{then.lower()}()")
            if any(assignment.column == field.name for assignment in assignments):
                raise QueryError(f"{field.column} is set twice in one action.\nTo fix it: keep one.")
            shape, more = value_for(field, value)
            assignments.append(Assignment(field.name, shape))
            bound += more
        if not assignments and then in ("UPDATE", "INSERT"):
            raise QueryError(f"{then.lower()}() was given nothing to set.\nTo fix it: name columns and values, as in {{User.age: 37}}.")
        whole = tuple(assignments)
        if then == "UPDATE":
            whole = counted_up(self._merge.info, self._merge.source, whole)
        return self._merge.with_action(MergeAction(self._when, self._conditions.shapes, then, whole), bound)


class WhenMatched(_When[M]):
    """What to do with rows of the model's table."""

    @overload
    def update(self, values: Mapping[str, object]) -> Merge[M]: ...
    @overload
    def update(self, values: Mapping[Expression[object], object]) -> Merge[M]: ...
    def update(self, values: Values) -> Merge[M]:
        """Set columns to values or expressions of either table.

        Raises:
            QueryError: an unknown or computed column, or a value whose class does not fit.
        """
        return self._then("UPDATE", values)

    def delete(self) -> Merge[M]:
        """Remove them."""
        return self._then("DELETE", {})


class WhenNotMatched(_When[M]):
    """What to do with rows of the source."""

    @overload
    def insert(self, values: Mapping[str, object]) -> Merge[M]: ...
    @overload
    def insert(self, values: Mapping[Expression[object], object]) -> Merge[M]: ...
    def insert(self, values: Values) -> Merge[M]:
        """Insert a row of these values or expressions of the source; columns left out get the server's default.

        Raises:
            QueryError: an unknown or computed column, or a value whose class does not fit.
        """
        info = self._merge.info
        require_values(info, {field_named(info, column, "insert()") for column in values}, "insert() of a merge")
        return self._then("INSERT", values)


class MergeTarget(Generic[M]):
    """A merge that does not know its source yet. Made by `merge`."""

    def __init__(self, model: type[M]) -> None:
        entity_of(model)  # refused here, if it is none
        self._model = model

    def using(self, source: type[Model] | Table, on: Expression[bool | None]) -> Merge[M]:
        """Say the rows to bring in (a model, a subquery, a CTE, a list of values), and when two rows are the same."""
        found, values = from_item_of(source)
        condition = condition_operand(on, "using(on=...)")
        made: Merge[M] = Merge()
        made.form, _ = begin(_MERGES, _MERGE, self._model)
        made.bind_values = ()
        return made.with_source(Clause((found, condition), values + on.bind_values))


def merge(model: type[M]) -> MergeTarget[M]:
    """Rows brought together with another table's.

    merge(Stock).using(delivery, on=Stock.article == delivery[Line.article])
        .when_matched().update({Stock.amount: Stock.amount + delivery[Line.amount]})
        .when_not_matched().insert({Stock.article: delivery[Line.article], Stock.amount: delivery[Line.amount]})
    """
    return MergeTarget(model)


def merge_action() -> Expression[str]:
    """In the `returning` of a merge: what was done to the row, "INSERT", "UPDATE" or "DELETE" (PostgreSQL 17)."""
    return Operation(Function("merge_action", (), repeatable=False), (), TEXT)
