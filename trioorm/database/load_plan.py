"""The plan of a load: which statements, in which flight, and how what they find is attached.

The contract: a plan depends on the form of the select and of the relations to load, never on values, and is kept by it, so that a load of
a known form builds no statement. A statement gets the keys of its owners from the one that finds them: handed on in the same flight, or,
where the owners are objects in hand, sent with it. `by_level` always sends them, one flight for each level, which gives the same objects in
more trips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Never, cast

from attrs import frozen

from trioorm.compiler import ModelResult
from trioorm.database.attaching import Attach, Identify, attacher, identifier_of
from trioorm.database.plan import Plan, PlanCache
from trioorm.database.united import UnitedPlan, unite
from trioorm.expression.shape import Source
from trioorm.model import FieldInfo, Load, ModelInfo, model_of
from trioorm.query import Handing, ModelItem, Select, SelectShape, can_be_handed, find_related, handed_keys, sent_keys, values_of
from trioorm.wire import Step

__all__ = ["LoadPlan", "Part", "known_plan"]

_MOST_PLANS = 2000


@frozen(eq=False, repr=False)
class Part:
    """One relation of a load.

    Attributes:
        number: its place among the parts.
        load: as it was when the plan was made; its values are of no account.
        place: where it stands among the loads: `(0, 2)` is the third below the first.
        owner: the number of the part that finds its owners; None where they are among the rows, or in hand.
        model: of the owners.
        sends_keys: its keys are bind values, known when its owners are.
        plan: of its statement.
        step: the same each time, where there are no values.
        values: of the statement, those of the keys apart, where the load holds none.
        attach: gives what was found to the owners.
        has_parts: further ones have their owners here.
        is_shared: it may find one row several times.
    """

    number: int
    load: Load[Never]
    place: tuple[int, ...]
    owner: int | None
    model: type
    sends_keys: bool
    plan: Plan
    step: Step | None
    values: tuple[object, ...] | None
    attach: Attach
    has_parts: bool
    is_shared: bool

    def step_for(self, loads: Sequence[Load[Never]], keys: Sequence[tuple[object, ...]] = ()) -> Step:
        """The step with the values of these loads, and the keys, where it sends them."""
        if self.step is not None:
            return self.step
        values = self.values
        if values is None:
            load = loads[self.place[0]]
            for at in self.place[1:]:
                load = load.nested[at]
            values = values_of(load)
        if self.sends_keys:
            columns: list[object] = [list(column) for column in zip(*keys, strict=True)]
            values = (*(columns or [[] for _ in self.load.relation.keys.own]), *values)
        return self.plan.step(self.plan.compiled.arranged(list(values)))


@frozen(eq=False, repr=False)
class LoadPlan:
    """A load as statements.

    Attributes:
        rows: of the select, which hands on keys; None for objects in hand.
        identify: what makes one object of several for one row, for each model that needs it among the rows or objects in hand.
        may_lack: an object may be missing from a row.
        flights: the relations in each flight, each behind that of its owners.
        is_write: something among them may change or lock rows.
        united: all of it as one statement, where that is what is sent; then there are no flights.
    """

    rows: Plan | None
    identify: dict[type, Identify]
    may_lack: bool
    flights: tuple[tuple[Part, ...], ...]
    is_write: bool
    united: UnitedPlan | None = None

    def first_step(self, statement: Select[Any]) -> Step:
        """The step of the select itself."""
        assert self.rows is not None, "the plan of a select"
        return self.rows.step(self.rows.compiled.arranged(list(statement.bind_values)))


def _plan_of_load(plans: PlanCache, statement: Select[Any] | None, loads: Sequence[Load[Never]], *, by_level: bool = False) -> LoadPlan:
    """The plan of a select with loads, or of loads onto objects in hand where there is no select.

    Raises:
        QueryError, ModelError: it cannot be compiled.
    """
    drafts = _drafts(loads, None, (), has_select=statement is not None and not by_level, by_level=by_level)
    shared = _shared_models(statement, drafts)
    if statement is not None and not by_level:
        united = unite(plans, statement, [(draft.load, draft.place, draft.owner) for draft in drafts], shared)
        if united is not None:
            return LoadPlan(united.plan, {}, may_lack=False, flights=(), is_write=False, united=united)
    rows = None if statement is None else plans.plan(_handing(statement, drafts, None))[0]
    flights: list[list[Part]] = [] if rows is None else [[]]
    is_write = rows is not None and rows.is_write
    for at, draft in enumerate(drafts):
        part = _part(plans, at, draft, drafts, shared)
        number = _flight(draft, drafts, 0 if rows is None else 1)
        flights += [[] for _ in range(number - len(flights))]
        flights[number - 1].append(part)
        is_write = is_write or part.plan.is_write
    identify = {model: identifier_of(model_of(model)) for model in shared}
    may_lack = rows is None or any(isinstance(item, ModelResult) and item.optional for item in rows.compiled.results)
    return LoadPlan(rows, identify, may_lack, tuple(map(tuple, flights)), is_write)


def known_plan(plans: PlanCache, statement: Select[Any] | None, loads: Sequence[Load[Never]], *, by_level: bool = False) -> LoadPlan:
    """The plan of a load, kept or made now; arguments as `_plan_of_load`."""
    form = None if statement is None else statement.form
    themselves = (form, plans.namespace, by_level, tuple(loads))  # those without values are there once and for ever
    plan = plans.loads.get(themselves)
    if plan is not None:
        return cast("LoadPlan", plan)
    forms = (plans.namespace, by_level, *[load.form for load in loads])
    key = (form, *forms)
    plan = plans.loads.get(key)
    if plan is None:
        by_shape = (None if statement is None else statement.shape, *forms)  # several forms may stand for one
        plan = plans.loads.get(by_shape) or _plan_of_load(plans, statement, loads, by_level=by_level)
        if len(plans.loads) >= _MOST_PLANS:
            plans.loads.clear()
        plans.loads[key] = plans.loads[by_shape] = plan
    if all(load.is_bare for load in loads):
        plans.loads[themselves] = plan
    return cast("LoadPlan", plan)


@frozen(eq=False, repr=False)
class _Draft:
    """A part before its statement is known.

    Attributes:
        load, place, owner: as of `Part`.
        settings: in which its keys are handed on; empty where they are sent.
    """

    load: Load[Never]
    place: tuple[int, ...]
    owner: int | None
    settings: tuple[str, ...]


def _drafts(
    loads: Iterable[Load[Never]],
    owner: int | None,
    above: tuple[int, ...],
    *,
    has_select: bool,
    by_level: bool,
    found: list[_Draft] | None = None,
) -> list[_Draft]:
    """All relations of a load, each before those below it. Siblings with the same key share its settings."""
    drafts: list[_Draft] = [] if found is None else found
    named: dict[tuple[type, tuple[str, ...]], tuple[str, ...]] = {}
    for at, load in enumerate(loads):
        relation = load.relation
        own = relation.keys.own
        settings: tuple[str, ...] = ()
        if (owner is not None or has_select) and not by_level and can_be_handed(own):
            key = (relation.owner.model, tuple(field.attribute for field in own))
            number = len(drafts)
            settings = named.setdefault(key, tuple(f"trioorm.keys_{number}_{column}" for column in range(len(own))))
        drafts.append(_Draft(load, (*above, at), owner, settings))
        _drafts(load.nested, len(drafts) - 1, (*above, at), has_select=has_select, by_level=by_level, found=drafts)
    return drafts


def _wanted(drafts: Sequence[_Draft], owner: int | None) -> list[tuple[ModelInfo, tuple[FieldInfo, ...], tuple[str, ...]]]:
    """The keys that the statement which finds some owners hands on."""
    found: dict[tuple[str, ...], tuple[ModelInfo, tuple[FieldInfo, ...], tuple[str, ...]]] = {}
    for draft in drafts:
        if draft.owner == owner and draft.settings:
            relation = draft.load.relation
            found[draft.settings] = (relation.owner, relation.keys.own, draft.settings)
    return list(found.values())


def _handing(statement: Select[Any], drafts: Sequence[_Draft], owner: int | None) -> Select[Any] | Handing[Any]:
    wanted = _wanted(drafts, owner)
    return Handing(statement, wanted) if wanted else statement


def _part(plans: PlanCache, at: int, draft: _Draft, drafts: Sequence[_Draft], shared: set[type]) -> Part:
    load = draft.load
    relation = load.relation
    own = relation.keys.own
    keys = handed_keys(own, draft.settings) if draft.settings else sent_keys(own)
    finding = find_related(load, keys)
    plan, _ = plans.plan(_handing(finding.statement, drafts, at))
    values = None if load.has_values else values_of(load)
    sends_keys = not draft.settings
    is_shared = relation.target.model in shared and not relation.is_figure
    return Part(
        number=at,
        load=load,
        place=draft.place,
        owner=draft.owner,
        model=relation.owner.model,
        sends_keys=sends_keys,
        plan=plan,
        step=plan.step(plan.compiled.arranged(list(values))) if values is not None and not sends_keys else None,
        values=values,
        attach=attacher(load, keyed=finding.keyed, identify=identifier_of(relation.target) if is_shared else None),
        has_parts=any(other.owner == at for other in drafts),
        is_shared=is_shared,
    )


def _flight(draft: _Draft, drafts: Sequence[_Draft], first: int) -> int:
    before = first if draft.owner is None else _flight(drafts[draft.owner], drafts, first)
    return before if draft.settings else before + 1


def _shared_models(statement: Select[Any] | None, drafts: Sequence[_Draft]) -> set[type]:
    """The models of which a row may be met more than once: in several places of the load, or several times in one."""
    seen: list[type] = []
    owners: set[type] = set()
    repeated: set[type] = set()
    if statement is not None:
        shape = cast("SelectShape", statement.shape)
        models = [item.model for item in shape.items if isinstance(item, ModelItem)]
        seen += models
        if shape.joins or len(shape.items) > 1 or not isinstance(shape.source, Source):
            repeated.update(models)  # in tuples each model is looked for by this
    for draft in drafts:
        relation = draft.load.relation
        if draft.owner is None and statement is None:
            owners.add(relation.owner.model)
        if relation.is_figure:
            continue
        seen.append(relation.target.model)
        if relation.keys.link is not None:
            repeated.add(relation.target.model)
    seen += owners
    return repeated | {model for model in seen if seen.count(model) > 1}
