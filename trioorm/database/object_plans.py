"""The plans of the verbs for objects, for verbs that run at once and for those of a flight: known ones, or built and learned now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from trioorm.database.known_plans import ObjectVerb
from trioorm.database.objects import must_be_object, select_by_key
from trioorm.database.plan import Plan, PlanCache
from trioorm.model import Model
from trioorm.query import Statement

__all__ = ["learn_by_key", "learn_for_object", "plan_for_object"]

M = TypeVar("M", bound=Model)


def learn_by_key(plans: PlanCache, model: type[Model], key: tuple[object, ...]) -> tuple[Plan, Sequence[bytes | None]]:
    """The plan of `get`, where `find_by_key` has none, and the parameters.

    Raises:
        QueryError, BindError: as `get`.
    """
    plan, values = plans.plan(select_by_key(model, key))
    plans.known.learn_key(model, key, plan, values)
    return plan, plan.pack(values)


def plan_for_object(
    plans: PlanCache, verb: ObjectVerb, held: M, build: Callable[[M], Statement[Any]], how: object = None
) -> tuple[Plan, Sequence[bytes | None]]:
    """The plan of a verb for an object, whose statement is built only when it is not known yet, and the parameters.

    Args:
        plans: where it is kept.
        verb: which.
        held: the object.
        build: makes the statement.
        how: what else the statement depends on.

    Raises:
        QueryError, BindError: as the verb.
    """
    plan, parameters = plans.known.find(verb, held, how)
    if plan is None or parameters is None:
        return learn_for_object(plans, verb, held, build, how)
    return plan, parameters


def learn_for_object(
    plans: PlanCache, verb: ObjectVerb, held: M, build: Callable[[M], Statement[Any]], how: object = None
) -> tuple[Plan, Sequence[bytes | None]]:
    """The same where it is known that none is known."""
    plan, values = plans.plan(build(must_be_object(held, verb)))
    plans.known.learn(verb, held, how, plan, values)
    return plan, plan.pack(values)
