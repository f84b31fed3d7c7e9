"""How a pool behaves.

Where psycopg_pool has a setting of the same meaning its word is kept, with the unit added. `PoolSettings` is where each is explained;
`PoolOptions` repeats names and types alone, for type checkers, and the tests hold the two together.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypedDict, Unpack

from attrs import Attribute, evolve, field, fields_dict, frozen, validators

from trioorm.instruments import Instrument
from trioorm.wire import AnyIOConnection

Connection: TypeAlias = AnyIOConnection[Any]

# In a smaller pool, a lane would take too much from everybody else while many read.
_LEAST_SIZE_WITH_A_LANE = 5

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


@frozen(kw_only=True, eq=False, repr=False)
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
        lanes: how many of `max_size` may be lanes: connections that many single reads share, while nobody else needs them more. 0: none;
            None: one, when `max_size` without `reserved_size` is 5 or more.
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
    lanes: int | None = field(default=None, validator=validators.optional(_at_least(0)))
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
        if self.lanes and self.lanes + self.reserved_size >= self.max_size:
            raise ValueError(
                f"lanes ({self.lanes}) takes too much of max_size ({self.max_size}): beside it and reserved_size ({self.reserved_size}) "
                "nothing is left.\nTo fix it: raise max_size, or lower one of the others."
            )

    @property
    def most_lanes(self) -> int:
        """How many lanes there may be."""
        return int(self.max_size - self.reserved_size >= _LEAST_SIZE_WITH_A_LANE) if self.lanes is None else self.lanes

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
    lanes: int | None
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
