"""What all statements that read have in common: order, limits, set operations, and being a table or a value in another statement.

The contract: a `Query[R]` is an immutable value; it is also an expression, so that one with a single value can be compared with, put into
`in_`, or selected itself. Values stand in the order of the shape.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Self, TypeVar

from trioorm.errors import QueryError
from trioorm.expression.binding import limit_bind, same_family
from trioorm.expression.expression import Expression, Ordering
from trioorm.expression.shape import Keyword, Labelled, Ordered, Shape, Source, places_in
from trioorm.expression.shape import Subquery as SubqueryShape
from trioorm.expression.types import SqlType
from trioorm.model.model import model_of
from trioorm.query.clause import NOTHING, Clause
from trioorm.query.form import STEPS, Form, Grammar, Step, part
from trioorm.query.formed import Formed
from trioorm.query.shape import CombinedShape, Derived, Limits, ModelItem, Projection, RecursiveStep, ValueItem
from trioorm.query.tables import Cte, Subquery, Table, common_table, outputs_of

R_co = TypeVar("R_co", covariant=True)
P = TypeVar("P")


class Query(Formed[R_co], Expression[R_co]):  # pyright: ignore[reportIncompatibleVariableOverride] - `bind_values`, read only all the same
    """A statement that reads rows of class `R_co`: a `Select`, or several combined."""

    __slots__ = ()
    is_statement = True
    _ctes = part(NOTHING)
    _order_by = part(NOTHING)

    @property
    def items(self) -> tuple[Shape, ...]:
        """What a row holds."""
        raise NotImplementedError

    def with_(self, *ctes: Cte) -> Self:
        """Put CTEs into WITH that nothing reads from, such as one that deletes; those read from are there by themselves."""
        clause = self._ctes
        for cte in ctes:
            clause = clause.with_(cte.definition, cte.bind_values)
        return self._with(_ctes=clause)

    def order_by(self, *terms: Expression[object] | Ordering) -> Self:
        """Order the rows, by further terms if some were given before. Without it PostgreSQL promises no order."""
        return self._with(_order_by=with_terms(self._order_by, terms, "order_by()"))

    def limit(self, count: int, *, with_ties: bool = False) -> Self:
        """At most this many rows.

        Args:
            count: from 0.
            with_ties: and those that equal the last of them by `order_by`.
        """
        place, value = limit_bind(count, "limit()")
        return self._with(_limit=Clause((place,), (value,)), _with_ties=with_ties)

    def offset(self, count: int) -> Self:
        """Leave out this many rows at the beginning. Reading on after the last row seen is quicker on long results: `after`."""
        place, value = limit_bind(count, "offset()")
        return self._with(_offset=Clause((place,), (value,)))

    # Set operations.

    def union(self, other: Query[R_co]) -> Combined[R_co]:
        """The rows of both, without repetitions."""
        return _combined(self, "UNION", other)

    def union_all(self, other: Query[R_co]) -> Combined[R_co]:
        """The rows of both."""
        return _combined(self, "UNION ALL", other)

    def intersect(self, other: Query[R_co]) -> Combined[R_co]:
        """The rows that are in both, without repetitions."""
        return _combined(self, "INTERSECT", other)

    def intersect_all(self, other: Query[R_co]) -> Combined[R_co]:
        """The rows that are in both, each as often as in the one that has it less often."""
        return _combined(self, "INTERSECT ALL", other)

    def except_(self, other: Query[R_co]) -> Combined[R_co]:
        """The rows that are not in the other, without repetitions."""
        return _combined(self, "EXCEPT", other)

    def except_all(self, other: Query[R_co]) -> Combined[R_co]:
        """The rows that are not in the other, each as often as it has more of them."""
        return _combined(self, "EXCEPT ALL", other)

    # As a part of others.

    def subquery(self, name: str) -> Subquery:
        """The rows as a table to read from: `top = select(Order).limit(9).subquery("top")`, then `top[Order.total]`."""
        return self._table(name, lateral=False)

    def lateral(self, name: str) -> Subquery:
        """As `subquery`, and the select may use columns of the tables before it: for each of their rows it is run anew."""
        return self._table(name, lateral=True)

    def _table(self, name: str, *, lateral: bool) -> Subquery:
        outputs, names = outputs_of(self.items)
        return Subquery(name, Derived(self.shape, name, names, lateral), self.bind_values, outputs)

    def cte(self, name: str, *, materialized: bool | None = None) -> Cte:
        """The rows as an entry of WITH: `recent = select(Order).where(...).cte("recent")`, then `recent[Order.total]`.

        Args:
            name: under which the statement reads from it.
            materialized: compute it once, apart (True), or as a part of the statement (False); None leaves that to PostgreSQL.
        """
        return common_table(name, self.shape, self.bind_values, self.items, materialized=materialized)

    def recursive_cte(self, name: str, step: Callable[[Table], Query[R_co]], *, distinct: bool = False) -> Cte:
        """An entry of WITH RECURSIVE: these rows, and those that `step` finds from them, again and again until it finds none.

            boss = select(User).where(User.id == 7)
            team = boss.recursive_cte("team", lambda team: select(User).join(team, User.manager_id == team[User].id))

        Args:
            name: under which it is read from.
            step: is handed the table of the rows found in the round before, and gives the select of the next.
            distinct: leave out rows that were found already (UNION instead of UNION ALL), which also ends circles.
        """
        outputs, _ = outputs_of(self.items)
        next_round = step(Table(name, Source(name), (), outputs))
        _require_alike("The step of a recursive CTE", self.items, next_round.items)
        repeated = RecursiveStep("UNION" if distinct else "UNION ALL", next_round.shape)
        return common_table(name, self.shape, self.bind_values + next_round.bind_values, self.items, materialized=None, step=repeated)

    @property
    def sql_type(self) -> SqlType | None:
        return self._single_item().type

    def operand(self) -> Shape:
        self._single_item()
        return SubqueryShape(self.shape)

    def _single_item(self) -> ValueItem:
        items = self.items
        if len(items) != 1 or not isinstance(items[0], ValueItem):
            raise QueryError(
                "A select inside an expression must give a single value, and this one gives "
                + (f"{len(items)} items." if len(items) != 1 else "a model.")
                + "\nTo fix it: select one column: in_(select(Order.user_id)), not in_(select(Order))."
            )
        return items[0]

    def _into_class(self, make: Callable[..., P], names: tuple[str, ...]) -> Projection:
        from trioorm.query.projection import projection  # few need it

        return projection(make, self.items, names)


class Combined(Query[R_co]):
    """Two queries with UNION, INTERSECT or EXCEPT between them. Made by those methods."""

    __slots__ = ()

    @property
    def items(self) -> tuple[Shape, ...]:
        return typing.cast("tuple[Shape, ...]", self.form.parts["_items"])

    def into(self, make: Callable[..., P], *names: str) -> Combined[P]:
        """As on `Select`."""
        return typing.cast("Combined[P]", self._with(_into=self._into_class(make, names)))


def _combined_shape(form: Form) -> CombinedShape:
    left, right = form.shapes("_sides")
    return CombinedShape(
        with_=form.shapes("_ctes"),
        operator=form.parts["_operator"],
        left=left,
        right=right,
        order_by=form.shapes("_order_by"),
        limits=limits_of(form),
        into=form.parts.get("_into"),
    )


_COMBINED: typing.Final = Grammar(("_ctes", "_sides", "_order_by", "_limit", "_offset"), _combined_shape)
_COMBINATIONS: typing.Final[dict[object, Step]] = {}


def _combined(left: Query[R_co], operator: str, right: Query[R_co]) -> Combined[R_co]:
    values = left.bind_values + right.bind_values
    key = left.form, operator, right.form
    step = _COMBINATIONS.get(key)
    if step is None:
        _require_alike(operator, left.items, right.items)
        sides = Clause((left.shape, right.shape), values)
        step = STEPS.remember(_COMBINATIONS, key, Form.of(_COMBINED, _sides=sides, _operator=operator, _items=left.items))
    made: Combined[R_co] = Combined()
    made.form = step[0]
    made.bind_values = values
    return made


def limits_of(form: Form) -> Limits | None:
    """LIMIT and OFFSET of a form that may have them."""
    limit, offset = form.shapes("_limit"), form.shapes("_offset")
    if not limit and not offset:
        return None
    return Limits(limit[0] if limit else None, form.parts.get("_with_ties", False), offset[0] if offset else None)


def with_terms(clause: Clause, terms: tuple[object, ...], place: str, items: Clause = NOTHING) -> Clause:
    """The clause with more terms.

    Args:
        items: of the select. A term that holds values and stands among them goes by its position there: written again, it would have places
            of its own for its values, and PostgreSQL would take it for another expression.

    Raises:
        QueryError: one is no expression.
    """
    shapes = clause.shapes
    values = clause.bind_values
    for term in terms:
        if isinstance(term, Ordering):
            shape, more = _placed(term.shape, term.bind_values, items) if term.bind_values else (term.shape, ())
            shapes = (*shapes, shape)
            values = values + more
        elif isinstance(term, Expression):
            expression = typing.cast("Expression[object]", term)
            shape, more = expression.operand(), expression.bind_values
            if more:
                shape, more = _placed(shape, more, items)
            shapes = (*shapes, shape)
            values = values + more
        else:
            raise QueryError(
                f"{place} takes columns and expressions, and got {term!r}.\nTo fix it: name the column through its class, as in User.age."
            )
    return Clause(shapes, values)


def _placed(term: Shape, values: tuple[object, ...], items: Clause) -> tuple[Shape, tuple[object, ...]]:
    """A term as its position among the items, where it stands there with the same values; else as it is."""
    wanted = term.operand if isinstance(term, Ordered) else term
    if isinstance(wanted, Labelled):  # it goes by its name
        return term, values
    position, at = 1, 0
    for item in items.shapes:
        if isinstance(item, ModelItem):
            position += len(model_of(item.model).fields)
            continue
        expression = typing.cast("ValueItem", item).expression
        held = places_in(expression)
        bare = expression.operand if isinstance(expression, Labelled) else expression
        if wanted == bare and items.bind_values[at : at + held] == values:
            here = Keyword(str(position))
            return (term._replace(operand=here) if isinstance(term, Ordered) else here), ()
        position, at = position + 1, at + held
    return term, values


def _require_alike(what: str, left: tuple[Shape, ...], right: tuple[Shape, ...]) -> None:
    """Refuse to combine queries whose rows differ.

    Raises:
        QueryError: they have another number of columns, or one of another type.
    """
    ours, theirs = outputs_of(left)[0], outputs_of(right)[0]
    if len(ours) != len(theirs):
        raise QueryError(
            f"{what} needs queries of equally many columns; these have {len(ours)} and {len(theirs)}.\n"
            "To fix it: select the same columns in both, in the same order."
        )
    for mine, other in zip(ours, theirs, strict=True):
        if not same_family(mine.type, other.type):
            assert mine.type is not None
            assert other.type is not None
            raise QueryError(
                f"{what} would put {other.name} ({other.type.name}) under {mine.name} ({mine.type.name}).\n"
                "To fix it: select the same columns in both, in the same order; cast() what differs."
            )
    models = [[item.model for item in items if isinstance(item, ModelItem)] for items in (left, right)]
    if models[0] != models[1] and models[0]:
        raise QueryError(
            f"{what} would make objects of {models[0][0].__name__} out of other rows.\n"
            "To fix it: select the same models in both, or the columns that they share."
        )
