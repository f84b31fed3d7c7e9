"""Expressions: typed, immutable values that stand for what the server will compute.

The contract: an `Expression[T]` has a shape, the bind values in the order of the shape's `Bind` leaves, and a type where one is known.
It is covariant in `T`, the Python type of its value. Operators build new expressions; nothing is sent or computed here. Values of a
wrong class are refused when the expression is built, by both type checkers before that.

The classes are written by hand rather than with attrs: a frozen attrs record of three fields costs 0.45 µs to make, this 0.2, and a
statement makes a dozen. Nothing writes to one after it is made; to type checkers the three are read-only.
"""

import datetime
import decimal
import typing
from collections.abc import Sequence
from typing import Generic, Literal, Never, NoReturn, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression import types
from trioorm.expression.arithmetic import arithmetic_result
from trioorm.expression.binding import bind, bind_array, same_family
from trioorm.expression.printing import text_of
from trioorm.expression.shape import (
    PLACES,
    Between,
    Binary,
    Bind,
    InSubquery,
    Labelled,
    Logical,
    Ordered,
    Postfix,
    Prefix,
    Quantified,
    Shape,
)
from trioorm.expression.types import BOOLEAN, JSONB, TEXT, SqlType

T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")
Number = TypeVar("Number", int, float, decimal.Decimal)


class Selectable(Generic[T_co]):
    """What `select` takes besides model classes: it gives one value of class `T_co` in each row."""

    __slots__ = ()


class Expression(Selectable[T_co]):
    """Something that the server computes to a value of class `T_co`."""

    __slots__ = ()
    is_statement = False

    @property
    def shape(self) -> Shape:
        """All of the expression except its values."""
        raise NotImplementedError

    @property
    def bind_values(self) -> tuple[object, ...]:
        """The bind values, in the order of their places in the shape."""
        raise NotImplementedError

    @property
    def sql_type(self) -> SqlType | None:
        """The PostgreSQL type, None where only the server knows it."""
        raise NotImplementedError

    def operand(self) -> Shape:
        """The shape in which this stands inside another expression; a statement stands in parentheses."""
        return self.shape

    def __hash__(self) -> int:
        return id(self)

    def __str__(self) -> str:
        return text_of(self.shape)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {text_of(self.shape)}>"

    def __bool__(self) -> NoReturn:
        raise QueryError(
            f"An expression has no truth value in Python: {self}\n"
            "It is computed by the server, row by row. Python asked for its truth because of `and`, `or`, `not`, `if`, `in` or a chain.\n"
            "To fix it:\n"
            "  wrong: (User.age > 18) and (User.age < 65)     right: (User.age > 18) & (User.age < 65)\n"
            "  wrong: not User.active                         right: ~User.active\n"
            "  wrong: 18 < User.age < 65                      right: User.age.between(19, 64)\n"
            "  wrong: User.name in names                      right: User.name.in_(names)"
        )

    def __iter__(self) -> NoReturn:
        raise QueryError(f"An expression cannot be looped over: {self}\nTo fix it: fetch it with `await db.fetch_all(select(...))`.")

    # Comparisons. Self-typed on `S | None`, so that a nullable column compares with a plain one, while `== None` is refused.

    def __eq__(self: "Expression[S | None]", other: "S | Expression[S | None]") -> "Expression[bool]":  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride] - SQL's equality is no bool
        return _compare(self, "=", other)

    def __ne__(self: "Expression[S | None]", other: "S | Expression[S | None]") -> "Expression[bool]":  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride] - as above
        return _compare(self, "<>", other)

    def __lt__(self: "Expression[S | None]", other: "S | Expression[S | None]") -> "Expression[bool]":
        return _compare(self, "<", other)

    def __le__(self: "Expression[S | None]", other: "S | Expression[S | None]") -> "Expression[bool]":
        return _compare(self, "<=", other)

    def __gt__(self: "Expression[S | None]", other: "S | Expression[S | None]") -> "Expression[bool]":
        return _compare(self, ">", other)

    def __ge__(self: "Expression[S | None]", other: "S | Expression[S | None]") -> "Expression[bool]":
        return _compare(self, ">=", other)

    def is_distinct_from(self: "Expression[S | None]", other: "S | Expression[S | None] | None") -> "Expression[bool]":
        """`<>` that treats NULL as a value: never NULL itself."""
        return self.is_not_null() if other is None else _compare(self, "IS DISTINCT FROM", other)

    def is_not_distinct_from(self: "Expression[S | None]", other: "S | Expression[S | None] | None") -> "Expression[bool]":
        """`=` that treats NULL as a value: never NULL itself. For a value that may be None."""
        return self.is_null() if other is None else _compare(self, "IS NOT DISTINCT FROM", other)

    def between(self: "Expression[S | None]", low: "S | Expression[S | None]", high: "S | Expression[S | None]") -> "Expression[bool]":
        """Whether the value lies between two bounds, both included."""
        low_shape, low_values = _compared_operand(self, "BETWEEN", low)
        high_shape, high_values = _compared_operand(self, "BETWEEN", high)
        return Operation(Between(self.operand(), low_shape, high_shape), (*self.bind_values, *low_values, *high_values), BOOLEAN)

    def in_(self: "Expression[S | None]", values: "Sequence[S] | set[S] | frozenset[S] | Expression[S | None]") -> "Expression[bool]":
        """Whether the value is one of these: a collection (sent as one array, so that its length is no part of the shape) or a select.

        Raises:
            QueryError: None is among them, or an element's class does not fit.
        """
        return _contained(self, values, negated=False)

    def not_in(self: "Expression[S | None]", values: "Sequence[S] | set[S] | frozenset[S] | Expression[S | None]") -> "Expression[bool]":
        """Whether the value is none of these. If a select gives a NULL, no row passes: SQL's rule."""
        return _contained(self, values, negated=True)

    def is_null(self) -> "Expression[bool]":
        """Whether there is no value."""
        return Operation(Postfix(self.operand(), "IS NULL"), self.bind_values, BOOLEAN)

    def is_not_null(self) -> "Expression[bool]":
        """Whether there is a value."""
        return Operation(Postfix(self.operand(), "IS NOT NULL"), self.bind_values, BOOLEAN)

    # Text.

    def like(self: "Expression[str | None]", pattern: "str | Expression[str]") -> "Expression[bool]":
        r"""Whether the text matches a pattern: `%` is any text, `_` any character, `\` takes the next one literally."""
        return _compare(self, "LIKE", pattern)

    def ilike(self: "Expression[str | None]", pattern: "str | Expression[str]") -> "Expression[bool]":
        """As `like`, without regard to case."""
        return _compare(self, "ILIKE", pattern)

    def not_like(self: "Expression[str | None]", pattern: "str | Expression[str]") -> "Expression[bool]":
        """The opposite of `like`."""
        return _compare(self, "NOT LIKE", pattern)

    def not_ilike(self: "Expression[str | None]", pattern: "str | Expression[str]") -> "Expression[bool]":
        """The opposite of `ilike`."""
        return _compare(self, "NOT ILIKE", pattern)

    def starts_with(self: "Expression[str | None]", prefix: str) -> "Expression[bool]":
        """Whether the text begins with `prefix`, taken literally."""
        if not isinstance(prefix, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
            raise QueryError("starts_with() takes a str.\nTo fix it: for an expression use column.like(expression + '%').")
        return _compare(self, "LIKE", prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%")

    # Arrays and jsonb.

    def contains(self: "Expression[S | None]", part: "S | Expression[S | None]") -> "Expression[bool]":
        """For an array: whether it has all elements of `part`. For jsonb: whether it holds `part` (PostgreSQL's `@>`)."""
        _require_container(self, "contains")
        return _compare(self, "@>", part)

    def overlaps(self: "Expression[list[S] | None]", other: "list[S] | Expression[list[S]]") -> "Expression[bool]":
        """Whether two arrays have an element in common (`&&`)."""
        _require_container(self, "overlaps")
        return _compare(self, "&&", other)

    def has(self: "Expression[list[S] | None]", element: "S | Expression[S]") -> "Expression[bool]":
        """Whether an element is in the array."""
        array = self.sql_type
        if array is None or array.element is None:
            raise _wrong_family("has()", array, "an array")
        if isinstance(element, Expression):
            found = typing.cast("Expression[object]", element)
            shape, values = found.operand(), found.bind_values
        else:
            shape, values = bind(element, array.element, of=f"an element of {self}")[0], (element,)
        return Operation(Quantified(shape, "=", "ANY", self.operand()), (*values, *self.bind_values), BOOLEAN)

    # Logic.

    def __and__(self: "Expression[bool] | Expression[bool | None]", other: "Expression[bool | None]") -> "Expression[bool]":
        return logical("AND", (self, other))

    def __or__(self: "Expression[bool] | Expression[bool | None]", other: "Expression[bool | None]") -> "Expression[bool]":
        return logical("OR", (self, other))

    def __invert__(self: "Expression[bool] | Expression[bool | None]") -> "Expression[bool]":
        return Operation(Prefix("NOT", condition_operand(self, "~")), self.bind_values, BOOLEAN)

    # Arithmetic. PostgreSQL's rules: whole numbers divide to whole numbers, and what is divided by zero is an error.

    @overload
    def __add__(
        self: "Expression[datetime.datetime]", other: "datetime.timedelta | Expression[datetime.timedelta]"
    ) -> "Expression[datetime.datetime]": ...
    @overload
    def __add__(self: "Expression[decimal.Decimal]", other: "int | Expression[int]") -> "Expression[decimal.Decimal]": ...
    @overload
    def __add__(self: "Expression[S]", other: "S | Expression[S]") -> "Expression[S]": ...
    @overload  # a nullable right side makes the result nullable
    def __add__(self: "Expression[S]", other: "Expression[S | None]") -> "Expression[S | None]": ...  # type: ignore[overload-cannot-match]  # pyright: ignore[reportOverlappingOverload] - S is fixed by self first
    def __add__(self, other: object) -> "Expression[object]":
        return _arithmetic(self, "+", other)

    @overload
    def __sub__(
        self: "Expression[datetime.datetime]", other: "datetime.timedelta | Expression[datetime.timedelta]"
    ) -> "Expression[datetime.datetime]": ...
    @overload
    def __sub__(
        self: "Expression[datetime.datetime]", other: "datetime.datetime | Expression[datetime.datetime]"
    ) -> "Expression[datetime.timedelta]": ...
    @overload
    def __sub__(self: "Expression[decimal.Decimal]", other: "int | Expression[int]") -> "Expression[decimal.Decimal]": ...
    @overload
    def __sub__(self: "Expression[S]", other: "S | Expression[S]") -> "Expression[S]": ...
    @overload  # as for addition
    def __sub__(self: "Expression[S]", other: "Expression[S | None]") -> "Expression[S | None]": ...  # type: ignore[overload-cannot-match]  # pyright: ignore[reportOverlappingOverload] - as above
    def __sub__(self, other: object) -> "Expression[object]":
        return _arithmetic(self, "-", other)

    @overload
    def __mul__(self: "Expression[decimal.Decimal]", other: "int | Expression[int]") -> "Expression[decimal.Decimal]": ...
    @overload
    def __mul__(self: "Expression[S]", other: "S | Expression[S]") -> "Expression[S]": ...
    @overload
    def __mul__(self: "Expression[S]", other: "Expression[S | None]") -> "Expression[S | None]": ...  # type: ignore[overload-cannot-match]  # pyright: ignore[reportOverlappingOverload] - as above
    def __mul__(self, other: object) -> "Expression[object]":
        return _arithmetic(self, "*", other)

    @overload
    def __truediv__(self: "Expression[decimal.Decimal]", other: "int | Expression[int]") -> "Expression[decimal.Decimal]": ...
    @overload
    def __truediv__(self: "Expression[S]", other: "S | Expression[S]") -> "Expression[S]": ...
    @overload
    def __truediv__(self: "Expression[S]", other: "Expression[S | None]") -> "Expression[S | None]": ...  # type: ignore[overload-cannot-match]  # pyright: ignore[reportOverlappingOverload] - as above
    def __truediv__(self, other: object) -> "Expression[object]":
        return _arithmetic(self, "/", other)

    def __mod__(self: "Expression[S]", other: "S | Expression[S]") -> "Expression[S]":
        return typing.cast("Expression[S]", _arithmetic(self, "%", other))

    def __radd__(self: "Expression[S]", other: S) -> "Expression[S]":
        return typing.cast("Expression[S]", _arithmetic(self, "+", other, reflected=True))

    def __rsub__(self: "Expression[S]", other: S) -> "Expression[S]":
        return typing.cast("Expression[S]", _arithmetic(self, "-", other, reflected=True))

    def __rmul__(self: "Expression[S]", other: S) -> "Expression[S]":
        return typing.cast("Expression[S]", _arithmetic(self, "*", other, reflected=True))

    def __rtruediv__(self: "Expression[S]", other: S) -> "Expression[S]":
        return typing.cast("Expression[S]", _arithmetic(self, "/", other, reflected=True))

    def __neg__(self: "Expression[S]") -> "Expression[S]":
        if self.sql_type is not None and self.sql_type.family not in ("number", "interval"):
            raise _wrong_family("-", self.sql_type, "a number or an interval")
        return Operation(Prefix("-", self.operand()), self.bind_values, self.sql_type)

    # Order and names.

    def asc(self, *, nulls: Literal["first", "last"] | None = None) -> "Ordering":
        """Smallest first. NULLs come last unless said otherwise: PostgreSQL's rule."""
        return _ordering(self, "ASC", nulls)

    def desc(self, *, nulls: Literal["first", "last"] | None = None) -> "Ordering":
        """Largest first. NULLs come first unless said otherwise: PostgreSQL's rule."""
        return _ordering(self, "DESC", nulls)

    def as_(self, name: str) -> "Expression[T_co]":
        """The same expression under a name of its own, which `order_by` and `group_by` then use."""
        return Operation(Labelled(self.operand(), name), self.bind_values, self.sql_type)


class Operation(Expression[T_co]):
    """An expression made of others. Users never make one by hand."""

    __slots__ = ("bind_values", "shape", "sql_type")
    shape: Shape
    bind_values: tuple[object, ...]
    sql_type: SqlType | None

    def __init__(self, shape: Shape, bind_values: tuple[object, ...], sql_type: SqlType | None) -> None:
        self.shape = shape  # pyright: ignore[reportIncompatibleMethodOverride] - a slot, read quicker
        self.bind_values = bind_values  # pyright: ignore[reportIncompatibleMethodOverride] - a slot, read quicker
        self.sql_type = sql_type  # pyright: ignore[reportIncompatibleMethodOverride] - a slot, read quicker


class Ordering:
    """A term of ORDER BY: an expression with a direction. Not an expression itself, so it fits nowhere else."""

    __slots__ = ("bind_values", "shape")

    def __init__(self, shape: Shape, bind_values: tuple[object, ...]) -> None:
        self.shape = shape
        self.bind_values = bind_values

    def __repr__(self) -> str:
        return f"<Ordering {text_of(self.shape)}>"


def _ordering(expression: Expression[object], direction: str, nulls: str | None) -> Ordering:
    if nulls not in (None, "first", "last"):
        raise QueryError(f'nulls={nulls!r} says nothing about NULLs.\nTo fix it: nulls="first" or nulls="last".')
    return Ordering(Ordered(expression.operand(), direction, (nulls or "").upper()), expression.bind_values)


def _compare(left: Expression[object], operator: str, other: object) -> "Operation[bool]":
    if isinstance(other, Expression):
        right = typing.cast("Expression[object]", other)
        left_type, right_type = left.sql_type, right.sql_type
        if left_type is not right_type and not same_family(left_type, right_type):
            raise _incomparable(left, operator, right)
        return Operation(Binary(operator, left.operand(), right.operand()), left.bind_values + right.bind_values, BOOLEAN)
    left_type = left.sql_type
    # The commonest case by far, a value of exactly the column's class, kept free of calls.
    if left_type is not None and other.__class__ is left_type.python and left_type.plain:
        return Operation(Binary(operator, left.operand(), PLACES[left_type]), (*left.bind_values, other), BOOLEAN)
    shape, values = _compared_operand(left, operator, other)
    return Operation(Binary(operator, left.operand(), shape), left.bind_values + values, BOOLEAN)


def _compared_operand(left: Expression[object], operator: str, other: object) -> tuple[Shape, tuple[object, ...]]:
    if isinstance(other, Expression):
        right = typing.cast("Expression[object]", other)
        if not same_family(left.sql_type, right.sql_type):
            raise _incomparable(left, operator, right)
        return right.operand(), right.bind_values
    if other is None:
        raise QueryError(
            f"{left} was compared with None by {operator}.\n"
            "In SQL a comparison with NULL is never true, not even NULL = NULL.\n"
            "To fix it:\n"
            "  wrong: User.email == None      right: User.email.is_null()\n"
            "  wrong: User.email != None      right: User.email.is_not_null()\n"
            "  for a value that may be None:  User.email.is_not_distinct_from(value)"
        )
    return bind(other, left.sql_type, of=left)[0], (other,)


def _incomparable(left: Expression[object], operator: str, right: Expression[object]) -> QueryError:
    left_name, right_name = (side.sql_type.name if side.sql_type is not None else "unknown" for side in (left, right))
    return QueryError(
        f"{left} ({left_name}) and {right} ({right_name}) cannot meet in {operator}.\n"
        "To fix it: cast() one of them to the other's type, if that is meant."
    )


def _contained(left: Expression[object], values: object, *, negated: bool) -> Expression[bool]:
    if isinstance(values, Expression):
        inner = typing.cast("Expression[object]", values)
        if not inner.is_statement:
            raise QueryError(
                f"in_() takes a collection or a select, and got the expression {inner}.\n"
                "To fix it: for one value use ==; for an array column use array.has(value)."
            )
        if not same_family(left.sql_type, inner.sql_type):
            raise _incomparable(left, "IN", inner)
        return Operation(InSubquery(left.operand(), negated, inner.shape), left.bind_values + inner.bind_values, BOOLEAN)
    if isinstance(values, (str, bytes)) or not isinstance(values, (list, tuple, set, frozenset, range, Sequence)):
        raise QueryError(
            f"in_() takes a collection or a select, and got a {type(values).__qualname__}.\n"
            "To fix it: give a list, tuple or set; for one value use ==."
        )
    items, element = bind_array(list(typing.cast("Sequence[object]", values)), left.sql_type, of=left)
    place = Bind(types.array_of(element), cast=True)
    shape = Quantified(left.operand(), "<>" if negated else "=", "ALL" if negated else "ANY", place)
    return Operation(shape, (*left.bind_values, items), BOOLEAN)


def condition_operand(condition: Expression[object], place: str) -> Shape:
    """The shape of something that must be a condition.

    Raises:
        QueryError: it is no boolean expression.
    """
    if isinstance(condition, Expression):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        if condition.sql_type is BOOLEAN or condition.sql_type is None:
            return condition.operand()
        raise _wrong_family(place, condition.sql_type, "a condition (boolean)")
    raise QueryError(
        f"{place} takes conditions on columns, and got {_described(condition)}.\n"
        "Python computed it before the library saw it: one side of the comparison was no column, or `is`, `not` or `in` was used.\n"
        "To fix it:\n"
        "  wrong: where(user.age > 18)        (an object)      right: where(User.age > 18)      (the class)\n"
        "  wrong: where(User.email is None)                    right: where(User.email.is_null())\n"
        "  for no condition at all: leave it out; for a constant: literal(True)"
    )


def _described(value: object) -> str:
    return f"the bool {value}" if isinstance(value, bool) else f"a {type(value).__qualname__}"


def logical(operator: str, conditions: Sequence[Expression[bool | None]]) -> Expression[bool]:
    """Several conditions as one. Nested ones of the same kind are flattened, which changes nothing but the parentheses."""
    shapes: list[Shape] = []
    values: tuple[object, ...] = ()
    for condition in conditions:
        shape = condition_operand(condition, {"AND": "&, and_() or where()", "OR": "| or or_()"}[operator])
        if isinstance(shape, Logical) and shape.operator == operator:
            shapes.extend(shape.operands)
        else:
            shapes.append(shape)
        values += condition.bind_values
    return Operation(Logical(operator, tuple(shapes)), values, BOOLEAN)


def _arithmetic(left: Expression[object], operator: str, other: object, *, reflected: bool = False) -> Expression[Never]:
    if isinstance(other, Expression):
        right = typing.cast("Expression[object]", other)
        other_shape, other_values, other_type = right.operand(), right.bind_values, right.sql_type
    else:
        if other is None:
            raise QueryError(f"None cannot be used in arithmetic with {left}: the result would always be NULL.\nTo fix it: leave it out.")
        other_shape, other_type = _arithmetic_bind(left, other)
        other_values = (other,)
    if reflected:
        spelled, result = arithmetic_result(operator, other_type, left.sql_type)
        return Operation(Binary(spelled, other_shape, left.operand()), other_values + left.bind_values, result)
    spelled, result = arithmetic_result(operator, left.sql_type, other_type)
    return Operation(Binary(spelled, left.operand(), other_shape), left.bind_values + other_values, result)


def _arithmetic_bind(left: Expression[object], value: object) -> tuple[Shape, SqlType]:
    family = left.sql_type.family if left.sql_type is not None else ""
    if (family in ("timestamptz", "date") and isinstance(value, (datetime.timedelta, int))) or family == "interval":
        return bind(value, None, of=left)
    return bind(value, left.sql_type, of=left)


def _require_container(expression: Expression[object], method: str) -> None:
    found = expression.sql_type
    if found is not None and found.element is None and found is not JSONB:
        raise _wrong_family(f"{method}()", found, "an array or jsonb")


def _wrong_family(what: str, found: SqlType | None, wanted: str) -> QueryError:
    name = found.name if found is not None else "unknown"
    hint = "compare it with something, or cast() it"
    if found is TEXT and what == "contains()":
        hint = "to find a text inside a text, column.like('%part%')"
    return QueryError(f"{what} needs {wanted}, and got {name}.\nTo fix it: {hint}.")
