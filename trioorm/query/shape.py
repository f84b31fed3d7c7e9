"""Shapes of whole statements; see `expression/shape.py` for what a shape is.

The contract: fields stand in the order in which they are rendered, as the values do.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from trioorm.expression.shape import Fragment, Shape, Source, Window
from trioorm.expression.types import SqlType


class ModelItem(NamedTuple):
    """All columns of a model in a row, to become one object. `optional`: it may be missing, by an outer join. `columns`: their names
    where they are not the model's own, in a subquery that had to give some of them others."""

    model: type
    source: Source
    optional: bool = False
    columns: tuple[str, ...] | None = None
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
    source: "FromShape"
    condition: Shape | None
    kind: Literal["join"] = "join"


class Lock(NamedTuple):
    strength: str
    of: tuple[Source, ...]
    wait: str
    kind: Literal["lock"] = "lock"


class Derived(NamedTuple):
    """A statement's rows as a table. `columns`: names for them, where their own would be missing or not unique."""

    statement: Shape
    visible_name: str
    columns: tuple[str, ...] | None
    lateral: bool
    kind: Literal["derived"] = "derived"


class RecursiveStep(NamedTuple):
    """What a recursive CTE repeats with the rows of the round before."""

    union: str
    statement: Shape
    kind: Literal["step"] = "step"


class Search(NamedTuple):
    """`SEARCH DEPTH FIRST BY ... SET ...`; `how` is DEPTH or BREADTH."""

    how: str
    by: tuple[str, ...]
    column: str
    kind: Literal["search"] = "search"


class Cycle(NamedTuple):
    """`CYCLE ... SET mark USING path`."""

    columns: tuple[str, ...]
    mark: str
    path: str
    kind: Literal["cycle"] = "cycle"


class CommonTable(NamedTuple):
    """One entry of WITH."""

    name: str
    columns: tuple[str, ...] | None
    materialized: bool | None
    statement: Shape
    step: RecursiveStep | None
    search: Search | None
    cycle: Cycle | None
    kind: Literal["cte"] = "cte"


class CommonTableUse(NamedTuple):
    """A CTE among the tables of a statement. It carries the definition, so that whatever statement it ends up in has it in WITH."""

    definition: CommonTable
    alias: str | None
    kind: Literal["cte-use"] = "cte-use"

    @property
    def visible_name(self) -> str:
        """The name by which the statement's other parts refer to it."""
        return self.definition.name if self.alias is None else self.alias


class FunctionTable(NamedTuple):
    """A function's rows as a table. `types` are written only for functions that give records."""

    call: Shape
    visible_name: str
    columns: tuple[str, ...]
    types: tuple[SqlType, ...] | None
    ordinality: bool
    kind: Literal["function-table"] = "function-table"


class ValuesTable(NamedTuple):
    """`(VALUES (...), ...) AS name (columns)`."""

    rows: tuple[tuple[Shape, ...], ...]
    visible_name: str
    columns: tuple[str, ...]
    kind: Literal["values-table"] = "values-table"


class Sampled(NamedTuple):
    """A table with TABLESAMPLE."""

    source: Source
    method: str
    percent: Shape
    seed: Shape | None
    kind: Literal["sampled"] = "sampled"

    @property
    def visible_name(self) -> str:
        """The name by which the statement's other parts refer to it."""
        return self.source.visible_name


FromShape: TypeAlias = Source | Derived | CommonTableUse | FunctionTable | ValuesTable | Sampled


class GroupingSets(NamedTuple):
    """`ROLLUP (...)`, `CUBE (...)`, `GROUPING SETS (...)`; each entry is a combination of terms."""

    how: str
    sets: tuple[tuple[Shape, ...], ...]
    kind: Literal["grouping-sets"] = "grouping-sets"


class Limits(NamedTuple):
    """LIMIT or FETCH FIRST ... WITH TIES, and OFFSET."""

    limit: Shape | None
    with_ties: bool
    offset: Shape | None
    kind: Literal["limits"] = "limits"


class Projection(NamedTuple):
    """The class that makes something of a row, called with the items by these keywords, or by position."""

    make: Callable[..., object]
    keywords: tuple[str, ...] | None
    kind: Literal["projection"] = "projection"


class NamedWindow(NamedTuple):
    """One entry of the WINDOW clause."""

    name: str
    window: Window
    kind: Literal["named-window"] = "named-window"


class SelectShape(NamedTuple):
    with_: tuple[CommonTable, ...]
    distinct: bool
    distinct_on: tuple[Shape, ...]
    items: tuple[Shape, ...]
    source: FromShape | None
    joins: tuple[Join, ...]
    where: tuple[Shape, ...]
    group_by: tuple[Shape, ...]
    having: tuple[Shape, ...]
    windows: tuple[NamedWindow, ...]
    order_by: tuple[Shape, ...]
    limits: Limits | None
    locks: tuple[Lock, ...]
    into: Projection | None
    kind: Literal["select"] = "select"


class CombinedShape(NamedTuple):
    """Two queries with UNION, INTERSECT or EXCEPT between them."""

    with_: tuple[CommonTable, ...]
    operator: str
    left: Shape
    right: Shape
    order_by: tuple[Shape, ...]
    limits: Limits | None
    into: Projection | None
    kind: Literal["combined"] = "combined"


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


class RowAssignment(NamedTuple):
    """`(columns) = (statement)`."""

    columns: tuple[str, ...]
    statement: Shape
    kind: Literal["row-assignment"] = "row-assignment"


class Conflict(NamedTuple):
    """ON CONFLICT: its target (index terms with the index's condition, or a constraint's name, or any) and what to do (no assignments:
    nothing)."""

    target: tuple[Shape, ...]
    target_where: tuple[Shape, ...]
    constraint: str | None
    assignments: tuple[Assignment, ...]
    where: tuple[Shape, ...]
    kind: Literal["conflict"] = "conflict"


class InsertShape(NamedTuple):
    """`content` is a query's shape for INSERT ... SELECT."""

    with_: tuple[CommonTable, ...]
    source: Source
    columns: tuple[str, ...]
    overriding: str
    content: Shape
    conflict: Conflict | None
    returning: tuple[Shape, ...]
    kind: Literal["insert"] = "insert"


class UpdateShape(NamedTuple):
    """`others`: what stands in FROM; a `Join` belongs to the table before it."""

    with_: tuple[CommonTable, ...]
    source: Source
    assignments: tuple[Assignment | RowAssignment, ...]
    others: "tuple[FromShape | Join, ...]"
    where: tuple[Shape, ...]
    returning: tuple[Shape, ...]
    kind: Literal["update"] = "update"


class DeleteShape(NamedTuple):
    """`others`: what stands in USING; a `Join` belongs to the table before it."""

    with_: tuple[CommonTable, ...]
    source: Source
    others: "tuple[FromShape | Join, ...]"
    where: tuple[Shape, ...]
    returning: tuple[Shape, ...]
    kind: Literal["delete"] = "delete"


class MergeAction(NamedTuple):
    """One WHEN of a merge. `then` is UPDATE, INSERT, DELETE or DO NOTHING."""

    when: str
    conditions: tuple[Shape, ...]
    then: str
    assignments: tuple[Assignment, ...]
    kind: Literal["merge-action"] = "merge-action"


class MergeShape(NamedTuple):
    with_: tuple[CommonTable, ...]
    source: Source
    using: FromShape
    condition: Shape
    actions: tuple[MergeAction, ...]
    returning: tuple[Shape, ...]
    kind: Literal["merge"] = "merge"


class TypedFragment(NamedTuple):
    """A whole statement in the user's SQL, with what its rows hold: one model, its columns found by name, or values by position."""

    fragment: Fragment
    items: tuple[Shape, ...]
    kind: Literal["typed-fragment"] = "typed-fragment"


class Handed(NamedTuple):
    """A key among a statement's rows: where its columns stand, from 1 (in several places, where several objects of the model are in a row),
    and the settings in which later statements of the flight find its values, as arrays."""

    places: tuple[tuple[int, ...], ...]
    settings: tuple[str, ...]
    kind: Literal["handed"] = "handed"


class HandingShape(NamedTuple):
    """A statement that hands on keys among its rows."""

    statement: Shape
    width: int
    handed: tuple[Handed, ...]
    kind: Literal["handing"] = "handing"


class UnitedPart(NamedTuple):
    """One of several statements whose rows are united: which of the united items its own items are, and whether later parts read it too."""

    statement: Shape
    places: tuple[int, ...]
    is_read_again: bool
    kind: Literal["united-part"] = "united-part"


class UnitedShape(NamedTuple):
    """Statements with UNION ALL between them. A row is the number of its part and all `items`, NULL where they are of other parts.
    `shared`: the items of which one row may be met several times, and is to be one object."""

    items: tuple[Shape, ...]
    parts: tuple[UnitedPart, ...]
    shared: tuple[int, ...]
    kind: Literal["united"] = "united"


class CreateTableAsShape(NamedTuple):
    """`CREATE TABLE ... AS`. `columns`: names for them, where their own would be missing or not unique."""

    source: Source
    columns: tuple[str, ...] | None
    temporary: bool
    statement: Shape
    kind: Literal["create-table-as"] = "create-table-as"


class ReturnedInto(NamedTuple):
    """A write whose returned rows become objects of the user's class."""

    write: Shape
    into: Projection
    kind: Literal["returned-into"] = "returned-into"


class IdentifierGap(NamedTuple):
    """A name in the gap of a `sql()`, with what qualifies it."""

    parts: tuple[str, ...]
    kind: Literal["identifier"] = "identifier"
