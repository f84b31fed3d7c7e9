"""Putting tables and views into an order in which they can be created.

The contract: a table comes after all tables that it refers to, a view after all views that it reads; foreign keys that go round in a
circle are named, to be added at the end. The order depends on the names only, so it is the same on every run.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

import attrs

from trioorm.errors import ModelError
from trioorm.expression.shape import Shape, Source
from trioorm.schema.table import ForeignKey, Table
from trioorm.schema.view import View


@attrs.frozen
class CreationOrder:
    """Attributes:
    tables: in the order of creation.
    late: foreign keys, with their table, that can only be added when all tables are there.
    """

    tables: tuple[Table, ...]
    late: tuple[tuple[Table, ForeignKey], ...]


def creation_order(tables: Sequence[Table]) -> CreationOrder:
    """Order tables by their foreign keys; keys to tables outside the set, and to the table itself, do not matter."""
    by_source = {table.source: table for table in sorted(tables, key=lambda table: _place(table.source))}
    needs = {
        source: {key.target for key in table.foreign_keys if key.target in by_source and key.target != source}
        for source, table in by_source.items()
    }
    circles = _circles(needs)
    late: list[tuple[Table, ForeignKey]] = []
    for source, table in by_source.items():
        around = {need for need in needs[source] if circles[need] == circles[source]}
        late.extend((table, key) for key in table.foreign_keys if key.target in around)
    kept = {source: sorted((need for need in found if circles[need] != circles[source]), key=_place) for source, found in needs.items()}
    return CreationOrder(tuple(by_source[source] for source in TopologicalSorter(kept).static_order()), tuple(late))


def view_order(views: Sequence[View]) -> tuple[View, ...]:
    """Order views so that each comes after those that its query reads.

    Raises:
        ModelError: views read each other in a circle.
    """
    by_source = {view.source: view for view in sorted(views, key=lambda view: _place(view.source))}
    needs = {source: sorted(sources_in(view.query.shape) & by_source.keys(), key=_place) for source, view in by_source.items()}
    try:
        return tuple(by_source[source] for source in TopologicalSorter(needs).static_order())
    except CycleError as error:
        names = " -> ".join(source.table for source in typing.cast("list[Source]", error.args[1]))
        raise ModelError(f"These views read each other in a circle: {names}.\nTo fix it: let one of them read the tables.") from None


def sources_in(shape: Shape) -> set[Source]:
    """All tables and views that a shape reads, without their aliases."""
    if isinstance(shape, Source):
        return {shape._replace(alias=None)}
    found: set[Source] = set()
    for part in shape:
        if isinstance(part, tuple):
            found |= sources_in(typing.cast("Shape", part))
    return found


def _place(source: Source) -> tuple[str, str]:
    return source.schema or "", source.table


def _circles(needs: dict[Source, set[Source]]) -> dict[Source, tuple[str, str]]:
    """For each table a name for the circle it is on; tables on no circle have one of their own."""
    reachable: dict[Source, set[Source]] = {}
    for source in needs:
        found: set[Source] = set()
        stack = list(needs[source])
        while stack:
            step = stack.pop()
            if step not in found:
                found.add(step)
                stack.extend(needs[step])
        reachable[source] = found
    around = {source: {source, *(other for other in reachable[source] if source in reachable[other])} for source in needs}
    return {source: min(map(_place, members)) for source, members in around.items()}
