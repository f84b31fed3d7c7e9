"""What type the result of arithmetic has, and which operator PostgreSQL writes for it.

Source: PostgreSQL manual, sections 9.3 (numbers) and 9.9 (dates and times), 9.20 (ranges); pgvector's README.
"""

from __future__ import annotations

from trioorm.errors import QueryError
from trioorm.expression.types import DATE, INTEGER, INTERVAL, TIME, TIMESTAMP, TIMESTAMPTZ, TIMETZ, SqlType

_MOMENTS: dict[tuple[str, str, str], SqlType] = {
    ("+", "timestamptz", "interval"): TIMESTAMPTZ,
    ("+", "interval", "timestamptz"): TIMESTAMPTZ,
    ("-", "timestamptz", "interval"): TIMESTAMPTZ,
    ("-", "timestamptz", "timestamptz"): INTERVAL,
    ("+", "timestamp", "interval"): TIMESTAMP,
    ("+", "interval", "timestamp"): TIMESTAMP,
    ("-", "timestamp", "interval"): TIMESTAMP,
    ("-", "timestamp", "timestamp"): INTERVAL,
    ("*", "interval", "number"): INTERVAL,
    ("*", "number", "interval"): INTERVAL,
    ("/", "interval", "number"): INTERVAL,
    ("+", "date", "number"): DATE,
    ("+", "number", "date"): DATE,
    ("-", "date", "number"): DATE,
    ("-", "date", "date"): INTEGER,
    ("+", "date", "interval"): TIMESTAMP,
    ("+", "interval", "date"): TIMESTAMP,
    ("-", "date", "interval"): TIMESTAMP,
    ("+", "date", "time"): TIMESTAMP,
    ("+", "time", "date"): TIMESTAMP,
    ("+", "date", "timetz"): TIMESTAMPTZ,
    ("+", "timetz", "date"): TIMESTAMPTZ,
    ("+", "time", "interval"): TIME,
    ("+", "interval", "time"): TIME,
    ("-", "time", "interval"): TIME,
    ("-", "time", "time"): INTERVAL,
    ("+", "timetz", "interval"): TIMETZ,
    ("+", "interval", "timetz"): TIMETZ,
    ("-", "timetz", "interval"): TIMETZ,
}
_JOINED = frozenset({"text", "bit", "jsonb", "hstore", "tsvector", "bytea"})
"""Families whose `+` is PostgreSQL's `||`."""
_COMPUTED = frozenset({("interval", "+"), ("interval", "-"), ("vector", "+"), ("vector", "-"), ("vector", "*")})
"""Families with operators whose result is of the family again."""


def arithmetic_result(operator: str, left: SqlType | None, right: SqlType | None) -> tuple[str, SqlType | None]:
    """How the operator is spelled for these types, and the result's type.

    Raises:
        QueryError: the operator has no meaning for them.
    """
    if left is None or right is None:
        known = left if right is None else right
        return ("||" if operator == "+" and known is not None and known.family in _JOINED else operator), known
    if left.family == right.family == "number":
        wider = left if left.rank >= right.rank else right
        return operator, wider if wider.modifiers == () else wider.bound  # numeric(10, 2) times itself has four places
    if left.family == right.family:
        if operator == "+" and (left.family in _JOINED or left.element is not None):
            return "||", left.bound
        if (left.family, operator) in _COMPUTED:
            return operator, left.bound
        if left.subtype is not None and operator in "+-*":
            return operator, left
    found = _MOMENTS.get((operator, left.family, right.family))
    if found is not None:
        return operator, left if found is INTERVAL and left.family == "interval" else found
    raise QueryError(
        f"{left.name} {operator} {right.name} has no meaning in PostgreSQL.\nTo fix it: cast() one side, or write it with sql('...')."
    )
