"""The last but one step of a pool's end: cancel on the server what the holders of connections still run."""

from __future__ import annotations

import logging
from collections.abc import Collection

import anyio
from psycopg import OperationalError

from trioorm.pool.settings import Connection

logger = logging.getLogger("trioorm.pool")

LAST_CANCEL_SECONDS = 0.5
"""How long it may take, with the holders giving their connections back."""


async def cancel_statements(connections: Collection[Connection]) -> bool:
    """Ask the server to cancel the statements of all these connections, at the same time. None of them may be used again.

    The shield and its bound stand around the whole: inside of the tasks, AnyIO 4.16 would let their scopes count the asyncio cancels of the
    caller, and the caller end as cancelled.

    Returns:
        True, always.

    Checkpoint: always.
    """
    async with anyio.create_task_group() as nursery:
        for connection in connections:
            nursery.start_soon(_cancel_statement, connection)
    return True


async def _cancel_statement(connection: Connection) -> None:
    try:
        await connection.request_cancel_unshielded()
    except (OperationalError, OSError) as error:
        logger.debug("a statement could not be cancelled at the pool's end: %s", error)
