"""`async with pool.connection() as connection`: a connection for the length of a block, as psycopg_pool lends it.

The contract: a transaction that was begun in the block and not ended, as psycopg does outside of autocommit, is committed at the end of the
block, and rolled back after an error. A block that ends normally after its transaction has failed raises: nothing of it was committed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio
from psycopg import OperationalError
from psycopg.pq import TransactionStatus

from trioorm.errors import TransactionRolledBack

if TYPE_CHECKING:
    from types import TracebackType

    from trioorm.pool.lease import Lease
    from trioorm.pool.settings import Connection

__all__ = ["Borrowing"]

logger = logging.getLogger("trioorm.pool")

_INTRANS = TransactionStatus.INTRANS
_INERROR = TransactionStatus.INERROR


class Borrowing:
    """The block. Made by `Pool.connection`, and entered once.

    Args:
        acquire: borrows a connection.
    """

    # A class, so that a loan's place is the caller's line and not one of contextlib.
    __slots__ = ("_acquire", "_lease")

    def __init__(self, acquire: Callable[[], Awaitable[Lease]]) -> None:
        self._acquire = acquire

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Connection:
        self._lease = await self._acquire()
        return self._lease.__enter__()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        connection = self._lease.connection
        try:
            status = connection.pgconn.transaction_status
            if status == _INTRANS and error is None:
                await connection.commit()
            elif status in (_INTRANS, _INERROR):
                await _roll_back(connection)
                if error is None:
                    raise TransactionRolledBack(
                        "the block ended normally, but a statement of its transaction had failed, so the transaction was rolled back.\n"
                        "To fix it: let the error leave the block, or put what may fail into `async with connection.transaction()`, a "
                        "savepoint there."
                    )
        finally:
            self._lease.release()


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.rollback()
    except OperationalError as error:
        logger.debug("a transaction ended with its connection: %s", error)
