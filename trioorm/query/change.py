"""`update(Model).set(...)` and `delete(Model)`: changes to rows that are there.

The contract: without a condition the statement is refused; `everywhere()` says that all rows are meant.
"""

import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, Self, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression.column import Column
from trioorm.expression.expression import Expression
from trioorm.expression.guesses import OF_DELETES, OF_UPDATES, expect_guesses
from trioorm.expression.shape import Shape, Source
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.model.model import Model
from trioorm.query.assignment import columns_set, counted_up, field_named, require_fitting, value_for
from trioorm.query.entity import entity_of
from trioorm.query.joins import Joining
from trioorm.query.query import Query
from trioorm.query.shape import Assignment, DeleteShape, FromShape, Join, RowAssignment, UpdateShape
from trioorm.query.statement import Clause
from trioorm.query.tables import Table, from_item_of, outputs_of
from trioorm.query.value_rows import object_rows, value_rows
from trioorm.query.write import Returning, Write

if TYPE_CHECKING:
    from trioorm.query.lint import LintFinding

M = TypeVar("M", bound=Model)
T = TypeVar("T")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")


class _Change(Write, Joining):
    """What update and delete share: conditions, and other tables to look into."""

    _verb = ""

    def __init__(self, info: ModelInfo, source: Source) -> None:
        self._info = info
        self._source = source
        self._others = Clause()
        self._where = Clause()
        self._everywhere = False

    @property
    def info(self) -> ModelInfo:
        """See `Write.info`."""
        return self._info

    def where(self, *conditions: Expression[bool | None]) -> Self:
        """Only rows for which all of these hold, added to the conditions so far."""
        return self._with(_where=self._where.with_conditions(conditions, "where()"))

    def everywhere(self) -> Self:
        """All rows of the table are meant."""
        return self._with(_everywhere=True)

    def using(self, *models: type[Model] | Table) -> Self:
        """Other tables that the conditions and values look into; say in `where` how they belong together, or join further ones."""
        clause = self._others
        for model in models:
            clause = clause.with_(*from_item_of(model))
        return self._with(_others=clause)

    def _joined(self, join: Join, values: tuple[object, ...]) -> Self:
        if not self._others.shapes:
            name = self._info.model.__name__
            raise QueryError(
                f"{self._verb}({name}) cannot be joined to.\n"
                f"To fix it: name the other table, and say in where() how it belongs to {name}; further ones can be joined to that:\n"
                f"  {self._verb}({name}).using(Other).where(Other.id == {name}.other_id)"
            )
        return self._with(_others=self._others.with_(join, values))

    @property
    def _tables(self) -> tuple[FromShape | Join, ...]:
        return typing.cast("tuple[FromShape | Join, ...]", self._others.shapes)

    def lint(self) -> "tuple[LintFinding, ...]":
        """As `Statement.lint`; a missing condition, which would be refused, is a finding too."""
        if not self._where.shapes and not self._everywhere:
            from trioorm.query.lint import missing_where  # few need it

            return (missing_where(self._verb, self._info.model.__name__, self._info.table_name),)
        return super().lint()

    def _conditions(self) -> tuple[Shape, ...]:
        name = self._info.model.__name__
        if not self._where.shapes and not self._everywhere:
            raise QueryError(
                f"{self._verb}({name}) has no condition and would change every row of {self._info.table_name}.\n"
                f"To fix it:\n  1. say which rows: .where({name}.{self._info.fields[0].attribute} == ...)\n"
                f"  2. if all are meant: .everywhere()"
            )
        if self._where.shapes and self._everywhere:
            raise QueryError(f"{self._verb}({name}) has where() and everywhere().\nTo fix it: keep one.")
        return self._where.shapes


class Update(_Change, Generic[M]):
    """Changes to rows of one model. Made by `update`."""

    _verb = "update"

    def __init__(self, info: ModelInfo, source: Source) -> None:
        super().__init__(info, source)
        self._set = Clause()

    def from_(self, *models: type[Model] | Table) -> Self:
        """The same as `using`, in the words that SQL has for it here."""
        return self.using(*models)

    def set_each(
        self, rows: Iterable[M | Mapping[str, object]], *columns: Expression[object], key: Expression[object] | None = None
    ) -> Self:
        """Set columns to values of their own in each row, all in one statement.

            update(User).set_each([{"id": 1, "age": 37}, {"id": 2, "age": 40}])

        Args:
            rows: objects of the model, or mappings from attribute names to plain values, all with the same names.
            columns: those to set; if none are given, all that the rows give besides the key.
            key: the column by which rows are found; the primary key if not given.

        Raises:
            QueryError: no rows, rows of different columns, two rows of one key, or a value whose class does not fit.
            BindError: a moment without a time zone.
        """
        table, keys, changed = value_rows(self._info, rows, columns, key)
        made = self.using(table)
        for field in changed:
            made = typing.cast("Self", made.set({field.column: table.column(field.name)}))
        return made.where(*(field.column.of(self._source) == table.column(field.name) for field in keys))

    @overload
    def set(self, column: Column[T], value: T | Expression[T], /) -> "Update[M]": ...
    @overload
    def set(self, columns: tuple[Column[T], Column[T2]], query: Query[tuple[T, T2]], /) -> "Update[M]": ...
    @overload
    def set(self, columns: tuple[Column[T], Column[T2], Column[T3]], query: Query[tuple[T, T2, T3]], /) -> "Update[M]": ...
    @overload
    def set(self, columns: tuple[Column[T], Column[T2], Column[T3], Column[T4]], query: Query[tuple[T, T2, T3, T4]], /) -> "Update[M]": ...
    @overload
    def set(self, values: Mapping[str, object], /) -> "Update[M]": ...
    @overload
    def set(self, values: Mapping[Expression[object], object], /) -> "Update[M]": ...
    def set(self, column: object = None, value: object = ..., /, **wrong: object) -> "Update[M]":
        """Set a column to a value or an expression, or several by a mapping; may be called again for further columns.

        A tuple of columns is set to those of a select, `set((User.name, User.age), select(Draft.name, Draft.age).where(...))`, which may
        give one row; where it gives none, all of them become NULL.

        Raises:
            QueryError: an unknown or computed column, one that is set already, or a value whose class does not fit.
            BindError: a moment without a time zone.
        """
        if wrong:
            raise QueryError(f"set() takes a column and its value, and got {', '.join(wrong)} by name.\nTo fix it: set({{'age': 37}}).")
        if isinstance(column, tuple):
            return self._set_row(typing.cast("tuple[object, ...]", column), value)
        pairs: Mapping[object, object]
        if value is ...:
            if not isinstance(column, Mapping):
                raise QueryError("set() takes a column and a value, or a mapping.\nTo fix it: set(User.age, 37) or set({'age': 37}).")
            pairs = typing.cast("Mapping[object, object]", column)
        else:
            pairs = {column: value}
        clause = self._set
        for named, given in pairs.items():
            field = self._settable(named, clause)
            shape, values = value_for(field, given)
            clause = clause.with_(Assignment(field.name, shape), values)
        return self._with(_set=clause)

    def _set_row(self, columns: tuple[object, ...], value: object) -> "Update[M]":
        if not isinstance(value, Query):
            raise QueryError("set() takes a select for several columns.\nTo fix it: set((User.name, User.age), select(...)), or a mapping.")
        query = typing.cast("Query[object]", value)
        fields = tuple(self._settable(column, self._set) for column in columns)
        require_fitting(fields, outputs_of(query.items)[0], "set()")
        return self._with(_set=self._set.with_(RowAssignment(tuple(field.name for field in fields), query.shape), query.bind_values))

    def _settable(self, column: object, clause: Clause) -> FieldInfo:
        field = field_named(self._info, column, "set()")
        if any(field.name in columns_set(assignment) for assignment in typing.cast("tuple[Assignment, ...]", clause.shapes)):
            raise QueryError(f"{field.column} is set twice in one update.\nTo fix it: keep one.")
        return field

    def shape_with(self, returning: tuple[Shape, ...]) -> Shape:
        if not self._set.shapes:
            raise QueryError(f"update({self._info.model.__name__}) sets nothing.\nTo fix it: update(...).set(Model.column, value).")
        assignments = counted_up(self._info, self._source, typing.cast("tuple[Assignment | RowAssignment, ...]", self._set.shapes))
        return UpdateShape(self.common_tables, self._source, assignments, self._tables, self._conditions(), returning)

    @property
    def own_values(self) -> tuple[object, ...]:
        return self._set.bind_values + self._others.bind_values + self._where.bind_values


class Delete(_Change, Generic[M]):
    """Rows of one model to be removed. Made by `delete`."""

    _verb = "delete"

    def shape_with(self, returning: tuple[Shape, ...]) -> Shape:
        return DeleteShape(self.common_tables, self._source, self._tables, self._conditions(), returning)

    @property
    def own_values(self) -> tuple[object, ...]:
        return self._others.bind_values + self._where.bind_values


expect_guesses(Update, OF_UPDATES)
expect_guesses(Delete, OF_DELETES)


def update_each(info: ModelInfo, objects: Sequence[M], *, first: int = 0) -> Returning[tuple[M, int]]:
    """Each object's row, found by key and version, set to the object's values; gives the rows with the places of their objects.

    Args:
        info: of the objects' model.
        objects: all of it.
        first: the place of the first of them.

    Raises:
        QueryError, BindError: as `set_each`; also for two objects of one key, and for an object whose version is not set.
    """
    table, keys, changed, place = object_rows(info, objects, first)
    updating: Update[M] = Update(info, info.source)
    changes: dict[Expression[object], object] = {field.column: table.column(field.name) for field in changed}
    made = updating.using(table).set(changes).where(*(field.column == table.column(field.name) for field in keys))
    return made.returning(typing.cast("type[M]", info.model), place)


def update(model: type[M]) -> Update[M]:
    """Changes to rows of a model: `update(User).set(User.age, User.age + 1).where(User.id == 7)`."""
    return Update(*entity_of(model))


def delete(model: type[M]) -> Delete[M]:
    """Removal of rows of a model: `delete(User).where(User.id == 7)`."""
    return Delete(*entity_of(model))
