"""What a storm leaves for those who did not watch it: a verdict in one line, and a table for a page."""

import attrs

from benchmarks.storm.bars import Bar
from benchmarks.storm.blowing import Blown, in_markdown
from benchmarks.storm.storm import StormSettings

_HELD = Bar("1", "atomic", "0 left", "0", held=True)
_BROKEN = Bar("9a", "no hang", "p99 60 ms", "p99 <= 50 ms", held=False)


def test_the_verdict_names_what_was_missed() -> None:
    whole = Blown("trio", "10 attempts", [_HELD, _HELD])
    assert whole.held
    assert whole.verdict == "The storm on trio: every bar held, 2 of 2."
    broken = attrs.evolve(whole, bars=[_HELD, _BROKEN])
    assert not broken.held
    assert broken.verdict == "The storm on trio: MISSED 9a."


def test_the_page_has_both_loops_side_by_side_and_what_was_missed_fat() -> None:
    storms = [Blown("trio", "10 attempts in 1 s", [_HELD, _BROKEN]), Blown("asyncio", "11 attempts in 2 s", [_HELD, _HELD])]
    lines = in_markdown(storms, StormSettings(seed=7)).splitlines()
    assert lines[0].startswith("Seed 7, on ")
    assert lines[1:3] == ["On trio: 10 attempts in 1 s.", "On asyncio: 11 attempts in 2 s."]
    assert "| | promise | bar | on trio | on asyncio |" in lines
    assert lines[-2:] == ["| 1 | atomic | 0 | 0 left | 0 left |", "| 9a | no hang | p99 <= 50 ms | **p99 60 ms** | 0 left |"]
