"""What a pool counts: plain numbers, and samples of the last thousand waits and loans."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trioorm.pool.settings import PoolSettings
    from trioorm.pool.statistics import LaneStatistics, Loan, PoolStatistics

_SAMPLES = 1000


class Counts:
    """Counts since a pool was opened; times in seconds. Their meaning stands with `PoolStatistics`."""

    requests: int = 0
    queued: int = 0
    wait_seconds: float = 0.0
    request_errors: int = 0
    usage_seconds: float = 0.0
    returns_bad: int = 0
    connects: int = 0
    connect_seconds: float = 0.0
    connect_errors: int = 0
    lost: int = 0
    hooks: int = 0
    hook_errors: int = 0

    def __init__(self) -> None:
        self.waits: deque[float] = deque(maxlen=_SAMPLES)
        self.loans: deque[float] = deque(maxlen=_SAMPLES)

    def waited(self, seconds: float) -> None:
        """A request has waited in line."""
        self.wait_seconds += seconds
        self.waits.append(seconds)

    def statistics(
        self,
        settings: PoolSettings,
        *,
        size: int,
        idle: int,
        waiting: int,
        connecting: int,
        leaving: int,
        on_loan: int,
        loans: tuple[Loan, ...],
        lanes: LaneStatistics,
    ) -> PoolStatistics:
        """The counts, with the state of now."""
        from trioorm.pool.statistics import PoolStatistics, percentiles  # few need it

        return PoolStatistics(
            pool_min=settings.min_size,
            pool_max=settings.max_size,
            pool_size=size,
            pool_available=idle,
            requests_waiting=waiting,
            requests_num=self.requests,
            requests_queued=self.queued,
            requests_wait_ms=round(self.wait_seconds * 1000),
            requests_errors=self.request_errors,
            usage_ms=round(self.usage_seconds * 1000),
            returns_bad=self.returns_bad,
            connections_num=self.connects,
            connections_ms=round(self.connect_seconds * 1000),
            connections_errors=self.connect_errors,
            connections_lost=self.lost,
            hooks_num=self.hooks,
            hooks_errors=self.hook_errors,
            on_loan=on_loan,
            connecting=connecting,
            waiting_time=percentiles(self.waits),
            usage_time=percentiles(self.loans),
            leaving=leaving,
            loans=loans,
            lanes=lanes,
        )
