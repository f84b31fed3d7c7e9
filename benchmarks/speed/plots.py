"""Figures as pictures, PNG and SVG."""

from collections.abc import Mapping, Sequence
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
    "libpq on Trio": "#000000",
    "pgbench": "#000000",
}
_MARKERS = {"pgbench": "|", "libpq on Trio": "4", "asyncpg": "o", "asyncpg on uvloop": "o", "psycopg": "s"}


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
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(_plainly))
    axes.set_title(title, fontsize=10, loc="left")
    axes.legend(ncols=5, fontsize=8, loc="upper center", bbox_to_anchor=(0.35, -1.0 / (len(workloads) * 0.42 + 1.9)), frameon=False)
    save(made, path)


def growth(curves: Mapping[str, Mapping[str, Sequence[float]]], titles: Mapping[str, tuple[str, str]], path: Path) -> None:
    """A picture for each subject: the CPU time of one unit as there are more, and the memory of all of them."""
    made, places = pyplot.subplots(2, -(-len(curves) // 2), figsize=(14, 6.4), squeeze=False)
    for axes, (name, curve) in zip(places.flat, curves.items(), strict=False):
        title, unit = titles[name]
        axes.plot(curve["size"], curve["cpu"], marker="o", markersize=3, color="#b3263a", label="CPU")
        axes.plot(curve["size"], curve["uncollected"], linestyle=":", color="#b3263a", label="CPU, nothing collected")
        memory = axes.twinx()
        memory.plot(curve["size"], curve["megabytes"], marker="s", markersize=3, linewidth=0.8, color="#1f4e9e", label="memory")
        memory.set_yscale("symlog", linthresh=1)
        memory.set_ylim(0, 1_000)  # the same for all
        memory.set_ylabel("MB at the peak, for all", fontsize=8, color="#1f4e9e")
        axes.set_yscale("log")
        axes.set_xscale("log" if curve["size"][-1] > 100 else "linear")
        axes.set_ylabel(f"µs of CPU for one {unit}", fontsize=8, color="#b3263a")
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(_plainly))
        axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        axes.grid(visible=True, linewidth=0.4, color="#dddddd")
        axes.set_title(title, fontsize=9)
        for each in (axes, memory):
            each.tick_params(labelsize=7)
    places[0][0].legend(fontsize=7, frameon=False)
    made.tight_layout()
    save(made, path)


def _plainly(value: float, _position: int) -> str:
    return f"{value:g}"


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
