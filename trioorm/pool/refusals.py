"""The texts with which a pool refuses: what happened, who has the connections, how to fix it.

The errors are imported where they are raised, since they are psycopg_pool's too, and its import takes long. It also takes files, which may
be what the process has run out of, and with them of connections. Then the error is of the class above, with the same text: somebody in line
who is not refused would wait for ever, and a pool that fails while it closes or takes a connection back would lose one.
"""

from __future__ import annotations

from collections.abc import Collection
from time import monotonic

from trioorm.errors import DatabaseClosed, DatabaseUnavailable, UsageError
from trioorm.pool.lease import Lease
from trioorm.pool.settings import PoolSettings

_MOST_NAMED = 3


def holders_text(leases: Collection[Lease]) -> str:
    """Who has connections on loan, the longest loan first."""
    now = monotonic()
    by_length = sorted(leases, key=lambda lease: lease.lent_at)
    named = [
        f"task {lease.holder!r}{' (which has ended)' if lease.is_leaked else ''} for {now - lease.lent_at:.1f} s, "
        f"{_what_it_does(lease)}borrowed at {lease.place}"
        for lease in by_length[:_MOST_NAMED]
    ]
    more = len(by_length) - _MOST_NAMED
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")


def _what_it_does(lease: Lease) -> str:
    statement = lease.connection.running_statement
    return f"running {statement}, " if statement else ""


def timed_out(
    settings: PoolSettings, leases: Collection[Lease], *, waiting: int, leaving: int, waited_seconds: float, failure: Exception | None
) -> DatabaseUnavailable:
    """The error of a task that waited in vain."""
    lines = [f"no connection came free within {waited_seconds:.1f} s."]
    count = "All" if len(leases) >= settings.max_size else f"{len(leases)} of"
    lines.append(f"{count} {settings.max_size} connections are on loan and {waiting} other tasks wait.")
    if leases:
        lines.append(f"On loan: {holders_text(leases)}.")
    if leaving:
        lines.append(
            f"{leaving} closed connections take places until the server has ended their sessions, as where a COMMIT waits for a standby."
        )
    if failure is not None:
        lines.append(f"Opening another failed: {failure}")
    lines += [
        "To fix it, one of:",
        "  1. end long transactions sooner; no network calls inside them",
        f"  2. raise max_size (now {settings.max_size})",
        f"  3. give callers more time (timeout_seconds, now {settings.timeout_seconds:g})",
    ]
    text = "\n".join(lines)
    try:
        from trioorm.pool.errors import PoolTimeout
    except OSError:
        return _unavailable(text)
    return PoolTimeout(text, waited_seconds=waited_seconds, on_loan=len(leases), waiting=waiting)


def line_is_full(settings: PoolSettings, waiting: int) -> DatabaseUnavailable:
    """The error of a task that finds the line full."""
    return _too_many(
        f"{waiting} tasks wait for a connection already, and max_waiting is {settings.max_waiting}.\n"
        "To fix it: shed this request, raise max_waiting, or raise max_size."
    )


def turned_away(settings: PoolSettings, waited_seconds: float) -> DatabaseUnavailable:
    """The error of a task that a slow line turns away."""
    return _too_many(
        f"the line has been slow for {settings.queue_interval_seconds:g} s: nobody was served within {settings.queue_target_seconds:g} s, "
        f"and this task has waited {waited_seconds:.2f} s, so it is turned away for the sake of fresher ones.\n"
        "To fix it: shed load, raise max_size, or raise queue_target_seconds."
    )


def deadlocked(leases: Collection[Lease]) -> UsageError:
    """The error of the task that completes a deadlock."""
    text = (
        "this task asks for another connection inside a block that holds one, and every other holder waits for one too, so none can come "
        "free.\n"
        f"On loan: {holders_text(leases)}.\n"
        "To fix it: pass the transaction (`tx`) on and use it instead of the database inside its block, or raise max_size above the "
        "number of tasks that do this at a time."
    )
    try:
        from trioorm.pool.errors import PoolDeadlock
    except OSError:
        return UsageError(text)
    return PoolDeadlock(text)


def closed() -> DatabaseClosed:
    """The error of a task that comes after the end."""
    return pool_closed("the pool is closed: its `async with` block has ended.\nTo fix it: do the work inside the block.")


def closed_meanwhile() -> DatabaseClosed:
    """The error of a task that waits when the end comes."""
    return pool_closed("the pool was closed while this task waited for a connection.")


def pool_closed(text: str) -> DatabaseClosed:
    """The error that tells of a pool that is closed."""
    try:
        from trioorm.pool.errors import PoolClosed
    except OSError:
        return DatabaseClosed(text)
    return PoolClosed(text)


def _too_many(text: str) -> DatabaseUnavailable:
    try:
        from trioorm.pool.errors import TooManyRequests
    except OSError:
        return _unavailable(text)
    return TooManyRequests(text)


def _unavailable(text: str) -> DatabaseUnavailable:
    error = DatabaseUnavailable(text)
    error.safe_to_retry = True
    return error
