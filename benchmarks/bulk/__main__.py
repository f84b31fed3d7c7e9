"""Interleave the contenders, rotate their order, and print medians and per-round ratios."""

import argparse
import json
import os
import statistics
import subprocess
import sys

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.bulk.contenders import CONTENDERS, CREATE, FILL
from benchmarks.bulk.worker import WORKLOADS
from trioorm.embedded import ServerOptions, running_server


def _round(name: str, dsn: str, workloads: list[str]) -> tuple[str, dict[str, float]]:
    """One contender once: what it answered, and the CPU milliseconds of each workload."""
    with psycopg.connect(dsn, autocommit=True) as connection:  # equal tables for each
        connection.execute("TRUNCATE bench_narrow, bench_loaded RESTART IDENTITY")
        connection.execute("INSERT INTO bench_narrow (name, age) SELECT 'person ' || n, n % 50 FROM generate_series(1, 1000) AS n")
        connection.execute("VACUUM ANALYZE bench_narrow")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bulk.worker", name, dsn, ",".join(workloads)], check=True, capture_output=True, text=True
    )
    record = json.loads(done.stdout)
    return record["answers"], record["millis"]


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description="many rows: trioorm beside asyncpg")
    parser.add_argument("--rounds", type=int, default=7, help="how often each contender runs (7)")
    parser.add_argument("--only", action="append", choices=list(WORKLOADS), help="these workloads only")
    chosen = parser.parse_args()
    workloads: list[str] = chosen.only or list(WORKLOADS)
    console = Console(width=None if sys.stdout.isatty() else 140)
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})  # client and server on one core: a wake-up across cores costs as much as a query
    os.environ |= {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "67108864"}  # else asyncpg's reads make glibc trim
    names = list(CONTENDERS)
    figures: dict[str, dict[str, list[float]]] = {name: {workload: [] for workload in workloads} for name in names}
    said: dict[str, str] = {}
    with running_server(options=ServerOptions(fsync=False)) as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute(CREATE)
            connection.execute(FILL.encode())
            connection.execute("VACUUM ANALYZE")
            version = connection.info.parameter_status("server_version")
        for number in range(chosen.rounds):
            for at in range(len(names)):
                name = names[(at + number) % len(names)]
                said[name], millis = _round(name, server.conninfo(), workloads)
                if len(set(said.values())) != 1:
                    raise SystemExit(f"the contenders do not give equal rows: {said}")
                for workload, spent in millis.items():
                    figures[name][workload].append(spent)
    table = Table(title=f"Client CPU for one operation, and its ratio to {names[0]} (median of rounds, least to greatest)")
    table.add_column("Operation")
    for name in names:
        table.add_column(name, justify="right")
    for workload in workloads:
        cells: list[str] = []
        for name in names:
            ratios = [own / base for own, base in zip(figures[name][workload], figures[names[0]][workload], strict=True)]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            cells.append(f"{statistics.median(figures[name][workload]):.2f} ms\n{spread}")
        table.add_row(workload, *cells)
    console.print(table)
    console.print(
        f"{chosen.rounds} rounds, interleaved, order rotated. Client and server on core {core}, PostgreSQL {version}, unix socket, "
        f"fsync off, glibc's malloc thresholds fixed, Python {sys.version.split()[0]}. trioorm gives objects, asyncpg records."
    )


if __name__ == "__main__":
    main()
