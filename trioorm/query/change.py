"""`update(Model).set(...)` and `delete(Model)`: changes to rows that are there.

The contract: without a condition the statement is refused; `everywhere()` says that all rows are meant.
"""

import typing
from collections.abc import Mapping
from typing import Generic, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression.column import Column
from trioorm.expression.expression import Expression
from trioorm.expression.shape import Shape, Source
from trioorm.model.info import ModelInfo
from trioorm.model.model import Model
from trioorm.query.assignment import field_named, value_for
from trioorm.query.entity import entity_of
from trioorm.query.lint import LintFinding, missing_where
from trioorm.query.shape import Assignment, DeleteShape, UpdateShape
from trioorm.query.statement import Clause
from trioorm.query.write import Write

M = TypeVar("M", bound=Model)
T = TypeVar("T")
Self = TypeVar("Self", bound="_Change")


class _Change(Write):
    """What update and delete share: conditions, and other tables to look into."""

    _verb = ""

    def __init__(self, info: ModelInfo, source: Source) -> None:
        self._info = info
        self._source = source
        self._others: tuple[Source, ...] = ()
        self._where = Clause()
        self._everywhere = False

    @property
    def info(self) -> ModelInfo:
        """See `Write.info`."""
        return self._info

    def _with(self: Self, **changes: object) -> Self:
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.__dict__.pop("shape", None)
        made.__dict__.pop("bind_values", None)
        made.__dict__.update(changes)
        return made

    def where(self: Self, *conditions: Expression[bool | None]) -> Self:
        """Only rows for which all of these hold, added to the conditions so far."""
        return self._with(_where=self._where.with_conditions(conditions, "where()"))

    def everywhere(self: Self) -> Self:
        """All rows of the table are meant."""
        return self._with(_everywhere=True)

    def using(self: Self, *models: type) -> Self:
        """Other tables that the conditions (and values) look into; say in `where` how they belong together."""
        return self._with(_others=self._others + tuple(entity_of(model)[1] for model in models))

    def lint(self) -> tuple[LintFinding, ...]:
        """As `Statement.lint`; a missing condition, which would be refused, is a finding too."""
        if not self._where.shapes and not self._everywhere:
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

    @overload
    def set(self, column: Column[T], value: T | Expression[T], /) -> "Update[M]": ...
    @overload
    def set(self, values: Mapping[str, object], /) -> "Update[M]": ...
    @overload
    def set(self, values: Mapping[Expression[object], object], /) -> "Update[M]": ...
    def set(self, column: object, value: object = ..., /) -> "Update[M]":
        """Set a column to a value or an expression, or several by a mapping; may be called again for further columns.

        Raises:
            QueryError: an unknown or computed column, one that is set already, or a value whose class does not fit.
            BindError: a moment without a time zone.
        """
        pairs: Mapping[object, object]
        if value is ...:
            if not isinstance(column, Mapping):
                raise QueryError("set() takes a column and a value, or a mapping.\nTo fix it: set(User.age, 37) or set({'age': 37}).")
            pairs = typing.cast("Mapping[object, object]", column)
        else:
            pairs = {column: value}
        clause = self._set
        for named, given in pairs.items():
            field = field_named(self._info, named, "set()")
            if any(shape[0] == field.name for shape in clause.shapes):
                raise QueryError(f"{field.column} is set twice in one update.\nTo fix it: keep one.")
            shape, values = value_for(field, given)
            clause = clause.with_(Assignment(field.name, shape), values)
        return self._with(_set=clause)

    def shape_with(self, returning: tuple[Shape, ...]) -> Shape:
        if not self._set.shapes:
            raise QueryError(f"update({self._info.model.__name__}) sets nothing.\nTo fix it: update(...).set(Model.column, value).")
        assignments = typing.cast("tuple[Assignment, ...]", self._set.shapes)
        return UpdateShape(self._source, assignments, self._others, self._conditions(), returning)

    @property
    def own_values(self) -> tuple[object, ...]:
        return self._set.bind_values + self._where.bind_values


class Delete(_Change, Generic[M]):
    """Rows of one model to be removed. Made by `delete`."""

    _verb = "delete"

    def shape_with(self, returning: tuple[Shape, ...]) -> Shape:
        return DeleteShape(self._source, self._others, self._conditions(), returning)

    @property
    def own_values(self) -> tuple[object, ...]:
        return self._where.bind_values


def update(model: type[M]) -> Update[M]:
    """Changes to rows of a model: `update(User).set(User.age, User.age + 1).where(User.id == 7)`."""
    return Update(*entity_of(model))


def delete(model: type[M]) -> Delete[M]:
    """Removal of rows of a model: `delete(User).where(User.id == 7)`."""
    return Delete(*entity_of(model))
