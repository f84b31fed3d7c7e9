"""The statements that find relations' objects: how they look, and that their values are known without building them."""

from typing import Any

import pytest

from tests.database.cinema import Credit, Film, Genre, Hall, Person, Role, Seat
from trioorm import select
from trioorm.model import Load
from trioorm.query import Handing, find_related, handed_keys, sent_keys, values_of

DIRECTORS = Film.credits.where(Credit.role == Role.DIRECTOR)
SHIFTED = (Credit.position + 7, Credit.id)


@pytest.mark.parametrize(
    "load",
    [
        Film.cast, DIRECTORS, DIRECTORS.order_by(*SHIFTED), DIRECTORS.order_by(*SHIFTED).limit(4), Film.cast.limit(0), Film.first_credit,
        Film.cast.where(Person.name == "x", Credit.position > 1).order_by(*SHIFTED).limit(9), Hall.seats.where(Seat.id > 1).limit(1),
        Film.credits.limit(2),
    ],
)  # fmt: skip
def test_the_values_of_a_load_stand_behind_its_keys(load: Load[Any]) -> None:
    own = load.relation.keys.own
    keys = [("a", 1)] if len(own) == 2 else [(3,)]
    found = find_related(load, sent_keys(own, keys)).statement
    assert found.bind_values == (*[[key] for key in keys[0]], *values_of(load))
    named = [f"trioorm.keys_{number}" for number in range(len(own))]
    assert find_related(load, handed_keys(own, named)).statement.bind_values == values_of(load)


def test_loads_of_one_form_differ_in_values_only() -> None:
    def made(role: Role, most: int | None) -> Load[Any]:
        load = Film.credits.where(Credit.role == role).order_by(Credit.id)
        return (load if most is None else load.limit(most)).load(Credit.person)

    assert made(Role.CAST, 1).form is made(Role.DIRECTOR, 7).form
    assert (
        len({load.form for load in (made(Role.CAST, 1), made(Role.CAST, None), Film.credits, Film.cast, Film.credits.load(Credit.person))})
        == 5
    )
    assert Film.credits.load(Credit.person) is Film.credits.load(Credit.person)
    assert Film.credits.load(Credit.person, Credit.agent) is not Film.credits.load(Credit.person)


def text_of(load: Load[Any]) -> str:
    return " ".join(str(find_related(load, sent_keys(load.relation.keys.own)).statement).split())


def test_an_index_is_looked_into_and_a_table_without_one_is_hashed() -> None:
    assert '"credits"."film_id" = ANY (( SELECT $1::bigint[] )::bigint[])' in text_of(Film.credits)
    assert '"people"."id" = ANY (' in text_of(Credit.person)
    assert '"films"."sequel_of_id" IN (SELECT * FROM unnest(' in text_of(Film.sequels)
    assert '"film_genre"."film_id" IN (SELECT * FROM unnest(' in text_of(Film.genres), "of a table without a model nothing is known"
    assert 'ROW("halls"."house", "halls"."number") IN (SELECT * FROM unnest(' in text_of(Seat.hall)


def test_a_select_hands_on_the_keys_of_all_objects_of_a_model() -> None:
    statement = select(Genre, Film).from_(Genre).cross_join(Film).where(Film.id > 5).order_by(Genre.id)
    keys = Film.credits.relation.keys.own
    handing = Handing(statement, [(Film.credits.relation.owner, keys, ["trioorm.keys_0_0"])])
    assert handing.bind_values == (5,)
    text = " ".join(str(handing).split())
    assert text.startswith("WITH trioorm_rows (c1, c2, c3, c4, c5) AS MATERIALIZED ( SELECT")
    assert text.endswith(
        "SELECT * FROM trioorm_rows WHERE (SELECT set_config('trioorm.keys_0_0', coalesce(array_agg(k1)::text, '{}'), true) "
        "FROM (SELECT DISTINCT c3 FROM trioorm_rows) AS trioorm_keys (k1)) IS NOT NULL"
    )
