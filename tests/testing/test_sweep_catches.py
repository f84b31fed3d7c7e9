"""The sweep on operations that are broken on purpose: each of them must make it fail, at the right place and for the right reason."""

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import attrs
import pytest

from trioorm.testing import Cancellation, SweepFailed, SweepRun, sweep

checkpoint = anyio.lowlevel.checkpoint
EDGE_ONCE = [Cancellation.TASK, Cancellation.TIMEOUT]
SCOPES = [Cancellation.SCOPE, Cancellation.DEADLINE]


def on_asyncio(main: Callable[[], Awaitable[None]], *, use_uvloop: bool = False) -> None:
    anyio.run(main, backend="asyncio", backend_options={"use_uvloop": use_uvloop})


@attrs.define
class Resource:
    """Something that must be given back by an operation that waits while it does."""

    is_open: bool = False

    async def use(self, *, shielded: bool) -> None:
        self.is_open = True
        try:
            await checkpoint()
        finally:
            with anyio.CancelScope(shield=shielded):
                await checkpoint()
                self.is_open = False

    async def check(self, _run: SweepRun) -> None:
        assert not self.is_open, "the resource is still open"


@pytest.mark.parametrize("kind", SCOPES)
async def test_cleanup_without_a_shield(kind: Cancellation) -> None:
    resource = Resource()
    with pytest.raises(SweepFailed, match="the resource is still open") as caught:
        await sweep(lambda _k: resource.use(shielded=False), kinds=[kind], check=resource.check)
    assert (caught.value.k, caught.value.kind) == (1, kind)
    assert isinstance(caught.value.__cause__, AssertionError)
    place = caught.value.place
    assert place is not None
    assert place.frame is not None
    assert place.frame.function == "Resource.use"
    assert place.frame.line == Resource.use.__code__.co_firstlineno + 3
    assert f"test_sweep_catches.py:{place.frame.line} in Resource.use" in str(caught.value)
    assert f"kinds=[Cancellation.{kind.name}], first=1" in str(caught.value)


async def test_cleanup_with_a_shield_holds_against_scopes() -> None:
    resource = Resource()
    report = await sweep(lambda _k: resource.use(shielded=True), kinds=SCOPES, check=resource.check)
    assert report.suspensions == 2


def test_cleanup_under_a_shield_that_a_native_cancel_passes_through() -> None:
    """An AnyIO shield does not stop asyncio's own cancels; only a second one is met inside the cleanup."""
    resource = Resource()

    async def main() -> None:
        await sweep(lambda _k: resource.use(shielded=True), kinds=[Cancellation.TASK], first=3, check=resource.check)
        with pytest.raises(SweepFailed, match="the resource is still open") as caught:
            await sweep(lambda _k: resource.use(shielded=True), kinds=[Cancellation.TASK_TWICE], check=resource.check)
        assert caught.value.k == 1

    on_asyncio(main)


@pytest.mark.parametrize("kind", SCOPES)
async def test_a_scopes_cancellation_that_is_swallowed(kind: Cancellation) -> None:
    async def swallowing() -> None:
        await checkpoint()
        with contextlib.suppress(anyio.get_cancelled_exc_class()):
            await checkpoint()

    with pytest.raises(SweepFailed, match="cancellation was swallowed") as caught:
        await sweep(lambda _k: swallowing(), kinds=[kind])
    assert caught.value.k >= 1
    assert caught.value.place is not None


@pytest.mark.parametrize("kind", EDGE_ONCE)
@pytest.mark.parametrize("use_uvloop", [False, True])
def test_a_native_cancellation_that_is_lost(kind: Cancellation, use_uvloop: bool) -> None:
    async def losing() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await checkpoint()

    async def main() -> None:
        with pytest.raises(SweepFailed, match="cancellation was lost") as caught:
            await sweep(lambda _k: losing(), kinds=[kind], may_absorb=True)
        assert caught.value.k == 1

    on_asyncio(main, use_uvloop=use_uvloop)


def test_the_cancellation_that_wait_for_loses_on_python_311() -> None:
    """CPython issue 86296, mended in 3.12: cancelled when its task has just ended, wait_for returns the result and forgets the cancel."""

    async def main() -> None:
        if sys.version_info >= (3, 12):
            await sweep(lambda _k: asyncio.wait_for(checkpoint(), 5), kinds=[Cancellation.TASK, Cancellation.TASK_ON_WAKING])
            return
        with pytest.raises(SweepFailed, match="cancellation was lost"):
            await sweep(lambda _k: asyncio.wait_for(checkpoint(), 5), kinds=[Cancellation.TASK, Cancellation.TASK_ON_WAKING])

    on_asyncio(main)


class Line:
    """A line of tasks for one slot, with a hand-over that can lose it: whoever is woken owns the slot before it knows."""

    def __init__(self, *, is_careful: bool) -> None:
        self.is_careful = is_careful
        self.is_free = False
        self.waiters: deque[anyio.Event] = deque()

    async def acquire(self) -> None:
        if self.is_free:
            self.is_free = False
            await checkpoint()
            return
        waiter = anyio.Event()
        self.waiters.append(waiter)
        try:
            await waiter.wait()
            await checkpoint()
        except BaseException:
            if waiter in self.waiters:
                self.waiters.remove(waiter)
            elif self.is_careful:
                self.release()
            raise

    def release(self) -> None:
        if self.waiters:
            self.waiters.popleft().set()
        else:
            self.is_free = True


async def wait_in(line: Line) -> None:
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(give_back_later, line)
        await line.acquire()
        line.release()


async def give_back_later(line: Line) -> None:
    with anyio.CancelScope(shield=True):
        await checkpoint()
        await checkpoint()
        line.release()


def line_check(lines: list[Line]) -> Callable[[SweepRun], Awaitable[None]]:
    async def slot_is_free(_run: SweepRun) -> None:
        assert lines[-1].is_free, "the slot is lost"
        assert not lines[-1].waiters, "somebody waits who is gone"

    return slot_is_free


def line_operation(lines: list[Line], *, is_careful: bool) -> Callable[[int], Awaitable[None]]:
    def make_operation(_k: int) -> Awaitable[None]:
        lines.append(Line(is_careful=is_careful))
        return wait_in(lines[-1])

    return make_operation


def hand_over_kinds(backend: str) -> list[Cancellation]:
    return [Cancellation.SCOPE_ON_WAKING] + ([Cancellation.TASK_ON_WAKING] if backend == "asyncio" else [])


async def test_a_slot_that_is_lost_at_the_hand_over(backend: str) -> None:
    lines: list[Line] = []
    for kind in hand_over_kinds(backend):
        with pytest.raises(SweepFailed, match="the slot is lost") as caught:
            await sweep(line_operation(lines, is_careful=False), kinds=[kind], check=line_check(lines), include_children=False)
        assert caught.value.kind is kind
        assert "as it woke from suspension 1" in str(caught.value)


async def test_a_careful_hand_over_holds() -> None:
    lines: list[Line] = []
    report = await sweep(line_operation(lines, is_careful=True), check=line_check(lines))
    assert report.suspensions >= 4


async def test_a_leak_in_a_child_is_reached_only_through_the_child() -> None:
    resource = Resource()

    async def parent() -> None:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(child)

    async def child() -> None:
        await checkpoint()
        await resource.use(shielded=False)

    with pytest.raises(SweepFailed, match="the resource is still open") as caught:
        await sweep(lambda _k: parent(), kinds=[Cancellation.SCOPE], check=resource.check)
    assert caught.value.place is not None
    assert caught.value.place.frame is not None
    assert caught.value.place.frame.function == "Resource.use"
    assert any(frame.function.endswith("child") for frame in caught.value.place.frames)


async def test_an_error_of_the_cleanup_that_hides_the_cancellation() -> None:
    async def failing_cleanup() -> None:
        try:
            await checkpoint()
        finally:
            raise LookupError("while cleaning up")

    with pytest.raises(SweepFailed, match="LookupError came out instead of the cancellation") as caught:
        await sweep(lambda _k: failing_cleanup(), kinds=[Cancellation.SCOPE])
    assert isinstance(caught.value.__cause__, LookupError)


async def test_a_group_of_cancellations() -> None:
    async def grouping() -> None:
        try:
            await checkpoint()
        except BaseException as error:
            raise BaseExceptionGroup("two of them", [error, error]) from None

    with pytest.raises(SweepFailed, match="a group of 2 cancellations"):
        await sweep(lambda _k: grouping(), kinds=[Cancellation.SCOPE])


def test_a_native_cancellation_that_comes_twice() -> None:
    async def repeating() -> None:
        try:
            await checkpoint()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            task.cancel()
            raise

    async def main() -> None:
        with pytest.raises(SweepFailed, match="a second cancellation came after the first"):
            await sweep(lambda _k: repeating(), kinds=[Cancellation.TASK])

    on_asyncio(main)


@pytest.mark.parametrize(
    ("uncancel", "kind", "message"),
    [
        (1, Cancellation.TASK, "1 cancel.. of the caller's were taken off"),
        (-1, Cancellation.TASK, "1 cancel.. too many were left"),
        (-1, Cancellation.SCOPE, "1 cancel.. too many were left|did not recognise its own cancellation"),
        (-1, Cancellation.TIMEOUT, "did not recognise its own cancellation"),
    ],
)
def test_a_count_of_native_cancellations_that_is_left_wrong(uncancel: int, kind: Cancellation, message: str) -> None:
    async def miscounting() -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await checkpoint()
        except asyncio.CancelledError:
            if uncancel > 0:
                task.uncancel()
                raise
            task.cancel()
            try:
                await checkpoint()
            except asyncio.CancelledError as again:
                raise again from None

    async def main() -> None:
        with pytest.raises(SweepFailed, match=message):
            await sweep(lambda _k: miscounting(), kinds=[kind])

    on_asyncio(main)


def test_a_task_that_outlives_the_operation() -> None:
    left: list[asyncio.Task[None]] = []

    async def leaving() -> None:
        left.append(asyncio.create_task(anyio.sleep_forever(), name="left alone"))
        await checkpoint()

    async def main() -> None:
        with pytest.raises(SweepFailed, match="1 tasks outlived the operation: left alone"):
            await sweep(lambda _k: leaving(), kinds=[Cancellation.TASK])
        await asyncio.wait(left)
        assert left[0].cancelled()

    on_asyncio(main)


async def hang_in_a_shield() -> None:
    try:
        await checkpoint()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()


async def hang_in_a_loop() -> None:
    while True:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            await anyio.lowlevel.cancel_shielded_checkpoint()


async def hang_in_a_child() -> None:
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(hang_in_a_loop)
        nursery.start_soon(hang_in_a_shield)


@pytest.mark.parametrize("hanging", [hang_in_a_shield, hang_in_a_loop, hang_in_a_child])
async def test_an_operation_that_goes_on_waiting(backend: str, hanging: Callable[[], Awaitable[None]]) -> None:
    kinds = [Cancellation.SCOPE] + ([Cancellation.TASK] if backend == "asyncio" else [])
    for kind in kinds:
        with anyio.fail_after(10), pytest.raises(SweepFailed, match=r"did not end within 0\.1 s") as caught:
            await sweep(lambda _k: hanging(), kinds=[kind], patience_seconds=0.1)
        assert "It was cancelled and went on waiting" in str(caught.value)
        assert any("hang_in_" in frame.function for place in caught.value.hung for frame in place.frames)


async def test_an_operation_that_hangs_by_itself_is_told_apart() -> None:
    with pytest.raises(SweepFailed, match="had not been cancelled yet: it hangs by itself"):
        await sweep(lambda _k: anyio.sleep_forever(), first=2, kinds=[Cancellation.SCOPE], patience_seconds=0.05)


async def test_the_sweep_works_on_after_a_failure() -> None:
    """A failed run must leave nothing behind: no instrument, no task factory, no task."""
    with pytest.raises(SweepFailed):
        await sweep(lambda _k: hang_in_a_child(), patience_seconds=0.05)
    report = await sweep(lambda _k: checkpoint())
    assert report.suspensions >= 1
    with anyio.fail_after(5):
        await checkpoint()
