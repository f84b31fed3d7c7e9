"""A flight: statements sent together, with one sync at the end, and their results collected without waiting.

Beside it the answer to a single statement outside pipeline mode, which looks the same to the connection that waits for it.

The contract: making a flight queues everything in libpq and sends nothing yet; `advance` does all that can be done without waiting and says
what to wait for; afterwards `outcomes` holds one result for each step, in order. Of the steps behind a failed one the server runs none.
The waiting is the caller's (`AnyIOConnection.fly`), and so is what to do about an interruption.

libpq's pipeline mode is used directly: psycopg's `conn.pipeline()` costs more than the trips that it saves on a local socket.

Source: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from collections.abc import Collection, Sequence
from typing import Final, Protocol

from psycopg import NotSupportedError, OperationalError, pq
from psycopg.pq import DiagnosticField
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Wait

from trioorm.wire.server_errors import is_farewell
from trioorm.wire.statements import FORGETTING, PreparedNames, Statement, Step

__all__ = ["COPYING", "Answer", "Flight", "LandedSteps", "PlainAnswer", "is_end_of_connection"]

_WAIT_R = Wait.R
_COMMAND_OK = int(pq.ExecStatus.COMMAND_OK)  # plain numbers, as results have them, are compared twice as fast
_TUPLES_OK = int(pq.ExecStatus.TUPLES_OK)
_FATAL_ERROR = pq.ExecStatus.FATAL_ERROR
_PIPELINE_ABORTED = pq.ExecStatus.PIPELINE_ABORTED
_PIPELINE_SYNC = int(pq.ExecStatus.PIPELINE_SYNC)
_COPY_IN = pq.ExecStatus.COPY_IN
_COPY_OUT = pq.ExecStatus.COPY_OUT
COPYING: Final = (_COPY_IN, _COPY_OUT, pq.ExecStatus.COPY_BOTH)
_PARTS = (pq.ExecStatus.TUPLES_CHUNK, pq.ExecStatus.SINGLE_TUPLE)

# What a libpq command under way is for, if it is not a step itself.
_PREPARE: Final = "prepare"
_CLOSE: Final = "close"
_NOTHING: Final = "nothing"


class Answer(Protocol):
    """What a connection waits for: it says when to wait and for what, and keeps the results."""

    @property
    def outcomes(self) -> list[PGresult]: ...

    @property
    def sent(self) -> bool: ...

    @property
    def complete(self) -> bool: ...

    def advance(self) -> Wait | None: ...

    @property
    def failure(self) -> tuple[bytes, PGresult] | None: ...


class Flight:
    """One pipeline of steps, from the first byte to the answer of its sync. Made by `launched`.

    Attributes:
        steps: all of them, `commit` included.
        outcomes: the result of each step so far, in order; a failed or skipped step has its error result, and so has the last when all that
            ran could not be committed.
        sent: whether the system has taken all of it, so that there is nothing to do before something comes.
        complete: whether the answer of the last sync has come, so that the connection is free again.
        failed: whether there is an error among the outcomes.
        refused: whether that is because all steps ran, and the last sync could not commit them.
    """

    __slots__ = (
        "_awaits_leading_sync",
        "_body",
        "_commands",
        "_pgconn",
        "_prepared",
        "complete",
        "failed",
        "outcomes",
        "refused",
        "sent",
        "steps",
    )

    _awaits_leading_sync: bool
    _body: int
    _commands: list[tuple[str, bytes] | None] | None
    _pgconn: PGconn
    _prepared: PreparedNames
    complete: bool
    failed: bool
    outcomes: list[PGresult]
    refused: bool
    sent: bool
    steps: Sequence[Step]

    @staticmethod
    def launched(
        pgconn: PGconn,
        prepared: PreparedNames,
        steps: Sequence[Step],
        told_after: Collection[int] = (),
        commit: Step | None = None,
        led_by_sync: bool = False,
    ) -> "Flight":
        """Queue steps as a flight.

        Not `__init__`: calling a class whose making runs Python takes three times as long as calling a function.

        Args:
            pgconn: the connection.
            prepared: the statements that it has prepared.
            steps: what to run.
            told_after: after how many steps the server sends what it has so far; otherwise it keeps its answers until all have run.
            commit: what commits them, behind a sync of its own, so that it is run even where one of them fails.
            led_by_sync: whether a sync goes before them, see `ReadyConnection.gave_parts`.
        """
        flight = Flight()
        flight._pgconn = pgconn
        flight._prepared = prepared
        flight.steps = steps
        flight._body = len(steps)
        flight.outcomes = []
        flight.complete = flight.failed = flight.refused = False
        flight._awaits_leading_sync = led_by_sync
        if not pgconn.pipeline_status:
            pgconn.enter_pipeline_mode()
        if led_by_sync:
            pgconn.pipeline_sync()
        preparing: set[bytes] | None = None
        names, is_crowded = prepared.names, prepared.is_crowded
        commands: list[tuple[str, bytes] | None] = []
        for number, step in enumerate(steps, 1):
            statement = step.statement
            name = statement.name
            if name in names:
                if is_crowded:
                    names.move_to_end(name)  # as `touch`
                pgconn.send_query_prepared(name, step.values, step.formats, statement.result_format)
            elif name and flight._prepare(statement, commands, number, preparing := set() if preparing is None else preparing):
                pgconn.send_query_prepared(name, step.values, step.formats, statement.result_format)
            else:
                pgconn.send_query_params(
                    statement.text, step.values, statement.parameter_types or None, step.formats or None, statement.result_format
                )
            if commands:
                commands.append(None)
            if told_after and number in told_after:
                pgconn.send_flush_request()
        pgconn.pipeline_sync()
        if commit is not None:
            flight.steps = [*steps, commit]
            pgconn.send_query_params(commit.statement.text, None)
            if commands:
                commands.append(None)
            pgconn.pipeline_sync()
        flight.sent = not pgconn.flush()
        # The libpq commands under way where not all are steps: None for a step, else what it is for and the name of the statement that it
        # prepares or closes.
        flight._commands = commands[::-1] if commands else None
        return flight

    def _prepare(self, statement: Statement, commands: list[tuple[str, bytes] | None], number: int, preparing: set[bytes]) -> bool:
        """Queue the preparation of a statement, of the step of this number; False when no more may be kept."""
        name = statement.name
        if name in preparing:
            return True
        if len(preparing) >= self._prepared.limit:
            return False
        preparing.add(name)
        if not commands:
            commands += [None] * (number - 1)
        for surplus in self._prepared.surplus(len(preparing)):
            self._pgconn.send_close_prepared(surplus)
            commands.append((_CLOSE, surplus))
        self._pgconn.send_prepare(name, statement.text, statement.parameter_types)
        commands.append((_PREPARE, name))
        return True

    def advance(self) -> Wait | None:
        """Do what can be done without waiting.

        Returns:
            What to wait for next; None when complete.

        Raises:
            psycopg.OperationalError: the connection broke; what had come before is in `outcomes`.
            psycopg.NotSupportedError: the server has begun a COPY, which libpq cannot end here; the connection must be closed.
        """
        if self.complete:
            return None
        pgconn = self._pgconn
        sent = self.sent
        if not sent:
            # The server may be blocked on answers that we have not read: read while writing.
            self.sent = sent = not pgconn.flush()
        outcomes = self.outcomes
        only_steps = self._commands is None
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                break  # nothing is under way any more: the connection is gone, and reading says so
            status = result.status
            if only_steps and (status == _TUPLES_OK or (status == _COMMAND_OK and result.command_status not in FORGETTING)):
                outcomes.append(result)  # as `_land`, which knows of all else
                pgconn.get_result()  # None, which ends each command, and for which libpq need not wait
                continue
            if status == _PIPELINE_SYNC:
                if self._awaits_leading_sync:
                    self._awaits_leading_sync = False
                    continue
                if len(outcomes) < len(self.steps):
                    if len(outcomes) == self._body:
                        continue  # what commits them comes behind it
                    # libpq gave up on a COPY
                    raise OperationalError("the answer has ended without the results of all statements")
                self.complete = True
                return None
            if status in COPYING:
                raise NotSupportedError("a COPY cannot run among other statements")
            if status in _PARTS:
                raise OperationalError("rows came in parts, where they are expected whole")
            if status == _FATAL_ERROR and is_end_of_connection(result):
                raise OperationalError(result.get_error_message())
            pgconn.get_result()  # None, as above
            self._land(result)
        return _WAIT_R if sent else Wait.RW

    def _land(self, result: PGresult) -> None:
        """Book the result of the command that has just ended."""
        commands = self._commands
        if (len(self.outcomes) == len(self.steps)) if commands is None else not commands:
            # All commands are answered, and then came an error: outside a transaction the sync commits, and that failed (a deferred
            # constraint, a serialization failure). The server's farewell belongs to no command either; the broken connection tells of it.
            if result.status == _FATAL_ERROR and not is_farewell(result):
                self.outcomes[-1] = result
                self.failed = self.refused = True
            return
        command = None if commands is None else commands.pop()
        if command is None:
            self.outcomes.append(result)
            status = result.status
            if status == _COMMAND_OK:
                if result.command_status in FORGETTING:
                    self._prepared.forget_all()
            elif status == _FATAL_ERROR:
                self.failed = True
            return
        purpose, name = command
        failed = result.status in (_FATAL_ERROR, _PIPELINE_ABORTED)
        if purpose == _PREPARE and not failed:
            self._prepared.add(name)
        elif purpose == _PREPARE and result.status == _FATAL_ERROR:
            # The error of the preparation is the step's own; the "pipeline aborted" that follows says nothing.
            assert commands is not None, "it has a preparation"
            commands[-1] = (_NOTHING, b"")
            self.outcomes.append(result)
            self.failed = True
        elif purpose == _CLOSE and failed:
            # The flight failed before it: the server still has the statement.
            self._prepared.add(name)

    @property
    def has_landed(self) -> bool:
        """Whether all steps have succeeded, and only what commits them is still awaited, if anything."""
        return not self.failed and len(self.outcomes) >= self._body

    @property
    def failure(self) -> tuple[bytes, PGresult] | None:
        """The text of the first failed step and its error result, or None."""
        if not self.failed:
            return None
        for step, outcome in zip(self.steps, self.outcomes, strict=False):
            if outcome.status == _FATAL_ERROR:
                return step.statement.text, outcome
        return None


class LandedSteps:
    """The answers to the steps of a flight, without that of what commits them.

    Args:
        flight: which has not landed.
    """

    __slots__ = ("_flight",)

    def __init__(self, flight: Flight) -> None:
        self._flight = flight

    @property
    def outcomes(self) -> list[PGresult]:
        """See `Flight`."""
        return self._flight.outcomes

    @property
    def sent(self) -> bool:
        """See `Flight`."""
        return self._flight.sent

    @property
    def complete(self) -> bool:
        """Whether all of them have come; behind one that failed, everything else too."""
        return self._flight.complete or self._flight.has_landed

    @property
    def failure(self) -> tuple[bytes, PGresult] | None:
        """See `Flight`."""
        return self._flight.failure

    def advance(self) -> Wait | None:
        """See `Flight.advance`."""
        want = self._flight.advance()
        return None if self._flight.has_landed else want


def is_end_of_connection(result: PGresult) -> bool:
    """Whether libpq made up this error because the connection is gone. It is no answer of the server, which always gives a SQLSTATE."""
    return result.status == _FATAL_ERROR and result.error_field(DiagnosticField.SQLSTATE) is None


class PlainAnswer:
    """The answer to one statement that was sent outside pipeline mode: alone, a stream of rows, or a COPY.

    Args:
        pgconn: the connection.
        text: of the statement.

    Attributes:
        outcomes: the results so far, without the rows that nobody asked for.
        complete: whether all of it has come, so that the connection is free again.
    """

    __slots__ = ("_is_lost", "_pgconn", "_text", "complete", "outcomes")

    sent = False
    """As of a `Flight`, and here not known: some of the answer may have been read before this was made."""

    def __init__(self, pgconn: PGconn, text: bytes) -> None:
        self._pgconn = pgconn
        self._text = text
        self.outcomes: list[PGresult] = []
        self.complete = self._is_lost = False

    def advance(self) -> Wait | None:
        """Do what can be done without waiting, as `Flight.advance`; rows of a stream are thrown away."""
        pgconn = self._pgconn
        if pgconn.flush():
            return Wait.RW
        while not self.complete:
            if pgconn.is_busy():
                return _WAIT_R
            result = pgconn.get_result()
            if result is None:
                if self._is_lost:
                    raise OperationalError("the connection broke before the end of the answer")
                self.complete = True
                break
            status = result.status
            if status == _COMMAND_OK and not self.outcomes:
                self.outcomes.append(result)
            elif status == _COPY_IN:
                # libpq gives this result again and again until the copy is ended, one way or the other.
                pgconn.put_copy_end(b"the copy was given up by the client")
                if pgconn.flush():
                    return Wait.RW
            elif status == _COPY_OUT:
                if not self._throw_copied_rows_away():
                    return _WAIT_R
            else:
                self.take(result)
        return None

    def take(self, result: PGresult) -> None:
        """Note a result.

        Raises:
            psycopg.OperationalError: it says that the connection is gone.
        """
        if is_end_of_connection(result):
            self._is_lost = True  # what libpq says behind this is no end of an answer
            raise OperationalError(result.get_error_message())
        if result.status in _PARTS or (self.outcomes and is_farewell(result)):
            return  # rows; or a farewell behind the result, which says nothing about that: the broken connection does
        self.outcomes.append(result)

    def _throw_copied_rows_away(self) -> bool:
        """Read what a COPY TO STDOUT has sent so far; whether that was all of it."""
        while (size := self._pgconn.get_copy_data(1)[0]) > 0:
            pass
        return size < 0

    @property
    def failure(self) -> tuple[bytes, PGresult] | None:
        """The text and the error result, or None."""
        return next(((self._text, outcome) for outcome in self.outcomes if outcome.status == _FATAL_ERROR), None)
