"""What the machine took from the storm's thread: never more than it surely did."""

import time

import anyio
import pytest

from benchmarks.storm.scheduling import Scheduling


@pytest.mark.parametrize(
    ("start", "end", "least"),
    [
        (0.0, 10.0, 3.0),  # all of both spans
        (1.0, 2.0, 1.0),  # a whole span
        (3.0, 4.0, 0.0),  # between the spans
        (1.5, 2.0, 0.5),  # half of a span in which nothing else happened
        (5.0, 7.0, 0.0),  # half of a span: the waiting may have been in the other half
        (5.0, 8.0, 1.0),  # three quarters of it: of two seconds at most one was in the last quarter
        (8.0, 9.0, 0.0),
        (9.5, 20.0, 0.0),
    ],
)
def test_only_what_was_surely_waited_for_counts(start: float, end: float, least: float) -> None:
    scheduling = Scheduling()
    scheduling.note(1.0, 2.0, 1.0)
    scheduling.note(5.0, 9.0, 2.0)
    assert scheduling.surely_waited(start, end) == pytest.approx(least)


async def test_a_loop_that_was_blocked_is_late_and_has_waited_for_nobody() -> None:
    """A library that blocks the loop is not excused."""
    scheduling = Scheduling()
    blocked_at = 0.0
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(scheduling.beat)
        await anyio.wait_all_tasks_blocked()
        blocked_at = anyio.current_time()
        time.sleep(0.05)  # noqa: ASYNC251 - it blocks the loop on purpose; asleep, the thread waits for no processor
        await anyio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert max(scheduling.lateness) >= 0.04
    assert scheduling.surely_waited(blocked_at, blocked_at + 0.05) < 0.02


async def test_a_wait_while_the_count_is_read_is_in_no_other_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may take the processor away between the clock and the kernel's count. What was so waited lies behind the first."""
    count, readings = 0.0, list[float]()
    done = anyio.Event()

    def waited(_: Scheduling) -> float:
        nonlocal count
        readings.append(anyio.current_time())
        if len(readings) == 3:
            time.sleep(0.05)  # stands for a wait, which the count has when it is read
            count += 0.05
        if len(readings) == 5:
            done.set()
        return count

    monkeypatch.setattr(Scheduling, "_waited", waited)
    scheduling = Scheduling()
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(scheduling.beat)
        await done.wait()
        nursery.cancel_scope.cancel()
    assert scheduling.surely_waited(readings[0], readings[2]) == 0
    assert scheduling.surely_waited(readings[2] + 0.05, readings[4]) == 0
    assert scheduling.surely_waited(readings[1], readings[4]) >= 0.04
