"""`update(Model).set(...)` and `delete(Model)`: changes to rows that are there.

The contract: without a condition the statement is refused; `everywhere()` says that all rows are meant.
"""

from __future__ import annotations

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
from trioorm.query.assignment import columns_set, counted_up, field_named, kind_decides, kind_of, require_fitting, value_for
from trioorm.query.clause import NOTHING
from trioorm.query.form import STEPS, Form, Grammar, Step, find_step, part
from trioorm.query.formed import Filtered
from trioorm.query.joins import Joining
from trioorm.query.query import Query
from trioorm.query.shape import Assignment, DeleteShape, Join, RowAssignment, UpdateShape
from trioorm.query.tables import Table, from_item_of, outputs_of
from trioorm.query.write import Returning, Write, begin, returned_into

if TYPE_CHECKING:
    from trioorm.query.lint import LintFinding

M = TypeVar("M", bound=Model)
T = TypeVar("T")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")


class _Change(Filtered[None], Write, Joining):
    """What update and delete share: conditions, and other tables to look into."""

    __slots__ = ()
    _verb = ""
    _others = part(NOTHING)

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
            name = self.info.model.__name__
            raise QueryError(
                f"{self._verb}({name}) cannot be joined to.\n"
                f"To fix it: name the other table, and say in where() how it belongs to {name}; further ones can be joined to that:\n"
                f"  {self._verb}({name}).using(Other).where(Other.id == {name}.other_id)"
            )
        return self._with(_others=self._others.with_(join, values))

    def lint(self) -> tuple[LintFinding, ...]:
        """As `Statement.lint`; a missing condition, which would be refused, is a finding too."""
        if not self.form.shapes("_where") and not self.form.parts.get("_everywhere"):
            from trioorm.query.lint import missing_where  # few need it

            return (missing_where(self._verb, self.info.model.__name__, self.info.table_name),)
        return super().lint()


def _conditions(form: Form, verb: str) -> tuple[Shape, ...]:
    info = typing.cast("ModelInfo", form.parts["_info"])
    name = info.model.__name__
    where, everywhere = form.shapes("_where"), form.parts.get("_everywhere", False)
    if not where and not everywhere:
        raise QueryError(
            f"{verb}({name}) has no condition and would change every row of {info.table_name}.\n"
            f"To fix it:\n  1. say which rows: .where({name}.{info.fields[0].attribute} == ...)\n"
            f"  2. if all are meant: .everywhere()"
        )
    if where and everywhere:
        raise QueryError(f"{verb}({name}) has where() and everywhere().\nTo fix it: keep one.")
    return where


class Update(_Change, Generic[M]):
    """Changes to rows of one model. Made by `update`."""

    __slots__ = ()
    _verb = "update"
    _set = part(NOTHING)

    def from_(self, *models: type[Model] | Table) -> Self:
        """The same as `using`, in the words that SQL has for it here."""
        return self.using(*models)

    @overload
    def set_each(
        self, rows: Iterable[M | Mapping[str, object]], *changed: Expression[object], key: Expression[object] | None = ...
    ) -> Self: ...
    @overload
    def set_each(
        self,
        rows: Iterable[Sequence[object]],
        *changed: Expression[object],
        key: Expression[object] | None = ...,
        columns: Sequence[Expression[object]],
    ) -> Self: ...
    def set_each(
        self,
        rows: Iterable[object],
        *changed: Expression[object],
        key: Expression[object] | None = None,
        columns: Sequence[Expression[object]] = (),
    ) -> Self:
        """Set columns to values of their own in each row, all in one statement.

            update(User).set_each([{"id": 1, "age": 37}, {"id": 2, "age": 40}])
            update(User).set_each([(1, 37), (2, 40)], columns=[User.id, User.age])

        Args:
            rows: objects of the model, mappings from attribute names to plain values, all with the same names, or tuples of plain values
                when `columns` are given.
            changed: the columns to set; if none are given, all that the rows give besides the key.
            key: the column by which rows are found; the primary key if not given.
            columns: of the values in each tuple, in their order, the key among them.

        Raises:
            QueryError: no rows, rows of different columns, two rows of one key, or a value whose class does not fit.
            BindError: a moment without a time zone.
        """
        from trioorm.query.value_rows import value_rows  # few need it

        given = value_rows(self.info, rows, changed, key, columns)
        steps, known = self.form.steps, ("set_each", given.keys, given.changed) if given.are_arrays else None
        step = steps.get(known)
        if step is not None:
            return self._step(step, given.columns)
        table = given.table()
        made = self.using(table)
        for field in given.changed:
            made = made._assign(field.column, table.column(field.name))
        source = typing.cast("Source", self.form.parts["_source"])
        made = made.where(*(field.column.of(source) == table.column(field.name) for field in given.keys))
        if known is not None:
            STEPS.remember(steps, known, made.form, "_others")
        return made

    @overload
    def set(self, column: Column[T], value: T | Expression[T], /) -> Update[M]: ...
    @overload
    def set(self, columns: tuple[Column[T], Column[T2]], query: Query[tuple[T, T2]], /) -> Update[M]: ...
    @overload
    def set(self, columns: tuple[Column[T], Column[T2], Column[T3]], query: Query[tuple[T, T2, T3]], /) -> Update[M]: ...
    @overload
    def set(self, columns: tuple[Column[T], Column[T2], Column[T3], Column[T4]], query: Query[tuple[T, T2, T3, T4]], /) -> Update[M]: ...
    @overload
    def set(self, values: Mapping[str, object], /) -> Update[M]: ...
    @overload
    def set(self, values: Mapping[Expression[object], object], /) -> Update[M]: ...
    def set(self, column: object = None, value: object = ..., /, **wrong: object) -> Update[M]:
        """Set a column to a value or an expression, or several by a mapping; may be called again for further columns.

        A tuple of columns is set to those of a select, `set((User.name, User.age), select(Draft.name, Draft.age).where(...))`, which may
        give one row; where it gives none, all of them become NULL.

        Raises:
            QueryError: an unknown or computed column, one that is set already, or a value whose class does not fit.
            BindError: a moment without a time zone.
        """
        if column.__class__ is Column and not wrong:
            step = self.form.steps.get((column, value.__class__))
            if step is not None:  # as `_step`
                changed: Update[M] = Update()
                changed.form, behind = step
                values = self.bind_values
                changed.bind_values = (*values[:-behind], value, *values[-behind:]) if behind else (*values, value)
                return changed
        if wrong:
            raise QueryError(f"set() takes a column and its value, and got {', '.join(wrong)} by name.\nTo fix it: set({{'age': 37}}).")
        if isinstance(column, tuple):
            return self._set_row(typing.cast("tuple[object, ...]", column), value)
        if value is not ...:
            return self._assign(column, value)
        if not isinstance(column, Mapping):
            raise QueryError("set() takes a column and a value, or a mapping.\nTo fix it: set(User.age, 37) or set({'age': 37}).")
        made = self
        for named, given in typing.cast("Mapping[object, object]", column).items():
            made = made._assign(named, given)
        return made

    def _assign(self, column: object, value: object) -> Self:
        key = column, kind_of(value)
        step = find_step(self.form.steps, key)
        if step is not None:
            return self._step(step, value.bind_values if isinstance(value, Expression) else (value,))
        field = self._settable(column)
        shape, values = value_for(field, value)
        made = self._with(_set=self._set.with_(Assignment(field.name, shape), values))
        if (column is field.column or column.__class__ is str) and kind_decides(field, value):
            STEPS.remember(self.form.steps, key, made.form, "_set")
        return made

    def _set_row(self, columns: tuple[object, ...], value: object) -> Self:
        if not isinstance(value, Query):
            raise QueryError("set() takes a select for several columns.\nTo fix it: set((User.name, User.age), select(...)), or a mapping.")
        query = typing.cast("Query[object]", value)
        fields = tuple(self._settable(column) for column in columns)
        require_fitting(fields, outputs_of(query.items)[0], "set()")
        return self._with(_set=self._set.with_(RowAssignment(tuple(field.name for field in fields), query.shape), query.bind_values))

    def _settable(self, column: object) -> FieldInfo:
        field = field_named(self.info, column, "set()")
        if any(field.name in columns_set(assignment) for assignment in self.form.shapes("_set")):
            raise QueryError(f"{field.column} is set twice in one update.\nTo fix it: keep one.")
        return field


class Delete(_Change, Generic[M]):
    """Rows of one model to be removed. Made by `delete`."""

    __slots__ = ()
    _verb = "delete"


def _update_shape(form: Form) -> Shape:
    info, source = typing.cast("ModelInfo", form.parts["_info"]), typing.cast("Source", form.parts["_source"])
    if not form.shapes("_set"):
        raise QueryError(f"update({info.model.__name__}) sets nothing.\nTo fix it: update(...).set(Model.column, value).")
    assignments = counted_up(info, source, typing.cast("tuple[Assignment | RowAssignment, ...]", form.shapes("_set")))
    where = _conditions(form, "update")
    shape = UpdateShape(form.shapes("_ctes"), source, assignments, form.shapes("_others"), where, form.shapes("_returning"))
    return returned_into(form, shape)


def _delete_shape(form: Form) -> Shape:
    where = _conditions(form, "delete")
    shape = DeleteShape(form.shapes("_ctes"), form.parts["_source"], form.shapes("_others"), where, form.shapes("_returning"))
    return returned_into(form, shape)


_UPDATE: typing.Final = Grammar(("_ctes", "_set", "_others", "_where", "_returning"), _update_shape)
_DELETE: typing.Final = Grammar(("_ctes", "_others", "_where", "_returning"), _delete_shape)
_UPDATES: typing.Final[dict[object, Step]] = {}
_DELETES: typing.Final[dict[object, Step]] = {}
"""The steps that begin them, by the model."""

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
    from trioorm.query.value_rows import object_rows  # few need it

    table, keys, changed, place = object_rows(info, objects, first)
    model = typing.cast("type[M]", info.model)
    changes: dict[Expression[object], object] = {field.column: table.column(field.name) for field in changed}
    made = update(model).using(table).set(changes).where(*(field.column == table.column(field.name) for field in keys))
    return made.returning(model, place)


def update(model: type[M]) -> Update[M]:
    """Changes to rows of a model: `update(User).set(User.age, User.age + 1).where(User.id == 7)`."""
    made: Update[M] = Update()
    try:  # as `find_step`
        step = _UPDATES.get(model)
    except TypeError:
        step = None
    made.form, _ = step or begin(_UPDATES, _UPDATE, model)
    made.bind_values = ()
    return made


def delete(model: type[M]) -> Delete[M]:
    """Removal of rows of a model: `delete(User).where(User.id == 7)`."""
    made: Delete[M] = Delete()
    made.form, _ = find_step(_DELETES, model) or begin(_DELETES, _DELETE, model)
    made.bind_values = ()
    return made
