"""Reading a relation that is not there.

The contract: only models with relations have this hook, since with it Python 3.11 takes four times as long to read any attribute of an
object; and it is called only where a slot is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Never, cast

from trioorm.errors import RelationNotLoaded
from trioorm.model.place import Place, shown
from trioorm.model.relation import Relation

__all__ = ["empty_slot_reader"]


def empty_slot_reader(fetched_at: str) -> Callable[[object, str], Never]:
    """The `__getattr__` of models with relations.

    Args:
        fetched_at: the slot with the place where an object was fetched.
    """

    def read_empty_slot(held: object, name: str) -> Never:
        relations = cast("Mapping[str, Relation]", getattr(type(type(held)), "__trioorm_relations__"))  # noqa: B009 - of a metaclass
        if name not in relations:
            raise AttributeError(f"{type(held).__name__!r} object has no attribute {name!r}", name=name, obj=held)
        raise _not_loaded(relations[name], getattr(held, fetched_at, None))

    return read_empty_slot


def _not_loaded(relation: Relation, place: Place | None) -> RelationNotLoaded:
    """The error for reading a relation that is not there, on an object that was fetched at a place."""
    model = relation.owner.model.__name__
    fetched_at = None if place is None else shown(place)
    return RelationNotLoaded(
        f"{relation} was not loaded, and reading an attribute never asks the server.\n"
        + ("" if fetched_at is None else f"This {model} was fetched at {fetched_at}.\n")
        + "To fix it, one of:\n"
        f"  1. load it with the objects: select({model}).load({relation})\n"
        f"  2. load it onto objects in hand: await db.load([{_variable(model)}], {relation})\n"
        f"  3. below another relation: ....load({relation})",
        model=relation.owner.model,
        relation=relation.attribute,
        fetched_at=fetched_at,
    )


def _variable(model: str) -> str:
    return model[:1].lower() + model[1:]
