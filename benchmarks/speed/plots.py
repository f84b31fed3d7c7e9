"""Figures as pictures, PNG and SVG."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

from benchmarks.speed.figures import compared, contenders_of
from benchmarks.speed.measuring import Figures
from benchmarks.speed.showing import CLOCKS, baseline
from benchmarks.speed.workloads import WORKLOADS

_COLOURS = {
    "trioorm on Trio": "#b3263a",
    "trioorm on asyncio": "#e0707f",
    "trioorm on uvloop": "#f0b0b8",
    "asyncpg": "#1f4e9e",
    "asyncpg on uvloop": "#7fa5dd",
    "psycopg": "#2f7d4f",
    "SQLAlchemy": "#6b6b6b",
    "Tortoise": "#a08020",
    "Piccolo": "#7a4fa0",
    "pgbench": "#000000",
}
_MARKERS = {"pgbench": "|", "asyncpg": "o", "asyncpg on uvloop": "o", "psycopg": "s"}


def ratios(figures: Figures, clock: str, title: str, path: Path) -> None:
    """One line for each workload, one point for each contender: its ratio to the baseline, with the middle half of the rounds."""
    names, base = contenders_of(figures), baseline(figures)
    workloads = [workload for workload in figures if any(compared(figures, workload, name, base, clock) for name in names)]
    made, axes = _figure(len(workloads) * 0.42 + 1.9)
    for name in names:
        found = [(at, each) for at, workload in enumerate(workloads) if (each := compared(figures, workload, name, base, clock))]
        axes.errorbar(
            [each.median for _, each in found],
            [at for at, _ in found],
            xerr=[[each.median - each.low for _, each in found], [each.high - each.median for _, each in found]],
            fmt=_MARKERS.get(name, "D" if name.startswith("trioorm") else "x"),
            color=_COLOURS.get(name, "#888888"),
            label=name,
            markersize=6,
            elinewidth=1,
        )
    axes.set_xscale("log")
    axes.set_xlabel(f"{CLOCKS[clock]} of one operation, as a ratio to {base} (log scale; less is better)")
    axes.set_yticks(range(len(workloads)), [WORKLOADS[workload].title for workload in workloads])
    axes.invert_yaxis()
    axes.axvline(1, color=_COLOURS["asyncpg"], linewidth=0.8)
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _position: f"{value:g}"))
    axes.set_title(title, fontsize=10, loc="left")
    axes.legend(ncols=5, fontsize=8, loc="upper center", bbox_to_anchor=(0.35, -1.0 / (len(workloads) * 0.42 + 1.9)), frameon=False)
    save(made, path)


def _figure(height: float) -> tuple[Any, Any]:
    made, axes = pyplot.subplots(figsize=(10, height))
    axes.grid(visible=True, axis="both", linewidth=0.4, color="#dddddd")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return made, axes


def save(made: Any, path: Path) -> None:
    """Write a picture as PNG and as SVG; the same figures give the same files."""
    path.parent.mkdir(exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "trioorm"
    made.savefig(path.with_suffix(".svg"), bbox_inches="tight", metadata={"Date": None})
    made.savefig(path.with_suffix(".png"), bbox_inches="tight", dpi=120, metadata={"Software": None})
    pyplot.close(made)
