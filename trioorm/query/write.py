"""What insert, update, delete and merge have in common: they may have CTEs and return rows."""

import typing
from collections.abc import Callable
from typing import Self, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression.expression import Selectable
from trioorm.expression.shape import Shape
from trioorm.model.info import ModelInfo
from trioorm.query.entity import item_of
from trioorm.query.projection import projection
from trioorm.query.shape import CommonTable, CommonTableUse, Projection, ReturnedInto
from trioorm.query.statement import Clause, Statement, once
from trioorm.query.tables import Cte, common_table

R_co = TypeVar("R_co", covariant=True)
P = TypeVar("P")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")
T7 = TypeVar("T7")
T8 = TypeVar("T8")
T9 = TypeVar("T9")
T10 = TypeVar("T10")


class Write(Statement[None]):
    """A statement that changes rows. It returns none unless `returning` asks for them."""

    _ctes: Clause = Clause()

    def _with(self, **changes: object) -> Self:
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.__dict__.pop("shape", None)
        made.__dict__.pop("bind_values", None)
        made.__dict__.update(changes)
        return made

    def with_(self, *ctes: Cte) -> Self:
        """Put CTEs into WITH that nothing reads from, such as one that deletes; those read from are there by themselves."""
        clause = self._ctes
        for cte in ctes:
            clause = clause.with_(cte.definition, cte.bind_values)
        return self._with(_ctes=clause)

    def cte(self, name: str) -> Cte:
        """The statement as an entry of WITH that gives no rows: `other.with_(delete(...).where(...).cte("gone"))`."""
        return Cte(name, CommonTableUse(CommonTable(name, None, None, self.shape, None, None, None), None), self.bind_values, ())

    @property
    def common_tables(self) -> tuple[CommonTable, ...]:
        """What `with_` was given."""
        return typing.cast("tuple[CommonTable, ...]", self._ctes.shapes)

    def shape_with(self, returning: tuple[Shape, ...]) -> Shape:
        """The shape with these items in RETURNING.

        Raises:
            QueryError: the statement is not complete.
        """
        raise NotImplementedError

    @property
    def info(self) -> ModelInfo:
        """The record of the model whose rows are written."""
        raise NotImplementedError

    @property
    def own_values(self) -> tuple[object, ...]:
        """The bind values of all but WITH, which comes before, and RETURNING, which comes after."""
        raise NotImplementedError

    @once
    def shape(self) -> Shape:  # pyright: ignore[reportIncompatibleMethodOverride] - read only all the same
        return self.shape_with(())

    @once
    def bind_values(self) -> tuple[object, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] - read only all the same
        return self._ctes.bind_values + self.own_values

    # fmt: off
    @overload
    def returning(self, a: type[T1] | Selectable[T1], /) -> "Returning[T1]": ...
    @overload
    def returning(self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], /) -> "Returning[tuple[T1, T2]]": ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], /,
    ) -> "Returning[tuple[T1, T2, T3]]": ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4], /,
    ) -> "Returning[tuple[T1, T2, T3, T4]]": ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
        e: type[T5] | Selectable[T5], /,
    ) -> "Returning[tuple[T1, T2, T3, T4, T5]]": ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
        e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], /,
    ) -> "Returning[tuple[T1, T2, T3, T4, T5, T6]]": ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
        e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], g: type[T7] | Selectable[T7], /,
    ) -> "Returning[tuple[T1, T2, T3, T4, T5, T6, T7]]": ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
        e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], g: type[T7] | Selectable[T7], h: type[T8] | Selectable[T8], /,
    ) -> "Returning[tuple[T1, T2, T3, T4, T5, T6, T7, T8]]": ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
        e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], g: type[T7] | Selectable[T7], h: type[T8] | Selectable[T8],
        i: type[T9] | Selectable[T9], /,
    ) -> "Returning[tuple[T1, T2, T3, T4, T5, T6, T7, T8, T9]]": ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
        e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], g: type[T7] | Selectable[T7], h: type[T8] | Selectable[T8],
        i: type[T9] | Selectable[T9], j: type[T10] | Selectable[T10], /,
    ) -> "Returning[tuple[T1, T2, T3, T4, T5, T6, T7, T8, T9, T10]]": ...
    # fmt: on
    def returning(self, *items: object) -> "Returning[object]":
        """Give back the rows as they are now (for a delete: were): models, columns, expressions, as in `select`. Comes last."""
        if not items:
            raise QueryError(
                "returning() was given nothing to return.\nTo fix it: returning(User) for whole objects, returning(User.id) for a value."
            )
        clause = Clause()
        for item in items:
            clause = clause.with_(*item_of(item))
        made: Returning[object] = Returning(self, clause)
        return made


class Returning(Statement[R_co]):
    """A write that gives rows back. Made by `returning`."""

    _into: Projection | None = None

    def __init__(self, write: Write, items: Clause) -> None:
        self._write = write
        self._items = items

    @property
    def write(self) -> Write:
        """The write itself."""
        return self._write

    def cte(self, name: str) -> Cte:
        """The rows returned as an entry of WITH: `gone = delete(Job).where(...).returning(Job.id).cte("gone")`, then `gone[Job.id]`."""
        return common_table(name, self.shape, self.bind_values, self._items.shapes, materialized=None)

    def into(self, make: Callable[..., P], *names: str) -> "Returning[P]":
        """Rows become objects of a class, as `Select.into` says."""
        made: Returning[P] = Returning(self._write, self._items)
        made._into = projection(make, self._items.shapes, names)
        return made

    @once
    def shape(self) -> Shape:  # pyright: ignore[reportIncompatibleMethodOverride] - read only all the same
        shape = self._write.shape_with(self._items.shapes)
        return shape if self._into is None else ReturnedInto(shape, self._into)

    @once
    def bind_values(self) -> tuple[object, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] - read only all the same
        return self._write.bind_values + self._items.bind_values
