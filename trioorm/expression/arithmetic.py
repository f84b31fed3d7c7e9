"""What type the result of arithmetic has, and which operator PostgreSQL writes for it.

Source: PostgreSQL manual, sections 9.3 (numbers) and 9.9 (dates and times).
"""

from trioorm.errors import QueryError
from trioorm.expression.types import DATE, INTEGER, INTERVAL, JSONB, TIMESTAMPTZ, SqlType

_MOMENTS: dict[tuple[str, str, str], SqlType] = {
    ("+", "timestamptz", "interval"): TIMESTAMPTZ,
    ("+", "interval", "timestamptz"): TIMESTAMPTZ,
    ("-", "timestamptz", "interval"): TIMESTAMPTZ,
    ("-", "timestamptz", "timestamptz"): INTERVAL,
    ("+", "interval", "interval"): INTERVAL,
    ("-", "interval", "interval"): INTERVAL,
    ("*", "interval", "number"): INTERVAL,
    ("*", "number", "interval"): INTERVAL,
    ("/", "interval", "number"): INTERVAL,
    ("+", "date", "number"): DATE,
    ("-", "date", "number"): DATE,
    ("-", "date", "date"): INTEGER,
}


def arithmetic_result(operator: str, left: SqlType | None, right: SqlType | None) -> tuple[str, SqlType | None]:
    """How the operator is spelled for these types, and the result's type.

    Raises:
        QueryError: the operator has no meaning for them.
    """
    if left is None or right is None:
        known = left if right is None else right
        return ("||" if operator == "+" and known is not None and known.family == "text" else operator), known
    if left.family == right.family == "number":
        return operator, left if left.rank >= right.rank else right
    if operator == "+" and (
        left.family == right.family == "text" or left is JSONB is right or (left.element is not None and left is right)
    ):
        return "||", left
    found = _MOMENTS.get((operator, left.family, right.family))
    if found is not None:
        return operator, found
    raise QueryError(
        f"{left.name} {operator} {right.name} has no meaning in PostgreSQL.\nTo fix it: cast() one side, or write it with sql('...')."
    )
