"""A lane against a model of it: reading, failing, leaving, blocking the head, killing the connection and draining, in any order, for real.

The model is what the contract says in a few lines: whoever is not blocked by a lock is answered, with its own answer or its own error,
whatever becomes of the lane and of the others; who was cancelled is gone. After each step that must be so, and no session too many be open.
"""

from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup
from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pool.lanes import Reads, open_lanes, proven, proven_echo
from tests.wire.witness import Witness, again, step
from trioorm.errors import DatabaseError
from trioorm.wire import Statement, Step

_LENT = 3  # beside the lane
_MOST_BLOCKED = 2  # so that one connection is left for those who are not
_ALIVE = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'witness'"


@frozen
class _Step:
    act: str
    reader: int


@define
class _Reader:
    """One who reads, and how that ended."""

    right: str
    is_blocked_by_lock: bool = False
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)
    has_left: bool = False
    answer: str | None = None
    ended: anyio.Event = field(factory=anyio.Event)

    async def run(self, reads: Reads, read: Step) -> None:
        try:
            with self.scope:
                self.answer = await reads.value(read)
        except DatabaseError as error:
            self.answer = error.sqlstate
        finally:
            self.ended.set()


@define
class _Lane:
    """A lane, its readers, and whether the table that blocks some of them is locked."""

    reads: Reads
    witness: Witness
    nursery: TaskGroup
    echo: Statement = field(factory=proven_echo)
    divides: Statement = field(factory=lambda: proven(step("SELECT (6 / $1::int)::text", "1")).statement)
    guarded: Statement = field(factory=lambda: proven(step("SELECT value FROM guarded")).statement)
    readers: list[_Reader] = field(factory=list[_Reader])
    is_locked: bool = False

    def read(self, number: int) -> None:
        self._start(_Reader(right=str(number)), again(self.echo, str(number)))

    def several(self, number: int) -> None:
        for each in range(number, number + 5):
            self.read(each)

    def fail(self, number: int) -> None:
        self._start(_Reader(right="22012"), again(self.divides, "0"))

    def read_guarded(self, number: int) -> None:
        if len(self.blocked()) < _MOST_BLOCKED:
            self._start(_Reader(right="guarded", is_blocked_by_lock=self.is_locked), proven(again(self.guarded)))

    def lock(self, number: int) -> None:
        if not self.is_locked:
            self.witness.run("BEGIN")
            self.witness.run("LOCK TABLE guarded")
            self.is_locked = True

    def unlock(self, number: int) -> None:
        if self.is_locked:
            self.witness.run("COMMIT")
            self.is_locked = False
            for reader in self.readers:
                reader.is_blocked_by_lock = False

    def cancel(self, number: int) -> None:
        under_way = [reader for reader in self.readers if not reader.ended.is_set()]
        if under_way:
            reader = under_way[number % len(under_way)]
            reader.scope.cancel()
            reader.has_left = True
            reader.is_blocked_by_lock = False

    def kill(self, number: int) -> None:
        for lane in self.reads.lanes.open_lanes:
            self.witness.run("SELECT pg_terminate_backend(%s)", lane.connection.info.backend_pid)

    def drain(self, number: int) -> None:
        self.reads.pool.drain()

    def blocked(self) -> list[_Reader]:
        return [reader for reader in self.readers if reader.is_blocked_by_lock]

    def _start(self, reader: _Reader, read: Step) -> None:
        self.readers.append(reader)
        self.nursery.start_soon(reader.run, self.reads, read)


_ACTS: dict[str, Callable[[_Lane, int], None]] = {
    "read": _Lane.read,
    "several": _Lane.several,
    "fail": _Lane.fail,
    "read what may be locked": _Lane.read_guarded,
    "lock": _Lane.lock,
    "unlock": _Lane.unlock,
    "cancel": _Lane.cancel,
    "kill": _Lane.kill,
    "drain": _Lane.drain,
}
_STEPS = st.lists(
    st.builds(_Step, st.sampled_from([*_ACTS, "several", "read what may be locked", "cancel"]), st.integers(0, 9)), min_size=3, max_size=15
)


@settings(max_examples=25)
@given(steps=_STEPS, settles=st.lists(st.booleans(), min_size=15, max_size=15))
async def test_everybody_is_answered_as_in_the_model(dsn: str, witness: Witness, steps: list[_Step], settles: list[bool]) -> None:
    witness.run("CREATE TABLE IF NOT EXISTS guarded (value text)")
    witness.run("TRUNCATE guarded")
    witness.run("INSERT INTO guarded VALUES ('guarded')")
    async with open_lanes(dsn, None, max_size=_LENT + 1) as reads, anyio.create_task_group() as nursery:
        lane = _Lane(reads, witness, nursery)
        try:
            for one, must_settle in zip(steps, settles, strict=False):
                if one.act == "lock":
                    await _until_as_in_the_model(lane, steps)  # or nobody knows whom it blocks
                _ACTS[one.act](lane, one.reader)
                if must_settle:
                    await _until_as_in_the_model(lane, steps)
        finally:
            lane.unlock(0)
        await _until_as_in_the_model(lane, steps)
        assert all(reader.ended.is_set() for reader in lane.readers)
        await reads.until_open(1)
        assert await reads.value(again(lane.echo, "after all")) == "after all"


async def _until_as_in_the_model(lane: _Lane, steps: list[_Step]) -> None:
    """Wait until everybody has ended who is not blocked, and see that each got its own."""
    with anyio.move_on_after(10) as scope:
        for reader in lane.readers:
            if not reader.is_blocked_by_lock:
                await reader.ended.wait()
    assert not scope.cancelled_caught, f"somebody is not answered after {steps}: {lane.reads.figures}"
    for reader in lane.readers:
        assert not (reader.is_blocked_by_lock and reader.ended.is_set())
        if reader.ended.is_set() and not (reader.has_left and reader.answer is None):
            assert reader.answer == reader.right
    figures = lane.reads.pool.statistics()
    assert figures.pool_size + figures.lanes.open <= _LENT + 1
    alive = lane.witness.value(_ALIVE)
    assert isinstance(alive, int)
    assert alive <= _LENT + 1 + figures.leaving
