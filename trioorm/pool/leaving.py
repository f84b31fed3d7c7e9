"""Sessions that the pool has left and the server has not ended yet: counted, so that the server never has more of them than `max_size`."""

from __future__ import annotations

from collections.abc import Callable

from trioorm.pool.background import Background
from trioorm.pool.settings import Connection
from trioorm.wire import Farewell

__all__ = ["Leaving"]


class Leaving:
    """The sessions that are ending.

    Args:
        background: where they are waited for.
        seconds: how long one is waited for at most, so that a server that is out of reach holds up nobody for longer.
        on_end: called when one has ended or is given up.
    """

    __slots__ = ("_background", "_count", "_on_end", "_seconds")

    def __init__(self, background: Background, seconds: float, on_end: Callable[[], None]) -> None:
        self._background = background
        self._seconds = seconds
        self._on_end = on_end
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def close(self, connection: Connection) -> None:
        """Close a connection, and count its session until the server has ended it. Never waits."""
        connection.close_nowait()
        farewell, connection.farewell = connection.farewell, None
        if farewell is None:
            return
        if farewell.is_over or self._background.is_cancelled:
            farewell.close()
            return
        self._count += 1
        self._background.start_soon(self._see_off, farewell, name="trioorm: seeing a session off")

    async def _see_off(self, farewell: Farewell) -> None:
        try:
            await farewell.wait(self._seconds)
        finally:
            farewell.close()
            self._count -= 1
            self._on_end()
