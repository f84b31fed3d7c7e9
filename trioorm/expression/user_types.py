"""Types of the user's own: enums, composite types, domains, ranges, and typed JSON.

The contract: as in `types.py`, one object for each type, so asking twice for the type of one class gives the same.

Source: PostgreSQL manual, sections 8.7 (enums), 8.16 (composite types), 8.17.8 (ranges), 8.18 (domains).
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable
from enum import Enum, Flag

import attrs

from trioorm.errors import ModelError
from trioorm.expression.types import SqlType, pair, sibling_of
from trioorm.expression.values import Multirange, Range

_ENUMS: dict[tuple[type[Enum], str], SqlType] = {}
_COMPOSITES: dict[tuple[type, str], CompositeType] = {}
_JSON: dict[object, JsonType] = {}


@attrs.frozen(eq=False, repr=False)
class CompositeType(SqlType):
    """A type of several named fields, from an attrs class or dataclass. Made by `composite_type`; without a name, a row of values.

    Attributes:
        fields: names and types, in order.
        make: from the fields' values to a value.
        split: from a value to the fields' values.
    """

    fields: tuple[tuple[str, SqlType], ...] = attrs.field(default=(), kw_only=True)
    make: Callable[..., object] = attrs.field(default=lambda *values: values, kw_only=True)
    split: Callable[[typing.Any], tuple[object, ...]] = attrs.field(default=tuple, kw_only=True)


@attrs.frozen(eq=False, repr=False)
class DomainType(SqlType):
    """A type with a condition. Made by `domain_type`; its values are bound as those of the type beneath.

    Attributes:
        beneath: the type that the values have.
        condition: a function from the value, as an expression, to a condition; None when there is none.
        not_null: NULL is refused.
    """

    beneath: SqlType = attrs.field(kw_only=True)
    condition: Callable[[typing.Any], object] | None = attrs.field(default=None, kw_only=True)
    not_null: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen(eq=False, repr=False)
class RangeType(SqlType):
    """A range type over a type for which PostgreSQL has none. Made by `range_type`.

    Attributes:
        difference: the function that tells how far two values lie apart, for better GiST indexes; None where there is none.
        collation: of the values, by which they are compared; None for their type's own.
    """

    difference: str | None = attrs.field(default=None, kw_only=True)
    collation: str | None = attrs.field(default=None, kw_only=True)


class MultirangeType(SqlType):
    """What PostgreSQL makes together with a `RangeType`. Made by `multirange_type`."""

    __slots__ = ()


@attrs.frozen
class JsonCodec:
    """How values of a class become JSON and come back, for `column(json=JsonCodec(...))`.

    Attributes:
        dump: from a value to JSON's own: dict, list, str, int, float, bool, None.
        load: the way back.
    """

    dump: Callable[[typing.Any], object]
    load: Callable[[typing.Any], object]


@attrs.frozen(eq=False, repr=False)
class JsonType(SqlType):
    """jsonb whose values become objects. Made by `json_type`.

    Attributes:
        annotation: what the values are to type checkers.
        codec: how they become JSON and come back.
    """

    annotation: object = attrs.field(default=None, kw_only=True)
    codec: JsonCodec = attrs.field(kw_only=True)


_UNSTORABLE = "[\0\ud800-\udfff]"
"""What no text in PostgreSQL can hold: NUL, and half of a surrogate pair."""


def enum_type(members: type[Enum], *, name: str | None = None) -> SqlType:
    """The PostgreSQL enum type of a Python enum.

    Args:
        members: the enum. A label is the member's value where that is a `str`, else the member's name.
        name: of the type in PostgreSQL; by default the class's name in snake case.

    Raises:
        ModelError: the enum has no members, is a flag, or has two members with one label.
    """
    type_name = name if name is not None else snake_case(members.__name__)
    known = _ENUMS.get((members, type_name))
    if known is not None:
        return known
    if issubclass(members, Flag):
        raise ModelError(
            f"The flag {members.__name__} cannot be an enum type: a value may be several of its members at once.\n"
            "To fix it: store an int, or an array of a plain enum."
        )
    labels: dict[str, Enum] = {}
    for member in members:
        label = enum_label(member)
        if label in labels or not 0 < len(label.encode(errors="surrogatepass")) <= 63 or re.search(_UNSTORABLE, label):
            raise ModelError(
                f"{members.__name__}.{member.name} cannot be a label of an enum type: {label!r}.\n"
                "A label has 1 to 63 bytes and stands for one member only.\nTo fix it: change the member's value."
            )
        labels[label] = member
    if not labels:
        raise ModelError(f"The enum {members.__name__} has no members, so no value could be stored.\nTo fix it: give it members.")
    made = SqlType(type_name, members, enum=members, family=f"enum {type_name}", labels=types.MappingProxyType(labels), user_defined=True)
    return _ENUMS.setdefault((members, type_name), made)


def enum_label(member: Enum) -> str:
    """The label by which PostgreSQL knows a member: its value where that is a `str`, else its name."""
    value: object = member.value
    return value if isinstance(value, str) else member.name


def domain_type(name: str, beneath: SqlType, *, check: Callable[[typing.Any], object] | None = None, not_null: bool = False) -> DomainType:
    """A domain: a type of one's own over another, with a condition that every value fulfils.

        EMAIL = domain_type("email", TEXT, check=lambda value: value.like("%@%"))

    Call it once and keep the result: two domains of one name are two types.

    Args:
        name: of the domain in PostgreSQL.
        beneath: the type of its values.
        check: from the value, as an expression, to a condition.
        not_null: refuse NULL.
    """
    return DomainType(
        name, beneath.python, element=beneath.element, family=beneath.family, rank=beneath.rank, plain=beneath.plain,
        classes=beneath.classes, bound_as=beneath.bound, user_defined=True, subtype=beneath.subtype,
        beneath=beneath, condition=check, not_null=not_null,
    )  # fmt: skip


def range_type(name: str, subtype: SqlType, *, difference: str | None = None, collation: str | None = None) -> RangeType:
    """A range type of one's own: `FLOATRANGE = range_type("floatrange", DOUBLE, difference="float8mi")`.

    A column of it is `Column[Range[float]] = column(type=FLOATRANGE)`. Call it once and keep the result: two types of one name are two.

    Args:
        name: of the type in PostgreSQL. That of its multiranges is made from it as PostgreSQL does.
        subtype: of the bounds; it must have an order.
        difference: the function from two values to the distance between them, by which GiST indexes get better.
        collation: of texts, by which they are compared.

    Raises:
        ModelError: there are no ranges of this type.
    """
    if subtype.subtype is not None or subtype.family == "jsonb" or isinstance(subtype, CompositeType):
        raise ModelError(f"A range over {subtype.name} is none of this library's.\nTo fix it: give a type such as DOUBLE, TEXT or TIME.")
    made = RangeType(
        name, Range, family=f"range {name}", plain=False, user_defined=True, subtype=subtype, difference=difference, collation=collation
    )
    several = name.replace("range", "multirange", 1) if "range" in name else f"{name}_multirange"
    pair(made, MultirangeType(several, Multirange, family=f"multirange {name}", plain=False, user_defined=True, subtype=subtype))
    return made


def multirange_type(of: RangeType) -> SqlType:
    """The type of several ranges of a type of one's own: `Column[Multirange[float]] = column(type=multirange_type(FLOATRANGE))`."""
    return sibling_of(of)


def row_type(fields: tuple[SqlType | None, ...]) -> CompositeType:
    """The type of a row of values without a name of its own. A type that only the server knows is taken for text when it is bound."""
    known = tuple((f"f{number}", kind) for number, kind in enumerate(fields, 1) if kind is not None)
    return CompositeType("record", tuple, family="row", plain=False, fields=known if len(known) == len(fields) else ())


def made_composite(
    python: type, name: str | None, fields: tuple[tuple[str, SqlType], ...], split: Callable[[typing.Any], tuple[object, ...]]
) -> CompositeType:
    """The composite type of a class, kept so that it is made once; see `annotations.composite_type`."""
    type_name = name if name is not None else snake_case(python.__name__)
    return _COMPOSITES.setdefault(
        (python, type_name),
        CompositeType(
            type_name, python, family=f"composite {type_name}", plain=False, user_defined=True, fields=fields, make=python, split=split
        ),
    )


def json_type(annotation: object, codec: JsonCodec) -> JsonType:
    """jsonb whose values are what `annotation` says, by way of a codec."""
    origin = typing.get_origin(annotation) or annotation
    python = origin if isinstance(origin, type) else object
    try:
        return _JSON.setdefault((annotation, codec), _json_type(annotation, python, codec))
    except TypeError:  # an annotation that cannot be hashed
        return _json_type(annotation, python, codec)


def _json_type(annotation: object, python: type, codec: JsonCodec) -> JsonType:
    return JsonType("jsonb", python, family="jsonb", plain=False, annotation=annotation, codec=codec)


def snake_case(name: str) -> str:
    """`OrderLine` as `order_line`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
