"""The witness: looks at the server's sessions all the while, and finds queries that no task waits for any more.

A query is an orphan as long as it runs on a session that no task is using. Sessions are looked at from a thread, over psycopg's
synchronous connection, so what is measured does not measure itself.
"""

import anyio
import anyio.to_thread
import psycopg

from benchmarks.storm.contender import Client
from benchmarks.storm.faults import APPLICATION
from benchmarks.storm.figures import Figures

_LOOK_EVERY_SECONDS = 0.01
_SESSIONS = (
    """SELECT pid, state, query_start, query FROM pg_stat_activity WHERE application_name = %s AND backend_type = 'client backend'"""
)

Session = tuple[int, str, object, str]


class Witness:
    """Samples the server until it is cancelled.

    Args:
        address: of the database, past any proxy.
        size: of the pool.
    """

    def __init__(self, address: str, client: Client, figures: Figures, *, size: int) -> None:
        self._address = address
        self._client = client
        self._figures = figures
        self._size = size
        self._connection: psycopg.Connection[Session] | None = None
        self._first_seen: dict[tuple[int, object], float] = {}
        self._surplus_since: float | None = None

    async def watch(self) -> None:
        """Until cancelled."""
        try:
            while True:
                asked_at = anyio.current_time()
                self._judge(await anyio.to_thread.run_sync(self._sessions), asked_at)
                await anyio.sleep(_LOOK_EVERY_SECONDS)
        finally:
            if self._connection is not None:
                self._connection.close()

    @property
    def has_suspects(self) -> bool:
        """Whether the last look found a query that nobody waits for."""
        return bool(self._first_seen)

    def _sessions(self) -> list[Session]:
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._address, autocommit=True)
            return self._connection.execute(_SESSIONS, [APPLICATION]).fetchall()
        except psycopg.OperationalError:
            self._connection = None
            return []  # the server is down, and its sessions have ended with it; it will be asked again

    def _judge(self, sessions: list[Session], asked_at: float) -> None:
        figures, now = self._figures, anyio.current_time()
        figures.samples += 1
        on_loan = self._client.busy_pids()
        running = {(pid, start): query for pid, state, start, query in sessions if state == "active" and pid not in on_loan}
        for key, first_seen in list(self._first_seen.items()):
            if key not in running:
                del self._first_seen[key]
                self._note_orphan(now - first_seen, first_seen, "")
        for key, query in running.items():
            first_seen = self._first_seen.setdefault(key, asked_at)
            if now - first_seen > 1:
                self._note_orphan(now - first_seen, first_seen, query)
                self._first_seen[key] = now
        self._count(len(sessions), now, asked_at)

    def _note_orphan(self, seconds: float, since: float, query: str) -> None:
        # While the server stands still nothing can be cancelled on it: what counts is the time since it answers again.
        reachable = min(seconds, anyio.current_time() - self._figures.windows.last_end)
        self._figures.orphan_seconds.append(max(0.0, reachable))
        if reachable > 1:
            self._figures.orphans.append(f"{reachable:.2f} s: {query}")

    def _count(self, backends: int, now: float, asked_at: float) -> None:
        figures = self._figures
        if figures.windows.touches(asked_at, now):
            self._surplus_since = None
            return
        figures.most_backends = max(figures.most_backends, backends)
        if backends <= self._size:
            self._surplus_since = None
        else:
            self._surplus_since = self._surplus_since or asked_at
            figures.surplus_seconds = max(figures.surplus_seconds, now - self._surplus_since)
