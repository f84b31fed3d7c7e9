"""The pool against a model of it: any order of asking, giving back, quitting and breaking, on real connections.

The model is what the contract says in ten lines: so many slots, a line, first come first served. After each step the pool must have lent
to the very tasks to which the model lends.
"""

import anyio
from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pool.test_pool_line import until_idle
from tests.wire.witness import Witness, step, works
from trioorm.pool import Lease, Pool, open_pool
from trioorm.testing import pool_is_whole
from trioorm.wire import command

_SIZE = 2
_TASKS = 6


@frozen
class _Step:
    act: str
    task: int


@define
class _Model:
    """Who has a connection and who waits."""

    holders: list[int] = field(factory=list[int])
    line: list[int] = field(factory=list[int])

    def ask(self, task: int) -> None:
        self.line.append(task)
        self._serve()

    def leave(self, task: int) -> None:
        """Give back, or quit the line."""
        (self.holders if task in self.holders else self.line).remove(task)
        self._serve()

    def _serve(self) -> None:
        while self.line and len(self.holders) < _SIZE:
            self.holders.append(self.line.pop(0))


@define
class _Task:
    """One user of the pool: asks when started, gives back when told, quits when cancelled."""

    scope: anyio.CancelScope = field(factory=anyio.CancelScope)
    done: anyio.Event = field(factory=anyio.Event)
    lease: Lease | None = None
    is_to_leave_a_transaction: bool = False

    async def run(self, pool: Pool) -> None:
        with self.scope:
            lease = await pool.acquire()
            with lease as connection:
                with anyio.CancelScope(shield=True):
                    assert await works(connection), "what was lent is alive and answers its own question"
                    self.lease = lease
                    await self.done.wait()
                    if self.is_to_leave_a_transaction:
                        await connection.fly([command(b"BEGIN"), step("SELECT 1")])
        self.lease = None


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


_ACTS = {"give back": _give_back, "give back dirty": _give_back_in_a_transaction, "close": _close, "lose": _lose, "cancel": _cancel}


async def _until_as_in_the_model(pool: Pool, tasks: dict[int, _Task], model: _Model, history: list[_Step]) -> None:
    def holders() -> set[int]:
        return {number for number, task in tasks.items() if task.lease is not None}

    with anyio.move_on_after(3) as scope:
        while holders() != set(model.holders) or pool.statistics().waiting != len(model.line):
            assert pool.statistics().pool_size <= _SIZE
            await anyio.sleep(0.001)
    assert not scope.cancelled_caught, f"lent to {holders()}, but the model lends to {model.holders} ({model.line} wait) after {history}"


_STEPS = st.lists(st.builds(_Step, st.sampled_from(["ask", "ask", *_ACTS]), st.integers(0, _TASKS - 1)), min_size=5, max_size=25)


@settings(max_examples=40)
@given(steps=_STEPS)
async def test_lends_as_the_model_does(dsn: str, witness: Witness, steps: list[_Step]) -> None:
    model, tasks, history = _Model(), dict[int, _Task](), list[_Step]()
    async with open_pool(dsn, min_size=_SIZE, max_size=_SIZE) as pool:
        await until_idle(pool, _SIZE)
        async with anyio.create_task_group() as nursery:
            try:
                for one in steps:
                    is_holder, is_waiting = one.task in model.holders, one.task in model.line
                    if one.act == "ask" and not is_holder and not is_waiting:
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
            finally:
                for task in tasks.values():
                    _cancel(task, witness)
        await pool_is_whole(pool.statistics)
        await until_idle(pool, _SIZE)
