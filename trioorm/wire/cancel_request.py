"""A request to the server to cancel what a connection runs, from the first byte until the server has closed the request's own connection.

The contract: a wait for it may be broken off and taken up again. Only a request that is through can no longer hit the statement after the
one that it was meant for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from psycopg.abc import PQGenConn
from psycopg.waiting import Ready, Wait

__all__ = ["CancelRequest"]


class CancelRequest:
    """A cancel request on its way.

    Args:
        generator: psycopg's, not begun.
    """

    __slots__ = ("_generator", "_wanted")

    def __init__(self, generator: PQGenConn[None]) -> None:
        self._generator = generator
        self._wanted: tuple[int, Wait] | None = None

    async def go_on(self, wait: Callable[[int, Wait], Awaitable[Ready | None]]) -> bool:
        """Begin, or go on where a wait was broken off.

        Args:
            wait: for a socket; None when it gives up.

        Returns:
            Whether the request is through.

        Raises:
            psycopg.OperationalError: the server took no request.

        Checkpoint: only if it waits.
        """
        try:
            if self._wanted is None:
                self._wanted = next(self._generator)
            while (ready := await wait(*self._wanted)) is not None:
                self._wanted = self._generator.send(ready)
        except StopIteration:
            return True
        return False

    def close(self) -> None:
        """Give up its connection."""
        self._generator.close()
