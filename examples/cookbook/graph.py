"""The graph of people; CTEs.

Who is how far from whom, and what is computed in steps.
"""

import decimal

from examples.cookbook.models import Credit, Film, Person, Review, Role
from examples.cookbook.recipes import question
from trioorm import INTEGER, Query, Select, Table, alias, array, arrays, avg, count, literal, min_, select


@question(
    "How many people are one, two and three films away from Kevin Bacon? (A recursive CTE over co-actors)",
    """
    WITH RECURSIVE reached AS (
        SELECT id AS person_id, 0 AS distance FROM people WHERE name = 'Kevin Bacon'
        UNION
        SELECT b.person_id, r.distance + 1 FROM reached r
        JOIN credits a ON a.person_id = r.person_id AND a.role = 'cast'
        JOIN credits b ON b.film_id = a.film_id AND b.role = 'cast' WHERE r.distance < 3
    )
    SELECT distance, count(*) FROM (SELECT person_id, min(distance) AS distance FROM reached GROUP BY person_id) nearest
    GROUP BY distance ORDER BY distance
    """,
)
def distances() -> Select[tuple[int | None, int]]:
    a, b = alias(Credit, "a"), alias(Credit, "b")
    distance = literal(0, type=INTEGER).as_("distance")
    start = select(Person.id.as_("person_id"), distance).where(Person.name == "Kevin Bacon")

    def step(reached: Table) -> Query[tuple[int, int]]:
        person, far = reached.column("person_id", int), reached.column("distance", int)
        return (
            select(b.person_id, far + 1)
            .from_(reached)
            .join(a, (a.person_id == person) & (a.role == Role.CAST))
            .join(b, (b.film_id == a.film_id) & (b.role == Role.CAST))
            .where(far < 3)
        )

    reached = start.recursive_cte("reached", step, distinct=True)
    person = reached.column("person_id", int)
    least = min_(reached.column("distance", int)).as_("distance")
    nearest = select(person, least).group_by(person).subquery("nearest")
    return select(nearest[least], count()).group_by(nearest[least]).order_by(nearest[least])


@question(
    "A shortest way from Kevin Bacon to Emma Watson over films",
    """
    WITH RECURSIVE way AS (
        SELECT id, ARRAY[name] AS names FROM people WHERE name = 'Kevin Bacon'
        UNION ALL
        SELECT p.id, w.names || p.name FROM way w
        JOIN credits a ON a.person_id = w.id AND a.role = 'cast' JOIN credits b ON b.film_id = a.film_id AND b.role = 'cast'
        JOIN people p ON p.id = b.person_id WHERE p.name <> ALL (w.names) AND cardinality(w.names) < 3
    )
    SELECT names FROM way WHERE names[cardinality(names)] = 'Emma Watson' ORDER BY cardinality(names), names LIMIT 1
    """,
)
def shortest_way() -> Select[list[str]]:
    a, b = alias(Credit, "a"), alias(Credit, "b")
    names = array([Person.name]).as_("names")
    start = select(Person.id, names).where(Person.name == "Kevin Bacon")

    def step(way: Table) -> Query[tuple[int, list[str]]]:
        so_far = way.column("names", list[str])
        return (
            select(Person.id, arrays.append(so_far, Person.name))
            .from_(way)
            .join(a, (a.person_id == way[Person.id]) & (a.role == Role.CAST))
            .join(b, (b.film_id == a.film_id) & (b.role == Role.CAST))
            .join(Person, Person.id == b.person_id)
            .where(~so_far.has(Person.name), arrays.length(so_far) < 3)
        )

    way = start.recursive_cte("way", step)
    found = way.column("names", list[str])
    return select(found).where(found[arrays.length(found)] == "Emma Watson").order_by(arrays.length(found), found).limit(1)


@question(
    "The factorials to twelve (the smallest recursive CTE)",
    """
    WITH RECURSIVE f (n, factorial) AS (SELECT 1::bigint, 1::bigint UNION ALL SELECT n + 1, factorial * (n + 1) FROM f WHERE n < 12)
    SELECT n, factorial FROM f ORDER BY n
    """,
)
def factorials() -> Select[tuple[int, int]]:
    start = select(literal(1).as_("n"), literal(1).as_("factorial"))

    def step(f: Table) -> Query[tuple[int, int]]:
        n = f.column("n", int)
        return select(n + 1, f.column("factorial", int) * (n + 1)).from_(f).where(n < 12)

    f = start.recursive_cte("f", step)
    return select(f.column("n", int), f.column("factorial", int)).order_by(f.column("n"))


@question(
    "Films whose mean of stars is above the mean of all films (a CTE used twice)",
    """
    WITH means AS (SELECT film_id, avg(stars) AS stars FROM reviews GROUP BY film_id)
    SELECT f.title FROM films f JOIN means m ON m.film_id = f.id
    WHERE m.stars > (SELECT avg(stars) + 1.5 FROM means) ORDER BY f.title, f.id
    """,
)
def above_the_mean() -> Select[str]:
    stars = avg(Review.stars).as_("stars")
    means = select(Review.film_id, stars).group_by(Review.film_id).cte("means")
    all_films = means.alias("all_films")
    mean = select(avg(all_films[stars]) + decimal.Decimal("1.5")).from_(all_films)
    return select(Film.title).join(means, means[Review.film_id] == Film.id).where(means[stars] > mean).order_by(Film.title, Film.id)


@question(
    "Which actor has played for most directors?",
    """
    WITH pairs AS (
        SELECT DISTINCT a.person_id AS actor, d.person_id AS director FROM credits a
        JOIN credits d ON d.film_id = a.film_id AND d.role = 'director' WHERE a.role = 'cast'
    )
    SELECT p.name, count(*) FROM pairs JOIN people p ON p.id = pairs.actor GROUP BY p.id ORDER BY count(*) DESC, p.name LIMIT 5
    """,
)
def most_directors() -> Select[tuple[str, int]]:
    director = alias(Credit, "director")
    pairs = (
        select(Credit.person_id.as_("actor"), director.person_id.as_("director"))
        .join(director, (director.film_id == Credit.film_id) & (director.role == Role.DIRECTOR))
        .where(Credit.role == Role.CAST)
        .distinct()
        .cte("pairs")
    )
    return (
        select(Person.name, count())
        .from_(pairs)
        .join(Person, Person.id == pairs.column("actor", int))
        .group_by(Person.id)
        .order_by(count().desc(), Person.name)
        .limit(5)
    )


@question(
    "Everything two handshakes around Bill Murray, without going in circles (CYCLE)",
    """
    WITH RECURSIVE around AS (
        SELECT id, 0 AS steps FROM people WHERE name = 'Bill Murray'
        UNION ALL
        SELECT d.person_id, a.steps + 1 FROM around a
        JOIN credits c ON c.person_id = a.id AND c.role = 'cast'
        JOIN credits d ON d.film_id = c.film_id AND d.role = 'director' WHERE a.steps < 2
    ) CYCLE id SET again USING path
    SELECT p.name, count(*) FROM around JOIN people p ON p.id = around.id WHERE NOT again GROUP BY p.id ORDER BY p.name
    """,
)
def around_murray() -> Select[tuple[str, int]]:
    c, d = alias(Credit, "c"), alias(Credit, "d")
    start = select(Person.id, literal(0, type=INTEGER).as_("steps")).where(Person.name == "Bill Murray")

    def step(around: Table) -> Query[tuple[int, int]]:
        steps = around.column("steps", int)
        return (
            select(d.person_id, steps + 1)
            .from_(around)
            .join(c, (c.person_id == around[Person.id]) & (c.role == Role.CAST))
            .join(d, (d.film_id == c.film_id) & (d.role == Role.DIRECTOR))
            .where(steps < 2)
        )

    around = start.recursive_cte("around", step).cycle(Person.id, mark="again", path="path")
    return (
        select(Person.name, count())
        .join(around, around[Person.id] == Person.id)
        .where(~around.column("again", bool))
        .group_by(Person.id)
        .order_by(Person.name)
    )
