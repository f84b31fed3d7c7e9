"""What came of a run: medians, and ratios to another contender round by round."""

import statistics
from collections.abc import Iterable, Sequence

from attrs import frozen

from benchmarks.speed.entrants import ENTRANTS
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


def series(figures: Figures, workload: str, contender: str, clock: str) -> list[float] | None:
    """A contender's figures on a workload, in microseconds; on the one that it is like, when it has no way of its own for this one."""
    like = WORKLOADS[workload].like
    own = figures[workload].get(contender) or (figures.get(like, {}).get(contender) if like else None)
    return None if own is None else own[clock]


def compared(figures: Figures, workload: str, contender: str, baseline: str, clock: str = "cpu") -> Ratio | None:
    """A contender's ratio on a workload; None where one of the two has no figures."""
    own = figures[workload].get(contender)
    other = series(figures, workload, baseline, clock)
    return None if own is None or other is None else ratio(own[clock], other)


def median(figures: Figures, workload: str, contender: str, clock: str = "cpu") -> float | None:
    """The median of a contender's figures on a workload, in microseconds."""
    own = figures[workload].get(contender)
    return None if own is None else statistics.median(own[clock])


def contenders_of(figures: Figures) -> list[str]:
    """Who took part, in the order in which they are shown."""
    found = {name for of_workload in figures.values() for name in of_workload}
    return [name for name in ENTRANTS if name in found]


def fastest(figures: Figures, workload: str, names: Iterable[str], clock: str = "cpu") -> tuple[str, list[float]] | None:
    """Who of these was fastest on a workload, by medians, with the figures."""
    found = [(name, own) for name in names if (own := series(figures, workload, name, clock)) is not None]
    return min(found, key=lambda pair: statistics.median(pair[1]), default=None)


def peer_orms(figures: Figures) -> list[str]:
    """The ORMs that took part, ours left out."""
    return [name for name in contenders_of(figures) if ENTRANTS[name].is_orm and not name.startswith("trioorm")]


def ahead(figures: Figures, workload: str, of: str, clock: str = "cpu") -> list[str]:
    """Who was faster than a contender in most rounds, limits left out, the fastest first; none of the same library."""
    mine = figures[workload].get(of)
    if mine is None:
        return []
    found: list[tuple[float, str]] = []
    for name in contenders_of(figures):
        own = series(figures, workload, name, clock)
        if own is not None and not ENTRANTS[name].is_limit and name.split()[0] != of.split()[0]:
            found.append((ratio(own, mine[clock]).median, name))
    return [name for median, name in sorted(found) if median < 1]


def micros(value: float) -> str:
    """A length of time as it is shown, given in microseconds."""
    if value < 10:
        return f"{value:.1f} µs"
    if value < 1_000:
        return f"{value:.0f} µs"
    if value < 10_000:
        return f"{value / 1_000:.1f} ms"
    return f"{value / 1_000:.0f} ms"
