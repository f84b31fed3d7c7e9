"""The only place of trioorm with `shield=True`: finishing work after a cancellation has arrived, within a bound.

Two things make cleanup after a cancellation hard. Trio and AnyIO cancel by level: every unshielded wait on the way out raises again.
So cleanup must be shielded, and a shield without a bound turns a frozen server into a frozen program. And asyncio's own cancels
(`Task.cancel`, `asyncio.timeout`, Ctrl-C) go through an AnyIO shield; they come once, so they are held during cleanup and delivered again
afterwards.

`Shield` does both. It is entered only when a cancellation has arrived or when a rollback must run, never on the way of a healthy statement.

Source: https://docs.python.org/3/library/asyncio-task.html#asyncio.Task.uncancel
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import anyio
import trio

from trioorm.wire.running_loop import is_on_trio

T = TypeVar("T")

Held: TypeAlias = asyncio.CancelledError | KeyboardInterrupt | None
"""What came during a cleanup and comes only once: asyncio's own cancel, or Ctrl-C."""


class Shield:
    """A block whose waits cannot be cancelled from outside and end by a deadline.

    Every wait inside goes through `wait`. The block itself never raises a cancellation; what comes only once, asyncio's own cancel
    or Ctrl-C, is in `held`.

    Args:
        seconds: how long the waits inside may take in all, in seconds.
    """

    __slots__ = ("_scope", "deadline", "held")

    def __init__(self, seconds: float) -> None:
        self.deadline = anyio.current_time() + seconds
        self.held: Held = None
        self._scope = anyio.CancelScope(shield=True)

    @trio.lowlevel.enable_ki_protection
    def __enter__(self) -> Self:
        self._scope.__enter__()
        return self

    @trio.lowlevel.enable_ki_protection
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._scope.__exit__(kind, error, traceback)

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return anyio.current_time() >= self.deadline

    async def wait(self, wait: Callable[[], Awaitable[T]], *, until: float | None = None) -> T | None:
        """Wait, holding asyncio's own cancels and Ctrl-C; a wait that was broken off by one is simply started again.

        Args:
            wait: makes the awaitable; it must be one that can be started again, such as waiting for a socket.
            until: an earlier deadline for this wait alone, on the clock of `anyio.current_time`.

        Returns:
            What the wait returned, or None when the deadline passed first.

        Checkpoint: only if it waits.
        """
        deadline = self.deadline if until is None else min(until, self.deadline)
        while True:
            try:
                with anyio.CancelScope(deadline=deadline):
                    return await wait()
                return None
            except (asyncio.CancelledError, KeyboardInterrupt) as interruption:
                # Inside the shield and past the scope above, only asyncio's own cancel can come here, and on Trio Ctrl-C.
                self.held = interruption
                if anyio.current_time() >= deadline:
                    return None


def is_own_cancel_of_asyncio(interruption: BaseException) -> bool:
    """Whether a cancellation is asyncio's own, which comes once, and not one of an AnyIO scope, which comes again by itself."""
    return isinstance(interruption, asyncio.CancelledError) and anyio.current_effective_deadline() != float("-inf")


def after_cleanup(error: BaseException | None, held: Held) -> BaseException | None:
    """What to raise once a cleanup is over, so that nothing that came during it is lost.

    Args:
        error: what the cleanup was for; None when nothing was wrong.
        held: what came during the cleanup and comes only once.

    Returns:
        Ctrl-C before all; of two cancellations asyncio's own, since a scope's comes again by itself; else the error, and then asyncio's own
        cancel is sent again, for the next checkpoint to raise.
    """
    if held is None or isinstance(held, KeyboardInterrupt):
        return held or error
    if error is None:
        return held
    if isinstance(error, asyncio.CancelledError):
        return error if is_own_cancel_of_asyncio(error) else held
    _send_again(held)
    return error


def deliver_again(interruption: BaseException, held: Held) -> None:
    """See to it that a cancellation which could not stop the work any more is still delivered, at the next checkpoint.

    A cancelled scope of Trio or AnyIO does so by itself. asyncio's own cancel came once and was caught, so it is sent anew. Ctrl-C is
    raised here and now.

    Args:
        interruption: what broke the wait off.
        held: what came during cleanup and comes only once.
    """
    for each in (held, interruption):
        if isinstance(each, KeyboardInterrupt | SystemExit):
            raise each
    if held is not None:
        _send_again(held)
    elif is_own_cancel_of_asyncio(interruption):
        _send_again(interruption)


def cancel_requests() -> int:
    """How many cancels of the running asyncio task are asked for and not taken back; 0 on Trio, whose scopes cancel again by themselves."""
    if is_on_trio():
        return 0
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def deliver_unseen(requests_before: int) -> None:
    """Send asyncio's own cancel again when a nursery has dropped it for a child's error that came in the same moment.

    Args:
        requests_before: what `cancel_requests` said when the nursery was entered.
    """
    if cancel_requests() > requests_before and anyio.current_effective_deadline() != float("-inf"):
        _send_again(asyncio.CancelledError())


def _send_again(cancel: BaseException) -> None:
    """Cancel the running asyncio task anew, unless whoever asked has taken it back by then, as `asyncio.timeout` does at its end."""
    task = asyncio.current_task()
    if task is None or not (requests := task.cancelling()):
        return

    def cancel_if_still_wanted() -> None:
        if not task.done() and task.cancelling() >= requests:
            task.uncancel()
            task.cancel(*cancel.args)

    asyncio.get_running_loop().call_soon(cancel_if_still_wanted)
