"""How a pool lends its connections and takes them back.

The contract: that of `pool.py`, of whose `Pool` this is a part: waiters are served first come first served, connections last in first out;
a connection is handed over without an await between deciding and acting, so no cancellation can lose one; one that libpq does not call
idle, or whose encoding has changed, is closed and never lent again. Only synchronous methods change the state.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING

import anyio
import trio

from trioorm.pool import hooks, lanes
from trioorm.pool.behalf import principals
from trioorm.pool.growing import Connect, GrowingPool
from trioorm.pool.lease import Lease, Member
from trioorm.pool.line import Place, Shedding, waiter_kind
from trioorm.pool.owner import Owner
from trioorm.pool.refusals import closed, deadlocked, line_is_full, timed_out, turned_away

if TYPE_CHECKING:
    from trioorm.pool.settings import Hook, PoolSettings

__all__ = ["LendingPool"]

# A deadlock is found when its last task asks; one that is complete only when a task ends which did not wait, by looking again.
_LOOK_FOR_DEADLOCK_SECONDS = 1.0

# So soon after an answer nobody asks whether the server has closed the connection since: it might as well do so just behind the question.
_JUST_NOW_SECONDS = 0.0001


class LendingPool(GrowingPool):
    """The part of `Pool` that lends.

    Attributes:
        check_for_cancellation: raises a cancellation that is due, and is no checkpoint otherwise.
    """

    def __init__(self, connect: Connect, settings: PoolSettings) -> None:
        super().__init__(connect)
        self._keep_to(settings)
        self._note_what_returns_are()
        self._owner = Owner()
        self.check_for_cancellation = self._owner.check_for_cancellation
        target = settings.queue_target_seconds
        self._shedding = None if target is None else Shedding(target, settings.queue_interval_seconds)
        self._all_returned = anyio.Event()
        self._waiter_kind = waiter_kind()
        self._line_is_watched = False

    def _keep_to(self, settings: PoolSettings) -> None:
        self.settings = settings
        self._unasked_seconds = min(_JUST_NOW_SECONDS, settings.check_after_idle_seconds)
        self._most_unreserved = settings.max_size - settings.reserved_size
        self._few_loans = min(lanes.FEW_LOANS, self._most_unreserved) if settings.most_lanes else self._most_unreserved

    def _note_what_returns_are(self) -> None:
        """To be called whenever what is asked changes."""
        self._keeps_what_returns = not self._closed and self.settings.reset is None and self._size <= self.settings.max_size

    @property
    def _lent(self) -> set[Lease]:
        """What tasks have on loan: all leases but those of lanes."""
        return self._leases - self.lanes.leases

    @property
    def _waiting(self) -> int:
        """How many tasks are in line."""
        return self._line.count - self.lanes.in_line

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

    def lend_at_once(self) -> Lease | None:
        """Lend a connection to the running task, if one can be had without a wait or a second look; else None.

        As `acquire` in all else, without its cost: the lease is the connection's own, so whoever has it must not use it once it is given
        back. A task that has it for one statement is asked for its place only when somebody wants to know; one that does other things
        meanwhile says `taken_by`.

        Raises:
            WrongDatabaseOwner: called from another loop or process. Not safe to retry.
        """
        task = self._owner.check()
        idle, leases = self._idle, self._leases
        if not idle or self._line.count or len(leases) >= self._few_loans:
            self.lanes.call()
            if not idle or self._line.count or len(leases) >= self._most_unreserved:
                return None
        member = idle.pop()
        now = monotonic()
        idle_seconds = now - member.idle_since
        if member.pgconn.transaction_status or (  # IDLE is 0
            idle_seconds > self._unasked_seconds
            and (idle_seconds > self.settings.check_after_idle_seconds or member.connection.has_unread_input())
        ):
            idle.append(member)
            return None
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
            if await self._is_alive(lease.member):
                return True
        except BaseException:
            lease.release(unasked_since=lease.member.idle_since)
            raise
        self._counts.lost += 1
        self._leaving.close(lease.connection)
        lease.release()
        return False

    async def _wait_in_line(self, task: object, *, reserved: bool, briefly: bool, came_first: bool) -> Lease:
        settings, line = self.settings, self._line
        if settings.max_waiting and self._waiting >= settings.max_waiting and not came_first:
            raise line_is_full(settings, self._waiting)
        waiter = self._waiter_kind(task, reserved=reserved, briefly=briefly)
        line.join(waiter, first=came_first)
        self._counts.queued += 1
        self.lanes.call()
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
            self._lent,
            waiting=self._waiting,
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

    def _refuse_a_deadlock(self, waiter: Place) -> None:
        """Refuse a waiter if no connection can come free: every one is on loan to a block all of whose tasks wait in this very line."""
        if waiter.reserved or not self._only_reserved_left:
            return
        lent, waiting = self._lent, principals(self._line.tasks(reserved=len(self._leases) >= self.settings.max_size))
        if all(lease.inside and principals(lease.inside) <= waiting for lease in lent):
            if self.lanes:
                self.lanes.retire()  # theirs come free first
                return
            self._line.quit(waiter)
            waiter.refuse(deadlocked(lent))

    # Taking back.

    def take_back(self, lease: Lease, unasked_since: float | None = None) -> None:
        """End a loan; a second time does nothing. Never waits.

        Args:
            lease: to end.
            unasked_since: since when nothing has been asked of the connection, where its holder knows that.
        """
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
        member = lease.member
        if (
            self._keeps_what_returns
            and not member.pgconn.transaction_status  # IDLE is 0
            # Its own lease was for what has just been answered; others may have had it for long without asking anything.
            and lease is member.own_lease
            and unasked_since is None
            and now < member.expires_at
        ):
            member.idle_since = now  # nearly always, so `_admit`, which says the same, is not asked
            if not self._line.count or not self._serve_first(member):
                self._idle.append(member)
        else:
            self._take_back_another(member, lease.lent_at if unasked_since is None else unasked_since)

    def _take_back_another(self, member: Member, unasked_since: float) -> None:
        """One that may not just be kept."""
        settings = self.settings
        member.idle_since = unasked_since
        if not self._closed and member.connection.is_idle:
            if settings.reset is not None:
                self._resetting.add(member)
                self.background.start_soon(self._reset, member, settings.reset, name="trioorm: resetting a connection")
                return
            if self._line.count and monotonic() - unasked_since > settings.check_after_idle_seconds:
                self._resetting.add(member)
                self.background.start_soon(self._look_at, member, name="trioorm: asking a connection for a sign of life")
                return
        self._admit(member)
        self._note_what_returns_are()
        if self._closed and not self._leases:
            self._all_returned.set()

    async def _reset(self, member: Member, hook: Hook) -> None:
        try:
            await hooks.reset(member.connection, hook, seconds=self.settings.cleanup_timeout_seconds)
        finally:
            self._resetting.discard(member)
            member.idle_since = monotonic()
            self._admit(member)

    async def _look_at(self, member: Member) -> None:
        """Ask one that nothing was asked of for long, since whoever is in line gets it without a look of his own."""
        is_alive = False
        try:
            is_alive = await self._is_alive(member)
        finally:
            self._resetting.discard(member)
            if is_alive:
                self._admit(member)
            else:
                self._give_up(member)

    async def _is_alive(self, member: Member) -> bool:
        settings = self.settings
        if not await hooks.is_alive(member.connection, settings.check, seconds=settings.cleanup_timeout_seconds):
            return False
        member.idle_since = monotonic()
        return True

    def _give_up(self, member: Member) -> None:
        """One that turned out to be dead."""
        self._counts.lost += 1
        self._leaving.close(member.connection)
        self._open_what_is_needed()

    def _admit(self, member: Member) -> None:
        """A connection has come free: to the first in line, else to the idle ones; closed if it is not provably idle, or not wanted."""
        connection = member.connection
        # Looked at here too, since one that is lent just behind this is not.
        if not connection.is_idle or connection.has_unread_input() or not member.is_as_it_was:
            self._counts.returns_bad += 1
            self._leaving.close(connection)
        elif self._closed or self._is_outdated(member) or self._size >= self.settings.max_size:
            self._leaving.close(connection)
        else:
            if not self._serve_first(member):
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
        return monotonic() >= member.expires_at

    def _next_in_line(self) -> Place | None:
        """The first in line who may have a connection; those whom a slow line turns away are told on the way."""
        while (waiter := self._line.first(reserved_only=len(self._leases) >= self._most_unreserved)) is not None:
            if self._shedding is None:
                return waiter
            now = monotonic()
            if not self._shedding.turns_away(now - waiter.since, now):
                return waiter
            waiter.refuse(turned_away(self.settings, now - waiter.since))
        return None
