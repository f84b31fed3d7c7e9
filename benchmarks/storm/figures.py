"""What a storm counts and measures while it blows."""

from collections import Counter

import attrs

from benchmarks.storm.scheduling import Scheduling


def percentile(samples: list[float], percent: int) -> float:
    """The nearest-rank percentile; 0 when there are no samples."""
    return sorted(samples)[(len(samples) - 1) * percent // 100] if samples else 0.0


@attrs.frozen
class Overrun:
    """How long one attempt went on after it had been cancelled, in seconds, and when it ran."""

    seconds: float
    started_at: float
    ended_at: float

    @property
    def cancelled_at(self) -> float:
        """When it was cancelled."""
        return self.ended_at - self.seconds


@attrs.frozen
class Recovery:
    """After one crash: seconds from the server's accepting again to the first success, and to the pool's full size."""

    first_success_seconds: float
    full_capacity_seconds: float


@attrs.define
class Windows:
    """Times in which a fault was at work, so that a lost connection has its reason.

    Attributes:
        slack_seconds: how long after a fault its effects may still show.
    """

    slack_seconds: float = 0.5
    _ended: list[tuple[float, float]] = attrs.field(factory=list[tuple[float, float]])
    _open_since: float | None = None

    def open(self, now: float) -> None:
        """A fault begins."""
        self._open_since = now

    def close(self, now: float) -> None:
        """It has ended."""
        assert self._open_since is not None, "it was opened"
        self._ended.append((self._open_since, now))
        self._open_since = None

    @property
    def last_end(self) -> float:
        """When the last fault ended."""
        return self._ended[-1][1] if self._ended else float("-inf")

    def touches(self, start: float, end: float) -> bool:
        """Whether a fault was at work, or just over, between two moments."""
        if self._open_since is not None and end >= self._open_since:
            return True
        return any(begun <= end and start <= ended + self.slack_seconds for begun, ended in reversed(self._ended))


@attrs.define
class Figures:
    """Everything that is counted. Times are the loop's, in seconds.

    Attributes:
        cancellations: attempts that were cancelled while they ran.
        swallowed: attempts that hid an error from their block, and were not cancelled.
        poisoned: errors without a reason, and answers that belonged to somebody else.
        windows: of all faults; frozen: of those in which the server stood still.
        orphan_seconds, orphans: how long queries ran that nobody waited for; those of more than a second in words.
        most_backends, surplus_seconds: sessions on the server outside the windows, and how long there were more than the pool's size.
        hangs: attempts that nobody cancelled, and that did not end.
        samples: how often the server was looked at.
        scheduling: how long the machine kept the storm's own thread from running.
    """

    attempts: Counter[str] = attrs.field(factory=Counter[str])
    endings: Counter[str] = attrs.field(factory=Counter[str])
    cancellations: int = 0
    swallowed: int = 0
    overruns: list[Overrun] = attrs.field(factory=list[Overrun])
    poisoned: list[str] = attrs.field(factory=list[str])
    crashes: int = 0
    freezes: int = 0
    terminated: int = 0
    recoveries: list[Recovery] = attrs.field(factory=list[Recovery])
    last_success_at: float = float("-inf")
    windows: Windows = attrs.field(factory=Windows)
    frozen: Windows = attrs.field(factory=lambda: Windows(slack_seconds=0.0))
    orphan_seconds: list[float] = attrs.field(factory=list[float])
    orphans: list[str] = attrs.field(factory=list[str])
    most_backends: int = 0
    surplus_seconds: float = 0.0
    hangs: int = 0
    samples: int = 0
    scheduling: Scheduling = attrs.field(factory=Scheduling)
