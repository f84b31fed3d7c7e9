"""Changes.

Inserts, updates, deletes, upserts and merges, each with what it leaves behind.
"""

import datetime
import decimal

from examples.cookbook.models import Fact, Film, Review, Run, Watch
from examples.cookbook.recipes import change
from trioorm import (
    INTEGER,
    SMALLINT,
    Insert,
    Merge,
    Returning,
    Select,
    Statement,
    Update,
    alias,
    arrays,
    cast,
    count,
    delete,
    excluded,
    exists,
    func,
    insert,
    jsonb,
    literal,
    merge,
    new,
    old,
    row,
    select,
    sum_,
    update,
    values_table,
)

TODAY = datetime.date(2026, 11, 21)


@change(
    "Count one more viewing of a film (an upsert that adds)",
    """
    INSERT INTO watches (viewer, film_id, times, last_on)
    SELECT 'ada', film_id, 1, '2026-11-21' FROM watches WHERE viewer = 'ada' ORDER BY film_id LIMIT 3
    ON CONFLICT (viewer, film_id) DO UPDATE SET times = watches.times + excluded.times, last_on = excluded.last_on
    """,
    look="SELECT film_id, times FROM watches WHERE viewer = 'ada' AND last_on = '2026-11-21' ORDER BY film_id",
)
def watch_again() -> Insert[Watch]:
    some = (
        select(literal("ada"), Watch.film_id, literal(1, type=INTEGER), literal(TODAY))
        .where(Watch.viewer == "ada")
        .order_by(Watch.film_id)
        .limit(3)
    )
    added = excluded(Watch)
    return (
        insert(Watch)
        .from_select(some, Watch.viewer, Watch.film_id, Watch.times, Watch.last_on)
        .on_conflict(Watch.viewer, Watch.film_id)
        .do_update(set={Watch.times: Watch.times + added.times, Watch.last_on: added.last_on})
    )


@change(
    "Add a viewing unless there is one already",
    """
    INSERT INTO watches (viewer, film_id, times, last_on) SELECT 'new', id, 1, '2026-11-21' FROM films WHERE year = 1999
    ON CONFLICT DO NOTHING
    """,
    look="SELECT count(*) FROM watches WHERE viewer = 'new'",
)
def add_viewings() -> Insert[Watch]:
    films = select(literal("new"), Film.id, literal(1, type=INTEGER), literal(TODAY)).where(Film.year == 1999)
    return insert(Watch).from_select(films, Watch.viewer, Watch.film_id, Watch.times, Watch.last_on).on_conflict().do_nothing()


@change(
    "New reviews, several at once, with their words back",
    """
    INSERT INTO reviews (id, film_id, critic, stars, words, written_on)
    SELECT 90000 + row_number() OVER (ORDER BY id), id, 'Zoe', 5, 'superb', '2026-11-21' FROM films WHERE year = 1977
    RETURNING id, words
    """,
    look="SELECT critic, stars FROM reviews WHERE id > 90000",
)
def new_reviews() -> Returning[tuple[int, str]]:
    number = literal(90_000) + func.row_number().over(order_by=Film.id)
    rows = select(number, Film.id, literal("Zoe"), literal(5, type=SMALLINT), literal("superb"), literal(TODAY)).where(Film.year == 1977)
    columns = (Review.id, Review.film_id, Review.critic, Review.stars, Review.words, Review.written_on)
    return insert(Review).from_select(rows, *columns).returning(Review.id, Review.words)


@change(
    "Make all runs of one cinema a tenth cheaper, and show old and new price",
    """
    UPDATE runs SET price = round(price * 0.9, 2) WHERE cinema = 'Bijou' AND first_day >= '2014-10-01' RETURNING id, old.price, new.price
    """,
    look="SELECT id, price FROM runs WHERE cinema = 'Bijou' AND first_day >= '2014-10-01' ORDER BY id",
)
def cheaper() -> Returning[tuple[int, decimal.Decimal, decimal.Decimal]]:
    return (
        update(Run)
        .set(Run.price, func.round(Run.price * decimal.Decimal("0.9"), 2))
        .where(Run.cinema == "Bijou", Run.first_day >= datetime.date(2014, 10, 1))
        .returning(Run.id, old(Run).price, new(Run).price)
    )


@change(
    "Write the mean of the stars into the review meter of films that have none (UPDATE ... FROM)",
    """
    UPDATE films SET review_count = review_count + r.reviews FROM (SELECT film_id, count(*) AS reviews FROM reviews GROUP BY film_id) r
    WHERE r.film_id = films.id AND films.year = 2005
    """,
    look="SELECT id, review_count FROM films WHERE year = 2005 ORDER BY id",
)
def count_reviews() -> Update[Film]:
    reviews = count().as_("reviews")
    counted = select(Review.film_id, reviews).group_by(Review.film_id).subquery("counted")
    return (
        update(Film)
        .set(Film.review_count, Film.review_count + counted[reviews])
        .from_(counted)
        .where(counted[Review.film_id] == Film.id, Film.year == 2005)
    )


@change(
    "Give each of three films its own number of Oscars (a batch with values per row)",
    """
    UPDATE films SET oscars = v.oscars FROM (VALUES (4941, 7), (136625, 12), (32433, 5)) AS v (id, oscars) WHERE films.id = v.id
    """,
    look="SELECT id, oscars FROM films WHERE id IN (4941, 136625, 32433) ORDER BY id",
)
def batch() -> Update[Film]:
    given = values_table("given", [(4941, 7), (136625, 12), (32433, 5)])
    film_id, oscars = given.columns
    return update(Film).set(Film.oscars, cast(oscars, SMALLINT)).from_(given).where(Film.id == film_id)


@change(
    "Delete the reviews of a critic whom nobody believes (DELETE ... USING)",
    """
    DELETE FROM reviews USING films WHERE films.id = reviews.film_id AND films.review_meter_percent > 90 AND stars = 1
    """,
    look="SELECT count(*) FROM reviews",
)
def unbelievable() -> Statement[None]:
    return delete(Review).using(Film).where(Film.id == Review.film_id, Film.review_meter_percent > 90, Review.stars == 1)


@change(
    "Remove all but the newest review of each critic",
    """
    DELETE FROM reviews r WHERE EXISTS (SELECT 1 FROM reviews o WHERE o.critic = r.critic AND (o.written_on, o.id) > (r.written_on, r.id))
    """,
    look="SELECT id FROM reviews ORDER BY id",
)
def newest_only() -> Statement[None]:
    other = alias(Review, "other")
    newer = row(other.written_on, other.id) > row(Review.written_on, Review.id)
    return delete(Review).where(exists(select(other.id).where(other.critic == Review.critic, newer)))


@change(
    "Change one field deep in JSON",
    """
    UPDATE facts SET details = jsonb_set(details, '{budget,known}', 'true') WHERE details->>'rating' = 'G'
    """,
    look="SELECT film_id, details FROM facts WHERE details->>'rating' = 'G' ORDER BY film_id",
)
def known_budgets() -> Update[Fact]:
    known = jsonb.set_(Fact.details, ["budget", "known"], True)
    return update(Fact).set(Fact.details, known).where(Fact.details["rating"].as_text() == "G")


@change(
    "Add a language to the films of one year",
    """
    UPDATE films SET languages = array_append(languages, 'Esperanto') WHERE year = 1987
    """,
    look="SELECT id, languages FROM films WHERE year = 1987 ORDER BY id",
)
def esperanto() -> Update[Film]:
    return update(Film).set(Film.languages, arrays.append(Film.languages, "Esperanto")).where(Film.year == 1987)


@change(
    "Bring the viewings of bob into those of ada (MERGE)",
    """
    MERGE INTO watches AS w USING (SELECT film_id, times, last_on FROM watches WHERE viewer = 'bob') b
    ON w.viewer = 'ada' AND w.film_id = b.film_id
    WHEN MATCHED AND w.times > b.times THEN DO NOTHING
    WHEN MATCHED THEN UPDATE SET times = b.times
    WHEN NOT MATCHED THEN INSERT (viewer, film_id, times, last_on) VALUES ('ada', b.film_id, b.times, b.last_on)
    """,
    look="SELECT film_id, times, last_on FROM watches WHERE viewer = 'ada' ORDER BY film_id",
)
def merge_viewers() -> Merge[Watch]:
    bob = select(Watch.film_id, Watch.times, Watch.last_on).where(Watch.viewer == "bob").subquery("bob")
    return (
        merge(Watch)
        .using(bob, on=(Watch.viewer == "ada") & (Watch.film_id == bob[Watch.film_id]))
        .when_matched(Watch.times > bob[Watch.times])
        .do_nothing()
        .when_matched()
        .update({Watch.times: bob[Watch.times]})
        .when_not_matched()
        .insert(
            {
                Watch.viewer: "ada",
                Watch.film_id: bob[Watch.film_id],
                Watch.times: bob[Watch.times],
                Watch.last_on: bob[Watch.last_on],
            }
        )
    )


@change(
    "Move the runs before 1990 into a list: delete them and show what they took (a CTE that deletes)",
    """
    WITH gone AS (DELETE FROM runs WHERE last_day < '1990-01-01' RETURNING cinema, tickets)
    SELECT cinema, sum(tickets)::bigint FROM gone GROUP BY cinema ORDER BY cinema
    """,
    look="SELECT count(*) FROM runs",
)
def old_runs() -> Select[tuple[str, int | None]]:
    gone = delete(Run).where(Run.last_day < datetime.date(1990, 1, 1)).returning(Run.cinema, Run.tickets).cte("gone")
    return select(gone[Run.cinema], sum_(gone[Run.tickets])).group_by(gone[Run.cinema]).order_by(gone[Run.cinema])
