"""The last but one step of a pool's end: cancel on the server what the holders of connections still run."""

import logging
from collections.abc import Collection

import anyio

from trioorm.pool.lease import Lease

logger = logging.getLogger("trioorm.pool")

LAST_CANCEL_SECONDS = 0.5
"""How long it may take, with the holders giving their connections back."""


async def cancel_statements(leases: Collection[Lease]) -> bool:
    """Ask the server to cancel the statements of all leases, at the same time.

    Returns:
        True, always.

    Checkpoint: always.
    """
    async with anyio.create_task_group() as nursery:
        for lease in leases:
            nursery.start_soon(_cancel_statement, lease)
    return True


async def _cancel_statement(lease: Lease) -> None:
    try:
        await lease.connection.cancel_safe(timeout=LAST_CANCEL_SECONDS)
    except Exception as error:
        logger.debug("a statement could not be cancelled at the pool's end: %s", error)
