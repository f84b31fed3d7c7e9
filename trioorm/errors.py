"""Every exception of trioorm, in one tree.

The contract: each class knows whether running the same work again is safe (`safe_to_retry`), and an error that the server reported
carries its SQLSTATE and the server's own fields. Bind values are never part of a message. This file imports nothing of ours and no
driver, so that both wings may raise from it; errors that must also subclass psycopg_pool's live in `pool/`.

Source: PostgreSQL manual, appendix A (SQLSTATE codes).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import cast

from attrs import frozen


@frozen(kw_only=True)
class AttemptStatistics:
    """What was tried before an exception came out of `run_in_transaction` or `attempts`.

    Attributes:
        attempts: how many were made, the last included.
        seconds: from the beginning of the first to the end of the last.
        waited_seconds: how much of it was pauses in between.
        failures: the class names of what the attempts raised, in order; of a group, those of the errors in it.
    """

    attempts: int
    seconds: float
    waited_seconds: float
    failures: tuple[str, ...]


class TrioormError(Exception):
    """The root of all exceptions that trioorm raises.

    Attributes:
        safe_to_retry: True when nothing of the failed work can have taken effect and the cause may pass.
    """

    safe_to_retry: bool = False

    @property
    def attempts(self) -> AttemptStatistics | None:
        """What was tried before it came out of `run_in_transaction` or `attempts`; `attempts_of` asks any exception."""
        return attempts_of(self)


# Wrong use: refused before anything is sent to the server.


class UsageError(TrioormError):
    """The library was called in a way that cannot work; nothing was sent."""


class ModelError(UsageError):
    """A model class is declared in a way that no table can follow."""


class QueryError(UsageError):
    """A statement cannot be built as asked."""


class UnknownColumn(QueryError, AttributeError):
    """A model was asked for a column that it does not have. It is an `AttributeError` too, so that `hasattr` on the class works."""


class UnknownMethod(QueryError, AttributeError):
    """An expression or statement was asked for a method that is spelt otherwise. An `AttributeError` too, as `UnknownColumn` is."""


class BindError(UsageError):
    """A value cannot be sent as the type that its column or parameter has."""


class RelationNotLoaded(UsageError):
    """A relation was read on an object onto which it was not loaded. No `AttributeError`, or `hasattr` and `getattr` would hide it.

    Attributes:
        model: the object's class.
        relation: the attribute.
        fetched_at: where the object was fetched, as file and line; None where it was made by its constructor or a copy.
    """

    def __init__(self, message: str, *, model: type, relation: str, fetched_at: str | None = None) -> None:
        super().__init__(message)
        self.model = model
        self.relation = relation
        self.fetched_at = fetched_at


class RepeatedStatement(UsageError):
    """A statement would be sent more often from one place than `Database.no_repeats` allows. Nothing was sent.

    Attributes:
        place: the line, as file and number.
        times: how often it would have been sent by now.
    """

    def __init__(self, message: str, *, place: str, times: int) -> None:
        super().__init__(message)
        self.place = place
        self.times = times


class DatabaseClosed(UsageError):
    """The database was used after its `async with` block ended."""


class WrongDatabaseOwner(UsageError):
    """A database was used from an event loop, thread or process that did not open it."""


class TransactionClosed(UsageError):
    """A transaction or savepoint was used after its block ended."""


class ForeignTask(UsageError):
    """A transaction or savepoint was used by a task that is not inside its block."""


class TransactionBusy(UsageError):
    """The transaction's connection is held by a block that this task itself is inside of."""


# Rows that are not as the caller said.


class RowCountError(TrioormError):
    """A statement returned another number of rows than its verb allows."""


class NoRowFound(RowCountError):
    """Exactly one row was asked for and there is none."""


class StaleObject(NoRowFound):
    """The row of an object with a version (`column(version=True)`) was changed or deleted by others since it was fetched. Nothing was
    written.

    Attributes:
        model: the object's class.
        key: the values of its primary key.
        safe_to_retry: True in a transaction, since what runs that again fetches its objects again; False outside, where the same object
            would be stale again.
    """

    def __init__(self, message: str, *, model: type, key: tuple[object, ...], safe_to_retry: bool) -> None:
        super().__init__(message)
        self.model = model
        self.key = key
        self.safe_to_retry = safe_to_retry


class TooManyRows(RowCountError):
    """At most one row was asked for and there are several."""


# The connection.


class DatabaseUnavailable(TrioormError):
    """The server cannot be reached or does not let us in."""


class ConnectFailed(DatabaseUnavailable):
    """No connection could be made. Nothing was sent, so it is safe to retry.

    Attributes:
        sqlstate: the server's code when it answered at all (28P01 for a wrong password), else None.
    """

    safe_to_retry = True

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class AuthenticationFailed(ConnectFailed):
    """The server refused the user, the password or the database name; retrying will not help."""

    safe_to_retry = False


class ConnectionLost(DatabaseUnavailable):
    """The connection broke while a statement was under way.

    Attributes:
        safe_to_retry: True when the statement was a read or stood in a transaction, which the server has rolled back.
    """

    def __init__(self, message: str, *, safe_to_retry: bool = False) -> None:
        super().__init__(message)
        self.safe_to_retry = safe_to_retry


class LockLost(DatabaseUnavailable):
    """The session that held an advisory lock ended before the block of the lock. Not safe to retry: the body had begun."""


# A server of our own.


class EmbeddedServerError(DatabaseUnavailable):
    """An embedded server cannot be found, initialised, started or used as asked.

    Attributes:
        log_tail: the last lines of the server's own log, or "" when it wrote none.
    """

    def __init__(self, message: str, *, log_tail: str = "") -> None:
        super().__init__(message)
        self.log_tail = log_tail


# The outcome of a transaction.


@frozen
class TransactionId:
    """A transaction as the server knows it, to ask later how it ended (`Database.outcome`), also from another process.

    Attributes:
        number: the server's 64-bit transaction id. After a crash it may be issued again, so it says nothing alone.
        assigned_at: a moment at which the transaction had it, on the server's clock, in UTC.
        timeline: the server's timeline then, eight hexadecimal digits.
    """

    number: int
    assigned_at: datetime
    timeline: str


class TransactionRolledBack(TrioormError):
    """COMMIT was answered with ROLLBACK, because a statement had failed inside and its error was swallowed.

    Nothing was written. Attributes: `first_error`, the error that aborted the transaction, when known (also the cause); `safe_to_retry` is
    that error's.
    """

    def __init__(self, message: str, *, first_error: BaseException | None = None) -> None:
        super().__init__(message)
        self.first_error = first_error
        self.safe_to_retry = first_error is not None and is_safe_to_retry(first_error)


class CommitOutcomeUnknown(TrioormError):
    """The connection broke after the request was sent, and whether it took effect is not known, because the server could not tell in time.

    Attributes:
        transaction_id: to ask again with `Database.outcome`; None for a single write outside a transaction.
    """

    def __init__(self, message: str, *, transaction_id: TransactionId | None = None) -> None:
        super().__init__(message)
        self.transaction_id = transaction_id


# What the server reported.


class DatabaseError(TrioormError):
    """The server answered a statement with an error.

    Attributes:
        sqlstate: five characters, see PostgreSQL's manual, appendix A.
        message_primary: the server's own sentence. Of errors about a value (class 22) it may quote the value, which the text leaves out.
        detail, hint: the server's further words, or None. `detail` may quote values of the row, so it is an attribute and not part of the
        text. constraint, table, column, schema_name: what the server named, or None. position: where in the statement, in characters from
        1, or None. statement: the SQL text without values, or None.
        failed_step: which of the steps that were sent together, for those who sent them; None when it is not known.
    """

    failed_step: object = None

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str = "XX000",
        message_primary: str = "",
        detail: str | None = None,
        hint: str | None = None,
        constraint: str | None = None,
        table: str | None = None,
        column: str | None = None,
        schema_name: str | None = None,
        position: int | None = None,
        statement: str | None = None,
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.message_primary = message_primary
        self.detail = detail
        self.hint = hint
        self.constraint = constraint
        self.table = table
        self.column = column
        self.schema_name = schema_name
        self.position = position
        self.statement = statement


class IntegrityError(DatabaseError):
    """A constraint was violated (class 23).

    Attributes:
        model: the class whose table it is, when a statement of this database has used it; else None.
        columns: the model's attributes that the constraint is about, where they are known.
        rows: which of the objects given it may be, counted from 0; empty when the server's words do not tell.
        values: the values of the columns, if `open_database(..., error_values=True)` asked for them and they are known; else None.
    """

    model: type | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    values: Mapping[str, object] | None = None


class UniqueViolation(IntegrityError):
    """A row with the same key exists already (23505)."""


class ForeignKeyViolation(IntegrityError):
    """A row refers to a row that is not there, or is still referred to (23503)."""


class NotNullViolation(IntegrityError):
    """A column that must have a value got none (23502)."""


class CheckViolation(IntegrityError):
    """A row breaks a check constraint (23514)."""


class ExclusionViolation(IntegrityError):
    """A row conflicts with another under an exclusion constraint (23P01)."""


class DataError(DatabaseError):
    """A value does not fit (class 22): out of range, division by zero, malformed text."""


class StatementError(DatabaseError):
    """The statement itself is wrong (class 42): syntax, a missing table or column, a missing privilege."""


class UndefinedTable(StatementError):
    """The table does not exist (42P01)."""


class UndefinedColumn(StatementError):
    """The column does not exist (42703)."""


class InsufficientPrivilege(StatementError):
    """The role may not do this (42501)."""


class TransactionAborted(DatabaseError):
    """An earlier statement failed, so the server refuses all further ones in this transaction (25P02).

    `safe_to_retry` is the earlier error's, which is the cause.
    """


class QueryCanceled(DatabaseError):
    """The server cancelled the statement (57014): somebody asked for it, or a limit of the server passed."""


class ConcurrencyError(DatabaseError):
    """Another transaction was in the way; run the whole transaction again."""

    safe_to_retry = True


class SerializationFailure(ConcurrencyError):
    """The transaction cannot be put in order with the others (40001)."""


class DeadlockDetected(ConcurrencyError):
    """Two transactions waited for each other (40P01)."""


class LockNotAvailable(DatabaseError):
    """A lock was not to be had at once or within `lock_timeout` (55P03)."""

    safe_to_retry = True


class ServerShutdown(DatabaseError):
    """The server is stopping, starting or short of connections, memory or disk (classes 53 and 57P)."""

    safe_to_retry = True


_BY_SQLSTATE: dict[str, type[DatabaseError]] = {
    "23505": UniqueViolation,
    "23503": ForeignKeyViolation,
    "23502": NotNullViolation,
    "23514": CheckViolation,
    "23P01": ExclusionViolation,
    "42P01": UndefinedTable,
    "42703": UndefinedColumn,
    "42501": InsufficientPrivilege,
    "25P02": TransactionAborted,
    "57014": QueryCanceled,
    "40001": SerializationFailure,
    "40P01": DeadlockDetected,
    "55P03": LockNotAvailable,
}
_BY_CLASS: dict[str, type[DatabaseError]] = {
    "22": DataError,
    "23": IntegrityError,
    "42": StatementError,
    "53": ServerShutdown,
    "57": ServerShutdown,
}


def error_class_for(sqlstate: str) -> type[DatabaseError]:
    """The class of a server error: by its code, else by the code's first two characters, else `DatabaseError`."""
    return _BY_SQLSTATE.get(sqlstate) or _BY_CLASS.get(sqlstate[:2]) or DatabaseError


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """All errors inside nested exception groups, left to right; the error itself when it is no group."""
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from leaves_of(inner)
    else:
        yield error


def is_safe_to_retry(error: BaseException) -> bool:
    """Whether the whole work behind an exception may be run again: each error in it, if it is a group, says so itself."""
    return all(isinstance(leaf, TrioormError) and leaf.safe_to_retry for leaf in leaves_of(error))


def attempts_of(error: BaseException) -> AttemptStatistics | None:
    """What was tried before an exception came out of `run_in_transaction` or `attempts`, groups included."""
    return cast("AttemptStatistics | None", error.__dict__.get(_ATTEMPTS))


def note_attempts(error: BaseException, statistics: AttemptStatistics) -> None:
    """Let an exception, whoever's it is, carry what was tried before."""
    error.__dict__[_ATTEMPTS] = statistics


# A name that no exception of the user's has for something else.
_ATTEMPTS = "_trioorm_attempts"
