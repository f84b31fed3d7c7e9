"""The pool against a model of it: asking, giving back, quitting, breaking, resizing, draining and closing in any order, for real.

The model is what the contract says in a few lines: so many slots, a line, first come first served. After each step the pool must have lent
to the very tasks to which the model lends; and at no moment may the slots not add up, or a task wait while a connection lies idle.
"""

from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup
from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pool.test_pool_line import until_idle
from tests.wire.witness import Witness, step, works
from trioorm.pool import Lease, Pool, PoolClosed, open_pool
from trioorm.testing import pool_is_whole
from trioorm.wire import command

_SIZE = 2
_LARGEST_SIZE = 3
_TASKS = 6
_OTHER_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@frozen
class _Step:
    act: str
    task: int


@define
class _Model:
    """Who has a connection and who waits."""

    size: int = _SIZE
    holders: list[int] = field(factory=list[int])
    line: list[int] = field(factory=list[int])

    def ask(self, task: int) -> None:
        self.line.append(task)
        self._serve()

    def leave(self, task: int) -> None:
        """Give back, or quit the line."""
        (self.holders if task in self.holders else self.line).remove(task)
        self._serve()

    def resize(self, size: int) -> None:
        self.size = size
        self._serve()

    def _serve(self) -> None:
        while self.line and len(self.holders) < self.size:
            self.holders.append(self.line.pop(0))


@define
class _Task:
    """One user of the pool: asks when started, gives back when told, quits when cancelled."""

    scope: anyio.CancelScope = field(factory=anyio.CancelScope)
    done: anyio.Event = field(factory=anyio.Event)
    lease: Lease | None = None
    is_to_leave_a_transaction: bool = False
    was_told_of_the_end: bool = False
    ended: anyio.Event = field(factory=anyio.Event)

    async def run(self, pool: Pool) -> None:
        try:
            await self._borrow(pool)
        finally:
            self.ended.set()

    async def _borrow(self, pool: Pool) -> None:
        with self.scope:
            try:
                lease = await pool.acquire()
            except PoolClosed:
                self.was_told_of_the_end = True
                return
            with lease as connection:
                with anyio.CancelScope(shield=True):
                    assert await works(connection), "what was lent is alive and answers its own question"
                    self.lease = lease
                    await self.done.wait()
                    if self.is_to_leave_a_transaction:
                        await connection.fly([command(b"BEGIN"), step("SELECT 1")])
        self.lease = None


# What one user does.


def _give_back(task: _Task, witness: Witness) -> None:
    task.done.set()


def _give_back_in_a_transaction(task: _Task, witness: Witness) -> None:
    task.is_to_leave_a_transaction = True
    task.done.set()


def _close(task: _Task, witness: Witness) -> None:
    if task.lease is not None:
        task.lease.connection.close_nowait()
    task.done.set()


def _lose(task: _Task, witness: Witness) -> None:
    if task.lease is not None:
        witness.terminate(task.lease.connection.info.backend_pid)
    task.done.set()


def _cancel(task: _Task, witness: Witness) -> None:
    task.scope.cancel()
    task.done.set()


_ACTS: dict[str, Callable[[_Task, Witness], None]] = {
    "give back": _give_back,
    "give back dirty": _give_back_in_a_transaction,
    "close": _close,
    "lose": _lose,
    "cancel": _cancel,
}


# What happens to the pool as a whole.


def _resize(pool: Pool, model: _Model, witness: Witness, number: int) -> None:
    size = number % _LARGEST_SIZE + 1
    pool.resize(min(1, size), size)
    model.resize(size)


def _drain(pool: Pool, model: _Model, witness: Witness, number: int) -> None:
    pool.drain()


def _kill_the_idle(pool: Pool, model: _Model, witness: Witness, number: int) -> None:
    lent = [loan.backend_pid for loan in pool.statistics().loans]
    witness.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND pid <> ALL (%s)",
        lent,
    )


_POOL_ACTS: dict[str, Callable[[Pool, _Model, Witness, int], None]] = {
    "resize": _resize,
    "drain": _drain,
    "kill the idle": _kill_the_idle,
}


def _check_invariants(pool: Pool, model: _Model, history: list[_Step]) -> None:
    """What must hold at every moment, whatever is under way."""
    now = pool.statistics()
    assert now.pool_size == now.pool_available + now.on_loan + now.connecting, f"the slots do not add up after {history}: {now}"
    assert now.pool_size <= max(model.size, now.on_loan), f"too many connections after {history}: {now}"
    waits_for_nothing = now.requests_waiting and now.pool_available and now.on_loan < model.size
    assert not waits_for_nothing, f"a task waits while a connection is idle after {history}: {now}"


async def _until_as_in_the_model(pool: Pool, tasks: dict[int, _Task], model: _Model, history: list[_Step]) -> None:
    def holders() -> set[int]:
        return {number for number, task in tasks.items() if task.lease is not None}

    with anyio.move_on_after(5) as scope:
        while holders() != set(model.holders) or pool.statistics().waiting != len(model.line):
            _check_invariants(pool, model, history)
            await anyio.sleep(0.001)
    assert not scope.cancelled_caught, f"lent to {holders()}, but the model lends to {model.holders} ({model.line} wait) after {history}"
    _check_invariants(pool, model, history)


_STEPS = st.lists(
    st.builds(_Step, st.sampled_from(["ask", "ask", "ask", *_ACTS, *_POOL_ACTS]), st.integers(0, _TASKS - 1)), min_size=5, max_size=25
)


@settings(max_examples=25)
@given(steps=_STEPS, ends_with_users=st.booleans())
async def test_lends_as_the_model_does(dsn: str, witness: Witness, steps: list[_Step], ends_with_users: bool) -> None:
    model, tasks = _Model(), dict[int, _Task]()
    async with anyio.create_task_group() as nursery:
        try:
            async with open_pool(dsn, min_size=1, max_size=_SIZE, cleanup_timeout_seconds=0.05) as pool:
                await _run(pool, nursery, steps, model, tasks, witness)
                if not ends_with_users:
                    for task in tasks.values():
                        _cancel(task, witness)
                        await task.ended.wait()
                    await pool_is_whole(pool.statistics)
                    pool.resize(model.size, model.size)
                    await until_idle(pool, model.size)
            assert ends_with_users or pool.statistics().pool_size == 0
        finally:
            for task in tasks.values():
                task.done.set()
    assert [number for number in model.line if ends_with_users and not tasks[number].was_told_of_the_end] == []
    await witness.until(f"SELECT ({_OTHER_SESSIONS}) = 0")


async def _run(pool: Pool, nursery: TaskGroup, steps: list[_Step], model: _Model, tasks: dict[int, _Task], witness: Witness) -> None:
    history: list[_Step] = []
    for one in steps:
        is_holder, is_waiting = one.task in model.holders, one.task in model.line
        if one.act in _POOL_ACTS:
            _POOL_ACTS[one.act](pool, model, witness, one.task)
        elif one.act == "ask" and not is_holder and not is_waiting:
            model.ask(one.task)
            task = tasks[one.task] = _Task()
            nursery.start_soon(task.run, pool)
        elif one.act != "ask" and (is_holder or (is_waiting and one.act == "cancel")):
            model.leave(one.task)
            _ACTS[one.act](tasks[one.task], witness)
        else:
            continue
        history.append(one)
        await _until_as_in_the_model(pool, tasks, model, history)
