"""Reporting.

Counts, sums, shares and pivots: the questions that a manager asks on Monday.
"""

import decimal

from examples.cookbook.models import Credit, Film, FilmGenre, Genre, Person, Review, Role, Run
from examples.cookbook.recipes import question
from trioorm import Select, avg, cast, coalesce, count, func, literal, max_, min_, select, sum_


@question(
    "How many films are there of each year?",
    """
    SELECT year, count(*) FROM films GROUP BY year ORDER BY year
    """,
)
def films_by_year() -> Select[tuple[int, int]]:
    return select(Film.year, count()).group_by(Film.year).order_by(Film.year)


@question(
    "How many films of each decade, and what did they take together?",
    """
    SELECT year / 10 * 10 AS decade, count(*), sum(box_office_usd) FROM films GROUP BY decade ORDER BY decade
    """,
)
def takings_by_decade() -> Select[tuple[int, int, decimal.Decimal | None]]:
    decade = (Film.year / 10 * 10).as_("decade")
    return select(decade, count(), sum_(Film.box_office_usd)).group_by(decade).order_by(decade)


@question(
    "Which years had at least 50 films, and how well were they received?",
    """
    SELECT year, count(*), round(avg(review_meter_percent), 1)
    FROM films GROUP BY year HAVING count(*) >= 50 ORDER BY year
    """,
)
def busy_years() -> Select[tuple[int, int, decimal.Decimal]]:
    meter = func.round(avg(Film.review_meter_percent), 1, returns=decimal.Decimal)
    return select(Film.year, count(), meter).group_by(Film.year).having(count() >= 50).order_by(Film.year)


@question(
    "The ten films that took most",
    """
    SELECT title, box_office_usd FROM films ORDER BY box_office_usd DESC NULLS LAST, id LIMIT 10
    """,
)
def biggest_takings() -> Select[tuple[str, decimal.Decimal | None]]:
    return select(Film.title, Film.box_office_usd).order_by(Film.box_office_usd.desc(nulls="last"), Film.id).limit(10)


@question(
    "How many films of each year have more than two hours, and how many less than 90 minutes? (A pivot by FILTER)",
    """
    SELECT year, count(*) FILTER (WHERE runtime_minutes > 120), count(*) FILTER (WHERE runtime_minutes < 90), count(*)
    FROM films GROUP BY year ORDER BY year
    """,
)
def lengths_by_year() -> Select[tuple[int, int, int, int]]:
    long = count(where=Film.runtime_minutes > 120)
    short = count(where=Film.runtime_minutes < 90)
    return select(Film.year, long, short, count()).group_by(Film.year).order_by(Film.year)


@question(
    "The stars of each critic as columns: how often one, two, three, four, five?",
    """
    SELECT critic,
           count(*) FILTER (WHERE stars = 1), count(*) FILTER (WHERE stars = 2), count(*) FILTER (WHERE stars = 3),
           count(*) FILTER (WHERE stars = 4), count(*) FILTER (WHERE stars = 5)
    FROM reviews GROUP BY critic ORDER BY critic
    """,
)
def stars_as_columns() -> Select[tuple[str, int, int, int, int, int]]:
    one, two, three, four, five = (count(where=Review.stars == stars) for stars in range(1, 6))
    return select(Review.critic, one, two, three, four, five).group_by(Review.critic).order_by(Review.critic)


@question(
    "Shortest, mean and longest running time by genre, of genres with 20 films or more",
    """
    SELECT g.name, min(f.runtime_minutes), round(avg(f.runtime_minutes), 1), max(f.runtime_minutes)
    FROM films f JOIN film_genre fg ON fg.film_id = f.id JOIN genres g ON g.id = fg.genre_id
    GROUP BY g.id HAVING count(*) >= 20 ORDER BY g.name
    """,
)
def running_times_by_genre() -> Select[tuple[str, int | None, decimal.Decimal, int | None]]:
    mean = func.round(avg(Film.runtime_minutes), 1, returns=decimal.Decimal)
    return (
        select(Genre.name, min_(Film.runtime_minutes), mean, max_(Film.runtime_minutes))
        .from_(Film)
        .join(FilmGenre, FilmGenre.film_id == Film.id)
        .join(Genre, Genre.id == FilmGenre.genre_id)
        .group_by(Genre.id)
        .having(count() >= 20)
        .order_by(Genre.name)
    )


@question(
    "What did each cinema take, in tickets and in money?",
    """
    SELECT cinema, sum(tickets)::bigint, sum(tickets * price) FROM runs GROUP BY cinema ORDER BY cinema
    """,
)
def takings_by_cinema() -> Select[tuple[str, int | None, decimal.Decimal | None]]:
    money = sum_(cast(Run.tickets, decimal.Decimal) * Run.price)
    return select(Run.cinema, sum_(Run.tickets), money).group_by(Run.cinema).order_by(Run.cinema)


@question(
    "What share of all tickets did each cinema sell, in per cent?",
    """
    SELECT cinema, round(100.0 * sum(tickets) / (SELECT sum(tickets) FROM runs), 2) FROM runs GROUP BY cinema ORDER BY cinema
    """,
)
def shares_of_tickets() -> Select[tuple[str, decimal.Decimal]]:
    tickets = cast(sum_(Run.tickets), decimal.Decimal)
    every = cast(select(sum_(Run.tickets)).from_(Run), decimal.Decimal)
    share = func.round(literal(decimal.Decimal(100)) * tickets / every, 2, returns=decimal.Decimal)
    return select(Run.cinema, share).group_by(Run.cinema).order_by(Run.cinema)


@question(
    "The five directors with most films, and what these took",
    """
    SELECT p.name, count(*), coalesce(sum(f.box_office_usd), 0)
    FROM people p JOIN credits c ON c.person_id = p.id JOIN films f ON f.id = c.film_id
    WHERE c.role = 'director' GROUP BY p.id ORDER BY count(*) DESC, p.name LIMIT 5
    """,
)
def busiest_directors() -> Select[tuple[str, int, decimal.Decimal]]:
    return (
        select(Person.name, count(), coalesce(sum_(Film.box_office_usd), decimal.Decimal(0)))
        .join(Credit, Credit.person_id == Person.id)
        .join(Film, Film.id == Credit.film_id)
        .where(Credit.role == Role.DIRECTOR)
        .group_by(Person.id)
        .order_by(count().desc(), Person.name)
        .limit(5)
    )


@question(
    "How many different people worked in each role?",
    """
    SELECT role, count(DISTINCT person_id) FROM credits GROUP BY role ORDER BY role
    """,
)
def people_by_role() -> Select[tuple[Role, int]]:
    return select(Credit.role, count(Credit.person_id, distinct=True)).group_by(Credit.role).order_by(Credit.role)


@question(
    "How is the running time distributed over half hours? (A histogram)",
    """
    SELECT runtime_minutes / 30 * 30 AS from_minute, count(*) FROM films
    WHERE runtime_minutes IS NOT NULL GROUP BY from_minute ORDER BY from_minute
    """,
)
def histogram_of_lengths() -> Select[tuple[int | None, int]]:
    from_minute = (Film.runtime_minutes / 30 * 30).as_("from_minute")
    return select(from_minute, count()).where(Film.runtime_minutes.is_not_null()).group_by(from_minute).order_by(from_minute)


@question(
    "The mean number of stars of each film with at least four reviews, best first",
    """
    SELECT f.title, round(avg(r.stars), 2), count(*) FROM films f JOIN reviews r ON r.film_id = f.id
    GROUP BY f.id HAVING count(*) >= 4 ORDER BY avg(r.stars) DESC, f.id LIMIT 12
    """,
)
def best_reviewed() -> Select[tuple[str, decimal.Decimal, int]]:
    stars = avg(Review.stars)
    return (
        select(Film.title, func.round(stars, 2, returns=decimal.Decimal), count())
        .join(Review, Review.film_id == Film.id)
        .group_by(Film.id)
        .having(count() >= 4)
        .order_by(stars.desc(), Film.id)
        .limit(12)
    )


@question(
    "In which months are films released?",
    """
    SELECT date_part('month', released)::bigint, count(*) FROM films GROUP BY 1 ORDER BY 1
    """,
)
def releases_by_month() -> Select[tuple[int, int]]:
    month = cast(func.date_part("month", Film.released, returns=float), int).as_("month")
    return select(month, count()).group_by(month).order_by(month)


@question(
    "Are critics and viewers of one mind? Correlation of the review meter with takings, and the linear trend",
    """
    SELECT corr(review_meter_percent, box_office_usd::float8), regr_slope(review_meter_percent, year) FROM films
    """,
)
def correlations() -> Select[tuple[float, float]]:
    takings = cast(Film.box_office_usd, float)
    return select(
        func.corr(Film.review_meter_percent, takings, returns=float), func.regr_slope(Film.review_meter_percent, Film.year, returns=float)
    )


@question(
    "How far do the reviews of a critic spread?",
    """
    SELECT critic, round(stddev(stars), 4), round(variance(stars), 4) FROM reviews GROUP BY critic ORDER BY critic
    """,
)
def spread_of_stars() -> Select[tuple[str, decimal.Decimal, decimal.Decimal]]:
    deviation = func.round(func.stddev(Review.stars, returns=decimal.Decimal), 4, returns=decimal.Decimal)
    variance = func.round(func.variance(Review.stars, returns=decimal.Decimal), 4, returns=decimal.Decimal)
    return select(Review.critic, deviation, variance).group_by(Review.critic).order_by(Review.critic)


@question(
    "Has any film of the seventies a perfect score, and have all of them one above 50?",
    """
    SELECT bool_or(review_meter_percent = 100), bool_and(review_meter_percent > 50) FROM films WHERE year < 1980
    """,
)
def any_and_all() -> Select[tuple[bool, bool]]:
    perfect = func.bool_or(Film.review_meter_percent == 100, returns=bool)
    fair = func.bool_and(Film.review_meter_percent > 50, returns=bool)
    return select(perfect, fair).where(Film.year < 1980)


@question(
    "One line for the whole shelf: films, people, first and last release",
    """
    SELECT (SELECT count(*) FROM films), (SELECT count(*) FROM people), (SELECT min(released) FROM films), (SELECT max(released) FROM films)
    """,
)
def the_shelf() -> Select[tuple[int, int, object, object]]:
    return select(
        select(count()).from_(Film),
        select(count()).from_(Person),
        select(min_(Film.released)),
        select(max_(Film.released)),
    )
