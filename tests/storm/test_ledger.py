"""The storm's ledger: each way in which it and the database can differ is counted where it belongs."""

import attrs
import pytest

from benchmarks.storm.figures import Windows, percentile
from benchmarks.storm.ledger import Comparison, Entry, Fate, Ledger

NOTHING = Comparison(
    acknowledged=0, lost=0, lost_swallows=0, left_behind=0, cancelled_but_committed=0, unknown=0, unknown_committed=0, strangers=0
)


@pytest.mark.parametrize(
    ("entry", "rows", "expected"),
    [
        (Entry(2, False, Fate.ACKNOWLEDGED), 2, {"acknowledged": 1}),
        (Entry(2, False, Fate.ACKNOWLEDGED), 0, {"acknowledged": 1, "lost": 1}),
        (Entry(2, False, Fate.ACKNOWLEDGED), 1, {"acknowledged": 1, "lost": 1}),
        (Entry(2, True, Fate.ACKNOWLEDGED), 0, {"acknowledged": 1, "lost_swallows": 1}),
        (Entry(2, False, Fate.FAILED), 0, {}),
        (Entry(2, False, Fate.FAILED), 2, {"left_behind": 1}),
        (Entry(2, False, Fate.CANCELLED), 0, {}),
        (Entry(2, False, Fate.CANCELLED), 1, {"left_behind": 1}),
        (Entry(2, False, Fate.CANCELLED), 2, {"left_behind": 1, "cancelled_but_committed": 1}),
        (Entry(2, False, Fate.UNKNOWN), 0, {"unknown": 1}),
        (Entry(2, False, Fate.UNKNOWN), 2, {"unknown": 1, "unknown_committed": 1}),
        (Entry(2, False, Fate.UNKNOWN), 1, {"unknown": 1, "left_behind": 1}),
    ],
)
def test_compares_one_attempt(entry: Entry, rows: int, expected: dict[str, int]) -> None:
    ledger = Ledger()
    number = ledger.number()
    ledger.enter(number, entry)
    assert ledger.compare({number: rows} if rows else {}) == attrs.evolve(NOTHING, **expected)


def test_counts_rows_that_nobody_wrote() -> None:
    assert Ledger().compare({7: 3}) == attrs.evolve(NOTHING, strangers=3)


def test_gives_each_attempt_its_number() -> None:
    ledger = Ledger()
    assert len({ledger.number() for _ in range(10)}) == 10


def test_a_window_excuses_what_touches_it() -> None:
    windows = Windows(slack_seconds=1)
    assert not windows.touches(0, 100)
    windows.open(10)
    assert windows.touches(5, 10)
    assert not windows.touches(5, 9)
    windows.close(12)
    assert windows.touches(13, 14)
    assert not windows.touches(13.5, 14)
    assert windows.last_end == 12


def test_percentile_is_the_nearest_rank() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([1.0] * 99 + [9.0], 99) == 1.0
    assert percentile([], 99) == 0.0
