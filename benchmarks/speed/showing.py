"""Figures as tables: for a terminal, and in Markdown for the documentation."""

import statistics
from collections.abc import Sequence

from rich.table import Table

from benchmarks.speed.entrants import BASELINE, ENTRANTS
from benchmarks.speed.figures import Ratio, ahead, compared, contenders_of, fastest, median, micros, peer_orms, ratio, series
from benchmarks.speed.measuring import Figures
from benchmarks.speed.networks import Network
from benchmarks.speed.record import Record
from benchmarks.speed.workloads import WORKLOADS

CLOCKS = {"cpu": "Client CPU", "wall": "Wall time"}
OURS = "trioorm on Trio"


def baseline(figures: Figures) -> str:
    """Who the others are compared with."""
    names = contenders_of(figures)
    return BASELINE if BASELINE in names else names[0]


def terminal_table(figures: Figures, network: Network, clock: str) -> Table:
    """All figures of one network by one clock."""
    names, base = contenders_of(figures), baseline(figures)
    made = Table(title=f"{CLOCKS[clock]} of one operation over {network.title}, and its ratio to {base}: median of rounds (middle half)")
    made.add_column("workload")
    for name in names:
        made.add_column(name, justify="right")
    for workload in figures:
        cells: list[str] = []
        for name in names:
            time, found = median(figures, workload, name, clock), compared(figures, workload, name, base, clock)
            shown = "–" if time is None else micros(time)
            cells.append(shown if found is None else f"{shown}\n{found.median:.2f} ({found.low:.2f}–{found.high:.2f})")
        made.add_row(WORKLOADS[workload].title, *cells)
    return made


def markdown_table(figures: Figures, clock: str) -> list[str]:
    """The same in Markdown; the fastest stands in bold, limits left out."""
    names, base = contenders_of(figures), baseline(figures)
    lines = [_row(["workload", *names]), _row(["---", *["--:"] * len(names)])]
    for workload in figures:
        best = fastest({workload: figures[workload]}, workload, [name for name in names if not ENTRANTS[name].is_limit], clock)
        cells: list[str] = []
        for name in names:
            time, found = median(figures, workload, name, clock), compared(figures, workload, name, base, clock)
            shown = "–" if time is None else micros(time)
            if best is not None and best[0] == name:
                shown = f"**{shown}**"
            cells.append(shown if found is None else f"{shown} <br> {found.median:.2f} ({found.low:.2f}–{found.high:.2f})")
        lines.append(_row([WORKLOADS[workload].title, *cells]))
    return lines


def short_table(record: Record) -> list[str]:
    """What README shows: ours beside the drivers and the best peer ORM, as times and as ratios to asyncpg."""
    figures = record.figures["unix"]
    lines = [
        _row(["client CPU for", "trioorm (Trio)", "asyncpg", "psycopg", "best other ORM", "trioorm : asyncpg", "trioorm : best ORM"]),
        _row(["---", *["--:"] * 6]),
    ]
    for workload in figures:
        mine = series(figures, workload, OURS, "cpu") if OURS in figures[workload] else None
        if mine is None:
            continue
        best = fastest(figures, workload, peer_orms(figures))
        theirs = series(figures, workload, BASELINE, "cpu")
        cells = [_median(mine), *(_median(series(figures, workload, name, "cpu")) for name in (BASELINE, "psycopg"))]
        cells.append("–" if best is None else f"{_median(best[1])} ({best[0]})")
        cells.append("–" if theirs is None else _ratio(ratio(mine, theirs)))
        cells.append("–" if best is None else _ratio(ratio(mine, best[1])))
        lines.append(_row([WORKLOADS[workload].title, *cells]))
    return lines


def where_others_win(figures: Figures, clock: str) -> list[str]:
    """A list of the workloads on which somebody is ahead of us, and by how much."""
    lines: list[str] = []
    for workload in figures:
        names = ahead(figures, workload, OURS, clock)
        mine = series(figures, workload, OURS, clock)
        if names and mine is not None:
            shares = [f"{name} ({ratio(own, mine).median:.2f})" for name in names if (own := series(figures, workload, name, clock))]
            lines.append(f"- {WORKLOADS[workload].title}: {', '.join(shares)}")
    return lines


def imports_table(record: Record) -> list[str]:
    """What importing costs."""
    lines = [_row(["imported", "CPU", "memory"]), _row(["---", "--:", "--:"])]
    for name, cost in record.imports.items():
        lines.append(_row([name, f"{cost['milliseconds']:.0f} ms", f"{cost['megabytes']:.1f} MB"]))
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _median(values: Sequence[float] | None) -> str:
    return "–" if values is None else micros(statistics.median(values))


def _ratio(found: Ratio) -> str:
    return f"{found.median:.2f}"
