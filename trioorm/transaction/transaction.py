"""The transaction and the savepoint, as blocks on one connection.

BEGIN is lazy: it travels with the first statement, and a block that sends nothing costs nothing. So does SAVEPOINT. COMMIT is the one
command whose answer cannot be given up on a cancellation; its tag is checked, since PostgreSQL answers COMMIT with ROLLBACK, and without
an error, when a statement inside had failed.

Source: https://www.postgresql.org/docs/current/sql-commit.html; TARGETS of the peers: six of six acknowledge such a COMMIT.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, inf
from typing import Literal

from psycopg import pq
from psycopg.pq.abc import PGresult

from trioorm.errors import ConnectionLost, UsageError
from trioorm.pool import Lease, OutcomeHook, Pool
from trioorm.transaction import refusals
from trioorm.transaction.commit import ANSWER_PART, COMMIT, caused, refusal_of_commit, settle_lost_commit
from trioorm.transaction.deadline import NO_LIMIT, ServerLimit
from trioorm.transaction.hooks import BlockHooks, outside_of_all_blocks
from trioorm.transaction.inside import open_blocks
from trioorm.transaction.leaving import SentEnd
from trioorm.transaction.runner import Connection, failure_of
from trioorm.transaction.scope import Scope, running_task_name
from trioorm.transaction.server_side import ServerSide
from trioorm.wire import Statement, Step, command, is_error
from trioorm.wire.interrupt import Held

__all__ = ["Isolation", "SavepointScope", "TransactionScope", "refuse_inside_transaction"]

Isolation = Literal["read committed", "repeatable read", "serializable"]

_COMMAND_OK = int(pq.ExecStatus.COMMAND_OK)  # a plain number, as in `runner`

_LEVELS: dict[Isolation, bytes] = {
    "read committed": b" ISOLATION LEVEL READ COMMITTED",
    "repeatable read": b" ISOLATION LEVEL REPEATABLE READ",
    "serializable": b" ISOLATION LEVEL SERIALIZABLE",
}

_ROLLBACK = command(b"ROLLBACK")


@lru_cache(maxsize=100)
def begin_steps(
    isolation: Isolation | None, *, read_only: bool = False, deferrable: bool = False, lock_timeout_seconds: float | None = None
) -> Sequence[Step]:
    """The BEGIN command, and what goes with it.

    Raises:
        ValueError: no such isolation level, `deferrable` without a serializable read only transaction, or a lock timeout that is no
            positive number.
    """
    if isolation is not None and isolation not in _LEVELS:
        raise ValueError(f"there is no isolation level {isolation!r}.\nTo fix it: use one of {', '.join(map(repr, _LEVELS))}.")
    if deferrable and not (read_only and isolation == "serializable"):
        raise ValueError(
            "deferrable has a meaning only for serializable, read only transactions.\n"
            'To fix it: add isolation="serializable", read_only=True, or drop it.'
        )
    if lock_timeout_seconds is not None and not 0 < lock_timeout_seconds < inf:
        raise ValueError(
            f"lock_timeout_seconds must be above 0, not {lock_timeout_seconds}.\nTo fix it: leave it out to wait without limit."
        )
    level = _LEVELS[isolation] if isolation is not None else b""
    # Kept by the server, as each transaction begins with it.
    begin = Step(Statement(b"BEGIN" + level + (b" READ ONLY" if read_only else b"") + (b" DEFERRABLE" if deferrable else b"")))
    if lock_timeout_seconds is None:
        return (begin,)
    return begin, command(b"SET LOCAL lock_timeout = %d" % ceil(lock_timeout_seconds * 1000))


class TransactionScope(Scope):
    """A transaction on a connection of a pool.

    Args:
        pool: where the connection comes from, on entry.
        begin: the BEGIN command, and what goes with it.
        name: how it is called in errors.
    """

    _sends_ahead = True
    _end_tag = b"COMMIT"
    _savepoints = 0

    def __init__(self, pool: Pool, begin: Sequence[Step], name: str = "the transaction") -> None:
        self.name = name
        self.server_side = ServerSide()
        self._pool = pool
        self._begin = begin
        # On the object, since each block asks, some of it several times, and a class is looked through last.
        self._state = "not entered"
        self._line = self.hooks = None
        self._has_begun = self._has_had_children = self.turn_is_taken = False

    @property
    def cleanup_timeout_seconds(self) -> float:
        """The bound of its end."""
        return self._pool.settings.cleanup_timeout_seconds

    def is_open_on(self, pool: Pool) -> bool:
        """Whether the block is open and its connection is of this pool."""
        return self._pool is pool and self.lease is not None

    def _take_at_once(self, lease: Lease | None = None) -> Connection | None:
        """See `Scope._take_at_once`.

        Args:
            lease: that was waited for.
        """
        pool = self._pool
        lease = lease or pool.lend_at_once()
        if lease is None:
            return None
        connection = lease.connection
        deadline = connection.read_deadline()
        if deadline != inf:
            if deadline == -inf:  # a cancellation is due, which `acquire` raises
                lease.release(unasked_since=lease.member.idle_since)
                return None
            self.server_side.limit = ServerLimit(deadline, self.cleanup_timeout_seconds)
        self.lease = lease
        lease.mark = self._mark
        lease.inside.add(lease.task)
        return connection

    async def _take_connection(self) -> Connection:
        while (connection := self._take_at_once(await self._pool.acquire())) is None:
            pass
        return connection

    def _give_connection_back(self) -> None:
        lease = self.lease
        if lease is not None:
            self._pool.take_back(lease, None if self._has_begun else lease.member.idle_since)
        self._connection = self.lease = None

    def next_savepoint_name(self) -> str:
        """A name that no savepoint of this transaction has had."""
        self._savepoints += 1
        return f"trioorm_{self._savepoints}"

    def opening(self) -> Sequence[Step]:
        """See `Scope.opening`."""
        connection, limit = self._connection, self.server_side.limit
        if connection is not None and not connection.pgconn.transaction_status:  # IDLE is 0
            if self._has_begun:
                raise self.ended_by_text()
            return self._begin if limit is NO_LIMIT else limit.steps(connection.pgconn.server_version, behind=self._begin)
        connection = self.usable_connection()
        return () if limit is NO_LIMIT else limit.steps(connection.pgconn.server_version)

    def opened(self, results: Sequence[PGresult]) -> None:
        """See `Scope.opened`."""
        if results and results[0].status == _COMMAND_OK:
            self._has_begun = True

    async def _learn_id(self, connection: Connection) -> None:
        probe = self.server_side.probe
        if probe and not connection.is_idle:
            results = await connection.fly(probe)
            if is_error(results[0]):
                await self.fail(connection, probe, results)
            self.server_side.probed(results[0])

    def _send_end(self) -> SentEnd | None:
        connection = self._connection
        assert connection is not None, "the block has not given it back"
        if not connection.pgconn.transaction_status:  # IDLE is 0
            if self._has_begun:
                raise self.ended_by_text()
            return None
        return connection.send_command(COMMIT), self._pool.settings.commit_timeout_seconds * ANSWER_PART

    def _refusal_of_end(self, result: PGresult) -> BaseException | None:
        return refusal_of_commit(self.name, result)

    async def _end_unanswered(self, lost: ConnectionLost) -> tuple[BaseException | None, Held]:
        return await settle_lost_commit(
            self._pool,
            self.name,
            lost,
            self.server_side.id(),
            requests_before=self._requests_before,
            deliver_own_timeout=self.deliver_own_timeout,
        )

    async def _roll_back(self, connection: Connection) -> Held:
        if connection.is_idle:
            return None
        _, held = await connection.fly_shielded([_ROLLBACK], seconds=self.cleanup_timeout_seconds)
        return held

    def _settle_hooks(self, hooks: BlockHooks, *, took_effect: bool) -> None:
        self.start_hooks(hooks.due(committed=took_effect))

    def start_hooks(self, hooks: Sequence[OutcomeHook]) -> None:
        """Run hooks in the database's background."""
        self._pool.outcome_hooks.start(hooks, outside_of_all_blocks)


def refuse_inside_transaction(pool: Pool, what: str) -> None:
    """Refuse what would be repeated, or commit, alone, where the running code is inside a transaction on the same pool.

    Raises:
        UsageError: it is.
    """
    for block in reversed(open_blocks()):
        if isinstance(block, TransactionScope) and block.is_open_on(pool):
            raise UsageError(
                f"{what} was called inside of {block.name}, on the same database.\n"
                "It would commit on a connection of its own, whatever becomes of the transaction around it, and again each time that is "
                "tried again.\nTo fix it: pass `tx` and use it; for a part that may fail alone, `async with tx.savepoint() as sp`; for "
                "writes that are meant to stay whatever happens, `async with db.transaction()`."
            )


class SavepointScope(Scope):
    """A savepoint inside a transaction or another savepoint; it holds the outer block's turn for its whole length.

    Args:
        outer: the block around it.
    """

    _end_tag = b"RELEASE"
    _release: Step

    def __init__(self, outer: "TransactionScope | SavepointScope") -> None:
        self._outer = outer
        self._sql_name = outer.next_savepoint_name()
        self.name = f"the savepoint {self._sql_name} of {outer.name}"
        self.server_side = outer.server_side
        self._opening_count = 0

    @property
    def cleanup_timeout_seconds(self) -> float:
        """See `TransactionScope.cleanup_timeout_seconds`."""
        return self._outer.cleanup_timeout_seconds

    def next_savepoint_name(self) -> str:
        """See `TransactionScope.next_savepoint_name`."""
        return self._outer.next_savepoint_name()

    def _take_at_once(self) -> None:
        return None

    async def _take_connection(self) -> Connection:
        self._owner = running_task_name()
        self._outer.check_usable()
        outer = self._outer
        await outer.take_turn()
        try:
            connection = outer.usable_connection()
        except BaseException:
            outer.give_turn()
            raise
        outer.hold_turn_for(self)
        self.lease = outer.lease
        return connection

    def _give_connection_back(self) -> None:
        # What could not be rolled back to the savepoint is the outer block's error now.
        if self.first_error is not None:
            self._outer.note_error(self.first_error)
        self._connection = self.lease = None
        self._outer.give_turn()

    def opening(self) -> Sequence[Step]:
        """See `Scope.opening`."""
        connection = self.usable_connection()
        if self._has_begun:
            if connection.is_idle:
                raise self.ended_by_text()
            return self._outer.opening()
        steps = [*self._outer.opening(), command(f'SAVEPOINT "{self._sql_name}"'.encode())]
        self._opening_count = len(steps)
        return steps

    def opened(self, results: Sequence[PGresult]) -> None:
        """See `Scope.opened`."""
        if not self._has_begun:
            count = self._opening_count
            self._outer.opened(results[: count - 1])
            self._has_begun = len(results) >= count and results[count - 1].status == _COMMAND_OK

    def _send_end(self) -> SentEnd | None:
        connection = self._connection
        assert connection is not None, "the block has not given it back"
        if not self._has_begun:
            return None
        if connection.is_idle:
            raise self.ended_by_text()
        self._release = command(f'RELEASE "{self._sql_name}"'.encode())
        return connection.take_off((self._release,)), self.cleanup_timeout_seconds

    def _refusal_of_end(self, result: PGresult) -> BaseException | None:
        return failure_of(self._release, result)

    async def _end_unanswered(self, lost: ConnectionLost) -> tuple[BaseException | None, Held]:
        return caused(refusals.gone(self.name), lost), None

    async def _roll_back(self, connection: Connection) -> Held:
        if not self._has_begun or connection.is_idle:
            return None
        steps = [command(f'ROLLBACK TO "{self._sql_name}"'.encode()), command(f'RELEASE "{self._sql_name}"'.encode())]
        _, held = await connection.fly_shielded(steps, seconds=self.cleanup_timeout_seconds)
        return held

    def _settle_hooks(self, hooks: BlockHooks, *, took_effect: bool) -> None:
        if took_effect:
            self._outer.take_over(hooks)
        else:
            self.start_hooks(hooks.due(committed=False))

    def start_hooks(self, hooks: Sequence[OutcomeHook]) -> None:
        """See `TransactionScope.start_hooks`."""
        self._outer.start_hooks(hooks)
