"""What is left of a connection that we have closed: its session on the server, until that has ended too.

The server learns that we have gone only when it reads or writes: a session whose statement still runs lives on until the statement ends.
So our end of the socket is kept for a while, past libpq's. When the server closes its own end, the session is over, which nothing else
would tell; and until then a running statement is asked to stop. The request carries the session's secret key, so it can hit no other
session, not even one that has got the same process id; and nobody uses this session any more, so it cannot come too late.
"""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress

import anyio
from psycopg import OperationalError, generators, pq
from psycopg.pq.abc import PGcancelConn, PGconn

from trioorm.wire.driving import drive

__all__ = ["Farewell"]

logger = logging.getLogger("trioorm.wire")

_ACTIVE = pq.TransactionStatus.ACTIVE

# How long the session may take to end before it is asked again: the request may have overtaken the statement, which nobody waits for and
# which is to be off the server within a tenth of a second.
_REPEAT_CANCEL_SECONDS = 0.04
_DISCARDED_BYTES = 1 << 16


class Farewell:
    """A session that we have left. To be made right before libpq closes its socket, and to be closed.

    Args:
        pgconn: the connection, still open.
        stop: whether a statement that runs is asked to stop. Not for COMMIT: one that waits for a standby would be committed here alone.

    Attributes:
        is_left_running: whether a statement was running that is not asked to stop.

    Raises:
        psycopg.OperationalError, OSError: there is no socket any more, or no second one can be had.
    """

    __slots__ = ("_cancel", "_socket", "is_left_running")

    def __init__(self, pgconn: PGconn, *, stop: bool) -> None:
        is_running = pgconn.transaction_status == _ACTIVE
        self.is_left_running = is_running and not stop
        self._cancel: PGcancelConn | None = pgconn.cancel_conn() if stop and is_running else None
        self._socket = socket.socket(fileno=os.dup(pgconn.socket))
        self._socket.setblocking(False)

    @property
    def is_over(self) -> bool:
        """Whether the session has ended."""
        try:
            return self._socket.recv(_DISCARDED_BYTES) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def wait(self, seconds: float) -> bool:
        """Wait until the session has ended, asking its statement to stop, but not for longer than this; says whether it has.

        Checkpoint: only if it has not ended yet.
        """
        with anyio.move_on_after(seconds):
            while not self.is_over:
                with anyio.move_on_after(None if self._cancel is None else _REPEAT_CANCEL_SECONDS):
                    await self._ask_to_stop()
                    while not self.is_over:
                        await anyio.wait_readable(self._socket)
            return True
        return False

    async def _ask_to_stop(self) -> None:
        if self._cancel is None:
            return
        try:
            self._cancel.reset()
            self._cancel.start()
            await drive(generators.cancel(self._cancel))
        except OperationalError as error:
            logger.debug("the statement of a closed connection could not be cancelled: %s", error)
            self._cancel = None

    def hang_up(self) -> None:
        """Tell the server that nothing more comes, so that the session ends with its statement, whatever became of libpq's last message."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Give up the socket."""
        self._socket.close()
