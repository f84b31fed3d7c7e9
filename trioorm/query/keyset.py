"""Pages by key: the condition that a row comes after another one in an order.

The contract: rows equal in all terms count as the same row, so an order that is known not to tell rows apart is refused. Where all terms
go one way and none may be NULL, the condition is a comparison of rows, which one index answers.

Source: https://use-the-index-luke.com/no-offset
"""

from __future__ import annotations

import typing
from collections.abc import Mapping

from trioorm.errors import QueryError
from trioorm.expression.column import ColumnExpression
from trioorm.expression.expression import Expression, Operation, Ordering
from trioorm.expression.functions import and_, or_
from trioorm.expression.shape import ColumnReference, Fragment, Labelled, Ordered, Shape, Source
from trioorm.expression.types import BOOLEAN
from trioorm.model.model import Model, model_of
from trioorm.query.shape import FromShape, ModelItem, ValueItem

Term: typing.TypeAlias = Expression[object] | Ordering


def values_of_row(row: object, terms: tuple[Term, ...], items: tuple[Shape, ...]) -> tuple[object, ...]:
    """What the terms of an order are in a row.

    Raises:
        QueryError: the row does not hold one of them.
    """
    if not terms:
        raise QueryError("after() needs an order to go by.\nTo fix it: .order_by(User.created_at, User.id).after(row)")
    if isinstance(row, Mapping):
        given = [
            (typing.cast("Expression[object]", key).operand(), value)
            for key, value in typing.cast("Mapping[object, object]", row).items()
            if isinstance(key, Expression)
        ]
        found = [[value for shape, value in given if shape == _expression(term).operand()] for term in terms]
        return tuple(values[0] if values else _refuse_row(term) for term, values in zip(terms, found, strict=True))
    cells = (row,) if len(items) == 1 else row
    if not isinstance(cells, tuple) or len(typing.cast("tuple[object, ...]", cells)) != len(items):
        raise QueryError(f"after() was given an object of {type(row).__qualname__}.\nTo fix it: give a row of this select, or a mapping.")
    return tuple(_value_of(term, typing.cast("tuple[object, ...]", cells), items) for term in terms)


def _expression(term: Term) -> Expression[object]:
    return typing.cast("Expression[object]", term.expression) if isinstance(term, Ordering) else term


def _value_of(term: Term, cells: tuple[object, ...], items: tuple[Shape, ...]) -> object:
    wanted = _expression(term).operand()
    for cell, item in zip(cells, items, strict=True):
        if isinstance(item, ValueItem):
            shape = item.expression
            if wanted in (shape, shape.operand if isinstance(shape, Labelled) else shape):
                return cell
        elif (
            isinstance(item, ModelItem) and isinstance(wanted, ColumnReference) and item.source == wanted.source and isinstance(cell, Model)
        ):
            for field in model_of(item.model).fields:
                if field.name == wanted.name:
                    return typing.cast("object", getattr(cell, field.attribute))
    return _refuse_row(term)


def _refuse_row(term: Term) -> typing.NoReturn:
    raise QueryError(
        f"The row given to after() does not hold {_expression(term)}, by which the select is ordered.\n"
        "To fix it: select it too, or give the values: after({User.age: 36, User.id: 7})."
    )


def after_condition(
    terms: tuple[Term, ...], values: tuple[object, ...], items: tuple[Shape, ...], source: FromShape | None
) -> Expression[bool]:
    """That a row comes after one with these values.

    Args:
        terms: of the order.
        values: one for each of them.
        items: what the select gives.
        source: its table, when it has a single one and no groups.

    Raises:
        QueryError: the order is known not to tell rows apart.
    """
    _require_key(terms, items, source)
    parts = [_Part(term, value) for term, value in zip(terms, values, strict=True)]
    if len(parts) > 1 and all(not part.nullable and part.descending == parts[0].descending for part in parts):
        return _row_comparison(parts)
    ways: list[Expression[bool]] = []
    for number, part in enumerate(parts):
        beyond = part.beyond()
        if beyond is not None:
            ways.append(and_(*(earlier.same() for earlier in parts[:number]), beyond))
    chain = or_(*ways)
    first = parts[0]
    if len(parts) > 1 and not first.nullable:  # says nothing new, but an index on the first term can begin there
        return and_(first.expression <= first.value if first.descending else first.expression >= first.value, chain)
    return chain


class _Part:
    """One term of the order with its value in the row."""

    def __init__(self, term: Term, value: object) -> None:
        ordered = term.shape if isinstance(term, Ordering) else None
        self.expression = typing.cast("Expression[typing.Any]", _expression(term))
        self.value: typing.Any = value
        self.descending = isinstance(ordered, Ordered) and ordered.direction == "DESC"
        said = ordered.nulls if isinstance(ordered, Ordered) else ""
        self.nulls_last = said == "LAST" if said else not self.descending
        self.nullable = not (isinstance(self.expression, ColumnExpression) and not self.expression.nullable)
        if value is None and not self.nullable:
            raise QueryError(f"after() was given None for {self.expression}, which is never NULL.\nTo fix it: give the row's value.")

    def beyond(self) -> Expression[bool] | None:
        """That it comes after the value; None when nothing does."""
        if self.value is None:
            return None if self.nulls_last else self.expression.is_not_null()
        further = self.expression < self.value if self.descending else self.expression > self.value
        return or_(further, self.expression.is_null()) if self.nullable and self.nulls_last else further

    def same(self) -> Expression[bool]:
        """That it is the value."""
        return self.expression.is_null() if self.value is None else self.expression == self.value


def _row_comparison(parts: list[_Part]) -> Expression[bool]:
    """`(a, b) > (1, 2)`."""
    text: list[str | Shape] = ["("]
    right: list[str | Shape] = []
    columns: tuple[object, ...] = ()
    values: tuple[object, ...] = ()
    for number, part in enumerate(parts):
        compared = part.expression == part.value
        left_shape, right_shape = typing.cast("tuple[str, Shape, Shape]", compared.shape)[1:3]
        comma: list[str | Shape] = [", "] if number else []
        text += [*comma, left_shape]
        right += [*comma, right_shape]
        columns += part.expression.bind_values
        values += compared.bind_values[len(part.expression.bind_values) :]
    text.append(f") {'<' if parts[0].descending else '>'} (")
    return Operation(Fragment((*text, *right, ")"), repeatable=True), columns + values, BOOLEAN)


def _require_key(terms: tuple[Term, ...], items: tuple[Shape, ...], source: FromShape | None) -> None:
    """Refuse an order over one model's table that may leave two rows equal."""
    model = next((item.model for item in items if isinstance(item, ModelItem) and item.source == source), None)
    if model is None or not isinstance(source, Source):
        return
    info = model_of(model)
    named = {shape.name for term in terms if isinstance(shape := _expression(term).operand(), ColumnReference)}
    unique = any(field.name in named for field in info.fields if field.declaration.unique and not field.nullable)
    if unique or {field.name for field in info.primary_key} <= named:
        return
    key = ", ".join(f"{model.__name__}.{field.attribute}" for field in info.primary_key)
    raise QueryError(
        "after() would lose rows: the order does not tell those apart that are equal in all its terms.\n"
        f"To fix it: end it with the key: .order_by(..., {key})"
    )
