"""A model's column: the expression that `User.age` is, and the annotation that declares it.

The contract: to type checkers `age: Column[int]` is a descriptor, whose read on the class gives the column and on an object the value.
At run time the same object lies on the model's own metaclass as a data descriptor, so a read on the class gives the column, while
objects read their slot and never come here.
"""

from __future__ import annotations

from typing import Literal, TypeVar, overload

from trioorm.errors import ModelError
from trioorm.expression.expression import Expression
from trioorm.expression.interned import InternedColumn, interned_column
from trioorm.expression.node import Ordering
from trioorm.expression.shape import ColumnReference, Source
from trioorm.expression.types import SqlType

T = TypeVar("T")


class ColumnExpression(Expression[T]):
    """A column of one table as one statement names it.

    Apart from `Column` because that is a descriptor to type checkers, so an attribute annotated with it would not be read as a column.

    Attributes:
        source: the table, or its alias, that the column is read from.
        name: in PostgreSQL.
        attribute: the name in Python.
        nullable: whether the column may be NULL.
    """

    __slots__ = ("_orderings", "attribute", "bind_values", "interned", "name", "nullable", "shape", "source", "sql_type")
    shape: ColumnReference
    bind_values: tuple[object, ...]
    sql_type: SqlType | None
    interned: InternedColumn | None

    def __init__(self, source: Source, name: str, sql_type: SqlType, *, attribute: str, nullable: bool) -> None:
        self.shape = ColumnReference(source, name)  # pyright: ignore[reportIncompatibleMethodOverride] - a slot, read quicker
        self.bind_values = ()  # pyright: ignore[reportIncompatibleMethodOverride] - a slot, read quicker
        self.sql_type = sql_type  # pyright: ignore[reportIncompatibleMethodOverride] - a slot, read quicker
        self.interned = interned_column(self.shape, sql_type)
        self._orderings: dict[tuple[str, str | None], Ordering] = {}
        self.source = source
        self.name = name
        self.attribute = attribute
        self.nullable = nullable

    def asc(self, *, nulls: Literal["first", "last"] | None = None) -> Ordering:
        """See `Expression.asc`. A column keeps its orderings, of which there are six."""
        return self._orderings.get(("ASC", nulls)) or self._orderings.setdefault(("ASC", nulls), super().asc(nulls=nulls))

    def desc(self, *, nulls: Literal["first", "last"] | None = None) -> Ordering:
        """See `Expression.desc`."""
        return self._orderings.get(("DESC", nulls)) or self._orderings.setdefault(("DESC", nulls), super().desc(nulls=nulls))

    def of(self, source: Source) -> ColumnExpression[T]:
        """The same column read from another source, such as an alias."""
        assert self.sql_type is not None
        return Column(source, self.name, self.sql_type, attribute=self.attribute, nullable=self.nullable)


class Column(ColumnExpression[T]):
    """The annotation of a model's fields, and what reading one on the class gives."""

    __slots__ = ()

    @overload
    def __get__(self, instance: None, owner: object) -> Column[T]: ...
    @overload
    def __get__(self, instance: object, owner: object) -> T: ...
    def __get__(self, instance: object, owner: object) -> object:
        return self

    def __set__(self, instance: object, value: T) -> None:
        raise ModelError(
            f"The column {self.source.visible_name}.{self.name} cannot be replaced on its class.\n"
            "To fix it: declare columns in the class's body; values are set on objects."
        )

    def __delete__(self, instance: object) -> None:
        # attrs deletes its field definitions from a class; refusing with AttributeError lets it go on.
        raise AttributeError(f"the column {self.attribute!r} cannot be deleted from its class")
