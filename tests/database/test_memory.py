"""Hundreds of thousands of rows, in and out, in the memory that a few hundred take: that of the whole process, libpq's included."""

from collections.abc import AsyncGenerator
from pathlib import Path
from resource import getpagesize

import pytest

from trioorm import Column, Model, column, open_database, sql

_STATM = Path("/proc/self/statm")
_MOST_BYTES = 5_000_000
_WARM_ROWS = 50_000


class Reading(Model, table="readings"):
    """A row of ordinary size."""

    id: Column[int] = column(primary_key=True)
    note: Column[str]


def _held_bytes() -> int:
    """What the process has in memory now."""
    if not _STATM.exists():
        pytest.skip("this system does not tell how much memory a process holds")
    return int(_STATM.read_text().split()[1]) * getpagesize()


async def test_a_million_rows_are_streamed_in_flat_memory(dsn: str) -> None:
    seen = held = grown = 0
    async with open_database(dsn) as db:
        numbers = sql("SELECT n, 'row ' || n FROM generate_series(1, 1000000) n").returns(int, str)
        async with db.stream(numbers) as rows:
            async for _ in rows:
                seen += 1
                if seen == _WARM_ROWS:
                    held = _held_bytes()
                if seen == 1_000_000:
                    grown = _held_bytes() - held
        assert seen == 1_000_000
        assert grown < _MOST_BYTES


async def test_rows_are_copied_in_from_a_source_that_is_read_ahead_in_flat_memory(dsn: str) -> None:
    held = grown = 0

    async def readings() -> AsyncGenerator[Reading]:
        nonlocal held, grown
        for number in range(300_000):
            if number == _WARM_ROWS:
                held = _held_bytes()
            yield Reading(id=number, note=f"row {number}")
        grown = _held_bytes() - held

    async with open_database(dsn) as db:
        await db.create_schema(Reading)
        assert await db.copy_in(Reading, readings()) == 300_000
        assert grown < _MOST_BYTES
