"""The last but one step of a pool's end: cancel on the server what the holders of connections still run."""

from collections.abc import Collection

import anyio

from trioorm.pool.lease import Lease
from trioorm.wire.interrupt import Shield

LAST_CANCEL_SECONDS = 0.5
"""How long it may take, with the holders giving their connections back."""


async def cancel_statements(leases: Collection[Lease], shield: Shield) -> bool:
    """Ask the server to cancel the statements of all leases, at the same time.

    Returns:
        True, always.

    Checkpoint: always.
    """
    async with anyio.create_task_group() as nursery:
        for lease in leases:
            nursery.start_soon(lease.connection.request_cancel, shield)
    return True
