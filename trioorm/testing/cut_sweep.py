"""The sweep by network chunk: run an operation through a fault proxy and cut its connection at chunk 1, 2, ... until it has no more.

The contract: in each direction, with the chunk lost and with it delivered, the operation either ends normally, or raises an error
that says what is known of its effect; what it says is in `CutRun.effect`, for the caller's check to compare with the rows that are
there. The first run that hangs, raises something else or fails its check ends the sweep.
"""

import enum
from collections.abc import Awaitable, Callable, Sequence

import anyio
import attrs

from trioorm.errors import CommitOutcomeUnknown, DatabaseUnavailable, TrioormError, UsageError, leaves_of
from trioorm.testing.proxy import Cut, Direction, FaultProxy

__all__ = ["CutReport", "CutRun", "CutSweepFailed", "Effect", "cut_sweep"]


class Effect(enum.Enum):
    """What an operation said about itself by the way it ended."""

    HAPPENED = "happened"
    """It ended normally: all of its work must be there."""
    NOTHING = "nothing"
    """It raised a definite failure: nothing of its work may ever be there."""
    UNKNOWN = "unknown"
    """It raised `CommitOutcomeUnknown`: all of it or nothing."""


@attrs.frozen(kw_only=True)
class CutRun:
    """One run of a sweep by chunk.

    Attributes:
        chunk: the chunk at which the connection was cut, counted from 1 since the operation began.
        direction: which way that chunk went.
        delivered: whether it still arrived.
        reached: False for the last run of each direction and kind, which has fewer chunks and is not cut.
        value: what the operation returned, when it did.
        error: what it raised, when it did.
    """

    chunk: int
    direction: Direction
    delivered: bool
    reached: bool
    value: object
    error: BaseException | None

    @property
    def effect(self) -> Effect:
        """What the operation said about its effect."""
        if self.error is None:
            return Effect.HAPPENED
        if any(isinstance(leaf, CommitOutcomeUnknown) for leaf in leaves_of(self.error)):
            return Effect.UNKNOWN
        return Effect.NOTHING

    def __str__(self) -> str:
        ended = "returned" if self.error is None else f"raised {type(self.error).__name__}"
        return f"{_place(self.chunk, self.direction, delivered=self.delivered, reached=self.reached)}: {ended}"


@attrs.frozen
class CutReport:
    """All runs of a sweep by chunk that held. Printing it gives a line for each."""

    runs: tuple[CutRun, ...]

    @property
    def cuts(self) -> int:
        """How many runs were cut."""
        return sum(run.reached for run in self.runs)

    def effects(self, direction: Direction, *, delivered: bool) -> tuple[Effect, ...]:
        """What the runs of one kind said, by chunk from the first; the last of them was not cut."""
        return tuple(run.effect for run in self.runs if run.direction is direction and run.delivered is delivered)

    def __str__(self) -> str:
        return "\n".join(map(str, self.runs))


class CutSweepFailed(TrioormError, AssertionError):
    """An operation broke a promise when its connection was cut. The cause, when there is one, is what it or the check raised.

    Attributes:
        chunk, direction, delivered: where the connection was cut.
    """

    def __init__(self, message: str, *, chunk: int, direction: Direction, delivered: bool) -> None:
        super().__init__(message)
        self.chunk = chunk
        self.direction = direction
        self.delivered = delivered


async def cut_sweep(
    proxy: FaultProxy,
    make_operation: Callable[[], Awaitable[object]],
    *,
    check: Callable[[CutRun], Awaitable[None]] | None = None,
    may_raise: type[BaseException] | tuple[type[BaseException], ...] = (DatabaseUnavailable, CommitOutcomeUnknown),
    directions: Sequence[Direction] = tuple(Direction),
    first: int = 1,
    limit: int = 1000,
    patience_seconds: float = 10.0,
) -> CutReport:
    """Run an operation again and again, and cut its connection at every chunk, in both directions, lost and delivered.

    One connection is cut in each run, at the chunk that is the k-th of all connections since the operation began; so nothing else should
    use the proxy meanwhile.

    Args:
        proxy: what the operation's connections go through.
        make_operation: called before each run; returns a fresh coroutine or other awaitable.
        check: awaited after each run, also after the last of each kind, which is not cut. It raises when an invariant of the caller's does
            not hold: the pool recovers by itself, `run.effect` agrees with the rows that are there.
        may_raise: what the operation may raise once it is cut. Groups of nothing else may come out too.
        directions: which way the chunks go; by default first one, then the other.
        first: the chunk to begin with, to repeat a failure.
        limit: the greatest chunk to try.
        patience_seconds: how long one run may take.

    Returns:
        Every run, in order; print it for a list.

    Raises:
        CutSweepFailed: an invariant broke. Not safe to retry.
        UsageError: the operation has more than `limit` chunks.

    Checkpoint: always.
    """
    runs: list[CutRun] = []
    for direction in directions:
        for delivered in (False, True):
            for chunk in range(first, limit + 2):
                if chunk > limit:
                    raise UsageError(
                        f"The operation still passes chunks {direction.value} after {limit} of them, and is run once for each.\n"
                        "To fix it, one of:\n  1. let the operation do less\n  2. raise limit"
                    )
                cut = proxy.cut_at(direction, chunk, delivered=delivered)
                try:
                    run = await _run_once(make_operation(), cut, chunk, may_raise, patience_seconds)
                finally:
                    proxy.disarm(cut)
                if check is not None:
                    await _check(check, run)
                runs.append(run)
                if not run.reached:
                    break
    return CutReport(tuple(runs))


async def _run_once(
    operation: Awaitable[object],
    cut: Cut,
    chunk: int,
    may_raise: type[BaseException] | tuple[type[BaseException], ...],
    patience_seconds: float,
) -> CutRun:
    value: object = None
    error: BaseException | None = None
    with anyio.move_on_after(patience_seconds) as patience:
        try:
            value = await operation
        except Exception as raised:
            error = raised
    reached = cut.happened

    def failed(what: str) -> CutSweepFailed:
        return _failed(what, chunk, cut.direction, delivered=cut.delivered, reached=reached)

    if patience.cancelled_caught:
        raise failed(f"the operation did not end within {patience_seconds} s, and had to be cancelled")
    if error is not None and not reached:
        raise failed(f"the operation raised {type(error).__name__} by itself") from error
    if error is not None and not all(isinstance(leaf, may_raise) for leaf in leaves_of(error)):
        raise failed(f"{type(error).__name__} came out, which does not say what became of the work") from error
    return CutRun(chunk=chunk, direction=cut.direction, delivered=cut.delivered, reached=reached, value=value, error=error)


async def _check(check: Callable[[CutRun], Awaitable[None]], run: CutRun) -> None:
    try:
        await check(run)
    except Exception as error:
        ended = "returned" if run.error is None else f"raised {type(run.error).__name__}"
        raise _failed(
            f"the operation {ended}, and then the check raised {type(error).__name__}: {error}",
            run.chunk,
            run.direction,
            delivered=run.delivered,
            reached=run.reached,
        ) from error


def _failed(what: str, chunk: int, direction: Direction, *, delivered: bool, reached: bool) -> CutSweepFailed:
    again = f"cut_sweep(..., directions=[Direction.{direction.name}], first={chunk})"
    return CutSweepFailed(
        f"{_place(chunk, direction, delivered=delivered, reached=reached)}: {what}.\n  To see it alone: {again}",
        chunk=chunk,
        direction=direction,
        delivered=delivered,
    )


def _place(chunk: int, direction: Direction, *, delivered: bool, reached: bool) -> str:
    if not reached:
        return f"Not cut (there is no chunk {chunk} {direction.value})"
    return f"Cut at chunk {chunk} {direction.value}, {'delivered' if delivered else 'lost'}"
