"""The example from beginning to end, on the event loop that it is called under."""

import time

import attrs

from examples.films.console import Report
from examples.films.load import load
from examples.films.models import MODELS, Credit
from examples.films.own_schema import open_in_own_schema
from examples.films.page import lines_of_page
from examples.films.questions import co_actors, films_by_year, films_of, top_directors
from examples.films.rates import TASKS, read_by_key
from examples.films.source import Catalogue
from examples.films.transactions import (
    DECADES,
    FIRST_EVENING,
    SECOND_EVENING,
    plan_evening,
    plan_evening_with_a_stuck_child,
    programme,
    queries_still_running,
)
from trioorm import Database, count, select

ACTOR = "Bill Murray"
TIMEOUT_SECONDS = 0.5


@attrs.frozen
class Rates:
    """What one run achieved, on one event loop."""

    loop: str
    rows_loaded_a_second: float
    reads_a_second: float
    seconds: float


async def run_demo(address: str, loop: str, catalogue: Catalogue, report: Report) -> Rates:
    """Everything, in a schema of its own.

    Args:
        address: of the server.
        loop: what the event loop is called, for the headings.
        catalogue: what is loaded.
        report: where the results go.

    Raises:
        TrioormError: the server cannot be reached, or refuses something.

    Checkpoint: always.
    """
    started_at = time.perf_counter()
    report.heading(f"Films under {loop}")
    async with open_in_own_schema(address) as db:
        await db.create_schema(*MODELS)
        report.line(f"1. A server, and in it {len(MODELS)} tables: {time.perf_counter() - started_at:.2f} s")
        rows_a_second = await _load(db, catalogue, report)
        await _ask(db, report)
        await _commit(db, report)
        await _time_out(db, report)
        reads = await read_by_key(db, catalogue.films)
        report.line(
            f"\n6. Rates: {rows_a_second:,.0f} rows loaded a second; {reads.a_second:,.0f} films read by key a second, by {TASKS} tasks"
        )
        report.check(f"{reads.unchanged:,} of {reads.count:,} films read were as written", reads.unchanged == reads.count)
    return Rates(loop, rows_a_second, reads.a_second, time.perf_counter() - started_at)


async def _load(db: Database, catalogue: Catalogue, report: Report) -> float:
    report.line(f"\n2. Loading {catalogue.row_count:,} rows by COPY")
    tables = await load(db, catalogue, report)
    rows = [[table.table, f"{table.rows:,}", f"{table.seconds:.2f}", f"{table.rows / table.seconds:,.0f}"] for table in tables]
    report.table("Loaded, with all keys checked", ["Model", "Rows", "Seconds", "Rows / s"], rows)
    stored = await db.fetch_value(select(count()).from_(Credit))
    report.check(f"the server has {stored:,} credits", stored == len(catalogue.credits))
    return catalogue.row_count / sum(table.seconds for table in tables)


async def _ask(db: Database, report: Report) -> None:
    report.line("\n3. Questions")
    started_at = time.perf_counter()
    directors = await top_directors(db)
    films = await films_of(db, ACTOR)
    others = await co_actors(db, ACTOR)
    years = await films_by_year(db)
    seconds = time.perf_counter() - started_at

    rows = [[name, str(number), f"${takings:,.0f}"] for name, number, takings in directors]
    report.table("Directors by box office", ["Director", "Films", "Box office"], rows)
    rows = [[str(film.year), film.title, ", ".join(sorted(genres))] for film, genres in films]
    report.table(f"The latest films of {ACTOR}", ["Year", "Title", "Genres"], rows)
    report.table(f"Who played with {ACTOR} most often", ["Actor", "Films together"], [[name, str(number)] for name, number in others])
    report.histogram("Films by year", years)
    for line in await lines_of_page(db, films[0][0].id):
        report.line(line)
    report.check(f"four questions answered in {seconds * 1000:.0f} ms", sum(years.values()) > 0)


async def _commit(db: Database, report: Report) -> None:
    report.line(f"\n4. A transaction whose nursery writes from {len(DECADES)} tasks")
    await plan_evening(db, FIRST_EVENING)
    rows = [[str(screening.hall), str(film.year), film.title, f"{film.review_meter_percent} %"] for screening, film in await programme(db)]
    report.table(f"The programme of {FIRST_EVENING:%d %B %Y, %H:%M}", ["Hall", "Year", "Title", "Reviews"], rows)
    report.check(f"all {len(DECADES)} screenings are committed", len(rows) == len(DECADES))


async def _time_out(db: Database, report: Report) -> None:
    report.line(f"\n5. A transaction that times out after {TIMEOUT_SECONDS} s, while a child waits in pg_sleep(60)")
    before = await programme(db)
    ended = await plan_evening_with_a_stuck_child(db, SECOND_EVENING, timeout_seconds=TIMEOUT_SECONDS)
    after = await programme(db)
    pool = db.statistics()
    running = await queries_still_running(db)
    report.check(f"the timeout ended it after {ended.seconds:.2f} s", ended.was_cancelled and ended.seconds < TIMEOUT_SECONDS + 2)
    report.check(
        f"nothing was written: {ended.rows_inside} screenings seen inside, {len(after)} afterwards, as before",
        ended.rows_inside == len(before) + len(DECADES) and after == before,
    )
    report.check(
        f"the pool is whole: {pool.pool_size} open, {pool.idle} idle, {pool.on_loan} on loan, {pool.waiting} waiting",
        pool.on_loan == 0 and pool.waiting == 0 and pool.idle == pool.pool_size,
    )
    report.check(f"the server runs no leftover query: {running}", running == 0)
