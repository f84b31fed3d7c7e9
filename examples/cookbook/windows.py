"""Windows.

Running totals, ranks, moving averages: what looks at the rows around a row.
"""

import datetime
import decimal

from examples.cookbook.models import Film, Review, Run, Watch
from examples.cookbook.recipes import question
from trioorm import Select, avg, cast, count, func, select, sum_, window


@question(
    "The takings of the shelf, film by film, and their running total",
    """
    SELECT title, box_office_usd, sum(box_office_usd) OVER (ORDER BY released, id) FROM films WHERE year < 1995 ORDER BY released, id
    """,
)
def running_total() -> Select[tuple[str, decimal.Decimal | None, decimal.Decimal | None]]:
    so_far = sum_(Film.box_office_usd).over(order_by=(Film.released, Film.id))
    return select(Film.title, Film.box_office_usd, so_far).where(Film.year < 1995).order_by(Film.released, Film.id)


@question(
    "Each film's rank by takings within its year",
    """
    SELECT year, title, rank() OVER (PARTITION BY year ORDER BY box_office_usd DESC)
    FROM films WHERE year BETWEEN 1998 AND 2000 ORDER BY year, 3, id
    """,
)
def rank_in_year() -> Select[tuple[int, str, int]]:
    place = func.rank().over(partition_by=Film.year, order_by=Film.box_office_usd.desc()).as_("place")
    return select(Film.year, Film.title, place).where(Film.year.between(1998, 2000)).order_by(Film.year, place, Film.id)


@question(
    "How many films more than in the year before?",
    """
    SELECT year, count(*), count(*) - lag(count(*)) OVER (ORDER BY year) FROM films GROUP BY year ORDER BY year
    """,
)
def growth() -> Select[tuple[int, int, int | None]]:
    before = func.lag(count()).over(order_by=Film.year)
    return select(Film.year, count(), count() - before).group_by(Film.year).order_by(Film.year)


@question(
    "The mean review meter of each film and the two before it",
    """
    SELECT title, round(avg(review_meter_percent) OVER (ORDER BY released, id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW), 1)
    FROM films WHERE year = 2001 ORDER BY released, id
    """,
)
def moving_average() -> Select[tuple[str, decimal.Decimal | None]]:
    three = avg(Film.review_meter_percent).over(order_by=(Film.released, Film.id), rows=(-2, 0))
    return select(Film.title, func.round(three, 1)).where(Film.year == 2001).order_by(Film.released, Film.id)


@question(
    "How many reviews did each critic write within the 30 days before each review? (A frame by time)",
    """
    SELECT critic, written_on, count(*) OVER (PARTITION BY critic ORDER BY written_on
                                              RANGE BETWEEN '30 days' PRECEDING AND CURRENT ROW)
    FROM reviews WHERE critic = 'Eva Lund' ORDER BY written_on, id LIMIT 40
    """,
)
def reviews_of_the_month() -> Select[tuple[str, datetime.date, int]]:
    lately = count().over(
        partition_by=Review.critic, order_by=Review.written_on, range_=(datetime.timedelta(days=-30), datetime.timedelta(0))
    )
    return (
        select(Review.critic, Review.written_on, lately).where(Review.critic == "Eva Lund").order_by(Review.written_on, Review.id).limit(40)
    )


@question(
    "Films in four quarters by running time",
    """
    SELECT title, runtime_minutes, ntile(4) OVER (ORDER BY runtime_minutes, id) FROM films WHERE year = 2003 ORDER BY runtime_minutes, id
    """,
)
def quarters() -> Select[tuple[str, int | None, int]]:
    quarter = func.ntile(4).over(order_by=(Film.runtime_minutes, Film.id))
    return select(Film.title, Film.runtime_minutes, quarter).where(Film.year == 2003).order_by(Film.runtime_minutes, Film.id)


@question(
    "What share of its year's takings did each film have?",
    """
    SELECT title, round(100 * box_office_usd / sum(box_office_usd) OVER (PARTITION BY year), 2)
    FROM films WHERE year = 1999 ORDER BY box_office_usd DESC, id
    """,
)
def share_of_year() -> Select[tuple[str, decimal.Decimal | None]]:
    whole = sum_(Film.box_office_usd).over(partition_by=Film.year)
    share = func.round(Film.box_office_usd * decimal.Decimal(100) / whole, 2)
    return select(Film.title, share).where(Film.year == 1999).order_by(Film.box_office_usd.desc(), Film.id)


@question(
    "The first and the last film of each year, beside each film of it",
    """
    SELECT year, title, first_value(title) OVER w, last_value(title) OVER w FROM films WHERE year IN (1994, 1995)
    WINDOW w AS (PARTITION BY year ORDER BY released, id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    ORDER BY year, released, id
    """,
)
def first_and_last() -> Select[tuple[int, str, str | None, str | None]]:
    year = window(partition_by=Film.year, order_by=(Film.released, Film.id), rows=(None, None))
    first, last = func.first_value(Film.title).over(year), func.last_value(Film.title).over(year)
    return select(Film.year, Film.title, first, last).where(Film.year.in_([1994, 1995])).order_by(Film.year, Film.released, Film.id)


@question(
    "How long after the film before it was each film released?",
    """
    SELECT title, released - lag(released, 1, released) OVER (ORDER BY released, id) FROM films WHERE year < 1990 ORDER BY released, id
    """,
)
def days_between() -> Select[tuple[str, int]]:
    gap = Film.released - func.lag(Film.released, 1, Film.released).over(order_by=(Film.released, Film.id))
    return select(Film.title, gap).where(Film.year < 1990).order_by(Film.released, Film.id)


@question(
    "Where does each film of 2004 stand among the others of its year, from 0 to 1?",
    """
    SELECT title, percent_rank() OVER w, cume_dist() OVER w FROM films WHERE year = 2004
    WINDOW w AS (ORDER BY review_meter_percent NULLS FIRST) ORDER BY review_meter_percent NULLS FIRST, id
    """,
)
def standing() -> Select[tuple[str, float, float]]:
    meter = window(order_by=Film.review_meter_percent.asc(nulls="first"))
    return (
        select(Film.title, func.percent_rank().over(meter), func.cume_dist().over(meter))
        .where(Film.year == 2004)
        .order_by(Film.review_meter_percent.asc(nulls="first"), Film.id)
    )


@question(
    "The mean tickets of all other runs in the same cinema (a frame without the row itself)",
    """
    SELECT id, tickets, round(avg(tickets) OVER (PARTITION BY cinema ORDER BY id
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW), 2)
    FROM runs ORDER BY id LIMIT 25
    """,
)
def mean_of_the_others() -> Select[tuple[int, int, decimal.Decimal | None]]:
    others = avg(Run.tickets).over(partition_by=Run.cinema, order_by=Run.id, rows=(None, None), exclude="current row")
    return select(Run.id, Run.tickets, func.round(others, 2)).order_by(Run.id).limit(25)


@question(
    "How many tickets had each cinema sold by the end of each year?",
    """
    SELECT cinema, year, sum(tickets) OVER (PARTITION BY cinema ORDER BY year)::bigint FROM (
        SELECT cinema, date_part('year', first_day)::bigint AS year, sum(tickets)::bigint AS tickets FROM runs GROUP BY cinema, year
    ) years ORDER BY cinema, year
    """,
)
def tickets_so_far() -> Select[tuple[str, int, int | None]]:
    year, tickets = cast(func.date_part("year", Run.first_day), int).as_("year"), sum_(Run.tickets).as_("tickets")
    years = select(Run.cinema, year, tickets).group_by(Run.cinema, year).subquery("years")
    so_far = sum_(years[tickets]).over(partition_by=years[Run.cinema], order_by=years[year])
    return select(years[Run.cinema], years[year], so_far).order_by(years[Run.cinema], years[year])


@question(
    "What did each viewer watch next?",
    """
    SELECT viewer, film_id, lead(film_id, 1, 0) OVER (PARTITION BY viewer ORDER BY last_on, film_id)
    FROM watches ORDER BY viewer, last_on, film_id
    """,
)
def watched_next() -> Select[tuple[str, int, int]]:
    following = func.lead(Watch.film_id, 1, 0).over(partition_by=Watch.viewer, order_by=(Watch.last_on, Watch.film_id))
    return select(Watch.viewer, Watch.film_id, following).order_by(Watch.viewer, Watch.last_on, Watch.film_id)


@question(
    "Median, quartiles and most frequent running time of each decade",
    """
    SELECT year / 10 AS decade, percentile_cont(0.25) WITHIN GROUP (ORDER BY runtime_minutes::float8),
           percentile_cont(0.5) WITHIN GROUP (ORDER BY runtime_minutes::float8), mode() WITHIN GROUP (ORDER BY runtime_minutes)
    FROM films GROUP BY year / 10 ORDER BY 1
    """,
)
def percentiles() -> Select[tuple[int, float | None, float | None, int | None]]:
    decade = (Film.year / 10).as_("decade")
    minutes = cast(Film.runtime_minutes, float)
    quarter = func.percentile_cont(0.25, within_group=minutes)
    median = func.percentile_cont(0.5, within_group=minutes)
    return select(decade, quarter, median, func.mode(within_group=Film.runtime_minutes)).group_by(decade).order_by(decade)
