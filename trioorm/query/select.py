"""`select(...)`: rows from tables.

The contract: a `Select[R]` is an immutable value; it is also an expression, so that one with a single value can be compared with, put
into `in_`, or selected itself. Rows are a model's object, a value, or a tuple of these, as type checkers see them too.
"""

import typing
from typing import TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression.binding import limit_bind
from trioorm.expression.expression import Expression, Ordering, Selectable, condition_operand
from trioorm.expression.shape import Shape, Source, Subquery
from trioorm.expression.types import SqlType
from trioorm.query.entity import entity_of, first_source, item_of
from trioorm.query.shape import Join, Lock, ModelItem, SelectShape, ValueItem
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

_NOTHING = Clause()


class Select(Statement[R_co], Expression[R_co]):
    """A select whose rows become objects of class `R_co`. Made by `select`."""

    is_statement = True
    _distinct: bool = False
    _distinct_on: Clause = _NOTHING
    _items: Clause = _NOTHING
    _source: Source | None = None
    _joins: Clause = _NOTHING
    _where: Clause = _NOTHING
    _group_by: Clause = _NOTHING
    _having: Clause = _NOTHING
    _order_by: Clause = _NOTHING
    _limit: Clause = _NOTHING
    _offset: Clause = _NOTHING
    _lock: Lock | None = None

    def _with(self, **changes: object) -> "Select[R_co]":
        # A copy of the own attributes; those never set stay on the class. attrs.evolve would take 6 µs here, this takes 0.3.
        made: Select[R_co] = object.__new__(type(self))
        attributes = made.__dict__
        attributes.update(self.__dict__)
        attributes.update(changes)
        if "shape" in attributes:
            del attributes["shape"]
            attributes.pop("bind_values", None)
        elif "bind_values" in attributes:
            del attributes["bind_values"]
        return made

    def where(self, *conditions: Expression[bool | None]) -> "Select[R_co]":
        """Only rows for which all of these hold, added to the conditions so far."""
        return self._with(_where=self._where.with_conditions(conditions, "where()"))

    def order_by(self, *terms: Expression[object] | Ordering) -> "Select[R_co]":
        """Order the rows, by further terms if some were given before. Without it PostgreSQL promises no order."""
        return self._with(_order_by=_with_terms(self._order_by, terms, "order_by()"))

    def limit(self, count: int) -> "Select[R_co]":
        """At most this many rows."""
        place, value = limit_bind(count, "limit()")
        return self._with(_limit=Clause((place,), (value,)))

    def offset(self, count: int) -> "Select[R_co]":
        """Leave out this many rows at the beginning. Reading on after the last key seen is quicker on long results."""
        place, value = limit_bind(count, "offset()")
        return self._with(_offset=Clause((place,), (value,)))

    def from_(self, model: type) -> "Select[R_co]":
        """Say the first table, where the items do not: `select(count()).from_(User)`."""
        return self._with(_source=entity_of(model)[1])

    def join(self, model: type, on: Expression[bool | None]) -> "Select[R_co]":
        """Rows of both tables for which the condition holds."""
        return self._join("JOIN", model, on)

    def left_join(self, model: type, on: Expression[bool | None]) -> "Select[R_co]":
        """All rows so far; the joined table's columns are NULL where nothing fits. Select it as `optional(...)`."""
        return self._join("LEFT JOIN", model, on)

    def right_join(self, model: type, on: Expression[bool | None]) -> "Select[R_co]":
        """All rows of the joined table; all columns so far are NULL where nothing fits. Select those as `optional(...)`."""
        return self._join("RIGHT JOIN", model, on)

    def full_join(self, model: type, on: Expression[bool | None]) -> "Select[R_co]":
        """All rows of both sides; either may be missing. Select both as `optional(...)`."""
        return self._join("FULL JOIN", model, on)

    def cross_join(self, model: type) -> "Select[R_co]":
        """Each row with each row of another table."""
        return self._join("CROSS JOIN", model, None)

    def group_by(self, *terms: Expression[object]) -> "Select[R_co]":
        """One row for each different combination of these."""
        return self._with(_group_by=_with_terms(self._group_by, terms, "group_by()"))

    def having(self, *conditions: Expression[bool | None]) -> "Select[R_co]":
        """Only groups for which all of these hold."""
        return self._with(_having=self._having.with_conditions(conditions, "having()"))

    def distinct(self, *on: Expression[object]) -> "Select[R_co]":
        """Leave out repeated rows; with expressions, keep the first row (by `order_by`) for each combination of them."""
        return self._with(_distinct=not on, _distinct_on=_with_terms(_NOTHING, on, "distinct()"))

    def for_update(self, *, skip_locked: bool = False, nowait: bool = False, of: type | tuple[type, ...] = ()) -> "Select[R_co]":
        """Lock the rows against changes by others until the transaction ends.

        Args:
            skip_locked: leave out rows that another transaction has locked.
            nowait: fail at once (LockNotAvailable) rather than wait for them.
            of: only the rows of these models, where several are joined.
        """
        return self._with(_lock=_lock("FOR UPDATE", skip_locked, nowait, of))

    def for_share(self, *, skip_locked: bool = False, nowait: bool = False, of: type | tuple[type, ...] = ()) -> "Select[R_co]":
        """As `for_update`, but others may lock the rows so too; nobody may change them."""
        return self._with(_lock=_lock("FOR SHARE", skip_locked, nowait, of))

    def _join(self, how: str, model: type, on: Expression[bool | None] | None) -> "Select[R_co]":
        _, source = entity_of(model)  # that the table is not there twice is seen when the shape is compiled, once
        if how != "JOIN":
            self._refuse_unmarked(how, source)
        if on is None:
            return self._with(_joins=self._joins.with_(Join(how, source, None), ()))
        shape = condition_operand(on, "join()")
        return self._with(_joins=self._joins.with_(Join(how, source, shape), on.bind_values))

    def _refuse_unmarked(self, how: str, source: Source) -> None:
        """Refuse items that the join may leave without a row, unless they say so."""
        before = {typing.cast("Join", join).source for join in self._joins.shapes}
        if self._source is not None:
            before.add(self._source)
        if how in ("LEFT JOIN", "FULL JOIN"):
            self._require_optional({source}, how, self._items)
        if how in ("RIGHT JOIN", "FULL JOIN"):
            self._require_optional(before, how, self._items)

    def _require_optional(self, missing: set[Source], how: str, items: Clause) -> None:
        for item in items.shapes:
            if isinstance(item, ModelItem) and item.source in missing and not item.optional:
                shown = item.model.__name__
            elif isinstance(item, ValueItem) and not item.nullable and first_source(item.expression) in missing:
                shown = str(item.expression[1])
                source = first_source(item.expression)
                shown = f"{source.visible_name if source is not None else ''}.{shown}"
            else:
                continue
            raise QueryError(
                f"{shown} is selected as if it were always there, but this {how} may find none.\n"
                "To fix it:\n"
                f"  wrong: select(..., {shown})\n"
                f"  right: select(..., optional({shown}))     typed `| None`"
            )

    @once
    def shape(self) -> SelectShape:  # pyright: ignore[reportIncompatibleMethodOverride] - read only all the same
        return SelectShape(
            self._distinct,
            self._distinct_on.shapes,
            self._items.shapes,
            self._source,
            typing.cast("tuple[Join, ...]", self._joins.shapes),
            self._where.shapes,
            self._group_by.shapes,
            self._having.shapes,
            self._order_by.shapes,
            self._limit.shapes[0] if self._limit.shapes else None,
            self._offset.shapes[0] if self._offset.shapes else None,
            self._lock,
        )

    @once
    def bind_values(self) -> tuple[object, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] - read only all the same
        return (
            self._distinct_on.bind_values
            + self._items.bind_values
            + self._joins.bind_values
            + self._where.bind_values
            + self._group_by.bind_values
            + self._having.bind_values
            + self._order_by.bind_values
            + self._limit.bind_values
            + self._offset.bind_values
        )

    @property
    def sql_type(self) -> SqlType | None:
        return self._single_item().type

    def operand(self) -> Shape:
        self._single_item()
        return Subquery(self.shape)

    def _single_item(self) -> ValueItem:
        items = self._items.shapes
        if len(items) != 1 or not isinstance(items[0], ValueItem):
            raise QueryError(
                "A select inside an expression must give a single value, and this one gives "
                + (f"{len(items)} items." if len(items) != 1 else "a model.")
                + "\nTo fix it: select one column: in_(select(Order.user_id)), not in_(select(Order))."
            )
        return items[0]


def _with_terms(clause: Clause, terms: tuple[object, ...], place: str) -> Clause:
    for term in terms:
        if isinstance(term, Ordering):
            clause = clause.with_(term.shape, term.bind_values)
        elif isinstance(term, Expression):
            expression = typing.cast("Expression[object]", term)
            clause = clause.with_(expression.operand(), expression.bind_values)
        else:
            raise QueryError(
                f"{place} takes columns and expressions, and got {term!r}.\nTo fix it: name the column through its class, as in User.age."
            )
    return clause


def _lock(strength: str, skip_locked: bool, nowait: bool, of: type | tuple[type, ...]) -> Lock:
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
    shapes: list[Shape] = []
    values: tuple[object, ...] = ()
    source: Source | None = None
    for item in items:
        found, more = item_of(item)
        shapes.append(found)
        values += more
        source = source if source is not None else first_source(found)
    made = typing.cast("Select[object]", object.__new__(Select))
    made.__dict__.update(_items=Clause(tuple(shapes), values), _source=source)
    return made
