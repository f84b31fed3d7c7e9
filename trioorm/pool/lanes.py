"""The lanes of a pool: a few connections of its own through which single reads go together.

The contract: a read goes on a lane only when its statement has been fast several times on ordinary connections, when the lane is neither
full nor held up, and when several tasks are at work: for two or three, connections of their own are cheaper. Otherwise, and whenever a lane
does not serve it, it takes a connection of the pool like everybody. So lanes make things faster and never decide what works: without any of
them the pool is what it always was. Their places are taken out of `max_size`.

A lane is opened when a read would go on it, and opened anew after it broke, with growing delays; it is closed as the pool's connections
are, when it is too old, idle for too long, or drained. `Lane` in `wire/` is the connection; here is decided who goes where.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from time import monotonic
from typing import TYPE_CHECKING

import anyio
import trio
from psycopg import OperationalError
from psycopg.abc import Buffer
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from trioorm.pool.background import Background
from trioorm.pool.lease import Lease, Member
from trioorm.pool.leaving import Leaving
from trioorm.pool.owner import Owner
from trioorm.pool.settings import PoolSettings
from trioorm.resilience import Backoff
from trioorm.wire import Statement
from trioorm.wire.lane import Lane, Reader
from trioorm.wire.pace import LEFT_SECONDS

if TYPE_CHECKING:
    from trioorm.pool.statistics import LaneStatistics

__all__ = ["Lanes"]

logger = logging.getLogger("trioorm.pool")

FEW_LOANS = 2
"""While fewer connections are on loan, and one is idle, nobody begins to share a lane: alone on one, a read costs a third more."""

_TUPLES_OK = ExecStatus.TUPLES_OK


class Lanes:
    """The lanes of one pool. All decisions are synchronous.

    Args:
        open_member: opens a connection for the pool.
        has_room: whether one more session fits into `max_size`.
        idle, leases: the pool's own.
        settings: the pool's.
        background: where their tasks run.
        leaving: what closes connections.
        owner: who may use the pool.

    Attributes:
        limit: how many there may be.
    """

    __slots__ = (
        "_background",
        "_backoff",
        "_depth",
        "_ended",
        "_has_room",
        "_idle",
        "_is_closed",
        "_is_kept",
        "_lanes",
        "_leases",
        "_leaving",
        "_max_idle_seconds",
        "_most",
        "_open_member",
        "_opening",
        "_owner",
        "_reads",
        "_retry_at",
        "_sent_elsewhere",
        "_someone_reads",
        "_turned_away",
        "limit",
    )

    def __init__(
        self,
        open_member: Callable[[], Awaitable[Member]],
        has_room: Callable[[], bool],
        idle: Collection[Member],
        leases: Collection[Lease],
        settings: PoolSettings,
        background: Background,
        leaving: Leaving,
        owner: Owner,
    ) -> None:
        self._open_member = open_member
        self._has_room = has_room
        self._idle = idle
        self._leases = leases
        self.limit = settings.lanes
        self._depth = settings.lane_depth
        self._max_idle_seconds = settings.max_idle_seconds
        self._background = background
        self._leaving = leaving
        self._owner = owner
        self._lanes: dict[Lane, Member] = {}
        self._opening = 0
        self._backoff = Backoff()
        self._retry_at = 0.0
        self._is_closed = False
        self._is_kept = False
        self._ended = anyio.Event()
        self._someone_reads: anyio.Event | None = None  # while `_keep` waits for it
        # Of lanes that have ended, and what no lane was asked for.
        self._reads = self._most = self._sent_elsewhere = self._turned_away = 0

    def __len__(self) -> int:
        """How many are open or being opened."""
        return len(self._lanes) + self._opening

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

    def join(self, statement: Statement, values: Sequence[Buffer | None], formats: Sequence[Format]) -> Reader | None:
        """Send a read, with its packed values, on a lane.

        Returns:
            Whose answer the running task must wait for at once; None when it is to take a connection of the pool.

        Raises:
            WrongDatabaseOwner: called from another loop or process. Not safe to retry.
        """
        if not statement.pace.is_proven:
            return None
        self._owner.check()
        lane, depth = None, self._depth
        for each in self._lanes:
            if each.depth < depth and not each.is_slow and not each.is_retired:
                lane, depth = each, each.depth
        if (lane is None or not depth) and self._is_quiet:
            return None
        if len(self) < self.limit:
            self._open_another()
        if lane is not None:
            try:
                reader = lane.join(statement, values, formats)
            except OperationalError as error:
                logger.debug("a lane broke: %s", error)
            else:
                if self._someone_reads is not None:
                    self._someone_reads.set()
                return reader
        self._turned_away += 1
        return None

    @property
    def _is_quiet(self) -> bool:
        return bool(self._idle) and len(self._leases) < FEW_LOANS and not any(lane.depth for lane in self._lanes)

    def note(self, statement: Statement, since: float, result: PGresult) -> None:
        """Note that a read has run on a connection of the pool, which was lent at that moment.

        Only what the server calls a SELECT may ever go on a lane, whatever was marked a read: no BEGIN, no SET.
        """
        if not statement.pace.is_proven and result.status == _TUPLES_OK and (result.command_status or b"").startswith(b"SELECT"):
            statement.pace.note(monotonic() - since)

    # Opening and closing.

    def _open_another(self) -> None:
        if not self._is_closed and self._has_room() and monotonic() >= self._retry_at:
            if not self._is_kept:
                self._is_kept = True
                self._background.start_soon(self._keep, name="trioorm: keeping the lanes")
            self._opening += 1
            self._background.start_soon(self._open_and_drive, name="trioorm: a lane")

    @trio.lowlevel.enable_ki_protection
    async def _open_and_drive(self) -> None:
        try:
            member = await self._open_member()
        except Exception as error:
            logger.debug("opening a lane failed: %s", error)
            self._retry_at = monotonic() + self._backoff.next_delay()
            return
        finally:
            self._opening -= 1
        lane = Lane(member.connection)
        self._lanes[lane] = member
        try:
            if not self._is_closed:
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
            self._leaving.close(lane.connection)
            if not self._lanes:
                self._ended.set()

    def retire(self) -> None:
        """Replace every lane: nobody joins those that are open, and they end with their last answer."""
        for lane in self._lanes:
            lane.retire()

    def moments(self) -> list[float]:
        """When `retire_outdated` may have something to do, on the clock of `time.monotonic`."""
        return [
            moment
            for lane, member in self._lanes.items()
            if not lane.is_retired
            for moment in (member.expires_at, lane.idle_since + self._max_idle_seconds)
        ]

    def retire_outdated(self) -> None:
        """Retire lanes that are too old, or that nobody has read through for too long."""
        now = monotonic()
        for lane, member in self._lanes.items():
            if now >= member.expires_at or (not lane.depth and now >= lane.idle_since + self._max_idle_seconds):
                lane.retire()

    def close(self) -> None:
        """Admit nobody any more. Lanes end with their last answers."""
        self._is_closed = True
        self.retire()

    async def wait_until_ended(self) -> None:
        """Wait until no lane is left.

        Checkpoint: only if it waits.
        """
        while self._lanes:
            self._ended = anyio.Event()
            await self._ended.wait()

    @property
    def open_lanes(self) -> tuple[Lane, ...]:
        """Those that are open."""
        return tuple(self._lanes)

    def give_up(self) -> None:
        """Close all lanes at once."""
        for lane in self._lanes:
            lane.give_up()

    # Looking after.

    @trio.lowlevel.enable_ki_protection
    async def _keep(self) -> None:
        """Until cancelled: see to it that no statement holds others up, and that none runs on that nobody waits for."""
        while True:
            if not any(lane.depth for lane in self._lanes):
                self._someone_reads = anyio.Event()
                await self._someone_reads.wait()
                self._someone_reads = None
            await anyio.sleep(LEFT_SECONDS)
            for lane in tuple(self._lanes):
                try:
                    must_cancel = lane.look()
                except OperationalError as error:
                    logger.debug("a lane is given up: %s", error)
                    lane.give_up()
                else:
                    if must_cancel:
                        self._background.start_soon(lane.cancel_head, name="trioorm: stopping a statement of a lane")
