"""Across tables.

Joins, rows that have partners and rows that have none, and tables that meet themselves.
"""

from examples.cookbook.models import Country, Credit, Film, FilmCountry, FilmGenre, Genre, Person, Review, Role, Run, Watch
from examples.cookbook.recipes import question
from trioorm import Select, alias, and_, count, exists, func, max_, optional, or_, select


@question(
    "The cast of Skyfall, in the order of its credits",
    """
    SELECT p.name FROM people p JOIN credits c ON c.person_id = p.id JOIN films f ON f.id = c.film_id
    WHERE f.title = 'Skyfall' AND c.role = 'cast' ORDER BY c.position
    """,
)
def cast_of_skyfall() -> Select[str]:
    return (
        select(Person.name)
        .join(Credit, Credit.person_id == Person.id)
        .join(Film, Film.id == Credit.film_id)
        .where(Film.title == "Skyfall", Credit.role == Role.CAST)
        .order_by(Credit.position)
    )


@question(
    "All films of Samuel L. Jackson, as objects, newest first",
    """
    SELECT f.* FROM films f JOIN credits c ON c.film_id = f.id JOIN people p ON p.id = c.person_id
    WHERE p.name = 'Samuel L. Jackson' AND c.role = 'cast' ORDER BY f.released DESC, f.id
    """,
)
def films_of_jackson() -> Select[Film]:
    return (
        select(Film)
        .join(Credit, Credit.film_id == Film.id)
        .join(Person, Person.id == Credit.person_id)
        .where(Person.name == "Samuel L. Jackson", Credit.role == Role.CAST)
        .order_by(Film.released.desc(), Film.id)
    )


@question(
    "Each film of 2014 with each of its reviews; a film without any comes too",
    """
    SELECT f.title, r.critic, r.stars FROM films f LEFT JOIN reviews r ON r.film_id = f.id
    WHERE f.year = 2014 ORDER BY f.title, f.id, r.critic
    """,
)
def films_with_reviews() -> Select[tuple[str, str | None, int | None]]:
    return (
        select(Film.title, optional(Review.critic), optional(Review.stars))
        .left_join(Review, Review.film_id == Film.id)
        .where(Film.year == 2014)
        .order_by(Film.title, Film.id, Review.critic)
    )


@question(
    "Films that nobody reviewed",
    """
    SELECT title FROM films f WHERE NOT EXISTS (SELECT 1 FROM reviews r WHERE r.film_id = f.id) ORDER BY title, id
    """,
)
def not_reviewed() -> Select[str]:
    reviewed = exists(select(Review.id).where(Review.film_id == Film.id))
    return select(Film.title).where(~reviewed).order_by(Film.title, Film.id)


@question(
    "The same by an outer join that finds nothing",
    """
    SELECT f.title FROM films f LEFT JOIN reviews r ON r.film_id = f.id WHERE r.id IS NULL ORDER BY f.title, f.id
    """,
)
def not_reviewed_by_join() -> Select[str]:
    return select(Film.title).left_join(Review, Review.film_id == Film.id).where(Review.id.is_null()).order_by(Film.title, Film.id)


@question(
    "Who directed and acted in the same film?",
    """
    SELECT p.name, f.title FROM credits d JOIN credits a ON a.film_id = d.film_id AND a.person_id = d.person_id AND a.role = 'cast'
    JOIN people p ON p.id = d.person_id JOIN films f ON f.id = d.film_id
    WHERE d.role = 'director' ORDER BY p.name, f.title, a.position
    """,
)
def directed_themselves() -> Select[tuple[str, str]]:
    acted = alias(Credit, "acted")
    return (
        select(Person.name, Film.title)
        .from_(Credit)
        .join(acted, and_(acted.film_id == Credit.film_id, acted.person_id == Credit.person_id, acted.role == Role.CAST))
        .join(Person, Person.id == Credit.person_id)
        .join(Film, Film.id == Credit.film_id)
        .where(Credit.role == Role.DIRECTOR)
        .order_by(Person.name, Film.title, acted.position)
    )


@question(
    "Which pairs of actors shared four films or more?",
    """
    SELECT one.name, other.name, count(DISTINCT a.film_id)
    FROM credits a JOIN credits b ON b.film_id = a.film_id AND b.person_id > a.person_id
    JOIN people one ON one.id = a.person_id JOIN people other ON other.id = b.person_id
    WHERE a.role = 'cast' AND b.role = 'cast'
    GROUP BY one.id, other.id HAVING count(DISTINCT a.film_id) >= 6 ORDER BY 3 DESC, one.name, other.name
    """,
)
def pairs_of_actors() -> Select[tuple[str, str, int]]:
    a, b = alias(Credit, "a"), alias(Credit, "b")
    one, other = alias(Person, "one"), alias(Person, "other")
    together = count(a.film_id, distinct=True)
    return (
        select(one.name, other.name, together)
        .from_(a)
        .join(b, (b.film_id == a.film_id) & (b.person_id > a.person_id))
        .join(one, one.id == a.person_id)
        .join(other, other.id == b.person_id)
        .where(a.role == Role.CAST, b.role == Role.CAST)
        .group_by(one.id, other.id)
        .having(together >= 6)
        .order_by(together.desc(), one.name, other.name)
    )


@question(
    "Films that are both Sci-Fi and Comedy (relational division)",
    """
    SELECT f.title FROM films f JOIN film_genre fg ON fg.film_id = f.id JOIN genres g ON g.id = fg.genre_id
    WHERE g.name IN ('Sci-Fi', 'Comedy') GROUP BY f.id HAVING count(*) = 2 ORDER BY f.title, f.id
    """,
)
def both_genres() -> Select[str]:
    return (
        select(Film.title)
        .join(FilmGenre, FilmGenre.film_id == Film.id)
        .join(Genre, Genre.id == FilmGenre.genre_id)
        .where(Genre.name.in_(["Sci-Fi", "Comedy"]))
        .group_by(Film.id)
        .having(count() == 2)
        .order_by(Film.title, Film.id)
    )


@question(
    "Critics who reviewed every film of 1999",
    """
    SELECT DISTINCT c.critic, count(*) FROM reviews c JOIN films f ON f.id = c.film_id WHERE f.year = 1975
    GROUP BY c.critic HAVING count(*) = (SELECT count(*) FROM films WHERE year = 1975) ORDER BY c.critic
    """,
)
def complete_critics() -> Select[tuple[str, int]]:
    every = alias(Film, "every")
    all_films = select(count()).from_(every).where(every.year == 1975)
    return (
        select(Review.critic, count())
        .distinct()
        .join(Film, Film.id == Review.film_id)
        .where(Film.year == 1975)
        .group_by(Review.critic)
        .having(count() == all_films)
        .order_by(Review.critic)
    )


@question(
    "Films made by the United States together with France",
    """
    SELECT title FROM films WHERE id IN (SELECT film_id FROM film_country JOIN countries ON id = country_id WHERE name = 'France')
    AND id IN (SELECT film_id FROM film_country JOIN countries ON id = country_id WHERE name = 'United States') ORDER BY title, id
    """,
)
def co_productions() -> Select[str]:
    def made_by(name: str) -> Select[int]:
        return select(FilmCountry.film_id).join(Country, Country.id == FilmCountry.country_id).where(Country.name == name)

    return select(Film.title).where(Film.id.in_(made_by("France")), Film.id.in_(made_by("United States"))).order_by(Film.title, Film.id)


@question(
    "The genres of each film of Christopher Nolan, as one list",
    """
    SELECT f.title, array_agg(g.name ORDER BY g.name) FROM films f JOIN credits c ON c.film_id = f.id JOIN people p ON p.id = c.person_id
    JOIN film_genre fg ON fg.film_id = f.id JOIN genres g ON g.id = fg.genre_id
    WHERE p.name = 'Christopher Nolan' AND c.role = 'director' GROUP BY f.id ORDER BY f.title
    """,
)
def genres_of_nolan() -> Select[tuple[str, list[str]]]:
    return (
        select(Film.title, func.array_agg(Genre.name, order_by=Genre.name, returns=list[str]))
        .join(Credit, Credit.film_id == Film.id)
        .join(Person, Person.id == Credit.person_id)
        .join(FilmGenre, FilmGenre.film_id == Film.id)
        .join(Genre, Genre.id == FilmGenre.genre_id)
        .where(Person.name == "Christopher Nolan", Credit.role == Role.DIRECTOR)
        .group_by(Film.id)
        .order_by(Film.title)
    )


@question(
    "Films with the same running time as Skyfall",
    """
    SELECT title FROM films WHERE runtime_minutes = (SELECT runtime_minutes FROM films WHERE title = 'Skyfall')
    AND title <> 'Skyfall' ORDER BY title, id
    """,
)
def as_long_as_skyfall() -> Select[str]:
    skyfall = alias(Film, "skyfall")
    length = select(skyfall.runtime_minutes).where(skyfall.title == "Skyfall")
    return select(Film.title).where(Film.runtime_minutes == length, Film.title != "Skyfall").order_by(Film.title, Film.id)


@question(
    "Films that sold more tickets in one run than the average of their cinema (a correlated subselect)",
    """
    SELECT f.title, r.cinema, r.tickets FROM runs r JOIN films f ON f.id = r.film_id
    WHERE r.tickets > 1.8 * (SELECT avg(o.tickets) FROM runs o WHERE o.cinema = r.cinema) ORDER BY r.tickets DESC, r.id
    """,
)
def above_the_cinema() -> Select[tuple[str, str, int]]:
    other = alias(Run, "other")
    mean = select(func.avg(other.tickets, returns=float)).where(other.cinema == Run.cinema)
    return (
        select(Film.title, Run.cinema, Run.tickets)
        .from_(Run)
        .join(Film, Film.id == Run.film_id)
        .where(func.float8(Run.tickets, returns=float) > mean * 1.8)
        .order_by(Run.tickets.desc(), Run.id)
    )


@question(
    "Who never saw a film that the others saw?",
    """
    SELECT DISTINCT w.viewer, f.title FROM films f CROSS JOIN (SELECT DISTINCT viewer FROM watches) w
    WHERE f.year < 1990 AND NOT EXISTS (SELECT 1 FROM watches x WHERE x.viewer = w.viewer AND x.film_id = f.id)
    AND EXISTS (SELECT 1 FROM watches y WHERE y.film_id = f.id) ORDER BY w.viewer, f.title
    """,
)
def missed() -> Select[tuple[str, str]]:
    seen, other = alias(Watch, "seen"), alias(Watch, "other")
    return (
        select(Watch.viewer, Film.title)
        .distinct()
        .cross_join(Film)
        .where(
            Film.year < 1990,
            ~exists(select(seen.film_id).where(seen.viewer == Watch.viewer, seen.film_id == Film.id)),
            exists(select(other.film_id).where(other.film_id == Film.id)),
        )
        .order_by(Watch.viewer, Film.title)
    )


@question(
    "Films and cinemas: every film of 1990 to 1995 with its last day anywhere, if it ran at all",
    """
    SELECT f.title, max(r.last_day) FROM films f LEFT JOIN runs r ON r.film_id = f.id
    WHERE f.year BETWEEN 1990 AND 1995 GROUP BY f.id ORDER BY f.released, f.id
    """,
)
def last_days() -> Select[tuple[str, object]]:
    return (
        select(Film.title, max_(Run.last_day))
        .left_join(Run, Run.film_id == Film.id)
        .where(Film.year.between(1990, 1995))
        .group_by(Film.id)
        .order_by(Film.released, Film.id)
    )


@question(
    "Films that are short or old, and were watched more than twice by somebody",
    """
    SELECT DISTINCT f.id, f.title FROM films f JOIN watches w ON w.film_id = f.id
    WHERE (f.runtime_minutes < 90 OR f.year < 1995) AND w.times > 2 ORDER BY f.id
    """,
)
def short_or_old() -> Select[tuple[int, str]]:
    return (
        select(Film.id, Film.title)
        .distinct()
        .join(Watch, Watch.film_id == Film.id)
        .where(or_(Film.runtime_minutes < 90, Film.year < 1995), Watch.times > 2)
        .order_by(Film.id)
    )
