"""Where in the caller's code something happened: the nearest line outside trioorm that led there.

The contract: `place_of_caller` is for what lasts, and is worked out at once; `place_of_task` is worked out when somebody asks, and knows
where a task is suspended, so that a loan of one statement need not note its place at all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, Final, TypeAlias

import trio

__all__ = ["Mark", "mark_of_caller", "place_of_caller", "place_of_task", "shown"]

Mark: TypeAlias = tuple[CodeType, int]
"""Code and the place of an instruction in it, cheap to note: few are ever shown, and finding the line takes longer than all else."""

# By identity, since the hash of code is made of all that it holds. What is ours stays loaded.
_ours: dict[int, CodeType] = {}
_others: dict[int, CodeType] = {}
_MOST_OTHERS: Final = 1000


def _is_ours(frame: FrameType) -> bool:
    code = frame.f_code
    if id(code) in _ours:
        return True
    if str(frame.f_globals.get("__name__", "")).startswith("trioorm."):
        _ours[id(code)] = code
        return True
    if len(_others) >= _MOST_OTHERS:
        _others.clear()
    _others[id(code)] = code
    return False


def mark_of_caller() -> Mark | None:
    """Where the running code was called from; the function that asks is taken to be ours."""
    frame: FrameType | None = sys._getframe(2)  # pyright: ignore[reportPrivateUsage] - inspect.currentframe is the same, slower to import
    while frame is not None:
        code = frame.f_code
        if id(code) in _others or not (id(code) in _ours or _is_ours(frame)):
            return code, frame.f_lasti
        frame = frame.f_back
    return None


def shown(mark: Mark | None) -> str:
    """A mark as `file:line`."""
    if mark is None:
        return "?"
    code, instruction = mark
    line = next((line for start, end, line in code.co_lines() if start <= instruction < end), code.co_firstlineno)
    return f"{code.co_filename}:{line}"


def place_of_caller() -> str:
    """Where the running code was called from, as `file:line`."""
    return shown(mark_of_caller())


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
