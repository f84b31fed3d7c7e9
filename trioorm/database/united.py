"""Loads in one statement: of a select that gives one object by its key, with all that is loaded beneath it.

The contract: one trip, one moment whatever the transaction's isolation is, and no BEGIN and COMMIT around it. The graph is the one that
statements of their own would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Never, cast

from attrs import frozen
from psycopg.pq.abc import PGresult

from trioorm.database.attaching import Attach, Graph, attacher, attacher_for_one, unique_objects
from trioorm.database.plan import Plan, PlanCache
from trioorm.model import Load
from trioorm.model.place import Place
from trioorm.query import Select, United, UnitedLoad, root_key, values_of
from trioorm.wire import Step

__all__ = ["UnitedPiece", "UnitedPlan", "unite"]

_MOST_COLUMNS = 100
"""In a row: most of them are empty, and each takes 16 bytes of memory while the answer is read."""


@frozen(eq=False, repr=False)
class UnitedPiece:
    """One relation of a load that is a part of the statement.

    Attributes:
        load: as it was when the plan was made; its values are of no account.
        place: as of `Part`.
        owner: the number of the part that finds its owners; 0 is the select.
        values: its bind values, where the load holds none.
        attach: gives what was found to the owners.
        has_parts: further ones have their owners here.
        is_shared: it may find one row several times.
    """

    load: Load[Never]
    place: tuple[int, ...]
    owner: int
    values: tuple[object, ...] | None
    attach: Attach
    has_parts: bool
    is_shared: bool


@frozen(eq=False, repr=False)
class UnitedPlan:
    """A load as one statement.

    Attributes:
        plan: of the statement.
        place: of the object in a row of the select; None where it is the row.
        pieces: the relations, in the order of the parts, from 1.
        known: the packed values of all pieces, where no load holds any, behind those of the select.
    """

    plan: Plan
    place: int | None
    pieces: tuple[UnitedPiece, ...]
    known: Sequence[bytes | None] | None

    def pack(self, statement: Select[Any]) -> list[bytes | None]:
        """The parameters of one execution.

        Raises:
            BindError: a value does not fit its type.
        """
        values = list(statement.bind_values)
        if self.known is not None:
            return [*(self.plan.pack(values) if values else ()), *self.known]
        for piece in self.pieces:
            values += piece.values if piece.values is not None else values_of(_loaded(statement.loads, piece.place), of_one=not piece.owner)
        return self.plan.pack(self.plan.compiled.arranged(values))

    def step(self, statement: Select[Any]) -> Step:
        """One execution, as a part of somebody else's flight.

        Raises:
            BindError: a value does not fit its type.
        """
        return Step(self.plan.statement, self.pack(statement), self.plan.formats)

    def land(self, result: PGresult, where: Place | None) -> list[Any]:
        """The objects of the select, with what was loaded beneath them."""
        found = self.plan.rows(result, where)
        rows = found[0]
        if self.place is not None:
            found[0] = [row[self.place] for row in rows]
        graph: Graph = {}  # rows that are met again were made one object when they were read
        for number, piece in enumerate(self.pieces, 1):
            made = piece.attach(graph, found[piece.owner], found[number])
            if piece.has_parts:
                found[number] = unique_objects(made) if piece.is_shared else made
        return cast("list[Any]", rows)


def _loaded(loads: Sequence[Load[Never]], place: tuple[int, ...]) -> Load[Never]:
    load = loads[place[0]]
    for at in place[1:]:
        load = load.nested[at]
    return load


def unite(
    plans: PlanCache, statement: Select[Any], parts: Sequence[tuple[Load[Never], tuple[int, ...], int | None]], shared: set[type]
) -> UnitedPlan | None:
    """The plan of a select with loads as one statement; None where it takes several.

    Args:
        plans: where the statement's plan is kept.
        statement: the select.
        parts: a relation, its place among the loads, and the number of the one that finds its owners.
        shared: the models of which a row may be met more than once.

    Raises:
        QueryError, ModelError: it cannot be compiled.
    """
    key = root_key(statement)
    if key is None:
        return None
    owners = {owner for _, _, owner in parts}
    loads = [UnitedLoad(load, 0 if owner is None else owner + 1, at in owners) for at, (load, _, owner) in enumerate(parts)]
    united = United(statement, key, loads, shared)
    if united.is_ambiguous:
        return None
    plan, values = plans.plan(united)
    assert plan.width is not None and plan.compiled.parts is not None, "all is known of it"  # noqa: PT018 - one thing
    if plan.is_write or plan.width > _MOST_COLUMNS:
        return None
    pieces: list[UnitedPiece] = []
    for (load, place, _), each, keyed in zip(parts, loads, united.keyed, strict=True):
        is_shared = load.relation.target.model in shared and not load.relation.is_figure
        pieces.append(
            UnitedPiece(
                load,
                place,
                each.owner,
                None if load.has_values else values_of(load, of_one=not each.owner),
                attacher(load, keyed=keyed, identify=None) if each.owner else attacher_for_one(load),
                each.has_parts,
                is_shared,
            )
        )
    known = None
    if plan.compiled.places is None and all(piece.values is not None for piece in pieces):
        known = plan.pack(values)[len(statement.bind_values) :]
    return UnitedPlan(plan, key.place if len(plan.compiled.parts[0]) > 1 else None, tuple(pieces), known)
