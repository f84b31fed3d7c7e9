"""The programs in docs/testing.md run as printed, and fail and succeed where the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


@pytest.mark.parametrize("event_loop", ["asyncio", "trio"])
def test_the_program_of_the_page_runs(event_loop: str, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(# Runs as it stands\.\n.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "slots.py"
    file.write_text(program.replace("anyio.run(main)", f"anyio.run(main, backend={event_loop!r})"))
    result = subprocess.run([sys.executable, "-W", "error", str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    failure, table = result.stdout.split("\nk  suspended at", 1)
    assert re.match(r"Cancelled by 'scope' at suspension \d+ \(.*\): an invariant is broken\.\n", failure)
    assert "the check raised AssertionError: 0 slots of 1 are free" in failure
    # Which of the two workers is cancelled first, and so where the fault shows, is left open by both loops.
    assert re.search(r"slots\.py:\d+ in (sweep_slots\.<locals>\.|Slots\.)", failure)
    assert "To see it alone: sweep(..., kinds=[Cancellation.SCOPE], first=" in failure
    assert ("task twice" in table) == (event_loop == "asyncio")
    assert "(not reached)" in table.splitlines()[-1]


@pytest.mark.parametrize("event_loop", ["asyncio", "trio"])
def test_the_program_with_the_proxy_runs(event_loop: str, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(# Runs as it stands, with the extra trioorm\[embedded\]\.\n.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "payments.py"
    file.write_text(program.replace("anyio.run(main)", f"anyio.run(main, backend={event_loop!r})"))
    result = subprocess.run([sys.executable, "-W", "error", str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "committed, said the server on another connection" in result.stdout
    cuts = re.search(r"^(\d+) cuts$", result.stdout, re.MULTILINE)
    assert cuts is not None
    assert int(cuts[1]) > 20
