"""How much memory a stream of a million rows takes: the peak of Python's own allocations after the first thousand rows.

    python -m benchmarks.speed.memory

The contract: prints one line for each way of reading and ends with 1 when a million rows took more than a few megabytes.
"""

import sys
import tracemalloc
from collections.abc import AsyncIterator

import trio

from trioorm import Database, open_database, sql

_ROWS = 1_000_000
_LIMIT_BYTES = 4_000_000
_MANY = sql("SELECT n, repeat('x', 100) FROM generate_series(1, 1000000) n").returns(int, str)


async def growth(rows: AsyncIterator[object]) -> int:
    """The bytes by which reading on raises the peak.

    Checkpoint: once a batch.
    """
    seen = at_first = 0
    tracemalloc.start()
    try:
        async for _ in rows:
            seen += 1
            if seen == 1_000:
                tracemalloc.reset_peak()
                at_first, _peak = tracemalloc.get_traced_memory()
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == _ROWS, f"{seen} rows came"
    return peak - at_first


async def measure(db: Database) -> dict[str, int]:
    """The growth for each way of reading, in bytes."""
    found: dict[str, int] = {}
    async with db.stream(_MANY) as rows:
        found["db.stream"] = await growth(rows)
    async with db.transaction() as tx:
        async with tx.stream(_MANY) as rows:
            found["tx.stream"] = await growth(rows)
        async with tx.stream(_MANY, cursor=True) as rows:
            found["tx.stream(cursor=True)"] = await growth(rows)
    return found


async def main() -> None:
    """Measure on a server of one's own, and judge."""
    async with open_database("embedded:") as db:
        found = await measure(db)
    for name, size in found.items():
        print(f"{name:24} {_ROWS:,} rows: {size / 1e6:.2f} MB more at the peak than after 1,000")
    if max(found.values()) > _LIMIT_BYTES:
        sys.exit(f"more than {_LIMIT_BYTES / 1e6:.0f} MB")


if __name__ == "__main__":
    trio.run(main)
