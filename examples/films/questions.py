"""Questions: statements built from the models, with results that type checkers know.

Each function takes a database or a transaction, whatever is at hand. To see the SQL of a statement, print it.
"""

import decimal

from examples.films.models import Credit, Film, FilmGenre, Genre, Person, Role
from trioorm import Database, Transaction, alias, coalesce, count, func, select, sum_

Asked = Database | Transaction


async def top_directors(db: Asked, *, limit: int = 10) -> list[tuple[str, int, decimal.Decimal]]:
    """The directors whose films took most at the box office: name, number of films with a known sum, US dollars.

    Checkpoint: always.
    """
    takings = coalesce(sum_(Film.box_office_usd), decimal.Decimal(0))
    return await db.fetch_all(
        select(Person.name, count(), takings)
        .join(Credit, Credit.person_id == Person.id)
        .join(Film, Film.id == Credit.film_id)
        .where(Credit.role == Role.DIRECTOR, Film.box_office_usd.is_not_null())
        .group_by(Person.id)
        .order_by(takings.desc(), Person.name)
        .limit(limit)
    )


async def films_of(db: Asked, actor: str, *, limit: int = 10) -> list[tuple[Film, list[str]]]:
    """An actor's latest films, each as an object, with the names of its genres.

    Checkpoint: always.
    """
    genre_names = func.array_agg(Genre.name, returns=list[str])
    return await db.fetch_all(
        select(Film, genre_names)
        .join(Credit, Credit.film_id == Film.id)
        .join(Person, Person.id == Credit.person_id)
        .join(FilmGenre, FilmGenre.film_id == Film.id)
        .join(Genre, Genre.id == FilmGenre.genre_id)
        .where(Person.name == actor, Credit.role == Role.CAST)
        .group_by(Film.id)
        .order_by(Film.released.desc(), Film.id)
        .limit(limit)
    )


async def co_actors(db: Asked, actor: str, *, limit: int = 10) -> list[tuple[str, int]]:
    """Whom an actor shared most films with: name and number of films. Two tables take part twice, so they get other names.

    Checkpoint: always.
    """
    their_credit = alias(Credit, "their_credit")
    they = alias(Person, "they")
    films_together = count(their_credit.film_id, distinct=True)
    return await db.fetch_all(
        select(they.name, films_together)
        .from_(Person)
        .join(Credit, (Credit.person_id == Person.id) & (Credit.role == Role.CAST))
        .join(their_credit, (their_credit.film_id == Credit.film_id) & (their_credit.role == Role.CAST))
        .join(they, they.id == their_credit.person_id)
        .where(Person.name == actor, they.id != Person.id)
        .group_by(they.id)
        .order_by(films_together.desc(), they.name)
        .limit(limit)
    )


async def films_by_year(db: Asked) -> dict[int, int]:
    """The number of films of each year.

    Checkpoint: always.
    """
    return dict(await db.fetch_all(select(Film.year, count()).group_by(Film.year).order_by(Film.year)))
