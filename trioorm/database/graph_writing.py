"""Writing relations: graphs of objects inserted, and the rows between two objects replaced.

The contract: the runner is a transaction, so all of it takes effect or nothing. A graph takes one statement for each model and each table
in between, times the levels of keys that the server makes, and one flight for each level. The objects given stay as they were; what is
returned are new ones, with the relations attached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from attrs import frozen
from psycopg.pq.abc import PGresult

from trioorm.database.graph_order import Graph, LinkRow, Node, refuse_unwritable
from trioorm.database.objects import insert_objects
from trioorm.database.plan import Plan, PlanCache
from trioorm.errors import IntegrityError, NoRowFound, QueryError
from trioorm.model import UNSET, Load, Model, Relation, evolve, model_of
from trioorm.query import LinkColumns, Statement, delete_links, insert_links, select, select_links
from trioorm.transaction import Runner

__all__ = ["LinkChanges", "Links", "insert_graph", "links_of", "replace_links"]

_Row = tuple[object, ...]


async def insert_graph(runner: Runner, plans: PlanCache, graph: Graph) -> list[Model]:
    """Insert the new objects of a graph.

    Returns:
        The roots as they are stored.

    Checkpoint: always.
    """
    highest = max([*(node.level for node in graph.nodes), *(row.level for row in graph.links)])
    for level in range(highest + 1):
        groups: dict[type, list[Node]] = {}
        for node in graph.nodes:
            if node.level == level:
                groups.setdefault(type(node.given), []).append(node)
        batches = [[_filled(node) for node in nodes] for nodes in groups.values()]
        statements: list[Statement[Any]] = []
        for batch in batches:
            statements += insert_objects(batch)
        objects = len(statements)
        statements += _link_statements([row for row in graph.links if row.level == level])
        results = await _run(runner, plans, statements, batches)
        made = [row for plan, result in results[:objects] for row in plan.rows(result)]
        for node, row in zip([node for nodes in groups.values() for node in nodes], made, strict=True):
            node.made = row
    for owner, relation, targets in graph.edges:
        found = [target.made for target in targets]
        # Frozen ones too, and nobody else has the new object yet.
        object.__setattr__(owner.made, relation.attribute, found if relation.many else found[0] if found else None)
    return [cast("Model", root.made) for root in graph.roots]


def _filled(node: Node) -> Model:
    """The object with the keys of those that it refers to."""
    return (
        evolve(node.given, **{field.attribute: source.value(of) for field, (source, of) in node.fills.items()})
        if node.fills
        else node.given
    )


def _link_statements(rows: Iterable[LinkRow]) -> list[Statement[Any]]:
    groups: dict[Relation, tuple[LinkRow, list[_Row]]] = {}
    for row in rows:
        groups.setdefault(row.relation, (row, []))[1].append(tuple([node.value(field) for node, field in row.cells]))
    return [statement for row, values in groups.values() for statement in _insert_link_rows(row.relation, row.columns, values)]


def _insert_link_rows(relation: Relation, columns: LinkColumns, rows: Sequence[_Row]) -> list[Statement[Any]]:
    link = relation.keys.link
    assert link is not None
    if not isinstance(link.table, type):
        return [insert_links(link.table, columns, rows)]
    info = model_of(link.table)
    names = [info.by_name[column.name].attribute for column in columns]
    model = cast("Any", link.table)  # made by its constructor, for its defaults
    return list(insert_objects([cast("Model", model(**dict(zip(names, row, strict=True)))) for row in rows]))


async def _run(
    runner: Runner, plans: PlanCache, statements: Sequence[Statement[Any]], batches: Sequence[Sequence[Model]] = ()
) -> list[tuple[Plan, PGresult]]:
    prepared = [plans.plan(statement) for statement in statements]
    steps = [plan.step(values) for plan, values in prepared]
    try:
        results = await runner.run(steps, is_write=True)
    except IntegrityError as error:
        plans.violations.explain(error)
        for batch in batches:
            if error.model is type(batch[0]):
                plans.violations.explain(error, batch)
        raise
    return [(plan, result) for (plan, _), result in zip(prepared, results, strict=True)]


@frozen
class LinkChanges:
    """What `replace_links` did.

    Attributes:
        added: how many rows were inserted.
        removed: how many were deleted.
    """

    added: int
    removed: int


@frozen(eq=False)
class Links:
    """The rows between an object and others, as they are to be.

    Attributes:
        owner: the object.
        relation: between it and the others.
        key: its values, in the order of the near columns.
        wanted: the others' values, in the order of the far columns, each once.
    """

    owner: Model
    relation: Relation
    key: _Row
    wanted: dict[_Row, None]


def links_of(owner: Model, load: Load[Any], targets: Iterable[object]) -> Links:
    """What `replace_links` is asked for.

    Raises:
        QueryError: another kind of relation, an object of another class, or one that is not stored.
    """
    relation = load.relation
    if relation.declaration.kind != "many_to_many" or load.conditions or load.order or load.most is not None:
        raise QueryError(
            f"replace_links() takes a many_to_many relation as it is, and got {relation}"
            f"{'' if relation.declaration.kind == 'many_to_many' else ', which is a ' + relation.declaration.kind}.\n"
            "To fix it: name the relation alone; of has_many, insert and delete the objects themselves."
        )
    refuse_unwritable(relation, "replace_links()")
    link = relation.keys.link
    assert link is not None
    key = tuple([cast("object", getattr(owner, field.attribute)) for field in relation.keys.own])
    wanted: dict[_Row, None] = {}
    for target in targets:
        if type(target) is not relation.target.model:
            raise QueryError(
                f"{relation} leads to {relation.target.model.__qualname__}, and replace_links() was given a {type(target).__qualname__}.\n"
                "To fix it: give objects of that model."
            )
        wanted[tuple([cast("object", getattr(target, field.attribute)) for field in link.target])] = None
    for row in (key, *wanted):
        if UNSET in row or None in row:
            raise QueryError(
                f"replace_links() for {relation} was given an object that is not stored yet.\n"
                "To fix it: use the objects that `insert` returned, or that were fetched."
            )
    return Links(owner, relation, key, wanted)


async def replace_links(runner: Runner, plans: PlanCache, links: Links) -> LinkChanges:
    """Make the rows exactly these.

    The owner's row is locked first, so that two who replace its links do so one after the other.

    Raises:
        NoRowFound: the owner is not there.

    Checkpoint: always.
    """
    relation, model = links.relation, type(links.owner)
    link = relation.keys.link
    assert link is not None
    near, far = relation.keys.near, link.columns
    source = near[0].source
    own = [field.column == value for field, value in zip(relation.keys.own, links.key, strict=True)]
    lock = select(relation.keys.own[0].column).from_(model).where(*own).for_no_key_update()
    (_, locked), (plan, found) = await _run(runner, plans, [lock, select_links(source, near, links.key, far)])
    if locked.ntuples == 0:
        raise NoRowFound(
            f"the {model.__qualname__} whose {relation.attribute} are to be replaced is not stored.\nTo fix it: insert it first."
        )
    there = {row if len(far) > 1 else (row,): None for row in plan.rows(found)}
    gone = [(*links.key, *row) for row in there if row not in links.wanted]
    added = [(*links.key, *row) for row in links.wanted if row not in there]
    columns = (*near, *far)
    statements: list[Statement[Any]] = [delete_links(source, columns, gone)] if gone else []
    removing = len(statements)
    if added:
        statements += _insert_link_rows(relation, columns, added)
    results = await _run(runner, plans, statements) if statements else []
    return LinkChanges(len(added), sum(result.command_tuples or 0 for _, result in results[:removing]))
