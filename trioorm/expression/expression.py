"""Expressions: typed, immutable values that stand for what the server will compute.

The contract: an `Expression[T]` has a shape, the bind values in the order of the shape's `Bind` leaves, and a type where one is known.
It is covariant in `T`, the Python type of its value. Operators build new expressions; nothing is sent or computed here. Values of a
wrong class are refused when the expression is built, by both type checkers before that.

The classes are written by hand rather than with attrs: a frozen attrs record of three fields costs 0.45 µs to make, this 0.2, and a
statement makes a dozen. Nothing writes to one after it is made; to type checkers the three are read-only.
"""

from __future__ import annotations

import datetime
import decimal
import re
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression import building
from trioorm.expression.annotations import type_of_class, type_of_value
from trioorm.expression.binding import accepts
from trioorm.expression.building import condition_operand
from trioorm.expression.guesses import OF_EXPRESSIONS, OF_ORDERINGS, expect_guesses
from trioorm.expression.identifiers import quote_identifier
from trioorm.expression.interned import InternedCondition
from trioorm.expression.node import Ordering, Selectable
from trioorm.expression.predicates import Predicates
from trioorm.expression.shape import Binary, Cast, Collated, FieldOf, Labelled, Ordered, Prefix, Shape, Subscript
from trioorm.expression.types import BOOLEAN, INTEGER, JSONB, TEXT, TIMESTAMP, TIMESTAMPTZ, Json, SqlType, array_of
from trioorm.expression.user_made import is_composite
from trioorm.expression.values import Interval

if TYPE_CHECKING:
    from trioorm.expression.windows import Bound, Exclusion, Terms, WindowSpec

T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")
R = TypeVar("R")
Text = TypeVar("Text", bound=str | None)
Span: typing.TypeAlias = datetime.timedelta | Interval
Moved: typing.TypeAlias = "Span | Expression[datetime.timedelta] | Expression[Interval]"


class Expression(Predicates[T_co, "Expression[bool]"]):
    """Something that the server computes to a value of class `T_co`."""

    __slots__ = ()

    # Logic.

    def __and__(self: Expression[bool] | Expression[bool | None], other: Expression[bool | None]) -> Expression[bool]:
        return logical("AND", (self, other))

    def __or__(self: Expression[bool] | Expression[bool | None], other: Expression[bool | None]) -> Expression[bool]:
        return logical("OR", (self, other))

    # Arithmetic. PostgreSQL's rules: whole numbers divide to whole numbers, and what is divided by zero is an error.

    @overload
    def __add__(self: Expression[datetime.datetime], other: Moved) -> Expression[datetime.datetime]: ...
    @overload
    def __add__(self: Expression[datetime.time], other: Moved) -> Expression[datetime.time]: ...
    @overload
    def __add__(self: Expression[datetime.date], other: int | Expression[int]) -> Expression[datetime.date]: ...
    @overload
    def __add__(
        self: Expression[datetime.date], other: Moved | datetime.time | Expression[datetime.time]
    ) -> Expression[datetime.datetime]: ...
    @overload
    def __add__(self: Expression[decimal.Decimal], other: int | Expression[int]) -> Expression[decimal.Decimal]: ...
    @overload
    def __add__(self: Expression[S], other: S | Expression[S]) -> Expression[S]: ...
    @overload  # a nullable right side makes the result nullable
    def __add__(self: Expression[S], other: Expression[S | None]) -> Expression[S | None]: ...  # type: ignore[overload-cannot-match]  # pyright: ignore[reportOverlappingOverload] - S is fixed by self first
    def __add__(self, other: object) -> Expression[object]:
        return Operation(*building.arithmetic(self, "+", other))

    @overload
    def __sub__(self: Expression[datetime.datetime], other: Moved) -> Expression[datetime.datetime]: ...
    @overload  # a datetime is a date, and answers first
    def __sub__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self: Expression[datetime.datetime], other: datetime.datetime | Expression[datetime.datetime]
    ) -> Expression[datetime.timedelta]: ...
    @overload
    def __sub__(self: Expression[datetime.time], other: Moved) -> Expression[datetime.time]: ...
    @overload
    def __sub__(self: Expression[datetime.time], other: datetime.time | Expression[datetime.time]) -> Expression[datetime.timedelta]: ...
    @overload
    def __sub__(self: Expression[datetime.date], other: int | Expression[int]) -> Expression[datetime.date]: ...
    @overload
    def __sub__(self: Expression[datetime.date], other: datetime.date | Expression[datetime.date]) -> Expression[int]: ...
    @overload
    def __sub__(self: Expression[datetime.date], other: Moved) -> Expression[datetime.datetime]: ...
    @overload
    def __sub__(self: Expression[decimal.Decimal], other: int | Expression[int]) -> Expression[decimal.Decimal]: ...
    @overload
    def __sub__(self: Expression[S], other: S | Expression[S]) -> Expression[S]: ...
    @overload  # as for addition
    def __sub__(self: Expression[S], other: Expression[S | None]) -> Expression[S | None]: ...  # type: ignore[overload-cannot-match]  # pyright: ignore[reportOverlappingOverload] - as above
    def __sub__(self, other: object) -> Expression[object]:
        return Operation(*building.arithmetic(self, "-", other))

    @overload
    def __mul__(self: Expression[datetime.timedelta], other: float | Expression[float]) -> Expression[datetime.timedelta]: ...
    @overload
    def __mul__(self: Expression[decimal.Decimal], other: int | Expression[int]) -> Expression[decimal.Decimal]: ...
    @overload
    def __mul__(self: Expression[S], other: S | Expression[S]) -> Expression[S]: ...
    @overload
    def __mul__(self: Expression[S], other: Expression[S | None]) -> Expression[S | None]: ...  # type: ignore[overload-cannot-match]  # pyright: ignore[reportOverlappingOverload] - as above
    def __mul__(self, other: object) -> Expression[object]:
        return Operation(*building.arithmetic(self, "*", other))

    @overload
    def __truediv__(self: Expression[datetime.timedelta], other: float | Expression[float]) -> Expression[datetime.timedelta]: ...
    @overload
    def __truediv__(self: Expression[decimal.Decimal], other: int | Expression[int]) -> Expression[decimal.Decimal]: ...
    @overload
    def __truediv__(self: Expression[S], other: S | Expression[S]) -> Expression[S]: ...
    @overload
    def __truediv__(self: Expression[S], other: Expression[S | None]) -> Expression[S | None]: ...  # type: ignore[overload-cannot-match]  # pyright: ignore[reportOverlappingOverload] - as above
    def __truediv__(self, other: object) -> Expression[object]:
        return Operation(*building.arithmetic(self, "/", other))

    def __mod__(self: Expression[S], other: S | Expression[S]) -> Expression[S]:
        return typing.cast("Expression[S]", Operation(*building.arithmetic(self, "%", other)))

    def __radd__(self: Expression[S], other: S) -> Expression[S]:
        return typing.cast("Expression[S]", Operation(*building.arithmetic(self, "+", other, reflected=True)))

    def __rsub__(self: Expression[S], other: S) -> Expression[S]:
        return typing.cast("Expression[S]", Operation(*building.arithmetic(self, "-", other, reflected=True)))

    def __rmul__(self: Expression[S], other: S) -> Expression[S]:
        return typing.cast("Expression[S]", Operation(*building.arithmetic(self, "*", other, reflected=True)))

    def __rtruediv__(self: Expression[S], other: S) -> Expression[S]:
        return typing.cast("Expression[S]", Operation(*building.arithmetic(self, "/", other, reflected=True)))

    def __neg__(self: Expression[S]) -> Expression[S]:
        building.require_family(self, "-", ("number", "interval"), "a number or an interval")
        return Operation(Prefix("-", self.operand()), self.bind_values, self.sql_type)

    # Parts of containers.

    @overload
    def __getitem__(self: Expression[list[S] | None], key: slice) -> Expression[list[S] | None]: ...
    @overload
    def __getitem__(self: Expression[list[S] | None], key: int | Expression[int]) -> Expression[S | None]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload] - an array is an object
    @overload
    def __getitem__(self: Expression[dict[str, str | None] | None], key: str) -> Expression[str | None]: ...
    @overload
    def __getitem__(self: Expression[object], key: str | int) -> Expression[Json | None]: ...
    def __getitem__(self, key: object) -> Expression[object]:
        """A part: of jsonb by key or by number from 0 (`->`), of an hstore by key, of an array by number or slice from 1.

        `column[1]` is an array's first element and `column[1:2]` its first two, as PostgreSQL counts.

        Raises:
            QueryError: the type has no parts, or none of this kind.
        """
        kind = self.sql_type
        if kind is not None and kind.element is not None:
            return _array_part(self, kind, key)
        building.require_family(self, "[...]", ("jsonb", "hstore"), "an array, jsonb or hstore")
        if not isinstance(key, (str, int)):
            raise QueryError(
                f"{self}[...] takes a str or an int, and got a {type(key).__qualname__}.\nTo fix it: column['key'] or column[0]."
            )
        is_hstore = kind is not None and kind.family == "hstore"
        shape, values = building.operand_of(key, TEXT if isinstance(key, str) else INTEGER, of=f"{self}[...]")
        return Operation(Binary("->", self.operand(), shape), self.bind_values + values, TEXT if is_hstore else JSONB)

    def path(self, *keys: str | int) -> Expression[Json | None]:
        """What lies deep in jsonb: `column.path("address", "lines", 0)` (`#>`). NULL where there is nothing."""
        building.require_family(self, "path()", ("jsonb",), "jsonb")
        shape, values = building.place_of([str(key) for key in keys], array_of(TEXT), of="path()")
        return Operation(Binary("#>", self.operand(), shape), self.bind_values + values, JSONB)

    def as_text(self) -> Expression[str | None]:
        """A JSON value as text, a string without its quotes (`->>`); JSON's null is NULL."""
        building.require_family(self, "as_text()", ("jsonb",), "jsonb")
        shape, values = self.operand(), self.bind_values
        if isinstance(shape, Binary) and shape.operator in ("->", "#>"):
            return Operation(shape._replace(operator=f"{shape.operator}>"), values, TEXT)
        place, more = building.place_of([], array_of(TEXT), of="as_text()")
        return Operation(Binary("#>>", shape, place), values + more, TEXT)

    def as_int(self) -> Expression[int | None]:
        """A JSON number as a whole number."""
        return self.as_value(int)

    def as_value(self, to: type[S]) -> Expression[S | None]:
        """A JSON value as one of another class: `column["price"].as_value(Decimal)`. The server fails where it is no such value."""
        return Operation(
            Cast(self.as_text().shape, type_of_class(to, "as_value()")), self.as_text().bind_values, type_of_class(to, "as_value()")
        )

    def field(self, name: str, returns: type[S]) -> Expression[S]:
        """A field of a composite value: `User.address.field("city", str)`."""
        kind = self.sql_type
        fields = dict(kind.fields) if is_composite(kind) else {}
        if name not in fields:
            raise QueryError(f"{self} has no field {name!r}; its fields are {', '.join(fields) or 'none'}.\nTo fix it: name one of them.")
        type_of_class(returns, "field()")
        return Operation(FieldOf(self.operand(), name), self.bind_values, fields[name])

    # Other operators.

    def op(self, operator: str) -> CustomOperator:
        """An operator of the server's that has no method here: `Place.at.op("<->")(point, returns=float)`.

        Raises:
            QueryError: it is not written as PostgreSQL's operators are.
        """
        if not re.fullmatch(_OPERATOR, operator) or "--" in operator or "/*" in operator:
            raise QueryError(
                f"{operator[:70]!r} is no name of an operator.\nIt has 1 to 63 of the characters "
                "+ - * / < > = ~ ! @ # % ^ & | ` ? and begins no comment.\n"
                "To fix it: for words such as SIMILAR TO use the method, or sql('...')."
            )
        return CustomOperator(self, operator)

    def collate(self: Expression[Text], collation: str) -> Expression[Text]:
        """The text under another collation, for its comparisons and order: `User.name.collate("de-x-icu")`."""
        building.require_family(self, "collate()", ("text", "text[]"), "a text")
        quote_identifier(collation)
        return Operation(Collated(self.operand(), collation), self.bind_values, self.sql_type)

    def at_time_zone(self: Expression[datetime.datetime | None], zone: str | Expression[str]) -> Expression[datetime.datetime]:
        """What clocks in a zone show at a moment; of a `timestamp`, which has no zone, the moment at which they show it."""
        building.require_family(self, "at_time_zone()", ("timestamptz", "timestamp"), "a moment")
        shape, values = building.operand_of(zone, TEXT, of="at_time_zone()")
        is_moment = self.sql_type is None or self.sql_type.family == "timestamptz"
        result = TIMESTAMP if is_moment else TIMESTAMPTZ
        return Operation(Binary("AT TIME ZONE", self.operand(), shape), self.bind_values + values, result)

    def l2_distance(self: Expression[list[float] | None], other: Sequence[float] | Expression[list[float]]) -> Expression[float]:
        """The length of the straight way between two vectors (pgvector's `<->`)."""
        return self.op("<->")(other, returns=float)

    def inner_product(self: Expression[list[float] | None], other: Sequence[float] | Expression[list[float]]) -> Expression[float]:
        """The inner product of two vectors, negated, so that the nearest is the smallest (`<#>`)."""
        return self.op("<#>")(other, returns=float)

    def cosine_distance(self: Expression[list[float] | None], other: Sequence[float] | Expression[list[float]]) -> Expression[float]:
        """One minus the cosine between two vectors (`<=>`)."""
        return self.op("<=>")(other, returns=float)

    def l1_distance(self: Expression[list[float] | None], other: Sequence[float] | Expression[list[float]]) -> Expression[float]:
        """The sum of the differences of two vectors (`<+>`)."""
        return self.op("<+>")(other, returns=float)

    # Order, windows, names.

    def over(
        self,
        window: WindowSpec | str | None = None,
        /,
        *,
        partition_by: Terms = (),
        order_by: Terms = (),
        rows: tuple[Bound, Bound] | None = None,
        range_: tuple[Bound, Bound] | None = None,
        groups: tuple[Bound, Bound] | None = None,
        exclude: Exclusion | None = None,
    ) -> Expression[T_co]:
        """The function over a window: `rank().over(partition_by=User.team, order_by=User.age.desc())`.

        Args:
            window: a window made by `window(...)`, or the name of one that the statement has; instead of the others, which are as there.

        Raises:
            QueryError: this is no call of a function, or the window contradicts itself.
        """
        from trioorm.expression.windows import over_parts  # few need it
        from trioorm.expression.windows import window as made_window

        if window is not None and (
            not _is_nothing(partition_by) or not _is_nothing(order_by) or (rows or range_ or groups or exclude) is not None
        ):
            raise QueryError(
                "over() was given a window and parts of one.\nTo fix it: window(base='name', order_by=...) refines a named one."
            )
        spec = window
        if spec is None:
            spec = made_window(partition_by=partition_by, order_by=order_by, rows=rows, range_=range_, groups=groups, exclude=exclude)
        return Operation(*over_parts(self, spec), self.sql_type)

    def asc(self, *, nulls: Literal["first", "last"] | None = None) -> Ordering:
        """Smallest first. NULLs come last unless said otherwise: PostgreSQL's rule."""
        return _ordering(self, "ASC", nulls)

    def desc(self, *, nulls: Literal["first", "last"] | None = None) -> Ordering:
        """Largest first. NULLs come first unless said otherwise: PostgreSQL's rule."""
        return _ordering(self, "DESC", nulls)

    def as_(self, name: str) -> Expression[T_co]:
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


class Comparison(Expression[bool]):
    """A column compared with a value or a column. Made by the operators, which fill its two slots: a call of `__init__` would cost more
    than all the rest."""

    __slots__ = ("bind_values", "condition")  # pyright: ignore[reportIncompatibleMethodOverride] - a slot, read quicker
    condition: InternedCondition
    bind_values: tuple[object, ...]

    @property
    def shape(self) -> Shape:
        return self.condition.shape

    @property
    def sql_type(self) -> SqlType:
        return BOOLEAN


expect_guesses(Expression, OF_EXPRESSIONS)
expect_guesses(Ordering, OF_ORDERINGS)
Predicates._compared = Comparison  # pyright: ignore[reportPrivateUsage] - the gaps that the two halves leave between them
Predicates._made = Operation  # pyright: ignore[reportPrivateUsage] - as above


class CustomOperator:
    """An operator and its left side, to be called with the right one. Made by `Expression.op`."""

    __slots__ = ("left", "operator")

    def __init__(self, left: Expression[object], operator: str) -> None:
        self.left = left
        self.operator = operator

    @overload
    def __call__(self, right: object, *, returns: type[S]) -> Expression[S]: ...
    @overload
    def __call__(self, right: object, *, returns: SqlType | None = None) -> Expression[Any]: ...
    def __call__(self, right: object, *, returns: type[S] | SqlType | None = None) -> Expression[Any]:
        """The operation as an expression.

        Args:
            right: an expression, or a value, which is bound as the left side's type where that fits, else as its own.
            returns: the Python class or PostgreSQL type of the result.
        """
        kind = self.left.sql_type
        fits = kind is not None and (is_expression(right) or accepts(kind, right))
        shape, values = building.operand_of(
            right, kind if fits else None if right is None else _own_type(right), of=f"op({self.operator!r})"
        )
        result = None if returns is None else type_of_class(returns, "op(...)(returns=...)")
        return Operation(Binary(self.operator, self.left.operand(), shape), self.left.bind_values + values, result)


_OPERATOR = r"[-+*/<>=~!@#%^&|`?]{1,63}"


def _is_nothing(terms: Terms) -> bool:
    return isinstance(terms, (list, tuple)) and not terms  # an expression has no truth value


def is_expression(value: object) -> typing.TypeGuard[Expression[Any]]:
    """Whether a value is an expression: `isinstance`, which would leave type checkers without its parameter."""
    return isinstance(value, Expression)


def _own_type(value: object) -> SqlType | None:
    return None if is_expression(value) else type_of_value(value)


def _array_part(array: Expression[object], kind: SqlType, key: object) -> Expression[object]:
    def position(given: object) -> building.Part:
        if isinstance(given, int) and (isinstance(given, bool) or given < 1):
            raise QueryError(
                f"PostgreSQL counts an array's elements from 1, and {given!r} was given.\nTo fix it: array[1] is the first element."
            )
        return building.place_of(given, INTEGER, of=f"{array}[...]")

    if not isinstance(key, slice):
        index, values = position(key)
        return Operation(Subscript(array.operand(), index), array.bind_values + values, kind.element)
    part = typing.cast("Any", key)
    if part.step is not None:
        raise QueryError("A slice of an array in SQL has no step.\nTo fix it: array[1:3].")
    low, low_values = (None, ()) if part.start is None else position(part.start)
    high, high_values = (None, ()) if part.stop is None else position(part.stop)
    values = array.bind_values + low_values + high_values
    return Operation(Subscript(array.operand(), low, high, is_slice=True), values, kind)


def _ordering(expression: Expression[object], direction: str, nulls: str | None) -> Ordering:
    if nulls not in (None, "first", "last"):
        raise QueryError(f'nulls={nulls!r} says nothing about NULLs.\nTo fix it: nulls="first" or nulls="last".')
    return Ordering(Ordered(expression.operand(), direction, (nulls or "").upper()), expression)


def logical(operator: str, conditions: Sequence[Expression[bool | None]]) -> Expression[bool]:
    """Several conditions as one. Nested ones of the same kind are flattened, which changes nothing but the parentheses."""
    return Operation(*building.logical_parts(operator, conditions), BOOLEAN)


__all__ = [
    "Comparison",
    "CustomOperator",
    "Expression",
    "Operation",
    "Ordering",
    "Selectable",
    "condition_operand",
    "is_expression",
    "logical",
]
