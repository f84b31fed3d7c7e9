"""What can be asked of an expression: comparisons, membership, patterns, containment. All answers are conditions.

The contract: `Predicates[T, C]` is the half of `Expression[T]` whose methods give conditions; `C` is `Expression[bool]`, named by the class
below which inherits from this one, so that this file stands beneath it. Methods are self-typed on `S | None`: a nullable value compares
with a plain one, while `== None` is refused.

Three-valued logic: a comparison with NULL is neither true nor false but NULL, which `where` takes for false and `~` leaves as it is. To
type checkers conditions are `Expression[bool]` all the same: a condition is for the server, and one that is fetched as a value shows its
NULL only then. `is_null`, `is_distinct_from` and `coalesce(condition, False)` never give NULL.
"""

from __future__ import annotations

import decimal
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression import building
from trioorm.expression.column_values import kinds_of
from trioorm.expression.interned import InternedCondition, remember
from trioorm.expression.node import Node
from trioorm.expression.shape import Between, Binary, Postfix, Prefix, Quantified
from trioorm.expression.types import BOOLEAN, TEXT, SqlType, array_of
from trioorm.expression.values import Multirange, Range

T_co = TypeVar("T_co", covariant=True)
C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)
S = TypeVar("S")
Decimal = decimal.Decimal


def _comparison(operator: str) -> Callable[[Callable[[Any, object], object]], Callable[[Any, object], object]]:
    """The method for an operator, instead of one that would call another: a statement has a dozen comparisons, and a call is a third of
    what one costs."""

    def compare(self: Any, other: Any) -> Any:  # noqa: ANN401 - the overloads say what they are
        # By far the commonest cases: a column with a value of exactly its class, or with another column.
        column = self.interned
        if column is not None:
            if other.__class__ is column.plain:
                condition = column.compared.get(operator)
                if condition is not None:
                    made = condition.comparison()
                    made.condition = condition
                    made.bind_values = (other,)
                    return made
            elif isinstance(other, Node):
                known = column.compared.get((operator, other.interned))
                if known is not None:
                    return known  # it holds no value, so that one serves all
        return _compare(self, operator, typing.cast("object", other))

    return lambda _: compare


class Predicates(Node[T_co], Generic[T_co, C_co]):
    """Comparisons and their kin."""

    __slots__ = ()
    _made: ClassVar[type[Any]]
    """Makes the condition: the class of operations, which is declared further down the house."""
    _compared: ClassVar[type[Any]]
    """Likewise the class of comparisons between a column and a value or a column."""

    # A Decimal meets an int as well: the first overload of each pair. Checkers take an int for a float by themselves.

    @overload  # type: ignore[override]  # SQL's equality is no bool
    def __eq__(self: Predicates[Decimal | None, C], other: int) -> C: ...
    @overload
    def __eq__(self: Predicates[S | None, C], other: S | Node[S | None]) -> C: ...
    @_comparison("=")
    def __eq__(self, other: object) -> object: ...  # pyright: ignore[reportIncompatibleMethodOverride] - as above

    @overload  # type: ignore[override]
    def __ne__(self: Predicates[Decimal | None, C], other: int) -> C: ...
    @overload
    def __ne__(self: Predicates[S | None, C], other: S | Node[S | None]) -> C: ...
    @_comparison("<>")
    def __ne__(self, other: object) -> object: ...  # pyright: ignore[reportIncompatibleMethodOverride] - as above

    @overload
    def __lt__(self: Predicates[Decimal | None, C], other: int) -> C: ...
    @overload
    def __lt__(self: Predicates[S | None, C], other: S | Node[S | None]) -> C: ...
    @_comparison("<")
    def __lt__(self, other: object) -> object: ...

    @overload
    def __le__(self: Predicates[Decimal | None, C], other: int) -> C: ...
    @overload
    def __le__(self: Predicates[S | None, C], other: S | Node[S | None]) -> C: ...
    @_comparison("<=")
    def __le__(self, other: object) -> object: ...

    @overload
    def __gt__(self: Predicates[Decimal | None, C], other: int) -> C: ...
    @overload
    def __gt__(self: Predicates[S | None, C], other: S | Node[S | None]) -> C: ...
    @_comparison(">")
    def __gt__(self, other: object) -> object: ...

    @overload
    def __ge__(self: Predicates[Decimal | None, C], other: int) -> C: ...
    @overload
    def __ge__(self: Predicates[S | None, C], other: S | Node[S | None]) -> C: ...
    @_comparison(">=")
    def __ge__(self, other: object) -> object: ...

    __hash__ = object.__hash__  # by identity

    def is_distinct_from(self: Predicates[S | None, C], other: S | Node[S | None] | None) -> C:
        """`<>` that treats NULL as a value: never NULL itself."""
        return self.is_not_null() if other is None else _compare(self, "IS DISTINCT FROM", other)

    def is_not_distinct_from(self: Predicates[S | None, C], other: S | Node[S | None] | None) -> C:
        """`=` that treats NULL as a value: never NULL itself. For a value that may be None."""
        return self.is_null() if other is None else _compare(self, "IS NOT DISTINCT FROM", other)

    @overload
    def between(self: Predicates[Decimal | None, C], low: int, high: int) -> C: ...
    @overload
    def between(self: Predicates[S | None, C], low: S | Node[S | None], high: S | Node[S | None]) -> C: ...
    def between(self, low: object, high: object) -> object:
        """Whether the value lies between two bounds, both included."""
        low_shape, low_values = building.compared_operand(self, "BETWEEN", low)
        high_shape, high_values = building.compared_operand(self, "BETWEEN", high)
        return self._made(Between(self.operand(), low_shape, high_shape), (*self.bind_values, *low_values, *high_values), BOOLEAN)

    @overload
    def not_between(self: Predicates[Decimal | None, C], low: int, high: int) -> C: ...
    @overload
    def not_between(self: Predicates[S | None, C], low: S | Node[S | None], high: S | Node[S | None]) -> C: ...
    def not_between(self, low: Any, high: Any) -> object:
        """The opposite of `between`."""
        inside: Any = self.between(low, high)
        return self._made(Prefix("NOT", inside.shape), inside.bind_values, BOOLEAN)

    def in_(self: Predicates[S | None, C], values: Sequence[S] | set[S] | frozenset[S] | Node[S | None]) -> C:
        """Whether the value is one of these: a collection (sent as one array, so that its length is no part of the shape) or a select.

        Raises:
            QueryError: None is among them, or an element's class does not fit.
        """
        return _contained(self, values, "IN")

    def not_in(self: Predicates[S | None, C], values: Sequence[S] | set[S] | frozenset[S] | Node[S | None]) -> C:
        """Whether the value is none of these. If a select gives a NULL, no row passes: SQL's rule."""
        return _contained(self, values, "NOT IN")

    def is_null(self) -> C_co:
        """Whether there is no value."""
        return typing.cast("C_co", self._made(Postfix(self.operand(), "IS NULL"), self.bind_values, BOOLEAN))

    def is_not_null(self) -> C_co:
        """Whether there is a value."""
        return typing.cast("C_co", self._made(Postfix(self.operand(), "IS NOT NULL"), self.bind_values, BOOLEAN))

    def __invert__(self: Predicates[bool, C] | Predicates[bool | None, C]) -> C:
        shape = building.condition_operand(self, "~")
        return typing.cast("C", self._made(Prefix("NOT", shape), self.bind_values, BOOLEAN))

    # Text.

    def like(self: Predicates[str | None, C], pattern: str | Node[str]) -> C:
        r"""Whether the text matches a pattern: `%` is any text, `_` any character, `\` takes the next one literally."""
        return _compare(self, "LIKE", pattern)

    def ilike(self: Predicates[str | None, C], pattern: str | Node[str]) -> C:
        """As `like`, without regard to case."""
        return _compare(self, "ILIKE", pattern)

    def not_like(self: Predicates[str | None, C], pattern: str | Node[str]) -> C:
        """The opposite of `like`."""
        return _compare(self, "NOT LIKE", pattern)

    def not_ilike(self: Predicates[str | None, C], pattern: str | Node[str]) -> C:
        """The opposite of `ilike`."""
        return _compare(self, "NOT ILIKE", pattern)

    def similar_to(self: Predicates[str | None, C], pattern: str | Node[str]) -> C:
        """Whether the text matches an SQL regular expression, which is a mixture of `like` and the usual ones."""
        return _compare(self, "SIMILAR TO", pattern)

    def regex(self: Predicates[str | None, C], pattern: str | Node[str], *, ignore_case: bool = False) -> C:
        """Whether a regular expression (POSIX, as PostgreSQL has them) matches somewhere in the text."""
        return _compare(self, "~*" if ignore_case else "~", pattern)

    def not_regex(self: Predicates[str | None, C], pattern: str | Node[str], *, ignore_case: bool = False) -> C:
        """The opposite of `regex`."""
        return _compare(self, "!~*" if ignore_case else "!~", pattern)

    def starts_with(self: Predicates[str | None, C], prefix: str) -> C:
        """Whether the text begins with `prefix`, taken literally."""
        if not isinstance(prefix, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
            raise QueryError("starts_with() takes a str.\nTo fix it: for an expression use column.like(expression + '%').")
        return _compare(self, "LIKE", prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%")

    # Containers: arrays, ranges, jsonb, hstore, networks.

    @overload
    def contains(
        self: Predicates[Range[S] | Multirange[S] | None, C],
        part: S | Range[S] | Multirange[S] | Node[S | None] | Node[Range[S] | None] | Node[Multirange[S] | None],
    ) -> C: ...
    @overload
    def contains(self: Predicates[S | None, C], part: S | Mapping[str, object] | Node[S | None]) -> C: ...
    def contains(self, part: object) -> object:
        """Whether the whole holds a part (`@>`): an array elements, a range a value or range, jsonb and hstore their entries."""
        building.require_family(self, "contains()", _CONTAINERS, "an array, a range, jsonb or hstore")
        return self._made(*building.part_of(self, "@>", part), BOOLEAN)

    @overload
    def contained_by(
        self: Predicates[Range[S] | Multirange[S] | None, C],
        whole: Range[S] | Multirange[S] | Node[Range[S] | None] | Node[Multirange[S] | None],
    ) -> C: ...
    @overload
    def contained_by(self: Predicates[S | None, C], whole: S | Mapping[str, object] | Node[S | None]) -> C: ...
    def contained_by(self, whole: object) -> object:
        """The opposite way of `contains` (`<@`). For a value in a range: `range.contains(value)`."""
        building.require_family(self, "contained_by()", _CONTAINERS, "an array, a range, jsonb or hstore")
        return self._made(*building.part_of(self, "<@", whole), BOOLEAN)

    @overload
    def overlaps(
        self: Predicates[Range[S] | Multirange[S] | None, C],
        other: Range[S] | Multirange[S] | Node[Range[S] | None] | Node[Multirange[S] | None],
    ) -> C: ...
    @overload
    def overlaps(self: Predicates[S | None, C], other: S | Node[S | None]) -> C: ...
    def overlaps(self, other: object) -> object:
        """Whether two arrays, ranges or networks have something in common (`&&`)."""
        building.require_family(self, "overlaps()", ("[]", "range", "inet"), "an array, a range or a network")
        return self._made(*building.part_of(self, "&&", other), BOOLEAN)

    def has(self: Predicates[list[S] | None, C], element: S | Node[S]) -> C:
        """Whether an element is in the array."""
        shape, values = building.has_element(self, element)
        return typing.cast("C", self._made(Quantified(shape, "=", "ANY", self.operand()), (*values, *self.bind_values), BOOLEAN))

    def has_key(self, key: str | Node[str]) -> C_co:
        """Whether a JSON object or hstore has a key, or a JSON array a string (`?`)."""
        return typing.cast("C_co", self._keyed("?", "has_key()", key, TEXT))

    def has_any_key(self, keys: Sequence[str]) -> C_co:
        """Whether it has one of these keys (`?|`)."""
        return typing.cast("C_co", self._keyed("?|", "has_any_key()", list(keys), array_of(TEXT)))

    def has_all_keys(self, keys: Sequence[str]) -> C_co:
        """Whether it has all of these keys (`?&`)."""
        return typing.cast("C_co", self._keyed("?&", "has_all_keys()", list(keys), array_of(TEXT)))

    def _keyed(self, operator: str, method: str, key: object, kind: SqlType) -> object:
        building.require_family(self, method, ("jsonb", "hstore"), "jsonb or hstore")
        shape, values = building.operand_of(key, kind, of=method)
        return self._made(Binary(operator, self.operand(), shape), self.bind_values + values, BOOLEAN)


_CONTAINERS = ("[]", "range", "jsonb", "hstore")
_COLLECTIONS: frozenset[type] = frozenset((list, tuple, set, frozenset))


def _contained(left: Predicates[Any, C], values: object, operator: str) -> C:
    column = left.interned
    if column is not None and type(values) in _COLLECTIONS:
        items = list(typing.cast("Sequence[object]", values))
        if kinds_of(items) == {column.plain}:
            condition = column.compared.get(operator)
            if condition is None:
                shape, _ = building.contained(left, items, negated=operator == "NOT IN")
                condition = InternedCondition(shape, Predicates._compared)  # pyright: ignore[reportPrivateUsage] - of this file
                remember(column.compared, operator, condition)
            made = condition.comparison()
            made.condition = condition
            made.bind_values = (items,)
            return typing.cast("C", made)
    parts = building.contained(left, values, negated=operator == "NOT IN")
    return typing.cast("C", left._made(*parts, BOOLEAN))  # pyright: ignore[reportPrivateUsage] - of this file


def _compare(left: Predicates[Any, C], operator: str, other: object) -> C:
    column = left.interned
    right: Any = other
    key: object = None
    if column is not None:
        if right.__class__ is column.plain:
            key = operator
        elif isinstance(right, Node) and right.interned is not None:
            key = operator, right.interned
    made = left._made(*building.compared(left, operator, other), BOOLEAN)  # pyright: ignore[reportPrivateUsage] - of this file
    if column is None or key is None:
        return typing.cast("C", made)
    comparison = Predicates._compared()  # pyright: ignore[reportPrivateUsage] - of this file
    comparison.condition = InternedCondition(made.shape, Predicates._compared)  # pyright: ignore[reportPrivateUsage] - of this file
    comparison.bind_values = made.bind_values
    remember(column.compared, key, comparison.condition if key is operator else comparison)
    return typing.cast("C", comparison)
