"""The shield: waits that no cancellation breaks off, a bound that holds, and what came only once kept for later."""

import asyncio
import math
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from trioorm.wire import after_cleanup
from trioorm.wire.interrupt import Shield, deliver_again, is_own_cancel_of_asyncio


async def test_a_wait_goes_on_in_a_cancelled_scope() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        with Shield(5) as shield:
            assert await shield.wait(lambda: _value_after_turns(3)) == "value"
            assert shield.held is None
            assert not shield.expired
        await anyio.lowlevel.checkpoint()
        pytest.fail("after the shield the scope's cancellation comes")
    assert scope.cancelled_caught


async def test_waits_end_by_the_deadline_of_the_shield() -> None:
    started_at = anyio.current_time()
    with Shield(0.05) as shield:
        assert await shield.wait(_forever) is None
        assert shield.expired
        assert await shield.wait(_forever) is None, "and so does each further one, at once"
    assert 0.04 < anyio.current_time() - started_at < 0.5


async def test_one_wait_may_have_an_earlier_end() -> None:
    with Shield(30) as shield:
        assert await shield.wait(_forever, until=anyio.current_time() + 0.02) is None
        assert not shield.expired
        assert await shield.wait(lambda: _value_after_turns(1)) == "value"


async def test_one_wait_cannot_outlast_the_shield() -> None:
    with Shield(0.02) as shield:
        assert await shield.wait(_forever, until=anyio.current_time() + 30) is None
        assert shield.expired


async def test_errors_of_a_wait_go_through() -> None:
    with pytest.raises(ZeroDivisionError):
        with Shield(5) as shield:
            await shield.wait(_fail)


async def test_a_wait_that_is_ready_is_taken_even_after_the_deadline() -> None:
    """An answer that has come counts, however late one looks."""

    async def ready() -> str:
        return "came"

    with Shield(0.001) as shield:
        await shield.wait(_forever)
        assert shield.expired
        assert await shield.wait(ready) == "came"


async def test_a_scopes_cancellation_is_not_asyncios_own() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException as cancellation:
            assert not is_own_cancel_of_asyncio(cancellation)  # noqa: PT017 - pytest.raises would swallow it
            deliver_again(cancellation, None)
            raise
    await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_ctrl_c_held_back_comes_before_all() -> None:
    pressed = KeyboardInterrupt()
    assert after_cleanup(ZeroDivisionError(), pressed) is pressed
    assert after_cleanup(None, pressed) is pressed
    with pytest.raises(KeyboardInterrupt):
        deliver_again(ZeroDivisionError(), pressed)
    with pytest.raises(KeyboardInterrupt):
        deliver_again(pressed, None)


def test_without_anything_held_the_error_stays_what_it_was() -> None:
    error = ZeroDivisionError()
    assert after_cleanup(error, None) is error
    assert after_cleanup(None, None) is None


# asyncio's own cancels.


def _run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_task() -> None:
        await asyncio.create_task(_awaiting(main()))

    asyncio.run(in_task())


async def _awaiting(awaitable: Awaitable[None]) -> None:
    await awaitable


def _current_task() -> "asyncio.Task[object]":
    task = asyncio.current_task()
    assert task is not None
    return task


async def _value_after_turns(turns: int) -> str:
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    return "value"


async def _forever() -> str:
    await anyio.sleep(math.inf)
    return "never"


async def _fail() -> None:
    await anyio.lowlevel.checkpoint()
    raise ZeroDivisionError


def test_a_wait_is_started_again_after_asyncios_cancel_which_is_held() -> None:
    async def main() -> None:
        task = _current_task()
        starts = 0

        async def wait() -> str:
            nonlocal starts
            starts += 1
            if starts < 3:
                asyncio.get_running_loop().call_soon(task.cancel, f"cancel {starts}")
            return await _value_after_turns(5)

        with Shield(5) as shield:
            assert await shield.wait(wait) == "value"
        assert starts == 3
        assert isinstance(shield.held, asyncio.CancelledError)
        assert shield.held.args == ("cancel 2",)
        assert task.cancelling() == 2
        assert after_cleanup(None, shield.held) is shield.held
        task.uncancel()
        task.uncancel()

    _run(main)


def test_the_bound_holds_under_asyncios_cancels() -> None:
    async def main() -> None:
        task = _current_task()
        loop = asyncio.get_running_loop()
        for milliseconds in range(5, 95, 5):
            loop.call_later(milliseconds / 1000, task.cancel)
        with Shield(0.1) as shield:
            started_at = loop.time()
            assert await shield.wait(_forever) is None
            assert 0.09 < loop.time() - started_at < 0.15
        assert shield.held is not None
        assert task.cancelling() == len(range(5, 95, 5))

    _run(main)


def test_a_cancel_that_was_caught_is_raised_by_the_next_checkpoint() -> None:
    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            _current_task().cancel()
            await asyncio.sleep(0)
        deliver_again(asyncio.CancelledError("the only one"), None)
        with pytest.raises(asyncio.CancelledError, match="the only one"):
            await asyncio.sleep(60)
        assert _current_task().cancelling() == 1, "who asked for it finds its mark"
        await asyncio.sleep(0.01)  # and it does not come twice

    _run(main)


def test_a_cancel_that_was_taken_back_meanwhile_is_not_raised() -> None:
    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            _current_task().cancel()
            await asyncio.sleep(0)
        deliver_again(asyncio.CancelledError(), None)
        _current_task().uncancel()
        await asyncio.sleep(0.01)

    _run(main)


def test_nothing_is_sent_to_a_task_that_nobody_cancels() -> None:
    async def main() -> None:
        deliver_again(asyncio.CancelledError(), None)
        await asyncio.sleep(0.01)
        assert _current_task().cancelling() == 0

    _run(main)


def test_a_held_cancel_does_not_replace_another_error_but_comes_after_it() -> None:
    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            _current_task().cancel()
            await asyncio.sleep(0)
        error = ZeroDivisionError()
        assert after_cleanup(error, asyncio.CancelledError("held")) is error
        with pytest.raises(asyncio.CancelledError, match="held"):
            await asyncio.sleep(60)

    _run(main)


def test_of_two_cancellations_asyncios_own_is_raised() -> None:
    async def main() -> None:
        held = asyncio.CancelledError("held")
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.lowlevel.checkpoint()
            except asyncio.CancelledError as of_scope:
                assert after_cleanup(of_scope, held) is held  # noqa: PT017 - its scope wants it back
                raise
        first = asyncio.CancelledError("first")
        assert after_cleanup(first, held) is first

    _run(main)
