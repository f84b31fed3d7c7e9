"""The code of docs/embedded.md runs as printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parent.parent.parent / "docs" / "embedded.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)

_AS_PROGRAM = """
import anyio
from trioorm.embedded import open_server

async def main():
    {body}

anyio.run(main)
"""


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_runs_as_printed(number: int, short_folder: Path) -> None:
    block: str = BLOCKS[number]
    is_inside_async_function = re.search(r"^async with", block, flags=re.MULTILINE) is not None
    program = _AS_PROGRAM.format(body=block.replace("\n", "\n    ")) if is_inside_async_function else block
    # With warnings as errors, since a guide should not teach what is on its way out.
    subprocess.run([sys.executable, "-W", "error", "-c", program.replace("    ...", "    pass")], cwd=short_folder, check=True)


def test_there_is_code_to_run() -> None:
    assert len(BLOCKS) >= 4
