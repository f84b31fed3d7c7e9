"""Loading relations: the statements of a graph in one flight, and their objects attached.

The contract: one statement for each relation, whatever the number of objects, and one flight for all of them (`load_plan.py` says when
not). Outside of a transaction reads of one flight show one moment. Within one load a row is one object. Attaching does not wait, so objects
in hand have what a cancelled load would have loaded either whole flights deep, or not at all.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Never, cast

from psycopg.pq.abc import PGresult  # noqa: TC002 - for those who ask for the types

from trioorm.database.attaching import Graph, keys_of, unique_objects
from trioorm.database.load_plan import LoadPlan, Part, known_plan
from trioorm.database.plan import PlanCache
from trioorm.model import Load, Model
from trioorm.model.place import place_of_caller
from trioorm.query import Select
from trioorm.transaction import Runner
from trioorm.wire import Step

__all__ = ["fetch_with_loads", "load_onto_rows", "load_relations"]


async def fetch_with_loads(runner: Runner, plans: PlanCache, statement: Select[Any], *, by_level: bool = False) -> list[Any]:
    """The rows of a select, with relations loaded onto the objects in them. Repeated rows become one object.

    Raises:
        NoRowFound, TooManyRows: a relation to one object found another number.
        Others: as `Runner.run`.

    Checkpoint: always.
    """
    plan = known_plan(plans, statement, statement.loads, by_level=by_level)
    return await _Loading(runner, plan, statement.loads).run(plan.first_step(statement))


async def load_onto_rows(runner: Runner, plans: PlanCache, rows: list[Any], loads: Sequence[Load[Never]]) -> None:
    """Load relations onto the objects in rows that are there, as `fetch_with_loads`; repeated rows become one object, in place.

    Raises:
        As `fetch_with_loads`.

    Checkpoint: only if there are objects with something to load.
    """
    loading = _Loading(runner, known_plan(plans, None, loads), loads)
    loading.take(rows, in_place=True)
    await loading.run(None)


async def load_relations(runner: Runner, plans: PlanCache, objects: Iterable[Model], loads: Sequence[Load[Never]]) -> None:
    """Load relations onto objects in hand, each of them, also where several are of one row.

    Raises:
        QueryError: an object lacks the values by which a relation is found.
        Others: as `fetch_with_loads`.

    Checkpoint: only if there are objects with something to load.
    """
    loading = _Loading(runner, known_plan(plans, None, loads), loads)
    loading.take(unique_objects(list(objects)), in_place=False)
    await loading.run(None)


def _model_of(items: Iterable[object]) -> type:
    """The class of the first that is there."""
    return next((type(item) for item in items if item is not None), object)


class _Loading:
    """One load under way.

    Args:
        runner: runs the statements.
        plan: which they are.
        loads: with the values of this time.
    """

    __slots__ = ("_found", "_graph", "_loads", "_owners", "_plan", "_runner")

    def __init__(self, runner: Runner, plan: LoadPlan, loads: Sequence[Load[Never]]) -> None:
        self._runner = runner
        self._plan = plan
        self._loads = loads
        self._graph: Graph = {}
        self._owners: dict[type, list[Any]] = {}
        self._found: list[list[Any]] = []

    def take(self, rows: list[Any], *, in_place: bool) -> None:
        """Take the objects in rows for owners, those in tuples too; where a row is met again, its first object takes its place."""
        identify = self._plan.identify
        if rows and isinstance(rows[0], tuple):
            columns = [list(column) for column in zip(*rows, strict=True)]
            for column in columns:
                model = _model_of(column)
                if model in identify:
                    column[:] = identify[model](self._graph, column)
                    self._owners[model] = unique_objects([*self._owners.get(model, ()), *column])
            rows[:] = zip(*columns, strict=True)
            return
        model = _model_of(rows)
        shared = rows
        if model in identify:
            shared = identify[model](self._graph, rows)
            if in_place:
                rows[:] = shared
        self._owners[model] = unique_objects(rows) if model in identify or self._plan.may_lack else rows

    async def run(self, first: Step | None) -> list[Any]:
        """Run the flights, and attach what each has found; the rows of the first statement.

        Checkpoint: only if something is sent.
        """
        plan = self._plan
        rows: list[Any] = []
        found: dict[int, list[Any]] = {}
        for flight in plan.flights:
            steps = [] if first is None else [first]
            asked = first is not None
            for part in flight:
                keys = keys_of(part.load, self._owners_of(part, found)) if part.sends_keys else ()
                asked = asked or bool(keys)
                steps.append(part.step or part.step_for(self._loads, keys))
            results: Sequence[PGresult | None] = [None] * len(flight)
            if asked:
                results = await (self._runner.run(steps, is_write=True) if plan.is_write else self._runner.read(steps))
            where = place_of_caller()
            if first is not None:
                assert plan.rows is not None, "the plan of a select"
                rows = plan.rows.rows(cast("PGresult", results[0]), where)
                self.take(rows, in_place=True)
                results, first = results[1:], None
            for part, result in zip(flight, results, strict=True):
                made = part.attach(self._graph, self._owners_of(part, found), [] if result is None else part.plan.rows(result, where))
                if part.has_parts:
                    found[part.number] = unique_objects(made) if part.is_shared else made
        return rows

    def _owners_of(self, part: Part, found: Mapping[int, list[Any]]) -> list[Any]:
        return self._owners.get(part.model, []) if part.owner is None else found[part.owner]
