"""Where in the caller's code something happened: the nearest line outside trioorm that led there.

The contract: `place_of_caller` is for what lasts, and is worked out at once; `place_of_task` is worked out when somebody asks, and knows
where a task is suspended, so that a loan of one statement need not note its place at all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

import trio

__all__ = ["place_of_caller", "place_of_task"]

# By identity, since the hash of code is made of all that it holds. What is ours stays loaded.
_ours: dict[int, CodeType] = {}


def _is_ours(frame: FrameType) -> bool:
    code = frame.f_code
    if id(code) in _ours:
        return True
    if str(frame.f_globals.get("__name__", "")).startswith("trioorm."):
        _ours[id(code)] = code
        return True
    return False


def place_of_caller() -> str:
    """Where the running code was called from, as `file:line`."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage] - inspect.currentframe is the same, slower to import
    while frame is not None and (id(frame.f_code) in _ours or _is_ours(frame)):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def place_of_task(task: object) -> str:
    """Where a suspended task called trioorm from, as `file:line`; "?" when that cannot be seen."""
    place: tuple[FrameType, int] | None = None
    outside: tuple[FrameType, int] | None = None
    for frame, line in _frames_of(task):
        if not _is_ours(frame):
            outside = (frame, line)
        elif outside is not None:
            place, outside = outside, None
    return "?" if place is None else f"{place[0].f_code.co_filename}:{place[1]}"


def _frames_of(task: Any) -> Iterator[tuple[FrameType, int]]:  # noqa: ANN401 - a task of either library
    """The frames of a suspended task, outermost first."""
    if isinstance(task, trio.lowlevel.Task):
        yield from task.iter_await_frames()
        return
    awaited = task.get_coro() if hasattr(task, "get_coro") else None
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            yield frame, frame.f_lineno
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
