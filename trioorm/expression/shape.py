"""The shape of an expression: everything about it except its values.

The contract: a shape is a tree of named tuples, compared and hashed as tuples (in C). SQL text is a function of the shape alone, so
a value can never reach the text, and equal shapes have equal text: that is what makes the cache by shape right, and injection
impossible, by construction. The values travel beside the shape, in the order in which the shape's `Bind` leaves are rendered, which is
the order of the fields below. The last field of each, `kind`, keeps tuples of different classes unequal.

Rejected: a tree of nodes that is walked for key and values at each use. Concatenating the children's values when a node is made costs
less than one visit of a walk would.
"""

from typing import Literal, NamedTuple, TypeAlias, cast

from trioorm.expression.types import SqlType

Shape: TypeAlias = tuple[object, ...]


class Source(NamedTuple):
    """A table as one statement names it. `alias` is the name in use where it is not the table's own; without a `schema` the session's
    `search_path` decides."""

    table: str
    alias: str | None = None
    schema: str | None = None
    kind: Literal["source"] = "source"

    @property
    def visible_name(self) -> str:
        """The name by which the statement's other parts refer to it."""
        return self.table if self.alias is None else self.alias


class Bind(NamedTuple):
    """The place of one value. `cast` writes the type into the text, for places where the server could not infer it. `same_as`: the clause
    of the select, and the number of the value in it, that is sent for this one too, which is equal."""

    type: SqlType | None
    cast: bool = False
    same_as: tuple[str, int] | None = None
    kind: Literal["bind"] = "bind"


class _Places(dict[SqlType, Bind]):
    """The usual place of each type, made once: looking it up costs a fifth of making it."""

    def __missing__(self, sql_type: SqlType) -> Bind:
        # A type without a fixed oid is named in the text, since its values may be sent in a form that only it understands.
        named = not sql_type.bound.has_fixed_oid and sql_type.enum is None
        return self.setdefault(sql_type, Bind(sql_type, cast=named))


PLACES = _Places()
"""By its type, the place of a value that the server can tell the type of."""


class ColumnReference(NamedTuple):
    source: Source
    name: str
    kind: Literal["column"] = "column"


class Keyword(NamedTuple):
    """A word of SQL that stands alone, such as NULL, TRUE or `*`; from this library's own list only."""

    word: str
    kind: Literal["keyword"] = "keyword"


class Prefix(NamedTuple):
    operator: str
    operand: Shape
    kind: Literal["prefix"] = "prefix"


class Postfix(NamedTuple):
    operand: Shape
    operator: str
    kind: Literal["postfix"] = "postfix"


class Binary(NamedTuple):
    operator: str
    left: Shape
    right: Shape
    kind: Literal["binary"] = "binary"


class Logical(NamedTuple):
    """AND or OR over one or more operands."""

    operator: str
    operands: tuple[Shape, ...]
    kind: Literal["logical"] = "logical"


class Between(NamedTuple):
    operand: Shape
    low: Shape
    high: Shape
    kind: Literal["between"] = "between"


class Quantified(NamedTuple):
    """`operand operator ANY (array)`, or ALL."""

    operand: Shape
    operator: str
    quantifier: str
    array: Shape
    kind: Literal["quantified"] = "quantified"


class InSubquery(NamedTuple):
    operand: Shape
    negated: bool
    statement: Shape
    kind: Literal["in"] = "in"


class Exists(NamedTuple):
    statement: Shape
    kind: Literal["exists"] = "exists"


class Subquery(NamedTuple):
    """A statement in parentheses, as a value."""

    statement: Shape
    kind: Literal["subquery"] = "subquery"


class Function(NamedTuple):
    """A call. `repeatable` is False where calling twice may differ from calling once (`random`, `nextval`, unknown ones).

    `order_by` stands among the arguments of an aggregate, or after them when it is an ordered set's (`within_group`).
    """

    name: str
    arguments: tuple[Shape, ...]
    distinct: bool = False
    order_by: tuple[Shape, ...] = ()
    within_group: bool = False
    filter: Shape | None = None
    repeatable: bool = True
    kind: Literal["function"] = "function"


class Frame(NamedTuple):
    """Which rows around its own a window function sees. A bound is a shape with its side, or a side alone where it is unbounded or here."""

    unit: str
    start: tuple[Shape | None, str]
    end: tuple[Shape | None, str]
    exclude: str = ""
    kind: Literal["frame"] = "frame"


class Window(NamedTuple):
    """What stands in the parentheses of OVER, or of WINDOW; `base` is the name of a window that it refines."""

    partition_by: tuple[Shape, ...] = ()
    order_by: tuple[Shape, ...] = ()
    frame: Frame | None = None
    base: str = ""
    kind: Literal["window"] = "window"


class Over(NamedTuple):
    """A function over a window: one of its own, or one that the statement names."""

    function: Shape
    window: "Window | str"
    kind: Literal["over"] = "over"


class Case(NamedTuple):
    """`CASE WHEN ... THEN ... ELSE ... END`: conditions and results by turns."""

    branches: tuple[Shape, ...]
    otherwise: Shape | None
    kind: Literal["case"] = "case"


class Row(NamedTuple):
    """Several values as one."""

    items: tuple[Shape, ...]
    kind: Literal["row"] = "row"


class ArrayOf(NamedTuple):
    """`ARRAY[...]`, or `ARRAY(SELECT ...)` of a single statement."""

    items: tuple[Shape, ...]
    is_statement: bool = False
    kind: Literal["array"] = "array"


class Quantifier(NamedTuple):
    """`ANY (...)` or `ALL (...)` of an array or a statement, as the right side of a comparison."""

    word: str
    operand: Shape
    is_statement: bool = False
    kind: Literal["quantifier"] = "quantifier"


class InRows(NamedTuple):
    """A row among rows, which come as one array for each of its items."""

    operand: Shape
    negated: bool
    arrays: tuple[Shape, ...]
    kind: Literal["in-rows"] = "in-rows"


class Subscript(NamedTuple):
    """`operand[start]`, or `operand[start:end]` when `is_slice`."""

    operand: Shape
    start: Shape | None
    end: Shape | None = None
    is_slice: bool = False
    kind: Literal["subscript"] = "subscript"


class FieldOf(NamedTuple):
    """A field of a composite value."""

    operand: Shape
    name: str
    kind: Literal["field"] = "field"


class Collated(NamedTuple):
    operand: Shape
    collation: str
    kind: Literal["collated"] = "collated"


class Extract(NamedTuple):
    """`EXTRACT(field FROM operand)`; the field is from this library's own list."""

    field: str
    operand: Shape
    kind: Literal["extract"] = "extract"


class Cast(NamedTuple):
    operand: Shape
    type: SqlType
    kind: Literal["cast"] = "cast"


class Labelled(NamedTuple):
    operand: Shape
    label: str
    kind: Literal["labelled"] = "labelled"


class Ordered(NamedTuple):
    """A term of ORDER BY: `direction` is "", "ASC" or "DESC"; `nulls` is "", "FIRST" or "LAST"."""

    operand: Shape
    direction: str
    nulls: str
    kind: Literal["ordered"] = "ordered"


class Fragment(NamedTuple):
    """SQL text written by the user, with shapes in its gaps. `repeatable` is the user's word that running it twice is harmless."""

    parts: tuple[str | Shape, ...]
    repeatable: bool = False
    kind: Literal["fragment"] = "fragment"


def places_in(shape: Shape) -> int:
    """How many values a shape has."""
    if isinstance(shape, Bind):
        return 1
    return sum([places_in(cast("Shape", part)) for part in shape if isinstance(part, tuple)])
