"""The repeat detector: the same statement sent again and again from one place, where one for all of them would do.

The contract: a scope counts what its code and the tasks that are started in it send, since tasks inherit the context. While no scope is
open anywhere, a verb looks at an empty list and that is all. Statements of one call (a load of a graph, a flight) count as one.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Never, cast

from trioorm.database.plan import PlanCache
from trioorm.errors import RepeatedStatement, UsageError
from trioorm.model import Load, Model, model_of
from trioorm.model.place import Place, place_of_caller, shown
from trioorm.query import Statement
from trioorm.wire import Step

__all__ = ["OPEN_SCOPES", "NoRepeats", "note_flight", "note_objects", "note_statement"]

logger = logging.getLogger("trioorm.database")


class NoRepeats:
    """A scope in which no statement may be repeated too often. Made by `Database.no_repeats`."""

    def __init__(self, plans: PlanCache, limit: int, *, raises: bool = True) -> None:
        if type(limit) is not int or limit < 1:
            raise UsageError(f"no_repeats(limit={limit!r}): how often may a statement be sent?\nTo fix it: give a whole number from 1.")
        self._plans = plans
        self._limit = limit
        self._raises = raises
        self._sent: dict[Hashable, int] = {}
        self._found: RepeatedStatement | None = None
        self._outer: NoRepeats | None = None

    def __repr__(self) -> str:
        return f"<NoRepeats: {len(self._sent)} statements, at most {self._limit} times each>"

    async def __aenter__(self) -> None:
        """Begin to count.

        Checkpoint: never.
        """
        self._outer = _scope.get()
        _scope.set(self)
        OPEN_SCOPES.append(self)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Stop counting.

        Raises:
            RepeatedStatement: one was found inside, and swallowed.

        Checkpoint: never.
        """
        OPEN_SCOPES.remove(self)
        _scope.set(self._outer)  # no reset by a token: a fixture may end in another context than it began in
        if kind is None and self._found is not None:
            raise self._found

    def count(self, plans: PlanCache, place: Place | None, what: Hashable, shown_as: str, remedy: str) -> None:
        """Count one call, here and in the scopes around. Where the scope only reports, it does so once for each line and statement.

        Raises:
            RepeatedStatement: it is one too many. Nothing was sent.
        """
        if self._outer is not None:
            self._outer.count(plans, place, what, shown_as, remedy)
        if plans.violations is not self._plans.violations:  # another database's
            return
        key = (None if place is None else (id(place[0]), place[1]), what)
        times = self._sent[key] = self._sent.get(key, 0) + 1
        if times > self._limit and (self._raises or times == self._limit + 1):
            where = "the event loop" if place is None else shown(place)
            error = RepeatedStatement(
                f"{where} has sent this {times - 1} times, and {'would send' if self._raises else 'sends'} it again; "
                f"no_repeats(limit={self._limit}) allows no more:\n"
                f"{shown_as}\n"
                f"To fix it, one of:\n  1. one statement for all of them: {remedy}\n"
                "  2. if so many are meant, no_repeats(limit=...)",
                place=where,
                times=times,
            )
            if not self._raises:
                logger.warning("%s", error)
                return
            self._found = self._found or error
            raise error


OPEN_SCOPES: list[NoRepeats] = []
"""Those of the whole process: where it is empty, nobody counts."""

_scope: ContextVar[NoRepeats | None] = ContextVar("trioorm_no_repeats", default=None)


def note_statement(plans: PlanCache, statement: Statement[Any]) -> None:
    """Count a statement that is about to be sent.

    Raises:
        RepeatedStatement: it is one too many.
    """
    scope = _scope.get()
    if scope is not None:
        what = (statement.shape, _relations(statement.loads))
        remedy = "a condition with .in_([...]) or a join; for what belongs to objects, .load(...) where these are fetched"
        scope.count(plans, place_of_caller(2), what, str(statement), remedy)


def note_flight(plans: PlanCache, steps: Sequence[Step]) -> None:
    """Count a flight, as one, by all that is in it.

    Raises:
        RepeatedStatement: it is one too many.
    """
    scope = _scope.get()
    if scope is not None and steps:
        texts = tuple([step.statement.text.decode() for step in steps])
        shown_as = f"a flight of {len(texts)}, the first of them\n{texts[0]}"
        scope.count(
            plans, place_of_caller(2), texts, shown_as, "one flight around the loop; or .in_([...]), .load(...), insert_many([...])"
        )


def note_objects(plans: PlanCache, verb: str, model: type[Model], loads: tuple[Load[Never], ...] = ()) -> None:
    """Count a verb for objects of a model.

    Raises:
        RepeatedStatement: it is one too many.
    """
    scope = _scope.get()
    if scope is not None:
        relations = _relations(loads)
        named = f"{verb}({', '.join([model.__qualname__, *relations])})"
        scope.count(plans, place_of_caller(2), (verb, model, relations), named, _remedy(verb, model))


def _relations(loads: tuple[Load[Never], ...]) -> tuple[str, ...]:
    return tuple([f"{load.relation}{''.join(f'.load({name})' for name in _relations(load.nested))}" for load in loads])


def _remedy(verb: str, model: type[Model]) -> str:
    name, info = model.__qualname__, model_of(model)
    key = cast("Any", info.primary_key)[0].attribute if info.primary_key else "id"
    match verb:
        case "get":
            return f"fetch_all(select({name}).where({name}.{key}.in_([...]))); what belongs to objects: .load(...) where these are fetched"
        case "insert":
            return f"insert_many([...]) of all {name}s"
        case "update":
            return f"update_many([...]) of all {name}s"
        case "patch":
            return f"execute(update({name}).set_each([...]))"
        case "delete":
            return f"execute(delete({name}).where({name}.{key}.in_([...])))"
        case "copy_in":
            return f"copy_in({name}, ...) of all rows; it reads them from an iterator as well"
        case "upsert":
            return f'copy_in({name}, [...], on_conflict="do_update")'
        case _:
            return f"{verb}() once, with all objects"
