"""`show_progress`: a bar on the terminal for `on_progress=`, and nothing where there is no terminal.

The contract: it writes to one line of a terminal and leaves the cursor below it. In a pipe, a file or a log it writes nothing.
"""

from __future__ import annotations

import shutil
import sys
from time import monotonic
from types import TracebackType
from typing import IO, Self

__all__ = ["show_progress"]

_REDRAW_SECONDS = 0.1
_BAR_COLUMNS = 30


class show_progress:  # noqa: N801 - used like a function: `on_progress=show_progress()`
    """A bar that is called with the number of rows so far.

        with show_progress(total=1_000_000) as show:
            await db.copy_in(User, users, on_progress=show)

    It may be handed over without a block too, `on_progress=show_progress()`; the block sees to it that the line is ended also when less
    came than `total`, or an error. Never waits for anything but the terminal.

    Args:
        total: how many rows there will be; None when that is not known, and then there are numbers and no bar.
        label: what stands before it.
        file: where it is drawn, if that is a terminal; standard error when None.
    """

    __slots__ = ("_drawn_at", "_file", "_is_open", "_label", "_started_at", "_total")

    def __init__(self, total: int | None = None, *, label: str = "Rows", file: IO[str] | None = None) -> None:
        target = file or sys.stderr
        self._file = target if target.isatty() else None
        self._total = total
        self._label = label
        self._started_at = monotonic()
        self._drawn_at = float("-inf")
        self._is_open = False

    def __call__(self, done: int) -> None:
        """Draw it, unless it was drawn a moment ago.

        Args:
            done: the number of rows so far.
        """
        now = monotonic()
        is_full = self._total is not None and done >= self._total
        if self._file is None or (now - self._drawn_at < _REDRAW_SECONDS and not is_full):
            return
        self._drawn_at = now
        self._is_open = not is_full
        columns = shutil.get_terminal_size().columns - 1  # a line that fills the last column would be broken
        line = _line(self._label, done, self._total, now - self._started_at)[:columns]
        self._file.write(f"\r{line}\x1b[K" + ("\n" if is_full else ""))
        self._file.flush()
        if is_full:
            self._file = None  # the line is ended; more calls may come

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._is_open and self._file is not None:
            self._is_open = False
            self._file.write("\n")
            self._file.flush()


def _line(label: str, done: int, total: int | None, seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    spent = f"{minutes}:{rest:02}"
    rate = f"{done / seconds:,.0f}/s" if seconds > 0 else ""
    if not total:
        return f"{label}  {done:,}  {rate}  {spent}"
    part = min(done / total, 1.0)
    bar = ("#" * int(part * _BAR_COLUMNS)).ljust(_BAR_COLUMNS, "-")
    return f"{label}  [{bar}]  {part:4.0%}  {done:,} of {total:,}  {rate}  {spent}"
