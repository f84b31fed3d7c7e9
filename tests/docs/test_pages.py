"""The code of README and of the documentation runs as printed, on both event loops, and prints what the pages say."""

import contextlib
import difflib
import io
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

import pytest

import trioorm
from tests.docs.pages import ROOT, Kind, Page, Unit, matches, pages, read_page
from trioorm import Database, open_database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PAGES = [page for page in pages() if page.units]
PROGRAMS = [(page, program) for page in PAGES for program in page.programs()]
ON_TRIO, ON_ASYNCIO = "trio.run(main)", "asyncio.run(main())"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_the_code_of_a_page_runs_and_prints_what_the_page_says(
    page: Page, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType(f"page_{page.name}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.__dict__.update({"Database": Database, "__file__": str(page.path)})
    async with open_database(dsn, max_size=5) as db:
        for unit in page.units:
            if unit.kind in (Kind.MODULE, Kind.FRAGMENT):
                await _run(page, unit, module, db, dsn)


async def _run(page: Page, unit: Unit, module: ModuleType, db: Database, address: str) -> None:
    where = f"{page.path.name}:{unit.line}"
    printed = io.StringIO()
    raised: str | None = None
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(unit.source(), str(page.path), "exec"), module.__dict__)
            if unit.kind is Kind.FRAGMENT:
                function = cast("Callable[[Database, str], Awaitable[None]]", vars(module)[unit.function])
                await function(db, address)
    except Exception as error:
        if unit.raises is None:
            raise
        raised = type(error).__name__
        print(error, file=printed)
    assert raised == unit.raises, f"{where} raised {raised}"
    if unit.output is not None:
        _compare(where, unit.output, printed.getvalue())


def _compare(where: str, said: str, printed: str) -> None:
    if not matches(said, printed):
        difference = "\n".join(difflib.unified_diff(said.splitlines(), printed.splitlines(), "page", "printed", lineterm=""))
        raise AssertionError(f"{where} prints something else than the page says:\n{difference}")


@pytest.mark.parametrize("event_loop", ["trio", "asyncio"])
@pytest.mark.parametrize(("page", "program"), PROGRAMS, ids=[f"{page.name}:{program.line}" for page, program in PROGRAMS])
def test_a_program_runs_as_printed_and_under_asyncio_with_one_line_changed(
    page: Page, program: Unit, event_loop: str, tmp_path: Path
) -> None:
    (text,) = (block.text for block in program.blocks)
    assert text.splitlines()[-1] == ON_TRIO
    if event_loop == "asyncio":
        text = "import asyncio\n" + text.replace(ON_TRIO, ON_ASYNCIO).replace("import trio\n", "")
    file = tmp_path / "program.py"
    file.write_text(text, encoding="utf-8")
    # Warnings are errors, since a page should not teach what is on its way out.
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    assert program.output is not None, "a program shows what it prints"
    _compare(f"{page.path.name}:{program.line}", program.output, ran.stdout)


def test_the_line_that_changes_for_asyncio_is_the_one_that_the_pages_name() -> None:
    for name in ("README.md", "docs/getting-started.md"):
        assert f"`{ON_ASYNCIO}`" in (ROOT / name).read_text(encoding="utf-8"), name


def test_every_page_is_read() -> None:
    written = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert {
        "README",
        "getting-started",
        "models",
        "queries",
        "reading-and-writing",
        "transactions",
        "pool",
        "psycopg-on-trio",
        "errors",
    } <= {page.name for page in PAGES}
    assert written >= {"design", "embedded", "testing"}


def test_the_public_names_that_pages_import_exist() -> None:
    # `import *` would hide a name that has gone; the pages name what they import, and so does `__all__`.
    assert all(hasattr(trioorm, name) for name in trioorm.__all__)


# The reader of pages itself: each of its promises is seen to break.


def _page(tmp_path: Path, text: str) -> Page:
    path = tmp_path / "sample.md"
    path.write_text(text, encoding="utf-8")
    return read_page(path)


def test_code_keeps_the_line_numbers_of_its_page(tmp_path: Path) -> None:
    page = _page(tmp_path, "# Title\n\n```python\nx = 1\n```\n\n```python\nawait db.execute(x)\n```\n")
    lines = page.module().splitlines()
    assert lines[3] == "x = 1"
    assert lines[7] == "    await db.execute(x)"
    assert lines[6].startswith("async def fragment_8(")


def test_a_printed_text_that_differs_is_no_match() -> None:
    assert matches("took ... s", "took 0.31 s\n")
    assert not matches("took ... s", "took 0.31 ms\n")
    assert not matches("one", "one\ntwo")


def test_an_unknown_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="what is"):
        _page(tmp_path, "<!-- outptu -->\n```text\nx\n```\n")


async def test_a_page_that_says_something_else_is_found_out(tmp_path: Path, dsn: str) -> None:
    page = _page(tmp_path, '```python\nprint("a")\n```\n<!-- output -->\n```text\nb\n```\n')
    async with open_database(dsn) as db:
        with pytest.raises(AssertionError, match="than the page says"):
            await _run(page, page.units[0], ModuleType("sample"), db, dsn)


async def test_a_page_that_promises_an_error_must_raise_it(tmp_path: Path, dsn: str) -> None:
    page = _page(tmp_path, "<!-- raises: ValueError -->\n```python\nx = 1\n```\n")
    async with open_database(dsn) as db:
        with pytest.raises(AssertionError, match="raised None"):
            await _run(page, page.units[0], ModuleType("sample"), db, dsn)
