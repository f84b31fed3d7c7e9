"""A snapshot: one picture of the database, read over several connections at once.

The contract: the first connection exports its snapshot, and its transaction outlives those that import it; others are taken only when a
read finds none free, as the pool has them to give. So with a pool of one all reads take turns on it, and nobody waits for ever. A savepoint
lies under each read, so one that fails or is cancelled spoils nothing for the next.

Source: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-SNAPSHOT-SYNCHRONIZATION
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVarTuple

import anyio
import trio
from anyio.lowlevel import checkpoint_if_cancelled
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.pq import Format
from psycopg.pq.abc import PGresult

from trioorm.errors import DatabaseError, TransactionClosed, UsageError
from trioorm.pool import Pool
from trioorm.transaction import refusals
from trioorm.transaction.aftermath import aftermath, is_cancellation
from trioorm.transaction.deadline import ServerLimit, limit_for
from trioorm.transaction.members import Member, Members
from trioorm.transaction.runner import BlockMark, Connection, Hold, failure_among, is_stale_plan
from trioorm.transaction.server_side import ServerSide
from trioorm.wire import Statement, Step, after_cleanup, command
from trioorm.wire.interrupt import Held, Shield, cancel_requests, deliver_unseen

__all__ = ["HeldReads", "SnapshotScope"]

logger = logging.getLogger("trioorm.transaction")

Arguments = TypeVarTuple("Arguments")

_INERROR = pq.TransactionStatus.INERROR
_UNKNOWN = pq.TransactionStatus.UNKNOWN

_BEGIN = command(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
_EXPORT = Step(Statement(b"SELECT pg_export_snapshot()", result_format=pq.Format.TEXT, name=b""))
_GUARD = command(b'SAVEPOINT "trioorm_guard"')
_UNDO_TO_GUARD = command(b'ROLLBACK TO "trioorm_guard"')
_RELEASE_GUARD = command(b'RELEASE "trioorm_guard"')
_ROLLBACK = command(b"ROLLBACK")


class _ByFlights(ABC):
    """A `Runner` that does everything by `run`."""

    in_transaction = True

    @abstractmethod
    async def run(self, steps: Sequence[Step], is_write: bool) -> list[PGresult]: ...

    async def read(self, steps: Sequence[Step]) -> list[PGresult]:
        """See `Runner.read`."""
        return await self.run(steps, is_write=False)

    async def run_one(self, statement: Statement, values: Sequence[Buffer | None], formats: Sequence[Format], is_write: bool) -> PGresult:
        """See `Runner.run_one`."""
        (result,) = await self.run((Step(statement, values, formats),), is_write=is_write)
        return result


class SnapshotScope(_ByFlights):
    """A block that is a nursery, whose reads all see the same; itself a `Runner`.

    Args:
        pool: where the connections come from.
        connections: how many it takes at most.
        name: how it is called in errors.
    """

    def __init__(self, pool: Pool, connections: int, *, name: str = "the snapshot") -> None:
        if connections < 1:
            raise UsageError(f"a snapshot cannot read over {connections} connections.\nTo fix it: give 1 or more; the default is 4.")
        self.name = name
        self._pool = pool
        self.members = Members(name, connections, self._open_another)
        self._import = _BEGIN
        self._server_side = ServerSide()
        self._widenings: set[anyio.CancelScope] = set()
        self._all_ended = anyio.Event()
        self._was_entered = False
        self._is_open = False

    # Entering and leaving.

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        if self._was_entered:
            raise TransactionClosed(f"{self.name} was entered before; a block can be entered once.\nTo fix it: open another one.")
        self._was_entered = True
        self._server_side.limit = limit_for(anyio.current_effective_deadline(), self._pool.settings.cleanup_timeout_seconds)
        holder, exported = await self._begin([_BEGIN, _EXPORT])
        self._holder = holder
        # Its text comes from the server, and SET takes no bound values: digits, letters and hyphens are all that it is made of.
        name = exported.get_value(0, 0) or b""
        assert name.replace(b"-", b"").isalnum(), "the name of a snapshot"
        self._import = command(b"SET TRANSACTION SNAPSHOT '%b'" % name)
        self._nursery = anyio.create_task_group()
        self._server_side.nursery = await self._nursery.__aenter__()
        self._requests_before = cancel_requests()
        self._is_open = True
        self.members.admit(holder, was_asked_for=False)
        return self

    async def _begin(self, opening: Sequence[Step]) -> tuple[Member, PGresult]:
        """Take a connection and open its transaction; the result of the second step."""
        lease = await self._pool.acquire()
        member = Member(lease, ServerLimit(self._server_side.limit.deadline, self._pool.settings.cleanup_timeout_seconds))
        opening = [*opening, *self.limit_steps(member)]
        try:
            results = await member.connection.fly(opening)
            if (failure := failure_among(opening, results)) is not None:
                raise failure
        except BaseException as error:
            held = await self._end(member, anyio.current_time() + self._pool.settings.cleanup_timeout_seconds)
            if (raised := after_cleanup(error, held)) is not None and raised is not error:
                raise raised from None
            raise
        return member, results[1]

    def limit_steps(self, member: Member) -> Sequence[Step]:
        """What a member's transaction is to be told of the block's deadline; its own is never known to be later than the block's."""
        member.limit.deadline = self._server_side.limit.deadline
        return member.limit.steps(member.connection.pgconn.server_version)

    async def _end(self, member: Member, until: float) -> Held:
        """Roll back and give the connection back, or have it closed when there is no time left."""
        held: Held = None
        connection, seconds = member.connection, until - anyio.current_time()
        if not connection.closed and not connection.is_idle and seconds > 0:
            _, held = await connection.fly_shielded([_ROLLBACK], seconds=seconds)
        member.lease.release()
        return held

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        failure = error
        try:
            await self._nursery.__aexit__(kind, error, traceback)
        except BaseException as raised:
            failure = aftermath(error, raised, None, what="tasks of the snapshot failed")
        self._is_open = False
        until = anyio.current_time() + self._pool.settings.cleanup_timeout_seconds
        held = await self._stop_widening(until)
        for member in self.members.leave(self._closed()):
            held = await self._end(member, until) or held
        failure = after_cleanup(failure, held)
        if failure is not None and not is_cancellation(failure):
            deliver_unseen(self._requests_before)
        if failure is not None and failure is not error:
            raise failure

    # More connections.

    def _open_another(self) -> None:
        # In the database's background: the nursery is for the children, and waits for them alone.
        self._pool.background.start_soon(self._widen, name=f"trioorm: another connection for {self.name}")

    async def _widen(self) -> None:
        scope = anyio.CancelScope()
        self._widenings.add(scope)
        member: Member | None = None
        try:
            with scope:
                if self._is_open:
                    member, _ = await self._begin([_BEGIN, self._import])
        except Exception as error:  # whatever it is: the database's background must not end of it
            logger.debug("%s goes on without another connection: %s", self.name, error)
        finally:
            self._widenings.discard(scope)
            if member is None:
                self.members.could_not_open()
            elif self._is_open:
                self.members.admit(member)
            else:
                member.lease.release()
            self._all_ended.set()

    async def _stop_widening(self, until: float) -> Held:
        """End the tasks that would have brought more connections; what came meanwhile and comes only once."""
        with Shield(until - anyio.current_time()) as shield:
            while self._widenings and not shield.expired:
                self._all_ended = anyio.Event()
                for scope in self._widenings:
                    scope.cancel()
                await shield.wait(self._all_ended.wait)
        return shield.held

    # Children.

    def start_soon(self, function: Callable[[*Arguments], Awaitable[Any]], *arguments: *Arguments, name: object = None) -> None:
        """Start a child of the block; see `Scope.start_soon`."""
        self._check_open()
        self._nursery.start_soon(_call, function, arguments, name=name or getattr(function, "__qualname__", None))

    # Reading.

    def _check_open(self) -> None:
        if not self._is_open:
            raise self._closed()

    def _closed(self) -> TransactionClosed:
        state = "has ended" if self._was_entered else "was not entered"
        return TransactionClosed(
            f"{self.name} was used by task {anyio.get_current_task().name!r}, but its block {state}. Nothing was sent.\n"
            "To fix it: read inside `async with`, in the body or in a task started with `snap.start_soon`."
        )

    @trio.lowlevel.enable_ki_protection
    async def run(self, steps: Sequence[Step], is_write: bool) -> list[PGresult]:
        """See `Runner.run`. That nothing is written is seen to by the hall and, in the end, by the server."""
        member = await self.borrow()
        try:
            return await self.run_on(member, steps)
        finally:
            self.give_back(member)

    @trio.lowlevel.enable_ki_protection
    async def run_on(self, member: Member, steps: Sequence[Step]) -> list[PGresult]:
        """The same on a connection that was borrowed."""
        if any(step.statement.ends_transaction for step in steps):
            raise refusals.would_end_by_text(self.name)
        results, failure = await self._run_guarded(member, steps)
        if failure is not None and is_stale_plan(failure):
            # Refused before it ran, because a table has changed since it was prepared; prepared anew it runs.
            member.connection.retire_statements(steps)
            results, failure = await self._run_guarded(member, steps)
        if failure is not None:
            raise failure
        return results

    async def _run_guarded(self, member: Member, steps: Sequence[Step]) -> tuple[list[PGresult], DatabaseError | None]:
        """Run steps with a savepoint under them, all in one flight; their results, and the first error among them."""
        await checkpoint_if_cancelled()
        # Before the savepoint, or going back to it would take it back.
        limit = self.limit_steps(member)
        sent = [*limit, _GUARD, *steps, _RELEASE_GUARD]
        error: BaseException | None = None
        results: list[PGresult] = []
        try:
            results = await member.connection.fly(sent)
        except BaseException as raised:
            error = raised
        # If the transaction is not in error, the whole flight took effect, or none of it, and the savepoint is gone.
        held = await self.undo(member.connection) if member.connection.pgconn.transaction_status == _INERROR else None
        if (raised_instead := after_cleanup(error, held)) is not None:
            raise raised_instead
        first = len(limit) + 1
        return results[first : first + len(steps)], failure_among(sent, results)

    async def undo(self, connection: Connection) -> Held:
        """Roll back to the savepoint, and let it go."""
        _, held = await connection.fly_shielded([_UNDO_TO_GUARD, _RELEASE_GUARD], seconds=self._pool.settings.cleanup_timeout_seconds)
        return held

    async def borrow(self, held_by: BlockMark | None = None) -> Member:
        """Take a connection; see `Members.borrow`.

        Raises:
            TransactionClosed: the block has ended.
        """
        self._check_open()
        await self._server_side.follow_deadline()
        return await self.members.borrow(held_by)

    def give_back(self, member: Member) -> None:
        """Give a connection back. When the first is lost, so is what others could import."""
        if member is self._holder and not member.is_usable:
            self.members.may_grow = False
        self.members.give_back(member)

    def hold(self, what: str, *, runs: Statement | None = None) -> Hold:
        """See `Runner.hold`; there is always a guard."""
        if runs is not None and runs.ends_transaction:
            raise refusals.would_end_by_text(self.name)
        return _SnapshotHold(self, what)


async def _call(function: Callable[[*Arguments], Awaitable[Any]], arguments: tuple[*Arguments]) -> None:
    await function(*arguments)


class _SnapshotHold:
    """A connection of a snapshot for the length of a stream or a COPY."""

    __slots__ = ("_mark", "_snapshot", "member")

    def __init__(self, snapshot: SnapshotScope, what: str) -> None:
        self._snapshot = snapshot
        self._mark = BlockMark(f"{what} of {snapshot.name}")

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Connection:
        member = await self._snapshot.borrow(self._mark)
        try:
            await checkpoint_if_cancelled()
            opening = [*self._snapshot.limit_steps(member), _GUARD]
            results = await member.connection.fly(opening)
            if (failure := failure_among(opening, results)) is not None:
                raise failure
        except BaseException:
            member.connection.close_nowait()  # whether the savepoint is there is not known
            self._snapshot.give_back(member)
            raise
        self.member = member
        self._mark.enter()
        return member.connection

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._mark.leave()
        connection = self.member.connection
        held = None if connection.pgconn.transaction_status == _UNKNOWN else await self._snapshot.undo(connection)
        self._snapshot.give_back(self.member)
        if (raised := after_cleanup(error, held)) is not None and raised is not error:
            raise raised


class HeldReads(_ByFlights):
    """Reads of a snapshot on one of its connections, which is theirs for the length of a block; itself a `Runner`.

    Whatever they leave on the server, a cursor, ends with the block: a savepoint lies under it.

    Args:
        snapshot: whose.
        what: named when somebody inside the block waits for more connections than there are.
    """

    def __init__(self, snapshot: SnapshotScope, what: str) -> None:
        self._snapshot = snapshot
        self._hold = _SnapshotHold(snapshot, what)

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        await self._hold.__aenter__()
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._hold.__aexit__(kind, error, traceback)

    async def run(self, steps: Sequence[Step], is_write: bool) -> list[PGresult]:
        """See `Runner.run`."""
        return await self._snapshot.run_on(self._hold.member, steps)

    def hold(self, what: str, *, runs: Statement | None = None) -> Hold:
        """There is none inside of this block."""
        raise AssertionError("one stream holds the connection already")
