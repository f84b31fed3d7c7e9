"""What the example shows: headings, checks, tables and a histogram.

On a terminal it is drawn with rich, which respects NO_COLOR; in a pipe it is plain lines without colours and boxes.
"""

import sys
from collections.abc import Mapping, Sequence

import attrs
from rich import box
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

_PIPE_COLUMNS = 120  # a pipe has no width of its own
_EIGHTHS = " ▁▂▃▄▅▆▇█"


@attrs.define
class Report:
    """Where the example writes to, and whether all that it promised was found to be so."""

    console: Console
    failed: list[str] = attrs.field(factory=list[str])

    def heading(self, text: str) -> None:
        """The title of a part of the run."""
        if self.console.is_terminal:
            self.line("")
            self.console.print(Rule(Text(text, style="bold cyan"), align="left", style="cyan"))
        else:
            self.line(f"\n== {text} ==")

    def line(self, text: str) -> None:
        """One line of plain text."""
        self.console.print(Text(text), soft_wrap=True)

    def check(self, text: str, held: bool) -> None:
        """Something that must be so, and whether it is."""
        mark = Text("  ok  ", style="green") if held else Text("  NOT ", style="bold red")
        self.console.print(mark + Text(text), soft_wrap=True)
        if not held:
            self.failed.append(text)

    def table(self, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows of text in columns; a column that holds numbers only stands to the right."""
        if not self.console.is_terminal:
            self._plain_table(title, headings, rows)
            return
        self.line("")
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, header_style="dim")
        for place, heading in enumerate(headings):
            table.add_column(heading, justify="right" if _is_numeric(rows, place) else "left")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self.console.print(table)

    def _plain_table(self, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.line(f"\n{title}")
        widths = [max(map(len, cells)) for cells in zip(headings, *rows, strict=True)]
        numeric = [_is_numeric(rows, place) for place in range(len(headings))]
        for row in (headings, *rows):
            cells = [cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, numeric, strict=True)]
            self.line(("  " + "  ".join(cells)).rstrip())

    def histogram(self, title: str, counts: Mapping[int, int], *, height: int = 8) -> None:
        """Standing bars, one column for each year from the first to the last, with an axis below."""
        self.line(f"\n{title}")
        for line in histogram_lines(counts, height=height):
            self.console.print(Text(line, style="cyan"), soft_wrap=True)


def open_report() -> Report:
    """The report on this program's own standard output, whatever that is."""
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # an ASCII pipe shows ? for é; it is no reason to fail
    return Report(console)


def histogram_lines(counts: Mapping[int, int], *, height: int = 8) -> list[str]:
    """The lines of a histogram: bars of eighths of a line, an axis, and each tenth year below it.

    Args:
        counts: for each year a number; a year that is missing has none.
        height: of the highest bar, in lines.
    """
    if not counts:
        return []
    years = range(min(counts), max(counts) + 1)
    highest = max(1, *counts.values())
    eighths = [-(-counts.get(year, 0) * height * 8 // highest) for year in years]  # rounded up: one film is seen
    margin = len(f"{highest:,}")
    lines: list[str] = []
    for level in reversed(range(height)):
        scale = f"{highest:,}" if level == height - 1 else "0" if level == 0 else ""
        bars = "".join(_EIGHTHS[min(max(filled - level * 8, 0), 8)] for filled in eighths)
        lines.append(f"  {scale:>{margin}} │{bars}".rstrip())
    axis = "".join("┬" if year % 10 == 0 else "─" for year in years)
    names = [" "] * (len(years) + 4)
    for place, year in enumerate(years):
        if year % 10 == 0:
            names[place : place + 4] = str(year)
    return [*lines, f"  {'':>{margin}} └{axis}", f"  {'':>{margin}}  {''.join(names)}".rstrip()]


def _is_numeric(rows: Sequence[Sequence[str]], place: int) -> bool:
    return bool(rows) and all(row[place][:1] in "0123456789$" for row in rows)
