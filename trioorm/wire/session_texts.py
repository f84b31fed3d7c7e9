"""What a text would do to its session or its transaction: statements that need a server session of their own, and so cannot work through a
pooler in transaction mode, those that end a transaction, and those that change the encoding.

The contract: what is refused is certain from the text: the server would do it, without a word, to a session that belongs to somebody else
a moment later. Each statement of a text is told by its beginning; advisory locks and `set_config` are found wherever a query calls them.
What may be undone in the same transaction (a temporary table, a lock) is refused only outside of one; what a function or `DO` does is not
seen. Looked at once for each text.

Source: https://www.pgbouncer.org/features.html, "SQL feature map for pooling modes"
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from psycopg import ProgrammingError

from trioorm.errors import QueryError, UsageError

__all__ = [
    "SessionNeeded",
    "changes_encoding",
    "ends_transaction",
    "is_utf8",
    "other_encoding",
    "refuse_without_session",
    "wants_block",
]

_MOST_SHOWN = 80

Need = Literal["listen", "set", "prepare", "load", "hold", "temporary", "lock"]

# Parameters that PgBouncer keeps for each client. SET TRANSACTION and SET CONSTRAINTS end with the transaction by themselves.
_KEPT = (
    rb"LOCAL|TRANSACTION|CONSTRAINTS"
    rb"|(?:SESSION\s+)?(?:NAMES|TIME\s+ZONE|client_encoding|datestyle|timezone|standard_conforming_strings|application_name)"
)
# Text, since few programs ever need them compiled.
_BEGINNINGS = (
    rb"(?is)(?P<listen>(?:UN)?LISTEN)\b"
    rb"|(?P<set>(?:SET|RESET)\s++(?!(?:" + _KEPT + rb")\b))"
    rb"|(?P<prepare>PREPARE\s++(?!TRANSACTION\b)|DEALLOCATE\b)"
    rb"|(?P<load>LOAD\s)"
    rb'|(?P<hold>DECLARE\s+(?:"[^"]*"|\S+)\s+(?:[A-Z]+\s+)*?CURSOR\s+WITH\s+HOLD\b)'
    rb"|(?P<temporary>CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:GLOBAL|LOCAL)\s+)?TEMP(?:ORARY)?\s)"
)
_QUERY = rb"(?i)\s*(?:\(|(?:SELECT|WITH|VALUES|INSERT|UPDATE|DELETE|MERGE)\b)"
_CALLS = (
    rb'(?i)(?<![\w.$"])(?:pg_catalog\s*\.\s*)?'
    rb"(?:(?P<lock>pg_(?:try_)?advisory_(?:un)?lock(?:_shared|_all)?\s*\()|(?P<set>set_config\s*\([^()]*,\s*false\s*\)))"
)
_OPENS = rb"(?i)(?:BEGIN|START\s+TRANSACTION)\b"
_ENDS = rb"(?i)(?:COMMIT|END|ABORT|PREPARE\s+TRANSACTION|ROLLBACK(?!\s+(?:(?:WORK|TRANSACTION)\s+)?TO\b))\b"
_SETS_ENCODING = rb"(?i)SET\s+(?:(?:SESSION|LOCAL)\s+)?(?:NAMES|client_encoding)\b"
_UTF8 = rb"(?i:utf-?8|unicode)"
_TO_UTF8 = rb"(?i)\b(?:NAMES|client_encoding)\s*(?:TO\b|=)?\s*['\"]?(?:" + _UTF8 + rb"|default)\b"
_CALLS_FOR_ENCODING = rb"(?i)\bset_config\s*\(\s*'client_encoding'\s*,\s*+(?!'" + _UTF8 + rb"')"
_SQL_BODY = rb"(?is)CREATE\b.*\bBEGIN\s+ATOMIC\b"
_QUOTED = (
    rb"(?s);|--[^\n]*|(?P<comment>/\*)"
    rb'|(?P<identifier>"[^"]*(?:"|$))'
    rb"|(?:\b[eE]'(?:[^'\\]|\\.|'')*+|'[^']*)(?:'|$)"
    rb"|(?<![\w$])(?P<dollar>\$(?:[^\W\d]\w*)?\$).*?(?:(?P=dollar)|$)"
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
    found = _need(text, in_transaction)
    if found is None:
        return
    need, statement = found
    shown = " ".join(statement.decode(errors="replace").split())
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
def _need(text: bytes, in_transaction: bool) -> tuple[Need, bytes] | None:
    """What in a text needs a session first, and the statement in which it stands, without what that quotes, which may be a value."""
    for statement in _statements(text):
        if re.match(_OPENS, statement):
            in_transaction = True
        elif re.match(_ENDS, statement):
            in_transaction = False
        elif re.match(_SQL_BODY, statement):
            return None  # its semicolons end nothing, and what it calls is not called now
        found = re.match(_BEGINNINGS, statement) or (re.search(_CALLS, statement) if re.match(_QUERY, statement) else None)
        if found is not None:
            need = _NEEDS[found.lastgroup or ""]
            if not (in_transaction and need in _UNDONE_BY_A_TRANSACTION):
                return need, statement
    return None


def wants_block(text: bytes) -> bool:
    """Whether a text needs BEGIN before it to run as it does in a transaction (SAVEPOINT, SET LOCAL), or without would commit by itself
    (VACUUM, a procedure), where with it the server refuses it. What begins as a query does neither."""
    return re.match(_QUERY, text) is None


def ends_transaction(text: bytes) -> bool:
    """Whether a text would end the transaction that it runs in, or begin another, wherever comments stand in it."""
    if re.match(_QUERY, text):
        return False
    return any(re.match(_ENDS, statement) or re.match(_OPENS, statement) for statement in _statements(text))


def changes_encoding(text: bytes) -> bool:
    """Whether a text would make the server take text for anything but UTF-8, by a statement of its own or by `set_config`."""
    if re.match(_QUERY, text):
        return re.search(_CALLS_FOR_ENCODING, text) is not None
    return any(re.match(_SETS_ENCODING, statement) for statement in _statements(text)) and re.search(_TO_UTF8, text) is None


def is_utf8(encoding: str) -> bool:
    """Whether the server takes this name of an encoding for UTF-8."""
    return re.fullmatch(_UTF8, encoding.encode()) is not None


def other_encoding() -> QueryError:
    """The error of a text or a setting that would change the encoding."""
    return QueryError(
        "client_encoding cannot be changed here: text goes to the server as UTF-8, so other letters than meant would be written, without a "
        "word, also by whoever has the connection next.\n"
        "To fix it: leave it out, since the server converts between UTF-8 and its own encoding by itself; a file in another encoding is "
        "decoded in Python. psycopg's own cursors, on a connection of `trioorm.pool`, may use any encoding."
    )


def _statements(text: bytes) -> Iterator[bytes]:
    """The statements of a text, without comments, and with nothing left of what they quote."""
    quoted = re.compile(_QUOTED)
    parts: list[bytes] = []
    at = 0
    while (found := quoted.search(text, at)) is not None:
        parts.append(text[at : found.start()])
        at = found.end()
        if found.group() == b";":
            yield b"".join(parts).strip()
            parts.clear()
        elif found["comment"]:
            at = _end_of_comment(text, at)
            parts.append(b" ")
        else:
            parts.append(b" " if found.group().startswith(b"--") else b'"..."' if found["identifier"] else b"'...'")
    yield b"".join([*parts, text[at:]]).strip()


def _end_of_comment(text: bytes, at: int) -> int:
    """Where a comment ends whose first two characters end here; comments may stand inside of comments."""
    edge = re.compile(rb"/\*|\*/")
    depth = 1
    while depth and (found := edge.search(text, at)) is not None:
        depth += 1 if found.group() == b"/*" else -1
        at = found.end()
    return len(text) if depth else at


_NEEDS: dict[str, Need] = {need: need for need in _WAYS_OUT}
