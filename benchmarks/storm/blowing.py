"""One storm on the console: its progress while it blows, then every figure beside its bar."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial

import anyio
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


def blow(console: Console, settings: StormSettings, contender: Contender, loop: str) -> list[Bar]:
    """One storm, and its table."""
    console.print(Text(f"{contender.name} on {loop}, cancelled by {WAYS_IN_WORDS[settings.ways]}"), soft_wrap=True)
    with _progress(console, settings.cancellations) as on_progress:
        result = anyio.run(partial(storm, settings, on_progress, contender), backend=loop)
    judged = bars(result)
    _show(console, loop, judged, result)
    return judged


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


def _show(console: Console, loop: str, judged: Sequence[Bar], result: StormResult) -> None:
    figures = result.figures
    total = sum(figures.attempts.values())
    endings = ", ".join(f"{count:,} {ending}" for ending, count in sorted(figures.endings.items()))
    faults = f"{figures.crashes} crashes, {figures.freezes} freezes, {figures.terminated} sessions terminated"
    console.print(Text(f"{total:,} attempts in {result.seconds:.1f} s: {endings}; {faults}"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, show_edge=False, header_style="dim")
    for heading in ("", "#", "promise", f"on {loop}", "bar"):
        table.add_column(heading)
    for bar in judged:
        mark = Text("ok", style="green") if bar.held else Text("MISSED", style="bold red")
        table.add_row(mark, *(Text(cell) for cell in (bar.number, bar.promise, bar.figure, bar.bar)))
    console.print(table)
    for problem in [*figures.poisoned[:_SHOWN_PROBLEMS], *figures.orphans[:_SHOWN_PROBLEMS]]:
        console.print(Text(f"  {problem}", style="red"), soft_wrap=True)
    console.print()
