"""How long the machine made the storm's own thread wait for a processor, so that this is not taken for slowness of the library.

The contract: what is said to have been waited for was certainly waited for, in the span asked for, by the kernel's own count of the time in
which the thread could run and was not let. Time in which the thread ran, the library's included, is never among it; neither is what the
server's processes waited. Where the kernel does not count (it is not Linux), nothing is said to have been waited for.

Source: https://docs.kernel.org/scheduler/sched-stats.html, "/proc/<pid>/schedstat"
"""

from bisect import bisect_left
from pathlib import Path

import anyio

_BEAT_SECONDS = 0.002
_WORTH_KEEPING_SECONDS = 0.0005
_COUNTED = Path("/proc/thread-self/schedstat")
_NANOSECONDS = 1_000_000_000


class Scheduling:
    """A heartbeat of the event loop.

    Attributes:
        lateness: by how much each beat came late, in seconds, whatever the reason.
        counted: whether the kernel counts.
    """

    def __init__(self) -> None:
        self.lateness: list[float] = []
        self.counted = _COUNTED.exists()
        self._ends: list[float] = []
        self._spans: list[tuple[float, float, float]] = []

    async def beat(self) -> None:
        """Until cancelled."""
        before, waited_before = anyio.current_time(), self._waited()
        while True:
            due = anyio.current_time() + _BEAT_SECONDS
            await anyio.sleep_until(due)
            # The thread may have to wait while it reads the count too. A span that begins before one reading and ends behind the other
            # has in it all that came between them.
            now, waited = anyio.current_time(), self._waited()
            self.lateness.append(max(0.0, now - due))
            self.note(before, anyio.current_time(), waited - waited_before)
            before, waited_before = now, waited

    def note(self, start: float, end: float, waited_seconds: float) -> None:
        """Between two moments the thread waited for so long; spans come in the order of time and may overlap, unlike the waits."""
        if waited_seconds > _WORTH_KEEPING_SECONDS:
            self._ends.append(end)
            self._spans.append((start, end, waited_seconds))

    def surely_waited(self, start: float, end: float) -> float:
        """The least that the thread can have waited between two moments, in seconds."""
        total = 0.0
        for at in range(bisect_left(self._ends, start), len(self._spans)):
            span_start, span_end, waited = self._spans[at]
            if span_start >= end:
                break
            inside = min(end, span_end) - max(start, span_start)
            # All of the span's other time may have been the waiting.
            total += max(0.0, waited - (span_end - span_start - inside))
        return min(total, max(0.0, end - start))

    def _waited(self) -> float:
        return int(_COUNTED.read_text().split()[1]) / _NANOSECONDS if self.counted else 0.0
