"""Choose what to measure, measure it, and show it. A whole run is published; a part of one is only shown, unless it is asked for."""

import argparse
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.speed import record, tables
from benchmarks.speed.entrants import BASELINE, ENTRANTS, Entrant, chosen, versions
from benchmarks.speed.figures import micros
from benchmarks.speed.imports import Imports, measure_imports, programs
from benchmarks.speed.measuring import Different, Figures, Plan, measure
from benchmarks.speed.networks import NETWORKS, Network, pin, round_trip, server, way
from benchmarks.speed.publish import SPEED, publish
from benchmarks.speed.showing import terminal_table
from benchmarks.speed.workers import MALLOC, WorkerError
from benchmarks.speed.workloads import WORKLOADS
from trioorm.embedded import Server

_QUICK = ("get", "filter", "wide", "insert", "update")
_IMPORT_ROUNDS = 5


@contextmanager
def progress(console: Console, total: int) -> Generator[Callable[[str], None]]:
    """A bar in a terminal, nothing elsewhere."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("measuring", total=total)
        yield lambda text: bar.update(task, advance=1, description=text)


def entrants(console: Console, against: Sequence[str]) -> list[Entrant]:
    """Who takes part; who cannot is named."""
    wanted = chosen([BASELINE, "trioorm", *against]) if against else list(ENTRANTS.values())
    present: list[Entrant] = []
    for entrant in wanted:
        missing = entrant.missing()
        if missing:
            console.print(f"[yellow]{entrant.name} is left out, since it is not installed: {', '.join(missing)}.[/]")
        else:
            present.append(entrant)
    return present


def _plan(network: Network, who: Sequence[Entrant], asked: argparse.Namespace) -> Plan:
    names = [name for name in asked.workload or WORKLOADS if asked.workload or network.workloads is None or name in network.workloads]
    rounds = asked.rounds if network.workloads is None or asked.workload else max(3, asked.rounds // 2)
    return Plan(who, [WORKLOADS[name] for name in names], rounds, asked.seconds)


def _measure(found: Server, plans: dict[str, Plan], console: Console) -> tuple[dict[str, Figures], dict[str, float], str]:
    with psycopg.connect(found.conninfo(), autocommit=True) as direct:
        tables.create(direct)
        figures: dict[str, Figures] = {}
        trips: dict[str, float] = {}
        for name, plan in plans.items():
            with way(found, NETWORKS[name]) as where, progress(console, plan.steps()) as step:
                trips[name] = round_trip(where)
                figures[name] = measure(plan, where, direct, step)
        return figures, trips, str(direct.info.parameter_status("server_version"))


def _arguments() -> argparse.Namespace:
    names = sorted({name for entrant in ENTRANTS for name in (entrant, entrant.split()[0])})
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="trioorm beside its peers")
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS), help="only this one; may be given several times")
    parser.add_argument("--against", action="append", choices=names, help="only trioorm, asyncpg and this contender; likewise")
    parser.add_argument("--network", action="append", choices=list(NETWORKS), help="only this way to the server; likewise")
    parser.add_argument("--rounds", type=int, default=9, help="how often each contender does each workload (9; half of it over TCP)")
    parser.add_argument("--seconds", type=float, default=0.1, help="how long it does so in a round (0.1)")
    parser.add_argument("--clock", choices=["cpu", "wall"], help="what to show: CPU of the client, or wall time")
    parser.add_argument("--quick", action="store_true", help="psycopg and asyncpg on five workloads, in under three minutes")
    parser.add_argument("--publish", action="store_true", help="rewrite pages, pictures and record even though this is not a whole run")
    asked = parser.parse_args()
    asked.is_whole = asked.publish or not (asked.workload or asked.against or asked.network or asked.quick)
    if asked.quick:
        asked.workload, asked.against = asked.workload or list(_QUICK), asked.against or ["psycopg"]
    if not asked.network:
        asked.network = list(NETWORKS) if not (asked.workload or asked.against or asked.quick) else ["unix"]
    return asked


def main() -> int:
    """Run as a program."""
    asked = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 240)
    who = entrants(console, asked.against or ())
    load = record.load()
    core = pin()
    plans = {name: _plan(NETWORKS[name], who, asked) for name in asked.network}
    imports: Imports = {}
    try:
        with server() as found:
            figures, trips, postgresql = _measure(found, plans, console)
        if asked.is_whole:
            with progress(console, len(programs()) * (_IMPORT_ROUNDS + 1)) as step:
                imports = measure_imports(_IMPORT_ROUNDS, step)
    except (Different, WorkerError) as error:
        console.print(f"[red]Nothing is compared:[/]\n{error}", highlight=False)
        return 1
    for name, of_network in figures.items():
        console.print(terminal_table(of_network, NETWORKS[name], asked.clock or NETWORKS[name].clock))
        console.print(f"The shortest of questions took {micros(trips[name])} there, asked without an event loop.")
    for name, cost in imports.items():
        console.print(f"importing {name}: {cost['milliseconds']:.0f} ms, {cost['megabytes']:.1f} MB")
    pinned = f"Clients and server on core {core}" if core is not None else "Not kept on one core, which this system cannot do"
    console.print(
        f"{pinned}; fsync off; {', '.join(f'{name}={value}' for name, value in MALLOC.items())}. "
        "trioorm and the other ORMs give objects, the drivers rows."
    )
    if asked.is_whole:
        _publish(figures, imports, who, asked, {"core": core, "load": load, "round_trips": trips}, postgresql, console)
    return 0


def _publish(
    figures: dict[str, Figures],
    imports: Imports,
    who: Sequence[Entrant],
    asked: argparse.Namespace,
    settings: dict[str, object],
    postgresql: str,
    console: Console,
) -> None:
    made = record.Record(
        date=record.today(),
        commit=record.commit(),
        command=" ".join(["python -m benchmarks.speed", *sys.argv[1:]]),
        machine=record.machine(),
        versions={"python": sys.version.split()[0], "postgresql": postgresql, **versions(who)},
        settings={**settings, "rounds": asked.rounds, "far_rounds": max(3, asked.rounds // 2), "seconds": asked.seconds, "malloc": MALLOC},
        figures=figures,
        imports=imports,
    )
    record.save(made, SPEED)
    for path in [SPEED, *publish(record.Record.read(SPEED))]:  # as it will be read again, so that a page never differs from its record
        console.print(f"written: {path.relative_to(record.ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
