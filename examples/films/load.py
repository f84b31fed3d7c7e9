"""Loading: every table by COPY, the fastest way into PostgreSQL, with a bar to watch."""

import time

import attrs

from examples.films.console import Report
from examples.films.source import Catalogue
from trioorm import Database


@attrs.frozen
class Loaded:
    """What a load wrote and how long it took.

    Attributes:
        rows: for each table its number of rows, in the order of loading.
        seconds: for all of them.
    """

    rows: dict[str, int]
    seconds: float

    @property
    def rows_a_second(self) -> float:
        return sum(self.rows.values()) / self.seconds


async def load(db: Database, catalogue: Catalogue, report: Report) -> Loaded:
    """Write the whole catalogue, all or nothing.

    Checkpoint: always.
    """
    started_at = time.perf_counter()
    rows: dict[str, int] = {}
    async with db.transaction(name="load") as tx:
        for objects in catalogue.tables():
            model = type(objects[0])
            with report.progress(f"  {model.__name__}", len(objects)) as show:
                rows[model.__name__] = await tx.copy_in(model, objects, on_progress=show)
                show(len(objects))
    return Loaded(rows, time.perf_counter() - started_at)
