"""psycopg's connection with its waiting done by readiness of the socket, on Trio, asyncio and uvloop.

psycopg's protocol lives in generators that say what to wait for; the waiting is done here. What a cancellation leaves behind is decided
here too: the statement is cancelled on the server, its answer drained and the cancel request itself finished, all within
`cleanup_timeout_seconds`; else the socket is closed. A late cancel request would hit the next statement, so a connection whose request is
still under way is never used again.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, cast

import anyio
import trio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled
from psycopg import AsyncConnection, AsyncCursor, AsyncPipeline, AsyncTransaction, OperationalError, pq
from psycopg import errors as psycopg_errors
from psycopg.abc import RV, PQGen
from psycopg.pq.abc import PGconn
from psycopg.rows import AsyncRowFactory, Row, tuple_row

from trioorm.wire.blocks import Cursor, LeaveBlock, Pipeline, Transaction
from trioorm.wire.driving import drive, wait_for_socket
from trioorm.wire.interrupt import Held, Shield, after_cleanup, deliver_again
from trioorm.wire.readiness import Wait, has_unread_input, readiness_for

__all__ = ["ReadyConnection"]

logger = logging.getLogger("trioorm.wire")

T = TypeVar("T")

_BAD = pq.ConnStatus.BAD
_ACTIVE = pq.TransactionStatus.ACTIVE
_IDLE = pq.TransactionStatus.IDLE
_PIPELINE_OFF = pq.PipelineStatus.OFF

_COMMIT_SECONDS = 5.0

# How long to wait for the answer before a cancel request is sent again: it may have overtaken its statement.
_REPEAT_CANCEL_SECONDS = 0.1


class ReadyConnection(AsyncConnection[Row]):
    """A psycopg connection that works under Trio, asyncio and uvloop.

    Attributes:
        cleanup_timeout_seconds: how long cancelling and draining a statement may take before the socket is closed.
    """

    cleanup_timeout_seconds: float = 1.0

    def __init__(self, pgconn: PGconn, row_factory: AsyncRowFactory[Row] | None = None) -> None:
        super().__init__(pgconn, row_factory or cast("AsyncRowFactory[Any]", tuple_row))
        # psycopg's lock is asyncio's; it is used only as `async with self.lock`.
        self.lock = cast("Any", anyio.Lock(fast_acquire=True))
        self.cursor_factory = cast("type[AsyncCursor[Row]]", Cursor)
        self._ending: Shield | None = None
        self._ends_well = False
        self.readiness = readiness_for(pgconn)

    # Closing.

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Commit and close; after an error only close, upon which the server rolls back. Nothing here can be lost to a cancellation."""
        try:
            if error is None and not self.closed:
                await self.commit()
        finally:
            self.close_nowait()

    async def close(self) -> None:
        """Close the connection.

        Checkpoint: never.
        """
        self.close_nowait()

    def close_nowait(self) -> None:
        """Close the connection at once; a task that waits for its answer gets `psycopg.OperationalError`."""
        self._closed = True
        self.finish()

    def finish(self) -> None:
        self.readiness.close()
        self.pgconn.finish()

    @property
    def is_idle(self) -> bool:
        """Whether libpq says that the connection is open, outside a transaction, and runs nothing."""
        return self.pgconn.transaction_status == _IDLE

    def has_unread_input(self) -> bool:
        """Whether the server has sent something that nobody has read; on an idle connection, mostly its farewell."""
        return has_unread_input(self.pgconn)

    # psycopg's own path.

    @trio.lowlevel.enable_ki_protection
    async def wait(self, gen: PQGen[RV], interval: float = 0.0, timeout: float | None = None) -> RV:
        """Consume one of psycopg's generators, waiting by readiness.

        Args:
            gen: the generator.
            interval: accepted for psycopg's sake; nothing is polled here.
            timeout: seconds after which `psycopg.errors._WaitTimeout` is raised, as psycopg's `notifies` expects.

        Checkpoint: always.
        """
        if self._ending is not None:
            return await self._wait_shielded(gen, self._ending)
        if not self._ends_well:
            await checkpoint_if_cancelled()
        self.leave_pipeline()
        try:
            want = next(gen)
        except StopIteration as stop:
            await cancel_shielded_checkpoint()
            return cast("RV", stop.value)
        try:
            with anyio.move_on_after(timeout):
                while True:
                    want = gen.send(await self.readiness.wait(want))
            raise psycopg_errors._WaitTimeout("wait timeout expired")  # pyright: ignore[reportPrivateUsage] - psycopg's `notifies` catches it
        except StopIteration as stop:
            return cast("RV", stop.value)
        except Exception:
            self._readiness_follows_socket()
            raise
        except GeneratorExit:
            raise
        except BaseException as interruption:
            if self._ends_well:
                with Shield(_COMMIT_SECONDS) as shield:
                    value = await self._wait_shielded(gen, shield, want)
                deliver_again(interruption, shield.held)
                return value
            if self.pgconn.transaction_status != _ACTIVE:
                raise
            held = await self.stop(partial(self._drain_generator, gen, want))
            raise after_cleanup(interruption, held) or interruption from None

    async def _wait_shielded(self, gen: PQGen[RV], shield: Shield, want: Wait | None = None) -> RV:
        """Consume a generator under a shield; past its bound the connection is closed."""
        try:
            if want is None:
                self.leave_pipeline()
                want = next(gen)
            while (ready := await shield.wait(partial(self.readiness.wait, want))) is not None:
                want = gen.send(ready)
        except StopIteration as stop:
            return cast("RV", stop.value)
        self.finish()
        raise OperationalError("the server did not answer in time while a block was being ended, so the connection was closed")

    async def end_block(self, leave: LeaveBlock[T], error: BaseException | None) -> T:
        """End one of psycopg's blocks (a transaction, a pipeline, a COPY) so that a cancellation cannot cut its end short.

        Args:
            leave: psycopg's own `__aexit__`.
            error: what the body raised; then the end runs under a shield, within the cleanup budget. Without an error it is waited for, as
                a COMMIT must be; a cancellation that comes before it begins counts as the body's error.
        """
        if error is None:
            try:
                await checkpoint_if_cancelled()
            except BaseException as cancelled:
                await self._end_shielded(leave, cancelled)
                raise
            self._ends_well = True
            try:
                return await leave(None, None, None)
            finally:
                self._ends_well = False
        return await self._end_shielded(leave, error)

    async def _end_shielded(self, leave: LeaveBlock[T], error: BaseException) -> T:
        with Shield(self.cleanup_timeout_seconds) as shield:
            around, self._ending = self._ending, shield
            try:
                result = await leave(type(error), error, error.__traceback__)
            finally:
                self._ending = around
        if (raised := after_cleanup(error, shield.held)) is not None and raised is not error:
            raise raised
        return result

    @asynccontextmanager
    async def transaction(self, savepoint_name: str | None = None, force_rollback: bool = False) -> AsyncGenerator[AsyncTransaction]:
        """psycopg's transaction block, whose end no cancellation can cut short. See psycopg's documentation."""
        block = Transaction(self, savepoint_name, force_rollback)
        if self._pipeline:
            async with self.pipeline(), block, self.pipeline():
                yield block
        else:
            async with block:
                yield block

    @asynccontextmanager
    async def pipeline(self) -> AsyncGenerator[AsyncPipeline]:
        """psycopg's pipeline block, whose end no cancellation can cut short. See psycopg's documentation."""
        async with self.lock:
            self._check_connection_ok()
            self.leave_pipeline()
            if (block := self._pipeline) is None:
                block = self._pipeline = Pipeline(self)
        try:
            async with block:
                yield block
        finally:
            if block.level == 0:
                self._pipeline = None

    async def _try_cancel(self, *, timeout: float = 5.0) -> None:
        """Ask the server to cancel the statement of a block that is being ended; within the end's own bound."""
        if self._ending is not None:
            await self._request_cancel(self._ending)
        else:
            await super()._try_cancel(timeout=min(timeout, self.cleanup_timeout_seconds))

    async def _drain_generator(self, gen: PQGen[Any], want: Wait, shield: Shield, until: float) -> bool:
        try:
            while True:
                ready = await shield.wait(partial(self.readiness.wait, want), until=until)
                if ready is None:
                    return False
                want = gen.send(ready)
        except StopIteration:
            return True
        except psycopg_errors.Error:
            return True  # QueryCanceled as expected, or the statement's own error, which the cancellation outranks

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Ask the server to cancel the running statement.

        Args:
            timeout: how long the request may take, in seconds.

        Raises:
            psycopg.errors.CancellationTimeout: the request took longer.

        Checkpoint: always.
        """
        if not self._should_cancel():
            await anyio.lowlevel.checkpoint()
            return
        with anyio.move_on_after(timeout or None):
            await drive(self._cancel_gen())
            return
        raise psycopg_errors.CancellationTimeout("cancellation timeout expired")

    def leave_pipeline(self) -> None:
        """Leave the pipeline mode that flights use, unless psycopg itself is in it."""
        if self._pipeline is None and self.pgconn.pipeline_status != _PIPELINE_OFF:
            self.pgconn.exit_pipeline_mode()

    def _readiness_follows_socket(self) -> None:
        """libpq closes a broken socket by itself; no reader may stay registered for its number."""
        if self.pgconn.status == _BAD:
            self.readiness.close()

    # Stopping a statement.

    async def stop(self, drain: Callable[[Shield, float], Awaitable[bool]], *, seconds: float | None = None) -> Held:
        """Cancel the running statement on the server and drain its answer, or close the connection.

        Args:
            drain: takes the answer until a moment; says whether all of it has come.
            seconds: the bound; `cleanup_timeout_seconds` when None.

        Returns:
            what came meanwhile and comes only once.
        """
        with Shield(seconds or self.cleanup_timeout_seconds) as shield:
            stopped = False
            try:
                stopped = await drain(shield, anyio.current_time())  # it may have ended by itself
                while not stopped and not shield.expired and await self._request_cancel(shield):
                    stopped = await drain(shield, anyio.current_time() + _REPEAT_CANCEL_SECONDS)
            except (OperationalError, psycopg_errors.NotSupportedError) as error:
                logger.debug("connection lost while a statement was being cancelled: %s", error)
            if not stopped:
                self.finish()
            return shield.held

    async def _request_cancel(self, shield: Shield) -> bool:
        """Send a cancel request and see it through; False when it could not be finished in time."""
        request = self._cancel_gen()
        try:
            fileno, want = next(request)
            while (ready := await shield.wait(partial(wait_for_socket, fileno, want))) is not None:
                fileno, want = request.send(ready)
        except StopIteration:
            return True
        except (OperationalError, OSError) as error:
            logger.debug("cancel request failed: %s", error)
        finally:
            request.close()
        return False
