"""The pool: connections lent to tasks, fairly, and taken back whole.

The contract: waiters are served first come first served, connections last in first out; a connection is handed over without an await
between deciding and acting, so no cancellation can lose one; a connection that libpq does not call idle is closed and never lent again;
every background task ends with the pool's block. The whole state stands in `Pool`, and only synchronous methods change it.

Ours, because psycopg_pool is bound to asyncio; its words are kept where they mean the same.
"""

from __future__ import annotations

import logging
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

import anyio
import trio

from trioorm.instruments import Instruments
from trioorm.pool import hooks
from trioorm.pool.background import Background
from trioorm.pool.behalf import principals
from trioorm.pool.borrowing import Borrowing
from trioorm.pool.counts import Counts
from trioorm.pool.growing import Connect, GrowingPool
from trioorm.pool.lanes import Lanes
from trioorm.pool.last_cancel import LAST_CANCEL_SECONDS, cancel_statements
from trioorm.pool.lease import Lease, Member, loans_of, log_long_loans, log_what_stays_out
from trioorm.pool.leaving import Leaving
from trioorm.pool.line import Shedding, Waiter, waiter_kind
from trioorm.pool.outcome_hooks import OutcomeHooks
from trioorm.pool.owner import Owner
from trioorm.pool.refusals import closed, closed_meanwhile, deadlocked, line_is_full, timed_out, turned_away
from trioorm.pool.settings import Hook, PoolSettings
from trioorm.wire.interrupt import Held, Shield

if TYPE_CHECKING:
    from trioorm.pool.hub import Hub
    from trioorm.pool.statistics import PoolStatistics

__all__ = ["Connect", "Pool"]

logger = logging.getLogger("trioorm.pool")

# A deadlock is found when its last task asks; one that is complete only when a task ends which did not wait, by looking again.
_LOOK_FOR_DEADLOCK_SECONDS = 1.0

_LOOK_FOR_LEAKS_SECONDS = 60.0

# So soon after an answer nobody asks whether the server has closed the connection since: it might as well do so just behind the question.
_JUST_NOW_SECONDS = 0.0001


class Pool(GrowingPool):
    """Connections lent to tasks. Made by `open_pool`.

    Attributes:
        settings: as given, or as `resize` left them.
        background: the tasks that the database owns.
        outcome_hooks: what runs once a transaction's outcome is certain.
        lanes: the connections that many reads share.
        check_for_cancellation: raises a cancellation that is due, and is no checkpoint otherwise.
    """

    def __init__(self, connect: Connect, settings: PoolSettings, background: Background, *, listen: Connect) -> None:
        self._keep_to(settings)
        super().__init__(connect)
        self.background = background
        self._leaving = Leaving(background, settings.cleanup_timeout_seconds, lambda: self.settings.max_size, self._open_what_is_needed)
        self._owner = Owner()
        self.check_for_cancellation = self._owner.check_for_cancellation
        self._listen = listen
        self._hub: Hub | None = None
        self._counts = Counts()
        self.outcome_hooks = OutcomeHooks(background, self._counts, Instruments(settings.instruments))
        target = settings.queue_target_seconds
        self._shedding = None if target is None else Shedding(target, settings.queue_interval_seconds)
        self._all_returned = anyio.Event()
        self._waiter_kind = waiter_kind()
        self._line_is_watched = False
        self.lanes = Lanes(self._open_member, self._has_room, self._idle, self._leases, settings, background, self._leaving, self._owner)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        counts = f"{len(self._idle)} idle, {len(self._leases)} on loan, {self._line.count} waiting"
        return f"<Pool {state}, {counts}, at most {self.settings.max_size}>"

    @property
    def hub(self) -> Hub:
        """Where notifications are heard, on a connection of its own. Made when it is first asked for, as few need it."""
        if self._hub is None:
            from trioorm.pool.hub import Hub

            silence = self.settings.listener_max_silence_seconds
            self._hub = Hub(partial(self._set_up, self._listen), self.background, self._owner, max_silence_seconds=silence)
        return self._hub

    def statistics(self) -> PoolStatistics:
        """The pool's state now, and its counts since it was opened."""
        return self._counts.statistics(
            self.settings,
            size=self._size,
            idle=len(self._idle),
            waiting=self._line.count,
            connecting=self._connecting,
            leaving=len(self._leaving),
            loans=loans_of(self._leases),
            on_loan=len(self._leases),
            lanes=self.lanes.statistics(),
        )

    # Borrowing.

    @trio.lowlevel.enable_ki_protection
    async def acquire(self, *, reserved: bool = False, briefly: bool = False) -> Lease:
        """Borrow a connection, waiting in line if all are on loan.

        The line is fair: first come, first served. Leave early through a cancel scope around the call.

        Args:
            reserved: may take one of the `reserved_size` connections that nobody else may have, and goes before the others for them.
            briefly: for one statement or flight, under the conditions of `lend_at_once`.

        Returns:
            A lease; leaving its block gives the connection back, or closes it when it is not provably idle.

        Raises:
            PoolTimeout: nothing came free in time. Safe to retry.
            TooManyRequests: the line is full, or slow. Safe to retry later.
            PoolDeadlock: this task is inside a block that has a connection, and like it wait all others that could give one back. Not
                safe to retry.
            PoolClosed: the pool was closed. Not safe to retry.
            AuthenticationFailed: the server does not let us in. Not safe to retry.
            ConnectFailed: with `fail_fast`: no connection can be opened. Safe to retry.
            WrongDatabaseOwner: called from another loop or process. Not safe to retry.

        Checkpoint: always for a cancellation; the loop gets control only if it waits.
        """
        task = self._owner.check()
        await self.check_for_cancellation()
        self._counts.requests += 1
        came_first = False
        try:
            while True:
                lease = self._take_nowait(reserved)
                if lease is None:
                    lease = await self._wait_in_line(task, reserved=reserved, briefly=briefly, came_first=came_first)
                elif (
                    lease.lent_at - lease.member.idle_since > self.settings.check_after_idle_seconds
                    and not await self._gives_sign_of_life(lease)
                ):
                    came_first = True  # before all who have joined the line meanwhile
                    continue
                if briefly:
                    lease.task = task
                else:
                    lease.taken_by(task)
                return lease
        except BaseException:
            self._counts.request_errors += 1
            raise

    def connection(self, *, reserved: bool = False) -> Borrowing:
        """Borrow a connection for the length of a block, as from psycopg_pool: `async with pool.connection() as connection`.

        What psycopg has begun in the block and not ended is committed at its end, and rolled back after an error.

        Args:
            reserved: see `acquire`, whose errors and checkpoints are those of entering. Leaving waits only for a commit or a rollback.
        """
        return Borrowing(partial(self.acquire, reserved=reserved))

    def lend_at_once(self) -> Lease | None:
        """Lend a connection to the running task, if one can be had without a wait or a second look; else None.

        As `acquire` in all else, without its cost: the lease is the connection's own, so whoever has it must not use it once it is given
        back. A task that has it for one statement is asked for its place only when somebody wants to know; one that does other things
        meanwhile says `taken_by`.

        Raises:
            WrongDatabaseOwner: called from another loop or process. Not safe to retry.
        """
        task = self._owner.check()
        idle, leases, settings = self._idle, self._leases, self.settings
        if not idle or self._line.count or len(leases) >= self._most_unreserved:
            return None
        member = idle[-1]
        connection = member.connection
        now = monotonic()
        idle_seconds = now - member.idle_since
        if (
            idle_seconds > settings.check_after_idle_seconds
            or connection.pgconn.transaction_status  # IDLE is 0
            or (idle_seconds > _JUST_NOW_SECONDS and connection.has_unread_input())
        ):
            return None
        idle.pop()
        counts = self._counts
        counts.requests += 1
        counts.waits.append(0.0)
        lease = member.own_lease
        lease.task = task
        lease.lent_at = now
        lease.released = lease.logged = False
        leases.add(lease)
        return lease

    def _take_nowait(self, reserved: bool) -> Lease | None:
        if self._closed:
            raise closed()
        if self._line.count and not (reserved and self._line.reserved_count() == 0):
            return None  # others came first
        if not reserved and self._only_reserved_left:
            return None
        lease: Lease | None = None
        lost = self._counts.lost
        while self._idle and lease is None:
            member = self._idle.pop()
            if member.connection.is_idle and not member.connection.has_unread_input():
                self._counts.waits.append(0.0)
                lease = self._lend(member)
            else:
                self._counts.lost += 1
                self._leaving.close(member.connection)  # the server has closed it, or said something that nobody asked for
        if self._counts.lost != lost:
            self._open_what_is_needed()
        return lease

    @property
    def _only_reserved_left(self) -> bool:
        return len(self._leases) >= self._most_unreserved

    def _lend(self, member: Member) -> Lease:
        lease = Lease(member, self.take_back, self._owner.running_task)
        self._leases.add(lease)
        return lease

    async def _gives_sign_of_life(self, lease: Lease) -> bool:
        """Ask a connection that was idle for long; a dead one is closed and its lease ended."""
        try:
            if await hooks.is_alive(lease.connection, self.settings.check, seconds=self.settings.cleanup_timeout_seconds):
                return True
        except BaseException:
            lease.release()
            raise
        self._counts.lost += 1
        self._leaving.close(lease.connection)
        lease.release()
        return False

    async def _wait_in_line(self, task: object, *, reserved: bool, briefly: bool, came_first: bool) -> Lease:
        settings, line = self.settings, self._line
        if settings.max_waiting and line.count >= settings.max_waiting and not came_first:
            raise line_is_full(settings, line.count)
        waiter = self._waiter_kind(task, reserved=reserved, briefly=briefly)
        line.join(waiter, first=came_first)
        self._counts.queued += 1
        self._open_what_is_needed()
        if not self._line_is_watched:
            self._line_is_watched = True
            self.background.start_soon(self._watch_line, name="trioorm: telling who has waited too long")
        try:
            while self._is_inside_a_lease(task) and not waiter.answered:
                self._refuse_a_deadlock(waiter)
                with anyio.move_on_after(_LOOK_FOR_DEADLOCK_SECONDS):
                    await waiter.wait()
            await waiter.wait()
        except BaseException:
            if waiter.lease is not None:
                waiter.lease.release()  # handed over in the very moment of leaving: to the next in line
            line.quit(waiter)
            raise
        finally:
            waited = monotonic() - waiter.since
            self._counts.waited(waited)
        if waiter.lease is not None:
            return waiter.lease
        if waiter.error is not None:
            raise waiter.error
        raise timed_out(
            self.settings,
            self._leases,
            waiting=line.count,
            leaving=len(self._leaving),
            waited_seconds=waited,
            failure=self._last_failure,
        )

    async def _watch_line(self) -> None:
        """Tell those who have waited too long, as long as there is a line. One task does it for all: a cancel scope around each wait would
        cost as much as all else about it."""
        longest = self.settings.timeout_seconds
        late_since = -inf
        try:
            while (since := self._line.call_late(late_since)) is not None:
                await anyio.sleep(max(0.0, since + longest - monotonic()))
                late_since = since
        finally:
            self._line_is_watched = False

    def _is_inside_a_lease(self, task: object) -> bool:
        for lease in self._leases:  # noqa: SIM110 - a generator would take twice as long, and every wait comes by here
            if lease.inside and principals((task,)) <= principals(lease.inside):
                return True
        return False

    def _refuse_a_deadlock(self, waiter: Waiter) -> None:
        """Refuse a waiter if no connection can come free: every one is on loan to a block all of whose tasks wait in this very line."""
        if waiter.reserved or not self._only_reserved_left:
            return
        waiting = principals(self._line.tasks(reserved=len(self._leases) >= self.settings.max_lent))
        if all(lease.inside and principals(lease.inside) <= waiting for lease in self._leases):
            self._line.quit(waiter)
            waiter.refuse(deadlocked(self._leases))

    # Taking back.

    def take_back(self, lease: Lease) -> None:
        """End a loan; a second time does nothing. Never waits."""
        if lease.released:
            return
        lease.released = True
        self._leases.discard(lease)
        now = monotonic()
        counts, seconds = self._counts, now - lease.lent_at
        counts.usage_seconds += seconds
        counts.loans.append(seconds)
        lease.task = lease.mark = None
        if lease.inside:
            lease.inside.clear()
        member, connection, settings = lease.member, lease.connection, self.settings
        is_idle = not connection.pgconn.transaction_status  # IDLE is 0
        if self._closed:
            self._admit(member)
            if not self._leases:
                self._all_returned.set()
        elif is_idle and settings.reset is not None:
            self._resetting += 1
            self.background.start_soon(self._reset, member, settings.reset, name="trioorm: resetting a connection")
        elif (
            is_idle
            and now < member.expires_at
            and member.generation == self._generation
            and len(self._idle) + len(self._leases) + self._connecting + self._resetting < self._most_lent
            # Its own lease was for one statement, which has just been answered; others may have had it for long without asking anything.
            and (not self._line.count or lease is member.own_lease)
        ):
            member.idle_since = now  # nearly always, so `_admit`, which says the same, is not asked
            if not self._line.count or not self._serve_first(member):
                self._idle.append(member)
        else:
            self._admit(member)

    async def _reset(self, member: Member, hook: Hook) -> None:
        try:
            await hooks.reset(member.connection, hook, seconds=self.settings.cleanup_timeout_seconds)
        finally:
            self._resetting -= 1
            self._admit(member)

    def _admit(self, member: Member) -> None:
        """A connection has come free: to the first in line, else to the idle ones; closed if it is not provably idle, or not wanted."""
        connection = member.connection
        if not connection.is_idle or (self._line.count and connection.has_unread_input()):  # an idle one is looked at when it is lent
            self._counts.returns_bad += 1
            self._leaving.close(connection)
        elif self._closed or self._is_outdated(member) or self._size >= self.settings.max_lent:
            self._leaving.close(connection)
        else:
            if not self._serve_first(member):
                member.idle_since = monotonic()
                self._idle.append(member)
            return
        self._open_what_is_needed()

    def _serve_first(self, member: Member) -> bool:
        """Hand a connection to the first in line who may have it; whether there is one."""
        waiter = self._next_in_line()
        if waiter is None:
            return False
        if waiter.briefly:
            lease = member.own_lease
            lease.task = waiter.task
            lease.lent_at = monotonic()
            lease.released = lease.logged = False
            self._leases.add(lease)
        else:
            lease = self._lend(member)
        waiter.serve(lease)
        return True

    def _is_outdated(self, member: Member) -> bool:
        return member.generation != self._generation or monotonic() >= member.expires_at

    def _next_in_line(self) -> Waiter | None:
        """The first in line who may have a connection; those whom a slow line turns away are told on the way."""
        while (waiter := self._line.first(reserved_only=len(self._leases) >= self._most_unreserved)) is not None:
            if self._shedding is None:
                return waiter
            now = monotonic()
            if not self._shedding.turns_away(now - waiter.since, now):
                return waiter
            waiter.refuse(turned_away(self.settings, now - waiter.since))
        return None

    # Keeping.

    def _keep_to(self, settings: PoolSettings) -> None:
        self.settings = settings
        self._most_lent = settings.max_lent
        self._most_unreserved = settings.max_lent - settings.reserved_size

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the sizes. Surplus idle connections are closed at once, surplus ones on loan when they come back.

        Raises:
            ValueError: the sizes contradict each other.
        """
        self._keep_to(self.settings.resized(min_size, max_size if max_size is not None else max(min_size, self.settings.max_size)))
        while self._idle and self._size > self.settings.max_lent:
            self._leaving.close(self._idle.popleft().connection)
        while self._idle and not self._only_reserved_left and self._serve_first(self._idle[-1]):
            self._idle.pop()
        self._open_what_is_needed()

    def drain(self) -> None:
        """Replace every connection: idle ones now, those on loan when they come back. For a changed password, schema or server."""
        self._generation += 1
        self.lanes.retire()
        while self._idle:
            self._leaving.close(self._idle.popleft().connection)
        self._open_what_is_needed()

    async def check(self) -> None:
        """Ask every idle connection for a sign of life, and replace the dead ones.

        Checkpoint: only if connections are idle.
        """
        self._owner.check()
        for member in list(self._idle):
            if member in self._idle:
                self._idle.remove(member)
                lease = self._lend(member)
                lease.taken_by(self._owner.running_task())
                if await self._gives_sign_of_life(lease):
                    lease.release()
        self._open_what_is_needed()

    async def keep(self) -> None:
        """Until cancelled: close connections that are too old or idle for too long, and log loans that last too long or were forgotten.

        Checkpoint: always.
        """
        while True:
            await anyio.sleep(self._seconds_to_next_duty())
            self._close_surplus()
            log_long_loans(self._leases, self.settings.long_loan_seconds)
            self._open_what_is_needed()

    def _seconds_to_next_duty(self) -> float:
        settings, now = self.settings, monotonic()
        moments = [*self.lanes.moments(), *[member.expires_at for member in self._idle]]
        if self._idle and self._size > settings.min_size:
            moments.append(self._idle[0].idle_since + settings.max_idle_seconds)
        # What begins after this moment falls due after one such length at the earliest.
        lengths = [settings.max_idle_seconds, settings.max_lifetime_seconds * 0.9, _LOOK_FOR_LEAKS_SECONDS]
        if settings.long_loan_seconds is not None:
            moments += [lease.lent_at + settings.long_loan_seconds for lease in self._leases if not lease.logged]
            lengths.append(settings.long_loan_seconds)
        return max(0.001, min([moment - now for moment in moments] + lengths))

    def _close_surplus(self) -> None:
        self.lanes.retire_outdated()
        now = monotonic()
        for member in [member for member in self._idle if now >= member.expires_at]:
            self._idle.remove(member)
            self._leaving.close(member.connection)
        while self._idle and self._size > self.settings.min_size and now >= self._idle[0].idle_since + self.settings.max_idle_seconds:
            self._leaving.close(self._idle.popleft().connection)

    # Closing.

    async def close(self) -> Held:
        """Admit nobody any more, and close every connection: idle ones now; others when their holders have given them back, then after
        their statements were cancelled, then by force.

        It ends within `cleanup_timeout_seconds` and one second more, whatever the holders do.

        Returns:
            What came meanwhile and comes only once, for `after_cleanup`.

        Checkpoint: only if connections are on loan; a cancellation is never raised here.
        """
        held: Held = None
        if self._closed:
            return held
        self._closed = True
        if self._hub is not None:
            self._hub.close()
        self.lanes.close()
        if self._line.count:
            self._refuse_all(closed_meanwhile())
        while self._idle:
            self._leaving.close(self._idle.pop().connection)
        if self._leases or self.lanes.open_lanes:
            with Shield(self.settings.cleanup_timeout_seconds) as shield:
                await shield.wait(self._wait_all_returned)
            held = shield.held
        if self._leases or self.lanes.open_lanes:
            with Shield(LAST_CANCEL_SECONDS) as shield:
                connections = [*[lease.connection for lease in self._leases], *[lane.connection for lane in self.lanes.open_lanes]]
                await shield.wait(lambda: cancel_statements(connections))
                await shield.wait(self._wait_all_returned)
            held = held or shield.held
        log_what_stays_out(self._leases)
        for lease in tuple(self._leases):
            self._leaving.close(lease.connection)
        self.lanes.give_up()
        return held

    async def _wait_all_returned(self) -> bool:
        if self._leases:
            self._all_returned = anyio.Event()
            await self._all_returned.wait()
        await self.lanes.wait_until_ended()
        return True
