"""The pool's background tasks: started in its nursery, each in a scope of its own, and ended together.

Why not cancel the nursery itself: its scope is that of the body's task, and before Python 3.13 an `asyncio.TaskGroup` that failed in the
body leaves that task marked as being cancelled; AnyIO would then take our cancel for one from outside and raise it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVarTuple

import anyio
import trio
from anyio.abc import TaskGroup

Arguments = TypeVarTuple("Arguments")


class Background:
    """Tasks that live no longer than the nursery around them.

    Args:
        nursery: where they run; entered, and left only after `cancel`.

    Attributes:
        is_cancelled: whether `cancel` was called; what is started after that does nothing, and after the nursery's end must not be started.
    """

    __slots__ = ("_none_left", "_nursery", "_scopes", "is_cancelled")

    def __init__(self, nursery: TaskGroup) -> None:
        self._nursery = nursery
        self._scopes: set[anyio.CancelScope] = set()
        self.is_cancelled = False
        self._none_left = anyio.Event()

    def start_soon(self, function: Callable[[*Arguments], Awaitable[Any]], *arguments: *Arguments, name: str) -> None:
        """Start a task."""
        self._nursery.start_soon(self._run, function, arguments, name=name)

    def cancel(self) -> None:
        """Cancel all of them, and whatever is started later."""
        self.is_cancelled = True
        for scope in self._scopes:
            scope.cancel()

    async def wait_until_ended(self) -> bool:
        """Wait until none is left of those that have begun.

        Checkpoint: only if it waits.
        """
        while self._scopes:
            self._none_left = anyio.Event()
            await self._none_left.wait()
        return True

    @trio.lowlevel.enable_ki_protection
    async def _run(self, function: Callable[[*Arguments], Awaitable[Any]], arguments: tuple[*Arguments]) -> None:
        with anyio.CancelScope() as scope:
            if self.is_cancelled:
                scope.cancel()
            self._scopes.add(scope)
            try:
                await function(*arguments)
            finally:
                self._scopes.discard(scope)
                if not self._scopes:
                    self._none_left.set()
