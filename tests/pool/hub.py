"""What the tests of the hub share: a pool all of whose connections are the hub's, and short ways to send and to hear."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from tests.wire.witness import Witness
from trioorm.pool import ListenEvent, Notification, Pool, Subscription, open_pool
from trioorm.wire import AnyIOConnection


class Connector:
    """Opens connections for a pool and remembers them; those of the hub are told by `max_size`, since the pool opens none by itself."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.attempts = 0
        self.opened: list[AnyIOConnection[Any]] = []
        self.pids: list[int] = []
        self._news = anyio.Event()

    async def __call__(self) -> AnyIOConnection[Any]:
        self.attempts += 1
        self._tell()
        connection: AnyIOConnection[Any] = await AnyIOConnection.connect(self.address, autocommit=True, client_encoding="utf8")
        self.opened.append(connection)
        self.pids.append(connection.info.backend_pid)
        self._tell()
        return connection

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def until_attempts(self, number: int) -> None:
        """Wait until so many connections have been asked for."""
        with anyio.fail_after(10):
            while self.attempts < number:
                await self._news.wait()


@asynccontextmanager
async def open_hub(address: str, *, max_silence_seconds: float = 60.0) -> AsyncGenerator[tuple[Pool, Connector]]:
    """A pool that opens no connection until it is asked for one, so that all are the hub's."""
    connector = Connector(address)
    async with open_pool(connector, min_size=0, max_size=1, listener_max_silence_seconds=max_silence_seconds) as pool:
        yield pool, connector


async def take(events: Subscription, number: int) -> list[ListenEvent]:
    """The next events, which must come soon."""
    with anyio.fail_after(10):
        return [await anext(events) for _ in range(number)]


async def payloads(events: Subscription, number: int) -> list[str]:
    """The payloads of the next notifications."""
    return [event.payload if isinstance(event, Notification) else repr(event) for event in await take(events, number)]


def notify(witness: Witness, channel: str, *sent: str) -> None:
    """Send notifications, each in a transaction of its own."""
    for payload in sent:
        witness.run("SELECT pg_notify(%s, %s)", channel, payload)
