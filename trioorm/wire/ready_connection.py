"""psycopg's connection with its waiting done by readiness of the socket, on Trio, asyncio and uvloop.

psycopg's protocol lives in generators that say what to wait for; the waiting is done here. What a cancellation leaves behind is decided
here too: the statement is cancelled on the server, its answer drained and the cancel request itself finished, all within
`cleanup_timeout_seconds`; else the socket is closed. A late cancel request would hit the next statement, so a connection whose request is
still under way is never used again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, cast

import anyio
import trio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled
from psycopg import AsyncConnection, OperationalError, pq
from psycopg import errors as psycopg_errors
from psycopg.abc import RV, PQGen
from psycopg.pq.abc import PGconn
from psycopg.rows import AsyncRowFactory, Row, tuple_row

from trioorm.wire.cancel_request import CancelRequest
from trioorm.wire.driving import wait_for_socket
from trioorm.wire.farewell import Farewell
from trioorm.wire.flight import Answer, PlainAnswer
from trioorm.wire.interrupt import Held, Shield, after_cleanup, deliver_again
from trioorm.wire.lock import ConnectionLock, Ending
from trioorm.wire.readiness import Ready, Wait, poller_for, readiness_for
from trioorm.wire.running_loop import cancellation_check, deadline_reader, is_on_trio, running_task
from trioorm.wire.session_texts import refuse_without_session
from trioorm.wire.statements import Step

__all__ = ["ReadyConnection"]

logger = logging.getLogger("trioorm.wire")

T = TypeVar("T")

_BAD = pq.ConnStatus.BAD
_OK = pq.ConnStatus.OK
_ACTIVE = pq.TransactionStatus.ACTIVE
_IDLE = pq.TransactionStatus.IDLE
_OPENINGS = (b"BEGIN", b"SAVEPOINT")
_MOST_SHOWN = 80

# How long to wait for the answer before a cancel request is sent again: it may have overtaken its statement.
_REPEAT_CANCEL_SECONDS = 0.1


class _Pending:
    """One of psycopg's generators while it is drained, which may take several attempts.

    Attributes:
        generator: not to be asked again once it has ended, since what it waited for has been read.
        want: what it waits for; None when it has ended.
    """

    __slots__ = ("generator", "want")

    def __init__(self, generator: PQGen[Any], want: Wait) -> None:
        self.generator = generator
        self.want: Wait | None = want


class ReadyConnection(AsyncConnection[Row]):
    """A psycopg connection that works under Trio, asyncio and uvloop.

    Attributes:
        cleanup_timeout_seconds: how long cancelling and draining a statement may take before the socket is closed.
        behind_pooler: whether a pooler may answer each transaction with another session of the server.
        sent_steps: what was sent last below psycopg's API, for a look from outside; empty when psycopg has sent something since.
        gave_parts: whether the rows of the last query may have been asked for in parts. libpq gives those of the next one so too, if that
            is the first of a pipeline; a sync before it makes libpq forget that.
        has_farewell: whether closing it leaves a `farewell`, for somebody who sees the session off and closes that: a pool.
        farewell: what is left of it, once it is closed.
        check_for_cancellation: raises a cancellation that is due, and is no checkpoint otherwise.
        read_deadline: tells the deadline that holds where the running code stands.
        on_trio: whether the loop that it belongs to is Trio's.
        has_unread_input: says of an open connection whether the server has sent something that nobody has read (its truth counts); on an
            idle one that is mostly its farewell.
    """

    # Slots, so that an object has few other attributes: Python 3.11 finds neither attributes nor methods at once where there are over 30.
    __slots__ = (
        *("_current_task", "_endings", "behind_pooler", "check_for_cancellation", "cleanup_timeout_seconds", "farewell", "gave_parts"),
        *("has_farewell", "has_unread_input", "on_trio", "read_deadline", "readiness", "sent_steps"),
    )

    def __init__(self, pgconn: PGconn, row_factory: AsyncRowFactory[Row] | None = None) -> None:
        super().__init__(pgconn, row_factory or cast("AsyncRowFactory[Any]", tuple_row))
        # psycopg's lock is asyncio's; it is used only as `async with self.lock`.
        self.lock = cast("Any", ConnectionLock(self))
        self._endings: dict[object, Ending] = {}
        self.cleanup_timeout_seconds = 1.0
        self.sent_steps: Sequence[Step] = ()
        self.behind_pooler = self.gave_parts = self.has_farewell = False
        self.farewell: Farewell | None = None
        self._current_task = running_task()
        self.readiness = readiness_for(pgconn)
        self.check_for_cancellation = cancellation_check()
        self.read_deadline = deadline_reader()
        self.on_trio = is_on_trio()
        # The poller is the connection's for life, and asked without a function of ours in between: every loan looks.
        self.has_unread_input: Callable[[], object] = partial(poller_for(pgconn.socket, Wait.R).poll, 0)

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
        self._closed = self._closed or not self.closed  # one that broke before stays `broken`
        self.finish()
        cast("ConnectionLock", self.lock).close_nowait()

    def finish(self, *, stop_statement: bool = True) -> None:
        """Close the socket.

        Args:
            stop_statement: whether the `farewell`, if there is to be one, asks a statement that still runs to stop.
        """
        if self.has_farewell and self.pgconn.status == _OK:
            try:
                self.farewell = Farewell(self.pgconn, stop=stop_statement)
            except (OperationalError, OSError) as error:
                logger.debug("a session is left to itself: %s", error)
        self.readiness.close()
        self.pgconn.finish()

    def fileno(self) -> int:
        """The socket's number, for somebody who watches it on the event loop; from then on our own reader is there only while we wait."""
        number = super().fileno()
        self.readiness.share()
        return number

    @property
    def is_idle(self) -> bool:
        """Whether libpq says that the connection is open, outside a transaction, and runs nothing."""
        return self.pgconn.transaction_status == _IDLE

    @property
    def running_statement(self) -> str:
        """The text of the statement that runs at this moment, cut when it is long; "" when none does, or it is not known."""
        if not self.sent_steps or self.pgconn.transaction_status != _ACTIVE:
            return ""
        texts = [b" ".join(step.statement.text.split()) for step in self.sent_steps]
        text = next((text for text in texts if not text.startswith(_OPENINGS)), texts[-1]).decode(errors="replace")
        return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."

    def check_steps(self, steps: Sequence[Step], *, in_transaction: bool) -> None:
        """Refuse steps that need a session of their own where a pooler gives none.

        Args:
            steps: what is to be sent.
            in_transaction: whether they run in a transaction; else libpq is asked.

        Raises:
            SessionNeeded: one of them would be lost, or found by a stranger. Nothing was sent.
        """
        if self.behind_pooler:
            for step in steps:
                refuse_without_session(step.statement.text, in_transaction=in_transaction or not self.is_idle)

    def check_text(self, text: bytes) -> None:
        """See `check_steps`; for a text that psycopg is about to send."""
        if self.behind_pooler:
            refuse_without_session(text, in_transaction=not self.is_idle)

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
        self.sent_steps = ()
        self.gave_parts = True  # as far as is known
        ending = self.ending()
        if ending is None:
            await checkpoint_if_cancelled()
        elif ending.under is not None:
            return await self._wait_shielded(gen, ending.under)
        self.leave_pipeline()
        try:
            want = next(gen)
        except StopIteration as stop:
            try:
                await cancel_shielded_checkpoint()
            except BaseException as interruption:  # asyncio's own cancel goes through a shield
                deliver_again(interruption, None)
            return cast("RV", stop.value)
        if ending is not None and ending.stops_now:
            ending.held = await self.stop(partial(self._drain_generator, _Pending(gen, want)))
            return cast("RV", None)  # the end of a pipeline has no value
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
            if ending is not None and not ending.stops:
                with Shield(ending.seconds) as shield:
                    value = await self._wait_shielded(gen, shield, want)
                deliver_again(interruption, shield.held)
                return value
            if self.pgconn.transaction_status != _ACTIVE:
                raise
            held = await self.stop(partial(self._drain_generator, _Pending(gen, want)))
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
        ending = self.ending()
        self.finish(stop_statement=ending is not None and ending.under is not None)
        raise OperationalError("the server did not answer in time while a block was being ended, so the connection was closed")

    # Ends of psycopg's blocks.

    def ending(self) -> Ending | None:
        """How the running task ends one of psycopg's blocks; None when it does not."""
        return self._endings.get(self._current_task()) if self._endings else None

    @contextmanager
    def _ending_by(self, ending: Ending) -> Generator[None]:
        task = self._current_task()
        around = self._endings.get(task)
        self._endings[task] = ending
        try:
            yield
        finally:
            if around is None:
                del self._endings[task]
            else:
                self._endings[task] = around

    async def _try_cancel(self, *, timeout: float = 5.0) -> None:
        """Ask the server to cancel the statement of a block that is being ended; within the end's own bound."""
        if (ending := self.ending()) is not None and ending.under is not None:
            await self.request_cancel(ending.under)
        else:
            await super()._try_cancel(timeout=min(timeout, self.cleanup_timeout_seconds))

    async def _drain_generator(self, pending: _Pending, shield: Shield, until: float) -> bool:
        try:
            while (want := pending.want) is not None:
                ready = await shield.wait(partial(self.readiness.wait, want), until=until)
                if ready is None:
                    return False
                pending.want = pending.generator.send(ready)
        except (StopIteration, psycopg_errors.Error):
            # It has ended: as expected, by QueryCanceled, or by the statement's own error, which the cancellation outranks.
            pending.want = None
        # The generator may have been one of several for the same statement: the beginning of a COPY, or some rows of a stream.
        return self._pipeline is not None or await self.drain(PlainAnswer(self.pgconn, b""), shield, until)

    async def drain(self, answer: Answer, shield: Shield, until: float) -> bool:
        """Take an answer under a shield until a moment on the loop's clock; say whether all of it has come."""
        while (want := answer.advance()) is not None:
            if await shield.wait(partial(self._wait_to_advance, want), until=until) is None:
                return False
        return True

    async def _wait_to_advance(self, want: Wait) -> bool:
        if want == Wait.R:
            return await self.readiness.wait_for_result()
        if await self.readiness.wait(want) & Ready.R:
            self.pgconn.consume_input()
        return True

    @trio.lowlevel.enable_ki_protection
    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Ask the server to cancel the running statement.

        A request that is given up on its way might hit a later statement. So one whose caller is cancelled is seen through, within
        `cleanup_timeout_seconds`; where that fails, and after `timeout`, the connection is closed.

        Args:
            timeout: how long the request may take, in seconds.

        Raises:
            psycopg.errors.CancellationTimeout: the request took longer.

        Checkpoint: always.
        """
        if not self._should_cancel():
            await anyio.lowlevel.checkpoint()
            return
        request = CancelRequest(self._cancel_gen())
        try:
            with anyio.move_on_after(timeout or None):
                await request.go_on(wait_for_socket)
                return
        except Exception:
            raise
        except BaseException as interruption:
            with Shield(self.cleanup_timeout_seconds) as shield:
                if not await self._finish_request(request, shield):
                    self.close_nowait()
            raise after_cleanup(interruption, shield.held) or interruption from None
        finally:
            request.close()
        self.close_nowait()
        raise psycopg_errors.CancellationTimeout("cancellation timeout expired")

    def leave_pipeline(self) -> None:
        """Leave the pipeline mode that flights use, unless psycopg itself is in it."""
        if self._pipeline is None and self.pgconn.pipeline_status:
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
                while not stopped and not shield.expired and await self.request_cancel(shield):
                    stopped = await drain(shield, anyio.current_time() + _REPEAT_CANCEL_SECONDS)
            except (OperationalError, psycopg_errors.NotSupportedError) as error:
                logger.debug("connection lost while a statement was being cancelled: %s", error)
            if not stopped:
                self.finish()
            return shield.held

    async def request_cancel(self, shield: Shield) -> bool:
        """Send a cancel request and see it through; False when that could not be done in time, upon which the connection must be closed."""
        request = CancelRequest(self._cancel_gen())
        try:
            return await self._finish_request(request, shield)
        finally:
            request.close()

    async def request_cancel_unshielded(self) -> None:
        """Send a cancel request and see it through, unless the caller is cancelled; then the connection must be closed.

        Raises:
            psycopg.OperationalError, OSError: the server took no request.

        Checkpoint: always.
        """
        request = CancelRequest(self._cancel_gen())
        try:
            await request.go_on(wait_for_socket)
        finally:
            request.close()

    async def _finish_request(self, request: CancelRequest, shield: Shield) -> bool:
        try:
            return await request.go_on(lambda fileno, want: shield.wait(partial(wait_for_socket, fileno, want)))
        except (OperationalError, OSError) as error:
            logger.debug("cancel request failed: %s", error)
            return False
