"""How a pool behaves, and what it tells of itself: two frozen records.

Where psycopg_pool has a setting of the same meaning its word is kept, with the unit added. `PoolSettings` is where each is explained;
`PoolOptions` repeats names and types alone, for type checkers, and the tests hold the two together.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypedDict, Unpack

from attrs import Attribute, evolve, field, fields_dict, frozen, validators

from trioorm.instruments import Instrument
from trioorm.wire import AnyIOConnection

Connection: TypeAlias = AnyIOConnection[Any]

Hook: TypeAlias = Callable[[Connection], Awaitable[None]]
"""What is called with a connection of a pool. It must leave it idle: outside a transaction, with nothing running."""


def _positive(settings: object, attribute: "Attribute[float]", value: float) -> None:
    if not value > 0:
        raise ValueError(f"{attribute.name} must be above 0, not {value!r}.\nTo fix it: give a length in seconds.")


def _at_least(least: int) -> Any:  # noqa: ANN401 - attrs' validators are typed by the field, int or float
    def check(settings: object, attribute: "Attribute[Any]", value: float) -> None:
        if value < least:
            raise ValueError(f"{attribute.name} must be {least} or more, not {value!r}.\nTo fix it: raise it.")

    return check


@frozen(kw_only=True)
class PoolSettings:
    """How a pool behaves.

    Attributes:
        min_size: how many connections are kept open at least; one is opened on entry, so that a wrong address is found at once, unless it
            is 0.
        max_size: how many connections are open at most.
        max_waiting: how many tasks may wait in line; 0 is without limit.
        timeout_seconds: how long a task waits in line before `PoolTimeout`.
        max_lifetime_seconds: the age at which a connection is replaced, once it is free; up to a tenth less, at random, so that not all
            are replaced at once.
        max_idle_seconds: how long a connection above `min_size` may lie unused before it is closed.
        check_after_idle_seconds: a connection that has been idle for longer is asked for a sign of life before it is lent.
        fail_fast: tell waiting tasks at once when no connection can be opened and none is there, instead of trying until their timeout.
        queue_target_seconds: when every task of an interval has waited longer than this, those that have waited twice as long are turned
            away (`TooManyRequests`), as DBConnection does after CoDel; None never turns anyone away.
        queue_interval_seconds: the length of that interval.
        reserved_size: how many of `max_size` are kept for `acquire(reserved=True)`, such as health checks.
        long_loan_seconds: a loan that lasts longer is logged once, with the place where it was taken; None never logs.
        listener_max_silence_seconds: how long the connection on which notifications are heard may be silent before it is taken for dead and
            replaced; after half of it, it is asked for a sign of life.
        cleanup_timeout_seconds: the bound of every cleanup: cancelling a statement, rolling back, waiting for holders at the end.
        commit_timeout_seconds: how long a COMMIT may go on after a cancellation.
        configure: called with each new connection before it is lent, that of the listeners too. If it fails, the connection is closed and
            another one tried; on entry, its error is that of the block.
        reset: called with each connection that comes back idle, in the background, before it is lent again. If it fails, or takes longer
            than a cleanup may, the connection is closed.
        check: called instead of asking for a sign of life. If it fails, or takes longer than a cleanup may, the connection is closed and
            another one lent.
        instruments: observers of what happens, see `trioorm.instruments`.
        lanes: how many of `max_size` are lanes: connections that many single reads share. 0: none.
        lane_depth: how many reads may be under way on each lane; more take connections as usual.

    Source: for the queue, https://queue.acm.org/detail.cfm?id=2209336 (CoDel) and Elixir's DBConnection.
    """

    min_size: int = field(default=1, validator=_at_least(0))
    max_size: int = field(default=10, validator=_at_least(1))
    max_waiting: int = field(default=0, validator=_at_least(0))
    timeout_seconds: float = field(default=30.0, validator=_positive)
    max_lifetime_seconds: float = field(default=3600.0, validator=_positive)
    max_idle_seconds: float = field(default=600.0, validator=_positive)
    check_after_idle_seconds: float = field(default=1.0, validator=_at_least(0))
    fail_fast: bool = False
    queue_target_seconds: float | None = field(default=None, validator=validators.optional(_positive))
    queue_interval_seconds: float = field(default=1.0, validator=_positive)
    reserved_size: int = field(default=0, validator=_at_least(0))
    long_loan_seconds: float | None = field(default=None, validator=validators.optional(_positive))
    listener_max_silence_seconds: float = field(default=60.0, validator=_positive)
    cleanup_timeout_seconds: float = field(default=1.0, validator=_positive)
    commit_timeout_seconds: float = field(default=5.0, validator=_positive)
    configure: Hook | None = None
    reset: Hook | None = None
    check: Hook | None = None
    instruments: Sequence[Instrument] = ()
    lanes: int = field(default=0, validator=_at_least(0))
    lane_depth: int = field(default=256, validator=_at_least(1))

    def __attrs_post_init__(self) -> None:
        if self.min_size > self.max_size:
            raise ValueError(
                f"min_size ({self.min_size}) is above max_size ({self.max_size}).\nTo fix it: lower the one or raise the other."
            )
        if self.reserved_size >= self.max_size:
            raise ValueError(
                f"reserved_size ({self.reserved_size}) leaves nothing of max_size ({self.max_size}) for all others.\nTo fix it: lower it."
            )
        if self.lanes and self.lanes + max(self.min_size, self.reserved_size + 1) > self.max_size:
            raise ValueError(
                f"lanes ({self.lanes}) takes too much of max_size ({self.max_size}): what is left must hold min_size ({self.min_size}) "
                f"and one more than reserved_size ({self.reserved_size}).\nTo fix it: raise max_size, or lower one of the others."
            )

    @property
    def max_lent(self) -> int:
        """How many connections are lent at most: those that are no lanes."""
        return self.max_size - self.lanes

    def resized(self, min_size: int, max_size: int) -> "PoolSettings":
        """The same with other sizes."""
        return evolve(self, min_size=min_size, max_size=max_size)


class PoolOptions(TypedDict, total=False):
    """The same as keyword arguments; each is explained at `PoolSettings`, which has the defaults."""

    min_size: int
    max_size: int
    max_waiting: int
    timeout_seconds: float
    max_lifetime_seconds: float
    max_idle_seconds: float
    check_after_idle_seconds: float
    fail_fast: bool
    queue_target_seconds: float | None
    queue_interval_seconds: float
    reserved_size: int
    long_loan_seconds: float | None
    listener_max_silence_seconds: float
    cleanup_timeout_seconds: float
    commit_timeout_seconds: float
    configure: Hook | None
    reset: Hook | None
    check: Hook | None
    instruments: Sequence[Instrument]
    lanes: int
    lane_depth: int


def settings_from(opener: str, **options: Unpack[PoolOptions]) -> PoolSettings:
    """The settings for keyword arguments.

    Args:
        opener: the function that was given them, for errors.

    Raises:
        TypeError: there is no such setting.
        ValueError: a value makes no sense.
    """
    names = fields_dict(PoolSettings)
    for name in options:
        if name not in names:
            from difflib import get_close_matches  # seldom needed

            close = get_close_matches(name, names, 1) or [each for each in names if each.startswith(name)]
            fix = f"write {close[0]}" if close else f"use one of {', '.join(names)}"
            raise TypeError(f"{opener}() has no argument {name!r}.\nTo fix it: {fix}.")
    return PoolSettings(**options)


@frozen(kw_only=True)
class Loan:
    """One connection on loan.

    Attributes:
        holder: the name of the task that has it.
        place: where in the caller's code it was taken, `file:line`.
        seconds: how long it has lasted.
        backend_pid: the process id of its server session.
        statement: the text of what it runs at this moment, without values and cut when it is long; "" when it runs nothing.
    """

    holder: str
    place: str
    seconds: float
    backend_pid: int
    statement: str


@frozen(kw_only=True)
class Percentiles:
    """Of the last thousand samples, in seconds; 0 when there are none."""

    p50: float
    p95: float
    p99: float


@frozen(kw_only=True)
class LaneStatistics:
    """The lanes of a pool at one moment, and their counts since it was opened.

    Attributes:
        open: how many are open.
        depths: how many statements are under way on each.
        most: how many were at most on one.
        reads: answers that came by them.
        turned_away: reads that might have gone on a lane and took a connection instead, since all lanes were full, held up or not open.
        sent_elsewhere: reads that were sent on a lane and had to take a connection after all, since it was held up or broke.
    """

    open: int
    depths: tuple[int, ...]
    most: int
    reads: int
    turned_away: int
    sent_elsewhere: int


@frozen(kw_only=True)
class PoolStatistics:
    """A pool's state at one moment, and its counts since it was opened. The keys of psycopg_pool's `get_stats` have their meaning there.

    Attributes:
        pool_min, pool_max: as set.
        pool_size: connections open or being opened, lanes not counted; never above `pool_max`.
        pool_available: connections free to lend.
        requests_waiting: tasks in line.
        requests_num: how often a connection was asked for.
        requests_queued: how often that took waiting in line.
        requests_wait_ms: how long all of them waited, in milliseconds.
        requests_errors: how often it ended in an error or was given up.
        usage_ms: how long connections were on loan, in milliseconds.
        returns_bad: connections that came back unusable and were closed.
        connections_num: attempts to open one.
        connections_ms: how long these took, in milliseconds.
        connections_errors: attempts that failed.
        connections_lost: connections found dead when they were to be lent.
        hooks_num: hooks of `on_commit` and `on_rollback` that were begun.
        hooks_errors: those of them that failed or were cut off.
        on_loan: connections lent to tasks.
        connecting: connections being opened.
        leaving: connections that were closed, and whose sessions the server has not ended yet. They take a place too: no connection is
            opened for as long as these and `pool_size` together reach `pool_max`, but not for longer than a cleanup may take, unless
            as many sessions as `pool_max` hang in a COMMIT already.
        waiting_time: how long requests waited.
        usage_time: how long loans lasted.
        loans: who has a connection now, the longest loan first.
        lanes: the connections that many reads share.
    """

    pool_min: int
    pool_max: int
    pool_size: int
    pool_available: int
    requests_waiting: int
    requests_num: int
    requests_queued: int
    requests_wait_ms: int
    requests_errors: int
    usage_ms: int
    returns_bad: int
    connections_num: int
    connections_ms: int
    connections_errors: int
    connections_lost: int
    hooks_num: int
    hooks_errors: int
    on_loan: int
    connecting: int
    leaving: int
    waiting_time: Percentiles
    usage_time: Percentiles
    loans: tuple[Loan, ...]
    lanes: LaneStatistics

    @property
    def idle(self) -> int:
        """Connections free to lend, by another name."""
        return self.pool_available

    @property
    def waiting(self) -> int:
        """Tasks in line, by another name."""
        return self.requests_waiting
