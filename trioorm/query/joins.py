"""`join` and its kin, for all statements that read from several tables.

The contract: items that an outer join may leave without a row are refused when the join is made, unless they are marked `optional(...)`.
"""

from __future__ import annotations

import typing
from typing import Self, overload

from trioorm.errors import QueryError
from trioorm.expression.expression import Expression, condition_operand
from trioorm.expression.shape import Keyword, Shape
from trioorm.model.model import Model
from trioorm.query.entity import first_source
from trioorm.query.shape import Derived, FromShape, FunctionTable, Join, ModelItem, ValueItem
from trioorm.query.tables import Table, from_item_of

_TRUE = Keyword("TRUE")


class Joining:
    """What can be joined to. A lateral subquery or a function's rows may be joined without a condition."""

    __slots__ = ()

    @overload
    def join(self, model: type[Model], on: Expression[bool | None]) -> Self: ...
    @overload
    def join(self, model: Table, on: Expression[bool | None] | None = None) -> Self: ...
    def join(self, model: type[Model] | Table, on: Expression[bool | None] | None = None) -> Self:
        """Rows of both tables for which the condition holds."""
        return self._join("JOIN", model, on)

    @overload
    def left_join(self, model: type[Model], on: Expression[bool | None]) -> Self: ...
    @overload
    def left_join(self, model: Table, on: Expression[bool | None] | None = None) -> Self: ...
    def left_join(self, model: type[Model] | Table, on: Expression[bool | None] | None = None) -> Self:
        """All rows so far; the joined table's columns are NULL where nothing fits. Select it as `optional(...)`."""
        return self._join("LEFT JOIN", model, on)

    def right_join(self, model: type[Model] | Table, on: Expression[bool | None]) -> Self:
        """All rows of the joined table; all columns so far are NULL where nothing fits. Select those as `optional(...)`."""
        return self._join("RIGHT JOIN", model, on)

    def full_join(self, model: type[Model] | Table, on: Expression[bool | None]) -> Self:
        """All rows of both sides; either may be missing. Select both as `optional(...)`."""
        return self._join("FULL JOIN", model, on)

    def cross_join(self, model: type[Model] | Table) -> Self:
        """Each row with each row of another table."""
        source, values = from_item_of(model)
        return self._joined(Join("CROSS JOIN", source, None), values)

    def _join(self, how: str, model: type | Table, on: Expression[bool | None] | None) -> Self:
        source, values = from_item_of(model)  # that the table is not there twice is seen when the shape is compiled, once
        if on is None:
            if not (isinstance(source, FunctionTable) or (isinstance(source, Derived) and source.lateral)):
                raise QueryError(
                    f"A {how} of {source.visible_name!r} has no condition.\n"
                    "To fix it:\n  1. say how rows belong together: .join(Order, Order.user_id == User.id)\n"
                    "  2. if each row is meant with each: .cross_join(Order)"
                )
            return self._joined(Join(how, source, _TRUE), values)
        shape = condition_operand(on, "join()")
        return self._joined(Join(how, source, shape), values + on.bind_values if values else on.bind_values)

    def _joined(self, join: Join, values: tuple[object, ...]) -> Self:
        raise NotImplementedError


def refuse_unmarked(join: Join, before: tuple[FromShape | None, ...], items: tuple[Shape, ...]) -> None:
    """Refuse items that the join may leave without a row, unless they say so.

    Args:
        join: the new join.
        before: the tables before it.
        items: what the statement selects.

    Raises:
        QueryError: as said.
    """
    how = join.how
    missing: set[str] = set()
    if how in ("LEFT JOIN", "FULL JOIN"):
        missing.add(join.source.visible_name)
    if how in ("RIGHT JOIN", "FULL JOIN"):
        missing.update(source.visible_name for source in before if source is not None)
    for item in items:
        if isinstance(item, ModelItem) and item.source.visible_name in missing and not item.optional:
            shown = item.model.__name__
        elif isinstance(item, ValueItem) and not item.nullable:
            source = first_source(item.expression)
            if source is None or source.visible_name not in missing:
                continue
            shown = f"{source.visible_name}.{typing.cast('str', item.expression[1])}"
        else:
            continue
        raise QueryError(
            f"{shown} is selected as if it were always there, but this {how} may find none.\n"
            "To fix it:\n"
            f"  wrong: select(..., {shown})\n"
            f"  right: select(..., optional({shown}))     typed `| None`"
        )
