"""The best of each group; gaps and islands.

Top-n per group in three ways, runs of neighbours, and what is missing between them.
"""

import datetime
import decimal

from examples.cookbook.models import Credit, Film, FilmGenre, Genre, Person, Review, Role, Run
from examples.cookbook.recipes import question
from trioorm import Select, alias, and_, case, cast, count, func, generate_series, max_, min_, optional, select, sum_


@question(
    "The film that took most of each year (DISTINCT ON)",
    """
    SELECT DISTINCT ON (year) year, title, box_office_usd FROM films ORDER BY year, box_office_usd DESC, id
    """,
)
def best_of_each_year() -> Select[tuple[int, str, decimal.Decimal | None]]:
    return select(Film.year, Film.title, Film.box_office_usd).distinct(Film.year).order_by(Film.year, Film.box_office_usd.desc(), Film.id)


@question(
    "The three films that took most of each year from 2010 on (a window and a subquery)",
    """
    SELECT year, title, place FROM (
        SELECT year, title, row_number() OVER (PARTITION BY year ORDER BY box_office_usd DESC, id) AS place FROM films WHERE year >= 2010
    ) ranked WHERE place <= 3 ORDER BY year, place
    """,
)
def top_three() -> Select[tuple[int, str, int]]:
    place = func.row_number().over(partition_by=Film.year, order_by=(Film.box_office_usd.desc(), Film.id)).as_("place")
    ranked = select(Film.year, Film.title, place).where(Film.year >= 2010).subquery("ranked")
    return select(ranked[Film.year], ranked[Film.title], ranked[place]).where(ranked[place] <= 3).order_by(ranked[Film.year], ranked[place])


@question(
    "The two newest films of each genre (LATERAL)",
    """
    SELECT g.name, newest.title FROM genres g CROSS JOIN LATERAL (
        SELECT f.title, f.released, f.id FROM films f JOIN film_genre fg ON fg.film_id = f.id
        WHERE fg.genre_id = g.id ORDER BY f.released DESC, f.id LIMIT 2
    ) newest ORDER BY g.name, newest.released DESC, newest.id
    """,
)
def newest_of_genre() -> Select[tuple[str, str]]:
    newest = (
        select(Film.title, Film.released, Film.id)
        .join(FilmGenre, FilmGenre.film_id == Film.id)
        .where(FilmGenre.genre_id == Genre.id)
        .order_by(Film.released.desc(), Film.id)
        .limit(2)
        .lateral("newest")
    )
    return select(Genre.name, newest[Film.title]).cross_join(newest).order_by(Genre.name, newest[Film.released].desc(), newest[Film.id])


@question(
    "Each director of three films or more with the best received one, and its meter",
    """
    SELECT p.name, best.title, best.review_meter_percent FROM people p
    JOIN LATERAL (SELECT count(*) AS films FROM credits c WHERE c.person_id = p.id AND c.role = 'director') directed ON directed.films >= 7
    LEFT JOIN LATERAL (
        SELECT f.title, f.review_meter_percent FROM films f JOIN credits c ON c.film_id = f.id
        WHERE c.person_id = p.id AND c.role = 'director' ORDER BY f.review_meter_percent DESC NULLS LAST, f.id LIMIT 1
    ) best ON TRUE ORDER BY p.name
    """,
)
def best_of_directors() -> Select[tuple[str, str | None, int | None]]:
    directed = (
        select(count().as_("films")).from_(Credit).where(Credit.person_id == Person.id, Credit.role == Role.DIRECTOR).lateral("directed")
    )
    best = (
        select(Film.title, Film.review_meter_percent)
        .join(Credit, Credit.film_id == Film.id)
        .where(Credit.person_id == Person.id, Credit.role == Role.DIRECTOR)
        .order_by(Film.review_meter_percent.desc(nulls="last"), Film.id)
        .limit(1)
        .lateral("best")
    )
    return (
        select(Person.name, optional(best[Film.title]), optional(best[Film.review_meter_percent]))
        .join(directed, directed.column("films", int) >= 7)
        .left_join(best)
        .order_by(Person.name)
    )


@question(
    "Years between the first and the last film of which the shelf has none (gaps)",
    """
    SELECT year FROM generate_series((SELECT min(year) FROM films)::int, (SELECT max(year) FROM films)::int) year
    WHERE NOT EXISTS (SELECT 1 FROM films f WHERE f.year = year.year) ORDER BY year
    """,
)
def missing_years() -> Select[int]:
    first, last = select(cast(min_(Film.year), int)), select(cast(max_(Film.year), int))
    years = generate_series(first, last, name="years")
    known = select(Film.year)
    return select(years.value).where(years.value.not_in(known)).order_by(years.value)


@question(
    "All years of the eighties with their number of films, none included",
    """
    SELECT y.year, count(f.id)
    FROM generate_series(1980, 1989) y (year) LEFT JOIN films f ON f.year = y.year
    GROUP BY y.year ORDER BY y.year
    """,
)
def eighties() -> Select[tuple[int, int]]:
    years = generate_series(1980, 1989, name="years")
    return select(years.value, count(Film.id)).left_join(Film, Film.year == years.value).group_by(years.value).order_by(years.value)


@question(
    "Unbroken rows of years with films (islands): from, to, how many",
    """
    SELECT min(year), max(year), count(*) FROM (
        SELECT year, year - row_number() OVER (ORDER BY year) AS island FROM (SELECT DISTINCT year FROM films) years
    ) numbered GROUP BY island ORDER BY 1
    """,
)
def islands_of_years() -> Select[tuple[int | None, int | None, int]]:
    years = select(Film.year).distinct().subquery("years")
    year = years[Film.year]
    island = (year - func.row_number().over(order_by=year)).as_("island")
    numbered = select(year, island).subquery("numbered")
    return (
        select(min_(numbered[year]), max_(numbered[year]), count())
        .from_(numbered)
        .group_by(numbered[island])
        .order_by(min_(numbered[year]))
    )


@question(
    "Sessions of a critic: reviews that are less than 15 days apart belong together",
    """
    WITH marked AS (
        SELECT written_on, id, CASE WHEN written_on - lag(written_on) OVER (ORDER BY written_on, id) < 15 THEN 0 ELSE 1 END AS begins
        FROM reviews WHERE critic = 'Dai Wong'
    ), numbered AS (
        SELECT written_on, sum(begins) OVER (ORDER BY written_on, id)::bigint AS session FROM marked
    )
    SELECT session, min(written_on), max(written_on), count(*) FROM numbered GROUP BY session HAVING count(*) > 3 ORDER BY session
    """,
)
def sessions() -> Select[tuple[int | None, datetime.date | None, datetime.date | None, int]]:
    order = (Review.written_on, Review.id)
    gap = Review.written_on - func.lag(Review.written_on, 1, Review.written_on - 99).over(order_by=order)
    begins = case((gap < 15, 0), else_=1).as_("begins")
    marked = select(Review.written_on, Review.id, begins).where(Review.critic == "Dai Wong").cte("marked")
    session = sum_(marked[begins]).over(order_by=(marked[Review.written_on], marked[Review.id])).as_("session")
    numbered = select(marked[Review.written_on].as_("written_on"), session).from_(marked).cte("numbered")
    day, number = numbered.column("written_on", datetime.date), numbered.column("session", int)
    return select(number, min_(day), max_(day), count()).group_by(number).having(count() > 3).order_by(number)


@question(
    "On how many days did a cinema play two films at once? The pairs of runs that overlap",
    """
    SELECT a.cinema, count(*) FROM runs a JOIN runs b ON b.cinema = a.cinema AND b.id > a.id
    AND b.first_day <= a.last_day AND b.last_day >= a.first_day GROUP BY a.cinema ORDER BY a.cinema
    """,
)
def overlapping_runs() -> Select[tuple[str, int]]:
    other = alias(Run, "other")
    meet = and_(other.cinema == Run.cinema, other.id > Run.id, other.first_day <= Run.last_day, other.last_day >= Run.first_day)
    return select(Run.cinema, count()).join(other, meet).group_by(Run.cinema).order_by(Run.cinema)


@question(
    "The longest pause of each cinema between the end of all runs so far and the next",
    """
    SELECT DISTINCT ON (cinema) cinema, first_day, first_day - until AS days FROM (
        SELECT cinema, first_day, max(last_day) OVER (PARTITION BY cinema ORDER BY first_day, id
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS until FROM runs
    ) seen WHERE until < first_day ORDER BY cinema, days DESC, first_day
    """,
)
def longest_pause() -> Select[tuple[str, datetime.date, int]]:
    until = max_(Run.last_day).over(partition_by=Run.cinema, order_by=(Run.first_day, Run.id), rows=(None, -1)).as_("until")
    seen = select(Run.cinema, Run.first_day, until).subquery("seen")
    begins, ended = seen[Run.first_day], seen.column("until", datetime.date)
    days = begins - ended
    return (
        select(seen[Run.cinema], begins, days)
        .where(ended < begins)
        .distinct(seen[Run.cinema])
        .order_by(seen[Run.cinema], days.desc(), begins)
    )
