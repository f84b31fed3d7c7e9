"""The three hooks of a pool's settings, and the sign of life: code of the user's that runs on connections which nobody holds.

The contract: a connection on which a hook failed is closed and never lent; so is one that a hook left in a transaction. Whatever happens
to a hook, a cancellation included, its connection is idle or closed afterwards.
"""

from __future__ import annotations

import logging

import anyio

from trioorm.errors import ConnectFailed, ConnectionLost, UsageError
from trioorm.pool.settings import Connection, Hook
from trioorm.wire import command

logger = logging.getLogger("trioorm.pool")

_SIGN_OF_LIFE = command(b"")


async def configure(connection: Connection, hook: Hook) -> None:
    """Let the hook set up a new connection; if it fails, the connection is closed.

    Raises:
        ConnectFailed: the connection was lost meanwhile. Safe to retry.
        UsageError: the hook left the connection in a transaction. Not safe to retry.
        Exception: the hook's own.

    Checkpoint: as the hook has it.
    """
    try:
        await hook(connection)
        if connection.closed:
            raise ConnectFailed("the connection was closed while the hook `configure` set it up.")
        if not connection.is_idle:
            raise UsageError(
                "the hook `configure` left its connection in a transaction, or with a statement running, so it cannot be lent.\n"
                "To fix it: let the hook await every statement, and end with `await connection.commit()` what it began."
            )
    except BaseException:
        connection.close_nowait()
        raise


async def reset(connection: Connection, hook: Hook, *, seconds: float) -> None:
    """Let the hook clean a connection that came back; if it fails or takes too long, the connection is closed.

    Checkpoint: as the hook has it.
    """
    try:
        with anyio.fail_after(seconds):
            await hook(connection)
    except TimeoutError:
        logger.warning("the hook `reset` did not end within %g s; the connection is closed", seconds)
        connection.close_nowait()
    except Exception:
        logger.warning("the hook `reset` failed; the connection is closed", exc_info=True)
        connection.close_nowait()
    except BaseException:
        connection.close_nowait()
        raise


async def is_alive(connection: Connection, hook: Hook | None, *, seconds: float) -> bool:
    """Whether a connection that was idle for long still answers, and the hook `check`, if there is one, is content with it.

    Checkpoint: always.
    """
    try:
        with anyio.move_on_after(seconds):
            if hook is None:
                await connection.fly([_SIGN_OF_LIFE])
            else:
                await hook(connection)
            return connection.is_idle
    except ConnectionLost:
        return False
    except Exception:
        if hook is None:
            raise
        logger.info("the hook `check` refused a connection; it is closed", exc_info=True)
    return False
