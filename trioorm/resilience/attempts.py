"""Running a block again until it succeeds, fails for good, or no further attempt would fit into the caller's time.

The contract: only what is known to have had no effect is run again (`is_safe_to_retry`), and only when the block has ended, with all its
tasks. The clock is that of the running loop and the limit the deadline of the scopes around the loop, so there is no timeout of our own.
What comes out in the end is the last attempt's own exception, which tells of the others (`attempts_of`, and a note).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, Self, TypeVar

import anyio
import trio

from trioorm.errors import AttemptStatistics, UsageError, is_safe_to_retry, leaves_of, note_attempts
from trioorm.instruments import AttemptEnded, Instrument
from trioorm.resilience.backoff import Backoff
from trioorm.resilience.retry import Retry

__all__ = ["Attempt", "Attempts"]

B = TypeVar("B")


class Attempts(Generic[B]):
    """The attempts, one after the other, for `async for`.

    Args:
        open_block: makes the block of one attempt.
        retry: how often and how fast.
        name: of what is attempted, for the instrument.
        instrument: told of the end of each attempt.
    """

    _must_come_back = False  # with the class, for `__del__` may find an object that Ctrl-C has left half made

    def __init__(
        self, open_block: Callable[[], AbstractAsyncContextManager[B]], retry: Retry, *, name: str, instrument: Instrument
    ) -> None:
        self._open_block = open_block
        self._retry = retry
        self._name = name
        self._instrument = instrument
        self._backoff = Backoff(base_seconds=retry.base_seconds, max_seconds=retry.max_seconds)
        self._attempt: Attempt[B] | None = None
        self._failures: list[str] = []
        self._pause: float | None = 0.0  # before the next attempt; None when there is none
        self._waited_seconds = 0.0
        self._first_at = -math.inf
        self._shortest_seconds = math.inf

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt[B]:
        """The next attempt, after its pause.

        Raises:
            UsageError: the attempt before was not used with `async with`.

        Checkpoint: only if it waits.
        """
        if self._attempt is not None and not self._attempt.ended:
            raise UsageError(
                "an attempt was not used, so nobody knows whether it failed.\n"
                "To fix it: async for attempt in db.attempts(...): async with attempt as tx: ..."
            )
        self._must_come_back = False
        if self._pause is None:
            raise StopAsyncIteration
        if self._attempt is None:
            self._first_at = anyio.current_time()
        else:
            await anyio.sleep(self._pause)
            self._waited_seconds += self._pause
        number = len(self._failures) + 1
        self._attempt = Attempt(self._open_block(), number, self._judge)
        return self._attempt

    def _judge(self, error: BaseException | None, seconds: float, *, was_entered: bool) -> bool:
        """Note how an attempt ended; whether there will be another."""
        number = len(self._failures) + 1
        self._pause = None
        if error is not None:
            self._failures.append(", ".join(type(leaf).__name__ for leaf in leaves_of(error)))
            self._shortest_seconds = min(self._shortest_seconds, seconds)
            end = self._reason_to_end(error, was_entered=was_entered)
            if end is not None and isinstance(error, Exception):
                self._note_on(error, end)
        self._instrument.attempt_ended(
            AttemptEnded(name=self._name, number=number, seconds=seconds, error=error, next_after_seconds=self._pause)
        )
        self._must_come_back = error is None or self._pause is not None
        return self._pause is not None

    def __del__(self) -> None:
        # `return` in the block leaves by way of `__aexit__` as its end does, so this is the first that can be seen of it; and a COMMIT that
        # has failed is swallowed there for the next attempt, which now does not come.
        if self._must_come_back:
            fate = "it was committed this time" if self._pause is None else "it was NOT committed, and should have been tried again"
            warnings.warn(
                f"the loop over the attempts of {self._name} was left from inside an attempt; {fate}.\n"
                "To fix it: no `return` or `break` inside `async with attempt`; keep the value, and return it behind the loop; or use "
                "`run_in_transaction`.",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )

    def _reason_to_end(self, error: BaseException, *, was_entered: bool) -> str | None:
        """Why there is no further attempt; None when there is, and then the pause before it is set."""
        if not is_safe_to_retry(error):
            return "this error is not safe to retry"
        if not was_entered:
            return "no connection was to be had, and the pool has tried by itself"
        if len(self._failures) >= self._retry.max_attempts:
            return "that was the last one allowed"
        if anyio.current_effective_deadline() == -math.inf:
            self._pause = 0.0  # cancelled already: the next step of the loop raises that, and no attempt begins
            return None
        # Even the shortest attempt so far would not fit: the caller learns of the failure now, and not of a timeout later.
        room = anyio.current_effective_deadline() - anyio.current_time() - self._shortest_seconds
        if room <= 0:
            return f"no further one fits before the caller's deadline (the shortest took {self._shortest_seconds:.3f} s)"
        self._pause = min(self._backoff.next_delay(), room / 2)
        return None

    def _note_on(self, error: BaseException, end: str) -> None:
        statistics = AttemptStatistics(
            attempts=len(self._failures),
            seconds=anyio.current_time() - self._first_at,
            waited_seconds=self._waited_seconds,
            failures=tuple(self._failures),
        )
        note_attempts(error, statistics)
        if statistics.attempts > 1 or is_safe_to_retry(error):
            error.add_note(
                f"Attempt {statistics.attempts} of at most {self._retry.max_attempts}, {statistics.seconds:.3f} s after the first began "
                f"(waits between them: {statistics.waited_seconds:.3f} s); {end}."
            )


class Attempt(Generic[B]):
    """One attempt: a block of its own, whose failure is swallowed if there will be another.

    Attributes:
        number: from 1.
        ended: whether its block was left.
    """

    __slots__ = ("_block", "_judge", "_started_at", "ended", "number")

    def __init__(self, block: AbstractAsyncContextManager[B], number: int, judge: Callable[..., bool]) -> None:
        self._block = block
        self._judge = judge
        self._started_at = -math.inf
        self.number = number
        self.ended = False

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> B:
        """Enter the block; for what it raises and its checkpoints, see there."""
        self._started_at = anyio.current_time()
        try:
            return await self._block.__aenter__()
        except BaseException as error:
            self._end(error, was_entered=False)
            raise

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        try:
            await self._block.__aexit__(kind, error, traceback)
        except BaseException as raised:
            if not self._end(raised):
                raise
            return True
        return self._end(error)

    def _end(self, error: BaseException | None, *, was_entered: bool = True) -> bool:
        self.ended = True
        return self._judge(error, anyio.current_time() - self._started_at, was_entered=was_entered)
