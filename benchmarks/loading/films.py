"""A film with its directors, cast and reviews: models, data, and the two ways of asking for it."""

from typing import Any

from trioorm import INTEGER, Column, Database, Many, Model, One, belongs_to, column, has_many, many_to_many, select

FILL = """
INSERT INTO bench_film SELECT n, 'film ' || n, 1950 + n % 70, repeat('plot ', 20) FROM generate_series(1, 1000) n;
INSERT INTO bench_human SELECT n, 'person ' || n, 1900 + n % 90 FROM generate_series(1, 3000) n;
INSERT INTO bench_credit SELECT f * 12 + k, f, (f * 7 + k * 131) % 3000 + 1, (k > 1)::int, k
    FROM generate_series(1, 1000) f, generate_series(0, 9) k;
INSERT INTO bench_review SELECT f * 5 + k, f, k, repeat('review ', 10) FROM generate_series(1, 1000) f, generate_series(0, 4) k;
ANALYZE
"""


class Film(Model, table="bench_film"):
    id: Column[int] = column(primary_key=True)
    title: Column[str]
    year: Column[int] = column(type=INTEGER)
    plot: Column[str]

    directors: Many["Human"] = many_to_many(through=lambda: Credit, where=lambda: Credit.is_actor == 0, order_by=lambda: Credit.position)
    cast: Many["Credit"] = has_many(where=lambda: Credit.is_actor == 1, order_by=lambda: Credit.position)
    reviews: Many["Review"] = has_many(order_by=lambda: Review.id)


class Human(Model, table="bench_human"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]
    born: Column[int] = column(type=INTEGER)


class Credit(Model, table="bench_credit"):
    id: Column[int] = column(primary_key=True)
    film_id: Column[int] = column(references=Film.id, index=True)
    person_id: Column[int] = column(references=Human.id, index=True)
    is_actor: Column[int] = column(type=INTEGER)
    position: Column[int] = column(type=INTEGER)

    person: One[Human] = belongs_to()


class Review(Model, table="bench_review"):
    id: Column[int] = column(primary_key=True)
    film_id: Column[int] = column(references=Film.id, index=True)
    stars: Column[int] = column(type=INTEGER)
    body: Column[str]


MODELS = (Film, Human, Credit, Review)


async def film_of(db: Database, number: int) -> Film:
    """As objects.

    Checkpoint: always.
    """
    return await db.fetch_one(select(Film).where(Film.id == number).load(Film.directors, Film.cast.load(Credit.person), Film.reviews))


async def film_by_hand(connection: Any, number: int) -> dict[str, Any]:  # noqa: ANN401 - asyncpg has no types
    """As dictionaries, by asyncpg and four queries.

    Checkpoint: always.
    """
    film = dict(await connection.fetchrow("SELECT id, title, year, plot FROM bench_film WHERE id = $1", number))
    directors = await connection.fetch(
        "SELECT p.id, p.name, p.born FROM bench_credit c JOIN bench_human p ON p.id = c.person_id WHERE c.film_id = $1 AND c.is_actor = 0 "
        "ORDER BY c.position", number,
    )  # fmt: skip
    cast = await connection.fetch(
        "SELECT c.id, c.film_id, c.person_id, c.is_actor, c.position, p.name, p.born "
        "FROM bench_credit c JOIN bench_human p ON p.id = c.person_id WHERE c.film_id = $1 AND c.is_actor = 1 ORDER BY c.position", number,
    )  # fmt: skip
    reviews = await connection.fetch("SELECT id, film_id, stars, body FROM bench_review WHERE film_id = $1 ORDER BY id", number)
    film["directors"] = [dict(row) for row in directors]
    film["cast"] = [
        {
            "id": row[0], "film_id": row[1], "person_id": row[2], "is_actor": row[3], "position": row[4],
            "person": {"id": row[2], "name": row[5], "born": row[6]},
        }
        for row in cast
    ]  # fmt: skip
    film["reviews"] = [dict(row) for row in reviews]
    return film


def names_in(film: Film) -> tuple[list[str], list[str], int]:
    """What both ways must agree on."""
    return [person.name for person in film.directors], [credit.person.name for credit in film.cast], len(film.reviews)
