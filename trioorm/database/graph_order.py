"""A graph of objects that is to be inserted: which of them are new, whose keys they need, and in which order they go.

The contract: pure, and everything that can be refused is refused here, before anything is sent. An object is new if it is one of those
given to the verb, if its foreign key refers to a new one by `has_many` or `has_one`, or if its primary key has no value yet. All others
are taken to be stored; they are referred to, and not looked at any further.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Never, cast

from attrs import Factory, define, frozen

from trioorm.errors import QueryError
from trioorm.model import UNSET, FieldInfo, Load, Model, ModelInfo, Relation, model_of, relation_value
from trioorm.query import LinkColumns

__all__ = ["Graph", "LinkRow", "Node", "graph_of", "refuse_unwritable"]


@define(eq=False)
class Node:
    """One object of the graph.

    Attributes:
        given: as it was given, and left so.
        new: it is to be inserted.
        fills: fields that get the values of other objects' fields.
        edges: what its relations lead to.
        level: it goes after all of lower levels; -1 is stored already.
        made: the object as it is stored; the one given where it is not new.
    """

    given: Model
    info: ModelInfo
    new: bool = False
    fills: dict[FieldInfo, tuple[Node, FieldInfo]] = Factory(dict["FieldInfo", "tuple[Node, FieldInfo]"])
    edges: list[_Edge] = Factory(list["_Edge"])
    level: int = -1
    made: Model | None = None

    def __str__(self) -> str:
        return self.info.model.__qualname__

    def value(self, field: FieldInfo) -> object:
        """What a field is known to be."""
        return getattr(self.made if self.made is not None else self.given, field.attribute)


@frozen(eq=False)
class LinkRow:
    """A row of the table between two models.

    Attributes:
        relation: by which it was found.
        columns: all that hold the keys.
        cells: whose fields give their values.
        level: as an object's.
    """

    relation: Relation
    columns: LinkColumns
    cells: tuple[tuple[Node, FieldInfo], ...]
    level: int


@frozen(eq=False)
class _Edge:
    """What one object's relation leads to; None where it was not set."""

    owner: Node
    relation: Relation
    targets: list[Node] | None


@frozen(eq=False)
class Graph:
    """What is to be inserted.

    Attributes:
        roots: in the order given.
        nodes: the new objects, in the order in which they were met.
        links: the rows of tables in between.
        edges: the relations to attach to the new objects, with their targets.
    """

    roots: list[Node]
    nodes: list[Node]
    links: list[LinkRow]
    edges: list[tuple[Node, Relation, list[Node]]]


def graph_of(objects: Sequence[Model], loads: Sequence[Load[Never]], verb: str) -> Graph:
    """The graph below some objects.

    Raises:
        QueryError: a relation that was not set, an object of another class, one without a value that it needs, keys that contradict each
            other, or objects that need each other's keys.
    """
    for load in _all(loads):
        if load.relation.is_figure:
            raise QueryError(f"{verb}(with_=...) inserts objects, and {load.relation} is a figure of some.\nTo fix it: leave it out.")
        if load.conditions or load.order or load.most is not None:
            raise QueryError(
                f"{verb}(with_=...) takes {load.relation} as it is, and it has a condition, order or limit.\nTo fix it: leave that out."
            )
    nodes: dict[int, Node] = {}
    edges: dict[tuple[int, Relation], _Edge] = {}
    walked: set[tuple[int, int]] = set()

    def node_of(each: Model) -> Node:
        return nodes.setdefault(id(each), Node(each, model_of(type(each))))

    def walk(node: Node, below: Iterable[Load[Never]]) -> None:
        for load in below:
            if (id(node), id(load)) in walked:
                continue
            walked.add((id(node), id(load)))
            relation = load.relation
            edge = edges.get((id(node), relation))
            if edge is None:
                found = _targets(node, relation)
                edge = _Edge(node, relation, None if found is None else [node_of(each) for each in found])
                edges[id(node), relation] = edge
                node.edges.append(edge)
            for target in edge.targets or ():
                walk(target, load.nested)

    roots = [node_of(each) for each in objects]
    for node in roots:
        walk(node, loads)
    _find_new(roots, nodes.values())
    for edge in edges.values():
        _check_edge(edge, verb)
    whole = [(edge.owner, edge.relation, edge.targets) for edge in edges.values() if edge.owner.new and edge.targets is not None]
    for owner, relation, targets in whole:
        _fill(owner, relation, targets)
    new = [node for node in nodes.values() if node.new]
    for node in new:
        _check_complete(node)
    _set_levels(new)
    for node in nodes.values():
        node.made = None if node.new else node.given
    return Graph(roots, new, list(_links(whole)), whole)


def _all(loads: Iterable[Load[Never]]) -> Iterator[Load[Never]]:
    for load in loads:
        yield load
        yield from _all(load.nested)


def _targets(node: Node, relation: Relation) -> list[Model] | None:
    """What an object's relation holds."""
    held = relation_value(node.given, relation)
    if held is UNSET:
        return None
    model = relation.target.model
    found: list[object]
    if relation.many:
        if not isinstance(held, (list, tuple)):
            raise QueryError(
                f"{relation} of this {node} is a {type(held).__qualname__}.\nTo fix it: set it to a list of {model.__qualname__}."
            )
        found = list(cast("Sequence[object]", held))
    else:
        found = [] if held is None else [held]
        if held is None and not relation.optional:
            raise QueryError(
                f"{relation} is never None by its annotation, and it is in this {node}.\nTo fix it: give it its {model.__qualname__}."
            )
    for each in found:
        if type(each) is not model:
            raise QueryError(
                f"{relation} holds a {type(each).__qualname__}, and it leads to {model.__qualname__}.\nTo fix it: give objects of that."
            )
    return cast("list[Model]", found)


def _find_new(roots: Iterable[Node], nodes: Iterable[Node]) -> None:
    """Mark what is to be inserted."""
    waiting = [*roots, *(node for node in nodes if any(node.value(field) is UNSET for field in node.info.primary_key))]
    while waiting:
        node = waiting.pop()
        if not node.new:
            node.new = True
            for edge in node.edges:
                if edge.relation.declaration.kind in ("has_one", "has_many"):
                    waiting.extend(edge.targets or ())


def _check_edge(edge: _Edge, verb: str) -> None:
    owner, relation = edge.owner, edge.relation
    variable = str(owner)[:1].lower() + str(owner)[1:]
    if owner.new and edge.targets is None:
        raise QueryError(
            f"{verb}(with_=...) is to insert {relation} too, which was not set on this {owner}.\n"
            f"To fix it: set it, {variable}.{relation.attribute} = {'[]' if relation.many else '...'}, or leave {relation} out."
        )
    if not owner.new and any(target.new for target in edge.targets or ()):
        raise QueryError(
            f"{verb}(with_=...) meets a new object in {relation} of a {owner} that is stored already, and would not write it.\n"
            f"To fix it: insert it by itself, with the key of that {owner}."
        )
    if owner.new and relation.declaration.kind == "many_to_many":
        refuse_unwritable(relation, f"{verb}(with_=...)")


def refuse_unwritable(relation: Relation, place: str) -> None:
    """Refuse a relation whose link rows cannot be made from its two keys.

    Raises:
        QueryError: as said.
    """
    link = relation.keys.link
    assert link is not None
    info = None if not isinstance(link.table, type) else model_of(link.table)
    through = relation.declaration.through if info is None else info.model.__qualname__
    if relation.conditions:
        reason = "it has a condition (where=), which rows of the two keys alone may not meet"
    else:
        keys = {column.name for column in (*relation.keys.near, *link.columns)}
        lacking = [] if info is None else [field.attribute for field in info.writable if field.name not in keys and not _has_default(field)]
        if not lacking:
            return
        reason = f"{', '.join(lacking)} of {through} has no default"
    raise QueryError(
        f"{place} cannot make the rows of {through} for {relation}: {reason}.\n"
        f"To fix it: write objects of {through} yourself, by a has_many() that leads to them"
        + ("." if relation.conditions else ", or declare column(default=...).")
    )


def _has_default(field: FieldInfo) -> bool:
    said = field.declaration
    return field.nullable or field.filled_by_server or said.default is not UNSET or said.default_factory is not None


def _fill(owner: Node, relation: Relation, targets: Sequence[Node]) -> None:
    """Note which fields get their values through a relation."""
    if relation.declaration.kind == "many_to_many":
        return
    pairs = list(zip(relation.keys.own, relation.keys.near_fields, strict=True))
    for target in targets:
        for own, near in pairs:
            if relation.declaration.kind == "belongs_to":
                _fill_one(owner, own, target, near, relation)
            else:
                _fill_one(target, near, owner, own, relation)
    if relation.declaration.kind == "belongs_to" and not targets and any(owner.value(own) not in (None, UNSET) for own, _ in pairs):
        raise QueryError(
            f"{relation} is None in this {owner}, whose {', '.join(own.attribute for own, _ in pairs)} says otherwise.\n"
            "To fix it: make both agree."
        )


def _fill_one(node: Node, field: FieldInfo, source: Node, of: FieldInfo, relation: Relation) -> None:
    held, known = node.value(field), source.value(of)
    first = node.fills.setdefault(field, (source, of))
    empty = held is None or held is UNSET
    if empty and first[0] is source and first[1] is of:
        return
    if known is UNSET or known != (first[0].value(first[1]) if empty else held):
        raise QueryError(
            f"{node}.{field.attribute} would get its value from {relation}, and has one already"
            f"{'' if first[0] is source else ', from another ' + str(first[0])}.\n"
            f"To fix it, one of:\n  1. leave it out, after declaring {field.attribute}: Column[...] = column(..., default=UNSET)\n"
            "  2. let an object stand under one owner only"
        )


def _set_levels(new: Sequence[Node]) -> None:
    """Each object after those whose keys it needs.

    Raises:
        QueryError: objects need each other's.
    """
    waits_for = {id(node): {id(source): source for source, _ in node.fills.values() if source.new} for node in new}
    needed_by: dict[int, list[Node]] = {id(node): [] for node in new}
    for node in new:
        for source in waits_for[id(node)]:
            needed_by[source].append(node)
    level = [node for node in new if not waits_for[id(node)]]
    number = done = 0
    while level:
        done += len(level)
        following: list[Node] = []
        for node in level:
            node.level = number
            for other in needed_by[id(node)]:
                del waits_for[id(other)][id(node)]
                if not waits_for[id(other)]:
                    following.append(other)
        level, number = following, number + 1
    if done < len(new):
        path = [next(node for node in new if node.level < 0)]
        while path[-1] not in path[:-1]:
            path.append(next(iter(waits_for[id(path[-1])].values())))
        circle = " needs that of ".join(f"this {node}" for node in path[path.index(path[-1]) :])
        raise QueryError(
            f"these objects cannot be inserted in any order, because the key of {circle}.\n"
            "To fix it: leave one of the relations out, insert, and write that key afterwards with patch()."
        )


def _check_complete(node: Node) -> None:
    for field in node.info.writable:
        if node.value(field) is UNSET and field not in node.fills and not field.nullable and not field.filled_by_server:
            raise QueryError(
                f"this {node} has no value for {field.attribute}, and no relation that is inserted with it gives one.\n"
                f"To fix it: give it a value, or name the relation in with_=[...]."
            )


def _links(edges: Iterable[tuple[Node, Relation, list[Node]]]) -> Iterator[LinkRow]:
    """The rows between the objects, each pair once, also where both sides name it."""
    seen: set[object] = set()
    for owner, relation, targets in edges:
        link = relation.keys.link
        if link is None:
            continue
        columns = (*relation.keys.near, *link.columns)
        for target in targets:
            cells = (*((owner, field) for field in relation.keys.own), *((target, field) for field in link.target))
            pair = (
                columns[0].source,
                frozenset((column.name, id(node.given), field) for column, (node, field) in zip(columns, cells, strict=True)),
            )
            if pair not in seen:
                seen.add(pair)
                yield LinkRow(relation, columns, cells, max(node.level for node in (owner, target)) + 1)
