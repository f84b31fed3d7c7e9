"""How fast the runs of one statement have been: what decides whether it may share a connection with others.

The contract: a statement is proven fast by several fast runs, each alone on a connection, with no slow one among them. One that was slow
where it held up others takes the proof back, and each time twice as many are asked for, so that a statement that is often slow stays away.
One that was not slow for a minute begins anew: what it cost others is less than a thousandth of their time.

Runs are measured from here, so a busy event loop makes all of them longer. That is why those that were neither fast nor slow say nothing.
"""

from __future__ import annotations

from time import monotonic

__all__ = ["HELD_UP_SECONDS", "SLOW_SECONDS", "Pace"]

SLOW_SECONDS = 0.05
"""A statement that runs for longer is too slow for others to wait for, so they go elsewhere."""

HELD_UP_SECONDS = 0.01
"""A statement that runs for longer holds up those behind it: nobody joins any more, it must prove itself again, and is stopped if nobody
waits for it. Most end sooner, and stopping one costs the server a session."""

_FAST_SECONDS = 0.005

_FAST_RUNS = 5
_MOST_FAST_RUNS = 10_000

_FORGIVEN_AFTER_SECONDS = 60.0


class Pace:
    """The pace of one statement.

    Attributes:
        is_proven: whether it has been fast often enough.
    """

    __slots__ = ("_fast_runs", "_proven_at", "_wanted", "is_proven")

    def __init__(self) -> None:
        self.is_proven = False
        self._fast_runs = 0
        self._wanted = _FAST_RUNS
        self._proven_at = 0.0

    def note(self, seconds: float) -> None:
        """It has run alone."""
        if seconds <= _FAST_SECONDS:
            self._fast_runs += 1
        elif seconds > HELD_UP_SECONDS:
            self._fast_runs = 0
        self.is_proven = self._fast_runs >= self._wanted
        if self.is_proven:
            self._proven_at = monotonic()

    def was_slow(self) -> None:
        """It has held up others."""
        if self.is_proven:
            is_forgiven = monotonic() - self._proven_at >= _FORGIVEN_AFTER_SECONDS
            self._wanted = _FAST_RUNS if is_forgiven else min(2 * self._wanted, _MOST_FAST_RUNS)
        self.is_proven = False
        self._fast_runs = 0
