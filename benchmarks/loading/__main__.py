"""Measure the three, and print them. Only ratios within one run mean anything.

The client's CPU is that of this thread, the server's that of its process for the one connection, from the kernel's account of it.
"""

import argparse
import gc
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import psycopg
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console

from benchmarks.loading.films import FILL, MODELS, Credit, Film, film_by_hand, film_of, names_in
from examples.films.console import Report
from examples.films.load import load
from examples.films.models import MODELS as FILMS
from examples.films.models import Film as RealFilm
from examples.films.page import film_page
from examples.films.source import read_catalogue
from trioorm import Database, open_database, select, sql
from trioorm.embedded import ServerOptions, running_server

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


async def _micros(operate: Callable[[int], Awaitable[object]], times: int) -> float:
    for number in range(times // 10 + 1):
        await operate(number)
    began = time.thread_time()
    for number in range(times):
        await operate(number)
    return (time.thread_time() - began) / times * 1e6


async def _beside_asyncpg(db: Database, dsn: str, rounds: int) -> str:
    asyncpg: Any = import_module("asyncpg")
    options = conninfo_to_dict(dsn)
    connection: Any = await asyncpg.connect(host=options["host"], port=options["port"], user=options["user"], database=options["dbname"])
    ours, theirs = await film_of(db, 5), await film_by_hand(connection, 5)
    assert names_in(ours) == (
        [person["name"] for person in theirs["directors"]],
        [credit["person"]["name"] for credit in theirs["cast"]],
        len(theirs["reviews"]),
    ), "both give the same"
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds):
        by_hand = await _micros(lambda number: film_by_hand(connection, number % 1000 + 1), 300)
        pairs.append((await _micros(lambda number: film_of(db, number % 1000 + 1), 300), by_hand))
    await connection.close()
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    ours_, theirs_ = (statistics.median(each) for each in zip(*pairs, strict=True))
    return f"a film with directors, cast and reviews: {ours_:.0f} µs of client CPU, by asyncpg and hand {theirs_:.0f} µs; ratio {ratio:.2f}"


def _server_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_SECONDS


async def _page(db: Database, console: Console) -> str:
    await db.create_schema(*FILMS)
    await load(db, read_catalogue(), Report(Console(quiet=True)))
    await db.execute(sql("ANALYZE"))
    numbers = await db.fetch_all(select(RealFilm.id).order_by(RealFilm.review_count.desc(), RealFilm.id).limit(1000))
    pid = await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int))
    for number in numbers[:50]:
        await db.fetch_one(film_page(number))
    client, server = time.thread_time(), _server_seconds(pid)
    for number in numbers:
        await db.fetch_one(film_page(number))
    client, server = time.thread_time() - client, _server_seconds(pid) - server
    objects = len(numbers) / 1e6
    console.print((await db.explain(film_page(numbers[0]), analyze=True)).drawn(), highlight=False)
    return f"a page of films: {client / objects:.0f} µs of client CPU, {server / objects:.0f} µs of the server's"


async def _memory(db: Database) -> str:
    statement = select(Film).load(Film.cast.load(Credit.person))
    await db.fetch_all(statement)
    await db.execute(sql("INSERT INTO bench_credit SELECT n, n % 1000 + 1, n % 3000 + 1, 1, n FROM generate_series(100000, 187999) n"))
    gc.collect()
    tracemalloc.start()
    films = await db.fetch_all(statement)
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    number = len(films) + sum(len(film.cast) for film in films) + len({credit.person_id for film in films for credit in film.cast})
    return f"a graph of {number:,} objects: {size / 1e6:.1f} MB, {size / number:.0f} bytes each; {peak / 1e6:.1f} MB while it was loaded"


async def _measure(dsn: str, rounds: int, console: Console) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(*MODELS)
        for text in FILL.split(";"):
            await db.execute(sql(text))
        console.print(await _beside_asyncpg(db, dsn, rounds))
        console.print(await _memory(db))
        console.print(await _page(db, console))


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description="what loading graphs costs")
    parser.add_argument("--rounds", type=int, default=7, help="how often each way is measured (7)")
    chosen = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # client and server on one core
    with running_server(options=ServerOptions(fsync=False)) as server:
        dsn = server.conninfo()
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench")
        anyio.run(_measure, f"{dsn} dbname=bench", chosen.rounds, console)


if __name__ == "__main__":
    main()
