"""`python -m benchmarks.storm`: let it blow on Trio and on asyncio, print every figure beside its bar, and fail when one is missed."""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from attrs import evolve
from rich.text import Text

from benchmarks.storm.blowing import blow, in_markdown
from benchmarks.storm.blowing import console as new_console
from benchmarks.storm.comparison import compare
from benchmarks.storm.ours import Trioorm
from benchmarks.storm.storm import StormSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 0 when every bar held, else 1."""
    chosen = _parser().parse_args(arguments)
    console = new_console()
    seed = random.randrange(2**32) if chosen.seed is None else chosen.seed
    settings = StormSettings(
        seed=seed,
        cancellations=chosen.cancellations,
        crashes=chosen.crashes,
        freezes=max(1, chosen.crashes // 2) if chosen.freezes is None else chosen.freezes,
        terminations=max(1, chosen.crashes * 2) if chosen.terminations is None else chosen.terminations,
        tasks=chosen.tasks,
        limit_seconds=chosen.limit_seconds,
        lanes=chosen.lanes,
    )
    again = f"--seed {seed} --cancellations {settings.cancellations} --crashes {settings.crashes}"
    again += "" if settings.lanes is None else f" --lanes {settings.lanes}"
    console.print(Text(f"Seed {seed}; once more: {again} {' '.join(f'--against {peer}' for peer in chosen.against)}"), soft_wrap=True)
    if chosen.against:
        return compare(console, settings, chosen.against)
    storms = [
        # Only asyncio has cancels of its own.
        blow(console, evolve(settings, ways="all" if loop == "asyncio" else "scopes"), Trioorm(settings.lanes), loop)
        for loop in (("trio", "asyncio") if chosen.loop == "both" else (chosen.loop,))
    ]
    if chosen.figures is not None:
        chosen.figures.write_text(in_markdown(storms, settings))
    for blown in storms:
        console.print(Text(blown.verdict, style="green" if blown.held else "bold red"), soft_wrap=True)
    return 0 if all(blown.held for blown in storms) else 1


def _parser() -> argparse.ArgumentParser:
    defaults = StormSettings(seed=0)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--seed", type=int, help="of all that is drawn; a new one by default, and printed")
    parser.add_argument("--loop", choices=["both", "trio", "asyncio"], default="both", help="the event loop (default: %(default)s)")
    parser.add_argument("--cancellations", type=int, default=defaults.cancellations, help="how many (default: %(default)s)")
    parser.add_argument("--crashes", type=int, default=defaults.crashes, help="how often the server is killed (default: %(default)s)")
    parser.add_argument("--freezes", type=int, help="how often it stands still (default: half as often)")
    parser.add_argument("--terminations", type=int, help="how often sessions are terminated (default: twice as often)")
    parser.add_argument("--limit-seconds", type=float, default=defaults.limit_seconds, help="what has not ended by then never will")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        choices=["psycopg_pool", "asyncpg"],
        help="the same storm for this peer too; may be repeated",
    )
    parser.add_argument("--figures", type=Path, help="a Markdown file to write the figures to")
    parser.add_argument("--lanes", type=int, help="how many of the pool's 5 connections reads may share (default: as the library has it)")
    parser.add_argument("--tasks", type=int, default=defaults.tasks, help="tasks at work, on a pool of 5 (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
