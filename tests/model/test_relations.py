"""Declaring relations: what follows from foreign keys, how models are found, and what is refused."""

# pyright: reportUnusedClass=false, reportUnknownVariableType=false
# Classes whose making fails are never used, and have annotations that name nothing.

import copy
import pickle
from typing import Any

import attrs
import pytest

from tests.database.cinema import Credit, Film, Friendship, Genre, Hall, Person, Seat
from tests.query.shop import unchecked
from trioorm import Column, Many, Model, ModelError, One, RelationNotLoaded, belongs_to, column, has_many, has_one, many_to_many
from trioorm.model import Load, ToMany, ToOne, model_of


def keys(load: Load[Any]) -> tuple[list[str], list[str]]:
    found = load.relation.keys
    return [field.attribute for field in found.own], [str(near) for near in found.near]


def test_the_columns_follow_from_the_foreign_keys() -> None:
    assert isinstance(Film.credits, ToMany)
    assert isinstance(Credit.person, ToOne)
    assert keys(Film.credits) == (["id"], ['"credits"."film_id"'])
    assert keys(Credit.agent) == (["agent_id"], ['"people"."id"'])
    assert keys(Film.sequels) == (["id"], ['"films"."sequel_of_id"'])
    assert keys(Seat.hall) == (["house", "hall_number"], ['"halls"."house"', '"halls"."number"'])
    assert keys(Hall.seats) == (["house", "number"], ['"seats"."house"', '"seats"."hall_number"'])
    assert keys(Person.friends) == (["id"], ['"friendships"."one_id"'])
    link = Film.genres.relation.keys.link
    assert link is not None
    assert [str(far) for far in link.columns] == ['"film_genre"."genre_id"']
    assert (Film.sequel_of.relation.optional, Credit.person.relation.optional) == (True, False)


def test_relations_are_no_fields() -> None:
    film = Film(id=1, title="Alien")
    film.credits = [Credit(id=1, film_id=1, person_id=1)]
    film.credits[0].film = film
    assert "credits" not in [field.name for field in attrs.fields(unchecked(Film))]
    assert "credits" not in model_of(Film).by_attribute
    assert repr(film) == "Film(id=1, title='Alien', sequel_of_id=None)"
    assert film == Film(id=1, title="Alien")
    assert not hasattr(film, "__dict__")
    with pytest.raises(TypeError, match="credits"):
        unchecked(Film)(id=1, title="Alien", credits=[])


def test_copies_have_the_columns_alone() -> None:
    film = Film(id=1, title="Alien")
    film.credits = []
    for made in (copy.copy(film), pickle.loads(pickle.dumps(film)), unchecked(attrs.evolve)(film)):
        assert made == film
        with pytest.raises(RelationNotLoaded, match="was not loaded"):
            _ = made.credits


def test_frozen_models_have_relations_too() -> None:
    pair = Friendship(one_id=1, other_id=2)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        unchecked(pair).other = Person(id=2, name="x")
    assert hash(pair) == hash(Friendship(one_id=1, other_id=2))


class Owned(Model, abstract=True):
    owner_id: Column[int] = column(references=lambda: Owner.id)
    owner: One["Owner"] = belongs_to()


class Owner(Model, table="owners"):
    id: Column[int] = column(primary_key=True)
    cars: Many["Car"] = has_many()
    car: One["Car | None"] = has_one()


class Car(Owned, table="cars"):
    id: Column[int] = column(primary_key=True)


class Boat(Owned, table="boats"):
    id: Column[int] = column(primary_key=True)


def test_abstract_models_share_relations() -> None:
    assert (Car.owner.relation.owner.model, Boat.owner.relation.owner.model) == (Car, Boat)
    assert keys(Boat.owner) == (["owner_id"], ['"owners"."id"'])
    assert (Owner.cars.relation.target.model, Owner.car.relation.target.model) == (Car, Car)
    assert Owner.car.relation.optional


def test_a_model_is_found_by_its_name_wherever_it_is_declared() -> None:
    class Ship(Model, table="ships"):
        id: Column[int] = column(primary_key=True)
        sailors: Many["Sailor"] = has_many()

    class Sailor(Model, table="sailors"):
        id: Column[int] = column(primary_key=True)
        ship_id: Column[int] = column(references=Ship.id)

    assert Ship.sailors.relation.target.model is Sailor


def test_a_name_that_several_models_have_must_be_said() -> None:
    class Port(Model, table="ports"):
        id: Column[int] = column(primary_key=True)
        cranes: Many["Crane"] = has_many()
        said: Many["Crane"] = has_many(lambda: later[0])

    later: list[Any] = []
    for table in ("cranes", "more_cranes"):

        class Crane(Model, table=table):
            id: Column[int] = column(primary_key=True)
            port_id: Column[int] = column(references=Port.id)

        later.append(Crane)

    with pytest.raises(ModelError, match=r"several models of that name(.|\n)*has_many\(lambda: Crane"):
        _ = Port.cranes.relation.target
    assert Port.said.relation.target.model is later[0]


def test_contradictions_are_refused() -> None:
    with pytest.raises(ModelError, match=r"annotated(.|\n)*To fix it: things: Many\[\.\.\.\] = has_many"):

        class WrongKind(Model, table="wrong"):
            id: Column[int] = column(primary_key=True)
            things: One[Genre] = has_many()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

    with pytest.raises(ModelError, match="nothing says by which columns"):

        class Undeclared(Model, table="wrong"):
            id: Column[int] = column(primary_key=True)
            things: Many[Genre]

    with pytest.raises(ModelError, match="annotated None"):

        class Unannotated(Model, table="wrong"):
            id: Column[int] = column(primary_key=True)
            things = unchecked(has_many)(lambda: Genre)


class Lost(Model, table="lost"):
    id: Column[int] = column(primary_key=True)
    film_id: Column[int | None] = column(default=None)
    other_id: Column[int] = column(references=lambda: Film.id)
    genres: Many[Genre] = has_many()
    nothing: Many["Nothing"] = has_many()  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
    film: One[Film] = belongs_to(foreign_key="film_id")
    misspelt: One[Film] = belongs_to(foreign_key="fim_id")
    people: Many[Person] = many_to_many(through=lambda: Credit)
    linked: Many[Person] = many_to_many(through="lost_people", foreign_key="lost_id")
    credits: Many[Credit] = many_to_many(through=lambda: Film)
    hall: One[Hall] = belongs_to(foreign_key="film_id")


@pytest.mark.parametrize(
    ("relation", "text"),
    [
        ("genres", r"Lost\.genres: .* Genre refer to Lost; no foreign key does"),
        ("nothing", "there is no model of that name"),
        ("film", r"never None by its annotation, and film_id may be NULL(.|\n)*One\[Film \| None\]"),
        ("misspelt", "Lost has no column 'fim_id'"),
        ("people", "no foreign key does"),
        ("linked", "'lost_people' that refer to Person are not known"),
        ("hall", "cannot refer to the 2 columns of its primary key"),
    ],
)
def test_what_no_column_connects_is_refused_when_it_is_used(relation: str, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        _ = getattr(Lost, relation).relation.keys


def test_two_foreign_keys_to_one_model_must_be_told_apart() -> None:
    class Agency(Model, table="agencies"):
        id: Column[int] = column(primary_key=True)
        people: Many[Person] = many_to_many(through=lambda: Deal)

    class Deal(Model, table="deals"):
        agency_id: Column[int] = column(primary_key=True, references=Agency.id)
        buyer_id: Column[int] = column(primary_key=True, references=Person.id)
        seller_id: Column[int] = column(primary_key=True, references=Person.id)

    with pytest.raises(ModelError, match=r"2 foreign keys do: \('buyer_id',\), \('seller_id',\)(.|\n)*other_key"):
        _ = Agency.people.relation.keys


def test_only_models_with_relations_have_a_hook_for_empty_slots() -> None:
    """With one Python 3.11 reads each attribute of an object in four times the time."""

    class Plain(Model, table="plain"):
        id: Column[int] = column(primary_key=True)

    class Owner(Model, table="owners"):
        id: Column[int] = column(primary_key=True)
        plain_id: Column[int] = column(references=Plain.id)
        plain: One[Plain] = belongs_to(lambda: Plain)

    def has_hook(model: type) -> bool:
        return any("__getattr__" in vars(each) for each in model.__mro__)

    assert has_hook(Owner)
    assert not has_hook(Plain)
    for held in (Plain(id=1), Owner(id=1, plain_id=1)):
        with pytest.raises(AttributeError, match=f"^'{type(held).__name__}' object has no attribute 'nmae'$"):
            _ = getattr(held, "nmae")  # noqa: B009 - type checkers know that it is not there
