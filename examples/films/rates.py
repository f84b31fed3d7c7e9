"""How fast it goes: a hundred tasks that read single films by their key."""

import random
import time
from collections.abc import Sequence

import anyio
import attrs

from examples.films.models import Film
from trioorm import Database

TASKS = 100


@attrs.frozen
class Reads:
    """How many films were read by key, in how many seconds, and how many of them came back as they were written."""

    count: int
    seconds: float
    unchanged: int

    @property
    def a_second(self) -> float:
        return self.count / self.seconds


async def read_by_key(db: Database, films: Sequence[Film], *, reads: int = 10_000) -> Reads:
    """Get films from a hundred tasks at once.

    Checkpoint: always.
    """
    wanted = random.Random(2026).choices(films, k=reads)  # the same ones on every run
    unchanged = 0

    async def read(part: Sequence[Film]) -> None:
        nonlocal unchanged
        for film in part:
            found = await db.get(Film, film.id)
            unchanged += found == film

    started_at = time.perf_counter()
    async with anyio.create_task_group() as nursery:
        for first in range(TASKS):
            nursery.start_soon(read, wanted[first::TASKS])
    return Reads(reads, time.perf_counter() - started_at, unchanged)
