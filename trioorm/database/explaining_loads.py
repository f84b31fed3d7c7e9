"""`explain` of a select with loads: the plan of each statement, below the one that finds its owners.

The contract: all are explained in one flight. Measured, they run one after the other in one transaction, as the load itself would, so each
finds the owners that the one before it has handed on. Of a load that is one statement, each relation has its own steps of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from psycopg.pq.abc import PGresult

from trioorm.database.explaining import LoadedRelation, QueryPlan, explain_step, read_plan
from trioorm.database.load_plan import LoadPlan
from trioorm.database.plan_nodes import PlanNode
from trioorm.database.united import UnitedPlan
from trioorm.query import Select
from trioorm.wire import Step

__all__ = ["explain_load_steps", "read_load_plan"]

_HANDED = "finds by the keys that the statement above hands on"
_UNITED = "in the statement above"
_SENT = "finds by keys that are sent, as they are floating-point numbers (shown for none)"


def explain_load_steps(plan: LoadPlan, statement: Select[Any], *, analyze: bool, verbose: bool) -> list[Step]:
    """The steps that explain the statements of a load, in its order."""
    if plan.united is not None:
        return [explain_step(plan.united.step(statement), analyze=analyze, verbose=verbose)]
    steps = [plan.first_step(statement), *[part.step_for(statement.loads) for flight in plan.flights for part in flight]]
    return [explain_step(step, analyze=analyze, verbose=verbose) for step in steps]


def read_load_plan(plan: LoadPlan, results: Sequence[PGresult]) -> QueryPlan:
    """The plans in the server's answers to these steps."""
    if plan.united is not None:
        return _read_united(plan.united, results[0].get_value(0, 0) or b"")
    numbered = [(number, part) for number, flight in enumerate(plan.flights, 1) for part in flight]
    answers = [result.get_value(0, 0) or b"" for result in results]

    def below(owner: int | None) -> tuple[LoadedRelation, ...]:
        return tuple(
            LoadedRelation(
                str(part.load.relation),
                _SENT if part.sends_keys else _HANDED,
                read_plan(answer, part.plan.compiled.text, flight=number, loads=below(part.number)),
            )
            for (number, part), answer in zip(numbered, answers[1:], strict=True)
            if part.owner == owner
        )

    assert plan.rows is not None, "the plan of a select"
    return read_plan(answers[0], plan.rows.compiled.text, loads=below(None))


def _read_united(united: UnitedPlan, answer: bytes) -> QueryPlan:
    """The plan of a united statement, and of each relation the steps that find its objects."""
    whole = read_plan(answer, united.plan.compiled.text)
    ctes = {node.subplan: node for node in whole.nodes() if node.subplan is not None}
    branches = [node for node in whole.root.children if node.subplan is None] if whole.root.kind.endswith("Append") else []
    if len(branches) != len(united.pieces) + 1:  # one was seen to be empty, and left out
        branches = []

    part = evolve(whole, planning_seconds=None, execution_seconds=None, triggers={})  # these are of the whole

    def steps(number: int) -> PlanNode:
        cte = ctes.get(f"CTE trioorm_part_{number}")
        return cte if cte is not None else branches[number] if branches else whole.root

    def below(owner: int) -> tuple[LoadedRelation, ...]:
        return tuple(
            LoadedRelation(str(piece.load.relation), _UNITED, evolve(part, root=steps(number), loads=below(number)))
            for number, piece in enumerate(united.pieces, 1)
            if piece.owner == owner
        )

    return evolve(whole, loads=below(0))
