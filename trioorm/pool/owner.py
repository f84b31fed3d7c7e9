"""Who may use a pool: the event loop, thread and process that opened it."""

import asyncio
import os
from typing import TYPE_CHECKING

import sniffio
import trio

from trioorm.errors import WrongDatabaseOwner

if TYPE_CHECKING:
    from collections.abc import Callable


class Owner:
    """The loop and process in which this object was made; a loop belongs to one thread, so the thread need not be asked."""

    __slots__ = ("_loop", "_process", "_running_loop", "running_task")

    def __init__(self) -> None:
        on_trio = sniffio.current_async_library() == "trio"
        # Asked once and kept: finding out on which library one runs costs more than the question itself.
        self._running_loop: Callable[[], object] = trio.lowlevel.current_trio_token if on_trio else asyncio.get_running_loop
        self.running_task: Callable[[], object] = trio.lowlevel.current_task if on_trio else asyncio.current_task
        self._loop = self._running_loop()
        self._process = os.getpid()

    def check(self) -> None:
        """Refuse a stranger.

        Raises:
            WrongDatabaseOwner: the caller runs in another process or event loop. Not safe to retry.
        """
        if os.getpid() != self._process:
            raise WrongDatabaseOwner(
                f"this database was opened in process {self._process} and is used in process {os.getpid()}, after a fork.\n"
                "Two processes on one connection would mix up their answers. To fix it: open the database in each process, after the fork."
            )
        try:
            is_ours = self._running_loop() is self._loop
        except RuntimeError:  # the caller runs on the other library, or in a thread without a loop
            is_ours = False
        if not is_ours:
            raise WrongDatabaseOwner(
                "this database was opened in another event loop or thread.\n"
                "To fix it: call `open_database` inside the loop that uses it, or come back to that loop (`anyio.from_thread.run`)."
            )
