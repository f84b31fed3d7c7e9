"""`explain`: what PostgreSQL would do for a statement, or did, as a tree of records.

The contract: `QueryPlan` holds what `EXPLAIN (FORMAT JSON)` says, in seconds, and what follows from it: the time of a step
without those below it, its share of the whole, how far the planner's guess was off. Nothing here sends anything; `print(plan)` draws it.

Source: PostgreSQL manual, section 14.1 (using EXPLAIN); src/backend/commands/explain.c for the names.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Iterator, Mapping

from attrs import evolve, frozen

from trioorm.database.plan_drawing import draw_steps, shown_time
from trioorm.database.plan_nodes import Buffers, PlanNode
from trioorm.wire import Statement, Step

__all__ = ["LoadedRelation", "QueryPlan", "explain_step", "read_plan"]

_Fields = Mapping[str, object]
_CONDITIONS = (
    "Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter", "TID Cond", "One-Time Filter", "Run Condition", "Filter",
)  # fmt: skip


@frozen
class QueryPlan:
    """How PostgreSQL runs a statement. Made by `explain`; `print(plan)` draws it as a tree.

    Attributes:
        root: the last step, which gives the statement's rows.
        planning_seconds: that making the plan took; None without `analyze`.
        execution_seconds: that running it took, with triggers; None without `analyze`.
        triggers: the seconds that each trigger took, foreign keys among them, by name.
        sql: the statement's text.
        flight: the trip in which it travels, from 1.
        loads: what finds the objects of the relations that are loaded onto its own: statements, or steps of this one.
    """

    root: PlanNode
    planning_seconds: float | None
    execution_seconds: float | None
    triggers: Mapping[str, float]
    sql: str
    flight: int = 1
    loads: tuple[LoadedRelation, ...] = ()

    def nodes(self) -> Iterator[PlanNode]:
        """All steps, from the top."""
        return self.root.walk()

    def drawn(self, *, ascii_only: bool = False) -> str:
        """The plan as a tree to read, its lines drawn with characters that every terminal has if asked for."""
        lines = [draw_steps(self.root, ascii_only=ascii_only)]
        if self.execution_seconds is not None:
            lines.extend(
                f"{seconds / (self.execution_seconds or 1) * 100:.0f} %  trigger {name}: {shown_time(seconds)}"
                for name, seconds in self.triggers.items()
            )
            lines.append(f"planned in {shown_time(self.planning_seconds or 0.0)}, ran for {shown_time(self.execution_seconds)}")
        return "\n".join([*lines, *self._drawn_loads(ascii_only=ascii_only)])

    def _drawn_loads(self, *, ascii_only: bool) -> list[str]:
        lines: list[str] = []
        for load in self.loads:
            plan = load.plan
            is_drawn = plan.sql == self.sql  # with this one, whose steps its own are
            below = plan._drawn_loads(ascii_only=ascii_only) if is_drawn else plan.drawn(ascii_only=ascii_only).splitlines()
            lines += [
                "",
                f"{load.relation}: flight {plan.flight}, {load.why}",
                *[f"  {line}".rstrip() for line in below if line or not is_drawn],
            ]
        return lines

    def __str__(self) -> str:
        """Drawn as the standard output can show it."""
        return self.drawn(ascii_only=not _can_draw(getattr(sys.stdout, "encoding", None)))


@frozen
class LoadedRelation:
    """What finds the objects of one relation, for all owners at once.

    Attributes:
        relation: which: `Film.credits`.
        why: how it knows its owners, and so why it travels in this flight.
        plan: of the statement, and of those for the relations below. Where the load is one statement, its steps for this relation.
    """

    relation: str
    why: str
    plan: QueryPlan


def _can_draw(encoding: str | None) -> bool:
    try:
        "├─ │ └─".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def explain_step(packed: Step, *, analyze: bool, verbose: bool) -> Step:
    """The step that explains another."""
    options = "FORMAT JSON" + ", ANALYZE, BUFFERS" * analyze + ", VERBOSE" * verbose
    text = f"EXPLAIN ({options})\n".encode() + packed.statement.text
    return Step(Statement(text, packed.statement.parameter_types, name=b""), packed.values, packed.formats)


def read_plan(answer: bytes, sql: str, *, flight: int = 1, loads: tuple[LoadedRelation, ...] = ()) -> QueryPlan:
    """The plan in PostgreSQL's JSON.

    Args:
        answer: of the server.
        sql: the statement's text.
        flight, loads: see `QueryPlan`.
    """
    (whole,) = typing.cast("list[dict[str, object]]", json.loads(answer))
    fields = typing.cast("_Fields", whole["Plan"])
    root = _node(fields, workers=0)
    execution = _seconds(whole.get("Execution Time"))
    whole_time = max(root.seconds or 0.0, execution or 0.0)
    root = _shared(_without_ctes(root), whole_time) if whole_time else root
    triggers = typing.cast("list[_Fields]", whole.get("Triggers", []))
    return QueryPlan(
        root,
        _seconds(whole.get("Planning Time")) if execution is not None else None,
        execution,
        {str(found.get("Constraint Name") or found.get("Trigger Name")): _seconds(found.get("Time")) or 0.0 for found in triggers},
        sql,
        flight,
        loads,
    )


_READ = {
    "Node Type", "Strategy", "Partial Mode", "Join Type", "Operation", "Command", "Schema", "Relation Name", "Alias", "CTE Name",
    "Function Name", "Index Name", "Subplan Name", "Parent Relationship", "Parallel Aware", "Async Capable", "Scan Direction",
    "Sort Key", "Group Key", "Startup Cost", "Total Cost", "Plan Rows", "Plan Width", "Actual Startup Time", "Actual Total Time",
    "Actual Rows", "Actual Loops", "Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck",
    "Workers Launched", "Workers Planned", "Plans", *_CONDITIONS,
}  # fmt: skip
_BUFFERS = {
    "hit": "Shared Hit Blocks", "read": "Shared Read Blocks", "dirtied": "Shared Dirtied Blocks", "written": "Shared Written Blocks",
    "temp_read": "Temp Read Blocks", "temp_written": "Temp Written Blocks",
}  # fmt: skip


def _node(fields: _Fields, *, workers: int) -> PlanNode:
    """A step and those below it.

    Args:
        workers: that share in this step; PostgreSQL counts their runs as loops, although they go on at the same time.
    """
    launched = _whole(fields.get("Workers Launched"))
    children = tuple(
        _node(child, workers=launched if launched is not None else workers)
        for child in typing.cast("list[_Fields]", fields.get("Plans", []))
    )
    loops = _whole(fields.get("Actual Loops"))
    each = _seconds(fields.get("Actual Total Time"))
    seconds = None if each is None or loops is None else each * loops / (min(loops, workers + 1) or 1)
    below = sum(child.seconds or 0.0 for child in children if not _is_cte(child))
    return PlanNode(
        kind=_kind(fields),
        relation=_relation(fields),
        index=_text(fields.get("Index Name")),
        subplan=_text(fields.get("Subplan Name")),
        conditions=tuple((name, str(fields[name])) for name in _CONDITIONS if name in fields),
        sort_key=tuple(typing.cast("list[str]", fields.get("Sort Key", []))),
        group_key=tuple(typing.cast("list[str]", fields.get("Group Key", []))),
        startup_cost=float(typing.cast("float", fields.get("Startup Cost", 0))),
        total_cost=float(typing.cast("float", fields.get("Total Cost", 0))),
        estimated_rows=_whole(fields.get("Plan Rows")) or 0,
        rows=None if loops is None else float(typing.cast("float", fields.get("Actual Rows", 0))),
        loops=loops,
        seconds=seconds,
        own_seconds=None if seconds is None else max(seconds - below, 0.0),
        share=None,
        rows_removed=sum(_whole(value) or 0 for name, value in fields.items() if name.startswith("Rows Removed by ")),
        buffers=_buffers(fields),
        workers=launched if launched is not None else _whole(fields.get("Workers Planned")),
        details={name: value for name, value in fields.items() if name not in _READ and name not in _BUFFERS.values()},
        children=children,
    )


def _kind(fields: _Fields) -> str:
    """The step as EXPLAIN's own text calls it."""
    kind = str(fields["Node Type"])
    match kind:
        case "ModifyTable":
            kind = str(fields.get("Operation", kind))
        case "Aggregate":
            kind = {"Hashed": "HashAggregate", "Sorted": "GroupAggregate", "Mixed": "MixedAggregate"}.get(str(fields.get("Strategy")), kind)
        case "Nested Loop" | "Hash Join" | "Merge Join" if fields.get("Join Type", "Inner") != "Inner":
            kind = f"{kind.removesuffix(' Join')} {fields['Join Type']} Join"
        case "SetOp":
            kind = f"{kind} {fields.get('Command', '')}".strip()
        case _ if fields.get("Scan Direction") == "Backward":
            kind = f"{kind} Backward"
        case _:
            pass
    partial = {"Partial": "Partial ", "Finalize": "Finalize "}.get(str(fields.get("Partial Mode")), "")
    return f"{'Parallel ' if fields.get('Parallel Aware') else ''}{partial}{kind}"


def _relation(fields: _Fields) -> str | None:
    name = _text(fields.get("Relation Name") or fields.get("CTE Name") or fields.get("Function Name"))
    alias = _text(fields.get("Alias"))
    if name is None or alias is None or alias == name:
        return name if name is not None else alias
    return f"{name} {alias}"


def _is_cte(node: PlanNode) -> bool:
    return node.subplan is not None and node.subplan.startswith("CTE ")


def _without_ctes(root: PlanNode) -> PlanNode:
    """The tree with the time of each CTE taken from the first scan that reads it: that is where PostgreSQL lets it run."""
    owed = {node.subplan.removeprefix("CTE "): node.seconds or 0.0 for node in root.walk() if node.subplan is not None and _is_cte(node)}

    def paid(node: PlanNode) -> PlanNode:
        own = node.own_seconds
        if node.kind == "CTE Scan" and own is not None and node.relation is not None:
            own = max(own - owed.pop(node.relation.partition(" ")[0], 0.0), 0.0)
        return evolve(node, own_seconds=own, children=tuple(paid(child) for child in node.children))

    return paid(root)


def _shared(node: PlanNode, whole: float) -> PlanNode:
    share = None if node.own_seconds is None else min(node.own_seconds / whole, 1.0)
    return evolve(node, share=share, children=tuple(_shared(child, whole) for child in node.children))


def _buffers(fields: _Fields) -> Buffers | None:
    if "Shared Hit Blocks" not in fields:
        return None
    return Buffers(**{name: _whole(fields.get(field)) or 0 for name, field in _BUFFERS.items()})


def _seconds(milliseconds: object) -> float | None:
    return float(milliseconds) / 1000 if isinstance(milliseconds, int | float) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
