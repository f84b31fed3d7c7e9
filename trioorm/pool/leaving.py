"""Sessions that the pool has left and the server has not ended yet: counted, so that the server never has more of them than `max_size`.

A COMMIT that was given up is left to end by itself, and where it waits for a standby that is gone, it never does. Such sessions would leave
the pool without a connection for its reads, or, not counted, use up the server's. So as many of them as the pool has places are let go
after a while; any more keep their places until they end.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from trioorm.pool.background import Background
from trioorm.pool.settings import Connection
from trioorm.wire import Farewell

__all__ = ["Leaving"]


class Leaving:
    """The sessions that are ending.

    Args:
        background: where they are waited for.
        seconds: how long one is waited for at most, so that a server that is out of reach holds up nobody for longer.
        most_hanging: tells how many with a COMMIT that hangs are given up at a time.
        on_end: called when one has ended or is given up.
    """

    __slots__ = ("_background", "_count", "_hanging", "_most_hanging", "_on_end", "_seconds")

    def __init__(self, background: Background, seconds: float, most_hanging: Callable[[], int], on_end: Callable[[], None]) -> None:
        self._background = background
        self._seconds = seconds
        self._most_hanging = most_hanging
        self._on_end = on_end
        self._count = 0
        self._hanging = 0

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
        holds_place = True
        try:
            if await farewell.wait(self._seconds) or not farewell.is_left_running:
                return
            if self._hanging < self._most_hanging():
                holds_place = False
                self._hanging += 1
                self._give_place_free()
            farewell.hang_up()
            await farewell.wait(inf)  # or until the kernel finds the network dead
        finally:
            farewell.close()
            if holds_place:
                self._give_place_free()
            else:
                self._hanging -= 1

    def _give_place_free(self) -> None:
        self._count -= 1
        self._on_end()
