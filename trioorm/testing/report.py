"""What a sweep found: one frozen record a run, and a report of all of them that prints as a table."""

import enum
from collections.abc import Iterable

import attrs

from trioorm.errors import TrioormError
from trioorm.testing.cancellation import Cancellation
from trioorm.testing.suspension import Place


class Outcome(enum.Enum):
    """How one run of the operation ended."""

    CANCELLED = "cancelled"
    """The cancellation came out, once."""
    COMPLETED = "completed"
    """It ended normally before any cancellation was raised inside it; where one was asked for, the next checkpoint raised it."""
    ABSORBED = "absorbed"
    """A cancellation was raised inside, the operation ended normally all the same, and the next checkpoint raised it."""
    RAISED = "raised"
    """Another exception came out, one that the caller of the sweep allows."""


@attrs.frozen(kw_only=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        k: the suspension at which it was cancelled, counted from 1.
        kind: the way of cancelling.
        reached: False for the last run of each kind, which ends before its k-th suspension and is therefore not cancelled.
        outcome: how it ended.
        place: where the operation, or one of its children, was suspended; None when k was not reached.
        value: what the operation returned, when it did.
        error: what it raised, when it did.
        suspensions: how many there were until its end.
    """

    k: int
    kind: Cancellation
    reached: bool
    outcome: Outcome
    place: Place | None
    value: object
    error: BaseException | None
    suspensions: int

    @property
    def ended_normally(self) -> bool:
        """Whether the operation returned: then its effect must be there, else nothing of it."""
        return self.outcome in (Outcome.COMPLETED, Outcome.ABSORBED)

    def __str__(self) -> str:
        where = f"cancelled by {self.kind.value!r} at suspension {self.k}" if self.reached else f"not cancelled (k = {self.k})"
        return f"{where}: {self.outcome.value}"


@attrs.frozen
class SweepReport:
    """All runs of a sweep that held. Printing it gives a table with a line for each k and a column for each kind."""

    runs: tuple[SweepRun, ...]

    @property
    def kinds(self) -> tuple[Cancellation, ...]:
        """The kinds of cancellation, in the order of the runs."""
        return tuple(dict.fromkeys(run.kind for run in self.runs))

    @property
    def suspensions(self) -> int:
        """How many suspensions the operation has when nothing cancels it; the greatest number when runs differ."""
        return max((run.suspensions for run in self.runs if not run.reached), default=0)

    @property
    def cancellations(self) -> int:
        """How many runs were cancelled on the way."""
        return sum(run.reached for run in self.runs)

    def outcomes(self, kind: Cancellation) -> tuple[Outcome, ...]:
        """How the runs of one kind ended, by k from the first; the last of them was not cancelled."""
        return tuple(run.outcome for run in self.runs if run.kind is kind)

    def __str__(self) -> str:
        by_k: dict[int, dict[Cancellation, SweepRun]] = {}
        for run in self.runs:
            by_k.setdefault(run.k, {})[run.kind] = run
        rows = [["k", "suspended at", *(kind.value for kind in self.kinds)]]
        for k, found in sorted(by_k.items()):
            place = next((run.place.short for run in found.values() if run.place is not None), "(not reached)")
            rows.append([str(k), place, *(found[kind].outcome.value if kind in found else "" for kind in self.kinds)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


class InvariantBroken(TrioormError, AssertionError):
    """Something that must hold after every operation does not. Stands here and not in `errors.py` because only tests raise it."""


class SweepFailed(TrioormError, AssertionError):
    """An operation broke a promise when it was cancelled. The cause, when there is one, is the exception of the check.

    Attributes:
        k: the suspension at which it was cancelled.
        kind: the way of cancelling.
        place: where it was suspended; None when k was not reached.
        hung: where each of its tasks was, when it did not end.
    """

    def __init__(self, message: str, *, k: int, kind: Cancellation, place: Place | None, hung: Iterable[Place] = ()) -> None:
        super().__init__(message)
        self.k = k
        self.kind = kind
        self.place = place
        self.hung = tuple(hung)
