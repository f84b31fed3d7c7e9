"""Who may use a pool: the event loop, thread and process that opened it."""

import asyncio
import os

import sniffio
import trio

from trioorm.errors import WrongDatabaseOwner


def _running_loop() -> object:
    """The running event loop's identity; an object of its own when none runs."""
    try:
        if sniffio.current_async_library() == "trio":
            return trio.lowlevel.current_trio_token()
        return asyncio.get_running_loop()
    except (sniffio.AsyncLibraryNotFoundError, RuntimeError):
        return object()


class Owner:
    """The loop and process in which this object was made; a loop belongs to one thread, so the thread need not be asked."""

    __slots__ = ("_loop", "_process")

    def __init__(self) -> None:
        self._loop = _running_loop()
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
        if _running_loop() is not self._loop:
            raise WrongDatabaseOwner(
                "this database was opened in another event loop or thread.\n"
                "To fix it: call `open_database` inside the loop that uses it, or come back to that loop (`anyio.from_thread.run`)."
            )
