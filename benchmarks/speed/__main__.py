"""Interleave the contenders, rotate their order, and print medians and per-round ratios."""

import argparse
import json
import os
import statistics
import subprocess
import sys

import psycopg
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.speed.contenders import CONTENDERS, CREATE, FILL
from benchmarks.speed.worker import WORKLOADS
from trioorm.embedded import ServerOptions, running_server

Figures = dict[str, list[tuple[float, float]]]


def _round(name: str, dsn: str, operations: int) -> tuple[str, dict[str, tuple[float, float]]]:
    """One contender once: what it answered, and (CPU, wall) microseconds for each workload."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.worker", name, dsn, str(operations)], check=True, capture_output=True, text=True
    )
    record = json.loads(done.stdout)
    return record["answers"], record["micros"]


def _run(dsn: str, rounds: int, operations: int, console: Console) -> dict[str, Figures]:
    names = list(CONTENDERS)
    figures: dict[str, Figures] = {name: {workload: [] for workload in WORKLOADS} for name in names}
    turns = [names[(at + number) % len(names)] for number in range(rounds) for at in range(len(names))]
    said: dict[str, str] = {}
    for name in track(turns, "measuring", console=console, disable=not console.is_terminal, transient=True):
        said[name], micros = _round(name, dsn, operations)
        if len(set(said.values())) != 1:
            raise SystemExit(f"the contenders do not give equal answers:\n{json.dumps(said, indent=2)}")
        for workload, pair in micros.items():
            figures[name][workload].append(pair)
    return figures


def _table(figures: dict[str, Figures]) -> Table:
    baseline = next(iter(CONTENDERS))
    table = Table(title=f"Client CPU for one operation, and its ratio to {baseline} (median of rounds, least to greatest)")
    table.add_column("Operation")
    for name in CONTENDERS:
        table.add_column(name, justify="right")
    for workload in WORKLOADS:
        cells: list[str] = []
        for name in CONTENDERS:
            own = [cpu for cpu, _ in figures[name][workload]]
            ratios = [cpu / base for cpu, (base, _) in zip(own, figures[baseline][workload], strict=True)]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            cells.append(f"{statistics.median(own):.0f} µs\n{spread}")
        table.add_row(workload, *cells)
    return table


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="trioorm beside psycopg and asyncpg")
    parser.add_argument("--rounds", type=int, default=7, help="how often each contender runs (7)")
    parser.add_argument("--operations", type=int, default=1000, help="how many operations of each kind in a round (1000)")
    chosen = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})  # client and server on one core: a wake-up across cores costs as much as a query
    with running_server(options=ServerOptions(fsync=False)) as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute(CREATE)
            connection.execute(FILL)
            connection.execute("CREATE INDEX ON bench_person (age)")
            version = connection.info.parameter_status("server_version")
        figures = _run(server.conninfo(), chosen.rounds, chosen.operations, console)
    console.print(_table(figures))
    console.print(
        f"{chosen.rounds} rounds of {chosen.operations} operations, interleaved, order rotated. Client and server on core {core}, "
        f"PostgreSQL {version}, unix socket, fsync off, Python {sys.version.split()[0]}. trioorm gives objects, the drivers rows."
    )


if __name__ == "__main__":
    main()
