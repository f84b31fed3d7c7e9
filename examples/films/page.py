"""A film's page: the film with all that is shown around it, by one statement and in one trip to the server.

What is loaded is a graph of plain objects: `film.cast[0].person.acted_in[0].directors`. Whatever is not asked for is not there, and says so
when it is read.
"""

from examples.films.models import Credit, Film, Person
from trioorm import Database, Select, Transaction, select


def film_page(film_id: int, *, most_cast: int = 5, most_films: int = 3) -> Select[Film]:
    """A film with its directors, genres and countries, how many are in its cast, and the first of them, each with the number of their
    films, the latest of the others, and these with their directors.

    Args:
        film_id: which film.
        most_cast: how many of its cast.
        most_films: how many other films of each.
    """
    others = Person.acted_in.where(Film.id != film_id).limit(most_films)
    return (
        select(Film)
        .where(Film.id == film_id)
        .load(
            Film.directors,
            Film.genres,
            Film.countries,
            Film.cast_count,
            Film.cast.limit(most_cast).load(Credit.person.load(Person.film_count, others.load(Film.directors))),
        )
    )


async def lines_of_page(db: Database | Transaction, film_id: int) -> list[str]:
    """The page as text.

    Raises:
        NoRowFound: there is no such film.

    Checkpoint: always.
    """
    film = await db.fetch_one(film_page(film_id))
    lines = [
        f"{film.title} ({film.year}), by {', '.join(person.name for person in film.directors)}",
        ", ".join([*(genre.name for genre in film.genres), *(country.name for country in film.countries)]),
        f"{film.cast_count} in the cast, among them",
    ]
    for credit in film.cast:
        others = "; ".join(f"{other.title} ({other.year})" for other in credit.person.acted_in)
        lines.append(f"  {credit.person.name}, of {credit.person.film_count} films{f', also in {others}' if others else ''}")
    return lines
