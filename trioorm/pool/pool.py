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

from trioorm.instruments import Instruments
from trioorm.pool.background import Background
from trioorm.pool.borrowing import Borrowing
from trioorm.pool.counts import Counts
from trioorm.pool.growing import Connect
from trioorm.pool.lanes import Lanes
from trioorm.pool.last_cancel import LAST_CANCEL_SECONDS, cancel_statements
from trioorm.pool.lease import loans_of, log_long_loans, log_what_stays_out
from trioorm.pool.leaving import Leaving
from trioorm.pool.lending import LendingPool
from trioorm.pool.outcome_hooks import OutcomeHooks
from trioorm.pool.refusals import closed_meanwhile
from trioorm.pool.settings import PoolSettings
from trioorm.wire.interrupt import Held, Shield

if TYPE_CHECKING:
    from trioorm.pool.hub import Hub
    from trioorm.pool.statistics import PoolStatistics

__all__ = ["Connect", "Pool"]

logger = logging.getLogger("trioorm.pool")

_LOOK_FOR_LEAKS_SECONDS = 60.0


class Pool(LendingPool):
    """Connections lent to tasks. Made by `open_pool`.

    Attributes:
        settings: as given, or as `resize` left them.
        background: the tasks that the database owns.
        outcome_hooks: what runs once a transaction's outcome is certain.
        lanes: the connections that many reads share.
        check_for_cancellation: raises a cancellation that is due, and is no checkpoint otherwise.
    """

    def __init__(self, connect: Connect, settings: PoolSettings, background: Background, *, listen: Connect) -> None:
        super().__init__(connect, settings)
        self.background = background
        self._leaving = Leaving(background, settings.cleanup_timeout_seconds, lambda: self.settings.max_size, self._open_what_is_needed)
        self._listen = listen
        self._hub: Hub | None = None
        self._counts = Counts()
        self.outcome_hooks = OutcomeHooks(background, self._counts, Instruments(settings.instruments))
        self.lanes = Lanes(
            partial(self._take_nowait, reserved=False),
            self._open_what_is_needed,
            self._line,
            self._idle,
            self._leases,
            self._counts,
            settings,
            background,
            self._owner,
        )

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        counts = f"{len(self._idle)} idle, {len(self._lent)} on loan, {self._waiting} waiting"
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
            size=self._size - len(self.lanes),
            idle=len(self._idle),
            waiting=self._waiting,
            connecting=self._connecting,
            leaving=len(self._leaving),
            loans=loans_of(self._lent),
            on_loan=len(self._lent),
            lanes=self.lanes.statistics(),
        )

    # Borrowing.

    def connection(self, *, reserved: bool = False) -> Borrowing:
        """Borrow a connection for the length of a block, as from psycopg_pool: `async with pool.connection() as connection`.

        What psycopg has begun in the block and not ended is committed at its end, and rolled back after an error.

        Args:
            reserved: see `acquire`, whose errors and checkpoints are those of entering. Leaving waits only for a commit or a rollback.
        """
        return Borrowing(partial(self.acquire, reserved=reserved))

    # Keeping.

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the sizes. Surplus idle connections are closed at once, surplus ones on loan when they come back.

        Raises:
            ValueError: the sizes contradict each other.
        """
        self._keep_to(self.settings.resized(min_size, max_size if max_size is not None else max(min_size, self.settings.max_size)))
        self.lanes.limit = self.settings.most_lanes
        while self._idle and self._size > self.settings.max_size:
            self._leaving.close(self._idle.popleft().connection)
        self._note_what_returns_are()
        if self._size > self.settings.max_size or not self.lanes.limit:
            self.lanes.retire()
        while self._idle and not self._only_reserved_left and self._serve_first(self._idle[-1]):
            self._idle.pop()
        self._open_what_is_needed()

    def drain(self) -> None:
        """Replace every connection: idle ones now, those on loan when they come back. For a changed password, schema or server."""
        for member in [*[lease.member for lease in self._leases], *self._resetting]:
            member.expires_at = -inf
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
        self._note_what_returns_are()
        if self._hub is not None:
            self._hub.close()
        self.lanes.close()
        if self._line.count:
            self._refuse_all(closed_meanwhile())
        while self._idle:
            self._leaving.close(self._idle.pop().connection)
        if self._leases:
            with Shield(self.settings.cleanup_timeout_seconds) as shield:
                await shield.wait(self._wait_all_returned)
            held = shield.held
        if self._leases:
            with Shield(LAST_CANCEL_SECONDS) as shield:
                connections = [lease.connection for lease in self._leases]
                await shield.wait(lambda: cancel_statements(connections))
                await shield.wait(self._wait_all_returned)
            held = held or shield.held
        log_what_stays_out(self._lent)
        for lease in tuple(self._leases):
            self._leaving.close(lease.connection)
        return held

    async def _wait_all_returned(self) -> bool:
        if self._leases:
            self._all_returned = anyio.Event()
            await self._all_returned.wait()
        return True
