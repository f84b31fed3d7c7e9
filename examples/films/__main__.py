"""The command line: `python -m examples.films [--dsn DSN] [--loop trio|asyncio|uvloop]`."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import anyio

from examples.films.console import Report, open_report
from examples.films.demo import Rates, run_demo
from examples.films.source import read_catalogue
from trioorm import TrioormError

_BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "trio": ("trio", {}),
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example on each event loop in turn.

    Returns:
        The exit code: 0 when all checks held, else 1.
    """
    options = _parser().parse_args(arguments)
    report = open_report()
    try:
        return _run(options.dsn or os.environ.get("DATABASE_URL") or "embedded:", options.loop or ["trio", "asyncio"], report)
    except (TrioormError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; nothing is left on the server.", file=sys.stderr)
        return 130


def _run(address: str, loops: Sequence[str], report: Report) -> int:
    started_at = time.perf_counter()
    catalogue = read_catalogue()
    report.line(f"Read {len(catalogue.films):,} films from the source in {time.perf_counter() - started_at:.1f} s")
    rates: list[Rates] = []
    for loop in loops:
        backend, backend_options = _BACKENDS[loop]
        rates.append(anyio.run(run_demo, address, loop, catalogue, report, backend=backend, backend_options=backend_options))
    report.heading("Summary")
    rows = [[each.loop, f"{each.rows_loaded_a_second:,.0f}", f"{each.reads_a_second:,.0f}", f"{each.seconds:.1f}"] for each in rates]
    report.table("Rates", ["Event loop", "Rows loaded / s", "Reads / s", "Seconds"], rows)
    report.line(f"\nFinished in {time.perf_counter() - started_at:.1f} s")
    for text in report.failed:
        print(f"This did not hold: {text}", file=sys.stderr)
    return 1 if report.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.films", description="17,472 films in PostgreSQL, under Trio and then asyncio."
    )
    parser.add_argument(
        "--dsn",
        help="address of the server, a libpq string or URI, or embedded:PATH; without it DATABASE_URL, and without that a server of "
        "its own. The example works in a new schema, which it drops at the end.",
    )
    parser.add_argument(
        "--loop", action="append", choices=list(_BACKENDS), help="event loop; may be repeated (default: trio, then asyncio)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
