"""Sets, subtotals and pages.

Rows of several queries as one, totals of totals, and reading on where the last page ended.
"""

import datetime

from examples.cookbook.models import Credit, Fact, Film, FilmGenre, Genre, Person, Review, Role, Run, Watch
from examples.cookbook.recipes import question
from trioorm import (
    Query,
    Select,
    cast,
    count,
    cube,
    func,
    grouping,
    grouping_sets,
    literal,
    rollup,
    select,
    sum_,
    table_function,
    unnest,
    values_table,
)


@question(
    "Everybody who directed or wrote a film of 1994 or before (UNION)",
    """
    SELECT p.name FROM people p JOIN credits c ON c.person_id = p.id JOIN films f ON f.id = c.film_id
    WHERE f.year <= 1994 AND c.role = 'director'
    UNION
    SELECT p.name FROM people p JOIN credits c ON c.person_id = p.id JOIN films f ON f.id = c.film_id
    WHERE f.year <= 1994 AND c.role = 'writer'
    ORDER BY name
    """,
)
def directed_or_wrote() -> Query[str]:
    def names(role: Role) -> Select[str]:
        return (
            select(Person.name)
            .join(Credit, Credit.person_id == Person.id)
            .join(Film, Film.id == Credit.film_id)
            .where(Film.year <= 1994, Credit.role == role)
        )

    return names(Role.DIRECTOR).union(names(Role.WRITER)).order_by(Person.name)


@question(
    "People who directed, wrote and acted, each somewhere (INTERSECT)",
    """
    SELECT person_id FROM credits WHERE role = 'director' INTERSECT SELECT person_id FROM credits WHERE role = 'writer'
    INTERSECT SELECT person_id FROM credits WHERE role = 'cast' ORDER BY person_id
    """,
)
def all_rounders() -> Query[int]:
    director, writer, cast = (select(Credit.person_id).where(Credit.role == role) for role in Role)
    return director.intersect(writer).intersect(cast).order_by(Credit.person_id)


@question(
    "Films that were reviewed and never watched (EXCEPT)",
    """
    SELECT film_id FROM reviews EXCEPT SELECT film_id FROM watches ORDER BY film_id
    """,
)
def reviewed_not_watched() -> Query[int]:
    return select(Review.film_id).except_(select(Watch.film_id)).order_by(Review.film_id)


@question(
    "The last five things that happened: reviews and first days of runs in one list (UNION ALL)",
    """
    SELECT 'review', written_on, film_id FROM reviews UNION ALL SELECT 'run', first_day, film_id FROM runs ORDER BY 2 DESC, 3, 1 LIMIT 5
    """,
)
def happenings() -> Query[tuple[str, datetime.date, int]]:
    reviews = select(literal("review").as_("what"), Review.written_on.as_("day"), Review.film_id)
    runs = select(literal("run").as_("what"), Run.first_day.as_("day"), Run.film_id)
    happened = reviews.union_all(runs).subquery("happened")
    what, day = happened.column("what", str), happened.column("day", datetime.date)
    film_id = happened[Review.film_id]
    return select(what, day, film_id).order_by(day.desc(), film_id, what).limit(5)


@question(
    "Tickets by cinema and year, with a total of each cinema and of all (ROLLUP)",
    """
    SELECT cinema, date_part('year', first_day)::bigint AS year, sum(tickets)::bigint FROM runs WHERE first_day >= '2012-01-01'
    GROUP BY ROLLUP (cinema, date_part('year', first_day)::bigint) ORDER BY 1 NULLS LAST, 2 NULLS LAST
    """,
)
def tickets_with_totals() -> Query[tuple[str | None, int | None, int | None]]:
    year = cast(func.date_part("year", Run.first_day), int).as_("year")
    runs = select(Run.cinema, year, Run.tickets).where(Run.first_day >= datetime.date(2012, 1, 1)).subquery("recent")
    cinema, of_year = runs[Run.cinema], runs[year]
    return (
        select(cinema, of_year, sum_(runs[Run.tickets]))
        .group_by(rollup(cinema, of_year))
        .order_by(cinema.asc(nulls="last"), of_year.asc(nulls="last"))
    )


@question(
    "Reviews by critic, by stars, and both (CUBE), of critics whose name begins with A or B",
    """
    SELECT critic, stars, count(*), grouping(critic, stars) FROM reviews WHERE critic < 'C' GROUP BY CUBE (critic, stars)
    ORDER BY 4, critic NULLS LAST, stars NULLS LAST
    """,
)
def cube_of_reviews() -> Query[tuple[str | None, int | None, int, int]]:
    level = grouping(Review.critic, Review.stars).as_("level")
    return (
        select(Review.critic, Review.stars, count(), level)
        .where(Review.critic < "C")
        .group_by(cube(Review.critic, Review.stars))
        .order_by(level, Review.critic.asc(nulls="last"), Review.stars.asc(nulls="last"))
    )


@question(
    "Films by year and by rating of the meter, in one result (GROUPING SETS)",
    """
    SELECT year, review_meter_percent >= 60, count(*) FROM films WHERE year < 1996
    GROUP BY GROUPING SETS ((year), (review_meter_percent >= 60)) ORDER BY 1 NULLS LAST, 2 NULLS LAST
    """,
)
def two_groupings() -> Query[tuple[int | None, bool | None, int]]:
    fresh = (Film.review_meter_percent >= 60).as_("fresh")
    films = select(Film.year, fresh).where(Film.year < 1996).subquery("old")
    year, is_fresh = films[Film.year], films[fresh]
    return (
        select(year, is_fresh, count()).group_by(grouping_sets(year, is_fresh)).order_by(year.asc(nulls="last"), is_fresh.asc(nulls="last"))
    )


@question(
    "How often does each language occur? (Elements of arrays as rows)",
    """
    SELECT language, count(*) FROM films CROSS JOIN unnest(languages) AS language
    GROUP BY language ORDER BY count(*) DESC, language LIMIT 10
    """,
)
def languages() -> Query[tuple[str, int]]:
    language = unnest(Film.languages, name="language")
    return (
        select(language.value, count())
        .from_(Film)
        .cross_join(language)
        .group_by(language.value)
        .order_by(count().desc(), language.value)
        .limit(10)
    )


@question(
    "The places of each film as rows, from JSON",
    """
    SELECT film_id, named.place FROM facts CROSS JOIN jsonb_array_elements_text(details->'places') AS named (place)
    WHERE named.place LIKE 'N%' ORDER BY film_id, named.place LIMIT 20
    """,
)
def places() -> Query[tuple[int, str]]:
    place = table_function(func.jsonb_array_elements_text(Fact.details["places"], returns=str), "place")
    return select(Fact.film_id, place.value).cross_join(place).where(place.value.like("N%")).order_by(Fact.film_id, place.value).limit(20)


@question(
    "Films of a given list of years, in the order of the list (VALUES)",
    """
    SELECT wanted.place, f.title FROM (VALUES (1, 1999), (2, 1994), (3, 1986)) AS wanted (place, year)
    JOIN films f ON f.year = wanted.year ORDER BY wanted.place, f.title, f.id
    """,
)
def in_my_order() -> Query[tuple[int, str]]:
    wanted = values_table("wanted", [(1, 1999), (2, 1994), (3, 1986)])
    place, year = wanted.columns
    return select(place, Film.title).from_(wanted).join(Film, Film.year == year).order_by(place, Film.title, Film.id)


@question(
    "Films by id, in the order in which the ids were given (unnest with ordinality)",
    """
    SELECT f.title FROM unnest(ARRAY[4941, 136625, 32433]::bigint[]) WITH ORDINALITY AS asked (id, place)
    JOIN films f ON f.id = asked.id ORDER BY asked.place
    """,
)
def in_the_order_asked() -> Query[str]:
    asked = unnest([4941, 136625, 32433], name="asked").with_ordinality()
    return select(Film.title).from_(asked).join(Film, Film.id == asked.value).order_by(asked.ordinality)


@question(
    "The second page of twenty films by title, and how many there are (offset and total in one statement)",
    """
    SELECT id, title, count(*) OVER () FROM films WHERE year > 2010 ORDER BY title, id LIMIT 20 OFFSET 20
    """,
)
def second_page() -> Query[tuple[int, str, int]]:
    return select(Film.id, Film.title).where(Film.year > 2010).order_by(Film.title, Film.id).limit(20).offset(20).with_total()


@question(
    "The page after 'Skyfall', newest first (keyset pagination)",
    """
    SELECT released, title, id FROM films WHERE (released, id) < ('2012-10-23', 4941)
    ORDER BY released DESC, id DESC LIMIT 10
    """,
)
def page_after_skyfall() -> Query[tuple[datetime.date, str, int]]:
    page = select(Film.released, Film.title, Film.id).order_by(Film.released.desc(), Film.id.desc()).limit(10)
    return page.after((datetime.date(2012, 10, 23), "Skyfall", 4941))


@question(
    "The films with the most Oscars, and all that have as many as the third (FETCH FIRST ... WITH TIES)",
    """
    SELECT oscars, title FROM films ORDER BY oscars DESC FETCH FIRST 3 ROWS WITH TIES
    """,
)
def most_oscars() -> Query[tuple[int, str]]:
    ties = select(Film.oscars, Film.title, Film.id).order_by(Film.oscars.desc()).limit(3, with_ties=True).subquery("ties")
    return select(ties[Film.oscars], ties[Film.title]).order_by(ties[Film.oscars].desc(), ties[Film.id])


@question(
    "Genres as columns: how many dramas, comedies and thrillers of each decade? (A pivot over a join)",
    """
    SELECT f.year / 10 AS decade, count(*) FILTER (WHERE g.name = 'Drama'), count(*) FILTER (WHERE g.name = 'Comedy'),
           count(*) FILTER (WHERE g.name = 'Thriller')
    FROM films f JOIN film_genre fg ON fg.film_id = f.id JOIN genres g ON g.id = fg.genre_id GROUP BY f.year / 10 ORDER BY 1
    """,
)
def genres_as_columns() -> Query[tuple[int, int, int, int]]:
    decade = (Film.year / 10).as_("decade")
    drama, comedy, thriller = (count(where=Genre.name == name) for name in ("Drama", "Comedy", "Thriller"))
    return (
        select(decade, drama, comedy, thriller)
        .join(FilmGenre, FilmGenre.film_id == Film.id)
        .join(Genre, Genre.id == FilmGenre.genre_id)
        .group_by(decade)
        .order_by(decade)
    )
