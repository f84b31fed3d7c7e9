"""What came of a run: medians, and ratios to another contender round by round."""

import statistics
from collections.abc import Sequence

from attrs import frozen

from benchmarks.speed.measuring import Figures
from benchmarks.speed.workloads import WORKLOADS


@frozen
class Ratio:
    """How one contender compares with another.

    Attributes:
        median: of the ratios of the rounds.
        low, high: the middle half of them lies between these.
    """

    median: float
    low: float
    high: float


def ratio(own: Sequence[float], other: Sequence[float]) -> Ratio:
    """Compare the figures of the same rounds."""
    found = sorted(mine / theirs for mine, theirs in zip(own, other, strict=True))
    if len(found) < 2:
        return Ratio(found[0], found[0], found[0])
    low, median, high = statistics.quantiles(found, n=4, method="inclusive")
    return Ratio(median, low, high)


def compared(figures: Figures, workload: str, contender: str, baseline: str, clock: str = "cpu") -> Ratio | None:
    """A contender's ratio on a workload; None where one of the two has no figures.

    A workload that the baseline has no way of its own for is compared with the one that it is like.
    """
    own = figures[workload].get(contender)
    like = WORKLOADS[workload].like
    other = figures[workload].get(baseline) or (figures.get(like, {}).get(baseline) if like else None)
    return None if own is None or other is None else ratio(own[clock], other[clock])


def median(figures: Figures, workload: str, contender: str, clock: str = "cpu") -> float | None:
    """The median of a contender's figures on a workload, in microseconds."""
    own = figures[workload].get(contender)
    return None if own is None else statistics.median(own[clock])


def micros(value: float) -> str:
    """A length of time as it is shown, given in microseconds."""
    if value < 10:
        return f"{value:.1f} µs"
    if value < 1_000:
        return f"{value:.0f} µs"
    if value < 10_000:
        return f"{value / 1_000:.1f} ms"
    return f"{value / 1_000:.0f} ms"
