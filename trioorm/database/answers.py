"""What a verb makes of the rows that came: how many there must be, and what is said when there are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from psycopg.pq.abc import PGresult

from trioorm.database.objects import is_versioned, key_of, stale
from trioorm.database.plan import Plan
from trioorm.errors import NoRowFound, QueryError, StaleObject, TooManyRows
from trioorm.model import Model, model_of
from trioorm.query import Statement

__all__ = ["check_gives_rows", "check_gives_value", "inserted_rows", "not_one", "not_patched", "not_written", "only_row"]

R = TypeVar("R")


def check_gives_rows(plan: Plan, statement: Statement[Any] | None = None) -> None:
    """Refuse a statement without rows.

    Raises:
        QueryError: it gives none.
    """
    if not plan.gives_rows:
        shown = f":\n{statement}" if statement is not None else f":\n{plan.compiled.text}"
        raise QueryError(
            f"this statement gives no rows{shown}\n"
            "To fix it: add `.returning(...)`, or run it with `execute`, which returns the number of rows."
        )


def check_gives_value(plan: Plan, statement: Statement[Any]) -> None:
    """Refuse a statement whose rows are not of one column.

    Raises:
        QueryError: they are not.
    """
    if plan.width != 1 or not plan.compiled.scalar:
        gives = "columns of unknown types" if plan.width is None else f"{plan.width} columns"
        raise QueryError(
            f"fetch_value wants one column, and this statement gives {gives}:\n{statement}\n"
            "To fix it: select one column, say what a sql() text gives with `.returns(int)`, or use fetch_one for the whole row."
        )


def only_row(plan: Plan, result: PGresult, statement: Statement[R]) -> R:
    """The one row of a result.

    Raises:
        NoRowFound, TooManyRows: there is another number of them.
    """
    if result.ntuples != 1:
        raise not_one(result.ntuples, statement)
    row: R = plan.row(result)
    return row


def not_one(count: int, statement: Statement[Any]) -> NoRowFound | TooManyRows:
    """The error for another number of rows than one."""
    if count == 0:
        return NoRowFound(
            f"no row was found by:\n{statement}\nTo fix it: check the condition, or use `fetch_optional` if there may be none."
        )
    return TooManyRows(
        f"{count} rows were found where one was asked for, by:\n{statement}\nTo fix it: narrow the condition, or use `fetch_all`."
    )


def inserted_rows(objects: Sequence[R], plans: Sequence[Plan], results: Sequence[PGresult]) -> list[R]:
    """The rows of all objects that were inserted, in their order.

    Args:
        objects: as they were given.
        plans: of the statements, one as a rule.
        results: of each.

    Raises:
        NoRowFound: there are fewer of them.
    """
    rows = cast("list[R]", plans[0].rows(results[0]) if plans else [])
    for plan, result in zip(plans[1:], results[1:], strict=True):
        rows += plan.rows(result)
    if len(rows) != len(objects):
        raise NoRowFound(
            f"insert_many gave {len(objects):,} objects of {type(objects[0]).__qualname__}, and {len(rows):,} rows came back: a trigger or "
            "a rule of the table left the others out, and which they are is not known.\n"
            "To fix it: insert one by one what may be left out, or let the trigger raise an error."
        )
    return rows


def not_written(held: Model, statement: Statement[Any], verb: str, *, in_transaction: bool) -> NoRowFound | TooManyRows | StaleObject:
    """The error for a write that found no row for an object."""
    if not is_versioned(held):
        return not_one(0, statement)
    return stale(type(held), key_of(held), verb, safe_to_retry=in_transaction)


def not_patched(
    model: type[Model], key: tuple[object, ...], values: Mapping[str, object], statement: Statement[Any], *, in_transaction: bool
) -> NoRowFound | TooManyRows | StaleObject:
    """The error for a patch that found no row."""
    version = model_of(model).version
    if version is None or version.attribute not in values:
        return not_one(0, statement)
    return stale(model, key, "patch", safe_to_retry=in_transaction)
