"""How contenders are compared: first that they do the same, then how long they take.

The contract: contenders take turns within each round of each workload, in an order that moves on with the round, so that a slow moment of
the machine falls on all alike. Every batch begins with equal tables.
"""

import difflib
import pprint
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg
from attrs import frozen

from benchmarks.speed import tables
from benchmarks.speed.contender import Address
from benchmarks.speed.entrants import Entrant
from benchmarks.speed.pgbench import PgbenchWorker
from benchmarks.speed.workers import Asked, Worker
from benchmarks.speed.workloads import Workload

Figures = dict[str, dict[str, dict[str, list[float]]]]
"""By workload and contender: `cpu` and `wall`, the microseconds of one operation in each round."""


class Different(Exception):
    """Two contenders do not give equal rows, or do not leave equal tables."""


@frozen
class Plan:
    """What is to be measured.

    Attributes:
        batch_seconds: how long one contender works on one workload in a round.
    """

    entrants: Sequence[Entrant]
    workloads: Sequence[Workload]
    rounds: int
    batch_seconds: float

    def pairs(self) -> Iterator[tuple[Workload, list[Entrant]]]:
        """Each workload with those who can do it."""
        for workload in self.workloads:
            able = [entrant for entrant in self.entrants if entrant.does(workload)]
            if able:
                yield workload, able

    def steps(self) -> int:
        """How often progress is told of."""
        rounds = {workload.name: -(-self.rounds // workload.every) for workload in self.workloads}
        return sum(len(able) * (rounds[workload.name] + 1) + sum(map(_gives_rows, able)) for workload, able in self.pairs())


def check(plan: Plan, workers: Mapping[str, Asked], connection: psycopg.Connection, step: Callable[[str], None]) -> None:
    """Let each contender do each workload once.

    Raises:
        Different: with the difference between two of them.
    """
    for workload, able in plan.pairs():
        first: list[str] = []
        for entrant in filter(_gives_rows, able):
            step(f"{workload.title}: is {entrant.name} right?")
            tables.reset(connection, workload.changes)
            answer = workers[entrant.name].ask("answer", workload.name)
            if workload.name == "build":
                answer = [_keys(connection, *built) for built in answer]
            left = {table: tables.fingerprint(connection, table) for table in workload.changes}
            found = pprint.pformat({"rows": answer, "tables left": left}, width=120).splitlines()
            if not first:
                first = found
            elif found != first:
                raise Different(
                    "\n".join(difflib.unified_diff(first, found, able[0].name, entrant.name, f"in {workload.name}", lineterm=""))
                )


def _gives_rows(entrant: Entrant) -> bool:
    return entrant.gives_rows


def _keys(connection: psycopg.Connection, text: str, values: Sequence[Any]) -> list[object]:
    cursor = psycopg.RawCursor(connection)
    return [row[0] for row in cursor.execute(text.encode(), values).fetchall()]


def measure(plan: Plan, where: Address, direct: psycopg.Connection, step: Callable[[str], None]) -> Figures:
    """Check the contenders, then time them.

    Args:
        plan: what to measure.
        where: the server, as the contenders reach it.
        direct: to the same database; it empties and fills tables.
        step: told of each step, `plan.steps()` in all.

    Raises:
        Different: the contenders do not do the same.
        WorkerError: one of them failed.
    """
    with ExitStack() as stack:
        workers: dict[str, Asked] = {}
        for entrant in plan.entrants:
            if entrant.gives_rows:
                workers[entrant.name] = stack.enter_context(Worker(entrant.name, where))
            else:
                workers[entrant.name] = stack.enter_context(PgbenchWorker(where))
        check(plan, workers, direct, step)
        pairs = list(plan.pairs())
        operations: dict[tuple[str, str], int] = {}
        for workload, able in pairs:
            for entrant in able:
                step(f"{workload.title}: how many in one go for {entrant.name}?")
                tables.reset(direct, workload.changes)
                found = workers[entrant.name].ask("calibrate", workload.name, seconds=plan.batch_seconds)
                operations[workload.name, entrant.name] = found
        figures: Figures = {workload.name: {entrant.name: {"cpu": [], "wall": []} for entrant in able} for workload, able in pairs}
        for round_number in range(plan.rounds):
            for workload, able in pairs:
                if round_number % workload.every:
                    continue
                for entrant in able[round_number % len(able) :] + able[: round_number % len(able)]:
                    step(f"{workload.title}: {entrant.name}, round {round_number + 1} of {plan.rounds}")
                    tables.reset(direct, workload.changes)
                    count = operations[workload.name, entrant.name]
                    took = workers[entrant.name].ask("time", workload.name, operations=count)
                    for clock, seconds in took.items():
                        figures[workload.name][entrant.name][clock].append(seconds / count / workload.parts * 1e6)
    return figures
