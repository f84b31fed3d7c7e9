"""What a pool tells of itself: frozen records of one moment.

Their names are psycopg_pool's where the meaning is. Programs that never ask do not load this file.
"""

from __future__ import annotations

from collections import deque

from attrs import frozen


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


def percentiles(samples: deque[float]) -> Percentiles:
    """The nearest-rank percentiles of samples in seconds."""
    ranked = sorted(samples)
    if not ranked:
        return Percentiles(p50=0.0, p95=0.0, p99=0.0)
    last = len(ranked) - 1
    return Percentiles(p50=ranked[last * 50 // 100], p95=ranked[last * 95 // 100], p99=ranked[last * 99 // 100])


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
        pool_size: connections open or being opened, lanes not counted; with these never above `pool_max`.
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
        lanes: the connections that many reads share; they are neither in `pool_size` nor in `on_loan`.
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
