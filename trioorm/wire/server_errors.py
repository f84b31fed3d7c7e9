"""What the server or libpq reported, as errors of trioorm.

The contract: the text says what happened in the server's words, names the object concerned, and adds the likeliest fix where there is one.
The server's detail line quotes values of the row, so it is kept as an attribute and stays out of the text; for the same reason no psycopg
error, whose text would hold it, is chained as the cause.

Source: PostgreSQL manual, "Error and Notice Message Fields" (https://www.postgresql.org/docs/current/protocol-error-fields.html).
"""

from __future__ import annotations

import re

from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult

from trioorm.errors import CommitOutcomeUnknown, ConnectionLost, DatabaseError, UsageError, error_class_for

_FIXES: dict[str, str] = {
    "42P01": "Create it (`await db.create_schema(...)` with its model), or check the database and the search_path.",
    "42703": "Compare the model's columns with the table's; the table may be older than the model.",
    "42501": "Grant the privilege to this role, or connect as another.",
    "25P02": (
        "An earlier statement of this transaction failed, and PostgreSQL refuses all others until it is rolled back. "
        "Let the first error leave the block, or put the statement that may fail into `async with tx.savepoint()`."
    ),
    "40001": "Run the whole transaction again.",
    "40P01": "Run the whole transaction again; take locks in the same order everywhere.",
    "55P03": "Wait for the lock by leaving `nowait` out, or try again later.",
    "53300": "Lower `max_size`, or raise the server's max_connections.",
    "0A000": "If it says `cached plan`, a table has changed since the statement was prepared: run the transaction again.",
    "42P07": "Something of that name is there already: drop it first (`await db.drop_schema(...)`), or leave it.",
    "42710": "Something of that name is there already: drop it first (`await db.drop_schema(...)`), or leave it.",
    "25006": "The transaction is read only; open it without `read_only=True`.",
}

_QUOTED = r'(?s)".*"'


def is_error(result: PGresult) -> bool:
    """Whether a result is an error of the server."""
    return result.status == ExecStatus.FATAL_ERROR


def error_from_result(result: PGresult, *, statement: str | None = None, encoding: str = "utf-8") -> DatabaseError:
    """The error that a result of the server carries.

    Args:
        result: a libpq result with status FATAL_ERROR.
        statement: the SQL text without values, for the attribute and the place of the error.
        encoding: the connection's encoding as Python names it.
    """

    def field(name: DiagnosticField) -> str | None:
        value = result.error_field(name)
        return None if value is None else value.decode(encoding, "replace")

    sqlstate = field(DiagnosticField.SQLSTATE) or "XX000"
    primary = field(DiagnosticField.MESSAGE_PRIMARY) or result.get_error_message(encoding).strip()
    table = field(DiagnosticField.TABLE_NAME)
    hint = field(DiagnosticField.MESSAGE_HINT)
    position_text = field(DiagnosticField.STATEMENT_POSITION)
    position = int(position_text) if position_text else None
    # Errors about a value quote it.
    shown = re.sub(_QUOTED, '"…"', primary) if sqlstate.startswith("22") else primary
    lines = [f"{shown} (SQLSTATE {sqlstate})"]
    if table:
        lines[0] += f", table {table!r}"
    if statement is not None and position is not None:
        lines.append(f"Near: {_excerpt(statement, position)}")
    if hint:
        lines.append(f"The server's hint: {hint}")
    if fix := _FIXES.get(sqlstate):
        lines.append(f"To fix it: {fix}")
    return error_class_for(sqlstate)(
        "\n".join(lines),
        sqlstate=sqlstate,
        message_primary=primary,
        detail=field(DiagnosticField.MESSAGE_DETAIL),
        hint=hint,
        constraint=field(DiagnosticField.CONSTRAINT_NAME),
        table=table,
        column=field(DiagnosticField.COLUMN_NAME),
        schema_name=field(DiagnosticField.SCHEMA_NAME),
        position=position,
        statement=statement,
    )


def _excerpt(statement: str, position: int) -> str:
    """The statement around a character position (from 1), with the place marked."""
    start = max(0, position - 1 - 40)
    before, after = statement[start : position - 1], statement[position - 1 : position + 39]
    text = f"{'…' if start else ''}{before} >>> {after}{'…' if position + 39 < len(statement) else ''}"
    return " ".join(text.split())


def copy_out_of_place() -> UsageError:
    """The error for a COPY that was run like any other statement."""
    return UsageError(
        "COPY cannot be run like other statements, since rows travel beside it; the connection was closed.\n"
        "To fix it: use `copy_in`, or a cursor's `copy()` on an AnyIOConnection of your own."
    )


def is_farewell(result: PGresult) -> bool:
    """Whether the server ended the session with this error (severity FATAL or PANIC)."""
    return result.error_field(DiagnosticField.SEVERITY_NONLOCALIZED) in (b"FATAL", b"PANIC")


def connection_lost(reason: str, *, safe_to_retry: bool = False) -> ConnectionLost:
    """The error for a connection that broke under a statement."""
    said = f": {reason.strip()}" if reason.strip() else ""
    fate = "Nothing was written by it." if safe_to_retry else "Whether the statement took effect is not known from here."
    return ConnectionLost(
        f"the connection to the server broke{said}\n{fate} The pool opens another connection by itself.", safe_to_retry=safe_to_retry
    )


def write_outcome_unknown(reason: str) -> CommitOutcomeUnknown:
    """The error for a single write whose answer did not come."""
    return CommitOutcomeUnknown(
        f"the write was sent, but {reason}.\n"
        "It may have taken effect or not. To fix it: read the row back before you repeat the write; "
        "inside `async with db.transaction()` the outcome can be asked for."
    )
