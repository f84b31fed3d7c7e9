"""What a block says when it cannot do what it was asked for: what happened, what is in the database, and the way out."""

from __future__ import annotations

from trioorm.errors import (
    CommitOutcomeUnknown,
    ConnectionLost,
    ForeignTask,
    TransactionAborted,
    TransactionClosed,
    TransactionId,
    TransactionRolledBack,
    UsageError,
    is_safe_to_retry,
)
from trioorm.transaction.aftermath import is_cancellation


def aborted(name: str, first: BaseException | None, *, was_sent: bool = False) -> TransactionAborted:
    """For a statement that comes after the error that put the transaction in error; it may have been sent in the same trip."""
    fate = "this one was sent behind it, and not run" if was_sent else "nothing was sent"
    error = TransactionAborted(
        f"{name} was aborted because of {_reason(first)}\n"
        f"PostgreSQL refuses every further statement until it is rolled back; {fate}.\n"
        "To fix it: let the first error leave the block, or put the statement that may fail into `async with tx.savepoint() as sp`.",
        sqlstate="25P02",
        message_primary="current transaction is aborted",
    )
    error.__cause__ = first
    error.safe_to_retry = first is not None and is_safe_to_retry(first)
    return error


def _reason(first: BaseException | None) -> str:
    if first is None:
        return "a failed statement"
    if is_cancellation(first):
        return "a statement that a cancellation interrupted"
    return f"{type(first).__name__}: {str(first).partition(chr(10))[0]}"


def _kind(error: BaseException) -> str:
    return "a cancellation" if is_cancellation(error) else type(error).__name__


def not_open(name: str, state: str, task: str) -> TransactionClosed:
    """For a use before or after the block."""
    return TransactionClosed(
        f"{name} was used by task {task!r}, but its block {state}. Nothing was sent.\n"
        "To fix it: do the work inside `async with`, in the body or in a task started with `tx.start_soon`."
    )


def foreign(name: str, task: str, owner: str, place: str) -> ForeignTask:
    """For a use by a task that is not inside the block."""
    return ForeignTask(
        f"{name} was used by task {task!r}, which is not inside its block: task {owner!r} opened it at {place}. Nothing was sent.\n"
        "To fix it: start the task with `tx.start_soon`, or inside the block; or give it a transaction of its own."
    )


def entered_before(name: str) -> TransactionClosed:
    """For a second entry."""
    return TransactionClosed(f"{name} was entered before; a block can be entered once.\nTo fix it: open another one.")


def gone(name: str) -> ConnectionLost:
    """For a connection that broke before COMMIT was sent."""
    return ConnectionLost(
        f"the connection of {name} is gone, so the server has rolled the whole transaction back; nothing was written.\n"
        "To fix it: run the whole transaction again.",
        safe_to_retry=True,
    )


def commit_lost(name: str) -> ConnectionLost:
    """For a connection that broke under COMMIT, when the server has said since that the transaction was rolled back."""
    return ConnectionLost(
        f"the connection of {name} broke during its COMMIT; asked on another one, the server says that it was rolled back.\n"
        "Nothing was written. To fix it: run the whole transaction again.",
        safe_to_retry=True,
    )


def commit_of_nothing_lost(name: str) -> ConnectionLost:
    """For a connection that broke under the COMMIT of a transaction that had written nothing."""
    return ConnectionLost(
        f"the connection of {name} broke during its COMMIT; it had written nothing.\nTo fix it: run the whole transaction again.",
        safe_to_retry=True,
    )


def outcome_unknown(name: str, transaction_id: TransactionId | None) -> CommitOutcomeUnknown:
    """For a connection that broke under COMMIT, when nobody could say in time how it ended."""
    if transaction_id is None:
        way = "look for its rows before you run it again."
    else:
        way = "ask again later with `await db.outcome(error.transaction_id)`, or look for its rows before you run it again."
    which = "" if transaction_id is None else f" (transaction {transaction_id.number})"
    return CommitOutcomeUnknown(
        f"the connection of {name}{which} broke after COMMIT was sent and before its answer came, and the server could not tell in time\n"
        f"how it ended. It may be committed or not. To fix it: {way}",
        transaction_id=transaction_id,
    )


def ended_by_text(name: str) -> TransactionClosed:
    """For a COMMIT, ROLLBACK or the like that somebody ran as a statement inside the block."""
    return TransactionClosed(
        f"a statement inside {name} ended its transaction (COMMIT, ROLLBACK or the like as text).\n"
        "What came before may be written, and what comes after is not protected.\n"
        "To fix it: let the block end the transaction; to roll back, raise an exception."
    )


def would_end_by_text(name: str) -> UsageError:
    """For such a text, before it is sent."""
    return UsageError(
        f"a statement of {name} would end its transaction, or begin another (COMMIT, ROLLBACK, BEGIN as text). Nothing was sent.\n"
        "To fix it: leave it out: the block begins and commits the transaction; to roll back, raise an exception inside it, and for a part "
        "of it use `async with tx.savepoint() as sp`."
    )


def swallowed(name: str, first: BaseException | None) -> TransactionRolledBack:
    """For a block that ended well with the server's transaction in error."""
    error = TransactionRolledBack(
        f"{name} was rolled back instead of committed, because a statement in it had failed or was interrupted"
        f"{f' ({_kind(first)})' if first else ''} and the error was swallowed inside the block.\nNothing was written. "
        "To fix it: let the error leave the block, or put the statement that may fail into `async with tx.savepoint() as sp`.",
        first_error=first,
    )
    error.__cause__ = first
    return error


def cancelled_by_itself(name: str) -> TransactionRolledBack:
    """For a block whose own scope was cancelled."""
    return TransactionRolledBack(
        f"{name} was cancelled by its own cancel_scope and rolled back; nothing was written.\n"
        "To fix it: if that was meant, catch this error around the block."
    )


def answered_otherwise(name: str, tag: bytes | None) -> TransactionRolledBack:
    """For a COMMIT that the server answered with another tag."""
    return TransactionRolledBack(f"the server answered the COMMIT of {name} with {tag!r}; nothing was written.")
