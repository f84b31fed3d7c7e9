"""Graphs of one object as one statement: for which selects, and how it looks."""

from typing import Any

import pytest

from tests.database.cinema import Credit, Film, Hall, Person, Poster, Role, Seat
from tests.query.statements import expect
from trioorm import Column, Model, alias, column, count, or_, select
from trioorm.query import ModelItem, RootKey, Select, United, UnitedLoad, root_key
from trioorm.query.shape import UnitedShape


class Badge(Model, table="badges"):
    id: Column[int] = column(primary_key=True)
    number: Column[int] = column(unique=True)


FILM = select(Film).where(Film.id == 7)


@pytest.mark.parametrize(
    ("statement", "given", "place"),
    [
        (FILM, {"id": 1}, 0),
        (FILM.order_by(Film.id), {"id": 1}, 0),
        (select(Film.title, Film).where(Film.id == 7), {"id": 1}, 1),
        (select(Film.credits.where(Credit.id > 5).count(), Film).where(Film.id == 7), {"id": 2}, 1),
        (FILM.where(Film.title == "Alien"), {"id": 1, "title": 2}, 0),
        (FILM.where(Film.title != "Alien"), {}, 0),
        (FILM.where(Film.sequel_of_id.is_null()), {}, 0),
        (select(Hall).where(Hall.number == 3, Hall.house == "x"), {"number": 1, "house": 2}, 0),
        (select(Badge).where(Badge.number == 5), {"number": 1}, 0),
    ],
)
def test_a_key_that_a_select_names(statement: Select[Any], given: dict[str, int], place: int) -> None:
    key = root_key(statement)
    assert key is not None
    assert (key.given, key.place) == (given, place)


_ALIAS = alias(Film, "other")


@pytest.mark.parametrize(
    "statement",
    [
        select(Film),
        select(Film).where(Film.title == "Alien"),
        select(Film).where(Film.id > 7),
        select(Film).where(Film.id == Film.sequel_of_id),
        select(Film).where(Film.id.in_([7])),
        select(Film).where(or_(Film.id == 7, Film.title == "Alien")),
        select(Hall).where(Hall.number == 3),
        select(_ALIAS).where(_ALIAS.id == 7),
        select(Film, Person).from_(Film).cross_join(Person).where(Film.id == 7),
        select(Film).join(Credit, Credit.film_id == Film.id).where(Film.id == 7),
        FILM.limit(1),
        FILM.distinct(),
        FILM.for_update(),
        select(Film, count()).where(Film.id == 7).group_by(Film.id),
    ],
)
def test_selects_that_may_give_several_rows_or_do_more_than_read_them(statement: Select[Any]) -> None:
    assert root_key(statement) is None


def united(root: Select[Any], *loads: tuple[Any, int]) -> United:
    """A select with relations, each with the number of the part that finds its owners."""
    key = root_key(root)
    assert isinstance(key, RootKey)
    owners = {owner for _, owner in loads}
    return United(root, key, [UnitedLoad(load, owner, at in owners) for at, (load, owner) in enumerate(loads, 1)], {Film})


def test_what_is_found_by_the_key_that_was_sent() -> None:
    credits = Film.credits.where(Credit.role == Role.CAST).order_by(Credit.id).limit(5)
    expect(
        united(FILM, (credits, 0), (Credit.film, 1)),
        """WITH trioorm_part_1 (c1, c2, c3, c4, c5, c6) AS MATERIALIZED (
    SELECT "credits"."id", "credits"."film_id", "credits"."person_id", "credits"."agent_id", "credits"."role", "credits"."position"
    FROM "credits"
    WHERE "credits"."film_id" = (SELECT $1) AND "credits"."role" = (SELECT $2::"role")
    ORDER BY "credits"."id"
    LIMIT (SELECT $3)
)
SELECT 0, c1, c2, c3, (NULL::"credits")."id", (NULL::"credits")."film_id", (NULL::"credits")."person_id", (NULL::"credits")."agent_id", \
(NULL::"credits")."role", (NULL::"credits")."position" FROM (
    SELECT "films"."id", "films"."title", "films"."sequel_of_id"
    FROM "films"
    WHERE "films"."id" = $1
) AS trioorm_part_0 (c1, c2, c3)
UNION ALL
SELECT 1, NULL, NULL, NULL, c1, c2, c3, c4, c5, c6 FROM trioorm_part_1
UNION ALL
SELECT 2, c1, c2, c3, NULL, NULL, NULL, NULL, NULL, NULL FROM (
    SELECT "films"."id", "films"."title", "films"."sequel_of_id"
    FROM "films"
    WHERE "films"."id" = ANY ((ARRAY(SELECT DISTINCT c2 FROM trioorm_part_1)::bigint[]))
) AS trioorm_part_2 (c1, c2, c3)""",
        [7, Role.CAST, 5],
    )


def test_what_is_found_by_what_the_row_holds() -> None:
    """Where the key is not the whole condition, where it is no number or UUID, and where the relation goes by another field."""
    for root, load, wanted in (
        (FILM.where(Film.title != ""), Film.poster, '"posters"."film_id" = (SELECT c1 FROM trioorm_part_0 LIMIT 1)'),
        (FILM, Film.sequel_of, '"films"."id" = (SELECT c3 FROM trioorm_part_0 LIMIT 1)'),
        (
            select(Hall.number, Hall).where(Hall.number == 3, Hall.house == "x"),
            Hall.seats,
            '"seats"."house" = (SELECT c2 FROM trioorm_part_0 LIMIT 1) AND "seats"."hall_number" = (SELECT $1)',
        ),
    ):
        text = str(united(root, (load, 0)))
        assert wanted in text
        assert text.startswith("WITH trioorm_part_0 (")


def test_keys_of_several_columns_stay_together() -> None:
    seat = select(Seat).where(Seat.id == 1)
    text = str(united(seat, (Seat.hall, 0), (Hall.seats, 1)))
    for field in ("k1", "k2"):
        keys = f"SELECT {field} FROM (SELECT DISTINCT c1, c2 FROM trioorm_part_1) AS trioorm_keys (k1, k2) ORDER BY k1, k2"
        assert f"ARRAY({keys})" in text


def test_objects_of_one_model_share_its_columns() -> None:
    poster = select(Poster).where(Poster.film_id == 1)
    for loads in ([(Poster.film, 0)], [(Poster.film, 0), (Film.sequel_of, 1), (Film.sequels, 2)]):
        shape = united(poster, *loads).shape
        assert isinstance(shape, UnitedShape)
        assert [item.model for item in shape.items if isinstance(item, ModelItem)] == [Poster, Film]
