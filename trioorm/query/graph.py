"""What is refused of the relations that a select is asked to load, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Never, cast

from trioorm.errors import QueryError
from trioorm.expression.interned import remember
from trioorm.expression.shape import Shape
from trioorm.model.load import Load, check_load
from trioorm.query.shape import ModelItem

_CHECKED: dict[tuple[object, ...], bool] = {}
"""What rows hold with the forms of what is loaded onto them, where that was found to fit, whatever the values."""


def check_loads(loads: Sequence[Load[Never]], items: Sequence[Shape]) -> None:
    """Refuse relations of models that no row holds, and graphs in which one object would have to hold a relation in two ways.

    Raises:
        QueryError: as said.
    """
    forms = [load.form if isinstance(cast("object", load), Load) else None for load in loads]
    key = (*items, *forms)
    if None not in forms and key in _CHECKED:
        return
    models: list[type] = [item.model for item in items if isinstance(item, ModelItem)]
    if not models:
        raise QueryError("load() is for rows that hold objects, and these hold values.\nTo fix it: select(Film).load(Film.credits).")
    for load in loads:
        owner = load.relation.owner.model if isinstance(cast("object", load), Load) else None
        check_load(load, owner if owner is not None and owner in models else models[0], "load()")
    if not check_graph(loads):
        remember(_CHECKED, key, True)


def check_graph(loads: Sequence[Load[Never]]) -> bool:
    """Refuse a graph in which one relation is loaded in two ways, since objects are shared in it.

    Returns:
        Whether a relation is met twice, so that other values might have been refused.

    Raises:
        QueryError: as said; or a relation that must find an object was given conditions.
        ModelError: the columns of a relation are not known.
    """
    ways: dict[object, object] = {}
    is_met_twice = False
    waiting = list(loads)
    while waiting:
        load = waiting.pop()
        waiting.extend(load.nested)
        relation = load.relation
        _ = relation.keys
        if not relation.many and load.conditions and not relation.optional:
            raise QueryError(
                f"{relation} is never None by its annotation, and with where() it might find nothing.\n"
                f"To fix it: annotate it One[{relation.target.model.__name__} | None]."
            )
        terms = (*load.conditions, None, *load.order)
        way = (load.most, [None if term is None else (term.shape, term.bind_values) for term in terms])
        is_met_twice = is_met_twice or relation in ways
        if ways.setdefault(relation, way) != way:
            raise QueryError(
                f"{relation} is loaded in two ways in one graph, in which each row is one object and can hold only one of them.\n"
                "To fix it, one of:\n  1. give both the same where(), order_by() and limit()\n  2. load one of them in a call of its own"
            )
    return is_met_twice
