"""`Many`, `One`, `Figure`, and how relations are declared: `belongs_to`, `has_one`, `has_many`, `many_to_many`; `count_of`, `aggregate_of`.

The contract: relations are no fields of attrs: `asdict`, `repr`, `==` and constructors know nothing of them. To type checkers
`orders: Many[Order]` is a descriptor: on the class what to load, on an object the list. At run time objects have a slot for each, which is
empty until it is loaded or set.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Literal, TypeAlias, TypeVar, cast, overload

from trioorm.errors import ModelError
from trioorm.expression.expression import Expression
from trioorm.model.info import ModelInfo
from trioorm.model.load import Loadable, ToFigure, ToMany, ToOne
from trioorm.model.relation import Relation, RelationDeclaration, Term

O = TypeVar("O")  # noqa: E741 - the owner, beside T
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Names: TypeAlias = str | tuple[str, ...]
Condition: TypeAlias = Callable[[], Expression[bool | None]]
Order: TypeAlias = Callable[[], Term | tuple[Term, ...]]


class Many(Generic[T]):
    """The annotation of a relation to many objects: `orders: Many[Order] = has_many()`."""

    @overload
    def __get__(self, instance: None, owner: type[O]) -> ToMany[O, T]: ...
    @overload
    def __get__(self, instance: object, owner: object) -> list[T]: ...
    def __get__(self, instance: object, owner: object) -> object:
        raise AssertionError("for type checkers; see metaclass.py")

    def __set__(self, instance: object, value: list[T]) -> None: ...


class One(Generic[T_co]):
    """The annotation of a relation to one object: `person: One[Person] = belongs_to()`; `One[Person | None]` where there may be none."""

    @overload
    def __get__(self, instance: None, owner: type[O]) -> ToOne[O, T_co]: ...
    @overload
    def __get__(self, instance: object, owner: object) -> T_co: ...
    def __get__(self, instance: object, owner: object) -> object:
        raise AssertionError("for type checkers; see metaclass.py")

    def __set__(self, instance: object, value: T_co) -> None: ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues] - covariant, so that One[Person] may be read as One[Person | None]


class Figure(Generic[T_co]):
    """The annotation of a figure of what a relation leads to, loaded as relations are: `order_count: Figure[int] = count_of(...)`."""

    @overload
    def __get__(self, instance: None, owner: type[O]) -> ToFigure[O, T_co]: ...
    @overload
    def __get__(self, instance: object, owner: object) -> T_co: ...
    def __get__(self, instance: object, owner: object) -> object:
        raise AssertionError("for type checkers; see metaclass.py")

    def __set__(self, instance: object, value: T_co) -> None: ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues] - as One's


def belongs_to(target: Callable[[], type[T]] | None = None, *, foreign_key: Names = (), init: Literal[False] = False) -> One[T]:
    """The one object that this model's foreign key refers to.

        person: One[Person] = belongs_to()

    Args:
        target: gives the model, where its name alone does not lead there: `belongs_to(lambda: Person)`.
        foreign_key: the columns of this model that refer to it, by their names in Python; needed where several foreign keys lead there.
        init: for type checkers only.
    """
    return cast("One[T]", RelationDeclaration("belongs_to", target, _names(foreign_key)))


def has_one(
    target: Callable[[], type[T]] | None = None,
    *,
    foreign_key: Names = (),
    where: Condition | None = None,
    order_by: Order | None = None,
    init: Literal[False] = False,
) -> One[T]:
    """The one object whose foreign key refers to this model.

    Args:
        target: as `belongs_to`.
        foreign_key: the columns of the other model that refer to this one.
        where: a condition that it meets: `where=lambda: Address.current`.
        order_by: the first by this order is taken, where there may be several.
        init: for type checkers only.
    """
    return cast("One[T]", RelationDeclaration("has_one", target, _names(foreign_key), where=where, order_by=order_by))


def has_many(
    target: Callable[[], type[T]] | None = None,
    *,
    foreign_key: Names = (),
    where: Condition | None = None,
    order_by: Order | None = None,
    init: Literal[False] = False,
) -> Many[T]:
    """The objects whose foreign key refers to this model.

        orders: Many[Order] = has_many(order_by=lambda: Order.created_at)

    Args:
        target: as `belongs_to`.
        foreign_key: the columns of the other model that refer to this one.
        where: a condition that all of them meet.
        order_by: their order, a term or a tuple of terms; `.order_by(...)` at a load takes its place.
        init: for type checkers only.
    """
    return cast("Many[T]", RelationDeclaration("has_many", target, _names(foreign_key), where=where, order_by=order_by))


def many_to_many(
    target: Callable[[], type[T]] | None = None,
    *,
    through: Callable[[], type] | str,
    foreign_key: Names = (),
    other_key: Names = (),
    where: Condition | None = None,
    order_by: Order | None = None,
    init: Literal[False] = False,
) -> Many[T]:
    """The objects that a table in between connects with this model.

        genres: Many[Genre] = many_to_many(through=lambda: FilmGenre)
        directors: Many[Person] = many_to_many(through=lambda: Credit, where=lambda: Credit.role == Role.DIRECTOR)

    An object comes once for each row of that table.

    Args:
        target: as `belongs_to`.
        through: the model of the table in between, or the name of a table that has no model.
        foreign_key: its columns that refer to this model.
        other_key: its columns that refer to the other.
        where: a condition that all of them meet; it may use columns of the table in between.
        order_by: as `has_many`; it may use them too.
        init: for type checkers only.
    """
    declaration = RelationDeclaration("many_to_many", target, _names(foreign_key), through, _names(other_key), where, order_by)
    return cast("Many[T]", declaration)


def count_of(of: Callable[[], Loadable], *, init: Literal[False] = False) -> Figure[int]:
    """How many objects a relation leads to.

        credit_count: Figure[int] = count_of(lambda: Film.credits)
        cast_count: Figure[int] = count_of(lambda: Film.credits.where(Credit.role == Role.CAST))

    Args:
        of: a relation of this model to many, with `where` if only some count.
        init: for type checkers only.
    """
    return cast("Figure[int]", RelationDeclaration("count_of", None, of=of))


def aggregate_of(of: Callable[[], Loadable], aggregate: Callable[[], Expression[T]], *, init: Literal[False] = False) -> Figure[T]:
    """An aggregate over the objects that a relation leads to. Of none most aggregates are NULL, and so None.

        stars: Figure[decimal.Decimal | None] = aggregate_of(lambda: Film.reviews, lambda: avg(Review.stars))

    Args:
        of: as `count_of`.
        aggregate: over columns of its objects, or of a link's model.
        init: for type checkers only.
    """
    return cast("Figure[T]", RelationDeclaration("aggregate_of", None, of=of, aggregate=aggregate))


def _names(given: Names) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


_ANNOTATION = r"(?s)\s*(?:\w+\s*\.\s*)*(Many|One|Figure)\s*\[(.+)\]\s*"


def relations_of(
    owner: type,
    declarations: Mapping[str, object],
    scope: Mapping[str, object],
    find_owner: Callable[[], ModelInfo],
    models_named: Callable[[str], Sequence[type]],
) -> dict[str, Relation]:
    """The relations that one class body declares.

    Raises:
        ModelError: an annotation that does not fit.
    """
    annotations = inspect.get_annotations(owner)
    relations: dict[str, Relation] = {}
    for attribute, said in declarations.items():
        if not isinstance(said, RelationDeclaration):
            continue
        annotation = annotations.get(attribute)
        kind, inner = _parts(annotation)
        wanted = "Figure" if said.of is not None else "Many" if said.many else "One"
        if kind != wanted or attribute.startswith("_"):
            raise ModelError(
                f"{owner.__name__}.{attribute} is declared by {said.kind}() and annotated {annotation!r}.\n"
                f"To fix it: {attribute.lstrip('_')}: {wanted}[...] = {said.kind}(...)"
            )
        relations[attribute] = Relation(attribute, said, inner, owner.__module__, scope, find_owner, models_named)
    return relations


def _parts(annotation: object) -> tuple[str | None, object]:
    """Which of the two an annotation is, and what stands in its brackets."""
    if isinstance(annotation, str):
        found = re.fullmatch(_ANNOTATION, annotation)
        return (found[1], found[2]) if found is not None else (None, None)
    for kind in (Many, One, Figure):
        if typing.get_origin(annotation) is kind:
            return kind.__name__, typing.get_args(annotation)[0]
    return None, None
