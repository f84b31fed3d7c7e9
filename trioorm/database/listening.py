"""`notify`: what is sent to listeners, as a statement of the hall. Hearing it is the pool's affair (`trioorm.pool.hub`)."""

from __future__ import annotations

from trioorm.errors import QueryError
from trioorm.pool import checked_channel
from trioorm.query import Statement, sql

__all__ = ["notify_statement"]

_MOST_PAYLOAD_BYTES = 7999


def notify_statement(channel: str, payload: str) -> Statement[object]:
    """The statement that sends one notification, both of its parts as bound values.

    Raises:
        QueryError: a name that no channel can have, or a payload that the server would refuse.
    """
    checked_channel(channel)
    if not isinstance(payload, str):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise QueryError(
            f"a payload is text, not {type(payload).__name__}.\nTo fix it: send json.dumps(value), and json.loads it on the other side."
        )
    if (length := len(payload.encode("utf-8", "replace"))) > _MOST_PAYLOAD_BYTES:
        raise QueryError(
            f"the payload for channel {channel!r} is {length:,} bytes long, and PostgreSQL takes at most {_MOST_PAYLOAD_BYTES:,}.\n"
            "To fix it: write the data into a table, and send the row's key."
        )
    return sql("SELECT pg_notify({channel}, {payload})", channel=channel, payload=payload)
