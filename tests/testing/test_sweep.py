"""The sweep on operations that behave: what it counts, where and when it cancels, and what it reports."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import pytest

from trioorm.errors import UsageError
from trioorm.testing import (
    Cancellation,
    Outcome,
    SweepFailed,
    SweepRun,
    available_cancellations,
    count_suspensions,
    sweep,
)

T = TypeVar("T")

checkpoint = anyio.lowlevel.checkpoint


async def suspend_times(times: int) -> int:
    for _ in range(times):
        await checkpoint()
    return times


async def without_suspension() -> str:
    return await suspend_not_at_all()


async def suspend_not_at_all() -> str:
    return "done"


async def body_with_two_children() -> None:
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(suspend_times, 3)
        nursery.start_soon(suspend_times, 4)
        await suspend_times(2)


async def test_counts_each_suspension_of_the_body() -> None:
    assert [await count_suspensions(suspend_times(times)) for times in (0, 1, 7)] == [0, 1, 7]


async def test_an_await_that_does_not_yield_is_no_suspension() -> None:
    assert await count_suspensions(without_suspension()) == 0


async def test_counts_the_suspensions_of_children_and_their_children() -> None:
    async def with_grandchildren() -> None:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(body_with_two_children)

    alone = await count_suspensions(body_with_two_children(), include_children=False)
    assert await count_suspensions(body_with_two_children()) == alone + 3 + 4
    # One more body of 2, its children's 3 and 4, and both bodies wait once for the end of their nursery.
    assert await count_suspensions(with_grandchildren()) == alone + 3 + 4 + 1


async def test_tasks_in_a_nursery_around_the_operation_are_not_counted() -> None:
    async with anyio.create_task_group() as outer:

        async def operation() -> None:
            outer.start_soon(suspend_times, 5)
            await suspend_times(2)
            await outer.start(suspend_after_starting)

        async def suspend_after_starting(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            await suspend_times(3)
            task_status.started()
            await suspend_times(30)

        # Until it calls started(), a task made by start() is cancelled with its caller, so its first 3 count; waiting for it is one more.
        assert await count_suspensions(operation()) == 2 + 3 + 1


async def test_raises_what_the_counted_operation_raises() -> None:
    async def failing() -> None:
        await checkpoint()
        raise LookupError("of its own")

    with pytest.raises(LookupError, match="of its own"):
        await count_suspensions(failing())


async def test_counting_an_operation_without_end_gives_up_and_tells_where_it_was() -> None:
    with pytest.raises(TimeoutError, match=r"did not end within 0\.05 s(.|\n)*test_sweep\.py:\d+ in .*without_end"):
        await count_suspensions(without_end(), patience_seconds=0.05)


async def without_end() -> None:
    await anyio.sleep_forever()


async def test_cancels_each_suspension_once_in_every_way(backend: str) -> None:
    asked: list[int] = []

    def make_operation(k: int) -> Awaitable[int]:
        asked.append(k)
        return suspend_times(3)

    report = await sweep(make_operation)
    assert len(report.kinds) == (7 if backend == "asyncio" else 3)
    assert report.kinds == available_cancellations()
    assert asked == [1, 2, 3, 4] * len(report.kinds)
    assert report.suspensions == 3
    assert report.cancellations == 3 * len(report.kinds)
    for kind in report.kinds:
        assert report.outcomes(kind) == (Outcome.CANCELLED, Outcome.CANCELLED, Outcome.CANCELLED, Outcome.COMPLETED)


async def test_reaches_the_suspensions_of_children() -> None:
    seen: set[str] = set()

    async def note_place(run: SweepRun) -> None:
        if run.place is not None:
            seen.update(frame.function for frame in run.place.frames)

    report = await sweep(lambda _k: body_with_two_children(), check=note_place)
    assert {"body_with_two_children", "suspend_times"} <= seen
    assert report.suspensions == 2 + 1 + 3 + 4


async def test_check_sees_each_run_and_the_value_of_those_that_ended_normally() -> None:
    runs: list[SweepRun] = []

    async def note(run: SweepRun) -> None:
        await checkpoint()
        runs.append(run)

    report = await sweep(lambda _k: suspend_times(2), kinds=[Cancellation.SCOPE], check=note)
    assert tuple(runs) == report.runs
    assert [(run.k, run.reached, run.ended_normally, run.value) for run in runs] == [
        (1, True, False, None),
        (2, True, False, None),
        (3, False, True, 2),
    ]


async def hand_over(first: anyio.Event, received: list[str]) -> None:
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(set_later, first)
        await first.wait()
        received.append("the event")
        await checkpoint()
        received.append("the checkpoint")


async def set_later(event: anyio.Event) -> None:
    await checkpoint()
    event.set()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # While it is suspended, the cancellation wins. On waking, a scope lets it keep what was handed over and the next checkpoint
        # raises; a native cancel takes it away although the event has been set.
        (Cancellation.SCOPE, []),
        (Cancellation.DEADLINE, []),
        (Cancellation.SCOPE_ON_WAKING, ["the event"]),
        (Cancellation.TASK, []),
        (Cancellation.TASK_ON_WAKING, []),
        (Cancellation.TASK_TWICE, []),
        (Cancellation.TIMEOUT, []),
    ],
)
async def test_cancels_while_suspended_or_exactly_at_the_wake_up(backend: str, kind: Cancellation, expected: list[str]) -> None:
    if kind.asyncio_only and backend == "trio":
        with pytest.raises(UsageError, match="native kind of asyncio"):
            await sweep(lambda _k: suspend_times(1), kinds=[kind])
        return
    event = anyio.Event()
    received: list[str] = []
    first_run: list[bool | list[str]] = []

    async def note(run: SweepRun) -> None:
        if run.k == 1:
            first_run.extend([event.is_set() or not kind.on_waking, list(received)])

    def make_operation(_k: int) -> Awaitable[None]:
        nonlocal event
        event = anyio.Event()
        received.clear()
        return hand_over(event, received)

    await sweep(make_operation, kinds=[kind], check=note, include_children=False)
    assert first_run == [True, expected]


async def test_allows_the_operations_own_failure_when_it_is_named() -> None:
    async def failing() -> None:
        await checkpoint()
        raise LookupError("of its own")

    report = await sweep(lambda _k: failing(), kinds=[Cancellation.SCOPE], may_raise=LookupError)
    assert report.outcomes(Cancellation.SCOPE) == (Outcome.CANCELLED, Outcome.RAISED)
    with pytest.raises(SweepFailed, match="LookupError came out although nothing was cancelled") as caught:
        await sweep(lambda _k: failing(), kinds=[Cancellation.SCOPE])
    assert (caught.value.k, caught.value.place) == (2, None)


async def test_an_operations_own_timeout_is_not_taken_for_the_sweeps() -> None:
    async def out_of_time() -> None:
        await checkpoint()
        raise TimeoutError("of its own")

    report = await sweep(lambda _k: out_of_time(), may_raise=TimeoutError)
    assert all(report.outcomes(kind)[-1] is Outcome.RAISED for kind in report.kinds)


async def test_a_commit_that_takes_effect_may_absorb_the_cancellation() -> None:
    """Promise 1: where the work took effect the call ends normally, and the next checkpoint raises."""

    async def committing() -> str:
        try:
            await checkpoint()
        except anyio.get_cancelled_exc_class():
            cancel_again_later()
        return "committed"

    with pytest.raises(SweepFailed, match="swallowed"):
        await sweep(lambda _k: committing())
    report = await sweep(lambda _k: committing(), may_absorb=True)
    assert report.outcomes(Cancellation.SCOPE) == (Outcome.ABSORBED, Outcome.COMPLETED)
    assert all(run.ended_normally and run.value == "committed" for run in report.runs)


def cancel_again_later() -> None:
    """Hand a native cancel of asyncio on to the next checkpoint; a cancel scope's own comes again by itself."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return
    if task is not None and task.cancelling() and anyio.current_effective_deadline() > 0:
        task.uncancel()
        task.cancel()


async def test_begins_at_the_k_that_is_asked_for() -> None:
    report = await sweep(lambda _k: suspend_times(5), kinds=[Cancellation.SCOPE], first=4)
    assert [run.k for run in report.runs] == [4, 5, 6]


async def test_refuses_an_operation_with_more_suspensions_than_the_limit() -> None:
    with pytest.raises(UsageError, match="still suspends after 3 suspensions"):
        await sweep(lambda _k: suspend_times(4), limit=3)
    assert (await sweep(lambda _k: suspend_times(4), limit=5)).suspensions == 4


async def test_refuses_to_sweep_over_no_kind() -> None:
    with pytest.raises(UsageError, match="proves nothing"):
        await sweep(lambda _k: suspend_times(1), kinds=[])


async def test_report_prints_as_a_table() -> None:
    report = await sweep(lambda _k: suspend_times(2), kinds=[Cancellation.SCOPE, Cancellation.DEADLINE])
    line = suspend_times.__code__.co_firstlineno + 2
    assert str(report).splitlines() == [
        "k  suspended at                            scope      deadline",
        f"1  testing/test_sweep.py:{line} suspend_times  cancelled  cancelled",
        f"2  testing/test_sweep.py:{line} suspend_times  cancelled  cancelled",
        "3  (not reached)                           completed  completed",
    ]


async def test_a_cancellation_of_the_sweep_itself_ends_it() -> None:
    started = anyio.Event()

    async def waiting() -> None:
        started.set()
        await anyio.sleep_forever()

    with anyio.move_on_after(5):
        async with anyio.create_task_group() as nursery:

            async def cancel_when_started() -> None:
                await started.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(cancel_when_started)
            await sweep(lambda _k: waiting(), first=100)
        assert nursery.cancel_scope.cancelled_caught
        return
    pytest.fail("the sweep ignored the cancellation")


def on_asyncio(main: Callable[[], Awaitable[None]], *, use_uvloop: bool = False) -> None:
    anyio.run(main, backend="asyncio", backend_options={"use_uvloop": use_uvloop})


def test_a_native_timeout_around_the_sweep_ends_it() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await sweep(lambda _k: anyio.sleep_forever(), first=100)

    on_asyncio(main)


@pytest.mark.parametrize("use_uvloop", [False, True])
def test_follows_tasks_that_asyncio_itself_starts(use_uvloop: bool) -> None:
    async def operation() -> None:
        async with asyncio.TaskGroup() as nursery:
            nursery.create_task(suspend_times(3))
            await suspend_times(2)

    async def main() -> None:
        assert await count_suspensions(operation()) == 3 + 2 + 1
        report = await sweep(lambda _k: operation())
        assert len(report.kinds) == 7
        assert report.outcomes(Cancellation.TASK) == (Outcome.CANCELLED,) * 6 + (Outcome.COMPLETED,)

    on_asyncio(main, use_uvloop=use_uvloop)


def test_a_task_factory_of_somebody_else_is_refused() -> None:
    def make_task(
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        **options: Any,  # noqa: ANN401 -- what asyncio hands to a task factory differs by its version
    ) -> "asyncio.Task[T]":
        return asyncio.Task(coroutine, loop=loop, **options)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(make_task)
        with pytest.raises(UsageError, match="another task factory"):
            await sweep(lambda _k: suspend_times(1))

    on_asyncio(main)


def test_sweeps_on_uvloop() -> None:
    async def main() -> None:
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        report = await sweep(lambda _k: body_with_two_children())
        assert report.suspensions == 10
        assert asyncio.get_running_loop().get_task_factory() is None

    on_asyncio(main, use_uvloop=True)
