"""One storm on the console: its progress while it blows, then every figure beside its bar."""

import platform
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial

import anyio
import attrs
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from benchmarks.storm.bars import Bar, bars
from benchmarks.storm.contender import Contender
from benchmarks.storm.storm import StormResult, StormSettings, storm

WAYS_IN_WORDS = {"native": "asyncio's cancels", "scopes": "scopes", "all": "scopes and asyncio's cancels"}
_PIPE_COLUMNS = 200
_SHOWN_PROBLEMS = 5


@attrs.frozen
class Blown:
    """What one storm came to.

    Attributes:
        loop: it blew on.
        told: how much it was, in one line.
        bars: every promise with its figure.
    """

    loop: str
    told: str
    bars: Sequence[Bar]

    @property
    def held(self) -> bool:
        """Whether every bar held."""
        return all(bar.held for bar in self.bars)

    @property
    def verdict(self) -> str:
        """The end of it all, in one line."""
        missed = [bar.number for bar in self.bars if not bar.held]
        ending = f"MISSED {', '.join(missed)}" if missed else f"every bar held, {len(self.bars)} of {len(self.bars)}"
        return f"The storm on {self.loop}: {ending}."


def blow(console: Console, settings: StormSettings, contender: Contender, loop: str) -> Blown:
    """One storm, and its table."""
    console.print(Text(f"{contender.name} on {loop}, cancelled by {WAYS_IN_WORDS[settings.ways]}"), soft_wrap=True)
    with _progress(console, settings.cancellations) as on_progress:
        result = anyio.run(partial(storm, settings, on_progress, contender), backend=loop)
    blown = Blown(loop, _told(result), bars(result))
    _show(console, blown, result)
    return blown


def console() -> Console:
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    return console


@contextmanager
def _progress(console: Console, total: int) -> Generator[Callable[[int], None]]:
    """A bar for as long as the block lasts; nothing in a pipe."""
    if not console.is_terminal:
        yield lambda done: None
        return
    columns = (TextColumn("cancellations"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("cancellations", total=total)
        yield lambda done: progress.update(task, completed=min(done, total))


def _told(result: StormResult) -> str:
    figures = result.figures
    endings = ", ".join(f"{count:,} {ending}" for ending, count in sorted(figures.endings.items()))
    faults = f"{figures.crashes} crashes, {figures.freezes} freezes, {figures.terminated} sessions terminated"
    lanes = f"; {result.reads_on_lanes:,} reads on lanes" if result.reads_on_lanes else ""
    return f"{sum(figures.attempts.values()):,} attempts in {result.seconds:,.0f} s: {endings}; {faults}{lanes}"


def _show(console: Console, blown: Blown, result: StormResult) -> None:
    figures = result.figures
    console.print(Text(blown.told), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, show_edge=False, header_style="dim")
    for heading in ("", "#", "promise", f"on {blown.loop}", "bar"):
        table.add_column(heading)
    for bar in blown.bars:
        mark = Text("ok", style="green") if bar.held else Text("MISSED", style="bold red")
        table.add_row(mark, *(Text(cell) for cell in (bar.number, bar.promise, bar.figure, bar.bar)))
    console.print(table)
    for problem in [*figures.poisoned[:_SHOWN_PROBLEMS], *figures.orphans[:_SHOWN_PROBLEMS]]:
        console.print(Text(f"  {problem}", style="red"), soft_wrap=True)
    console.print()


def in_markdown(storms: Sequence[Blown], settings: StormSettings) -> str:
    """The figures as a page can show them."""
    lines = [
        f"Seed {settings.seed}, on {date.today():%-d %B %Y}, Python {platform.python_version()}.",
        *(f"On {blown.loop}: {blown.told}." for blown in storms),
        "",
        f"| | promise | bar | {' | '.join(f'on {blown.loop}' for blown in storms)} |",
        f"|---|---|---|{'---|' * len(storms)}",
    ]
    for rows in zip(*(blown.bars for blown in storms), strict=True):
        figures = (bar.figure if bar.held else f"**{bar.figure}**" for bar in rows)
        lines.append(f"| {rows[0].number} | {rows[0].promise} | {rows[0].bar} | {' | '.join(figures)} |")
    return "\n".join([*lines, ""])
