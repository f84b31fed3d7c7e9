"""Advisory locks: locks of one's own that PostgreSQL keeps, by number or by name.

The contract: the block of a session's lock holds it from entry to exit, or raises. It has a connection to itself, watched all the while:
when that dies, and with it the lock, the body is cancelled, since another may have the lock by now. A connection whose lock is not provably
released is closed, never lent again.

Source: https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
"""

from __future__ import annotations

import hashlib
import logging
from types import TracebackType
from typing import Self

import anyio
import trio
from psycopg.pq import Format
from psycopg.pq.abc import PGresult

from trioorm.errors import LockLost, LockNotAvailable, QueryError, UsageError, leaves_of
from trioorm.pool import Lease, Pool
from trioorm.transaction.aftermath import is_cancellation
from trioorm.transaction.runner import Connection, Runner, failure_among
from trioorm.wire import Statement, Step, after_cleanup, command
from trioorm.wire.interrupt import Held, Shield

__all__ = ["AdvisoryLock", "lock_in_transaction", "lock_number"]

logger = logging.getLogger("trioorm.transaction")

_BIGINT_OID = 20

_SESSION_LOCKS = {
    (shared, nowait): Statement(
        f"SELECT pg{'_try' if nowait else ''}_advisory_lock{'_shared' if shared else ''}($1)".encode(), (_BIGINT_OID,)
    )
    for shared in (False, True)
    for nowait in (False, True)
}
_TRANSACTION_LOCKS = {
    (shared, nowait): Statement(
        f"SELECT pg{'_try' if nowait else ''}_advisory_xact_lock{'_shared' if shared else ''}($1)".encode(), (_BIGINT_OID,)
    )
    for shared in (False, True)
    for nowait in (False, True)
}
_UNLOCK = {
    False: Statement(b"SELECT pg_advisory_unlock($1)", (_BIGINT_OID,)),
    True: Statement(b"SELECT pg_advisory_unlock_shared($1)", (_BIGINT_OID,)),
}
_UNLOCK_ALL = command(b"SELECT pg_advisory_unlock_all()")
_SIGN_OF_LIFE = command(b"")
_FALSE = b"\0"


def lock_number(key: int | str) -> int:
    """The number that stands for a key: itself, or the first eight bytes of a name's SHA-256, as a signed number.

    Raises:
        QueryError: a number of more than 64 bits, or neither number nor text.
    """
    if isinstance(key, str):
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
    if isinstance(key, bool) or not isinstance(key, int):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise QueryError(f"the key of a lock is a number or a text, not a {type(key).__qualname__}.\nTo fix it: advisory_lock(str(key)).")
    if not -(2**63) <= key < 2**63:
        raise QueryError(f"the key {key} does not fit into 64 bits.\nTo fix it: give a smaller number, or a text.")
    return key


def _step(statement: Statement, number: int) -> Step:
    return Step(statement, [number.to_bytes(8, "big", signed=True)], [Format.BINARY])


def _is_refused(result: PGresult, *, nowait: bool) -> bool:
    return nowait and result.get_value(0, 0) == _FALSE


def _not_available(key: int | str) -> LockNotAvailable:
    return LockNotAvailable(
        f"the lock {key!r} is held by another session, and it was not to be waited for.\n"
        "To fix it: try again later, or leave `nowait` out.",
        sqlstate="55P03",
        message_primary="advisory lock not available",
    )


def _through_pooler(key: int | str) -> UsageError:
    return UsageError(
        f"the lock {key!r} cannot be held by a block: a connection pooler in transaction mode stands before the server, and would lend the "
        "session that has it to others.\nTo fix it: take it in a transaction (`await tx.advisory_lock(...)`), open another database by an "
        'address that leads to the server directly, or say pooler="session" if it is one.'
    )


async def lock_in_transaction(runner: Runner, key: int | str, *, shared: bool, nowait: bool) -> None:
    """Take a lock until the transaction ends.

    Raises:
        LockNotAvailable: with `nowait`: another has it. The transaction can be used as before.
        QueryError: see `lock_number`.
        Others: as `Runner.run`.

    Checkpoint: always.
    """
    (result,) = await runner.run([_step(_TRANSACTION_LOCKS[shared, nowait], lock_number(key))], is_write=True)
    if _is_refused(result, nowait=nowait):
        raise _not_available(key)


class AdvisoryLock:
    """A lock for the length of a block, on a connection that the block has to itself. Made by `Database.advisory_lock`.

    Attributes:
        key: as given.
        number: what PostgreSQL knows it by.
    """

    def __init__(self, pool: Pool, key: int | str, *, shared: bool, nowait: bool) -> None:
        self.key = key
        self.number = lock_number(key)
        self._pool = pool
        self._shared = shared
        self._nowait = nowait
        self._lease: Lease | None = None
        self._was_entered = False
        self._body = anyio.CancelScope()
        self._watching = anyio.CancelScope()
        self._watch_ended = anyio.Event()
        self._loss: LockLost | None = None

    def __repr__(self) -> str:
        return f"<AdvisoryLock {self.key!r}, {'not held' if self._lease is None else 'held'}>"

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        """Wait for the lock; leave early through a cancel scope around the block's entry.

        Raises:
            LockNotAvailable: with `nowait`: another has it. Safe to retry.
            UsageError: the database is behind a pooler in transaction mode.
            DeadlockDetected: whoever has it waits for this session.
            PoolTimeout, ConnectionLost, PoolDeadlock: no connection, or it broke. Nothing is locked.

        Checkpoint: always.
        """
        if self._was_entered:
            raise UsageError(f"{self!r} was entered before.\nTo fix it: call advisory_lock again for another block.")
        self._was_entered = True
        lease = await self._pool.acquire()
        connection = lease.__enter__()
        try:
            if connection.behind_pooler:
                raise _through_pooler(self.key)
            await self._lock(connection)
        except BaseException:
            lease.release()
            raise
        self._lease = lease
        self._body.__enter__()
        self._pool.background.start_soon(self._watch, connection, name=f"trioorm: watching the lock {self.key!r}")
        return self

    async def _lock(self, connection: Connection) -> None:
        step = _step(_SESSION_LOCKS[self._shared, self._nowait], self.number)
        try:
            results = await connection.fly([step])
        except BaseException as error:
            # The cancellation may have come when the lock was there already.
            _, held = await connection.fly_shielded([_UNLOCK_ALL], seconds=connection.cleanup_timeout_seconds)
            if (raised := after_cleanup(error, held)) is not None and raised is not error:
                raise raised from None
            raise
        if (failure := failure_among([step], results)) is not None:
            raise failure
        if _is_refused(results[0], nowait=self._nowait):
            raise _not_available(self.key)

    async def _watch(self, connection: Connection) -> None:
        """Until the body has ended: look whether the lock's connection lives, and cancel the body if it does not.

        In the database's background and not in a nursery around the body: leaving one whose task had been cancelled just before makes AnyIO
        lose count of asyncio's own cancels.
        """
        most_silent_seconds = self._pool.settings.listener_max_silence_seconds / 2
        try:
            with self._watching:
                while True:
                    with anyio.move_on_after(most_silent_seconds) as silence:
                        await connection.wait_for_input()  # a notice, a parameter: they are not for us
                    if silence.cancelled_caught:
                        with anyio.fail_after(most_silent_seconds):
                            await connection.fly([_SIGN_OF_LIFE])
        except Exception as error:  # whatever it is: the database's background must not end of it
            logger.debug("the connection of the lock %r is lost: %s", self.key, error)
            connection.close_nowait()
        finally:
            if not self._watching.cancel_called:  # also when the database is closed around the body
                self._loss = self._lost("its connection broke while the body was running, so the body was cancelled")
                self._body.cancel()
            self._watch_ended.set()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        """Release the lock.

        Raises:
            LockLost: it was lost before the body had ended. Not safe to retry.

        Checkpoint: only if it waits, and a cancellation is never raised here.
        """
        lease = self._lease
        assert lease is not None, "the block was entered"
        failure = None if self._body.__exit__(kind, error, traceback) else error
        try:
            held = await self._release(lease.connection)
        finally:
            self._lease = None
            lease.release()
        if self._loss is not None:
            own = failure is not None and not all(is_cancellation(leaf) for leaf in leaves_of(failure))
            # The root cause first; the body's cancellation was only its echo.
            failure = (
                BaseExceptionGroup("a lock was lost, and then its body failed", [self._loss, failure]) if own and failure else self._loss
            )
        failure = after_cleanup(failure, held)
        if failure is not None and failure is not error:
            raise failure
        return False

    async def _release(self, connection: Connection) -> Held:
        """End the watch, then let go of the lock; what came meanwhile and comes only once."""
        self._watching.cancel()
        with Shield(connection.cleanup_timeout_seconds) as shield:
            await shield.wait(self._watch_ended.wait)
        held = shield.held
        if connection.closed or not self._watch_ended.is_set():
            connection.close_nowait()
            self._loss = self._loss or self._lost("its connection broke")
            return held
        step = _step(_UNLOCK[self._shared], self.number)
        results, came = await connection.fly_shielded([step], seconds=connection.cleanup_timeout_seconds)
        if results is None or failure_among([step], results) is not None or results[0].get_value(0, 0) == _FALSE:
            connection.close_nowait()
            self._loss = self._lost("it could not be released, so it is not known since when another may have it")
        return held or came

    def _lost(self, why: str) -> LockLost:
        return LockLost(
            f"the lock {self.key!r} was lost: {why}.\n"
            "PostgreSQL gives it up with the session, so another may have it. To fix it: look at what was half done, take the lock again.",
        )
