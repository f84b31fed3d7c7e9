"""JSON, arrays, days and vectors.

What a value holds inside.
"""

import datetime
import decimal

from examples.cookbook.models import Fact, Film, Run
from examples.cookbook.recipes import question
from trioorm import Json, Select, alias, arrays, case, cast, count, extract, func, jsonb, min_, select, sum_


@question(
    "How many films have each rating? (A field of JSON)",
    """
    SELECT details->>'rating', count(*) FROM facts GROUP BY details->>'rating' ORDER BY 1
    """,
)
def ratings() -> Select[tuple[str | None, int]]:
    rating = Fact.details["rating"].as_text().as_("rating")
    return select(rating, count()).group_by(rating).order_by(rating)


@question(
    "Films whose known budget was more than 200 million dollars",
    """
    SELECT f.title, (d.details->'budget'->>'usd')::bigint FROM films f JOIN facts d ON d.film_id = f.id
    WHERE (d.details->'budget'->>'usd')::bigint > 200000000 AND d.details @> '{"budget": {"known": true}}' ORDER BY f.id
    """,
)
def big_budgets() -> Select[tuple[str, int | None]]:
    budget = Fact.details.path("budget", "usd").as_int()
    return (
        select(Film.title, budget)
        .join(Fact, Fact.film_id == Film.id)
        .where(budget > 200_000_000, Fact.details.contains({"budget": {"known": True}}))
        .order_by(Film.id)
    )


@question(
    "Films that were shot in Iceland and in Morocco",
    """
    SELECT film_id FROM facts WHERE details->'places' ?& ARRAY['Iceland', 'Morocco'] ORDER BY film_id
    """,
)
def shot_in_both() -> Select[int]:
    return select(Fact.film_id).where(Fact.details["places"].has_all_keys(["Iceland", "Morocco"])).order_by(Fact.film_id)


@question(
    "Facts of which a JSON path finds a budget below five million",
    """
    SELECT film_id FROM facts WHERE jsonb_path_exists(details, '$.budget ? (@.usd < $most)', '{"most": 5000000}') ORDER BY film_id
    """,
)
def small_budgets() -> Select[int]:
    small = jsonb.path_exists(Fact.details, "$.budget ? (@.usd < $most)", {"most": 5_000_000})
    return select(Fact.film_id).where(small).order_by(Fact.film_id)


@question(
    "How many places does each film name? The most first",
    """
    SELECT film_id, jsonb_array_length(details->'places') AS places FROM facts ORDER BY places DESC, film_id LIMIT 10
    """,
)
def most_places() -> Select[tuple[int, int]]:
    places = jsonb.array_length(Fact.details["places"])
    return select(Fact.film_id, places).order_by(places.desc(), Fact.film_id).limit(10)


@question(
    "Each film of 1999 as a JSON object",
    """
    SELECT jsonb_build_object('title', title, 'minutes', runtime_minutes) FROM films WHERE year = 1999 ORDER BY id
    """,
)
def as_objects() -> Select[Json]:
    return select(jsonb.build_object(title=Film.title, minutes=Film.runtime_minutes)).where(Film.year == 1999).order_by(Film.id)


@question(
    "The titles of each year before 1985 as a JSON array",
    """
    SELECT year, jsonb_agg(title ORDER BY title) FROM films WHERE year < 1985 GROUP BY year ORDER BY year
    """,
)
def arrays_of_titles() -> Select[tuple[int, Json | None]]:
    return (
        select(Film.year, func.jsonb_agg(Film.title, order_by=Film.title)).where(Film.year < 1985).group_by(Film.year).order_by(Film.year)
    )


@question(
    "The facts without their budget, and with the year added",
    """
    SELECT (details - 'budget') || '{"shelf": 7}' FROM facts ORDER BY film_id LIMIT 5
    """,
)
def trimmed_facts() -> Select[object]:
    return select(jsonb.merge(jsonb.delete(Fact.details, "budget"), {"shelf": 7})).order_by(Fact.film_id).limit(5)


@question(
    "Films made by Pixar, whoever else took part (an element of an array)",
    """
    SELECT title FROM films WHERE 'Pixar' = ANY (studios) ORDER BY title, id
    """,
)
def by_pixar() -> Select[str]:
    return select(Film.title).where(Film.studios.has("Pixar")).order_by(Film.title, Film.id)


@question(
    "Films by Universal and Relativity together",
    """
    SELECT title FROM films WHERE studios @> ARRAY['Universal Pictures', 'Relativity Media'] ORDER BY title, id
    """,
)
def together() -> Select[str]:
    both = ["Universal Pictures", "Relativity Media"]
    return select(Film.title).where(Film.studios.contains(both)).order_by(Film.title, Film.id)


@question(
    "Films by any of three studios",
    """
    SELECT title, studios FROM films WHERE studios && ARRAY['Pixar', 'Studio Ghibli', 'Aardman Animations'] ORDER BY title, id
    """,
)
def any_of_three() -> Select[tuple[str, list[str]]]:
    three = ["Pixar", "Studio Ghibli", "Aardman Animations"]
    return select(Film.title, Film.studios).where(Film.studios.overlaps(three)).order_by(Film.title, Film.id)


@question(
    "The first studio of each film with four or more of them, and how many there are",
    """
    SELECT title, studios[1], cardinality(studios) FROM films WHERE cardinality(studios) >= 6 ORDER BY 3 DESC, id
    """,
)
def many_studios() -> Select[tuple[str, str | None, int]]:
    number = arrays.length(Film.studios)
    return select(Film.title, Film.studios[1], number).where(number >= 6).order_by(number.desc(), Film.id)


@question(
    "The studios of each film in one line",
    """
    SELECT array_to_string(studios, ' + ') FROM films WHERE year = 1997 ORDER BY id
    """,
)
def studios_in_a_line() -> Select[str]:
    return select(arrays.to_text(Film.studios, " + ")).where(Film.year == 1997).order_by(Film.id)


@question(
    "Runs that were on during Christmas 2010",
    """
    SELECT id FROM runs WHERE daterange(first_day, last_day, '[]') && daterange('2010-12-24', '2010-12-26', '[]') ORDER BY id
    """,
)
def at_christmas() -> Select[int]:
    eve, second = datetime.date(2010, 12, 24), datetime.date(2010, 12, 26)
    return select(Run.id).where(Run.first_day <= second, Run.last_day >= eve).order_by(Run.id)


@question(
    "How many days did each of the longest runs last?",
    """
    SELECT id, last_day - first_day + 1 AS days FROM runs ORDER BY days DESC, id LIMIT 10
    """,
)
def longest_runs() -> Select[tuple[int, int]]:
    days = Run.last_day - Run.first_day + 1
    return select(Run.id, days).order_by(days.desc(), Run.id).limit(10)


@question(
    "On which day of the week do runs begin?",
    """
    SELECT extract(isodow FROM first_day), count(*) FROM runs GROUP BY 1 ORDER BY 1
    """,
)
def days_of_the_week() -> Select[tuple[decimal.Decimal, int]]:
    day = extract("isodow", Run.first_day)
    return select(day, count()).group_by(day).order_by(day)


@question(
    "What was taken in each quarter of 2012?",
    """
    SELECT date_trunc('quarter', first_day::timestamptz), sum(tickets * price) FROM runs
    WHERE first_day >= '2012-01-01' AND first_day < '2013-01-01' GROUP BY 1 ORDER BY 1
    """,
)
def quarters_of_2012() -> Select[tuple[datetime.datetime, decimal.Decimal | None]]:
    quarter = func.date_trunc("quarter", cast(Run.first_day, datetime.datetime)).as_("quarter")
    money = sum_(Run.price * Run.tickets)
    return (
        select(quarter, money)
        .where(Run.first_day >= datetime.date(2012, 1, 1), Run.first_day < datetime.date(2013, 1, 1))
        .group_by(quarter)
        .order_by(quarter)
    )


@question(
    "Is a film long, short or unknown? How many of each?",
    """
    SELECT CASE WHEN runtime_minutes >= 120 THEN 'long' WHEN runtime_minutes < 90 THEN 'short' ELSE 'usual' END AS length, count(*)
    FROM films GROUP BY 1 ORDER BY 1
    """,
)
def long_or_short() -> Select[tuple[str, int]]:
    length = case((Film.runtime_minutes >= 120, "long"), (Film.runtime_minutes < 90, "short"), else_="usual").as_("length")
    return select(length, count()).group_by(length).order_by(length)


@question(
    "The films nearest to a place among the vectors (nearest neighbours)",
    """
    SELECT film_id, place <-> '[0.5, 0.5, 0.5]' FROM facts ORDER BY place <-> '[0.5, 0.5, 0.5]', film_id LIMIT 5
    """,
)
def nearest_films() -> Select[tuple[int, float]]:
    distance = Fact.place.l2_distance([0.5, 0.5, 0.5])
    return select(Fact.film_id, distance).order_by(distance, Fact.film_id).limit(5)


@question(
    "The films most like the first one, by the angle between their vectors",
    """
    SELECT o.film_id FROM facts f JOIN facts o ON o.film_id <> f.film_id
    WHERE f.film_id = (SELECT min(film_id) FROM facts) ORDER BY o.place <=> f.place, o.film_id LIMIT 5
    """,
)
def most_alike() -> Select[int]:
    other = alias(Fact, "other")
    first = alias(Fact, "first")
    return (
        select(other.film_id)
        .from_(Fact)
        .join(other, other.film_id != Fact.film_id)
        .where(Fact.film_id == select(min_(first.film_id)))
        .order_by(other.place.cosine_distance(Fact.place), other.film_id)
        .limit(5)
    )
