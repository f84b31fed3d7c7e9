"""Documentation pages as Python: their code, what it prints, and the module that type checkers and the interpreter see.

The contract: code of a page keeps the page's own line numbers, so a traceback or a type checker's complaint points into the page. A
block with an `await` outside of any function runs in an async function of its own, which is given `db` and `address`; other blocks, and
imports, run at module level, and their names are there for all later blocks. What a reader need not see stands in HTML comments:

    <!-- prelude         code that is run (and checked) but not shown; ends with a line `-->`
    <!-- program -->     the next block is a whole program, run by an interpreter of its own, under Trio as printed and under asyncio
    <!-- continue -->    the next block goes on in the function of the code before it
    <!-- raises: X -->   the next block raises X; its text counts as printed
    <!-- refused -->     both type checkers refuse every line of the next block; it is run only if it also says what it raises
    <!-- output -->      the next block, of whatever language, is what the code before it printed; `...` stands for anything
    <!-- X:begin -->     up to <!-- X:end --> a program writes the page
"""

import ast
import inspect
import re
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

from attrs import evolve, field, frozen

ROOT = Path(__file__).parents[2]

HELD_ELSEWHERE = frozenset({"cookbook.md", "embedded.md", "testing.md"})
"""Pages whose code has tests of its own, in tests/cookbook, tests/embedded and tests/testing."""

_FUNCTION = "async def fragment_{line}(db: Database, address: str) -> None:"
_HEADER = "from trioorm import Database"


class Kind(Enum):
    """What a piece of code on a page is."""

    MODULE = auto()
    FRAGMENT = auto()
    PROGRAM = auto()
    NOT_RUN = auto()


@frozen
class Block:
    """A piece of Python code, shown or hidden.

    Attributes:
        line: the number of its first line on the page, from 1.
    """

    line: int
    text: str


@frozen
class Unit:
    """Code that runs as a whole.

    Attributes:
        refused: both type checkers refuse each of its lines.
        raises: the name of the exception that ends it, or None.
        output: what it prints, or None where the page does not say.
    """

    kind: Kind
    blocks: tuple[Block, ...]
    refused: bool = False
    raises: str | None = None
    output: str | None = None

    @property
    def line(self) -> int:
        """Where its first line stands on the page."""
        return self.blocks[0].line

    @property
    def function(self) -> str:
        """The name of a fragment's function."""
        return f"fragment_{self.line}"

    def lines(self) -> dict[int, str]:
        """Its lines as a module has them, by their numbers.

        A fragment's function opens on the line of the fence, or, after imports, which stay at module level, on the blank line behind them.
        """
        if self.kind is not Kind.FRAGMENT:
            return {number: line for block in self.blocks for number, line in enumerate(block.text.splitlines(), block.line)}
        imports = _length_of_imports(self.blocks[0].text)
        opening = self.line + imports if imports else self.line - 1
        found: dict[int, str] = {}
        for block in self.blocks:
            for number, line in enumerate(block.text.splitlines(), block.line):
                found[number] = line if number < opening or not line else f"    {line}"
        assert not found.get(opening), f"line {opening}: a blank line belongs after imports"
        return found | {opening: _FUNCTION.format(line=self.line)}

    def source(self) -> str:
        """Its code, with every line at the place that it has on the page."""
        return _as_text(self.lines())


@frozen
class Page:
    """One Markdown page.

    Attributes:
        name: the file's name without its ending.
    """

    name: str
    path: Path
    units: tuple[Unit, ...] = field(repr=False)

    def module(self) -> str:
        """All code of the page that one module can hold, for type checkers: everything but programs."""
        lines = {1: _HEADER}
        for unit in self.units:
            if unit.kind is not Kind.PROGRAM:
                lines |= unit.lines()
        return _as_text(lines)

    def programs(self) -> tuple[Unit, ...]:
        """The whole programs."""
        return tuple(unit for unit in self.units if unit.kind is Kind.PROGRAM)

    def refused_lines(self) -> set[int]:
        """The lines that both type checkers must refuse."""
        refused = (unit for unit in self.units if unit.refused)
        return {number for unit in refused for number, text in unit.lines().items() if text.strip()}


def _length_of_imports(text: str) -> int:
    """How many lines the imports at the beginning of some code take."""
    length = 0
    for statement in compile(text, "<page>", "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT).body:
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            break
        length = statement.end_lineno or length
    return length


def _as_text(lines: dict[int, str]) -> str:
    return "\n".join(lines.get(number, "") for number in range(1, max(lines) + 1)) + "\n"


def pages() -> list[Page]:
    """README and every page of docs/ whose code is held here."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [read_page(path) for path in paths if path.name not in HELD_ELSEWHERE]


def read_page(path: Path) -> Page:
    """A page from its file."""
    return Page(path.stem, path, tuple(_units(path)))


_MARK = re.compile(r"<!--\s*(program|continue|refused|output|raises:\s*\w+)\s*-->")
_GENERATED = re.compile(r"<!-- \w+:(begin|end) -->")


def _units(path: Path) -> Iterator[Unit]:
    """Group the page's blocks by their marks."""
    marks: set[str] = set()
    unit: Unit | None = None
    for kind, line, text in _parts(path):
        where = f"{path.name}:{line}"
        if kind == "mark":
            marks.add(text)
            continue
        if "output" in marks:
            if unit is None or unit.output is not None or marks != {"output"}:
                raise AssertionError(f"{where}: output of which code?")
            unit = evolve(unit, output=text)
        elif kind in ("python", "prelude"):
            raises = next((mark.partition(":")[2].strip() for mark in marks if mark.startswith("raises")), None)
            block = Block(line, text)
            if "continue" in marks:
                if unit is None or unit.kind is not Kind.FRAGMENT or unit.output is not None:
                    raise AssertionError(f"{where}: nothing to continue")
                unit = evolve(unit, blocks=(*unit.blocks, block), raises=raises)
            else:
                if unit is not None:
                    yield unit
                kind_of_code = Kind.NOT_RUN if "refused" in marks and raises is None else _kind_of(text, marks)
                unit = Unit(kind_of_code, (block,), "refused" in marks, raises)
        else:
            assert not marks, f"{where}: the marks {marks} belong to no code"
        marks = set()
    assert not marks, f"{path.name}: the marks {marks} at the end belong to no code"
    if unit is not None:
        yield unit


def _kind_of(text: str, marks: set[str]) -> Kind:
    if "program" in marks:
        return Kind.PROGRAM
    code = compile(text, "<page>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return Kind.FRAGMENT if code.co_flags & inspect.CO_COROUTINE else Kind.MODULE


def _parts(path: Path) -> Iterator[tuple[str, int, str]]:
    """The page's fences, preludes and marks in order, each with the number of its first line of content."""
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    for number, line in lines:
        if line.startswith("```"):
            yield line[3:].strip(), number + 1, _until(lines, "```")
        elif line.strip() == "<!-- prelude":
            yield "prelude", number + 1, _until(lines, "-->")
        elif (mark := _MARK.fullmatch(line.strip())) is not None:
            yield "mark", number, mark[1]
        elif _GENERATED.fullmatch(line.strip()) is None:
            assert not line.lstrip().startswith("<!--"), f"{path.name}:{number}: what is {line!r}?"


def _until(lines: Iterator[tuple[int, str]], end: str) -> str:
    content: list[str] = []
    for _, line in lines:
        if line == end:
            return "\n".join(content)
        content.append(line)
    raise AssertionError(f"a block is not closed by {end!r}")


def matches(expected: str, printed: str) -> bool:
    """Whether a text is as a page shows it; `...` on the page stands for anything, spaces at the ends of lines for nothing."""
    pattern = ".*?".join(re.escape(part) for part in _stripped(expected).split("..."))
    return re.fullmatch(pattern, _stripped(printed), flags=re.DOTALL) is not None


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
