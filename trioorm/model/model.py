"""`Model`, the class that models inherit from, and `model_of`, which gives the record of one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from trioorm.errors import ModelError
from trioorm.expression.expression import Expression
from trioorm.model.info import ModelInfo
from trioorm.model.metaclass import ModelMeta
from trioorm.model.relation import Relation
from trioorm.model.unset import UNSET

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

    from trioorm.schema.constraint import TableConstraint, TableIndex

M = TypeVar("M", bound="Model")


class Model(metaclass=ModelMeta):
    """The base of all models.

    Write `class User(Model, table="users")` with fields annotated `Column[T]`; `schema="shop"` puts the table into a schema, `comment`
    describes it; `view=` or `materialized_view=` instead of `table=` reads from a query (see `view_query`); `abstract=True` instead of a
    table shares columns (and a schema) between models; `frozen=True` makes objects immutable and hashable.
    """

    __slots__ = ()

    def __init_subclass__(
        cls, *, table: str | None = None, schema: str | None = None, abstract: bool = False, frozen: bool = False
    ) -> None:
        super().__init_subclass__()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """What pydantic, and with it FastAPI, needs to know of a model; see `interchange.py`."""
        from trioorm.model.interchange import pydantic_schema  # few need it

        return pydantic_schema(cls, handler)

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        """Constraints over several columns: `unique(...)`, `check(...)`, `foreign_key(...)`, `exclude(...)`. To be overridden.

        Called once, when the table is first needed, so that other models may be named in it.
        """
        return ()

    @classmethod
    def table_indexes(cls) -> Iterable[TableIndex]:
        """Indexes beyond `column(index=True)`: `index(...)`. To be overridden; called as `table_constraints` is."""
        return ()

    @classmethod
    def view_query(cls) -> Expression[object]:
        """The select that a view stands for, its items in the order of the view's columns. To be overridden by views.

        Called once, when the view is first created or dropped, so that models may be named in it that are declared later.
        """
        raise ModelError(f"{cls.__name__} is no view.\nTo fix it: class {cls.__name__}(Model, view=...).")


def evolve(made: M, **changes: object) -> M:
    """A new object with some values changed: `attrs.evolve`, which type checkers refuse on classes that attrs' own decorator did not make.

    Raises:
        TypeError: there is no such attribute.
    """
    as_attrs: Any = made  # mypy's plugin knows only classes that attrs' decorators made
    return cast("M", attrs.evolve(as_attrs, **changes))


def model_of(model: type) -> ModelInfo:
    """The record of a model class.

    Raises:
        ModelError: it is no model, or an abstract one.
    """
    info = type(model).__trioorm__ if isinstance(model, ModelMeta) else None
    if info is None:
        shown = getattr(model, "__qualname__", repr(model))
        raise ModelError(
            f"{shown} is no model with a table.\nTo fix it: class {shown}(Model, table=...)."
            if not isinstance(model, ModelMeta)
            else f"{shown} is abstract and has no table.\nTo fix it: use a model that inherits from it."
        )
    return info


def relation_value(held: Model, relation: Relation) -> object:
    """What a relation of an object holds; UNSET where it was neither loaded nor set."""
    try:
        return object.__getattribute__(held, relation.attribute)
    except AttributeError:
        return UNSET
