"""From operands to shapes: what the methods of expressions do with what they are given.

The contract: functions here take nodes and values, refuse what does not fit, and return shapes with their bind values. They make no
expressions, so that this file stands below those.
"""

from __future__ import annotations

import datetime
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trioorm.errors import QueryError
from trioorm.expression import types
from trioorm.expression.arithmetic import arithmetic_result
from trioorm.expression.binding import bind, bind_array, check_aware, same_family
from trioorm.expression.node import Node
from trioorm.expression.shape import PLACES, Binary, Bind, Cast, InRows, InSubquery, Keyword, Logical, Quantified, Row, Shape
from trioorm.expression.types import BOOLEAN, TEXT, SqlType
from trioorm.expression.user_made import is_composite
from trioorm.expression.values import Interval

if TYPE_CHECKING:
    from trioorm.expression.user_types import CompositeType

Part: typing.TypeAlias = tuple[Shape, tuple[object, ...]]
"""A shape and its bind values."""


def compared(left: Node[object], operator: str, other: object) -> Part:
    """`left operator other`, both of one family of types.

    Raises:
        QueryError: other is None, or does not fit.
    """
    shape, values = compared_operand(left, operator, other)
    return Binary(operator, left.operand(), shape), left.bind_values + values


def compared_operand(left: Node[object], operator: str, other: object) -> Part:
    """What stands at the right of a comparison."""
    if isinstance(other, Node):
        right = typing.cast("Node[object]", other)
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
    kind = left.sql_type
    if is_composite(kind) and kind.python is tuple:
        return row_of_values(kind, other, of=left)
    value: object = other
    return bind(value, kind, of=left)[0], (value,)


def row_of_values(kind: CompositeType, value: object, *, of: object) -> Part:
    """A row of bind values, each of the type of its place."""
    given = typing.cast("tuple[object, ...]", value)
    is_tuple = isinstance(value, tuple)
    if not is_tuple or len(given) != len(kind.fields) or any(item is None for item in given):
        raise QueryError(
            f"{of} is a row of {len(kind.fields)} and was compared with a {type(given).__qualname__}"
            + (f" of {len(given)}" if is_tuple else "")
            + ".\nTo fix it: give a tuple of as many values, none of them None, as in row(User.name, User.age) < ('Ada', 36)."
        )
    places = tuple(bind(item, item_type, of=of)[0] for item, (_, item_type) in zip(given, kind.fields, strict=True))
    return Row(places), given


def operand_of(value: object, preferred: SqlType | None, *, of: object) -> Part:
    """An argument: an expression as it is, a value bound, None as NULL. A value of a type that nothing says is named in the text."""
    if isinstance(value, Node):
        found = typing.cast("Node[object]", value)
        return found.operand(), found.bind_values
    if value is None:
        return Keyword("NULL"), ()
    place, _ = bind(value, preferred, of=of)
    return place, (value,)


def place_of(value: object, sql_type: SqlType, *, of: object) -> Part:
    """As `operand_of`, where the server could not tell the type by itself."""
    shape, values = operand_of(value, sql_type, of=of)
    return named(shape), values


def named(shape: Shape) -> Shape:
    """A place with its type written in the text."""
    return shape._replace(cast=True) if isinstance(shape, Bind) else shape


def contained(left: Node[object], values: object, *, negated: bool) -> Part:
    """`left IN ...`: a select, or a collection sent as one array (a row's: one array for each of its items)."""
    if isinstance(values, Node):
        inner = typing.cast("Node[object]", values)
        if not inner.is_statement:
            raise QueryError(
                f"in_() takes a collection or a select, and got the expression {inner}.\n"
                "To fix it: for one value use ==; for an array column use array.has(value)."
            )
        if not is_composite(left.sql_type) and not same_family(left.sql_type, inner.sql_type):
            raise _incomparable(left, "IN", inner)
        return InSubquery(left.operand(), negated, inner.shape), left.bind_values + inner.bind_values
    if isinstance(values, (str, bytes)) or not isinstance(values, (list, tuple, set, frozenset, range, Sequence)):
        raise QueryError(
            f"in_() takes a collection or a select, and got a {type(values).__qualname__}.\n"
            "To fix it: give a list, tuple or set; for one value use ==."
        )
    items = list(typing.cast("Sequence[object]", values))
    kind = left.sql_type
    if is_composite(kind) and kind.python is tuple:
        return _row_contained(left, kind, items, negated=negated)
    bound, element = bind_array(items, kind, of=left)
    place = Bind(types.array_of(element), cast=True)
    return Quantified(left.operand(), "<>" if negated else "=", "ALL" if negated else "ANY", place), (*left.bind_values, bound)


def _row_contained(left: Node[object], kind: CompositeType, items: list[object], *, negated: bool) -> Part:
    for item in items:
        row_of_values(kind, item, of=left)
    rows = typing.cast("list[tuple[object, ...]]", items)
    columns = [[row[number] for row in rows] for number in range(len(kind.fields))]
    arrays = tuple(Bind(types.array_of(item_type), cast=True) for _, item_type in kind.fields)
    return InRows(left.operand(), negated, arrays), (*left.bind_values, *columns)


def has_element(array: Node[object], element: object) -> Part:
    """An element among those of an array: the operands of `element = ANY (array)`."""
    kind = array.sql_type
    if kind is None or kind.element is None:
        raise wrong_family("has()", kind, "an array")
    return operand_of(element, kind.element, of=f"an element of {array}")


def part_of(left: Node[object], operator: str, part: object) -> Part:
    """`left @> part` and its kin: containers of one kind with each other, and a range with a value."""
    kind = left.sql_type
    if kind is not None and kind.subtype is not None:
        subtype = kind.subtype
        if isinstance(part, Node):
            right = typing.cast("Node[object]", part)
            found = right.sql_type
            if found is not None and found.family != subtype.family and found.bound not in (kind.bound, types.sibling_of(kind)):
                raise _incomparable(left, operator, right)
            shape = right.operand()
            if found is not None and found.subtype is None and found.bound is not subtype:
                shape = Cast(shape, subtype)  # PostgreSQL wants exactly the type that the range is made of
            return Binary(operator, left.operand(), shape), left.bind_values + right.bind_values
        if types.is_range_value(part):
            wanted = kind if isinstance(part, kind.python) else types.sibling_of(kind)
            shape, values = place_of(part, wanted, of=left)
        else:
            shape, values = place_of(part, subtype, of=left)
        return Binary(operator, left.operand(), shape), left.bind_values + values
    return compared(left, operator, part)


def require_family(node: Node[object], what: str, families: tuple[str, ...], wanted: str) -> None:
    """Refuse a node of another family of types; `[]` stands for arrays, `range` for ranges and multiranges."""
    found = node.sql_type
    if found is None or found.family in families:
        return
    if ("[]" in families and found.element is not None) or ("range" in families and found.subtype is not None):
        return
    raise wrong_family(what, found, wanted)


def condition_operand(condition: Node[object], place: str) -> Shape:
    """The shape of something that must be a condition.

    Raises:
        QueryError: it is no boolean expression.
    """
    if isinstance(condition, Node):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        if condition.sql_type is BOOLEAN or condition.sql_type is None or condition.sql_type.family == "boolean":
            return condition.operand()
        raise wrong_family(place, condition.sql_type, "a condition (boolean)")
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


def logical_parts(operator: str, conditions: Sequence[Node[bool | None]]) -> Part:
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
    return Logical(operator, tuple(shapes)), values


def arithmetic(
    left: Node[object], operator: str, other: object, *, reflected: bool = False
) -> tuple[Shape, tuple[object, ...], SqlType | None]:
    """`left operator other`, or the other way round, with the type of the result.

    Raises:
        QueryError: other is None, or the operator has no meaning for the two types.
    """
    if isinstance(other, Node):
        right = typing.cast("Node[object]", other)
        other_shape, other_values, other_type = right.operand(), right.bind_values, right.sql_type
    else:
        if other is None:
            raise QueryError(f"None cannot be used in arithmetic with {left}: the result would always be NULL.\nTo fix it: leave it out.")
        other_shape, other_type = _arithmetic_bind(left, other)
        other_values = (other,)
    if reflected:
        spelled, result = arithmetic_result(operator, other_type, left.sql_type)
        return Binary(spelled, other_shape, left.operand()), other_values + left.bind_values, result
    spelled, result = arithmetic_result(operator, left.sql_type, other_type)
    return Binary(spelled, left.operand(), other_shape), left.bind_values + other_values, result


_MOVED_BY = (datetime.timedelta, Interval, int)


def _arithmetic_bind(left: Node[object], value: object) -> tuple[Shape, SqlType]:
    family = left.sql_type.family if left.sql_type is not None else ""
    moved = family in ("timestamptz", "timestamp", "date", "time", "timetz") and isinstance(value, _MOVED_BY)
    if moved or family == "interval" or (family == "date" and isinstance(value, datetime.time)):
        if family == "date" and type(value) is int:
            return PLACES[types.INTEGER], types.INTEGER  # PostgreSQL moves dates by integer only
        if isinstance(value, datetime.datetime) and value.tzinfo is None:
            check_aware(value, of=left)
        return bind(value, None, of=left)
    return bind(value, left.sql_type, of=left)


def wrong_family(what: str, found: SqlType | None, wanted: str) -> QueryError:
    """The error for an operation that the type does not have."""
    name = found.name if found is not None else "unknown"
    hint = "compare it with something, or cast() it"
    if found is TEXT and what == "contains()":
        hint = "to find a text inside a text, column.like('%part%')"
    return QueryError(f"{what} needs {wanted}, and got {name}.\nTo fix it: {hint}.")


def _incomparable(left: Node[object], operator: str, right: Node[object]) -> QueryError:
    left_name, right_name = (side.sql_type.name if side.sql_type is not None else "unknown" for side in (left, right))
    return QueryError(
        f"{left} ({left_name}) and {right} ({right_name}) cannot meet in {operator}.\n"
        "To fix it: cast() one of them to the other's type, if that is meant."
    )
