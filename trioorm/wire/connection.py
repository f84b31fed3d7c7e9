"""`AnyIOConnection`: psycopg's asynchronous connection on Trio, asyncio and uvloop, with cleanup that is shielded and bounded.

Whoever swaps `psycopg.AsyncConnection` for this class keeps cursors, adapters and errors (`ready_connection.py`). Below psycopg's API lies
`fly`, the path of the ORM: prepared statements in binary, several in one trip.

Source: psycopg issue 29 (https://github.com/psycopg/psycopg/issues/29) asks for this since 2021.
"""

import logging
from collections.abc import Collection, Sequence
from enum import Enum, auto
from functools import partial
from typing import Self

import trio
from psycopg import AsyncCursor, OperationalError, capabilities
from psycopg import errors as psycopg_errors
from psycopg.abc import AdaptContext, Buffer, ConnParam, PQGen
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import timeout_from_conninfo
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import AsyncRowFactory, Row

from trioorm.errors import ConnectionLost, TrioormError
from trioorm.wire.attempts import connect_to_any, parameters_in_force
from trioorm.wire.block_connection import BlockConnection
from trioorm.wire.connect_errors import malformed_address, unusable_address
from trioorm.wire.flight import Answer, Flight, LandedSteps, PlainAnswer
from trioorm.wire.interrupt import Held, Shield, after_cleanup, deliver_again
from trioorm.wire.password import Password, password_text
from trioorm.wire.readiness import Wait
from trioorm.wire.server_errors import (
    connection_lost,
    copy_out_of_place,
    error_from_result,
    write_outcome_unknown,
)
from trioorm.wire.statements import FORGETTING, PreparedNames, Statement, Step

__all__ = ["AnyIOConnection", "OnCancel"]

STATEMENT_CACHE_SIZE = 500

# As plain numbers, since Python compares those at a third of the cost.
_COMMAND_OK = int(ExecStatus.COMMAND_OK)
_TUPLES_OK = int(ExecStatus.TUPLES_OK)
_WAIT_R = Wait.R
_launched = Flight.launched  # Python looks a name of a class up anew each time, and one of a module once

logger = logging.getLogger("trioorm.wire")


class OnCancel(Enum):
    """What a cancellation does to a flight that is under way."""

    STOP = auto()
    """Cancel it on the server, drain the answer, raise the cancellation."""

    SETTLE = auto()
    """Cancel it on the server, drain the answer; if it had taken effect, return normally and let the next checkpoint raise."""

    FINISH = auto()
    """Wait for its answer, within the budget, and return normally."""

    COMMIT = auto()
    """For a `Flight` that commits what it does: as SETTLE until its steps have landed, and from then on, since it is being committed, as
    FINISH."""


class AnyIOConnection(BlockConnection[Row]):
    """A psycopg connection that works under Trio, asyncio and uvloop, and below psycopg's API sends flights of prepared statements.

    Attributes:
        cleanup_timeout_seconds: how long cancelling and draining a statement may take before the socket is closed.
    """

    __slots__ = ("_prepared_names",)

    def __init__(self, pgconn: PGconn, row_factory: AsyncRowFactory[Row] | None = None) -> None:
        super().__init__(pgconn, row_factory)
        self._prepared_names = PreparedNames(limit=STATEMENT_CACHE_SIZE, forget_others=self._forget_psycopgs_names)

    @classmethod
    @trio.lowlevel.enable_ki_protection
    async def connect(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride] - psycopg would pass these two on to libpq
        cls,
        conninfo: str = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Row] | None = None,
        cursor_factory: type[AsyncCursor[Row]] | None = None,
        password: Password | None = None,
        statement_cache_size: int = STATEMENT_CACHE_SIZE,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect to the server, trying every host and address in turn.

        The parameters are psycopg's, and two more. `connect_timeout` bounds each attempt, in seconds.

        Args:
            conninfo: a libpq connection string or URI. What it leaves out comes from a service file and from libpq's environment variables.
            autocommit, prepare_threshold, context, row_factory, cursor_factory: see psycopg.
            password: text, or a function that is asked for it now: an async one, or a plain one, which runs in a thread.
            statement_cache_size: how many statements of flights the server keeps prepared for this connection; 0: none.
            kwargs: parameters of the connection string, stronger than those in it.

        Raises:
            ConnectFailed: no attempt succeeded; the text has every attempt's reason. Safe to retry. Like the next, it is also a
                `psycopg.OperationalError`.
            AuthenticationFailed: the server refused the user, password or database. Not safe to retry.
            UsageError: the connection string is malformed; it is also a `psycopg.ProgrammingError`.

        Checkpoint: always.
        """
        try:
            parameters = await cls._get_connection_params(conninfo, **kwargs)
            in_force = parameters_in_force(parameters)
        except psycopg_errors.ProgrammingError as error:
            raise malformed_address(str(error)) from None
        try:
            seconds = timeout_from_conninfo(dict(in_force))
        except psycopg_errors.ProgrammingError as error:
            raise unusable_address(str(error)) from None
        if password is not None:
            parameters["password"] = await password_text(password, seconds=seconds)
        connection = await connect_to_any(parameters, in_force, cls._connect_gen, seconds=seconds)
        connection._autocommit = bool(autocommit)
        if row_factory:
            connection.row_factory = row_factory
        if cursor_factory:
            connection.cursor_factory = cursor_factory
        if context:
            connection._adapters = AdaptersMap(context.adapters)
        connection.prepare_threshold = prepare_threshold
        connection.statement_cache_size = statement_cache_size
        return connection

    @property
    def prepared_names(self) -> PreparedNames:
        """What flights have prepared on it."""
        return self._prepared_names

    @property
    def statement_cache_size(self) -> int:
        """How many statements of flights the server keeps prepared for this connection; 0 prepares none under a name."""
        return self._prepared_names.limit

    @statement_cache_size.setter
    def statement_cache_size(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"statement_cache_size must be 0 or more, not {size}.\nTo fix it: 0 prepares nothing under a name.")
        self._prepared_names.keep_at_most(size)

    def drop_psycopgs_names(self) -> None:
        """Let psycopg prepare its statements anew, after a pipeline that broke off: it names some that the server was never sent."""
        surplus = list(self._prepared._names.values()) if capabilities.has_send_close_prepared() else []  # pyright: ignore[reportPrivateUsage] - nobody tells
        self._forget_psycopgs_names()
        self._prepared._to_flush.extend(surplus)  # pyright: ignore[reportPrivateUsage] - to be closed; that is no error where there is none

    def _forget_psycopgs_names(self) -> None:
        prepared = self._prepared
        prepared.clear()
        # The DEALLOCATE ALL that this asks for would come behind the next statement, and drop that, if it is prepared.
        prepared._to_flush.clear()  # pyright: ignore[reportPrivateUsage] - it can only be asked to add to it

    def _deallocate(self, name: bytes | None) -> PQGen[None]:
        """psycopg's own care for what it has prepared; without a name it drops all, and so what flights have prepared too."""
        if name is None:
            self._prepared_names.retire_all()
        return super()._deallocate(name)

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
            await self.check_for_cancellation()
        return await self.arrive(self.take_off(steps), on_cancel, seconds)

    @trio.lowlevel.enable_ki_protection
    async def ask(
        self, statement: Statement, values: Sequence[Buffer | None], formats: Sequence[Format], *, on_cancel: OnCancel
    ) -> PGresult:
        """Send one statement and return its result: `fly` for a single step, without making one, and without looking for a cancellation
        before it sends, which the caller has done.

        Outside of libpq's pipeline mode that costs less than a flight. What is out of the ordinary goes the way that flights go.

        Args:
            statement: what to run.
            values: the packed parameters; None is NULL.
            formats: text or binary, one for each value.
            on_cancel: what a cancellation does.

        Raises:
            ConnectionLost, CommitOutcomeUnknown: as `fly`.

        Checkpoint: always, after it has sent.
        """
        prepared = self._prepared_names
        name = statement.name
        if self._pipeline is not None or self.behind_pooler or name not in prepared.names:
            (result,) = await self.arrive(self.take_off((Step(statement, values, formats),)), on_cancel)
            return result
        if prepared.is_crowded:
            prepared.names.move_to_end(name)  # as `touch`
        pgconn = self.pgconn
        self.sent_steps = statement.alone
        try:
            if pgconn.pipeline_status:
                pgconn.exit_pipeline_mode()
            pgconn.send_query_prepared(name, values, formats, statement.result_format)
        except OperationalError as error:
            self.finish()
            raise connection_lost(str(error), safe_to_retry=True) from error
        first = behind = None
        try:
            if not pgconn.flush():
                readiness = self.readiness
                await readiness.listen()
                readiness.heard()
                if (
                    not pgconn.is_busy()
                    and (first := pgconn.get_result()) is not None
                    and not pgconn.is_busy()
                    and (behind := pgconn.get_result()) is None
                    and (first.status == _TUPLES_OK or (first.status == _COMMAND_OK and first.command_status not in FORGETTING))
                ):
                    return first
        except BaseException as error:
            return await self._asked(statement, (first, behind), error, on_cancel)
        return await self._asked(statement, (first, behind), None, on_cancel)

    async def _asked(
        self, statement: Statement, taken: Sequence[PGresult | None], error: BaseException | None, on_cancel: OnCancel
    ) -> PGresult:
        """The result of a single statement that is not simply there: what has come of it so far, or what broke its wait off."""
        answer = PlainAnswer(self.pgconn, statement.text)
        try:
            for result in taken:
                if result is not None:
                    answer.take(result)
        except OperationalError as lost:
            error = error or lost
        outcomes = await (self.arrive(answer, on_cancel) if error is None else self._broken_off(answer, error, on_cancel))
        # An error may come behind the result: a deferred constraint is looked at when the statement is committed.
        result = outcomes[-1]
        if result.command_status in FORGETTING:
            self._prepared_names.forget_all()
        return result

    @trio.lowlevel.enable_ki_protection
    async def arrive(self, answer: Answer, on_cancel: OnCancel, seconds: float | None = None, may_be_there: bool = False) -> list[PGresult]:
        """Wait for the whole answer to something already queued; for the rest as `fly`.

        Args:
            answer: to what was queued.
            on_cancel, seconds: as `fly`.
            may_be_there: it was sent some time ago, so look before waiting.
        """
        readiness = self.readiness
        try:
            if may_be_there:
                self.pgconn.consume_input()
            want = _WAIT_R if not may_be_there and answer.sent else answer.advance()
            while want is not None:
                if want is _WAIT_R:
                    await readiness.listen()
                    readiness.heard()
                else:
                    await self._wait_to_advance(want)
                want = answer.advance()
        except BaseException as error:
            return await self._broken_off(answer, error, on_cancel, seconds)
        return answer.outcomes

    async def _broken_off(self, answer: Answer, error: BaseException, on_cancel: OnCancel, seconds: float | None = None) -> list[PGresult]:
        """End an answer whose wait was broken off: raise what that means, or return the results where they came all the same."""
        error = self.readiness.unheard(error)
        if on_cancel is OnCancel.COMMIT:
            assert isinstance(answer, Flight), "nothing else commits"
            if not answer.has_landed:
                await self._broken_off(LandedSteps(answer), error, OnCancel.SETTLE)
                return await self.arrive(answer, OnCancel.FINISH, seconds, may_be_there=True)
            on_cancel = OnCancel.FINISH
        if isinstance(error, OperationalError):
            if self._has_last_words(answer):
                return answer.outcomes
            raise self._lost(answer, error, on_cancel) from error
        if isinstance(error, psycopg_errors.NotSupportedError):
            self.finish()
            raise copy_out_of_place() from None
        if isinstance(error, GeneratorExit):
            self.has_farewell = False  # the event loop is gone, and nobody can wait any more
            self.finish()
            raise error
        return await self._end(answer, error, on_cancel, seconds or self.cleanup_timeout_seconds)

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
            self.finish()
            return None, shield.held

    def retire_statements(self, steps: Sequence[Step]) -> None:
        """Let the statements of these steps be prepared anew when they are next used."""
        for step in steps:
            self._prepared_names.retire(step.statement.name)

    def note_results(self, results: Sequence[PGresult]) -> None:
        """Notice when a cursor has made the server forget what is prepared; psycopg itself only notices the first time."""
        if any(result.command_status in FORGETTING for result in results):
            self._prepared_names.forget_all()

    def take_off(self, steps: Sequence[Step], told_after: Collection[int] = (), commit: Step | None = None) -> Flight:
        """Queue statements as one flight, to be waited for with `arrive`. Never waits.

        Args:
            steps: what to run, in order.
            told_after, commit: see `Flight.launched`.

        Raises:
            ConnectionLost: the connection is closed; nothing was sent. Safe to retry.
            SessionNeeded: a statement that cannot work through the pooler; nothing was sent. Not safe to retry.
        """
        if self._pipeline is not None:
            raise psycopg_errors.ProgrammingError("a flight cannot be sent inside psycopg's own pipeline block")
        if self.behind_pooler:
            self.check_steps(steps, in_transaction=bool(steps) and steps[0].statement.text.startswith(b"BEGIN"))
        self.sent_steps = steps
        gave_parts = self.gave_parts
        if gave_parts:
            self.gave_parts = False
        try:
            return _launched(self.pgconn, self._prepared_names, steps, told_after, commit, gave_parts)
        except OperationalError as error:
            self.finish()
            raise connection_lost(str(error), safe_to_retry=True) from error

    def send_command(self, step: Step) -> PlainAnswer:
        """Send a command without parameters, as one message outside of libpq's pipeline mode, to be waited for with `arrive`. Never waits.

        Raises:
            ConnectionLost: the connection is closed; nothing was sent. Safe to retry.
        """
        self.sent_steps = (step,)
        statement, pgconn = step.statement, self.pgconn
        try:
            if self._pipeline is None and pgconn.pipeline_status:
                pgconn.exit_pipeline_mode()  # as `leave_pipeline`
            pgconn.send_query(statement.text)  # outside of pipeline mode libpq sends at once what the system takes
        except OperationalError as error:
            self.finish()
            raise connection_lost(str(error), safe_to_retry=True) from error
        return PlainAnswer(pgconn, statement.text)

    async def wait_for_input(self) -> None:
        """Wait until more has come from the server, for a stream or a COPY that takes it itself.

        Checkpoint: always.
        """
        await self.readiness.wait_for_result()

    async def wait_for_socket(self) -> None:
        """Wait until something can be written, taking what comes meanwhile.

        Checkpoint: only if it waits.
        """
        await self._wait_to_advance(Wait.RW)

    def _has_last_words(self, answer: Answer) -> bool:
        """Whether the whole answer had come before the connection broke: libpq keeps what it has read. The connection is closed for
        good."""
        try:
            complete = answer.advance() is None
        except OperationalError:
            complete = answer.complete
        if complete:
            self.finish()
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
                self.finish(stop_statement=False)
                raise connection_lost(f"no answer came within {seconds:g} s after the cancellation, so it was closed")
        else:
            held = await self.stop(partial(self.drain, answer), seconds=seconds)
            if on_cancel is OnCancel.STOP or answer.failure is not None:
                raise after_cleanup(interruption, held) or interruption
            if not answer.complete:
                raise write_outcome_unknown(f"the answer did not come within {seconds:g} s after the cancellation") from interruption
        deliver_again(interruption, held)
        return answer.outcomes

    def _lost(self, answer: Answer, error: OperationalError, on_cancel: OnCancel) -> TrioormError:
        """The error for a connection that broke under an answer; the connection is closed for good."""
        self.finish()
        if answer.failure is not None:
            text, result = answer.failure
            said = error_from_result(result, statement=text.decode())
            return connection_lost(said.message_primary, safe_to_retry=True)
        if on_cancel is OnCancel.SETTLE:
            return write_outcome_unknown(str(error).strip())
        return connection_lost(str(error), safe_to_retry=on_cancel is OnCancel.STOP)
