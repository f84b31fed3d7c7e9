"""Attaching: the objects that a relation's statement found are given to their owners.

The contract: one closure for each relation of a load, made with its plan, which goes once through the objects found and once through the
owners. Nothing waits here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Never, TypeAlias, cast

from trioorm.errors import NoRowFound, QueryError, TooManyRows
from trioorm.model import UNSET, FieldInfo, Load, Model, ModelInfo
from trioorm.model.relation import Relation

__all__ = ["Attach", "Graph", "Identify", "attacher", "attacher_for_one", "identifier_of", "keys_of", "unique_objects"]

Graph: TypeAlias = dict[type, dict[object, Any]]
"""The objects of one load, by model and primary key."""

Identify: TypeAlias = Callable[[Graph, list[Any]], list[Any]]
"""For each object the first one of its row that was met; None stays None."""

Attach: TypeAlias = Callable[[Graph, Sequence[Any], list[Any]], list[Any]]
"""Gives owners what the rows hold, and returns the objects."""


def key_reader(fields: Sequence[FieldInfo]) -> Callable[[Any], object]:
    """What reads a key off an object: the value itself for a key of one column, else a tuple."""
    return attrgetter(*[field.attribute for field in fields])


def identifier_of(info: ModelInfo) -> Identify:
    """What makes one object of those that stand for one row of a model."""
    model = info.model
    if not info.primary_key:  # a view's rows cannot be told apart
        return lambda graph, made: made
    key = key_reader(info.primary_key)

    def identify(graph: Graph, made: list[Any]) -> list[Any]:
        known = graph.setdefault(model, {}).setdefault
        return [None if each is None else known(key(each), each) for each in made]

    return identify


def keys_of(load: Load[Never], owners: Iterable[Any]) -> list[tuple[object, ...]]:
    """The keys by which the objects of a relation are found, each once.

    Raises:
        QueryError: an owner lacks the values.
    """
    relation = load.relation
    own = [field.attribute for field in relation.keys.own]
    keys: dict[tuple[object, ...], None] = {}
    may_lack = relation.is_figure  # of nothing there is a figure too
    for each in owners:
        key = tuple([getattr(each, name) for name in own])
        if UNSET in key:
            raise QueryError(
                f"{relation} is found by {', '.join(own)}, which this {relation.owner.model.__name__} does not have yet.\n"
                "To fix it: load onto the object that `insert` returned, or one that was fetched."
            )
        if may_lack or None not in key:
            keys[key] = None
    return list(keys)


def attacher(load: Load[Never], *, keyed: bool, identify: Identify | None) -> Attach:
    """What attaches a relation.

    Args:
        load: of which relation.
        keyed: rows are an object and behind it the key of its owner; else the object has that key.
        identify: for objects whose row may be met again.
    """
    relation = load.relation
    own = key_reader(relation.keys.own)
    width = len(relation.keys.own)
    near = key_reader(relation.keys.near_fields) if not keyed else itemgetter(1) if width == 1 else itemgetter(slice(1, None))
    first = itemgetter(0)
    put = _putter(relation)

    def found(graph: Graph, rows: list[Any]) -> list[Any]:
        made = list(map(first, rows)) if keyed else rows
        return made if identify is None else identify(graph, made)

    def attach_many(graph: Graph, owners: Sequence[Any], rows: list[Any]) -> list[Any]:
        made = found(graph, rows)
        lists: dict[object, list[Any]] = {}
        twins: list[tuple[Any, object]] = []
        for owner in owners:
            key = own(owner)
            if key in lists:
                twins.append((owner, key))
            else:
                put(owner, lists.setdefault(key, []))
        try:
            for key, each in zip(map(near, rows), made, strict=True):
                lists[key].append(each)
        except KeyError as error:
            raise _unlike(load) from error
        for owner, key in twins:
            put(owner, list(lists[key]))
        return made

    def attach_one(graph: Graph, owners: Sequence[Any], rows: list[Any]) -> list[Any]:
        made = found(graph, rows)
        by_key = dict(zip(map(near, rows), made, strict=True))
        if len(by_key) != len(rows):
            keys = list(map(near, rows))
            raise _too_many(load, max(keys.count(key) for key in keys))
        is_optional = relation.optional
        for owner in owners:
            each = by_key.get(own(owner))
            if each is None and not is_optional:
                raise _nothing(load)
            put(owner, each)
        return made

    def attach_figure(_graph: Graph, owners: Sequence[Any], rows: list[Any]) -> list[Any]:
        by_key = dict(zip(map(near, rows), map(first, rows), strict=True))
        try:
            for owner in owners:
                put(owner, by_key[own(owner)])
        except KeyError as error:
            raise _unlike(load) from error
        return []

    return attach_figure if relation.is_figure else attach_many if relation.many else attach_one


def attacher_for_one(load: Load[Never]) -> Attach:
    """What attaches a relation to the only row that there may be, where all that was found belongs to it."""
    relation = load.relation
    put = _putter(relation)
    is_many, is_optional = relation.many, relation.optional

    def attach(graph: Graph, owners: Sequence[Any], rows: list[Any]) -> list[Any]:
        if is_many:
            for owner in owners:
                put(owner, [*rows])  # a list of its own, should a key that is declared not be one
        elif owners:
            if len(rows) > 1:
                raise _too_many(load, len(rows))
            if not rows and not is_optional:
                raise _nothing(load)
            for owner in owners:
                put(owner, rows[0] if rows else None)
        return rows

    return attach


def _putter(relation: Relation) -> Callable[[Any, object], None]:
    """What sets a relation's own slot, since frozen models have relations too."""
    model = relation.owner.model
    slot = next(vars(above)[relation.attribute] for above in model.__mro__ if relation.attribute in vars(above))
    return cast("Callable[[Any, object], None]", slot.__set__)


def _unlike(load: Load[Never]) -> QueryError:
    names = ", ".join(field.attribute for field in load.relation.keys.own)
    return QueryError(
        f"{load.relation}: the server found rows for a key that it takes for equal to one of {names}, and Python does not "
        "(text that is compared without regard to case, for example).\nTo fix it: write the same value on both sides."
    )


def _too_many(load: Load[Never], most: int) -> TooManyRows:
    relation = load.relation
    target = relation.target.model.__name__
    return TooManyRows(
        f"{relation} leads to one {target}, and {most} rows were found for one {relation.owner.model.__name__}.\n"
        "To fix it, one of:\n  1. make the foreign key unique\n  2. has_one(..., order_by=...) takes the first\n"
        f"  3. {relation.attribute}: Many[{target}] = has_many()"
    )


def _nothing(load: Load[Never]) -> NoRowFound:
    relation = load.relation
    target = relation.target.model.__name__
    return NoRowFound(
        f"{relation} is never None by its annotation, and no {target} was found for one {relation.owner.model.__name__}.\n"
        f"To fix it: {relation.attribute}: One[{target} | None]."
    )


def unique_objects(made: Sequence[Any]) -> list[Model]:
    """The objects, each once."""
    return cast("list[Model]", list({id(each): each for each in made if each is not None}.values()))
