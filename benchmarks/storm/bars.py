"""The promises and their bars, each with the figure that a storm found.

The numbers are those of the project's list of promises. Of the commit's fate (4) only what a storm can see is judged: that no outcome was
misreported; how many stayed unknown is told.
"""

import attrs

from benchmarks.storm.figures import percentile
from benchmarks.storm.storm import StormResult

_MILLISECONDS = 1000


@attrs.frozen
class Bar:
    """One promise: its number, what it says, what was found, what the bar is, and whether it held."""

    number: str
    promise: str
    figure: str
    bar: str
    held: bool


def bars(result: StormResult) -> list[Bar]:
    """Every promise that a storm can judge."""
    figures, rows, drills, settings = result.figures, result.comparison, result.drills, result.settings
    left = rows.left_behind - rows.cancelled_but_committed + rows.strangers + result.forbidden_rows
    scheduling = figures.scheduling
    undisturbed = [o for o in figures.overruns if not figures.windows.touches(o.started_at, o.ended_at)]
    healthy = [o.seconds for o in undisturbed]
    own_p99 = percentile([o.seconds - scheduling.surely_waited(o.cancelled_at, o.ended_at) for o in undisturbed], 99)
    frozen = [o.seconds for o in figures.overruns if figures.frozen.touches(o.started_at, o.ended_at)]
    healthy_p99, frozen_p99 = percentile(healthy, 99), percentile(frozen, 99)
    orphans = figures.orphan_seconds
    orphans_p99, oldest = percentile(orphans, 99), max(orphans, default=0.0)
    success = max((recovery.first_success_seconds for recovery in figures.recoveries), default=0.0)
    full = max((recovery.full_capacity_seconds for recovery in figures.recoveries), default=0.0)
    cleanup, commit = settings.cleanup_timeout_seconds, settings.commit_timeout_seconds
    misreported = left + rows.lost + rows.lost_swallows + rows.cancelled_but_committed
    size = settings.pool_size
    return [
        Bar(
            "1",
            "atomic: what did not reach its end leaves nothing",
            f"{left} in {figures.cancellations:,} cancellations",
            f"0 in {settings.cancellations:,}",
            left == 0 and figures.cancellations >= settings.cancellations,
        ),
        Bar(
            "2",
            "an acknowledged commit is durable",
            f"{rows.lost} lost of {rows.acknowledged:,}, {figures.crashes} crashes",
            f"0 in {settings.crashes} crashes",
            rows.lost == 0 and figures.crashes >= settings.crashes,
        ),
        Bar(
            "3",
            "a normal exit means that COMMIT was answered with COMMIT",
            f"{rows.lost_swallows} acknowledged of {figures.swallowed:,} swallowed errors",
            "0",
            rows.lost_swallows == 0 and figures.swallowed > 0,
        ),
        Bar(
            "4",
            "a commit's fate is success, failure, or unknown",
            f"{misreported} misreported; {rows.unknown} unknown, {rows.unknown_committed} of them committed",
            "0 misreported",
            misreported == 0,
        ),
        Bar(
            "5",
            "a COMMIT that took effect is acknowledged",
            f"{rows.cancelled_but_committed} cancelled but committed",
            "0",
            rows.cancelled_but_committed == 0,
        ),
        Bar(
            "6a",
            "no leak: the pool's capacity is its size, at once",
            f"{drills.capacity} of {size}; {result.left_on_loan} on loan, {result.left_waiting} waiting at the end",
            f"{size}; 0, 0",
            (drills.capacity, result.left_on_loan, result.left_waiting) == (size, 0, 0),
        ),
        Bar(
            "6b",
            "server-side sessions never above the size",
            f"at most {figures.most_backends}; above for {figures.surplus_seconds * _MILLISECONDS:.0f} ms",
            f"<= {size}",
            figures.most_backends <= size,
        ),
        Bar(
            "7",
            "no poison: no stray error, foreign row or late cancel",
            f"{len(figures.poisoned)} in {sum(figures.attempts.values()):,} attempts",
            "0",
            not figures.poisoned,
        ),
        Bar(
            "8",
            "no orphan: no query that nobody waits for",
            f"oldest {oldest:.2f} s, p99 {orphans_p99 * _MILLISECONDS:.0f} ms of {len(orphans):,}, {figures.samples:,} looks",
            "none over 1 s, p99 < 100 ms",
            oldest <= 1 and orphans_p99 < 0.1 and figures.samples > 0,
        ),
        Bar(
            "9a",
            "no hang: overrun of deadlines, server healthy",
            f"p99 {own_p99 * _MILLISECONDS:.1f} ms of {len(healthy):,}; {healthy_p99 * _MILLISECONDS:.1f} ms with what the machine took, "
            f"whose loop came {percentile(scheduling.lateness, 99) * _MILLISECONDS:.1f} ms late",
            "p99 <= 50 ms",
            own_p99 <= 0.05,
        ),
        Bar(
            "9b",
            "the same while the server stands still",
            f"p99 {frozen_p99 * _MILLISECONDS:.0f} ms, at most {max(frozen, default=0) * _MILLISECONDS:.0f} ms, of {len(frozen):,}",
            f"p99 <= {cleanup + 0.1:.1f} s",
            frozen_p99 <= cleanup + 0.1,
        ),
        Bar(
            "9c",
            "the same in a COMMIT, which then is unknown",
            f"{drills.commit_overrun_seconds:.2f} s, {'unknown' if drills.commit_unknown else 'NOT unknown'}",
            f"<= {commit + 0.1:.1f} s, unknown",
            drills.commit_overrun_seconds <= commit + 0.1 and drills.commit_unknown,
        ),
        Bar(
            "9d",
            "every task comes to its end",
            f"{figures.hangs} hung{'' if result.finished else ', and the storm did not end'}",
            "0",
            result.finished and not figures.hangs,
        ),
        Bar("10a", "recovery: first success after the server accepts", f"at most {success:.2f} s", "<= 1 s", success <= 1),
        Bar("10b", "recovery: full capacity", f"at most {full:.2f} s", "<= 2 s", full <= 2),
        Bar(
            "11a",
            "fair: overtaken by later ones, of 1,000 waiters of whom 300 quit",
            f"at most {drills.fairness.overtaken}, {drills.fairness.forgotten} forgotten of {1000 - 300}",
            f"<= {size}, 0",
            drills.fairness.overtaken <= size and drills.fairness.forgotten == 0,
        ),
        Bar(
            "11b",
            "the same: waiting over work / size",
            f"p99 {drills.fairness.wait_ratio:.2f}",
            "p99 <= 1.1",
            drills.fairness.wait_ratio <= 1.1,
        ),
        Bar(
            "12",
            "idle death is invisible",
            f"{drills.dead_hand_outs} dead of {drills.hand_outs} hand-outs",
            "0",
            drills.dead_hand_outs == 0 and drills.hand_outs > 0,
        ),
        Bar(
            "15",
            "close() ends, with stuck users",
            f"{drills.close_seconds:.2f} s",
            f"<= {cleanup + 1:.1f} s",
            drills.close_seconds <= cleanup + 1,
        ),
    ]
