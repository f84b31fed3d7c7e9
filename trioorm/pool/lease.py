"""A lease: one connection on loan, and who has it since when."""

import sys
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import anyio
import trio

from trioorm.wire import AnyIOConnection

if TYPE_CHECKING:
    from collections.abc import Callable


class Lease:
    """A connection on loan from a pool.

    Leaving its `with` block, or `release`, gives the connection back; it is closed instead when libpq does not say that it is idle.

    Attributes:
        connection: to be used by this holder alone.
        lent_at: when it was lent, on the clock of `anyio.current_time`.
        place: where in the caller's code it was taken, as `file:line`.
    """

    __slots__ = ("_give_back", "_released", "_task", "connection", "lent_at", "place")

    def __init__(self, connection: AnyIOConnection[Any], give_back: "Callable[[Lease], None]") -> None:
        self.connection = connection
        self._give_back = give_back
        self._released = False
        self.lent_at = anyio.current_time()
        self._task: object = None
        self.place = ""

    @property
    def holder(self) -> str:
        """The name of the task that took it."""
        if isinstance(self._task, trio.lowlevel.Task):
            return self._task.name
        name = getattr(self._task, "get_name", None)  # an asyncio.Task
        return str(name()) if callable(name) else "?"

    def taken_by(self, task: object) -> None:
        """Note that a task has it now."""
        self.lent_at = anyio.current_time()
        self._task = task
        self.place = _place_of_caller()

    @trio.lowlevel.enable_ki_protection
    def release(self) -> None:
        """Give the connection back; a second call does nothing. Never waits."""
        if not self._released:
            self._released = True
            self._give_back(self)

    def __enter__(self) -> AnyIOConnection[Any]:
        return self.connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.release()


def _place_of_caller() -> str:
    """The nearest line outside trioorm that led here."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage] - inspect.currentframe is the same and slower to import
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("trioorm."):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
