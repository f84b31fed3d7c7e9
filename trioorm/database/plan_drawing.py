"""A query plan as a tree to read.

The contract: one line for each step, with its own time and share of the whole first, so that the eye finds what is slow; below it what it
looks for, what it threw away and where the planner's guess was far off. Pure text; no width is assumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trioorm.database.plan_nodes import Buffers, PlanNode

__all__ = ["draw_steps", "shown_time"]

_FAR_OFF: Final = 10.0
"""A guess that was wrong by this factor is worth a line: below it plans seldom change."""

_BRANCHES = {False: ("├─ ", "└─ ", "│  "), True: ("+- ", "`- ", "|  ")}


def draw_steps(root: PlanNode, *, ascii_only: bool) -> str:
    """A step and all below it, as a tree."""
    lines = [*_lines(root, "", "", ascii_only)]
    lead = ["" if node is None or node.share is None else f"{node.share * 100:.0f} %  " for node, _ in lines]
    width = max(map(len, lead))
    return "\n".join([f"{share:>{width}}{line}".rstrip() for share, (_, line) in zip(lead, lines, strict=True)])


def shown_time(seconds: float) -> str:
    """A length of time as people read it."""
    return f"{seconds:,.2f} s" if seconds >= 1 else f"{seconds * 1000:,.2f} ms"


def _lines(node: PlanNode, lead: str, below: str, ascii_only: bool, above: str = "") -> Iterator[tuple[PlanNode | None, str]]:
    """The lines of a step and those under it; only the first line of a step comes with the step."""
    fork, last, through = _BRANCHES[ascii_only]
    yield node, f"{lead}{_title(node)}  {_figures(node)}"
    inner = below + (through if node.children else "   ")
    for note in _notes(node, cut_short=above == "Limit"):
        yield None, f"{inner}{note}"
    for place, child in enumerate(node.children, 1):
        is_last = place == len(node.children)
        yield from _lines(child, below + (last if is_last else fork), below + ("   " if is_last else through), ascii_only, node.kind)


def _title(node: PlanNode) -> str:
    text = node.kind
    if node.index is not None:
        text += f" using {node.index}"
    if node.relation is not None:
        text += f" on {node.relation}"
    return text if node.subplan is None else f"{node.subplan}: {text}"


def _figures(node: PlanNode) -> str:
    if node.loops is None:
        return f"{_count(node.estimated_rows, 'row')} expected, cost {node.total_cost:,.2f}"
    if node.loops == 0:
        return "never ran"
    rows = _count(round((node.rows or 0.0) * node.loops), "row")
    text = rows if node.loops == 1 else f"{rows} in {node.loops:,} loops"
    return f"{text}, {shown_time(node.seconds or 0.0)}"


def _notes(node: PlanNode, *, cut_short: bool) -> Iterator[str]:
    if node.sort_key:
        yield f"by {', '.join(node.sort_key)}"
    if node.group_key:
        yield f"by {', '.join(node.group_key)}"
    for name, condition in node.conditions:
        yield f"{name.lower()}: {condition}"
    if node.rows_removed:
        yield f"threw away {_count(node.rows_removed, 'row')}{' each time' if (node.loops or 0) > 1 else ''}"
    factor = node.misestimate
    if factor is not None and (factor >= _FAR_OFF or (factor <= 1 / _FAR_OFF and not cut_short)):
        wrong = f"{factor:,.0f} times too few" if factor > 1 else f"{1 / factor:,.0f} times too many"
        yield f"the planner expected {_count(node.estimated_rows, 'row')}: {wrong}"
    if node.workers is not None:
        yield f"{_count(node.workers, 'worker')}"
    if node.buffers is not None and (said := _blocks(node.buffers)):
        yield f"blocks: {said}"


def _blocks(buffers: Buffers) -> str:
    named = {
        "in memory": buffers.hit,
        "read": buffers.read,
        "dirtied": buffers.dirtied,
        "written": buffers.written,
        "read from temporary files": buffers.temp_read,
        "written to temporary files": buffers.temp_written,
    }
    return ", ".join(f"{number:,} {name}" for name, number in named.items() if number)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
