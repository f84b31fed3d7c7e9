"""What observers implement: hooks that are told what happens inside, and the events they are given.

The contract: `open_database(..., instruments=[...])` takes observers and imports none. Hooks are plain functions, called where the thing
happens, so they must be quick; one that raises is logged, and changes nothing. Events are frozen records without bind values.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from attrs import frozen

__all__ = ["AttemptEnded", "HookFailed", "Instrument", "Instruments"]

logger = logging.getLogger("trioorm.instruments")


@frozen(kw_only=True)
class AttemptEnded:
    """One attempt of `run_in_transaction` or `attempts` has ended.

    Attributes:
        name: of the transaction.
        number: from 1.
        seconds: how long it took, the way to a connection included.
        error: what it raised; None when it was committed.
        next_after_seconds: how long it will be before the next attempt; None when there is none.
    """

    name: str
    number: int
    seconds: float
    error: BaseException | None
    next_after_seconds: float | None


@frozen(kw_only=True)
class HookFailed:
    """A hook of `on_commit` or `on_rollback` has raised, or was cut off by the end of its database.

    Attributes:
        name: of the function.
        error: what it raised.
    """

    name: str
    error: BaseException


class Instrument:
    """An observer of one database. Override what is of interest; each method does nothing by itself."""

    def attempt_ended(self, event: AttemptEnded, /) -> None:
        """See `AttemptEnded`."""

    def hook_failed(self, event: HookFailed, /) -> None:
        """See `HookFailed`."""


class Instruments(Instrument):
    """All observers of a database as one, which never raises.

    Args:
        observers: in the order in which they are told.
    """

    def __init__(self, observers: Iterable[Instrument] = ()) -> None:
        self._observers = tuple(observers)

    def attempt_ended(self, event: AttemptEnded, /) -> None:
        """See `AttemptEnded`."""
        self._tell(lambda observer: observer.attempt_ended(event))

    def hook_failed(self, event: HookFailed, /) -> None:
        """See `HookFailed`."""
        self._tell(lambda observer: observer.hook_failed(event))

    def _tell(self, tell: Callable[[Instrument], None]) -> None:
        for observer in self._observers:
            try:
                tell(observer)
            except Exception:
                logger.exception("the instrument %r failed; what it was told of goes on", observer)
