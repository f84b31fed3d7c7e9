"""What stands in a statement for a model's table and for a row's items: models, aliases, `optional(...)`, `excluded(...)`.

The contract: `entity_of` and `item_of` are the only places that look into what the user gave.
"""

from __future__ import annotations

import functools
import typing
from typing import Generic, TypeVar, overload

from trioorm.errors import ModelError, QueryError
from trioorm.expression.column import Column
from trioorm.expression.expression import Expression, Selectable
from trioorm.expression.identifiers import quote_identifier
from trioorm.expression.shape import ColumnReference, Exists, InSubquery, Shape, Source, Subquery
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.model.metaclass import ModelMeta, unknown_column
from trioorm.model.model import Model, model_of
from trioorm.query.shape import ModelItem, ValueItem

M = TypeVar("M", bound=Model)
S = TypeVar("S")
T_co = TypeVar("T_co", covariant=True)


class Alias:
    """A model under another name in a statement. To type checkers it is the model class; it makes no objects."""

    def __init__(self, info: ModelInfo, source: Source) -> None:
        self.__trioorm__ = info
        self.__source__ = source
        for field in info.fields:
            setattr(self, field.attribute, self._column(field))

    def _column(self, field: FieldInfo) -> Expression[object]:
        return field.column.of(self.__source__)

    @property
    def __item__(self) -> ModelItem:
        """All its columns, as an item of a select."""
        return ModelItem(self.__trioorm__.model, self.__source__)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise unknown_column(self.__trioorm__, name)

    def __call__(self, *arguments: object, **values: object) -> object:
        model = self.__trioorm__.model.__name__
        raise QueryError(f"An alias of {model} makes no objects.\nTo fix it: make them with {model}(...).")

    def __repr__(self) -> str:
        return f"<alias {self.__source__.visible_name!r} of {self.__trioorm__.model.__name__}>"


def alias(model: type[M], name: str) -> type[M]:
    """The model under another name, to use its table twice in one statement.

    `manager = alias(User, "manager")`, then `manager.name`, `select(manager)`, `.join(manager, ...)`.
    """
    info = model_of(model)
    quote_identifier(name)
    return typing.cast("type[M]", Alias(info, info.source._replace(alias=name)))


def excluded(model: type[M]) -> type[M]:
    """In `on_conflict(...).do_update(...)`: the row that was to be inserted."""
    return typing.cast("type[M]", _excluded(model_of(model)))


@functools.lru_cache(maxsize=1024)
def _excluded(info: ModelInfo) -> Alias:
    return Alias(info, info.source._replace(alias="excluded"))


def old(model: type[M]) -> type[M]:
    """In `returning(...)`: the row as it was before (PostgreSQL 18). An insert has none, so there it is `optional(old(User))`."""
    return typing.cast("type[M]", Alias(model_of(model), Source("", "old")))


def new(model: type[M]) -> type[M]:
    """In `returning(...)`: the row as it is afterwards (PostgreSQL 18). A delete leaves none, so there it is `optional(new(User))`."""
    return typing.cast("type[M]", Alias(model_of(model), Source("", "new")))


class OptionalItem(Selectable[T_co], Generic[T_co]):
    """An item of a select that may be missing. Made by `optional`."""

    __slots__ = ("item", "origin")

    def __init__(self, item: Shape, origin: object) -> None:
        self.item = item
        self.origin = origin


@overload
def optional(item: type[M], /) -> Selectable[M | None]: ...
@overload
def optional(item: Expression[S], /) -> Selectable[S | None]: ...
def optional(item: object, /) -> Selectable[object]:
    """Mark a model or column from the optional side of an outer join: it is None in rows where the join found nothing."""
    shape, values = item_of(item)
    if values:
        raise QueryError("optional() takes a model or a column.\nTo fix it: leave it out; only bare columns and models need it.")
    if isinstance(shape, ModelItem):
        return OptionalItem(shape._replace(optional=True), item)
    return OptionalItem(shape._replace(nullable=True), item)


def entity_of(thing: object) -> tuple[ModelInfo, Source]:
    """The model and the name it goes by.

    Raises:
        QueryError: the thing is neither a model nor an alias of one.
    """
    if isinstance(thing, ModelMeta):
        info = thing.__trioorm__
        return (info, info.source) if info is not None else _refuse_abstract(thing)
    if isinstance(thing, Alias):
        return thing.__trioorm__, thing.__source__
    shown = f"an object of {type(thing).__qualname__}" if isinstance(thing, Model) else repr(thing)
    raise QueryError(f"A model class is needed here, and {shown} was given.\nTo fix it: give the class, such as User, or alias(User, 'u').")


def _refuse_abstract(model: type) -> typing.NoReturn:
    try:
        model_of(model)
    except ModelError as error:
        raise QueryError(str(error)) from error
    raise AssertionError(model)


def item_of(thing: object) -> tuple[ModelItem | ValueItem, tuple[object, ...]]:
    """One item of a select or RETURNING, as a shape with its values.

    Raises:
        QueryError: nothing that a row could hold.
    """
    if isinstance(thing, Column):
        column = typing.cast("Column[object]", thing)
        return ValueItem(column.shape, column.sql_type, column.nullable), ()
    if isinstance(thing, Expression):
        expression = typing.cast("Expression[object]", thing)
        return ValueItem(expression.operand(), expression.sql_type), expression.bind_values
    if isinstance(thing, OptionalItem):
        return typing.cast("ModelItem | ValueItem", typing.cast("OptionalItem[object]", thing).item), ()
    if isinstance(thing, Alias):
        return thing.__item__, ()
    if isinstance(thing, ModelMeta):
        info, source = entity_of(thing)
        return ModelItem(info.model, source), ()
    raise QueryError(
        f"A row cannot hold {thing!r}.\n"
        "To fix it: name models, columns or expressions, as in select(User) or select(User.id, count()); for a constant: literal(...)."
    )


def first_source(shape: Shape) -> Source | None:
    """The table of the first column found in a shape, where a select says nothing else about FROM."""
    if isinstance(shape, ModelItem):
        return shape.source
    if isinstance(shape, ColumnReference):
        return shape.source
    if isinstance(shape, (Subquery, Exists)):  # its tables are its own affair
        return None
    if isinstance(shape, InSubquery):
        return first_source(shape.operand)
    for part in shape:
        if isinstance(part, tuple):
            found = first_source(typing.cast("Shape", part))
            if found is not None:
                return found
    return None
