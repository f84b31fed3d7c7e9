"""Choose what to measure, measure it, and show it."""

import argparse
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.speed import tables
from benchmarks.speed.contender import Address
from benchmarks.speed.entrants import BASELINE, ENTRANTS, Entrant, chosen
from benchmarks.speed.figures import compared, median, micros
from benchmarks.speed.measuring import Different, Figures, Plan, measure
from benchmarks.speed.workers import WorkerError
from benchmarks.speed.workloads import WORKLOADS
from trioorm.embedded import Server, ServerOptions, running_server

_SETTINGS: dict[str, str | int | float | bool] = {
    "autovacuum": False,
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1d",
}  # nothing in the background while others are timed

_QUICK = ("get", "filter", "wide", "insert", "update")


def address(server: Server) -> Address:
    """Where a server is, for the contenders."""
    parts = conninfo_to_dict(server.conninfo())
    return Address(str(parts["host"]), int(str(parts["port"])), str(parts["user"]), str(parts["dbname"]))


def pin() -> int | None:
    """Keep this process and its children on one core, where the system can do that: a wake-up across cores costs as much as a query."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


@contextmanager
def progress(console: Console, total: int) -> Generator[Callable[[str], None]]:
    """A bar in a terminal, nothing elsewhere."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("measuring", total=total)
        yield lambda text: bar.update(task, advance=1, description=text)


def table(figures: Figures, names: Sequence[str], baseline: str) -> Table:
    """Client CPU and ratios, for a terminal."""
    made = Table(title=f"Client CPU of one operation, and its ratio to {baseline}: median of rounds (middle half)")
    made.add_column("workload")
    for name in names:
        made.add_column(name, justify="right")
    for workload in figures:
        cells: list[str] = []
        for name in names:
            time, ratio = median(figures, workload, name), compared(figures, workload, name, baseline)
            shown = "–" if time is None else micros(time)
            cells.append(shown if ratio is None else f"{shown}\n{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})")
        made.add_row(WORKLOADS[workload].title, *cells)
    return made


def _entrants(console: Console, against: Sequence[str]) -> list[Entrant]:
    wanted = chosen([BASELINE, "trioorm", *against]) if against else list(ENTRANTS.values())
    present: list[Entrant] = []
    for entrant in wanted:
        missing = entrant.missing()
        if missing:
            console.print(f"[yellow]{entrant.name} is left out: {', '.join(missing)} is not installed.[/]")
        else:
            present.append(entrant)
    return present


def main() -> int:
    """Run as a program."""
    names = sorted({name for entrant in ENTRANTS for name in (entrant, entrant.split()[0])})
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="trioorm beside its peers")
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS), help="only this one; may be given several times")
    parser.add_argument("--against", action="append", choices=names, default=[], help="only trioorm and this contender; likewise")
    parser.add_argument("--rounds", type=int, default=9, help="how often each contender does each workload (9)")
    parser.add_argument("--seconds", type=float, default=0.1, help="how long it does so in a round (0.1)")
    parser.add_argument("--quick", action="store_true", help="psycopg and asyncpg on five workloads, in under three minutes")
    asked = parser.parse_args()
    if asked.quick:
        asked.workload, asked.against = asked.workload or list(_QUICK), asked.against or ["psycopg"]
    console = Console(width=None if sys.stdout.isatty() else 200)
    entrants = _entrants(console, asked.against)
    workloads = [WORKLOADS[name] for name in asked.workload or WORKLOADS]
    plan = Plan(entrants, workloads, asked.rounds, asked.seconds)
    core = pin()
    options = ServerOptions(fsync=False, max_connections=300, settings=_SETTINGS)
    with running_server(options=options) as server, psycopg.connect(server.conninfo(), autocommit=True) as direct:
        tables.create(direct)
        with progress(console, plan.steps()) as step:
            try:
                figures = measure(plan, address(server), direct, step)
            except (Different, WorkerError) as error:
                console.print(f"[red]Nothing is compared:[/]\n{error}", highlight=False)
                return 1
    shown = [entrant.name for entrant in entrants]
    console.print(table(figures, shown, BASELINE if BASELINE in shown else shown[0]))
    console.print(f"Client and server on core {core}." if core is not None else "Not kept on one core: this system cannot.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
