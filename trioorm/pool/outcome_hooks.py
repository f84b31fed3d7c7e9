"""Outcome hooks: what was asked to be done once a transaction's outcome was certain, done in the background of the database.

The contract: the hooks of one transaction run one after the other, in the order in which they were given, in a task that the database owns.
A hook that fails is logged, counted and told to the instrument, and stops neither those behind it nor the database. Before a database
closes it waits for the hooks under way, within a bound, and cuts off the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import anyio

from trioorm.errors import DatabaseClosed, leaves_of
from trioorm.instruments import HookFailed, Instrument
from trioorm.pool.background import Background
from trioorm.pool.counts import Counts
from trioorm.wire.interrupt import Held, Shield

__all__ = ["OutcomeHook", "OutcomeHooks"]

logger = logging.getLogger("trioorm.hooks")


class OutcomeHook(NamedTuple):
    """An async function with its arguments."""

    function: Callable[..., Awaitable[Any]]
    arguments: tuple[object, ...]

    @property
    def name(self) -> str:
        """How the function is called."""
        return getattr(self.function, "__qualname__", None) or repr(self.function)


class OutcomeHooks:
    """The hooks under way in one database.

    Args:
        background: where they run.
        counts: where they are counted.
        instrument: told of those that fail.
    """

    def __init__(self, background: Background, counts: Counts, instrument: Instrument) -> None:
        self._background = background
        self._counts = counts
        self._instrument = instrument
        self._running = 0
        self._none_left = anyio.Event()

    def start(self, hooks: Sequence[OutcomeHook], prepare: Callable[[], None]) -> None:
        """Run hooks in order, in a task of the database. Never waits.

        Args:
            hooks: what to run.
            prepare: called in that task first.
        """
        if hooks and self._background.is_cancelled:
            for hook in hooks:
                self._counts.hooks += 1
                self._note_failure(hook, DatabaseClosed("the database was closed before this hook could run."))
        elif hooks:
            self._running += 1
            self._background.start_soon(self._run_all, hooks, prepare, name="trioorm: running hooks")

    async def _run_all(self, hooks: Sequence[OutcomeHook], prepare: Callable[[], None]) -> None:
        try:
            prepare()
            for hook in hooks:
                await self._run(hook)
        finally:
            self._running -= 1
            if not self._running:
                self._none_left.set()

    async def _run(self, hook: OutcomeHook) -> None:
        self._counts.hooks += 1
        try:
            await hook.function(*hook.arguments)
        except BaseException as error:
            self._note_failure(hook, error)
            # Neither may leave the task as part of a group, from a nursery inside the hook: that would end the database.
            cancelled = anyio.get_cancelled_exc_class()
            leaves = list(leaves_of(error))
            if any(not isinstance(leaf, Exception | cancelled) for leaf in leaves):
                raise
            for leaf in leaves:
                if isinstance(leaf, cancelled):
                    raise leaf from None

    def _note_failure(self, hook: OutcomeHook, error: BaseException) -> None:
        self._counts.hook_errors += 1
        logger.error("the hook %s failed; what was committed or rolled back before stays so", hook.name, exc_info=error)
        self._instrument.hook_failed(HookFailed(name=hook.name, error=error))

    async def finish(self, until: float) -> Held:
        """Wait for the hooks under way, for a bounded time.

        Args:
            until: a moment on the loop's clock.

        Returns:
            What came meanwhile and comes only once, for `after_cleanup`.

        Checkpoint: only if hooks are under way; a cancellation is never raised here.
        """
        if not self._running:
            return None
        with Shield(max(0.0, until - anyio.current_time())) as shield:
            await shield.wait(self._wait_for_none)
        return shield.held

    async def _wait_for_none(self) -> None:
        while self._running:  # a hook may end a transaction with hooks of its own
            self._none_left = anyio.Event()
            await self._none_left.wait()
