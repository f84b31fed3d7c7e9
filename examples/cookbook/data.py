"""The rows that the questions are asked of: 753 real films with their people, and reviews, runs and facts made up by a fixed rule."""

import csv
import datetime
import gzip
import random
from collections.abc import Sequence
from decimal import Decimal

from examples.cookbook.models import PARTS, Fact, Film, Review, Run, Watch
from examples.films.source import FILMS_CSV, Catalogue, normalise
from trioorm import Database, Model

_FEWEST_REVIEWS = 150
_CRITICS = ("Ann Poe", "Ben Ito", "Cleo Marsh", "Dai Wong", "Eva Lund")
_CINEMAS = ("Apollo", "Bijou", "Capitol")
_PRAISE = (
    "a feast for the eyes",
    "sharp and tender",
    "slow but rewarding",
    "loud and empty",
    "a masterpiece of suspense",
    "instantly forgotten",
)
_PLACES = ("London", "New Zealand", "Iceland", "Morocco", "New York", "Prague")
_RATINGS = ("G", "PG", "PG-13", "R")
_VIEWERS = ("ada", "bob", "cy")


def read_shelf() -> Catalogue:
    """The films that most critics wrote about and whose takings are known."""
    with gzip.open(FILMS_CSV, "rt", encoding="utf-8", newline="") as lines:
        known = (record for record in csv.DictReader(lines) if record["box_office_usd"] and record["review_count"])
        return normalise(record for record in known if int(float(record["review_count"])) >= _FEWEST_REVIEWS)


async def stock(db: Database) -> None:
    """Create the tables and fill them.

    Checkpoint: always.
    """
    catalogue = read_shelf()
    await db.create_schema(*PARTS)
    async with db.transaction() as tx:
        for model, rows in (*catalogue.tables(), *_made_up(catalogue.films)):
            await tx.copy_in(model, rows)


def _made_up(films: Sequence[Film]) -> tuple[tuple[type[Model], Sequence[Model]], ...]:
    dice = random.Random(1895)
    reviews: list[Review] = []
    runs: list[Run] = []
    facts: list[Fact] = []
    watches: list[Watch] = []
    for film in films:
        for critic in _CRITICS[: dice.randrange(len(_CRITICS) + 1)]:
            days = datetime.timedelta(days=dice.randrange(400))
            reviews.append(
                Review(
                    id=len(reviews) + 1,
                    film_id=film.id,
                    critic=critic,
                    stars=dice.randrange(1, 6),
                    words=f"{film.title}: {dice.choice(_PRAISE)}",
                    written_on=film.released + days,
                )
            )
        for cinema in _CINEMAS[: dice.randrange(len(_CINEMAS) + 1)]:
            first_day = film.released + datetime.timedelta(days=dice.randrange(30))
            runs.append(
                Run(
                    id=len(runs) + 1,
                    film_id=film.id,
                    cinema=cinema,
                    first_day=first_day,
                    last_day=first_day + datetime.timedelta(days=dice.randrange(7, 60)),
                    price=Decimal(dice.randrange(500, 1500)) / 100,
                    tickets=dice.randrange(100, 9000),
                )
            )
        if dice.random() < 0.8:
            facts.append(
                Fact(
                    film_id=film.id,
                    details={
                        "rating": dice.choice(_RATINGS),
                        "budget": {"usd": dice.randrange(1, 250) * 1_000_000, "known": dice.random() < 0.7},
                        "places": [*sorted(dice.sample(_PLACES, dice.randrange(4)))],
                    },
                    place=[dice.randrange(64) / 64 for _ in range(3)],
                )
            )
        for viewer in _VIEWERS:
            if dice.random() < 0.15:
                last_on = film.released + datetime.timedelta(days=dice.randrange(900))
                watches.append(Watch(viewer=viewer, film_id=film.id, times=dice.randrange(1, 6), last_on=last_on))
    return (Review, reviews), (Run, runs), (Fact, facts), (Watch, watches)
