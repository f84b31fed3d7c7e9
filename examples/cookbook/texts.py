"""Texts.

Patterns, misspelt names, and documents.
"""

from examples.cookbook.models import Film, Genre, Person, Review
from examples.cookbook.recipes import question
from trioorm import Expression, Select, case, count, func, lower, search, select, trigram, upper


@question(
    "Titles with a number in them",
    """
    SELECT title FROM films WHERE title ~ '[0-9]' ORDER BY title, id
    """,
)
def titles_with_numbers() -> Select[str]:
    return select(Film.title).where(Film.title.regex("[0-9]")).order_by(Film.title, Film.id)


@question(
    "Titles that begin with 'the', however it is written",
    """
    SELECT title FROM films WHERE title ILIKE 'the %' ORDER BY lower(title), id
    """,
)
def the_something() -> Select[str]:
    return select(Film.title).where(Film.title.ilike("the %")).order_by(lower(Film.title), Film.id)


@question(
    "People whose name sounds like 'Skarlet Johansen' to someone who types it (fuzzy search)",
    """
    SELECT name, similarity(name, 'Skarlet Johansen') AS likeness FROM people WHERE name % 'Skarlet Johansen' ORDER BY likeness DESC, name
    """,
)
def fuzzy_names() -> Select[tuple[str, float]]:
    likeness = trigram.similarity(Person.name, "Skarlet Johansen")
    return select(Person.name, likeness).where(trigram.similar(Person.name, "Skarlet Johansen")).order_by(likeness.desc(), Person.name)


@question(
    "The five names nearest to 'Jon Malkovitch' (nearest neighbours by an index)",
    """
    SELECT name FROM people ORDER BY name <-> 'Jon Malkovitch', name LIMIT 5
    """,
)
def nearest_names() -> Select[str]:
    return select(Person.name).order_by(trigram.distance(Person.name, "Jon Malkovitch"), Person.name).limit(5)


@question(
    "Reviews that speak of suspense and a masterpiece (full-text search), best match first",
    """
    SELECT id, ts_rank(to_tsvector('english', words), q) FROM reviews, websearch_to_tsquery('english', 'suspense masterpiece') q
    WHERE to_tsvector('english', words) @@ q ORDER BY 2 DESC, id LIMIT 20
    """,
)
def full_text() -> Select[tuple[int, float]]:
    words = search.to_tsvector(Review.words, language="english")
    asked = search.websearch_to_tsquery("suspense masterpiece", language="english")
    rank = search.rank(words, asked)
    return select(Review.id, rank).where(search.matches(words, asked)).order_by(rank.desc(), Review.id).limit(20)


@question(
    "The same with what was found marked",
    """
    SELECT ts_headline('english', words, to_tsquery('english', 'feast & !slow')) FROM reviews
    WHERE to_tsvector('english', words) @@ to_tsquery('english', 'feast & !slow') ORDER BY id LIMIT 10
    """,
)
def headlines() -> Select[str]:
    asked = search.to_tsquery("feast & !slow", language="english")
    found = search.matches(search.to_tsvector(Review.words, language="english"), asked)
    return select(search.headline(Review.words, asked, language="english")).where(found).order_by(Review.id).limit(10)


@question(
    "The longest titles, and how long they are",
    """
    SELECT title, length(title) FROM films ORDER BY length(title) DESC, id LIMIT 5
    """,
)
def longest_titles() -> Select[tuple[str, int]]:
    return select(Film.title, func.length(Film.title)).order_by(func.length(Film.title).desc(), Film.id).limit(5)


@question(
    "How many titles begin with each letter?",
    """
    SELECT upper(left(title, 1)) COLLATE "C" AS letter, count(*) FROM films GROUP BY letter ORDER BY count(*) DESC, letter
    """,
)
def first_letters() -> Select[tuple[str, int]]:
    letter = upper(func.left(Film.title, 1)).collate("C").as_("letter")
    return select(letter, count()).group_by(letter).order_by(count().desc(), letter)


@question(
    "Last names that directors and others share: how many people have each?",
    """
    SELECT split_part(name, ' ', -1) COLLATE "C" AS last_name, count(*) FROM people WHERE name LIKE '% %'
    GROUP BY last_name HAVING count(*) > 15 ORDER BY count(*) DESC, last_name
    """,
)
def last_names() -> Select[tuple[str, int]]:
    last_name = func.split_part(Person.name, " ", -1).collate("C").as_("last_name")
    return (
        select(last_name, count())
        .where(Person.name.like("% %"))
        .group_by(last_name)
        .having(count() > 15)
        .order_by(count().desc(), last_name)
    )


@question(
    "All genres of the shelf in one line, by name",
    """
    SELECT string_agg(name, ', ' ORDER BY name) FROM genres
    """,
)
def genres_in_one_line() -> Select[str | None]:
    return select(func.string_agg(Genre.name, ", ", order_by=Genre.name))


@question(
    "What is a film called on a small poster?",
    """
    SELECT CASE WHEN length(title) > 20 THEN left(title, 17) || '...' ELSE title END FROM films WHERE year = 2002 ORDER BY id
    """,
)
def short_titles() -> Select[str]:
    short = func.left(Film.title, 17) + "..."
    shown: Expression[str] = case((func.length(Film.title) > 20, short), else_=Film.title)
    return select(shown).where(Film.year == 2002).order_by(Film.id)


@question(
    "Sequels: titles that end in a number or a Roman one",
    """
    SELECT title, (regexp_match(title, '(\\d+|[IVX]+)$'))[1] FROM films WHERE title ~ ' (\\d+|[IVX]+)$' ORDER BY title, id
    """,
)
def sequels() -> Select[tuple[str, str | None]]:
    number = func.regexp_substr(Film.title, r"(\d+|[IVX]+)$")
    return select(Film.title, number).where(Film.title.regex(r" (\d+|[IVX]+)$")).order_by(Film.title, Film.id)
