"""What insert, update and delete have in common: they may return rows."""

from typing import TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression.expression import Selectable
from trioorm.expression.shape import Shape
from trioorm.model.info import ModelInfo
from trioorm.query.entity import item_of
from trioorm.query.statement import Clause, Statement, once

R_co = TypeVar("R_co", covariant=True)
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
        """The bind values of all but RETURNING."""
        raise NotImplementedError

    @once
    def shape(self) -> Shape:  # pyright: ignore[reportIncompatibleMethodOverride] - read only all the same
        return self.shape_with(())

    @once
    def bind_values(self) -> tuple[object, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] - read only all the same
        return self.own_values

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

    def __init__(self, write: Write, items: Clause) -> None:
        self._write = write
        self._items = items

    @property
    def write(self) -> Write:
        """The write itself."""
        return self._write

    @once
    def shape(self) -> Shape:  # pyright: ignore[reportIncompatibleMethodOverride] - read only all the same
        return self._write.shape_with(self._items.shapes)

    @once
    def bind_values(self) -> tuple[object, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] - read only all the same
        return self._write.own_values + self._items.bind_values
