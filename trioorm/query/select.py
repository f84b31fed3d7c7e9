"""`select(...)`: rows from tables.

The contract: a `Select[R]` is an immutable value. Rows are a model's object, a value, or a tuple of these, as type checkers see them too.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, Never, Self, TypeVar, TypeVarTuple, overload

from trioorm.errors import QueryError
from trioorm.expression.expression import Comparison, Expression, Ordering, Selectable
from trioorm.expression.guesses import OF_SELECTS, expect_guesses
from trioorm.expression.identifiers import quote_identifier
from trioorm.expression.shape import Fragment, Labelled, Shape, Source
from trioorm.expression.types import BIGINT
from trioorm.model.load import Load, Loadable
from trioorm.model.metaclass import ModelMeta
from trioorm.model.model import Model
from trioorm.query.clause import NOTHING, Clause
from trioorm.query.entity import entity_of, item_of
from trioorm.query.form import STEPS, Form, Grammar, Step, find_step, part
from trioorm.query.formed import Filtered, stay
from trioorm.query.graph import check_loads
from trioorm.query.grouping import Grouping
from trioorm.query.joins import Joining, refuse_unmarked
from trioorm.query.query import Query, limits_of, with_terms
from trioorm.query.shape import FromShape, GroupingSets, Join, Lock, NamedWindow, Sampled, SelectShape, ValueItem
from trioorm.query.tables import Table, from_item_of, origin_of

if TYPE_CHECKING:
    from trioorm.expression.windows import WindowSpec

R_co = TypeVar("R_co", covariant=True)
P = TypeVar("P")
S = TypeVar("S")
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

Ts = TypeVarTuple("Ts")

_SHARING: Final = ("_distinct_on", "_items", "_group_by", "_having", "_windows", "_order_by")
"""The clauses in which terms may stand that must be one expression to PostgreSQL, in the order of their text."""

_TOTAL = Labelled(Fragment(("count(*) OVER ()",), repeatable=True), "total")


class Select(Filtered[R_co], Query[R_co], Joining):
    """A select whose rows become objects of class `R_co`. Made by `select`."""

    __slots__ = ("_order_terms", "loads")
    loads: tuple[Load[Never], ...]
    _order_terms: tuple[Expression[object] | Ordering, ...]

    _distinct = part(default=False)
    _distinct_on = part(NOTHING)
    _items = part(NOTHING)
    _from = part(NOTHING)
    _joins = part(NOTHING)
    _group_by = part(NOTHING)
    _having = part(NOTHING)
    _windows = part(NOTHING)
    _locks = part[tuple[Lock, ...]](())

    @property
    def items(self) -> tuple[Shape, ...]:
        return self._items.shapes

    @property
    def _source(self) -> FromShape | None:
        """The first table."""
        return typing.cast("FromShape | None", next(iter(self._from.shapes), None))

    def order_by(self, *terms: Expression[object] | Ordering) -> Self:
        """Order the rows, by further terms if some were given before. Without it PostgreSQL promises no order."""
        try:  # as `find_step`; the terms alone are the key, since every select has them and other steps' keys begin with a word
            step = self.form.steps.get(terms)
        except TypeError:
            step = None
        if step is not None:
            made = self._step(step, ())
        else:
            made = self._with_shared(_order_by=with_terms(self._order_by, terms, "order_by()", self._items))
            if stay(tuple([term.expression if type(term) is Ordering else term for term in terms])):
                STEPS.remember(self.form.steps, terms, made.form, "_order_by")
        made._order_terms = self._order_terms + terms
        return made

    def limit(self, count: int, *, with_ties: bool = False) -> Self:
        step = self.form.steps.get("limit")
        if step is not None and count.__class__ is int and count >= 0 and not with_ties:
            return self._step(step, (count,))
        made = super().limit(count, with_ties=with_ties)
        if not with_ties and not self.form.shapes("_limit"):  # which a further one would replace
            STEPS.remember(self.form.steps, "limit", made.form, "_limit")
        return made

    def from_(self, model: type[Model] | Table) -> Self:
        """Say the first table, where the items do not: `select(count()).from_(User)`."""
        source, values = from_item_of(model)
        return self._with(_from=Clause((source,), values))

    def tablesample(self, percent: float, *, method: Literal["bernoulli", "system"] = "bernoulli", seed: int | None = None) -> Self:
        """Only a random part of the first table's rows.

        Args:
            percent: of the rows, from 0 to 100.
            method: "bernoulli" looks at each row, "system" takes whole pages, which is quicker and less even.
            seed: the same one gives the same rows while the table does not change.
        """
        from trioorm.expression.functions import literal  # few need it

        source = self._source
        if not isinstance(source, Source):
            raise QueryError(
                "tablesample() takes a part of a table, and the first of this select is none.\nTo fix it: .from_(Model) first."
            )
        if method not in ("bernoulli", "system"):
            raise QueryError(f"tablesample(method={method!r}) is unknown.\nTo fix it: bernoulli or system.")
        share = literal(float(percent))
        start = None if seed is None else literal(float(seed))
        sampled = Sampled(source, method.upper(), share.shape, None if start is None else start.shape)
        return self._with(_from=Clause((sampled,), share.bind_values + (() if start is None else start.bind_values)))

    def group_by(self, *terms: Expression[object] | Grouping) -> Self:
        """One row for each different combination of these; `rollup`, `cube` and `grouping_sets` give several combinations."""
        key = "group_by", terms
        step = find_step(self.form.steps, key)
        if step is not None:
            return self._step(step, ())
        clause = self._group_by
        for term in terms:
            if isinstance(term, Grouping):
                sets = [with_terms(NOTHING, combination, term.how, self._items) for combination in term.sets]
                values = tuple(value for each in sets for value in each.bind_values)
                clause = clause.with_(GroupingSets(term.how, tuple(each.shapes for each in sets)), values)
            else:
                clause = with_terms(clause, (term,), "group_by()", self._items)
        made = self._with_shared(_group_by=clause)
        if stay(terms):
            STEPS.remember(self.form.steps, key, made.form, "_group_by")
        return made

    def having(self, *conditions: Expression[bool | None]) -> Self:
        """Only groups for which all of these hold."""
        return self._with_shared(_having=self._having.with_conditions(conditions, "having()"))

    def window(self, name: str, window: WindowSpec) -> Self:
        """Give a window a name, by which `over(name)` and `window(base=name)` use it: `.window("by_age", window(order_by=User.age))`.

        Raises:
            QueryError: the name is taken.
        """
        quote_identifier(name)
        if any(typing.cast("NamedWindow", shape).name == name for shape in self._windows.shapes):
            raise QueryError(f"The select has a window named {name!r} already.\nTo fix it: give one of them another name.")
        return self._with_shared(_windows=self._windows.with_(NamedWindow(name, window.shape), window.bind_values))

    def distinct(self, *on: Expression[object]) -> Self:
        """Leave out repeated rows; with expressions, keep the first row (by `order_by`) for each combination of them."""
        return self._with_shared(_distinct=not on, _distinct_on=with_terms(NOTHING, on, "distinct()", self._items))

    # Relations.

    @overload
    def load(self: Select[tuple[*Ts]], *relations: Loadable) -> Select[tuple[*Ts]]: ...
    @overload
    def load(self: Select[S], *relations: Load[S]) -> Select[S]: ...
    def load(self, *relations: Loadable) -> Select[typing.Any]:
        """Load relations onto the objects: `select(Film).load(Film.genres, Film.credits.load(Credit.person))`.

        They are there on each object of the relation's model in the rows. Within one load a row of the database is one object, wherever it
        is met. A relation that is not loaded raises when it is read.

        Raises:
            QueryError: the rows hold no object of the relation's model; or a relation is met twice, with other conditions.
        """
        loads: tuple[Load[Never], ...] = (*self.loads, *relations)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType] - loadable
        key = "load", loads
        if find_step(self.form.steps, key) is None:
            check_loads(loads, self._items.shapes)
            if all(load.is_bare for load in loads):  # then they are these very ones the next time
                STEPS.remember(self.form.steps, key, self.form)
        made = self._formed(self.form, self.bind_values)
        made.loads = loads
        return typing.cast("Select[typing.Any]", made)

    # Locks.

    def for_update(self, *, skip_locked: bool = False, nowait: bool = False, of: type[Model] | tuple[type[Model], ...] = ()) -> Self:
        """Lock the rows against changes by others until the transaction ends.

        Args:
            skip_locked: leave out rows that another transaction has locked.
            nowait: fail at once (LockNotAvailable) rather than wait for them.
            of: only the rows of these models, where several are joined; a further lock may be said for others.
        """
        return self._locked("FOR UPDATE", skip_locked, nowait, of)

    def for_no_key_update(self, *, skip_locked: bool = False, nowait: bool = False, of: type[Model] | tuple[type[Model], ...] = ()) -> Self:
        """As `for_update`, but others may insert rows that refer to these: for changes that leave the key alone."""
        return self._locked("FOR NO KEY UPDATE", skip_locked, nowait, of)

    def for_share(self, *, skip_locked: bool = False, nowait: bool = False, of: type[Model] | tuple[type[Model], ...] = ()) -> Self:
        """As `for_update`, but others may lock the rows so too; nobody may change them."""
        return self._locked("FOR SHARE", skip_locked, nowait, of)

    def for_key_share(self, *, skip_locked: bool = False, nowait: bool = False, of: type[Model] | tuple[type[Model], ...] = ()) -> Self:
        """The weakest lock: others may change the rows, but neither their keys nor delete them."""
        return self._locked("FOR KEY SHARE", skip_locked, nowait, of)

    def _locked(self, strength: str, skip_locked: bool, nowait: bool, of: type[Model] | tuple[type[Model], ...]) -> Self:
        key = strength, skip_locked, nowait, of
        step = find_step(self.form.steps, key)
        if step is None:
            made = self._with(_locks=(*self._locks, _lock(strength, skip_locked, nowait, of)))
            if stay(of if isinstance(of, tuple) else (of,)):
                STEPS.remember(self.form.steps, key, made.form)
            return made
        return self._formed(step[0], self.bind_values)

    # Pages.

    @overload
    def after(self, row: R_co) -> Self: ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues] - a row of this very select
    @overload
    def after(self, row: Mapping[Expression[object], object]) -> Self: ...
    def after(self, row: object) -> Self:
        """Only rows that come after this one by `order_by`: the next page, when `row` was the last of the one before.

        The order must tell all rows apart, so it ends with a key. Columns that may be NULL and mixed directions are minded.

        Args:
            row: a row that this select gave, or the values of the terms of its order.

        Raises:
            QueryError: nothing is ordered by, the order may leave rows equal, or the row does not hold what it is ordered by.
        """
        from trioorm.query.keyset import after_condition, values_of_row  # few need it

        values = values_of_row(row, self._order_terms, self._items.shapes)
        alone = not self._joins.shapes and not self._group_by.shapes
        condition = after_condition(self._order_terms, values, self._items.shapes, self._source if alone else None)
        return self.having(condition) if self._group_by.shapes else self.where(condition)

    @overload
    def with_total(self: Select[tuple[*Ts]]) -> Select[tuple[*Ts, int]]: ...
    @overload
    def with_total(self: Select[S]) -> Select[tuple[S, int]]: ...
    def with_total(self) -> Select[typing.Any]:
        """Each row ends with the number of all rows that there were without `limit` and `offset`. A page beyond the end is empty.

        Raises:
            QueryError: the select is distinct or locks rows.
        """
        if self._distinct or self._distinct_on.shapes or self._locks:
            raise QueryError(
                "with_total() counts rows before distinct() leaves any out, and cannot be used with a lock.\n"
                "To fix it: put the select into a subquery() and select from that."
            )
        total = ValueItem(_TOTAL, BIGINT, nullable=False)
        return typing.cast("Select[typing.Any]", self._with(_items=self._items.with_(total, ())))

    def into(self, make: Callable[..., P], *names: str) -> Select[P]:
        """Rows become objects of a class: attrs, a dataclass, a named tuple, a typed dictionary.

        Args:
            make: the class. Items go to the fields of their names: a column's own, that of `as_(name)`; a model to the field of its class.
            names: the fields' names instead, one for each item.

        Raises:
            QueryError: the class does not take what the rows hold, or relations are to be loaded.
        """
        if self.loads:
            raise QueryError(
                "into() makes other objects than those that relations are loaded onto.\nTo fix it: leave load() or into() out."
            )
        return typing.cast("Select[P]", self._with(_into=self._into_class(make, names)))

    def _join(self, how: str, model: type | Table, on: Expression[bool | None] | None) -> Self:
        if type(on) is not Comparison or not isinstance(model, ModelMeta):
            return super()._join(how, model, on)
        key = how, model, on.condition
        step = self.form.steps.get(key)
        if step is not None:
            return self._step(step, on.bind_values)
        made = super()._join(how, model, on)
        STEPS.remember(self.form.steps, key, made.form, "_joins")
        return made

    def _with_shared(self, **changes: object) -> Self:
        """As `_with`, for clauses that may hold a term that is grouped by, or meets one."""
        clauses = {name: typing.cast("Clause", changes.get(name, getattr(self, name))) for name in _SHARING}
        if clauses["_group_by"].shapes or clauses["_distinct_on"].shapes:
            from trioorm.query.sharing import shared  # few need it

            changes.update(shared(clauses))
        return self._with(**changes)

    # As `Formed` does, with what goes along besides; a call of that would be a tenth of what building a select takes.

    def _step(self, step: Step, more: tuple[object, ...]) -> Self:
        made: typing.Any = Select()  # pyright: ignore[reportUnknownVariableType] - of what the caller wants
        made.form, behind = step
        made.bind_values = self.bind_values[:-behind] + more + self.bind_values[-behind:] if behind else self.bind_values + more
        made.loads = self.loads
        made._order_terms = self._order_terms
        select: Self = made
        return select

    def _formed(self, form: Form, values: tuple[object, ...]) -> Self:
        made: typing.Any = Select()  # pyright: ignore[reportUnknownVariableType] - of what the caller wants
        made.form = form
        made.bind_values = values
        made.loads = self.loads
        made._order_terms = self._order_terms
        select: Self = made
        return select

    def _joined(self, join: Join, values: tuple[object, ...]) -> Self:
        if join.how not in ("JOIN", "CROSS JOIN"):
            before = (self._source, *(typing.cast("Join", other).source for other in self._joins.shapes))
            refuse_unmarked(join, before, self._items.shapes)
        return self._with(_joins=self._joins.with_(join, values))


expect_guesses(Select, OF_SELECTS)


def _shape_of(form: Form) -> SelectShape:
    parts = form.parts
    return SelectShape(
        with_=form.shapes("_ctes"),
        distinct=parts.get("_distinct", False),
        distinct_on=form.shapes("_distinct_on"),
        items=form.shapes("_items"),
        source=next(iter(form.shapes("_from")), None),
        joins=form.shapes("_joins"),
        where=form.shapes("_where"),
        group_by=form.shapes("_group_by"),
        having=form.shapes("_having"),
        windows=form.shapes("_windows"),
        order_by=form.shapes("_order_by"),
        limits=limits_of(form),
        locks=parts.get("_locks", ()),
        into=parts.get("_into"),
    )


_SELECT: typing.Final = Grammar(
    (
        "_ctes", "_distinct_on", "_items", "_from", "_joins", "_where", "_group_by", "_having", "_windows", "_order_by", "_limit",
        "_offset",
    ),
    _shape_of,
)  # fmt: skip
_BEGINNINGS: typing.Final[dict[object, Step]] = {}
"""The steps that begin a select, by what it is of."""


def _lock(strength: str, skip_locked: bool, nowait: bool, of: type[Model] | tuple[type[Model], ...]) -> Lock:
    if skip_locked and nowait:
        raise QueryError(
            "skip_locked and nowait exclude each other.\nTo fix it: keep skip_locked to leave locked rows out, or nowait to fail."
        )
    models = of if isinstance(of, tuple) else (of,)
    wait = "SKIP LOCKED" if skip_locked else "NOWAIT" if nowait else ""
    return Lock(strength, tuple(entity_of(model)[1] for model in models), wait)


# fmt: off
@overload
def select(a: type[T1] | Selectable[T1], /) -> Select[T1]: ...
@overload
def select(a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], /) -> Select[tuple[T1, T2]]: ...
@overload
def select(a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], /) -> Select[tuple[T1, T2, T3]]: ...
@overload
def select(
    a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4], /,
) -> Select[tuple[T1, T2, T3, T4]]: ...
@overload
def select(
    a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
    e: type[T5] | Selectable[T5], /,
) -> Select[tuple[T1, T2, T3, T4, T5]]: ...
@overload
def select(
    a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
    e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], /,
) -> Select[tuple[T1, T2, T3, T4, T5, T6]]: ...
@overload
def select(
    a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
    e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], g: type[T7] | Selectable[T7], /,
) -> Select[tuple[T1, T2, T3, T4, T5, T6, T7]]: ...
@overload
def select(
    a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
    e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], g: type[T7] | Selectable[T7], h: type[T8] | Selectable[T8], /,
) -> Select[tuple[T1, T2, T3, T4, T5, T6, T7, T8]]: ...
@overload
def select(
    a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
    e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], g: type[T7] | Selectable[T7], h: type[T8] | Selectable[T8],
    i: type[T9] | Selectable[T9], /,
) -> Select[tuple[T1, T2, T3, T4, T5, T6, T7, T8, T9]]: ...
@overload
def select(
    a: type[T1] | Selectable[T1], b: type[T2] | Selectable[T2], c: type[T3] | Selectable[T3], d: type[T4] | Selectable[T4],
    e: type[T5] | Selectable[T5], f: type[T6] | Selectable[T6], g: type[T7] | Selectable[T7], h: type[T8] | Selectable[T8],
    i: type[T9] | Selectable[T9], j: type[T10] | Selectable[T10], /,
) -> Select[tuple[T1, T2, T3, T4, T5, T6, T7, T8, T9, T10]]: ...
# fmt: on
def select(*items: object) -> Select[object]:
    """Rows that hold these: models, columns, expressions; one alone comes bare, several as a tuple.

    The first table is that of the first item; add others with `join` and its kin, or say it with `from_`.
    """
    if not items:
        raise QueryError(
            "select() was given nothing to select.\nTo fix it: select(User), select(User.id, User.name) or select(count()).from_(User)."
        )
    try:  # as `find_step`
        step = _BEGINNINGS.get(items)
    except TypeError:
        step = None
    values: tuple[object, ...] = ()
    if step is None:
        step, values = _begun(items)
    made: Select[object] = Select()
    made.form = step[0]
    made.bind_values = values
    made.loads = ()
    made._order_terms = ()  # pyright: ignore[reportPrivateUsage] - of this file
    return made


def _begun(items: tuple[object, ...]) -> tuple[Step, tuple[object, ...]]:
    """The step that begins a select of these, with its values."""
    shapes: list[Shape] = []
    values: tuple[object, ...] = ()
    source: FromShape | None = None
    source_values: tuple[object, ...] = ()
    for item in items:
        found, more = item_of(item)
        shapes.append(found)
        values += more
        if source is None:
            source, source_values = origin_of(item, found)
    key = items if stay(items) else ("select", tuple(shapes), source)
    step = _BEGINNINGS.get(key)
    if step is None:
        table = NOTHING if source is None else Clause((source,), source_values)
        step = STEPS.remember(_BEGINNINGS, key, Form.of(_SELECT, _items=Clause(tuple(shapes), values), _from=table))
    return step, values + source_values
