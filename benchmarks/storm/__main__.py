"""`python -m benchmarks.storm`: let it blow on Trio and on asyncio, print every figure beside its bar, and fail when one is missed."""

import argparse
import random
import sys
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
from benchmarks.storm.storm import StormResult, StormSettings, storm

_PIPE_COLUMNS = 200
_SHOWN_PROBLEMS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 0 when every bar held, else 1."""
    chosen = _parser().parse_args(arguments)
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    seed = random.randrange(2**32) if chosen.seed is None else chosen.seed
    settings = StormSettings(
        seed=seed,
        cancellations=chosen.cancellations,
        crashes=chosen.crashes,
        freezes=max(1, chosen.crashes // 2) if chosen.freezes is None else chosen.freezes,
        terminations=max(1, chosen.crashes * 2) if chosen.terminations is None else chosen.terminations,
        tasks=chosen.tasks,
    )
    held = True
    for loop in ("trio", "asyncio") if chosen.loop == "both" else (chosen.loop,):
        again = f"--seed {seed} --loop {loop} --cancellations {settings.cancellations} --crashes {settings.crashes}"
        console.print(Text(f"Storm on {loop}, seed {seed}; once more: {again}"), soft_wrap=True)
        with _progress(console, settings.cancellations) as on_progress:
            result = anyio.run(partial(storm, settings, on_progress), backend=loop)
        judged = bars(result)
        _show(console, loop, judged, result)
        held = held and all(bar.held for bar in judged)
    return 0 if held else 1


def _parser() -> argparse.ArgumentParser:
    defaults = StormSettings(seed=0)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--seed", type=int, help="of all that is drawn; a new one by default, and printed")
    parser.add_argument("--loop", choices=["both", "trio", "asyncio"], default="both", help="the event loop (default: %(default)s)")
    parser.add_argument("--cancellations", type=int, default=defaults.cancellations, help="how many (default: %(default)s)")
    parser.add_argument("--crashes", type=int, default=defaults.crashes, help="how often the server is killed (default: %(default)s)")
    parser.add_argument("--freezes", type=int, help="how often it stands still (default: half as often)")
    parser.add_argument("--terminations", type=int, help="how often sessions are terminated (default: twice as often)")
    parser.add_argument("--tasks", type=int, default=defaults.tasks, help="tasks at work, on a pool of 5 (default: %(default)s)")
    return parser


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


if __name__ == "__main__":
    sys.exit(main())
