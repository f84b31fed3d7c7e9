"""What the storm does to the server: sessions terminated, crashes, and moments in which it stands still; and how long recovering takes."""

from random import Random

import anyio
import anyio.to_thread
import psycopg

from benchmarks.storm.contender import Client
from benchmarks.storm.figures import Figures, Recovery
from benchmarks.storm.load import Load
from trioorm.embedded import AsyncServer

APPLICATION = "storm"

_RECOVERY_PATIENCE_SECONDS = 20.0
_LOOK_EVERY_SECONDS = 0.002
# Waits until each is gone, up to five seconds.
_TERMINATE = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = %s AND random() < %s"


class Faults:
    """The faults of one storm.

    Args:
        size: of the pool.
    """

    def __init__(self, server: AsyncServer, load: Load, client: Client, figures: Figures, random: Random, *, size: int) -> None:
        self._server = server
        self._load = load
        self._client = client
        self._figures = figures
        self._random = random
        self._size = size

    async def blow(self, cancellations: int, *, crashes: int, freezes: int, terminations: int) -> None:
        """Spread the faults over a number of cancellations, in a random order, and return when all of it is over."""
        acts = [self._crash] * crashes + [self._freeze] * freezes + [self._terminate] * terminations
        self._random.shuffle(acts)
        for place, act in enumerate(acts, start=1):
            await self._load.cancellations(cancellations * place // (len(acts) + 1))
            self._figures.windows.open(anyio.current_time())
            try:
                await act()
            finally:
                self._figures.windows.close(anyio.current_time())
        await self._load.cancellations(cancellations)

    async def _crash(self) -> None:
        self._server.kill()
        await anyio.sleep(self._random.uniform(0, 0.3))
        await self._server.start()
        accepts_at = anyio.current_time()
        self._figures.crashes += 1
        succeeded_at = full_at = float("inf")
        with anyio.move_on_after(_RECOVERY_PATIENCE_SECONDS):
            while succeeded_at == float("inf") or full_at == float("inf"):
                ready, now = self._client.counts().ready, anyio.current_time()
                if succeeded_at == float("inf") and self._figures.last_success_at >= accepts_at:
                    succeeded_at = self._figures.last_success_at
                if full_at == float("inf") and ready >= self._size:
                    full_at = now
                await anyio.sleep(_LOOK_EVERY_SECONDS)
        self._figures.recoveries.append(Recovery(succeeded_at - accepts_at, full_at - accepts_at))

    async def _freeze(self) -> None:
        self._figures.frozen.open(anyio.current_time())
        self._server.freeze()
        try:
            await anyio.sleep(self._random.uniform(0.1, 1.6))
        finally:
            self._server.thaw()
            self._figures.frozen.close(anyio.current_time())
        self._figures.freezes += 1

    async def _terminate(self) -> None:
        self._figures.terminated += await anyio.to_thread.run_sync(terminate, self._server.conninfo(), 0.5)


def terminate(address: str, share: float) -> int:
    """End the sessions of the storm, or a share of them, from the server's side; returns how many."""
    with psycopg.connect(address, autocommit=True) as connection:
        row = connection.execute(_TERMINATE, [APPLICATION, share]).fetchone()
        assert row is not None
        return int(row[0])
