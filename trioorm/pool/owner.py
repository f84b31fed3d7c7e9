"""Who may use a pool: the event loop, thread and process that opened it."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

import trio

from trioorm.errors import WrongDatabaseOwner
from trioorm.wire.running_loop import cancellation_check, is_on_trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class _Process:
    """Whether this process is a copy of the one that imported this. Python tells it; asking the system at every loan costs more."""

    forks = 0


def _note_fork() -> None:
    _Process.forks += 1


os.register_at_fork(after_in_child=_note_fork)


def _no_task() -> None:
    return None


class Owner:
    """The loop and process in which this object was made; a loop belongs to one thread, so the thread need not be asked.

    Attributes:
        running_task: tells the running task of this loop.
        check_for_cancellation: raises a cancellation that is due, and is no checkpoint otherwise.
    """

    __slots__ = (
        *("_forks", "_known_task", "_loop", "_process", "_running_loop", "_task_of_whatever_loop"),
        *("check_for_cancellation", "running_task"),
    )

    def __init__(self) -> None:
        on_trio = is_on_trio()
        self._running_loop: Callable[[], object] = trio.lowlevel.current_trio_token if on_trio else asyncio.get_running_loop
        self._loop = self._running_loop()
        # asyncio looks for the running loop once more, unless it is told.
        self.running_task: Callable[[], object] = (
            trio.lowlevel.current_task if on_trio else partial(asyncio.current_task, asyncio.get_running_loop())
        )
        self._task_of_whatever_loop: Callable[[], object] = trio.lowlevel.current_task if on_trio else asyncio.current_task
        # A task belongs to one loop for life, so one that was found to be of this loop need not be asked again.
        self._known_task: Callable[[], object] = _no_task
        self.check_for_cancellation: Callable[[], Awaitable[None]] = cancellation_check()
        self._process = os.getpid()
        self._forks = _Process.forks

    def check(self) -> object:
        """Refuse a stranger.

        Returns:
            The running task.

        Raises:
            WrongDatabaseOwner: the caller runs in another process or event loop. Not safe to retry.
        """
        if self._forks != _Process.forks:
            raise WrongDatabaseOwner(
                f"this database was opened in process {self._process} and is used in process {os.getpid()}, after a fork.\n"
                "Two processes on one connection would mix up their answers. To fix it: open the database in each process, after the fork."
            )
        try:
            task = self._task_of_whatever_loop()
            if task is not None and task is self._known_task():
                return task
            if self._running_loop() is self._loop:
                if task is not None:
                    self._known_task = ref(task)
                return task
        except RuntimeError:  # the caller runs on the other library, or in a thread without a loop
            pass
        raise WrongDatabaseOwner(
            "this database was opened in another event loop or thread.\n"
            "To fix it: call `open_database` inside the loop that uses it, or come back to that loop (`anyio.from_thread.run`)."
        )
