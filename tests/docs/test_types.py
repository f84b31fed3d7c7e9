"""The code of README and of the documentation passes mypy and pyright, both strict; what a page calls refused is refused by both."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, pages

# A page shows names that it does not use further, and calls whose result it does not keep.
_PYRIGHT_SETTINGS = {
    "typeCheckingMode": "strict",
    "pythonVersion": "3.11",
    "reportUnusedVariable": "none",
    "reportUnusedExpression": "none",
    "reportUnusedImport": "none",
    "reportMissingTypeStubs": "none",
    "extraPaths": [str(ROOT)],
}
_MYPY_SETTINGS = ["--strict", "--python-version=3.11", "--no-error-summary", "--hide-error-context", "--no-pretty"]

Complaints = dict[tuple[str, int], str]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[tuple[str, int]]]:
    """A folder with the pages' code as files, and the places that must be refused."""
    folder = tmp_path_factory.mktemp("pages")
    refused: set[tuple[str, int]] = set()
    for page in pages():
        name = "page_" + page.name.replace("-", "_")
        (folder / f"{name}.py").write_text(page.module(), encoding="utf-8")
        refused |= {(name, line) for line in page.refused_lines()}
        for program in page.programs():
            (folder / f"{name}_{program.line}.py").write_text(program.source(), encoding="utf-8")
    (folder / "pyrightconfig.json").write_text(json.dumps(_PYRIGHT_SETTINGS), encoding="utf-8")
    return folder, refused


def _mypy(folder: Path) -> Complaints:
    files = [str(path) for path in sorted(folder.glob("*.py"))]
    command = [sys.executable, "-m", "mypy", *_MYPY_SETTINGS, f"--cache-dir={ROOT / '.mypy_cache' / 'pages'}", *files]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"MYPYPATH": str(ROOT)})
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    found = re.findall(r"^(?:.*/)?(\w+)\.py:(\d+): error: (.*)$", ran.stdout, flags=re.MULTILINE)
    assert bool(found) == (ran.returncode == 1), ran.stdout
    return {(name, int(line)): text for name, line, text in found}


def _pyright(folder: Path) -> Complaints:
    command = [sys.executable, "-m", "pyright", "--outputjson", f"--pythonpath={sys.executable}", f"--project={folder}"]
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    )
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    report = json.loads(ran.stdout)
    assert report["summary"]["filesAnalyzed"] >= len(list(folder.glob("*.py")))
    return {(Path(found["file"]).stem, found["range"]["start"]["line"] + 1): found["message"] for found in report["generalDiagnostics"]}


@pytest.mark.parametrize("check", [_mypy, _pyright], ids=["mypy", "pyright"])
def test_the_pages_are_clean_and_what_they_call_refused_is_refused(
    check: Callable[[Path], Complaints], written: tuple[Path, set[tuple[str, int]]]
) -> None:
    folder, refused = written
    complaints = check(folder)
    unexpected = {place: text for place, text in complaints.items() if place not in refused}
    assert not unexpected, "\n".join(f"{name}:{line}: {text}" for (name, line), text in sorted(unexpected.items()))
    assert refused, "at least one page shows what type checkers refuse"
    assert refused <= set(complaints), f"accepted: {sorted(refused - set(complaints))}"
