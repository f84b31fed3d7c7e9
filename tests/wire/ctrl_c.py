"""Ctrl-C, pressed at every line: Trio raises it wherever the program happens to be, between two lines of ours as well.

On asyncio it is a cancellation of the main task, and swept as such.
"""

import signal
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import trio

import trioorm
from trioorm.errors import leaves_of

_SOURCE = Path(trioorm.__file__).parent
# Where there is something to leave behind: a socket, a nursery, a turn, a place in line.
_WATCHED = {
    str(path)
    for room in ("wire", "pool", "transaction", "resilience", "database")
    for path in (_SOURCE / room).glob("*.py")
    if room != "database" or "await " in path.read_text(encoding="utf-8")
}


class ControlC:
    """It is pressed once in each run of a program, at the first line of ours that no run before was interrupted at.

    Attributes:
        pressed: how often, in all runs.
        pressed_at: where, in the last run; None when that found no such line.
    """

    def __init__(self) -> None:
        self.pressed = 0
        self.pressed_at: str | None = None
        self._done: set[tuple[str, int]] = set()

    def press_everywhere(self, program: Callable[[], Awaitable[None]], check: Callable[[str], None]) -> None:
        """Run a program on Trio, again and again, until no line is left.

        Each time that it was interrupted it must have ended with KeyboardInterrupt and nothing else; the last time, well.

        Args:
            program: what to run.
            check: looks at what a run has left behind; it is told where that was interrupted.
        """

        async def watched() -> None:
            with self._watched():
                await program()

        while True:
            ended: BaseException | None = None
            try:
                trio.run(watched)
            except BaseException as error:
                ended = error
            if self.pressed_at is None:
                assert ended is None, repr(ended)
                check("not interrupted")
                return
            check(self.pressed_at)
            self.pressed += 1
            assert ended is not None, f"{self.pressed_at}: it was swallowed"
            # Trio puts what reaches a task of a nursery into a group.
            assert all(isinstance(leaf, KeyboardInterrupt) for leaf in leaves_of(ended)), f"{self.pressed_at}: {ended!r}"

    @contextmanager
    def _watched(self) -> Generator[None]:
        self.pressed_at = None
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        return self._at_line if frame.f_code.co_filename in _WATCHED else None

    def _at_line(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and self.pressed_at is None and place not in self._done:
            self._done.add(place)
            self.pressed_at = f"{place[0]}:{place[1]}, in {frame.f_code.co_qualname}"
            signal.raise_signal(signal.SIGINT)
        return self._at_line
