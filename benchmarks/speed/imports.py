"""What it costs to import each library, in interpreters of their own."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable

from benchmarks.speed.entrants import is_installed

# What comes before counts for nothing: what a program has anyway.
_PROGRAMS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "trioorm": ("", "from trioorm import open_database", ()),
    "trioorm, where trio and psycopg are there": ("import trio, psycopg", "from trioorm import open_database", ()),
    "trioorm's models and statements alone": ("", "import trioorm", ()),
    "asyncpg": ("", "import asyncpg", ("asyncpg",)),
    "psycopg and its pool": ("", "import psycopg, psycopg_pool", ()),
    "SQLAlchemy on asyncpg": ("", "import asyncpg, sqlalchemy.orm, sqlalchemy.ext.asyncio", ("sqlalchemy", "asyncpg")),
    "Tortoise on asyncpg": ("", "import tortoise, tortoise.backends.asyncpg", ("tortoise-orm", "asyncpg")),
    "Piccolo on asyncpg": ("", "import piccolo.table, piccolo.columns, piccolo.engine.postgres", ("piccolo", "asyncpg")),
}

_MEASURE = """
import json, os, time
{before}
def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
memory, cpu = held(), time.process_time()
{program}
print(json.dumps([(time.process_time() - cpu) * 1e3, (held() - memory) / 1e6]))
"""

Imports = dict[str, dict[str, float]]
"""By library: `milliseconds` of CPU time and `megabytes` of memory, medians."""


def programs() -> list[str]:
    """What can be imported here."""
    return [name for name, (_, _, packages) in _PROGRAMS.items() if all(map(is_installed, packages))]


def measure_imports(rounds: int, step: Callable[[str], None]) -> Imports:
    """Import each so many times, taking turns; `step` is told of each. Empty where the system does not tell how much memory is held."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in programs()}
    # What pip installs is compiled there and then. A checkout is compiled when it is first imported, unless this forbids to keep it: then
    # it would be compiled each time, which takes longer than everything else together.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for number in range(rounds + 1):
        for name in found:
            step(f"importing {name}")
            before, program, _ = _PROGRAMS[name]
            text = _MEASURE.format(before=before, program=program)
            done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, env=environment)
            if number:  # the first compiles, and reads files that later ones find in memory
                milliseconds, megabytes = json.loads(done.stdout)
                found[name].append((milliseconds, megabytes))
    return {
        name: {"milliseconds": statistics.median(cpu for cpu, _ in each), "megabytes": statistics.median(memory for _, memory in each)}
        for name, each in found.items()
    }
