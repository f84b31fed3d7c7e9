"""A film's page: the film with all that is shown around it, by one statement and in one trip to the server.

What is loaded is a graph of plain objects: `film.cast[0].person.acted_in[0].directors`. Whatever is not asked for is not there, and says so
when it is read.
"""

from examples.films.models import Credit, Film, Person
from trioorm import Database, Select, Transaction, select


def film_page(film_id: int, *, most_cast: int = 5, most_films: int = 3) -> Select[tuple[Film, int, int]]:
    """A film with its directors, genres and countries, and the first of its cast, each with the latest of their other films and these with
    their directors; beside it how many are in its cast, and how many genres it has.

    Args:
        film_id: which film.
        most_cast: how many of its cast.
        most_films: how many other films of each.
    """
    others = Person.acted_in.where(Film.id != film_id).limit(most_films)
    return (
        select(Film, Film.cast.count(), Film.genres.count())
        .where(Film.id == film_id)
        .load(
            Film.directors,
            Film.genres,
            Film.countries,
            Film.cast.limit(most_cast).load(Credit.person.load(others.load(Film.directors))),
        )
    )


async def lines_of_page(db: Database | Transaction, film_id: int) -> list[str]:
    """The page as text.

    Raises:
        NoRowFound: there is no such film.

    Checkpoint: always.
    """
    film, cast, _ = await db.fetch_one(film_page(film_id))
    lines = [
        f"{film.title} ({film.year}), by {', '.join(person.name for person in film.directors)}",
        ", ".join([*(genre.name for genre in film.genres), *(country.name for country in film.countries)]),
        f"{cast} in the cast, among them",
    ]
    for credit in film.cast:
        others = "; ".join(f"{other.title} ({other.year})" for other in credit.person.acted_in)
        lines.append(f"  {credit.person.name}{f', also in {others}' if others else ''}")
    return lines
