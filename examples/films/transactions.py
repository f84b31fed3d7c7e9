"""Transactions are nurseries: a festival's evening is planned by several tasks, and is planned whole or not at all."""

import datetime
import time

import anyio
import attrs

from examples.films.models import Film, Screening
from trioorm import Database, Transaction, count, select, sql

DECADES = range(1940, 2020, 10)
FIRST_EVENING = datetime.datetime(2026, 6, 1, 20, tzinfo=datetime.UTC)
SECOND_EVENING = FIRST_EVENING + datetime.timedelta(days=1)


async def plan_evening(db: Database, starts_at: datetime.datetime) -> None:
    """Choose a film for each decade, each by a task of its own. When the block ends, all of them are committed.

    Checkpoint: always.
    """
    async with db.transaction(name="evening") as tx:
        for hall, decade in enumerate(DECADES, start=1):
            tx.start_soon(plan_screening, tx, hall, decade, starts_at)


async def plan_screening(tx: Transaction, hall: int, decade: int, starts_at: datetime.datetime) -> None:
    """Give a hall the best film of a decade that the programme does not have yet.

    Checkpoint: always.
    """
    film = await tx.fetch_one(
        select(Film)
        .where(Film.year.between(decade, decade + 9), Film.review_count >= 50)
        .where(Film.id.not_in(select(Screening.film_id)))
        .order_by(Film.review_meter_percent.desc(nulls="last"), Film.review_count.desc(), Film.id)
        .limit(1)
    )
    await tx.insert(Screening(film_id=film.id, hall=hall, starts_at=starts_at))


async def programme(db: Database) -> list[tuple[Screening, Film]]:
    """All screenings, with their films.

    Checkpoint: always.
    """
    joined = select(Screening, Film).join(Film, Film.id == Screening.film_id)
    return await db.fetch_all(joined.order_by(Screening.starts_at, Screening.hall))


@attrs.frozen
class TimedOut:
    """How a transaction ended that ran into its timeout.

    Attributes:
        was_cancelled: the timeout is what ended it.
        rows_inside: how many screenings the transaction itself saw before.
        seconds: from its beginning until its connection was back in the pool.
    """

    was_cancelled: bool
    rows_inside: int
    seconds: float


async def plan_evening_with_a_stuck_child(db: Database, starts_at: datetime.datetime, *, timeout_seconds: float) -> TimedOut:
    """Write, then wait in a child for something that takes too long. The timeout ends block, child and the server's work for it.

    Checkpoint: always.
    """
    started_at = time.perf_counter()
    rows_inside = 0
    with anyio.move_on_after(timeout_seconds) as timeout:
        async with db.transaction(name="evening with a stuck child") as tx:
            for hall, decade in enumerate(DECADES, start=1):
                await plan_screening(tx, hall, decade, starts_at)
            rows_inside = await tx.fetch_value(select(count()).from_(Screening))
            tx.start_soon(wait_for_the_projectionist, tx)
    return TimedOut(timeout.cancelled_caught, rows_inside, time.perf_counter() - started_at)


async def wait_for_the_projectionist(tx: Transaction) -> None:
    """Sleep for a minute, on the server.

    Checkpoint: always.
    """
    await tx.execute(sql("SELECT pg_sleep({seconds})", seconds=60))


async def queries_still_running(db: Database) -> int:
    """How many of this program's sessions still wait for the projectionist, or sit in a transaction that nobody ends.

    A session that the pool is opening at this moment is busy too, and no leftover.

    Checkpoint: always.
    """
    return await db.fetch_value(
        sql(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()"
            " AND (state LIKE 'idle in transaction%' OR state = 'active' AND query LIKE '%pg_sleep%')"
        ).returns(int)
    )
