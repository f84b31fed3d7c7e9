"""Attempts: what is run again, when the last one is over, and what its exception tells of those before. Without a server."""

import gc
import warnings
from collections.abc import Callable
from types import TracebackType

import anyio
import pytest

from trioorm.errors import (
    CommitOutcomeUnknown,
    ConnectionLost,
    DeadlockDetected,
    SerializationFailure,
    UniqueViolation,
    UsageError,
    attempts_of,
    is_safe_to_retry,
)
from trioorm.instruments import AttemptEnded, Instrument, Instruments
from trioorm.resilience import Attempts, Retry

QUICK = Retry(max_attempts=4, base_seconds=0.001, max_seconds=0.002)


class Recorder(Instrument):
    def __init__(self) -> None:
        self.events: list[AttemptEnded] = []

    def attempt_ended(self, event: AttemptEnded, /) -> None:
        self.events.append(event)


class Block:
    """A block whose end raises what it is told to, as a COMMIT that is refused."""

    def __init__(self, at_end: BaseException | None = None, at_entry: BaseException | None = None) -> None:
        self.at_end = at_end
        self.at_entry = at_entry

    async def __aenter__(self) -> "Block":
        if self.at_entry is not None:
            raise self.at_entry
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is None and self.at_end is not None:
            raise self.at_end


def attempts(retry: Retry = QUICK, open_block: Callable[[], Block] = Block, instrument: Instrument | None = None) -> Attempts[Block]:
    return Attempts(open_block, retry, name="the transfer", instrument=instrument or Instrument())


def conflict() -> SerializationFailure:
    return SerializationFailure("could not serialize access", sqlstate="40001")


async def run(loop: Attempts[Block], errors: list[BaseException | None]) -> int:
    """Raise each of these in an attempt of its own; how many attempts there were."""
    number = 0
    async for attempt in loop:
        async with attempt:
            number += 1
            assert attempt.number == number
            if (error := errors.pop(0)) is not None:
                raise error
    return number


async def test_runs_once_when_all_is_well() -> None:
    assert await run(attempts(), [None]) == 1


async def test_runs_again_until_it_succeeds_and_tells_the_instrument() -> None:
    seen = Recorder()
    first = conflict()
    assert await run(attempts(instrument=seen), [first, DeadlockDetected("deadlock", sqlstate="40P01"), None]) == 3
    assert [(event.number, type(event.error), event.name) for event in seen.events] == [
        (1, SerializationFailure, "the transfer"),
        (2, DeadlockDetected, "the transfer"),
        (3, type(None), "the transfer"),
    ]
    assert [event.next_after_seconds is None for event in seen.events] == [False, False, True]
    assert attempts_of(first) is None, "it was not the last"


async def test_what_fails_at_its_end_is_run_again_too() -> None:
    blocks = [Block(conflict()), Block(conflict()), Block()]
    assert await run(attempts(open_block=lambda: blocks.pop(0)), [None, None, None]) == 3
    assert not blocks


async def test_the_last_error_tells_of_all_attempts() -> None:
    seen = Recorder()
    with pytest.raises(SerializationFailure) as caught:
        await run(attempts(instrument=seen), [conflict() for _ in range(4)])
    statistics = caught.value.attempts
    assert statistics is not None
    assert (statistics.attempts, statistics.failures) == (4, ("SerializationFailure",) * 4)
    assert 0 <= statistics.waited_seconds <= statistics.seconds
    [note] = caught.value.__notes__
    assert "Attempt 4 of at most 4" in note
    assert "that was the last one allowed" in note
    assert len(seen.events) == 4
    assert seen.events[-1].next_after_seconds is None


@pytest.mark.parametrize(
    "error",
    [
        LookupError("a bug"),
        UniqueViolation("taken", sqlstate="23505"),
        CommitOutcomeUnknown("who knows"),
        ConnectionLost("under a single write"),
        ExceptionGroup("", [conflict(), LookupError("a bug")]),
        ExceptionGroup("", [conflict(), CommitOutcomeUnknown("who knows")]),
        ExceptionGroup("", [conflict(), ExceptionGroup("", [ConnectionLost("under a write")])]),
    ],
    ids=repr,
)
async def test_what_may_have_taken_effect_or_will_not_pass_comes_out_at_once(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        await run(attempts(), [error, None])
    assert caught.value is error
    assert not hasattr(error, "__notes__"), "one attempt is nothing to tell of"
    assert getattr(attempts_of(error), "attempts", None) == 1


async def test_a_group_is_run_again_when_all_of_it_may_be() -> None:
    lost = ConnectionLost("in a transaction", safe_to_retry=True)
    assert await run(attempts(), [ExceptionGroup("", [conflict(), ExceptionGroup("", [lost])]), None]) == 2


async def test_a_group_carries_the_statistics() -> None:
    group = ExceptionGroup("", [LookupError("a bug")])
    with pytest.raises(ExceptionGroup) as caught:
        await run(attempts(), [conflict(), group])
    assert caught.value is group
    statistics = attempts_of(group)
    assert statistics is not None
    assert statistics.failures == ("SerializationFailure", "LookupError")
    assert "not safe to retry" in group.__notes__[0]


async def test_no_attempt_begins_that_cannot_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 50 s; with less than that left, the conflict itself comes out, not the timeout."""
    begun = 0
    current_time = anyio.current_time
    monkeypatch.setattr(anyio, "current_time", lambda: current_time() + begun * 50)
    with pytest.raises(SerializationFailure) as caught:
        with anyio.fail_after(120):
            async for attempt in attempts(Retry(max_attempts=100, base_seconds=0.0001)):
                async with attempt:
                    begun += 1
                    raise conflict()
    assert begun == 2
    assert "no further one fits before the caller's deadline" in caught.value.__notes__[0]


async def test_a_pause_is_cut_to_what_leaves_room_for_an_attempt() -> None:
    """Drawn from an hour, the pause would outlast the deadline by far, and there is room for an attempt without it."""
    with anyio.fail_after(1):
        assert await run(attempts(Retry(base_seconds=3600, max_seconds=3600)), [conflict(), None]) == 2


async def test_a_cancellation_during_the_pause_comes_out() -> None:
    class Impatient(Instrument):
        def attempt_ended(self, event: AttemptEnded, /) -> None:
            scope.cancel()

    hour = Retry(base_seconds=3600, max_seconds=3600)
    with anyio.CancelScope() as scope:
        await run(attempts(hour, instrument=Impatient()), [conflict(), None])
        pytest.fail("the pause was not cancelled")
    assert scope.cancelled_caught


async def test_what_fails_on_entry_is_not_run_again() -> None:
    """The pool has waited and tried by itself."""
    refused = ConnectionLost("no connection", safe_to_retry=True)
    with pytest.raises(ConnectionLost) as caught:
        await run(attempts(open_block=lambda: Block(at_entry=refused)), [None])
    assert caught.value is refused
    assert "the pool has tried by itself" in refused.__notes__[0]


async def test_an_attempt_that_is_not_used_is_refused() -> None:
    with pytest.raises(UsageError, match="an attempt was not used"):
        async for _ in attempts():
            pass


@pytest.mark.parametrize("committed", [True, False])
async def test_a_return_from_inside_an_attempt_is_warned_of(committed: bool) -> None:
    async def wrong() -> int:
        async for attempt in attempts(open_block=lambda: Block(None if committed else conflict())):
            async with attempt:
                return 1
        return 2

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert await wrong() == 1
        gc.collect()
    [warning] = [str(each.message) for each in caught if each.category is RuntimeWarning]
    assert ("was committed this time" in warning) is committed
    assert ("was NOT committed" in warning) is not committed


async def test_an_instrument_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Instrument):
        def attempt_ended(self, event: AttemptEnded, /) -> None:
            raise ZeroDivisionError

    seen = Recorder()
    assert await run(attempts(instrument=Instruments([Broken(), seen])), [conflict(), None]) == 2
    assert len(seen.events) == 2
    assert "the instrument" in caplog.text


@pytest.mark.parametrize("field", ["max_attempts", "base_seconds", "max_seconds"])
def test_a_retry_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Retry(**{field: 0})


def test_only_our_own_errors_are_safe_to_retry() -> None:
    assert is_safe_to_retry(conflict())
    assert not is_safe_to_retry(TimeoutError())
