"""The sweep: run an operation and cancel it at its k-th suspension, for k = 1, 2, ... until k is never reached.

The contract: after each run exactly one cancellation has come out, or the operation ended normally and the next checkpoint raised it; no
other exception, no task left running, nothing left over for the caller; and the check that the caller supplies has passed. The first run
that breaks this fails the sweep, with k, the kind of cancellation and the place of the suspension.

A k that was swept is swept for good only when the operation suspends at the same places in every run. Trio shuffles the tasks that are
ready, and AnyIO on asyncio cancels siblings in no fixed order, so an operation with children may meet a place under another k; running the
sweep several times covers the orders.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from trioorm.errors import UsageError, leaves_of
from trioorm.testing.attempt import Attempt, attempt
from trioorm.testing.cancellation import Cancellation, available_cancellations
from trioorm.testing.report import Outcome, SweepFailed, SweepReport, SweepRun

T = TypeVar("T")

_PATIENCE_SECONDS = 10.0


async def sweep(
    make_operation: Callable[[int], Awaitable[object]],
    *,
    check: Callable[[SweepRun], Awaitable[None]] | None = None,
    kinds: Sequence[Cancellation] | None = None,
    may_absorb: bool = False,
    may_raise: type[BaseException] | tuple[type[BaseException], ...] = (),
    include_children: bool = True,
    first: int = 1,
    limit: int = 10_000,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> SweepReport:
    """Cancel an operation at every suspension, in every way, and check the invariants after each run.

    The operation runs in a task of its own, inside the task that calls. Call it from a test that runs on both event loops.

    Args:
        make_operation: called with k before each run; returns a fresh coroutine or other awaitable.
        check: awaited after each run, also after the last of each kind, which is not cancelled. It raises when an invariant of the
            caller's does not hold: pool whole, `run.ended_normally` agrees with the rows that are there, server quiet.
        kinds: the ways of cancelling; by default all that the running event loop has.
        may_absorb: allow the operation to end normally after a cancellation was raised inside it, as a COMMIT that took effect must.
            The next checkpoint has to raise it then. Without this, such an end counts as a swallowed cancellation.
        may_raise: other exceptions that may come out, such as the operation's own failure.
        include_children: count suspensions in tasks of nurseries opened inside the operation too.
        first: the k to begin with; to repeat a failure, give its k here and its kind in `kinds`.
        limit: the greatest k to try.
        patience_seconds: how long one run may take. A run that takes longer is thrown out and fails the sweep.

    Returns:
        Every run, in order; print it for a table.

    Raises:
        SweepFailed: an invariant broke. The cause is the exception of `check`, or what the operation raised. Not safe to retry.
        UsageError: a kind that this event loop does not have, or k passed `limit`. Not safe to retry.

    Checkpoint: always.
    """
    available = available_cancellations()
    chosen = available if kinds is None else tuple(kinds)
    _refuse_unavailable(chosen, available)
    runs: list[SweepRun] = []
    for kind in chosen:
        for k in range(first, limit + 2):
            if k > limit:
                raise UsageError(
                    f"The operation still suspends after {limit} suspensions (cancelled by {kind.value!r}).\n"
                    "A sweep runs it once for each suspension, so it should do little, and it must end by itself.\n"
                    "To fix it, one of:\n  1. let the operation do less (fewer rows, fewer rounds)\n  2. raise limit"
                )
            seen = await attempt(make_operation(k), kind, k, include_children=include_children, patience_seconds=patience_seconds)
            run = _judge(seen, k, kind, may_absorb=may_absorb, may_raise=may_raise, patience_seconds=patience_seconds)
            await _check(check, run)
            runs.append(run)
            if not run.reached:
                break
    return SweepReport(tuple(runs))


async def count_suspensions(
    operation: Awaitable[object], *, include_children: bool = True, patience_seconds: float = _PATIENCE_SECONDS
) -> int:
    """Run an operation once, without cancelling it, and count how often it yields to the event loop.

    Args:
        operation: a fresh coroutine or other awaitable.
        include_children: count tasks of nurseries opened inside it too.
        patience_seconds: how long it may take.

    Raises:
        BaseException: what the operation raises.
        TimeoutError: it did not end within `patience_seconds`.

    Checkpoint: always.
    """
    seen = await attempt(operation, None, None, include_children=include_children, patience_seconds=patience_seconds)
    if seen.hung:
        places = "\n".join(str(place) for place in seen.hung)
        raise TimeoutError(f"The operation did not end within {patience_seconds} s. It was suspended in\n{places}")
    if seen.error is not None:
        raise seen.error
    return seen.suspensions


def _refuse_unavailable(chosen: Sequence[Cancellation], available: Sequence[Cancellation]) -> None:
    for kind in chosen:
        if kind not in available:
            raise UsageError(
                f"Cancelling by {kind.value!r} is not possible here.\n"
                "It is a native kind of asyncio, and this sweep runs on Trio.\n"
                "To fix it, leave `kinds` away: the sweep then takes all kinds that the running event loop has."
            )
    if not chosen:
        raise UsageError("A sweep over no kind of cancellation proves nothing.\nTo fix it, leave `kinds` away or name at least one.")


def _judge(
    seen: Attempt[object],
    k: int,
    kind: Cancellation,
    *,
    may_absorb: bool,
    may_raise: type[BaseException] | tuple[type[BaseException], ...],
    patience_seconds: float,
) -> SweepRun:
    """Tell how a run ended, or fail the sweep. Decides without waiting for anything."""

    def failed(what: str, why: str) -> SweepFailed:
        return SweepFailed(_message(what, why, k, kind, seen), k=k, kind=kind, place=seen.place, hung=seen.hung)

    reached = seen.place is not None
    cancelled_class = anyio.get_cancelled_exc_class()
    if seen.hung:
        places = "\n".join(str(place) for place in seen.hung)
        after = "It was cancelled and went on waiting" if seen.requests else "It had not been cancelled yet: it hangs by itself"
        raise failed(f"the operation did not end within {patience_seconds} s.", f"{after}, suspended in\n{places}")
    if seen.returned and not seen.requests:
        outcome = Outcome.COMPLETED
    elif seen.returned:
        if not seen.arrived_later:
            raise failed(
                "the cancellation was lost.",
                "The operation ended normally and the next checkpoint raised nothing. "
                "Raise what was caught, or hold it and cancel the task again.",
            )
        if seen.thrown and not may_absorb:
            raise failed(
                "the cancellation was swallowed.",
                "It was raised inside the operation, which ended normally all the same. "
                "Raise it; or, where the work took effect and that is meant, pass may_absorb=True.",
            )
        outcome = Outcome.ABSORBED if seen.thrown else Outcome.COMPLETED
    elif isinstance(seen.error, cancelled_class) and seen.requests:
        if not seen.caught:
            raise failed(
                "the block around the operation did not recognise its own cancellation.",
                "A CancelledError came out that is not the one asked for; it may have been replaced by a new one, or uncancelled.",
            ) from seen.error
        outcome = Outcome.CANCELLED
    elif isinstance(seen.error, may_raise):
        outcome = Outcome.RAISED
    else:
        raise failed(*_other_exception(seen, cancelled_class)) from seen.error
    _judge_leftovers(seen, kind, outcome, failed)
    return SweepRun(
        k=k,
        kind=kind,
        reached=reached,
        outcome=outcome,
        place=seen.place,
        value=seen.value,
        error=seen.error,
        suspensions=seen.suspensions,
    )


def _other_exception(seen: Attempt[object], cancelled_class: type[BaseException]) -> tuple[str, str]:
    error = seen.error
    assert error is not None
    if not seen.requests:
        return (
            f"{type(error).__name__} came out although nothing was cancelled.",
            "The operation fails by itself; where that is meant, name the exception in may_raise.",
        )
    leaves = list(leaves_of(error))
    if all(isinstance(leaf, cancelled_class) for leaf in leaves):
        return (
            f"a group of {len(leaves)} cancellations came out instead of one.",
            "asyncio.timeout() and asyncio.TaskGroup recognise only a bare CancelledError.",
        )
    return (
        f"{type(error).__name__} came out instead of the cancellation.",
        "An error of the cleanup, or of the interrupted work, took its place; where that is meant, name the exception in may_raise.",
    )


def _judge_leftovers(seen: Attempt[object], kind: Cancellation, outcome: Outcome, failed: Callable[[str, str], SweepFailed]) -> None:
    if seen.stray is not None:
        raise failed(
            "a second cancellation came after the first.", "Cancel the task again only when the first one is not raised."
        ) from seen.stray
    kept = seen.requests if kind in _NATIVE_AND_KEPT else 0
    if seen.requests_left > kept:
        raise failed(
            f"{seen.requests_left - kept} cancel() too many were left on the task (Task.cancelling()).",
            "An asyncio.timeout() further out will not recognise its own cancellation. Call uncancel() for each cancel() of your own.",
        )
    if seen.requests_left < kept and outcome is not Outcome.RAISED:
        raise failed(
            f"{kept - seen.requests_left} cancel() of the caller's were taken off the task (Task.cancelling()).",
            "Whoever asked for the cancellation will not see that it was meant. Call uncancel() only for a cancel() of your own.",
        )
    if seen.outliving:
        raise failed(
            f"{len(seen.outliving)} tasks outlived the operation: {', '.join(seen.outliving)}.",
            "They were started with asyncio.create_task() and not awaited to their end. Start them in a nursery.",
        )


_NATIVE_AND_KEPT = (Cancellation.TASK, Cancellation.TASK_ON_WAKING, Cancellation.TASK_TWICE)


async def _check(check: Callable[[SweepRun], Awaitable[None]] | None, run: SweepRun) -> None:
    if check is None:
        return
    try:
        await check(run)
    except Exception as error:
        ended = f"The operation ended as {run.outcome.value!r}, and then the check raised {type(error).__name__}: {error}"
        message = _message("an invariant is broken.", ended, run.k, run.kind, run)
        raise SweepFailed(message, k=run.k, kind=run.kind, place=run.place) from error


def _message(what: str, why: str, k: int, kind: Cancellation, seen: "Attempt[object] | SweepRun") -> str:
    if seen.place is None:
        return f"Without a cancellation (suspension {k} was never reached): {what}\n{why}"
    when = "as it woke from" if kind.on_waking else "at"
    return (
        f"Cancelled by {kind.value!r} {when} suspension {k} ({seen.place.short}): {what}\n{why}\n"
        f"  Suspension {k} was in {seen.place}\n"
        f"  To see it alone: sweep(..., kinds=[Cancellation.{kind.name}], first={k})"
    )
