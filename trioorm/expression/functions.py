"""Constants, conditions and choices: `and_(...)`, `cast(...)`, `literal(...)`, `case(...)`, `row(...)`, `any_(...)`.

Source: PostgreSQL manual, sections 9.18 (conditional expressions), 9.24 and 9.25 (comparisons of rows and arrays).
"""

from __future__ import annotations

import datetime
import decimal
import typing
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression import building
from trioorm.expression.annotations import type_of_class, type_of_value
from trioorm.expression.binding import bind, same_family
from trioorm.expression.expression import Expression, Operation, condition_operand, is_expression, logical
from trioorm.expression.shape import ArrayOf, Bind, Case, Cast, Exists, Extract, Function, Keyword, Quantifier, Row, Shape
from trioorm.expression.types import BOOLEAN, NUMERIC, TEXT, TIMESTAMPTZ, SqlType, array_of
from trioorm.expression.user_types import row_type

S = TypeVar("S")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")


def and_(*conditions: Expression[bool | None]) -> Expression[bool]:
    """All of the conditions; of none at all: true."""
    return logical("AND", conditions) if conditions else Operation(Keyword("TRUE"), (), BOOLEAN)


def or_(*conditions: Expression[bool | None]) -> Expression[bool]:
    """At least one of the conditions; of none at all: false."""
    return logical("OR", conditions) if conditions else Operation(Keyword("FALSE"), (), BOOLEAN)


def not_(condition: Expression[bool] | Expression[bool | None]) -> Expression[bool]:
    """The opposite of a condition; NULL stays NULL."""
    condition_operand(condition, "not_()")
    return ~condition


def exists(statement: Expression[object]) -> Expression[bool]:
    """Whether a select gives any row. Columns of the outer statement may be used inside it."""
    if not statement.is_statement:
        raise QueryError(f"exists() takes a select, and got the expression {statement}.\nTo fix it: exists(select(...).where(...)).")
    return Operation(Exists(statement.shape), statement.bind_values, BOOLEAN)


def literal(value: S, *, type: SqlType | None = None) -> Expression[S]:
    """A value as an expression of its own. It is bound, like every value."""
    place, known = bind(value, type if type is not None else type_of_value(value), of="a literal")
    return Operation(Bind(place.type, cast=True), (value,), known)


def now() -> Expression[datetime.datetime]:
    """The moment at which the transaction began, by the server's clock."""
    return Operation(Function("now", ()), (), TIMESTAMPTZ)


def default() -> Expression[typing.Never]:
    """The column's default on the server, as a value in `insert` and `update`."""
    return Operation(Keyword("DEFAULT"), (), None)


@overload
def cast(expression: Expression[object], to: type[S], /) -> Expression[S]: ...
@overload
def cast(expression: Expression[object], to: SqlType, /) -> Expression[typing.Never]: ...
def cast(expression: Expression[object], to: type[S] | SqlType, /) -> Expression[S] | Expression[typing.Never]:
    """The value as another type: a Python class (`int` is bigint) or a PostgreSQL type such as `SMALLINT`."""
    target = type_of_class(to, "cast()")
    if not is_expression(expression):  # callers without a type checker
        given = type(typing.cast("object", expression)).__qualname__
        raise QueryError(f"cast() takes an expression, and got a value of class {given}.\nTo fix it: literal(5, type=SMALLINT).")
    return Operation(Cast(expression.operand(), target), expression.bind_values, target)


def coalesce(expression: Expression[S | None], /, *others: S | Expression[S]) -> Expression[S]:
    """The first of these that is not NULL."""
    kind = expression.sql_type
    shapes: list[Shape] = [expression.operand()]
    values: list[object] = [*expression.bind_values]
    for other in others:
        if isinstance(other, Expression):
            further = typing.cast("Expression[object]", other)
            shapes.append(further.operand())
            values.extend(further.bind_values)
            kind = kind if kind is not None else further.sql_type
        else:
            shapes.append(bind(other, kind, of=f"coalesce({expression}, ...)")[0])
            values.append(other)
    return Operation(Function("coalesce", tuple(shapes)), tuple(values), kind)


def lower(text: Expression[S]) -> Expression[S]:
    """The text in small letters."""
    return Operation(Function("lower", (text.operand(),)), text.bind_values, TEXT)


def upper(text: Expression[S]) -> Expression[S]:
    """The text in capitals."""
    return Operation(Function("upper", (text.operand(),)), text.bind_values, TEXT)


def nullif(expression: Expression[S], value: S | Expression[S]) -> Expression[S | None]:
    """The expression, or NULL where it equals `value`."""
    shape, values = building.compared_operand(expression, "NULLIF", value)
    return Operation(Function("nullif", (expression.operand(), shape)), expression.bind_values + values, expression.sql_type)


def greatest(expression: Expression[S], /, *others: S | Expression[S]) -> Expression[S]:
    """The largest of these; NULLs are passed over."""
    return _one_of("greatest", expression, others)


def least(expression: Expression[S], /, *others: S | Expression[S]) -> Expression[S]:
    """The smallest of these; NULLs are passed over."""
    return _one_of("least", expression, others)


def _one_of(name: str, expression: Expression[Any], others: Sequence[object]) -> Expression[Any]:
    parts = [building.compared_operand(expression, f"{name}()", other) for other in others]
    shapes = (expression.operand(), *(shape for shape, _ in parts))
    values = expression.bind_values + tuple(value for _, more in parts for value in more)
    return Operation(Function(name, shapes), values, expression.sql_type)


@overload
def case(*branches: tuple[Expression[bool], S | Expression[S]], else_: S | Expression[S]) -> Expression[S]: ...
@overload
def case(*branches: tuple[Expression[bool], S | Expression[S]], else_: None = None) -> Expression[S | None]: ...
def case(*branches: tuple[Expression[bool], object], else_: object = None) -> Expression[Any]:
    """The value of the first branch whose condition holds: `case((User.age < 18, "minor"), else_="adult")`.

    Args:
        branches: pairs of a condition and a value or expression.
        else_: where none holds; None is NULL.

    Raises:
        QueryError: no branches, or results of different kinds of types.
    """
    if not branches:
        raise QueryError("case() was given no branches.\nTo fix it: case((condition, value), else_=other).")
    if not all(isinstance(branch, tuple) for branch in typing.cast("tuple[object, ...]", branches)):  # callers without a type checker
        raise QueryError('case() takes pairs of a condition and a value.\nTo fix it: case((User.age == 1, "one"), else_="more").')
    results = [result for _, result in branches] + ([] if else_ is None else [else_])
    kind = next((found.sql_type for found in results if is_expression(found) and found.sql_type is not None), None)
    kind = (
        kind
        if kind is not None
        else next((type_of_value(found) for found in results if found is not None and not is_expression(found)), None)
    )
    shapes: list[Shape] = []
    values: tuple[object, ...] = ()
    for condition, result in branches:
        shapes.append(condition_operand(condition, "case()"))
        shape, more = _result_of_case(result, kind)
        shapes.append(shape)
        values += condition.bind_values + more
    otherwise: Shape | None = None
    if else_ is not None:
        otherwise, more = _result_of_case(else_, kind)
        values += more
    return Operation(Case(tuple(shapes), otherwise), values, kind)


def _result_of_case(result: object, kind: SqlType | None) -> building.Part:
    if is_expression(result):
        found = result
        if not same_family(found.sql_type, kind):
            raise QueryError(f"The results of a case() are of different types: {found} is none of the others'.\nTo fix it: cast() it.")
    return building.place_of(result, kind, of="case()") if kind is not None else building.operand_of(result, None, of="case()")


@overload
def any_(values: Expression[list[S]], /) -> Expression[S]: ...
@overload
def any_(values: Expression[S], /) -> Expression[S]: ...
@overload
def any_(values: Sequence[S], /) -> Expression[S]: ...
def any_(values: Expression[Any] | Sequence[object], /) -> Expression[Any]:
    """Any element of an array, or any row of a select, at the right of a comparison: `User.age > any_(select(Child.age))`."""
    return _quantified("ANY", values)


@overload
def all_(values: Expression[list[S]], /) -> Expression[S]: ...
@overload
def all_(values: Expression[S], /) -> Expression[S]: ...
@overload
def all_(values: Sequence[S], /) -> Expression[S]: ...
def all_(values: Expression[Any] | Sequence[object], /) -> Expression[Any]:
    """All elements of an array, or all rows of a select, at the right of a comparison: `User.age >= all_([18, 21])`."""
    return _quantified("ALL", values)


def _quantified(word: Literal["ANY", "ALL"], values: object) -> Expression[Any]:
    place = f"{word.lower()}_()"
    if isinstance(values, Expression):
        given = typing.cast("Expression[object]", values)
        kind = given.sql_type
        if given.is_statement:
            return Operation(Quantifier(word, given.shape, is_statement=True), given.bind_values, kind)
        if kind is not None and kind.element is None:
            raise QueryError(f"{place} takes an array or a select, and got {kind.name}.\nTo fix it: compare with the expression itself.")
        return Operation(Quantifier(word, given.shape), given.bind_values, kind.element if kind is not None else None)
    if not isinstance(values, (list, tuple)) or not values:
        shown = "an empty one" if isinstance(values, (list, tuple)) else f"a {type(values).__qualname__}"
        raise QueryError(f"{place} takes an array or a select, and got {shown}.\nTo fix it: give a list with elements.")
    items = list(typing.cast("Sequence[object]", values))
    array = type_of_value(items)
    shape, bound = building.place_of(items, array, of=place)
    return Operation(Quantifier(word, shape), bound, array.element)


# fmt: off
@overload
def row(a: Expression[T1], b: Expression[T2], /) -> Expression[tuple[T1, T2]]: ...
@overload
def row(a: Expression[T1], b: Expression[T2], c: Expression[T3], /) -> Expression[tuple[T1, T2, T3]]: ...
@overload
def row(a: Expression[T1], b: Expression[T2], c: Expression[T3], d: Expression[T4], /) -> Expression[tuple[T1, T2, T3, T4]]: ...
@overload
def row(
    a: Expression[T1], b: Expression[T2], c: Expression[T3], d: Expression[T4], e: Expression[T5], /
) -> Expression[tuple[T1, T2, T3, T4, T5]]: ...
# fmt: on
def row(*items: object) -> Expression[Any]:
    """Several values as one: `row(User.name, User.id) > ("Ada", 7)`, `row(a, b).in_([(1, 2), (3, 4)])`.

    Rows compare from left to right, as words do; a plain tuple at the right takes the types of the left.
    """
    if len(items) < 2:
        raise QueryError("row() takes two values or more.\nTo fix it: compare a single one as it is.")
    shapes: list[Shape] = []
    values: tuple[object, ...] = ()
    kinds: list[SqlType | None] = []
    for item in items:
        if isinstance(item, Expression):
            found = typing.cast("Expression[object]", item)
            kinds.append(found.sql_type)
            shape, more = found.operand(), found.bind_values
        else:
            kinds.append(type_of_value(item))
            shape, more = building.place_of(item, kinds[-1] or BOOLEAN, of="row()")
        shapes.append(shape)
        values += more
    return Operation(Row(tuple(shapes)), values, row_type(tuple(kinds)))


@overload
def array(items: Sequence[Expression[S]], /) -> Expression[list[S]]: ...
@overload
def array(items: Sequence[S], /) -> Expression[list[S]]: ...
@overload
def array(items: Expression[S], /) -> Expression[list[S]]: ...
def array(items: Sequence[object] | Expression[object], /) -> Expression[Any]:
    """An array of expressions and values, or of the rows of a select: `array([User.name, User.email])`, `array(select(User.name))`."""
    if isinstance(items, Expression):
        if not items.is_statement:
            raise QueryError(f"array() takes a list or a select, and got the expression {items}.\nTo fix it: array([expression]).")
        kind = items.sql_type
        return Operation(ArrayOf((items.shape,), is_statement=True), items.bind_values, None if kind is None else array_of(kind))
    given = items
    typed = next((item.sql_type for item in given if isinstance(item, Expression) and item.sql_type is not None), None)
    if typed is None:
        plain = [item for item in given if item is not None and not isinstance(item, Expression)]
        if not plain:
            raise QueryError("The type of array() is not known.\nTo fix it: cast() one of its elements.")
        typed = type_of_value(plain[0])
    parts = [building.place_of(item, typed, of="array()") for item in given]
    values = tuple(value for _, more in parts for value in more)
    return Operation(ArrayOf(tuple(shape for shape, _ in parts)), values, array_of(typed))


_FIELDS = frozenset(
    """century day decade dow doy epoch hour isodow isoyear julian microseconds millennium milliseconds minute month quarter second
    timezone timezone_hour timezone_minute week year""".split()  # noqa: SIM905 - reads better as a text
)


def extract(field: str, of: Expression[Any]) -> Expression[decimal.Decimal]:
    """A part of a moment, date, time or interval: `extract("year", Order.created_at)`.

    Raises:
        QueryError: there is no part of that name.
    """
    if field not in _FIELDS:
        raise QueryError(f"{field!r} is no part of a moment.\nTo fix it: one of {', '.join(sorted(_FIELDS))}.")
    building.require_family(
        of, "extract()", ("timestamptz", "timestamp", "date", "time", "timetz", "interval"), "a moment, date, time or interval"
    )
    return Operation(Extract(field, of.operand()), of.bind_values, NUMERIC)


__all__ = [
    "all_", "and_", "any_", "array", "case", "cast", "coalesce", "default", "exists", "extract", "greatest", "least", "literal", "lower",
    "not_", "now", "nullif", "or_", "row", "upper",
]  # fmt: skip
