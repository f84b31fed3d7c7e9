"""The steps of a query plan as records: what `EXPLAIN` says, and what follows from it.

The contract: frozen, comparable by value, in seconds. `explaining.py` reads them from PostgreSQL's JSON, `plan_drawing.py` draws them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

__all__ = ["Buffers", "PlanNode"]


@frozen
class Buffers:
    """Blocks of 8 KiB that a step and those below it touched.

    Attributes:
        hit: found in PostgreSQL's own memory.
        read: asked of the operating system.
        dirtied: changed for the first time.
        written: written out to make room.
        temp_read: read back from temporary files.
        temp_written: written to temporary files, because `work_mem` was too small.
    """

    hit: int = 0
    read: int = 0
    dirtied: int = 0
    written: int = 0
    temp_read: int = 0
    temp_written: int = 0


@frozen
class PlanNode:
    """One step of a plan. What was measured is None where the statement did not run.

    Attributes:
        kind: in PostgreSQL's words: `Seq Scan`, `Hash Join`.
        relation: the table that it reads or writes, with its alias where that is another name.
        index: that it uses.
        subplan: what a step is for that is no plain input of the one above: `CTE recent`, `InitPlan 1`.
        conditions: what it looks for, each with PostgreSQL's name for it: `("Filter", "(year > 1990)")`.
        sort_key: what it sorts by.
        group_key: what it groups by.
        startup_cost: until its first row, in the planner's units.
        total_cost: until its last row.
        estimated_rows: that the planner expected, each time that it runs.
        rows: that it gave, each time that it ran, on average.
        loops: how many times it ran; 0 is never.
        seconds: that it took in all its loops, with the steps below it.
        own_seconds: the same without the steps below it.
        share: of the whole statement's time that is its own, from 0 to 1.
        rows_removed: that its conditions threw away, each time that it ran, on average.
        buffers: touched by it and the steps below it.
        workers: processes that helped.
        details: everything else that PostgreSQL said.
        children: the steps that it gets its rows from.
    """

    kind: str
    relation: str | None
    index: str | None
    subplan: str | None
    conditions: tuple[tuple[str, str], ...]
    sort_key: tuple[str, ...]
    group_key: tuple[str, ...]
    startup_cost: float
    total_cost: float
    estimated_rows: int
    rows: float | None
    loops: int | None
    seconds: float | None
    own_seconds: float | None
    share: float | None
    rows_removed: int
    buffers: Buffers | None
    workers: int | None
    details: Mapping[str, object]
    children: tuple[PlanNode, ...]

    @property
    def misestimate(self) -> float | None:
        """How many times more rows came than were expected; below 1, how many times fewer. None where the step never ran."""
        if self.rows is None or not self.loops:
            return None
        return max(self.rows, 1.0) / max(self.estimated_rows, 1)

    def walk(self) -> Iterator[PlanNode]:
        """This step and all below it, from the top."""
        yield self
        for child in self.children:
            yield from child.walk()
