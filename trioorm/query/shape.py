"""Shapes of whole statements; see `expression/shape.py` for what a shape is.

The contract: fields stand in the order in which they are rendered, as the values do.
"""

from typing import Literal, NamedTuple

from trioorm.expression.shape import Fragment, Shape, Source
from trioorm.expression.types import SqlType


class ModelItem(NamedTuple):
    """All columns of a model in a row, to become one object. `optional`: it may be missing, by an outer join."""

    model: type
    source: Source
    optional: bool = False
    kind: Literal["model"] = "model"


class ValueItem(NamedTuple):
    """One value in a row. `nullable` is False for a bare column that is never NULL in its own table."""

    expression: Shape
    type: SqlType | None
    nullable: bool = True
    kind: Literal["value"] = "value"


class Join(NamedTuple):
    """`how` is the join in SQL's words; only a CROSS JOIN has no condition."""

    how: str
    source: Source
    condition: Shape | None
    kind: Literal["join"] = "join"


class Lock(NamedTuple):
    strength: str
    of: tuple[Source, ...]
    wait: str
    kind: Literal["lock"] = "lock"


class SelectShape(NamedTuple):
    distinct: bool
    distinct_on: tuple[Shape, ...]
    items: tuple[Shape, ...]
    source: Source | None
    joins: tuple[Join, ...]
    where: tuple[Shape, ...]
    group_by: tuple[Shape, ...]
    having: tuple[Shape, ...]
    order_by: tuple[Shape, ...]
    limit: Shape | None
    offset: Shape | None
    lock: Lock | None
    kind: Literal["select"] = "select"


class RowValues(NamedTuple):
    """`VALUES (...), (...)`: a shape for each cell."""

    rows: tuple[tuple[Shape, ...], ...]
    kind: Literal["rows"] = "rows"


class UnnestedColumns(NamedTuple):
    """One array for each column, so that the shape does not depend on the number of rows."""

    types: tuple[SqlType, ...]
    kind: Literal["unnest"] = "unnest"


class Assignment(NamedTuple):
    column: str
    value: Shape
    kind: Literal["assignment"] = "assignment"


class Conflict(NamedTuple):
    """ON CONFLICT: its target (columns, or a constraint's name, or any) and what to do (no assignments: nothing)."""

    columns: tuple[str, ...]
    constraint: str | None
    assignments: tuple[Assignment, ...]
    where: tuple[Shape, ...]
    kind: Literal["conflict"] = "conflict"


class InsertShape(NamedTuple):
    source: Source
    columns: tuple[str, ...]
    content: RowValues | UnnestedColumns
    conflict: Conflict | None
    returning: tuple[Shape, ...]
    kind: Literal["insert"] = "insert"


class UpdateShape(NamedTuple):
    source: Source
    assignments: tuple[Assignment, ...]
    others: tuple[Source, ...]
    where: tuple[Shape, ...]
    returning: tuple[Shape, ...]
    kind: Literal["update"] = "update"


class DeleteShape(NamedTuple):
    source: Source
    others: tuple[Source, ...]
    where: tuple[Shape, ...]
    returning: tuple[Shape, ...]
    kind: Literal["delete"] = "delete"


class TypedFragment(NamedTuple):
    """A whole statement in the user's SQL, with what its rows hold: one model, its columns found by name, or values by position."""

    fragment: Fragment
    items: tuple[Shape, ...]
    kind: Literal["typed-fragment"] = "typed-fragment"
