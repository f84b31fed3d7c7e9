"""What insert, update, delete and merge have in common: they may have CTEs and return rows."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Self, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression.expression import Selectable
from trioorm.expression.shape import Shape
from trioorm.model.info import ModelInfo
from trioorm.model.metaclass import ModelMeta
from trioorm.query.clause import NOTHING
from trioorm.query.entity import entity_of, item_of
from trioorm.query.form import STEPS, Form, Grammar, Step, find_step, part
from trioorm.query.formed import Formed, stay
from trioorm.query.shape import CommonTable, CommonTableUse, ReturnedInto
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


class _Writing(Formed[R_co]):
    """A write, or one that gives rows back."""

    __slots__ = ()

    @property
    def info(self) -> ModelInfo:
        """The record of the model whose rows are written."""
        return typing.cast("ModelInfo", self.form.parts["_info"])


class Write(_Writing[None]):
    """A statement that changes rows. It returns none unless `returning` asks for them."""

    __slots__ = ()
    _ctes = part(NOTHING)

    def with_(self, *ctes: Cte) -> Self:
        """Put CTEs into WITH that nothing reads from, such as one that deletes; those read from are there by themselves."""
        clause = self._ctes
        for cte in ctes:
            clause = clause.with_(cte.definition, cte.bind_values)
        return self._with(_ctes=clause)

    def cte(self, name: str) -> Cte:
        """The statement as an entry of WITH that gives no rows: `other.with_(delete(...).where(...).cte("gone"))`."""
        return Cte(name, CommonTableUse(CommonTable(name, None, None, self.shape, None, None, None), None), self.bind_values, ())

    # fmt: off
    @overload
    def returning(self, a: type[T1] | Selectable[T1], /) -> Returning[T1]: ...
    @overload
    def returning(self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], /) -> Returning[tuple[T1, T2]]: ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], /,
    ) -> Returning[tuple[T1, T2, T3]]: ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4], /,
    ) -> Returning[tuple[T1, T2, T3, T4]]: ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
        e: type[T5] | Selectable[T5], /,
    ) -> Returning[tuple[T1, T2, T3, T4, T5]]: ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
        e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], /,
    ) -> Returning[tuple[T1, T2, T3, T4, T5, T6]]: ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
        e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], g: type[T7] | Selectable[T7], /,
    ) -> Returning[tuple[T1, T2, T3, T4, T5, T6, T7]]: ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
        e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], g: type[T7] | Selectable[T7], h: type[T8] | Selectable[T8], /,
    ) -> Returning[tuple[T1, T2, T3, T4, T5, T6, T7, T8]]: ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
        e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], g: type[T7] | Selectable[T7], h: type[T8] | Selectable[T8],
        i: type[T9] | Selectable[T9], /,
    ) -> Returning[tuple[T1, T2, T3, T4, T5, T6, T7, T8, T9]]: ...
    @overload
    def returning(
        self, a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
        e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], g: type[T7] | Selectable[T7], h: type[T8] | Selectable[T8],
        i: type[T9] | Selectable[T9], j: type[T10] | Selectable[T10], /,
    ) -> Returning[tuple[T1, T2, T3, T4, T5, T6, T7, T8, T9, T10]]: ...
    # fmt: on
    def returning(self, *items: object) -> Returning[object]:
        """Give back the rows as they are now (for a delete: were): models, columns, expressions, as in `select`. Comes last."""
        if not items:
            raise QueryError(
                "returning() was given nothing to return.\nTo fix it: returning(User) for whole objects, returning(User.id) for a value."
            )
        steps = self.form.steps
        step = find_step(steps, ("returning", items))
        more: tuple[object, ...] = ()
        if step is None:
            clause = NOTHING
            for item in items:
                clause = clause.with_(*item_of(item))
            more = clause.bind_values
            key = "returning", items if stay(items) else clause.shapes
            step = steps.get(key) or STEPS.remember(steps, key, self.form.changed({"_returning": clause}))
        made: Returning[object] = Returning()
        made.form = step[0]
        made.bind_values = self.bind_values + more
        return made


class Returning(_Writing[R_co]):
    """A write that gives rows back. Made by `returning`."""

    __slots__ = ()
    _returning = part(NOTHING)

    def cte(self, name: str) -> Cte:
        """The rows returned as an entry of WITH: `gone = delete(Job).where(...).returning(Job.id).cte("gone")`, then `gone[Job.id]`."""
        return common_table(name, self.shape, self.bind_values, self._returning.shapes, materialized=None)

    def into(self, make: Callable[..., P], *names: str) -> Returning[P]:
        """Rows become objects of a class, as `Select.into` says."""
        from trioorm.query.projection import projection  # few need it

        return typing.cast("Returning[P]", self._with(_into=projection(make, self._returning.shapes, names)))


def returned_into(form: Form, write: Shape) -> Shape:
    """The shape of a write, with what its rows become."""
    into = form.parts.get("_into")
    return write if into is None else ReturnedInto(write, into)


def begin(memory: dict[object, Step], grammar: Grammar, model: object) -> Step:
    """The step that begins a write of one kind to a model or an alias of one.

    Raises:
        QueryError: it is neither.
    """
    info, source = entity_of(model)
    key = model if isinstance(model, ModelMeta) else (info, source)
    return memory.get(key) or STEPS.remember(memory, key, Form.of(grammar, _info=info, _source=source))
