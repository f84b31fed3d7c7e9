"""`explain` of a select with loads: the plan of each statement, below the one that finds its owners.

The contract: all are explained in one flight. Measured, they run one after the other in one transaction, as the load itself would, so each
finds the owners that the one before it has handed on.
"""

from collections.abc import Sequence
from typing import Any

from psycopg.pq.abc import PGresult

from trioorm.database.explaining import LoadedRelation, QueryPlan, explain_step, read_plan
from trioorm.database.load_plan import LoadPlan
from trioorm.query import Select
from trioorm.wire import Step

__all__ = ["explain_load_steps", "read_load_plan"]

_HANDED = "finds by the keys that the statement above hands on"
_SENT = "finds by keys that are sent, as they are floating-point numbers (shown for none)"


def explain_load_steps(plan: LoadPlan, statement: Select[Any], *, analyze: bool, verbose: bool) -> list[Step]:
    """The steps that explain the statements of a load, in its order."""
    steps = [plan.first_step(statement), *[part.step_for(statement.loads) for flight in plan.flights for part in flight]]
    return [explain_step(step, analyze=analyze, verbose=verbose) for step in steps]


def read_load_plan(plan: LoadPlan, results: Sequence[PGresult]) -> QueryPlan:
    """The plans in the server's answers to these steps."""
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
