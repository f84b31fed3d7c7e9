"""Functions, aggregates and constants: `count(User.id)`, `func.lower(User.name)`, `now()`, `and_(...)`, `cast(...)`, `literal(...)`.

The contract: the result's type follows PostgreSQL's rules, with one exception: a sum of whole numbers is cast to bigint, because
PostgreSQL would give a numeric and Python an int is expected. A function that is not known here counts as volatile, so a select that
calls it is not run twice by the library on its own.

Source: PostgreSQL manual, chapter 9 (functions and operators).
"""

import datetime
import decimal
import re
import typing
from typing import TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression.binding import bind
from trioorm.expression.expression import Expression, Operation, condition_operand, logical
from trioorm.expression.shape import Bind, Cast, Exists, Function, Keyword, Shape
from trioorm.expression.types import BIGINT, BOOLEAN, INTEGER, NUMERIC, TEXT, TIMESTAMPTZ, SqlType, type_of_annotation, type_of_value

S = TypeVar("S")

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_REPEATABLE = frozenset(
    """
    abs age array_agg array_append array_cat array_length array_position array_remove array_to_string avg bit_length bool_and
    bool_or btrim cardinality ceil ceiling char_length coalesce concat concat_ws count date_bin date_part date_trunc degrees div
    every exp floor format greatest initcap json_agg jsonb_agg jsonb_array_length jsonb_build_array jsonb_build_object
    jsonb_extract_path jsonb_extract_path_text jsonb_object_agg jsonb_path_exists jsonb_typeof least left length ln log lower lpad
    ltrim make_date make_interval max md5 min mod now nullif octet_length percentile_cont percentile_disc pi position power
    radians regexp_count regexp_like regexp_replace regexp_substr repeat replace reverse right round rpad rtrim scale sign
    split_part sqrt starts_with stddev string_agg string_to_array strpos substr substring sum to_char to_date to_json to_jsonb
    to_number to_timestamp translate trim trim_array trunc unnest upper variance
    """.split()  # noqa: SIM905 - ninety names read better as a text
)


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
    target = to if isinstance(to, SqlType) else _type_of_class(to, "cast()")
    return Operation(Cast(expression.operand(), target), expression.bind_values, target)


def _type_of_class(python: object, place: str) -> SqlType:
    found = type_of_annotation(python)
    if found is None:
        raise QueryError(
            f"{place} was given {python!r}, for which no PostgreSQL type is known.\n"
            f"To fix it: give a class such as int or str, or a type such as JSONB."
        )
    return found[0]


# Aggregates.


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
        return _aggregate("count", (Keyword("*"),), (), BIGINT, where=where, distinct=False)
    return _aggregate("count", (expression.operand(),), expression.bind_values, BIGINT, where=where, distinct=distinct)


def sum_(expression: Expression[S | None], *, distinct: bool = False, where: Expression[bool] | None = None) -> Expression[S | None]:
    """The sum of a number or interval; NULL when there are no rows. Whole numbers add up to a bigint, and overflow is an error."""
    kind = expression.sql_type
    _require_number(kind, "sum_()", or_interval=True)
    made = _aggregate("sum", (expression.operand(),), expression.bind_values, kind, where=where, distinct=distinct)
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
    """The mean of a number or interval; NULL when there are no rows. The mean of whole numbers is a Decimal."""
    kind = expression.sql_type
    _require_number(kind, "avg()", or_interval=True)
    result = NUMERIC if kind is not None and kind.python is int else kind
    return _aggregate("avg", (expression.operand(),), expression.bind_values, result, where=where, distinct=distinct)


def min_(expression: Expression[S | None], *, where: Expression[bool] | None = None) -> Expression[S | None]:
    """The smallest value; NULL when there are no rows."""
    return _aggregate("min", (expression.operand(),), expression.bind_values, expression.sql_type, where=where, distinct=False)


def max_(expression: Expression[S | None], *, where: Expression[bool] | None = None) -> Expression[S | None]:
    """The largest value; NULL when there are no rows."""
    return _aggregate("max", (expression.operand(),), expression.bind_values, expression.sql_type, where=where, distinct=False)


def _aggregate(
    name: str,
    arguments: tuple[Shape, ...],
    values: tuple[object, ...],
    result: SqlType | None,
    *,
    where: Expression[bool] | None,
    distinct: bool,
) -> Expression[typing.Never]:
    if where is None:
        return Operation(Function(name, arguments, distinct), values, result)
    return Operation(
        Function(name, arguments, distinct, condition_operand(where, f"{name}(where=...)")), values + where.bind_values, result
    )


def _require_number(kind: SqlType | None, what: str, *, or_interval: bool) -> None:
    if kind is not None and kind.family != "number" and not (or_interval and kind.family == "interval"):
        raise QueryError(f"{what} needs a number or an interval, and got {kind.name}.\nTo fix it: cast() the expression to a number first.")


# Other functions.


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


class FunctionNamespace:
    """`func.any_name(...)` calls a function of PostgreSQL by its name.

    Arguments are expressions or values; values are bound. Say what it gives: `func.cardinality(Film.tags, returns=int)`; without, the
    server's type decides and type checkers see `object`.
    """

    def __getattr__(self, name: str) -> "FunctionCall":
        if name.startswith("__") or not _NAME.fullmatch(name):
            raise AttributeError(f"func.{name} is no name of a function: small letters, digits and underscores only")
        return FunctionCall(name)


class FunctionCall:
    """A function of PostgreSQL, to be called. Made by `func.name`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __call__(
        self, *arguments: object, returns: type[S], distinct: bool = False, where: Expression[bool] | None = None
    ) -> Expression[S]: ...
    @overload
    def __call__(
        self, *arguments: object, returns: SqlType | None = None, distinct: bool = False, where: Expression[bool] | None = None
    ) -> Expression[object]: ...
    def __call__(
        self, *arguments: object, returns: type[S] | SqlType | None = None, distinct: bool = False, where: Expression[bool] | None = None
    ) -> Expression[object]:
        """The call as an expression.

        Args:
            arguments: expressions or values.
            returns: the Python class or PostgreSQL type of the result.
            distinct: for aggregates, different values only.
            where: for aggregates, only rows for which this holds.
        """
        shapes: list[Shape] = []
        values: list[object] = []
        for argument in arguments:
            if isinstance(argument, Expression):
                expression = typing.cast("Expression[object]", argument)
                shapes.append(expression.operand())
                values.extend(expression.bind_values)
            elif argument is None:
                shapes.append(Keyword("NULL"))
            else:
                kind = INTEGER if type(argument) is int and -(2**31) <= argument < 2**31 else type_of_value(argument)
                shapes.append(Bind(bind(argument, kind, of=f"func.{self.name}")[1], cast=True))
                values.append(argument)
        result = returns if returns is None or isinstance(returns, SqlType) else _type_of_class(returns, f"func.{self.name}(returns=...)")
        condition: Shape | None = None
        if where is not None:
            condition = condition_operand(where, f"func.{self.name}(where=...)")
            values.extend(where.bind_values)
        shape = Function(self.name, tuple(shapes), distinct, condition, self.name in _REPEATABLE)
        return Operation(shape, tuple(values), result)


func = FunctionNamespace()

__all__ = [
    "FunctionCall", "FunctionNamespace", "and_", "avg", "cast", "coalesce", "count", "default", "exists", "func", "literal", "lower",
    "max_", "min_", "not_", "now", "or_", "sum_", "upper",
]  # fmt: skip
