"""Loading relations: the statements of a graph, run level by level, and their objects attached.

The contract: one statement for each relation of each level, whatever the number of objects, and one flight for each level, since a level's
keys are known when the one above it is there. Within one load a row is one object. Attaching does not wait, so a load that is cancelled
leaves whole levels or none.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Never, cast

from attrs import frozen
from psycopg.pq.abc import PGresult

from trioorm.database.plan import Plan, PlanCache
from trioorm.errors import NoRowFound, QueryError, TooManyRows
from trioorm.model import UNSET, Load, Model, ModelInfo, model_of
from trioorm.query import find_related
from trioorm.transaction import Runner
from trioorm.wire import Step

__all__ = ["load_relations", "load_rows"]

_Key = tuple[object, ...]


async def load_rows(runner: Runner, plans: PlanCache, rows: list[Any], loads: Sequence[Load[Never]]) -> None:
    """Load relations onto the objects in a statement's rows, bare ones or in tuples. Repeated rows become one object, in place.

    Raises:
        NoRowFound, TooManyRows: a relation to one object found another number.
        Others: as `Runner.run`.

    Checkpoint: only if there are objects with something to load.
    """
    graph = _Graph()
    if rows and isinstance(rows[0], tuple):
        rows[:] = [tuple([graph.shared(item) for item in row]) for row in rows]
        objects = [item for row in rows for item in cast("tuple[object, ...]", row) if isinstance(item, Model)]
    else:
        rows[:] = [graph.shared(row) for row in rows]
        objects = [row for row in rows if row is not None]
    await _run_levels(runner, plans, graph, objects, loads)


async def load_relations(runner: Runner, plans: PlanCache, objects: Iterable[Model], loads: Sequence[Load[Never]]) -> None:
    """Load relations onto objects in hand, each of them, also where several are of one row.

    Raises:
        QueryError: an object lacks the values by which a relation is found.
        Others: as `load_rows`.

    Checkpoint: only if there are objects with something to load.
    """
    graph = _Graph()
    listed = list(objects)
    for each in listed:
        graph.shared(each)
    await _run_levels(runner, plans, graph, listed, loads)


class _Graph:
    """The objects of one load, by model and primary key."""

    def __init__(self) -> None:
        self._objects: dict[tuple[type, _Key], object] = {}

    def shared(self, made: object) -> object:
        """The object of a row: the first that was met."""
        if not isinstance(made, Model):
            return made
        info = model_of(type(made))
        if not info.primary_key:
            return made
        return self._objects.setdefault((type(made), tuple([getattr(made, field.attribute) for field in info.primary_key])), made)


@frozen(eq=False)
class _Ask:
    """One relation of one level, for the objects that it is asked for.

    Attributes:
        owners: by the key with which theirs are found.
        plan: of its statement.
        keyed: its rows end with the owner's key.
    """

    load: Load[Never]
    owners: dict[_Key, list[Model]]
    plan: Plan
    step: Step
    keyed: bool


async def _run_levels(runner: Runner, plans: PlanCache, graph: _Graph, objects: Sequence[Model], loads: Sequence[Load[Never]]) -> None:
    level: list[tuple[Load[Never], Sequence[Model]]] = [(load, objects) for load in loads]
    while level:
        asks = [ask for load, owners in level if (ask := _ask(plans, load, owners)) is not None]
        if not asks:
            return
        is_write = any(ask.plan.compiled.is_write for ask in asks)
        results = await runner.run([ask.step for ask in asks], is_write=is_write)
        level = [pair for ask, result in zip(asks, results, strict=True) for pair in _attach(graph, ask, result)]


def _ask(plans: PlanCache, load: Load[Never], objects: Sequence[Model]) -> _Ask | None:
    """The step that finds a relation's objects; None where nobody can have any, which is attached at once."""
    relation = load.relation
    own = relation.keys.own
    owner = relation.owner.model
    owners: dict[_Key, list[Model]] = {}
    seen: set[int] = set()
    for each in objects:
        if type(each) is not owner or id(each) in seen:
            continue
        seen.add(id(each))
        key = tuple([getattr(each, field.attribute) for field in own])
        if UNSET in key:
            raise QueryError(
                f"{relation} is found by {', '.join(field.attribute for field in own)}, which this {owner.__name__} does not have yet.\n"
                "To fix it: load onto the object that `insert` returned, or one that was fetched."
            )
        if None in key:
            _put(relation.attribute, each, [] if relation.many else None)
        else:
            owners.setdefault(key, []).append(each)
    if not owners:
        return None
    finding = find_related(load, list(owners))
    plan, values = plans.plan(finding.statement)
    return _Ask(load, owners, plan, plan.step(values), finding.keyed)


def _attach(graph: _Graph, ask: _Ask, result: PGresult) -> list[tuple[Load[Never], Sequence[Model]]]:
    """Give the objects that were found to their owners; returns what is to be loaded onto them."""
    relation = ask.load.relation
    found: dict[_Key, list[object]] = {key: [] for key in ask.owners}
    near = [field.attribute for field in relation.keys.near_fields]
    for row in ask.plan.rows(result):
        if ask.keyed:
            key = row[1:]
            made = graph.shared(row[0])
        else:
            key = tuple([getattr(row, name) for name in near])
            made = graph.shared(row)
        found[key].append(made)
    for key, owners in ask.owners.items():
        for owner in owners:
            if relation.many:
                _put(relation.attribute, owner, list(found[key]))
            else:
                _put(relation.attribute, owner, _only(ask.load, relation.owner, key, found[key]))
    nested = ask.load.nested
    if not nested:
        return []
    objects = cast("list[Model]", list({id(made): made for several in found.values() for made in several}.values()))
    return [(load, objects) for load in nested]


def _only(load: Load[Never], owner: ModelInfo, key: _Key, found: Sequence[object]) -> object:
    """The object of a relation to one."""
    relation = load.relation
    if len(found) == 1 or (not found and relation.optional):
        return found[0] if found else None
    target = relation.target.model.__name__
    if found:
        raise TooManyRows(
            f"{relation} leads to one {target}, and {len(found)} rows were found for one {owner.model.__name__}.\n"
            "To fix it, one of:\n  1. make the foreign key unique\n  2. has_one(..., order_by=...) takes the first\n"
            f"  3. {relation.attribute}: Many[{target}] = has_many()"
        )
    raise NoRowFound(
        f"{relation} is never None by its annotation, and no {target} was found for one {owner.model.__name__}.\n"
        f"To fix it: {relation.attribute}: One[{target} | None]."
    )


def _put(attribute: str, owner: Model, value: object) -> None:
    object.__setattr__(owner, attribute, value)  # frozen models too
