"""`open_pool`: a pool for the length of a block."""

from types import TracebackType
from typing import Any, Unpack

import anyio

from trioorm.pool.background import Background
from trioorm.pool.pool import Connect, Pool
from trioorm.pool.settings import Connection, PoolOptions, settings_from
from trioorm.wire import AnyIOConnection, after_cleanup
from trioorm.wire.interrupt import deliver_again

__all__ = ["open_pool"]


class open_pool:  # noqa: N801 - used like a function: `async with open_pool(...) as pool`
    """Open a pool for the length of a block.

        async with open_pool("postgresql:///shop", max_size=5) as pool:
            with await pool.acquire() as connection:
                await connection.execute("SELECT 1")

    Args:
        connect: a libpq connection string or URI, for connections in autocommit; or an async function that opens one connection and raises
            `ConnectFailed` when it cannot.
        options: the fields of `PoolSettings`, as keyword arguments.

    Raises:
        ConnectFailed: on entry, when `min_size` is not 0. Safe to retry.
        AuthenticationFailed: the same. Not safe to retry.
        TypeError, ValueError: a setting that does not exist, or makes no sense.

    Checkpoint: on entry, only if `min_size` is not 0; on leaving, only if connections are on loan or hooks under way.
    """

    # A class, so that an error of the body leaves the block bare and not inside the nursery's exception group.
    __slots__ = ("_background", "_connect", "_nursery", "_pool", "_settings")

    def __init__(self, connect: str | Connect, **options: Unpack[PoolOptions]) -> None:
        self._connect: Connect = _connector(connect) if isinstance(connect, str) else connect
        self._settings = settings_from("open_pool", **options)

    async def __aenter__(self) -> Pool:
        self._nursery = anyio.create_task_group()
        await self._nursery.__aenter__()
        self._background = Background(self._nursery)
        self._pool = Pool(self._connect, self._settings, self._background)
        self._background.start_soon(self._pool.keep, name="trioorm: keeping the pool")
        if self._settings.min_size:
            try:
                await self._pool.open_first()
            except BaseException:
                await self.__aexit__(None, None, None)
                raise
        return self._pool

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        hooks, until = self._pool.outcome_hooks, anyio.current_time() + self._settings.cleanup_timeout_seconds
        held = await hooks.finish(until)
        held = await self._pool.close() or held
        held = await hooks.finish(until) or held  # of transactions that ended while it closed
        self._background.cancel()
        try:
            await self._nursery.__aexit__(None, None, None)
        except anyio.get_cancelled_exc_class() as cancellation:
            if not isinstance(error, Exception):
                raise
            deliver_again(cancellation, None)  # the body's error goes first
        if (raised := after_cleanup(error, held)) is not None and raised is not error:
            raise raised


def _connector(address: str) -> Connect:
    async def connect() -> Connection:
        connection: AnyIOConnection[Any] = await AnyIOConnection.connect(address, autocommit=True)
        return connection

    return connect
