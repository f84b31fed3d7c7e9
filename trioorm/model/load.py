"""What reading a relation on its class gives: what to load, as an immutable value.

The contract: `Film.credits` is a `ToMany[Film, Credit]`, `Credit.person` a `ToOne[Credit, Person]`; each method gives a new one. A `Load`
is contravariant in its owner, so that type checkers refuse the relation of another model. Nothing is sent from here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Never, NoReturn, Self, TypeVar, cast

import attrs

from trioorm.errors import QueryError
from trioorm.expression.expression import Expression
from trioorm.expression.interned import remember
from trioorm.model.relation import Relation, Term

O_contra = TypeVar("O_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")
T = TypeVar("T")


class Loadable:
    """A relation of whatever class, for rows of several, where type checkers cannot say which class it must be."""

    __slots__ = ()


@attrs.frozen(eq=False, repr=False)
class Load(Loadable, Generic[O_contra]):
    """A relation to be loaded onto objects of a class, with what is to be loaded of it.

    Attributes:
        relation: which.
        conditions: that its objects must meet, beside those that it declares.
        order: of the objects; none is the declared one.
        most: how many for each owner at most.
        nested: what is to be loaded onto the objects that were found.
    """

    relation: Relation
    conditions: tuple[Expression[bool | None], ...] = ()
    order: tuple[Term, ...] = ()
    most: int | None = None
    nested: tuple[Load[Never], ...] = ()
    _form: object = attrs.field(default=None, init=False)

    @property
    def form(self) -> object:
        """What stands for all of it except its values: two of one form are loaded by statements of one text."""
        found = self._form
        if found is None:
            conditions, order = [condition.shape for condition in self.conditions], [term.shape for term in self.order]
            key = (self.relation, *conditions, None, *order, self.most is None, *[load.form for load in self.nested])
            found = _FORMS.get(key)
            if found is None:
                found = remember(_FORMS, key, object())
            object.__setattr__(self, "_form", found)
        return found

    @property
    def has_values(self) -> bool:
        """Whether it holds values, beside those that the relation's declaration gives."""
        return self.most is not None or any(part.bind_values for part in (*self.conditions, *self.order))

    def where(self, *conditions: Expression[bool | None]) -> Self:
        """Only objects for which all of these hold, added to the conditions so far. Columns of a link's model may be used too."""
        return attrs.evolve(self, conditions=self.conditions + conditions)

    def _nesting(self, loads: tuple[Load[Never], ...]) -> Self:
        known = _NESTED.get((self, *loads))
        if known is not None:
            return cast("Self", known)
        for load in loads:
            check_load(load, self.relation.target.model, f"{self.relation}.load()")
        made = attrs.evolve(self, nested=self.nested + loads)
        if self.is_bare and all(load.is_bare for load in loads):  # there is one of each for ever, so what is made of them is found again
            remember(_NESTED, (self, *loads), cast("Load[Never]", made))
        return made

    @property
    def is_bare(self) -> bool:
        """Whether it is the relation as its class gives it, or such a one with such ones below it."""
        return not self.conditions and not self.order and self.most is None and all(load.is_bare for load in self.nested)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.relation}>"

    def __iter__(self) -> NoReturn:
        raise QueryError(
            f"{self.relation} on the class is no list.\nTo fix it: load it, select(...).load({self.relation}), and read it on the objects."
        )

    # To Python this lies on the model's own metaclass: reading on the class gives it; on objects the slot is read, and this never seen.

    def __get__(self, instance: object, owner: object) -> Self:
        return self

    def __set__(self, instance: object, value: object) -> None:
        raise QueryError(f"The relation {self.relation} cannot be replaced on its class.\nTo fix it: set it on objects.")


class ToOne(Load[O_contra], Generic[O_contra, T_co]):
    """A relation that leads to one object."""

    __slots__ = ()

    def load(self: ToOne[O_contra, S | None], *relations: Load[S]) -> ToOne[O_contra, S | None]:
        """Load relations of that object too."""
        return self._nesting(relations)


class ToFigure(Load[O_contra], Generic[O_contra, T_co]):
    """A figure of what a relation leads to; `where` counts only some."""

    __slots__ = ()


class ToMany(Load[O_contra], Generic[O_contra, T]):
    """A relation that leads to a list of objects. Invariant in these, as lists are, so that others are refused where it is written."""

    __slots__ = ()

    def load(self: ToMany[O_contra, S], *relations: Load[S]) -> ToMany[O_contra, S]:
        """Load relations of these objects too."""
        return self._nesting(relations)

    def order_by(self, *terms: Term) -> Self:
        """The order of each list, by further terms if some were given before. Without one, and none declared, there is no promise."""
        return attrs.evolve(self, order=self.order + terms)

    def limit(self, count: int) -> Self:
        """At most this many objects for each owner."""
        if type(count) is not int or count < 0:  # a bool is no number of rows
            raise QueryError(f"limit() was given {count!r}.\nTo fix it: give a whole number from 0.")
        return attrs.evolve(self, most=count)

    def count(self) -> Expression[int]:
        """How many there are, as an expression: `select(Film, Film.credits.count())`, `.where(Film.credits.count() > 3)`.

        Raises:
            QueryError: the relation is limited.
        """
        from trioorm.expression.aggregates import count  # few need it

        return cast("Expression[int]", _aggregates[0](self, count()))

    def aggregate(self, aggregate: Expression[S]) -> Expression[S]:
        """An aggregate over them, as an expression: `select(Film, Film.reviews.aggregate(avg(Review.stars)))`.

        Columns of a link's model may be used too. Of no rows most aggregates are NULL.

        Raises:
            QueryError: the relation is limited.
        """
        return cast("Expression[S]", _aggregates[0](self, aggregate))


_FORMS: dict[tuple[object, ...], object] = {}
_NESTED: dict[tuple[object, ...], Load[Never]] = {}

_aggregates: list[Callable[[Load[Never], Expression[object]], Expression[object]]] = []


def install_aggregates(aggregate: Callable[[Load[Never], Expression[object]], Expression[object]]) -> None:
    """Say how the objects of a relation are aggregated: by `query/`, which this room must not know."""
    _aggregates[:] = [aggregate]


def check_load(load: object, model: type, place: str) -> None:
    """Refuse what is no relation of a model.

    Raises:
        QueryError: as said.
    """
    if not isinstance(load, Load):
        raise QueryError(f"{place} takes relations, and got {load!r}.\nTo fix it: name them through the class, as in Film.credits.")
    owner = load.relation.owner.model
    if owner is not model:
        raise QueryError(
            f"{place} would load {load.relation} onto {model.__name__}, which is another model.\n"
            f"To fix it: a relation of {model.__name__}; what belongs to {owner.__name__} is loaded below the relation that leads there."
        )
