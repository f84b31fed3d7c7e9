"""The house keeps its plan: each import contract holds because it can break, each room has its place, and a few rules that no linter knows.

Source of the plan: the contracts in pyproject.toml under `tool.importlinter`.
"""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

PROJECT = Path(__file__).parent.parent
PACKAGE = PROJECT / "trioorm"
MOST_LINES = 500

QUIET_WING = {"expression", "schema", "model", "query", "compiler"}
IO_WING = {"embedded", "wire", "resilience", "pool", "transaction"}


def contracts() -> dict[str, dict[str, list[str]]]:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["id"]: contract for contract in settings["tool"]["importlinter"]["contracts"]}


def rooms() -> set[str]:
    return {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}


def sources() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))


# The contracts can break.


@pytest.fixture
def copy_of_the_house(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "trioorm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def breaks(house: Path, contract: str) -> bool:
    """Whether import-linter finds this contract broken; anything but a clear yes or no is a failure."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    answer = subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--contract", contract],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode == 0 and "1 kept, 0 broken" in answer.stdout:
        return False
    assert "0 kept, 1 broken" in answer.stdout, answer.stdout + answer.stderr
    return True


def append(room: str, text: str) -> Callable[[Path], None]:
    """Add lines to a room, or to a module when its name ends in .py."""

    def change(house: Path) -> None:
        path = house / "trioorm" / room
        path = path if path.suffix == ".py" else path / "__init__.py"
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + text + "\n")

    return change


@pytest.mark.parametrize("contract", ["floors", "quiet-wing", "io-wing", "no-circles"])
def test_the_house_as_it_stands_keeps(contract: str, copy_of_the_house: Path) -> None:
    assert not breaks(copy_of_the_house, contract)


@pytest.mark.parametrize(
    ("contract", "change"),
    [
        pytest.param("floors", append("wire", "import trioorm.pool"), id="a room imports from a floor above"),
        pytest.param("floors", append("errors.py", "import trioorm.embedded"), id="errors imports a room"),
        pytest.param(
            "floors",
            append("wire", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trioorm.pool"),
            id="only for typing, upwards",
        ),
        pytest.param("floors", append("wire", "import trioorm.schema"), id="a neighbour on the same floor"),
        pytest.param("floors", append("wire", "def late() -> None:\n    import trioorm.pool"), id="inside a function, upwards"),
        pytest.param("floors", append("attic", '"""A room that is not in the plan."""'), id="a room without a floor"),
        pytest.param("quiet-wing", append("expression", "import anyio"), id="quiet room imports anyio"),
        pytest.param("quiet-wing", append("compiler", "from psycopg import sql"), id="quiet room imports psycopg"),
        pytest.param("quiet-wing", append("query", "import asyncio"), id="quiet room imports asyncio"),
        pytest.param("quiet-wing", append("errors.py", "import psycopg_pool"), id="quiet room imports a driver at second hand"),
        pytest.param("quiet-wing", append("query", "import trioorm.embedded"), id="quiet room imports an I/O room"),
        pytest.param(
            "quiet-wing",
            append("model", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trio"),
            id="quiet room, only for typing",
        ),
        pytest.param("io-wing", append("wire", "import trioorm.expression"), id="I/O room imports a quiet room"),
        pytest.param("io-wing", append("pool", "from trioorm.query import select"), id="I/O room imports the builder"),
        pytest.param("no-circles", append("embedded/options.py", "import trioorm.embedded.server"), id="a circle inside a room"),
        pytest.param(
            "no-circles",
            append("embedded/options.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trioorm.embedded.server"),
            id="a circle for typing only",
        ),
        pytest.param("no-circles", append("expression", "import trioorm.query"), id="a circle between rooms"),
    ],
)
def test_a_wrong_import_breaks(contract: str, change: Callable[[Path], None], copy_of_the_house: Path) -> None:
    change(copy_of_the_house)
    assert breaks(copy_of_the_house, contract)


# Every room has its place in them.


def test_each_wing_is_named_whole() -> None:
    quiet = {f"trioorm.{room}" for room in QUIET_WING & rooms()}
    busy = {f"trioorm.{room}" for room in IO_WING & rooms()}
    found = contracts()
    assert set(found["quiet-wing"]["source_modules"]) == quiet
    assert {name for name in found["quiet-wing"]["forbidden_modules"] if name.startswith("trioorm.")} == busy
    assert set(found["io-wing"]["source_modules"]) == busy
    assert set(found["io-wing"]["forbidden_modules"]) == quiet


# Rules that no linter knows.


def positions(is_found: Callable[[ast.AST], bool]) -> dict[str, list[int]]:
    """The lines of each file where a thing stands."""
    found: dict[str, list[int]] = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if is_found(node):
                found.setdefault(path.relative_to(PACKAGE).as_posix(), []).append(cast("ast.expr", node).lineno)
    return found


def test_shields_stand_in_one_file_only() -> None:
    def is_shield(node: ast.AST) -> bool:
        if isinstance(node, ast.keyword):
            return node.arg == "shield" and not (isinstance(node.value, ast.Constant) and node.value.value is False)
        if isinstance(node, ast.Assign):
            return any(isinstance(target, ast.Attribute) and target.attr == "shield" for target in node.targets)
        return isinstance(node, ast.Attribute) and node.attr == "shield" and ast.unparse(node) == "asyncio.shield"

    assert set(positions(is_shield)) == {"wire/interrupt.py"}


def test_nothing_waits_in_the_quiet_wing() -> None:
    waiting = positions(lambda node: isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith))
    assert {path: lines for path, lines in waiting.items() if path.split("/")[0] in QUIET_WING} == {}


def test_no_background_task_is_made_without_an_owner() -> None:
    tasks = positions(lambda node: isinstance(node, ast.Attribute) and node.attr in {"create_task", "ensure_future", "spawn_system_task"})
    assert tasks == {}


def test_no_file_bears_a_name_that_says_nothing() -> None:
    empty_names = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc", "tools"}
    assert [path for path in sources() if path.stem in empty_names or path.parent.name in empty_names] == []


def test_files_stay_short_enough_to_read() -> None:
    lengths = {path.relative_to(PACKAGE).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
