"""Where in the user's code something was asked for.

The contract: `place_of_caller` is cheap enough to be asked at each fetch, some 0.2 µs, where it is told the depth at which the user's code
should be; Python makes an object of each frame that is looked at on the way. The line's number is worked out when it is read. Neither
keeps alive a frame, and with it the variables of the user's functions.
"""

from __future__ import annotations

import sys
from itertools import islice
from types import CodeType, FrameType
from typing import TypeAlias

Place: TypeAlias = tuple[CodeType, int]
"""A function, and which of its instructions."""

_OURS: set[int] = set()
_THEIRS: set[int] = set()
"""The globals of modules that were met, ours and the user's, by their addresses."""

_LOOPS = ("trio", "asyncio", "anyio", "uvloop")


def place_of_caller(depth: int = 1) -> Place | None:
    """The nearest place outside of trioorm that led here; None where there is none but the event loop's.

    Args:
        depth: of the first frame that is looked at; those before it are known to be ours.
    """
    found = sys._getframe(depth)  # pyright: ignore[reportPrivateUsage] - inspect.currentframe is the same, slower to import
    if id(found.f_globals) in _THEIRS:  # as a rule, where the depth is known
        return found.f_code, found.f_lasti
    frame: FrameType | None = found
    while frame is not None:
        module = id(frame.f_globals)
        if module not in _OURS:
            if module in _THEIRS:
                return frame.f_code, frame.f_lasti
            room = str(frame.f_globals.get("__name__", ""))
            if room.partition(".")[0] in _LOOPS:
                return None
            (_OURS if room.startswith("trioorm.") else _THEIRS).add(module)
            continue
        frame = frame.f_back
    return None


def shown(place: Place) -> str:
    """A place as file and line."""
    code, instruction = place
    line = next(islice(code.co_positions(), instruction // 2, None), (None,))[0]
    return f"{code.co_filename}:{line or code.co_firstlineno}"
