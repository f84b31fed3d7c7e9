"""What a unit costs as there are more of them: measure it, draw it, write it into docs/benchmarks.md.

make bench-growth
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
from attrs import frozen
from rich.console import Console
from rich.table import Table

from benchmarks.speed.growing import SUBJECTS, create
from benchmarks.speed.networks import pin, server
from benchmarks.speed.publish import IMAGES, PAGE, replaced
from benchmarks.speed.record import RESULTS, ROOT, commit, load, machine, save, today
from benchmarks.speed.workers import MALLOC

GROWTH = RESULTS / "growth.json"

Curve = dict[str, list[float]]
"""`size`, and for each `cpu`, microseconds for a unit; `uncollected`, the same without the collector of garbage; `megabytes`, the growth of
the process at its peak."""


@frozen(kw_only=True)
class GrowthRecord:
    """A run, by subject, and what it was measured with."""

    date: str
    commit: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    curves: dict[str, Curve]

    @classmethod
    def read(cls, path: Path) -> "GrowthRecord":
        """Read one from a file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def measure(console: Console) -> dict[str, Curve]:
    """Each subject in a process of its own."""
    curves: dict[str, Curve] = {}
    with server() as found, psycopg.connect(found.conninfo(), autocommit=True) as direct:
        direct.execute(create().encode())
        direct.execute("VACUUM (ANALYZE, FREEZE)")
        for name, subject in SUBJECTS.items():
            with console.status(subject.title):
                command = [sys.executable, "-m", "benchmarks.speed.growing", name, found.conninfo()]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | MALLOC)
            points = [json.loads(line) for line in done.stdout.splitlines()]
            curves[name] = {key: [point[key] for point in points] for key in ("size", "cpu", "uncollected", "megabytes")}
            direct.execute("TRUNCATE made")
    return curves


def _cells(curve: Curve) -> list[str]:
    sizes, cpu = curve["size"], curve["cpu"]
    least = cpu.index(min(cpu))
    times = f"{cpu[0]:.2f} µs", f"{cpu[least]:.2f} µs at {sizes[least]:,.0f}", f"{cpu[-1]:.2f} µs", f"{curve['uncollected'][-1]:.2f} µs"
    return [f"{sizes[-1]:,.0f}", *times, f"{curve['megabytes'][-1]:.1f} MB"]


_HEADS = (
    "what grows",
    "up to",
    "CPU for one: at the first size",
    "least",
    "at the last size",
    "the same, nothing collected",
    "memory more",
)


def terminal_table(curves: dict[str, Curve]) -> Table:
    """For a terminal."""
    made = Table(title="What one unit costs as there are more of them")
    for head in _HEADS:
        made.add_column(head, justify="left" if head == _HEADS[0] else "right")
    for name, curve in curves.items():
        made.add_row(f"{SUBJECTS[name].title} (per {SUBJECTS[name].unit})", *_cells(curve))
    return made


def page_lines(record: GrowthRecord) -> list[str]:
    """The generated part of docs/benchmarks.md."""
    busy = "" if record.settings["load"] is None else f", while {record.settings['load']:.1f} processes wanted to run on average"
    lines = [
        f"Measured on {record.date} at commit {record.commit or 'unknown'} with `make bench-growth`, trioorm on Trio{busy}.",
        "",
        "![costs of a unit](images/growth.svg)",
        "",
        f"| {' | '.join(_HEADS)} |",
        f"| --- |{' --: |' * (len(_HEADS) - 1)}",
    ]
    for name, curve in record.curves.items():
        lines.append(f"| {SUBJECTS[name].title} (per {SUBJECTS[name].unit}) | {' | '.join(_cells(curve))} |")
    return lines


def publish(record: GrowthRecord) -> None:
    """Rewrite the page's part and the picture."""
    from benchmarks.speed import plots  # the page is read by tests, too, where nothing can draw

    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), "growth", page_lines(record)), encoding="utf-8")
    titles = {name: (subject.title, subject.unit) for name, subject in SUBJECTS.items()}
    plots.growth(record.curves, titles, IMAGES / "growth")


def main() -> None:
    """Run as a program."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    busy, core = load(), pin()
    curves = measure(console)
    console.print(terminal_table(curves))
    record = GrowthRecord(
        date=today(), commit=commit(), machine=machine(), settings={"load": busy, "core": core, "malloc": MALLOC}, curves=curves
    )
    save(record, GROWTH)
    publish(GrowthRecord.read(GROWTH))
    console.print(f"written: {GROWTH.relative_to(ROOT)}, {PAGE.relative_to(ROOT)}, docs/images/growth.svg and .png")


if __name__ == "__main__":
    main()
