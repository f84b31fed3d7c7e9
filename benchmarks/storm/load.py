"""The load: what the storm's tasks do, how they are cancelled, and what they write into the ledger.

Every attempt is one operation under one way of cancelling, both drawn from a seeded generator. Its fate is decided in the line behind
the operation, before anything can be raised in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import anyio
from anyio.abc import TaskGroup

from benchmarks.storm.contender import Client, Contender, Operation, Undone
from benchmarks.storm.figures import Figures, Overrun
from benchmarks.storm.ledger import Entry, Fate, Ledger
from trioorm.errors import leaves_of

_HANGS_AFTER_SECONDS = 20.0


class Load:
    """Tasks that work on a database until they are told to stop.

    Args:
        ways: how attempts are cancelled: names of `WAYS`.
        nursery: where helpers of the tasks run.
        longest_scope_seconds: scopes time out between 0 and this.
    """

    def __init__(
        self,
        contender: Contender,
        client: Client,
        ledger: Ledger,
        figures: Figures,
        nursery: TaskGroup,
        *,
        ways: str,
        longest_scope_seconds: float,
    ) -> None:
        self.contender = contender
        self.stopping = False
        self._operations = client.operations
        self._ways = WAYS[ways]
        self._ledger = ledger
        self._figures = figures
        self._nursery = nursery
        self._longest = longest_scope_seconds
        self._milestones: list[tuple[int, anyio.Event]] = []
        self._names = list(self._operations)
        self._weights = [operation.weight for operation in self._operations.values()]

    async def cancellations(self, count: int) -> None:
        """Wait until there have been so many."""
        if self._figures.cancellations < count:
            reached = anyio.Event()
            self._milestones.append((count, reached))
            await reached.wait()

    async def work(self, seed: int) -> None:
        """One of the tasks."""
        random = Random(seed)
        while not self.stopping:
            name = random.choices(self._names, self._weights)[0]
            operation = self._operations[name]
            attempt = _Attempt(self, name, operation, random)
            if operation.needs_cancel or random.random() < 0.75:
                attempt.cancel_after = random.uniform(0, self._longest)
                await random.choice(self._ways)(attempt, self._nursery)
            else:
                with anyio.move_on_after(_HANGS_AFTER_SECONDS) as scope:
                    await attempt.run_guarded()
                self._figures.hangs += scope.cancelled_caught
            self._book(attempt)

    def _book(self, attempt: "_Attempt") -> None:
        figures = self._figures
        figures.attempts[attempt.name] += 1
        figures.endings[attempt.fate.value] += 1
        if attempt.operation.rows:
            self._ledger.enter(attempt.number, Entry(attempt.operation.rows, attempt.operation.swallows, attempt.fate))
        if attempt.operation.swallows and attempt.fate is not Fate.CANCELLED:
            figures.swallowed += 1
        if attempt.fate is Fate.ACKNOWLEDGED:
            figures.last_success_at = attempt.ended_at
        if attempt.problem and not (attempt.excusable and figures.windows.touches(attempt.started_at, attempt.ended_at)):
            figures.poisoned.append(f"{attempt.name}: {attempt.problem}")
        cancelled_at = attempt.cancelled_at
        if cancelled_at is not None and cancelled_at <= attempt.ended_at:
            figures.cancellations += 1
            figures.overruns.append(Overrun(attempt.ended_at - cancelled_at, attempt.started_at, attempt.ended_at))
            for milestone in [milestone for milestone in self._milestones if figures.cancellations >= milestone[0]]:
                milestone[1].set()
                self._milestones.remove(milestone)

    def next_number(self) -> int:
        """A number for an attempt."""
        return self._ledger.number()


class _Attempt:
    """One run of one operation."""

    def __init__(self, load: Load, name: str, operation: Operation, random: Random) -> None:
        self.name = name
        self.operation = operation
        self.number = load.next_number()
        self.cancel_after = 0.0
        self.cancelled_at: float | None = None
        self.started_at = self.ended_at = 0.0
        self.fate = Fate.CANCELLED  # unless something else is known
        self.problem = ""
        self.excusable = False
        self._load = load
        self._random = random

    async def run(self) -> None:
        """Run it, and note its fate; a cancellation goes on."""
        self.started_at = self.ended_at = anyio.current_time()
        try:
            await self.operation.run(self._random, self.number)
            self.fate = Fate.ACKNOWLEDGED
        except BaseException as error:
            self._note(error)
            raise
        finally:
            self.ended_at = anyio.current_time()

    async def run_guarded(self) -> None:
        """The same, and errors end here; a cancellation goes on."""
        try:
            await self.run()
        except Exception:
            return  # noted

    def _note(self, error: BaseException) -> None:
        leaves = list(leaves_of(error))
        contender = self._load.contender
        if any(contender.is_unknown(leaf) for leaf in leaves):
            self.fate = Fate.UNKNOWN
            self.problem, self.excusable = repr(error), True
        elif isinstance(error, anyio.get_cancelled_exc_class()):
            self.fate = Fate.CANCELLED
        else:
            self.fate = Fate.FAILED
            unexpected = [
                leaf for leaf in leaves if not (isinstance(leaf, Undone) or (self.operation.swallows and contender.is_rollback(leaf)))
            ]
            if unexpected:
                self.problem = repr(error)
                self.excusable = all(contender.is_unavailable(leaf) for leaf in unexpected)


# Ways of cancelling. A cancellation that comes out of the operation ends here.


async def _by_deadline(attempt: _Attempt, nursery: TaskGroup) -> None:
    with anyio.move_on_after(attempt.cancel_after) as scope:
        attempt.cancelled_at = scope.deadline
        await attempt.run_guarded()


async def _by_another_task(attempt: _Attempt, nursery: TaskGroup) -> None:
    async def cancel_later(scope: anyio.CancelScope) -> None:
        await anyio.sleep(attempt.cancel_after)
        attempt.cancelled_at = anyio.current_time()
        scope.cancel()

    with anyio.CancelScope() as scope:
        nursery.start_soon(cancel_later, scope)
        await attempt.run_guarded()


async def _by_task_cancel(attempt: _Attempt, nursery: TaskGroup) -> None:
    task = asyncio.create_task(attempt.run())

    def cancel() -> None:
        attempt.cancelled_at = anyio.current_time()
        task.cancel()

    timer = asyncio.get_running_loop().call_later(attempt.cancel_after, cancel)
    await asyncio.wait([task])
    timer.cancel()
    if not task.cancelled():
        task.exception()  # noted, and so retrieved


async def _by_timeout(attempt: _Attempt, nursery: TaskGroup) -> None:
    attempt.cancelled_at = anyio.current_time() + attempt.cancel_after
    try:
        async with asyncio.timeout(attempt.cancel_after):
            await attempt.run_guarded()
    except TimeoutError:
        pass


_SCOPES = [_by_deadline, _by_another_task]
_NATIVE = [_by_task_cancel, _by_timeout]

WAYS: dict[str, Sequence[Callable[[_Attempt, TaskGroup], Awaitable[None]]]] = {
    "scopes": _SCOPES,
    "native": _NATIVE,
    "all": [*_SCOPES, *_NATIVE],
}
"""How attempts are cancelled: by scopes, which cancel again at each checkpoint, as on Trio; by asyncio's own cancels, which come once; by
both in turns."""
