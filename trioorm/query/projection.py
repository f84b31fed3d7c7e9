"""`into(...)`: rows become objects of the user's own class.

The contract: whether the class takes what a row holds is checked when the statement is built, once for each class and list of items.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import NamedTuple

from trioorm.errors import QueryError
from trioorm.expression.annotations import type_of_annotation
from trioorm.expression.binding import same_family
from trioorm.expression.shape import ColumnReference, Shape
from trioorm.expression.types import SqlType
from trioorm.query.shape import ModelItem, Projection, ValueItem
from trioorm.query.tables import natural_name


class _Place(NamedTuple):
    """One thing that the class takes."""

    name: str
    annotation: object
    required: bool
    positional: bool


@functools.lru_cache(maxsize=1024)
def projection(make: Callable[..., object], items: tuple[Shape, ...], names: tuple[str, ...]) -> Projection:
    """How a class is called with a row's items.

    Args:
        make: the class: of attrs, a dataclass, a named tuple, a typed dictionary, or anything else whose call is annotated.
        items: what a row holds.
        names: what each item is called there; none, and columns go by their names, models by their classes.

    Raises:
        QueryError: the class takes other things than the row holds.
    """
    places = _places(make)
    if not isinstance(make, type) or places is None:
        raise QueryError(
            f"into() takes a class whose fields are known, and got {make!r}.\nTo fix it: a class of attrs, a dataclass, or a named tuple."
        )
    if names and len(names) != len(items):
        raise QueryError(f"into() was given {len(names)} names for {len(items)} items.\nTo fix it: one for each item, or none.")
    chosen = names or tuple(_name_of(item, places, make) for item in items)
    by_name = {place.name: place for place in places}
    unknown = [name for name in chosen if name not in by_name]
    missing = [place.name for place in places if place.required and place.name not in chosen]
    twice = sorted({name for name in chosen if chosen.count(name) > 1})
    if unknown or missing or twice:
        raise QueryError(
            f"{make.__name__} does not take what the rows hold.\n"
            + (f"It has no field {', '.join(unknown)}.\n" if unknown else "")
            + (f"Nothing is selected for {', '.join(missing)}.\n" if missing else "")
            + (f"More than one item is named {', '.join(twice)}.\n" if twice else "")
            + f"Its fields are {', '.join(by_name)}; the rows hold {', '.join(chosen)}.\n"
            "To fix it: give items the fields' names by as_(), or all of them here: into(Class, 'name', ...)."
        )
    for name, item in zip(chosen, items, strict=True):
        _check_class(make, by_name[name], item)
    in_order = chosen == tuple(place.name for place in places[: len(chosen)] if place.positional)
    return Projection(make, None if in_order else chosen)


def _places(make: Callable[..., object]) -> list[_Place] | None:
    if typing.is_typeddict(make):
        required = typing.cast("frozenset[str]", vars(make)["__required_keys__"])
        return [_Place(name, kind, name in required, False) for name, kind in typing.get_type_hints(make).items()]
    try:
        parameters = inspect.signature(make).parameters.values()
        found = typing.get_type_hints(make)
    except (TypeError, ValueError, NameError):
        return None
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [
        _Place(each.name, found.get(each.name, found.get(f"_{each.name}")), each.default is each.empty, each.kind is kinds[0])
        for each in parameters
        if each.kind in kinds
    ]


def _name_of(item: Shape, places: list[_Place], make: type) -> str:
    if isinstance(item, ModelItem):
        fitting = [place.name for place in places if item.model in _classes(place.annotation)]
        if len(fitting) == 1:
            return fitting[0]
        raise QueryError(
            f"{make.__name__} has {len(fitting) or 'no'} fields of class {item.model.__name__}.\n"
            "To fix it: say which field each item is for: into(Class, 'name', ...)."
        )
    name = natural_name(typing.cast("ValueItem", item).expression)
    if name is None:
        raise QueryError(
            f"An item of the select has no name by which {make.__name__} could take it.\n"
            "To fix it: name it by as_(), or name all items here: into(Class, 'name', ...)."
        )
    return name


def _classes(annotation: object) -> tuple[object, ...]:
    """The classes that an annotation allows."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _check_class(make: type, place: _Place, item: Shape) -> None:
    """Refuse what is known not to fit; an annotation of another kind is the user's own affair.

    Raises:
        QueryError: as said.
    """
    allowed = _classes(place.annotation)
    if place.annotation is None or object in allowed or typing.Any in allowed:
        return
    if isinstance(item, ModelItem):
        wrong = item.model not in allowed
        may_be_none, shown = item.optional, item.model.__name__
    else:
        value = typing.cast("ValueItem", item)
        wanted = [found[0] for kind in allowed if kind is not type(None) and (found := _type_of(kind)) is not None]
        wrong = bool(wanted) and value.type is not None and not any(_fits(value.type, kind) for kind in wanted)
        may_be_none = value.nullable and isinstance(value.expression, ColumnReference)
        shown = value.type.name if value.type is not None else "unknown"
    if wrong:
        raise QueryError(
            f"{make.__name__}.{place.name} is {_shown(place.annotation)}, and would be given {shown}.\n"
            "To fix it: change the annotation, or cast() what is selected."
        )
    if may_be_none and type(None) not in allowed:
        raise QueryError(
            f"{make.__name__}.{place.name} is {_shown(place.annotation)}, and what is selected for it may be NULL.\n"
            f"To fix it, one of:\n  1. annotate it: {place.name}: {_shown(place.annotation)} | None\n  2. select coalesce(..., value)"
        )


def _type_of(kind: object) -> tuple[SqlType, bool] | None:
    return type_of_annotation(kind)


def _fits(given: SqlType, wanted: SqlType) -> bool:
    return same_family(given, wanted) and (given.python is wanted.python or given.family != "number")


def _shown(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
