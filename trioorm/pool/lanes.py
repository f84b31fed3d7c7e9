"""The lanes of a pool: connections that are lent to many single reads at once.

The contract: a read goes on a lane only when its statement has been fast several times on connections of its own, when the lane is neither
full nor held up, and when several tasks are at work: for two or three, connections of their own are cheaper. Otherwise, and whenever a lane
does not serve it, it takes a connection of the pool like everybody. So lanes make things faster and never decide what works: without any of
them the pool is what it always was.

A lane is a loan: it stands in line for its connection like a task, and gives it back when it is unused or old, at the pool's end, and when
others wait for a connection and none comes free. So `max_size` holds, and whoever needs all of it gets all of it. Nor is anybody put on a
lane whose connection has lain still for so long that it would have to be asked for a sign of life before it is lent.

`Lane` in `wire/` is the connection; here is decided who goes where.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING

import anyio
import trio
from psycopg import OperationalError
from psycopg.abc import Buffer
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from trioorm.pool.background import Background
from trioorm.pool.counts import Counts
from trioorm.pool.lease import Lease, Member
from trioorm.pool.line import Line, Place
from trioorm.pool.owner import Owner
from trioorm.pool.settings import PoolSettings
from trioorm.resilience import Backoff
from trioorm.wire import Statement
from trioorm.wire.lane import Lane, Reader
from trioorm.wire.pace import HELD_UP_SECONDS, SLOW_SECONDS

if TYPE_CHECKING:
    from trioorm.pool.statistics import LaneStatistics

__all__ = ["Lanes"]

logger = logging.getLogger("trioorm.pool")

FEW_LOANS = 2
"""While fewer connections are on loan when one is wanted, nobody shares a lane: alone on one, a read costs a third more."""

# How often lanes are looked after while they are called for.
_LOOK_SECONDS = HELD_UP_SECONDS / 2

_TUPLES_OK = ExecStatus.TUPLES_OK


class _LanesPlace(Place):
    """Stands in line for a lane's connection."""

    __slots__ = ("_lanes",)

    def __init__(self, lanes: Lanes) -> None:
        super().__init__(None, reserved=False)
        self._lanes = lanes

    def _wake(self) -> None:
        if self.lease is not None:
            self._lanes.begin(self.lease)
        else:
            self._lanes.put_off()


class Lanes:
    """The lanes of one pool. All decisions are synchronous.

    Args:
        take_nowait: lends a connection, or gives None when there is none to be had at once.
        open_what_is_needed: opens connections for those in line.
        line, idle, leases, counts: the pool's own.
        settings: the pool's.
        background: where their tasks run.
        owner: who may use the pool.

    Attributes:
        limit: how many there may be.
        are_called_for: whether several tasks are at work, so that reads are to look for a lane at all.
    """

    __slots__ = (
        "_background",
        "_backoff",
        "_busy_at",
        "_counts",
        "_depth",
        "_idle",
        "_in_line",
        "_is_closed",
        "_is_kept",
        "_lanes",
        "_leases",
        "_line",
        "_most",
        "_most_idle_seconds",
        "_moved_at",
        "_open_what_is_needed",
        "_owner",
        "_reads",
        "_retry_at",
        "_sent_elsewhere",
        "_take_nowait",
        "_turned_away",
        "_usage_seconds",
        "_wanted",
        "are_called_for",
        "limit",
    )

    def __init__(
        self,
        take_nowait: Callable[[], Lease | None],
        open_what_is_needed: Callable[[], None],
        line: Line,
        idle: Sequence[Member],
        leases: set[Lease],
        counts: Counts,
        settings: PoolSettings,
        background: Background,
        owner: Owner,
    ) -> None:
        self._take_nowait = take_nowait
        self._open_what_is_needed = open_what_is_needed
        self._line = line
        self._idle = idle
        self._leases = leases
        self._counts = counts
        self.limit = settings.most_lanes
        self._depth = settings.lane_depth
        self._most_idle_seconds = min(settings.check_after_idle_seconds, settings.max_idle_seconds)
        self._background = background
        self._owner = owner
        self._lanes: dict[Lane, Lease] = {}
        self._in_line: list[_LanesPlace] = []
        self._backoff = Backoff()
        self._retry_at = 0.0
        self._is_closed = False
        self.are_called_for = False
        self._is_kept = False
        self._wanted: anyio.Event | None = None  # while `_keep` waits for somebody to call
        self._busy_at = 0.0  # when several tasks were last at work
        # When a connection last came back, or nobody waited for one.
        self._moved_at = 0.0
        self._usage_seconds = 0.0
        # Of lanes that have ended, and what no lane was asked for.
        self._reads = self._most = self._sent_elsewhere = self._turned_away = 0

    def __len__(self) -> int:
        """How many have a connection."""
        return len(self._lanes)

    @property
    def in_line(self) -> int:
        """How many stand in line for one."""
        return len(self._in_line)

    @property
    def leases(self) -> set[Lease]:
        """Of their connections."""
        return set(self._lanes.values())

    @property
    def open_lanes(self) -> tuple[Lane, ...]:
        """Those that have a connection."""
        return tuple(self._lanes)

    def statistics(self) -> LaneStatistics:
        """Their state now, and their counts since the pool was opened."""
        from trioorm.pool.statistics import LaneStatistics  # few need it

        lanes = tuple(self._lanes)
        return LaneStatistics(
            open=len(lanes),
            depths=tuple(lane.depth for lane in lanes),
            most=max([self._most, *[lane.most for lane in lanes]]),
            reads=self._reads + sum(lane.reads for lane in lanes),
            turned_away=self._turned_away,
            sent_elsewhere=self._sent_elsewhere + sum(lane.sent_elsewhere for lane in lanes),
        )

    # Reading.

    def call(self) -> None:
        """Several tasks are at work."""
        if not self.are_called_for and self.limit and not self._is_closed:
            self.are_called_for = True
            self._busy_at = self._moved_at = monotonic()
            if not self._is_kept:
                self._is_kept = True
                self._background.start_soon(self._keep, name="trioorm: keeping the lanes")
            elif self._wanted is not None:
                self._wanted.set()

    def join(self, statement: Statement, values: Sequence[Buffer | None], formats: Sequence[Format]) -> Reader | None:
        """Send a read, with its packed values, on a lane. To be asked while they are called for.

        Returns:
            Whose answer the running task must wait for at once; None when it is to take a connection of the pool.

        Raises:
            WrongDatabaseOwner: called from another loop or process. Not safe to retry.
        """
        if not statement.pace.is_proven:
            return None
        self._owner.check()
        found, depth = None, self._depth
        for lane in self._lanes:
            if not lane.is_slow and not lane.is_retired and lane.depth < depth:
                found, depth = lane, lane.depth
        if len(self._lanes) + len(self._in_line) < self.limit:
            self._open_another()
        if found is not None:
            try:
                return found.join(statement, values, formats)
            except OperationalError as error:
                logger.debug("a lane broke: %s", error)
        self._turned_away += 1
        return None

    def note(self, statement: Statement, since: float, result: PGresult) -> None:
        """Note that a read has run on a connection of the pool, which was lent at that moment.

        Only what the server calls a SELECT may ever go on a lane, whatever was marked a read: no BEGIN, no SET.
        """
        if not statement.pace.is_proven and result.status == _TUPLES_OK and (result.command_status or b"").startswith(b"SELECT"):
            statement.pace.note(monotonic() - since)

    # Opening and closing.

    def _open_another(self) -> None:
        now = monotonic()
        if self._is_closed or now < self._retry_at:
            return
        if not self._line.count and self._idle and now - self._idle[-1].idle_since > self._most_idle_seconds:
            return  # somebody else asks it for a sign of life, and then it comes back
        if (lease := self._take_nowait()) is not None:
            self.begin(lease)
        else:
            place = _LanesPlace(self)
            self._in_line.append(place)
            self._line.join(place)
            self._open_what_is_needed()

    def begin(self, lease: Lease) -> None:
        """A connection has come for a lane."""
        self._leave_line()
        lease.logged = True  # however long it lasts
        lane = Lane(lease.connection)
        self._lanes[lane] = lease
        self._background.start_soon(self._drive, lane, lease, name="trioorm: a lane")

    def put_off(self) -> None:
        """There is no connection for a lane at present."""
        self._leave_line()
        self._retry_at = monotonic() + self._backoff.next_delay()

    def _leave_line(self) -> None:
        self._in_line = [place for place in self._in_line if not place.answered]

    @trio.lowlevel.enable_ki_protection
    async def _drive(self, lane: Lane, lease: Lease) -> None:
        try:
            await lane.drive()
        except OperationalError as error:
            logger.debug("a lane broke: %s", error)
            if not lane.reads:
                self._retry_at = monotonic() + self._backoff.next_delay()
        finally:
            if lane.reads:
                self._backoff.succeeded()
            del self._lanes[lane]
            self._reads += lane.reads
            self._most = max(self._most, lane.most)
            self._sent_elsewhere += lane.sent_elsewhere
            lease.lent_at = monotonic()  # it is no figure of the loans
            lease.release(unasked_since=lane.idle_since)

    def retire(self) -> None:
        """Give all connections back: nobody joins those lanes that are open, and they end with their last answer."""
        for lane in self._lanes:
            lane.retire()

    def moments(self) -> list[float]:
        """When `retire_outdated` may have something to do, on the clock of `time.monotonic`."""
        return [lease.member.expires_at for lane, lease in self._lanes.items() if not lane.is_retired]

    def retire_outdated(self) -> None:
        """Retire lanes that are too old."""
        now = monotonic()
        for lane, lease in self._lanes.items():
            if now >= lease.member.expires_at:
                lane.retire()

    def close(self) -> None:
        """Admit nobody any more. Lanes end with their last answers."""
        self._is_closed = True
        self.are_called_for = False
        self.retire()

    # Looking after.

    @trio.lowlevel.enable_ki_protection
    async def _keep(self) -> None:
        """Until cancelled: see to it that no statement holds others up, that none runs on that nobody waits for, and that no lane has a
        connection which others need more."""
        while True:
            if not self.are_called_for and not any(lane.depth for lane in self._lanes):
                self._wanted = anyio.Event()
                with anyio.move_on_after(self._most_idle_seconds):
                    await self._wanted.wait()
                if not self.are_called_for:
                    self.retire()
                    await self._wanted.wait()
                self._wanted = None
            await anyio.sleep(_LOOK_SECONDS)
            for lane in tuple(self._lanes):
                try:
                    must_cancel = lane.look()
                except OperationalError as error:
                    logger.debug("a lane is given up: %s", error)
                    lane.give_up()
                else:
                    if must_cancel:
                        self._background.start_soon(lane.cancel_head, name="trioorm: stopping a statement of a lane")
            self._give_way(monotonic())
            self._rest(monotonic())

    def _give_way(self, now: float) -> None:
        """Give back what has not been used for long, and what others wait for: a lane that nobody reads through, and any when no connection
        comes back."""
        for lane in self._lanes:
            if not lane.depth and now - lane.idle_since > self._most_idle_seconds:
                lane.retire()
        if self._line.count == len(self._in_line) or self._usage_seconds != self._counts.usage_seconds:
            self._usage_seconds = self._counts.usage_seconds
            self._moved_at = now
        if self._line.count > len(self._in_line):
            for lane in self._lanes:
                unused_since = now if lane.depth else lane.idle_since
                if now - min(self._moved_at, unused_since) >= SLOW_SECONDS:
                    lane.retire()

    def _rest(self, now: float) -> None:
        """Let reads look for lanes no more, when few tasks have been at work for a while."""
        if (
            self._line.count > len(self._in_line)
            or len(self._leases) - len(self._lanes) >= FEW_LOANS
            or any(lane.depth > FEW_LOANS for lane in self._lanes)
        ):
            self._busy_at = now
        elif now - self._busy_at >= SLOW_SECONDS:
            self.are_called_for = False
            for place in self._in_line:
                self._line.quit(place)
            self._in_line.clear()
