"""Each subject of `make bench-growth` does as much as it says, and its page says what its record says."""

import psycopg
import pytest
import trio

from benchmarks.speed.growing import SUBJECTS, create
from benchmarks.speed.growth import GROWTH, GrowthRecord, page_lines
from benchmarks.speed.publish import PAGE, replaced
from trioorm import open_database


@pytest.fixture
def filled(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as direct:
        direct.execute(create(numbers=100).encode())
    return dsn


UNITS = {"columns": (500, 1000, 2500), "levels": (10, 50, 210)}


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_subject_does_what_it_says(filled: str, name: str) -> None:
    subject = SUBJECTS[name]

    async def run() -> tuple[int, ...]:
        async with open_database(filled, max_size=3, lanes=subject.lanes) as db:
            return tuple([await subject.run(db, size) for size in subject.sizes[:3]])

    assert trio.run(run) == UNITS.get(name, (1, 10, 100))


@pytest.mark.skipif(not GROWTH.exists(), reason="no run is recorded")
def test_the_page_says_what_the_record_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert replaced(text, "growth", page_lines(GrowthRecord.read(GROWTH))) == text
