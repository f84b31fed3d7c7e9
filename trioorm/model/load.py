"""What reading a relation on its class gives: what to load, as an immutable value.

The contract: `Film.credits` is a `ToMany[Film, Credit]`, `Credit.person` a `ToOne[Credit, Person]`; each method gives a new one. A `Load`
is contravariant in its owner, so that type checkers refuse the relation of another model. Nothing is sent from here.
"""

from collections.abc import Callable
from typing import Generic, Never, NoReturn, Self, TypeVar

import attrs

from trioorm.errors import QueryError
from trioorm.expression.expression import Expression
from trioorm.model.relation import Relation, Term

O_contra = TypeVar("O_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")


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
    nested: tuple["Load[Never]", ...] = ()

    def where(self, *conditions: Expression[bool | None]) -> Self:
        """Only objects for which all of these hold, added to the conditions so far. Columns of a link's model may be used too."""
        return attrs.evolve(self, conditions=self.conditions + conditions)

    def _nesting(self, loads: tuple["Load[Never]", ...]) -> Self:
        for load in loads:
            check_load(load, self.relation.target.model, f"{self.relation}.load()")
        return attrs.evolve(self, nested=self.nested + loads)

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


@attrs.frozen(eq=False, repr=False)
class ToOne(Load[O_contra], Generic[O_contra, T_co]):
    """A relation that leads to one object."""

    def load(self: "ToOne[O_contra, S | None]", *relations: Load[S]) -> "ToOne[O_contra, S | None]":
        """Load relations of that object too."""
        return self._nesting(relations)


@attrs.frozen(eq=False, repr=False)
class ToMany(Load[O_contra], Generic[O_contra, T_co]):
    """A relation that leads to a list of objects."""

    def load(self: "ToMany[O_contra, S]", *relations: Load[S]) -> "ToMany[O_contra, S]":
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
        return _counters[0](self)


_counters: list[Callable[[Load[Never]], Expression[int]]] = []


def install_counter(count: Callable[[Load[Never]], Expression[int]]) -> None:
    """Say how the objects of a relation are counted; `query/` does, which this room must not know."""
    _counters[:] = [count]


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
