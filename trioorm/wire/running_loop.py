"""What is asked of the event loop at every statement, chosen once for the loop that runs.

The contract: each function is called inside a running loop and gives what answers there for good. Finding out at each call on which library
one runs costs more than the question itself: AnyIO's check for a cancellation takes 0.4 µs on Trio, Trio's own 0.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import sniffio
import trio
from anyio.lowlevel import checkpoint_if_cancelled

__all__ = ["cancellation_check", "deadline_reader", "is_on_trio", "running_task"]


def is_on_trio() -> bool:
    """Whether the running loop is Trio's."""
    return sniffio.current_async_library() == "trio"


def running_task() -> Callable[[], object]:
    """What tells the running task."""
    return trio.lowlevel.current_task if is_on_trio() else asyncio.current_task


def cancellation_check() -> Callable[[], Awaitable[None]]:
    """What raises a cancellation that is due, and is no checkpoint otherwise."""
    return trio.lowlevel.checkpoint_if_cancelled if is_on_trio() else checkpoint_if_cancelled


def deadline_reader() -> Callable[[], float]:
    """What tells the deadline that holds where the running code stands, on the clock of `anyio.current_time`."""
    return trio.current_effective_deadline if is_on_trio() else anyio.current_effective_deadline
