"""Statements that need a server session of their own, and so cannot work through a pooler in transaction mode.

The contract: what is refused is certain from the beginning of the text: the server would do it, without a word, to a session that belongs
to somebody else a moment later. What may be undone in the same transaction (a temporary table, a lock) is refused only outside of one; what
stands deeper in a text, or behind another statement, is not seen. Looked at once for each text.

Source: https://www.pgbouncer.org/features.html, "SQL feature map for pooling modes"
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from psycopg import ProgrammingError

from trioorm.errors import UsageError

__all__ = ["SessionNeeded", "refuse_without_session"]

_MOST_SHOWN = 80

Need = Literal["listen", "set", "prepare", "load", "hold", "temporary", "lock"]

# Parameters that PgBouncer keeps for each client. SET TRANSACTION and SET CONSTRAINTS end with the transaction by themselves.
_KEPT = (
    rb"LOCAL|TRANSACTION|CONSTRAINTS"
    rb"|(?:SESSION\s+)?(?:NAMES|TIME\s+ZONE|client_encoding|datestyle|timezone|standard_conforming_strings|application_name)"
)
_TEXTS = (
    rb"(?is)(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
    rb"(?:(?P<listen>(?:UN)?LISTEN)\b"
    rb"|(?P<set>(?:SET|RESET)\s++(?!(?:" + _KEPT + rb")\b))"
    rb"|(?P<prepare>PREPARE\s++(?!TRANSACTION\b)|DEALLOCATE\b)"
    rb"|(?P<load>LOAD\s)"
    rb'|(?P<hold>DECLARE\s+(?:"[^"]*"|\S+)\s+(?:[A-Z]+\s+)*?CURSOR\s+WITH\s+HOLD\b)'
    rb"|(?P<temporary>CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:GLOBAL|LOCAL)\s+)?TEMP(?:ORARY)?\s)"
    rb"|(?P<lock>SELECT\s+pg_(?:try_)?advisory_(?:un)?lock(?:_shared|_all)?\s*\())"
)
_UNDONE_BY_A_TRANSACTION: frozenset[Need] = frozenset({"temporary", "lock"})
_WAYS_OUT: dict[Need, str] = {
    "listen": "`db.listen(...)` with listen_address=..., an address that leads to the server directly, for the one connection that listens",
    "set": "SET LOCAL in a transaction, or `db.transaction(settings=...)`; for all sessions of a role ALTER ROLE ... SET ...",
    "prepare": "leave it out; the pooler's server sessions are shared, so nothing is prepared under a name",
    "load": "name the library in session_preload_libraries of the server",
    "hold": "leave WITH HOLD out, and read the cursor inside its transaction",
    "temporary": "make it in a transaction, with ON COMMIT DROP",
    "lock": "take the lock in a transaction (`await tx.advisory_lock(...)`), which gives it back at its end",
}


class SessionNeeded(UsageError, ProgrammingError):
    """A statement that cannot work through a connection pooler in transaction mode."""


def refuse_without_session(text: bytes, *, in_transaction: bool) -> None:
    """Refuse a text that is about to be sent through a pooler in transaction mode.

    Args:
        text: of the statement.
        in_transaction: whether it would run in a transaction.

    Raises:
        SessionNeeded: it needs a session of its own. Nothing of it was sent.
    """
    need = _need(text)
    if need is None or (in_transaction and need in _UNDONE_BY_A_TRANSACTION):
        return
    shown = " ".join(text.decode(errors="replace").split())
    raise SessionNeeded(
        f"this statement needs a session of its own: {shown if len(shown) <= _MOST_SHOWN else shown[:_MOST_SHOWN] + '...'}\n"
        "A connection pooler in transaction mode stands before the server, and would give it to a session that belongs to somebody else a "
        "moment later, without a word.\n"
        "To fix it, one of:\n"
        f"  1. {_WAYS_OUT[need]}\n"
        "  2. run it in another database or pool, opened with an address that leads to the server directly\n"
        '  3. pooler="session", if the pooler keeps a server session for each client'
    )


@lru_cache(1000)
def _need(text: bytes) -> Need | None:
    found = re.match(_TEXTS, text)
    return None if found is None else _NEEDS[found.lastgroup or ""]


_NEEDS: dict[str, Need] = {need: need for need in _WAYS_OUT}
