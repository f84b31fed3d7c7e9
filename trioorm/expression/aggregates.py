"""Calls of functions, and the aggregates that need a rule of their own: `count`, `sum_`, `avg`, `min_`, `max_`.

The contract: the result's type follows PostgreSQL's rules, with one exception: a sum of whole numbers is cast to bigint, because
PostgreSQL would give a numeric and Python an int is expected.

Source: PostgreSQL manual, sections 4.2.7 (aggregate expressions) and 9.21 (aggregate functions).
"""

from __future__ import annotations

import decimal
import typing
from typing import TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression import building
from trioorm.expression.expression import Expression, Operation, condition_operand
from trioorm.expression.shape import Cast, Function, Keyword, Shape
from trioorm.expression.types import BIGINT, NUMERIC, SqlType
from trioorm.expression.windows import Terms, terms_of

S = TypeVar("S")


def call(
    name: str,
    arguments: tuple[Shape, ...],
    values: tuple[object, ...],
    result: SqlType | None,
    *,
    where: Expression[bool] | None = None,
    distinct: bool = False,
    order_by: Terms = (),
    within_group: Terms = (),
    repeatable: bool = True,
) -> Expression[typing.Any]:
    """The call of a function.

    Args:
        where: for aggregates, only rows for which this holds (FILTER).
        distinct: for aggregates, different values only.
        order_by: for aggregates, in this order.
        within_group: for ordered-set aggregates, what they are computed over.
    """
    order, order_values = terms_of(order_by, "order_by=")
    group, group_values = terms_of(within_group, "within_group=")
    if order and group:
        raise QueryError(
            f"{name}() was given order_by= and within_group=.\nTo fix it: keep within_group= for percentiles and mode, else order_by=."
        )
    condition: Shape | None = None
    values += order_values + group_values
    if where is not None:
        condition = condition_operand(where, f"{name}(where=...)")
        values += where.bind_values
    shape = Function(name, arguments, distinct, order or group, bool(group), condition, repeatable)
    return Operation(shape, values, result)


def count(
    expression: Expression[object] | None = None, *, distinct: bool = False, where: Expression[bool] | None = None
) -> Expression[int]:
    """The number of rows, or of rows in which `expression` is not NULL.

    Args:
        distinct: count different values only.
        where: count only rows for which this holds (SQL's FILTER).
    """
    if expression is None:
        if distinct:
            raise QueryError(
                "count(distinct=True) needs the expression whose different values are counted.\nTo fix it: count(User.city, distinct=True)."
            )
        return call("count", (Keyword("*"),), (), BIGINT, where=where)
    return call("count", (expression.operand(),), expression.bind_values, BIGINT, where=where, distinct=distinct)


def sum_(expression: Expression[S | None], *, distinct: bool = False, where: Expression[bool] | None = None) -> Expression[S | None]:
    """The sum of a number or interval; NULL when there are no rows. Whole numbers add up to a bigint, and overflow is an error."""
    kind = expression.sql_type
    _require_number(expression, "sum_()")
    made = call("sum", (expression.operand(),), expression.bind_values, _bare(kind), where=where, distinct=distinct)
    if kind is not None and kind.python is int:
        return Operation(Cast(made.shape, BIGINT), made.bind_values, BIGINT)
    return made


@overload
def avg(
    expression: Expression[int | None], *, distinct: bool = ..., where: Expression[bool] | None = ...
) -> Expression[decimal.Decimal | None]: ...
@overload
def avg(expression: Expression[S | None], *, distinct: bool = False, where: Expression[bool] | None = None) -> Expression[S | None]: ...
def avg(expression: Expression[object], *, distinct: bool = False, where: Expression[bool] | None = None) -> Expression[object]:
    """The mean of a number, interval or vector; NULL when there are no rows. The mean of whole numbers is a Decimal."""
    kind = expression.sql_type
    _require_number(expression, "avg()")
    result = NUMERIC if kind is not None and kind.python is int else _bare(kind)
    return call("avg", (expression.operand(),), expression.bind_values, result, where=where, distinct=distinct)


def min_(expression: Expression[S | None], *, where: Expression[bool] | None = None) -> Expression[S | None]:
    """The smallest value; NULL when there are no rows."""
    return call("min", (expression.operand(),), expression.bind_values, expression.sql_type, where=where)


def max_(expression: Expression[S | None], *, where: Expression[bool] | None = None) -> Expression[S | None]:
    """The largest value; NULL when there are no rows."""
    return call("max", (expression.operand(),), expression.bind_values, expression.sql_type, where=where)


def _bare(kind: SqlType | None) -> SqlType | None:
    return kind.bound if kind is not None else None


def _require_number(expression: Expression[object], what: str) -> None:
    building.require_family(expression, what, ("number", "interval", "vector"), "a number or an interval")
