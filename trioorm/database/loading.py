"""Loading relations: the statements of a graph in one flight, and their objects attached.

The contract: one statement for each relation, whatever the number of objects, and one flight for all of them (`load_plan.py` says when
not). Outside of a transaction reads of one flight show one moment. Within one load a row is one object. Attaching does not wait, so objects
in hand have what a cancelled load would have loaded either whole flights deep, or not at all.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Never

from psycopg.pq.abc import PGresult

from trioorm.database.attaching import Graph, keys_of, unique_objects
from trioorm.database.load_plan import LoadPlan, Part, known_plan
from trioorm.database.plan import PlanCache
from trioorm.errors import QueryError
from trioorm.model import Load, Model
from trioorm.model.place import place_of_caller
from trioorm.query import Select
from trioorm.transaction import Runner
from trioorm.wire import Step

__all__ = ["fetch_with_loads", "load_onto_rows", "load_relations", "steps_of_load"]


async def fetch_with_loads(runner: Runner, plans: PlanCache, statement: Select[Any], *, by_level: bool = False) -> list[Any]:
    """The rows of a select, with relations loaded onto the objects in them. Repeated rows become one object.

    Raises:
        NoRowFound, TooManyRows: a relation to one object found another number.
        Others: as `Runner.run`.

    Checkpoint: always.
    """
    plan = known_plan(plans, statement, statement.loads, by_level=by_level)
    united = plan.united
    if united is not None:
        sent = united.plan
        result = await runner.run_one(sent.statement, united.pack(statement), sent.formats, is_write=False)
        return united.land(result, place_of_caller(3))
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


def steps_of_load(plans: PlanCache, statement: Select[Any]) -> tuple[LoadPlan, list[Step], Callable[[Sequence[PGresult]], list[Any]]]:
    """A select with loads as a part of somebody else's flight: its plan, its steps, and what makes rows of their results.

    Raises:
        QueryError: it takes several flights, or cannot be compiled.
    """
    plan = known_plan(plans, statement, statement.loads)
    united = plan.united
    if united is not None:
        return plan, [united.step(statement)], lambda results: united.land(results[0], place_of_caller())
    flight, *further = plan.flights
    if further:
        raise QueryError(
            "a flight is one trip, and this load takes several, because a key is a floating-point number; nothing was sent.\n"
            "To fix it: fetch it outside of the flight."
        )
    loading = _Loading(None, plan, statement.loads)
    first = plan.first_step(statement)
    return plan, loading.steps(flight, first), lambda results: loading.land(flight, results, first)


def _model_of(items: Iterable[object]) -> type:
    """The class of the first that is there."""
    return next((type(item) for item in items if item is not None), object)


class _Loading:
    """One load under way.

    Args:
        runner: runs the statements; None where others do.
        plan: which they are.
        loads: with the values of this time.
    """

    __slots__ = ("_found", "_graph", "_loads", "_owners", "_plan", "_runner")

    def __init__(self, runner: Runner | None, plan: LoadPlan, loads: Sequence[Load[Never]]) -> None:
        self._runner = runner
        self._plan = plan
        self._loads = loads
        self._graph: Graph = {}
        self._owners: dict[type, list[Any]] = {}
        self._found: dict[int, list[Any]] = {}

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
        rows: list[Any] = []
        for number, flight in enumerate(self._plan.flights):
            opening = first if number == 0 else None
            steps = self.steps(flight, opening)
            results = await self._fly(steps) if steps else []
            found = self.land(flight, results, opening)
            rows = found if opening is not None else rows
        return rows

    async def _fly(self, steps: Sequence[Step]) -> list[PGresult]:
        assert self._runner is not None, "others run them"
        return await (self._runner.run(steps, is_write=True) if self._plan.is_write else self._runner.read(steps))

    def steps(self, flight: Sequence[Part], first: Step | None) -> list[Step]:
        """The steps of a flight, behind the select's own; none where they could find nothing."""
        steps = [] if first is None else [first]
        asked = first is not None
        for part in flight:
            keys = keys_of(part.load, self._owners_of(part)) if part.sends_keys else ()
            asked = asked or bool(keys)
            steps.append(part.step or part.step_for(self._loads, keys))
        return steps if asked else []

    def land(self, flight: Sequence[Part], results: Sequence[PGresult], first: Step | None) -> list[Any]:
        """Attach what a flight has found; the rows of the select, if that was in it."""
        rows: list[Any] = []
        at = 0
        where = place_of_caller()  # once for all, or each part would walk there
        if first is not None:
            assert self._plan.rows is not None, "the plan of a select"
            rows = self._plan.rows.rows(results[0], where)
            self.take(rows, in_place=True)
            at = 1
        for place, part in enumerate(flight, at):
            made = part.attach(self._graph, self._owners_of(part), part.plan.rows(results[place], where) if results else [])
            if part.has_parts:
                self._found[part.number] = unique_objects(made) if part.is_shared else made
        return rows

    def _owners_of(self, part: Part) -> list[Any]:
        return self._owners.get(part.model, []) if part.owner is None else self._found[part.owner]
