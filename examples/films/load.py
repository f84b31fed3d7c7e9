"""Loading: every table by COPY, the fastest way into PostgreSQL, with a bar to watch."""

import time
from collections.abc import Sequence

import attrs

from examples.films.console import Report
from examples.films.source import Catalogue
from trioorm import Database, show_progress

BATCH_ROWS = 10_000
"""Rows sent by one COPY. One would do for each table, but foreign keys are checked at its end, and the bar would stand still meanwhile."""


@attrs.frozen
class Loaded:
    """The rows that one table got, and how long it took to write and check them."""

    table: str
    rows: int
    seconds: float


async def load(db: Database, catalogue: Catalogue, report: Report) -> Sequence[Loaded]:
    """Write the whole catalogue in one transaction: all of it or nothing.

    Keys, indexes and foreign keys are in place already, so the server checks every row.

    Returns:
        One entry for each table, in the order of loading.

    Checkpoint: always.
    """
    loaded: list[Loaded] = []
    done = 0
    with show_progress(catalogue.row_count, file=report.console.file) as show:
        async with db.transaction(name="load") as tx:
            for model, objects in catalogue.tables():
                started_at = time.perf_counter()
                for first in range(0, len(objects), BATCH_ROWS):
                    done += await tx.copy_in(model, objects[first : first + BATCH_ROWS])
                    show(done)
                loaded.append(Loaded(model.__name__, len(objects), time.perf_counter() - started_at))
    return loaded
