"""Putting tables into an order in which they can be created.

The contract: a table comes after all tables that it refers to; foreign keys that go round in a circle are named, to be added at the
end. The order depends on the names only, so it is the same on every run.
"""

from collections.abc import Sequence
from graphlib import TopologicalSorter

import attrs

from trioorm.schema.table import ForeignKey, Table


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
    by_name = {table.name: table for table in tables}
    needs = {
        name: {key.target_table for key in table.foreign_keys if key.target_table in by_name and key.target_table != name}
        for name, table in sorted(by_name.items())
    }
    circles = _circles(needs)
    late: list[tuple[Table, ForeignKey]] = []
    for name, table in sorted(by_name.items()):
        around = {need for need in needs[name] if circles[need] == circles[name]}
        late.extend((table, key) for key in table.foreign_keys if key.target_table in around)
    kept = {name: {need for need in found if circles[need] != circles[name]} for name, found in needs.items()}
    return CreationOrder(tuple(by_name[name] for name in TopologicalSorter(kept).static_order()), tuple(late))


def _circles(needs: dict[str, set[str]]) -> dict[str, str]:
    """For each table a name for the circle it is on; tables on no circle have one of their own."""
    reachable: dict[str, set[str]] = {}
    for name in needs:
        found: set[str] = set()
        stack = list(needs[name])
        while stack:
            step = stack.pop()
            if step not in found:
                found.add(step)
                stack.extend(needs[step])
        reachable[name] = found
    return {name: min({name, *(other for other in reachable[name] if name in reachable[other])}) for name in needs}
