"""`AnyIOConnection`: psycopg's asynchronous connection on Trio, asyncio and uvloop, with cleanup that is shielded and bounded.

psycopg's protocol lives in generators that say what to wait for; the waiting is done here, by readiness of the socket. Whoever swaps
`psycopg.AsyncConnection` for this class keeps cursors, adapters and errors. Below psycopg's API lies `fly`, the path of the ORM: prepared
statements in binary, several in one trip.

What a cancellation leaves behind is decided here: the statement is cancelled on the server, its answer drained and the cancel request
itself finished, all within `cleanup_timeout_seconds`; else the socket is closed. A late cancel request would hit the next statement, so a
connection whose request is still under way is never used again.

Source: psycopg issue 29 (https://github.com/psycopg/psycopg/issues/29) asks for this since 2021.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import anyio
import trio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled
from psycopg import AsyncConnection, AsyncCursor, OperationalError, pq
from psycopg import errors as psycopg_errors
from psycopg.abc import RV, AdaptContext, ConnParam, PQGen, PQGenConn
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import make_conninfo, timeout_from_conninfo
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import AsyncRowFactory, Row, tuple_row

from trioorm.errors import CommitOutcomeUnknown, ConnectionLost, TrioormError
from trioorm.wire.attempts import connection_attempts
from trioorm.wire.flight import Answer, Flight
from trioorm.wire.interrupt import Held, Shield, after_cleanup, deliver_again
from trioorm.wire.readiness import Ready, Wait, has_unread_input, readiness_for
from trioorm.wire.server_errors import connect_error, connection_lost, copy_out_of_place, error_from_result, malformed_address
from trioorm.wire.statements import PreparedNames, Step

__all__ = ["AnyIOConnection", "OnCancel"]

logger = logging.getLogger("trioorm.wire")

_BAD = pq.ConnStatus.BAD
_ACTIVE = pq.TransactionStatus.ACTIVE
_IDLE = pq.TransactionStatus.IDLE
_PIPELINE_OFF = pq.PipelineStatus.OFF

# How long to wait for the answer before a cancel request is sent again: it may have overtaken its statement.
_REPEAT_CANCEL_SECONDS = 0.1


class OnCancel(Enum):
    """What a cancellation does to a flight that is under way."""

    STOP = auto()
    """Cancel it on the server, drain the answer, raise the cancellation."""

    SETTLE = auto()
    """Cancel it on the server, drain the answer; if it had taken effect, return normally and let the next checkpoint raise."""

    FINISH = auto()
    """Wait for its answer, within the budget, and return normally."""


class AnyIOConnection(AsyncConnection[Row]):
    """A psycopg connection that works under Trio, asyncio and uvloop.

    Attributes:
        cleanup_timeout_seconds: how long cancelling and draining a statement may take before the socket is closed.
    """

    cleanup_timeout_seconds: float = 1.0

    def __init__(self, pgconn: PGconn, row_factory: AsyncRowFactory[Row] | None = None) -> None:
        super().__init__(pgconn, row_factory or cast("AsyncRowFactory[Any]", tuple_row))
        # psycopg's lock is asyncio's; it is used only as `async with self.lock`.
        self.lock = cast("Any", anyio.Lock())
        self._readiness = readiness_for(pgconn)
        self._prepared_names = PreparedNames(limit=500)

    @classmethod
    async def connect(
        cls,
        conninfo: str = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Row] | None = None,
        cursor_factory: type[AsyncCursor[Row]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect to the server, trying every host and address in turn.

        The parameters are psycopg's. `connect_timeout` bounds each attempt, in seconds.

        Raises:
            ConnectFailed: no attempt succeeded; the text has every attempt's reason. Safe to retry. Like the next, it is also a
                `psycopg.OperationalError`.
            AuthenticationFailed: the server refused the user, password or database. Not safe to retry.
            UsageError: the connection string is malformed; it is also a `psycopg.ProgrammingError`.

        Checkpoint: always.
        """
        try:
            parameters = await cls._get_connection_params(conninfo, **kwargs)
        except psycopg_errors.ProgrammingError:
            raise malformed_address() from None
        timeout = timeout_from_conninfo(parameters)
        try:
            attempts = await connection_attempts(parameters)
        except OperationalError as error:
            raise connect_error(error) from None
        failures: list[tuple[str, OperationalError]] = []
        for attempt in attempts:
            description = ", ".join(f"{key} {attempt[key]}" for key in ("host", "hostaddr", "port") if attempt.get(key))
            try:
                with anyio.fail_after(timeout):
                    connection = await _drive(cls._connect_gen(make_conninfo("", **attempt)))
            except TimeoutError:
                failures.append((description, psycopg_errors.ConnectionTimeout(f"connection timeout expired after {timeout} s")))
            except OperationalError as error:
                failures.append((description, error))
            else:
                break
        else:
            described = "".join(f"\n  - {where}: {str(error).strip()}" for where, error in failures[:-1])
            raise connect_error(
                failures[-1][1], attempts=f"; {len(failures)} attempts failed:{described}\n  - last" if described else ""
            ) from None
        connection._autocommit = bool(autocommit)
        if row_factory:
            connection.row_factory = row_factory
        if cursor_factory:
            connection.cursor_factory = cursor_factory
        if context:
            connection._adapters = AdaptersMap(context.adapters)
        connection.prepare_threshold = prepare_threshold
        return connection

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
        self._finish()

    def _finish(self) -> None:
        self._readiness.close()
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
                    want = gen.send(await self._readiness.wait(want))
            raise psycopg_errors._WaitTimeout("wait timeout expired")  # pyright: ignore[reportPrivateUsage] - psycopg's `notifies` catches it
        except StopIteration as stop:
            return cast("RV", stop.value)
        except Exception:
            self._readiness_follows_socket()
            raise
        except GeneratorExit:
            raise
        except BaseException as interruption:
            if self.pgconn.transaction_status != _ACTIVE:
                raise
            held = await self.stop(partial(self._drain_generator, gen, want))
            raise after_cleanup(interruption, held) or interruption from None

    async def _drain_generator(self, gen: PQGen[Any], want: Wait, shield: Shield, until: float) -> bool:
        try:
            while True:
                ready = await shield.wait(partial(self._readiness.wait, want), until=until)
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
            await _drive(self._cancel_gen())
            return
        raise psycopg_errors.CancellationTimeout("cancellation timeout expired")

    def leave_pipeline(self) -> None:
        """Leave the pipeline mode that flights use, unless psycopg itself is in it."""
        if self._pipeline is None and self.pgconn.pipeline_status != _PIPELINE_OFF:
            self.pgconn.exit_pipeline_mode()

    def _readiness_follows_socket(self) -> None:
        """libpq closes a broken socket by itself; no reader may stay registered for its number."""
        if self.pgconn.status == _BAD:
            self._readiness.close()

    # The path of the ORM.

    @trio.lowlevel.enable_ki_protection
    async def fly(self, steps: Sequence[Step], *, on_cancel: OnCancel = OnCancel.STOP, seconds: float | None = None) -> list[PGresult]:
        """Send statements together and return the result of each.

        Server errors are not raised: they are among the results, and of the steps behind the first nothing was run.

        Args:
            steps: what to run, in order.
            on_cancel: what a cancellation does.
            seconds: how long the flight may go on after a cancellation; `cleanup_timeout_seconds` when None.

        Returns:
            One libpq result for each step. After a cancellation that `on_cancel` lets end normally, the next checkpoint raises it.

        Raises:
            ConnectionLost: the connection broke, or did not answer in time after a cancellation with `OnCancel.FINISH`.
            CommitOutcomeUnknown: the same with `OnCancel.SETTLE`. Not safe to retry.

        Checkpoint: always, except that `OnCancel.FINISH` sends before it looks.
        """
        if on_cancel is not OnCancel.FINISH:
            await checkpoint_if_cancelled()
        return await self.arrive(self.take_off(steps), on_cancel=on_cancel, seconds=seconds)

    @trio.lowlevel.enable_ki_protection
    async def arrive(self, answer: Answer, *, on_cancel: OnCancel, seconds: float | None = None) -> list[PGresult]:
        """Wait for the whole answer to something already queued; for the rest as `fly`."""
        try:
            while (want := answer.advance()) is not None:
                await self._wait_to_advance(want)
            return answer.outcomes
        except OperationalError as error:
            if self._has_last_words(answer):
                return answer.outcomes
            raise self._lost(answer, error, on_cancel) from error
        except psycopg_errors.NotSupportedError:
            self._finish()
            raise copy_out_of_place() from None
        except GeneratorExit:
            self._finish()  # the event loop is gone, and nobody can wait any more
            raise
        except BaseException as interruption:
            return await self._end(answer, interruption, on_cancel, seconds or self.cleanup_timeout_seconds)

    @trio.lowlevel.enable_ki_protection
    async def fly_shielded(self, steps: Sequence[Step], *, seconds: float) -> tuple[list[PGresult] | None, Held]:
        """Send statements as part of a cleanup: nothing can cancel them, and past the bound the connection is closed.

        Args:
            steps: what to run.
            seconds: how long it may take in all.

        Returns:
            The results, or None when the connection broke or the time was up; and what came meanwhile and comes only once.

        Checkpoint: only if it waits, and a cancellation is never raised here.
        """
        with Shield(seconds) as shield:
            try:
                flight = self.take_off(steps)
                if await self.drain(flight, shield, shield.deadline):
                    return flight.outcomes, shield.held
            except (OperationalError, ConnectionLost) as error:
                logger.debug("connection lost during cleanup: %s", error)
            self._finish()
            return None, shield.held

    def limit_statements(self, limit: int) -> None:
        """How many prepared statements the server session may keep; 0 behind a pooler that shares sessions, where names cannot be used."""
        self._prepared_names.limit = limit

    def retire_statements(self, steps: Sequence[Step]) -> None:
        """Let the statements of these steps be prepared anew when they are next used."""
        for step in steps:
            self._prepared_names.retire(step.statement.name)

    def take_off(self, steps: Sequence[Step]) -> Flight:
        """Queue statements as one flight, to be waited for with `arrive`. Never waits.

        Raises:
            ConnectionLost: the connection is closed; nothing was sent. Safe to retry.
        """
        if self._pipeline is not None:
            raise psycopg_errors.ProgrammingError("a flight cannot be sent inside psycopg's own pipeline block")
        try:
            return Flight(self.pgconn, self._prepared_names, steps)
        except OperationalError as error:
            self._finish()
            raise connection_lost(str(error), safe_to_retry=True) from error

    async def wait_for_input(self) -> None:
        """Wait until more has come from the server, for a stream or a COPY that takes it itself.

        Checkpoint: always.
        """
        await self._readiness.wait_for_result()

    async def wait_for_socket(self) -> None:
        """Wait until something can be written, taking what comes meanwhile.

        Checkpoint: only if it waits.
        """
        await self._wait_to_advance(Wait.RW)

    async def _wait_to_advance(self, want: Wait) -> bool:
        if want == Wait.R:
            return await self._readiness.wait_for_result()
        if await self._readiness.wait(want) & Ready.R:
            self.pgconn.consume_input()
        return True

    def _has_last_words(self, answer: Answer) -> bool:
        """Whether the whole answer had come before the connection broke: libpq keeps what it has read. The connection is closed for
        good."""
        try:
            complete = answer.advance() is None
        except OperationalError:
            complete = answer.complete
        if complete:
            self._finish()
        return complete

    async def _end(self, answer: Answer, interruption: BaseException, on_cancel: OnCancel, seconds: float) -> list[PGresult]:
        """End what was interrupted: raise the interruption, or return the results when it came too late."""
        if on_cancel is OnCancel.FINISH:
            with Shield(seconds) as shield:
                try:
                    complete = await self.drain(answer, shield, shield.deadline)
                except OperationalError as error:
                    complete = self._has_last_words(answer)
                    if not complete:
                        raise self._lost(answer, error, on_cancel) from error
            held = shield.held
            if not complete:
                self._finish()
                raise connection_lost(f"no answer came within {seconds:g} s after the cancellation, so it was closed")
        else:
            held = await self.stop(partial(self.drain, answer), seconds=seconds)
            if on_cancel is OnCancel.STOP or answer.failure is not None:
                raise after_cleanup(interruption, held) or interruption
            if not answer.complete:
                raise write_outcome_unknown(f"the answer did not come within {seconds:g} s after the cancellation") from interruption
        deliver_again(interruption, held)
        return answer.outcomes

    async def drain(self, answer: Answer, shield: Shield, until: float) -> bool:
        """Take an answer under a shield until a moment on the loop's clock; say whether all of it has come."""
        while (want := answer.advance()) is not None:
            if await shield.wait(partial(self._wait_to_advance, want), until=until) is None:
                return False
        return True

    def _lost(self, answer: Answer, error: OperationalError, on_cancel: OnCancel) -> TrioormError:
        """The error for a connection that broke under an answer; the connection is closed for good."""
        self._finish()
        if answer.failure is not None:
            text, result = answer.failure
            said = error_from_result(result, statement=text.decode())
            return connection_lost(said.message_primary, safe_to_retry=True)
        if on_cancel is OnCancel.SETTLE:
            return write_outcome_unknown(str(error).strip())
        return connection_lost(str(error), safe_to_retry=on_cancel is OnCancel.STOP)

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
                self._finish()
            return shield.held

    async def _request_cancel(self, shield: Shield) -> bool:
        """Send a cancel request and see it through; False when it could not be finished in time."""
        request = self._cancel_gen()
        try:
            fileno, want = next(request)
            while (ready := await shield.wait(partial(_wait_for_socket, fileno, want))) is not None:
                fileno, want = request.send(ready)
        except StopIteration:
            return True
        except (OperationalError, OSError) as error:
            logger.debug("cancel request failed: %s", error)
        finally:
            request.close()
        return False


def write_outcome_unknown(reason: str) -> CommitOutcomeUnknown:
    """The error for a single write whose answer did not come."""
    return CommitOutcomeUnknown(
        f"the write was sent, but {reason}.\n"
        "It may have taken effect or not. To fix it: read the row back before you repeat the write; "
        "inside `async with db.transaction()` the outcome can be asked for."
    )


async def _wait_for_socket(fileno: int, want: Wait) -> Ready:
    """Wait for a socket that is connecting; once it is a connection, `Readiness` does this."""
    if want == Wait.W:
        await anyio.wait_writable(fileno)
        return Ready.W
    await anyio.wait_readable(fileno)
    return Ready.R


async def _drive(generator: PQGenConn[RV]) -> RV:
    """Consume a generator whose socket may change between waits: connecting, or a cancel request."""
    try:
        fileno, want = next(generator)
        while True:
            fileno, want = generator.send(await _wait_for_socket(fileno, want))
    except StopIteration as stop:
        return cast("RV", stop.value)
    finally:
        # Whoever keeps a cancellation's traceback would keep the half-made connection, and its session, with the frame of the generator.
        generator.close()
