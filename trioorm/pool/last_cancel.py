"""The last but one step of a pool's end: cancel on the server what the holders of connections still run."""

from collections.abc import Collection

import anyio

from trioorm.pool.settings import Connection
from trioorm.wire.interrupt import Shield

LAST_CANCEL_SECONDS = 0.5
"""How long it may take, with the holders giving their connections back."""


async def cancel_statements(connections: Collection[Connection], shield: Shield) -> bool:
    """Ask the server to cancel the statements of all these connections, at the same time.

    Returns:
        True, always.

    Checkpoint: always.
    """
    async with anyio.create_task_group() as nursery:
        for connection in connections:
            nursery.start_soon(connection.request_cancel, shield)
    return True
