"""`open_pool`: a pool for the length of a block."""

from __future__ import annotations

from types import TracebackType
from typing import Unpack

import anyio
import trio

from trioorm.errors import UsageError
from trioorm.pool.background import Background
from trioorm.pool.connecting import Connector, Pooler
from trioorm.pool.pool import Connect, Pool
from trioorm.pool.settings import PoolOptions, settings_from
from trioorm.wire import Password, after_cleanup
from trioorm.wire.connection import STATEMENT_CACHE_SIZE
from trioorm.wire.interrupt import Shield, deliver_again

__all__ = ["open_pool"]


class open_pool:  # noqa: N801 - used like a function: `async with open_pool(...) as pool`
    """Open a pool for the length of a block.

        async with open_pool("postgresql:///shop", max_size=5) as pool:
            with await pool.acquire() as connection:
                await connection.execute("SELECT 1")

    Args:
        connect: a libpq connection string or URI, for connections in autocommit; or an async function that opens one connection and raises
            `ConnectFailed` when it cannot.
        password: text, or a function that is asked for it anew for each connection: an async one, or a plain one, which runs in a thread.
        pooler: "transaction" for a connection pooler such as PgBouncer in that mode, "session" for one that keeps a session for each
            client; None finds out, and takes any pooler for one in transaction mode.
        listen_address: where notifications are heard, when a pooler stands before `connect`.
        statement_cache_size: how many statements the server keeps prepared for each connection; 0 prepares none under a name.
        options: the fields of `PoolSettings`, as keyword arguments.

    Raises:
        UsageError: one of the four before `options` was given together with a function that opens connections.
        ConnectFailed: on entry, when `min_size` is not 0. Safe to retry.
        AuthenticationFailed: the same. Not safe to retry.
        TypeError, ValueError: a setting that does not exist, or makes no sense.

    Checkpoint: on entry, only if `min_size` is not 0; on leaving, only if connections are on loan or hooks under way.
    """

    # A class, so that an error of the body leaves the block bare and not inside the nursery's exception group.
    __slots__ = ("_background", "_connect", "_nursery", "_pool", "_settings")

    def __init__(
        self,
        connect: str | Connector | Connect,
        *,
        password: Password | None = None,
        pooler: Pooler | None = None,
        listen_address: str | None = None,
        statement_cache_size: int = STATEMENT_CACHE_SIZE,
        **options: Unpack[PoolOptions],
    ) -> None:
        self._settings = settings_from("open_pool", **options)
        if isinstance(connect, str):
            connect = Connector(
                address=connect, password=password, pooler=pooler, listen_address=listen_address, statement_cache_size=statement_cache_size
            )
        elif (password, pooler, listen_address, statement_cache_size) != (None, None, None, STATEMENT_CACHE_SIZE):
            raise UsageError(
                "password, pooler, listen_address and statement_cache_size belong to an address, and open_pool was given a function.\n"
                "To fix it: give them to AnyIOConnection.connect in that function, or give open_pool an address."
            )
        self._connect = connect

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Pool:
        self._nursery = anyio.create_task_group()
        await self._nursery.__aenter__()
        self._background = Background(self._nursery)
        source = self._connect
        connect, listen = (source.connect, source.connect_listener) if isinstance(source, Connector) else (source, source)
        self._pool = Pool(connect, self._settings, self._background, listen=listen)
        self._background.start_soon(self._pool.keep, name="trioorm: keeping the pool")
        if self._settings.min_size:
            try:
                await self._pool.open_first()
            except BaseException:
                await self.__aexit__(None, None, None)
                raise
        return self._pool

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        hooks, until = self._pool.outcome_hooks, anyio.current_time() + self._settings.cleanup_timeout_seconds
        held = await hooks.finish(until)
        held = await self._pool.close() or held
        held = await hooks.finish(until) or held  # of transactions that ended while it closed
        self._background.cancel()
        # asyncio's own cancel must not meet the nursery while they end: AnyIO 4.16 lets a child's scope count its cancels as the nursery's,
        # and then takes one too many off this task.
        with Shield(self._settings.cleanup_timeout_seconds) as shield:
            await shield.wait(self._background.wait_until_ended)
        held = held or shield.held
        try:
            await self._nursery.__aexit__(None, None, None)
        except anyio.get_cancelled_exc_class() as cancellation:
            if not isinstance(error, Exception):
                raise
            deliver_again(cancellation, None)  # the body's error goes first
        if (raised := after_cleanup(error, held)) is not None and raised is not error:
            raise raised
