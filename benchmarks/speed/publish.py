"""Write a run's figures where people read them: README.md, docs/benchmarks.md and the pictures.

    python -m benchmarks.speed.publish

The contract: only what stands between the markers `<!-- NAME:begin -->` and `<!-- NAME:end -->` is changed, and all of it comes from the
record, so that a page never says what was not measured.
"""

from pathlib import Path

from benchmarks.speed.figures import micros
from benchmarks.speed.networks import NETWORKS
from benchmarks.speed.record import RESULTS, ROOT, Record
from benchmarks.speed.showing import CLOCKS, OURS, imports_table, markdown_table, short_table, where_others_win

SPEED = RESULTS / "speed.json"
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"


def replaced(text: str, name: str, lines: list[str]) -> str:
    """A page with other lines between the markers of this name.

    Raises:
        ValueError: the page has no such markers.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(begin)
    _, also_found, after = rest.partition(end)
    if not found or not also_found:
        raise ValueError(f"there is no {begin} with {end} behind it")
    return "\n".join([before + begin, "", *lines, "", end + after])


def _made_with(record: Record) -> list[str]:
    machine, settings = record.machine, record.settings
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items() if name != "trioorm")
    busy = "" if settings["load"] is None else f" When it began, {settings['load']:.1f} processes wanted to run on average."
    over_tcp = f" ({settings['far_rounds']} over TCP)" if len(record.figures) > 1 else ""
    pinned = "all kept on one core" if settings["core"] is not None else "not kept on one core, which this system cannot do"
    return [
        f"Measured on {record.date} at commit {record.commit or 'unknown'} with `{record.command}`: {machine['processor']}, "
        f"{machine['cores']} cores, {machine['system']}.{busy} {settings['rounds']} rounds over the unix socket{over_tcp}; "
        f"contenders and server {pinned}; fsync off; "
        f"{', '.join(f'`{name}={value}`' for name, value in settings['malloc'].items())}.",
        "",
        f"Versions: {versions}.",
    ]


def page_lines(record: Record) -> list[str]:
    """The generated part of docs/benchmarks.md."""
    lines = _made_with(record)
    for name, figures in record.figures.items():
        network = NETWORKS[name]
        image = f"images/speed-{name}"
        lines += ["", f"## Over {network.title}", "", f"![ratios to asyncpg]({image}.svg)", ""]
        if (trip := record.settings.get("round_trips", {}).get(name)) is not None:
            lines += [f"The shortest of questions, asked by psycopg without an event loop, took {micros(trip)}.", ""]
        for clock in ("cpu", "wall") if network.clock == "cpu" else ("wall", "cpu"):
            lines += [f"{CLOCKS[clock]} of one operation; below it the ratio to asyncpg in the same round, median (middle half):", ""]
            lines += [*markdown_table(figures, clock), ""]
        wins = where_others_win(figures, network.clock)
        lines.append(
            f"Ahead of {OURS} by {CLOCKS[network.clock].lower()}, with what they take of its time:"
            if wins
            else f"Nobody is ahead of {OURS} here."
        )
        lines += ["", *wins] if wins else []
    if record.imports:
        lines += ["", "## Importing", "", *imports_table(record)]
    return lines


def readme_lines(record: Record) -> list[str]:
    """The generated part of README.md."""
    wins = where_others_win(record.figures["unix"], "cpu")
    return [
        *short_table(record),
        "",
        f"Client CPU of one operation over a unix socket, medians, on {record.date}: {record.machine['processor']}, "
        f"Python {record.versions['python']}, PostgreSQL {record.versions['postgresql']}. The ORMs give objects, the drivers rows. "
        "[All figures, and how they were measured](docs/benchmarks.md).",
        "",
        "Others are ahead of it here, with what they take of its time:" if wins else "Nobody is ahead of it in this table.",
        *(["", *wins] if wins else []),
    ]


def publish(record: Record) -> list[Path]:
    """Rewrite the pages and the pictures; returns what was written."""
    from benchmarks.speed import plots  # the pages are read by tests, too, where nothing can draw

    written = [README, PAGE]
    README.write_text(replaced(README.read_text(encoding="utf-8"), "speed", readme_lines(record)), encoding="utf-8")
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), "speed", page_lines(record)), encoding="utf-8")
    for name, figures in record.figures.items():
        network = NETWORKS[name]
        picture = IMAGES / f"speed-{name}"
        plots.ratios(figures, network.clock, f"Over {network.title}", picture)
        written += [picture.with_suffix(".svg"), picture.with_suffix(".png")]
    return written


def main() -> None:
    """Run as a program: the record again, in the shape that the pages have now."""
    for path in publish(Record.read(SPEED)):
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
