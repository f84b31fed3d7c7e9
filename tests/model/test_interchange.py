"""Objects as dictionaries, through cattrs, pydantic and FastAPI; what is not loaded is left out, and circles end."""

import datetime
import decimal
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any, cast

import attrs
import cattrs
import cattrs.preconf.json
import fastapi
import httpx
import pydantic
import pytest

from tests.database.library import Credit, Film, Genre, Hall, Person, Poster, Role
from tests.query.shop import unchecked
from trioorm import (
    UNSET,
    Column,
    Interval,
    Json,
    Many,
    Model,
    One,
    QueryError,
    Range,
    RelationNotLoaded,
    as_dict,
    belongs_to,
    column,
    configure_converter,
    evolve,
    has_many,
)


@attrs.frozen
class Size:
    width: int


class Thing(Model, table="things"):
    """Columns of many kinds."""

    id: Column[int] = column(primary_key=True, generated=True)
    price: Column[decimal.Decimal]
    at: Column[datetime.datetime | None] = column(default=None)
    tags: Column[list[str]] = column(default_factory=list)
    data: Column[Json | None] = column(default=None)
    during: Column[Range[int] | None] = column(default=None)
    span: Column[Interval | None] = column(default=None)
    size: Column[Size] = column(json=True)
    version: Column[int] = column(version=True)

    parts: Many["Part"] = has_many()


class Part(Model, table="parts", frozen=True):
    id: Column[int] = column(primary_key=True)
    thing_id: Column[int] = column(references=Thing.id, default=UNSET)

    thing: One[Thing] = belongs_to()


def stored(model: Any, **values: object) -> Any:  # noqa: ANN401 - any model
    """An object as the server would give it."""
    return unchecked(model)(**values)


def alien() -> Film:
    """A loaded graph with circles: credits lead back to their film, and a person to the credits."""
    film: Film = stored(Film, id=1, title="Alien")
    weaver: Person = stored(Person, id=7, name="Weaver")
    credit: Credit = stored(Credit, id=3, film_id=1, person_id=7, role=Role.CAST)
    object.__setattr__(credit, "person", weaver)
    object.__setattr__(credit, "film", film)
    film.credits, film.genres, film.poster, weaver.credits = [credit], [stored(Genre, id=1, name="horror")], None, [credit]
    return film


ALIEN = {
    "id": 1,
    "title": "Alien",
    "sequel_of_id": None,
    "credits": [
        {"id": 3, "film_id": 1, "person_id": 7, "agent_id": None, "role": "cast", "person": {"id": 7, "name": "Weaver"}},
    ],
    "genres": [{"id": 1, "name": "horror"}],
    "poster": None,
}
"""Left out: what was not loaded (`sequels`, ...), and what leads back (`credits[0].film`, `person.credits`)."""


def test_a_dictionary_has_the_relations_that_are_named() -> None:
    film = alien()
    assert as_dict(film) == {"id": 1, "title": "Alien", "sequel_of_id": None}
    deep = as_dict(film, Film.poster, Film.credits.load(Credit.person.load(Person.credits), Credit.film))
    credit = {"id": 3, "film_id": 1, "person_id": 7, "agent_id": None, "role": Role.CAST}
    whole = {**credit, "person": {"id": 7, "name": "Weaver", "credits": [credit]}, "film": as_dict(film)}
    assert deep == {**as_dict(film), "poster": None, "credits": [whole]}
    with pytest.raises(RelationNotLoaded):
        as_dict(film, Film.sequels)
    with pytest.raises(QueryError, match=r"as_dict\(\) would load Person\.credits onto Film"):
        as_dict(film, unchecked(Person.credits))


def test_pydantic_writes_what_is_loaded_and_circles_end() -> None:
    adapter = pydantic.TypeAdapter(list[Film])
    assert json.loads(adapter.dump_json([alien()])) == [ALIEN]
    assert adapter.dump_python([alien()])[0]["credits"][0]["role"] is Role.CAST
    film = stored(Film, id=2, title="Aliens")
    assert adapter.dump_python([film, film]) == [{"id": 2, "title": "Aliens", "sequel_of_id": None}] * 2, "twice is no circle"
    assert pydantic.TypeAdapter(Film).dump_python(Film(title="new")) == {"title": "new", "sequel_of_id": None}, "no key, no key"


def test_a_relation_to_an_object_above_is_left_out_as_a_whole() -> None:
    one, other = stored(Person, id=1, name="one"), stored(Person, id=2, name="other")
    one.friends, other.friends = [other], [one, other]
    written = pydantic.TypeAdapter(Person).dump_python(one)
    assert written == {"id": 1, "name": "one", "friends": [{"id": 2, "name": "other"}]}, "half a list would be a lie"


def test_pydantic_makes_objects_of_dictionaries() -> None:
    adapter = pydantic.TypeAdapter(Film)
    film = adapter.validate_json(json.dumps(ALIEN))
    assert (film, film.credits, film.credits[0].person, film.genres, film.poster) == (
        alien(),
        alien().credits,
        alien().credits[0].person,
        alien().genres,
        None,
    )
    with pytest.raises(RelationNotLoaded):
        _ = film.sequels
    assert adapter.validate_python({"title": "x"}) == Film(title="x")
    mine = alien()
    assert adapter.validate_python(mine) is mine, "objects go through as they are"
    nested = adapter.validate_python({"title": "x", "credits": [{"role": "director", "person": {"name": "Scott"}}]})
    assert nested.credits[0].person == Person(name="Scott"), "ready for insert(with_=[...])"
    for wrong, where in (
        ({}, ("title",)),
        ({"title": 3}, ("title",)),
        ({"title": "x", "credits": [{"role": "no"}]}, ("credits", 0, "role")),
        ({"title": "x", "genres": [mine]}, ("genres", 0)),
    ):
        with pytest.raises(pydantic.ValidationError) as raised:
            adapter.validate_python(wrong)
        assert raised.value.errors()[0]["loc"] == where


def test_columns_of_many_kinds() -> None:
    adapter = pydantic.TypeAdapter(Thing)
    thing = Thing(
        price=decimal.Decimal("1.50"),
        at=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
        data={"a": [1, None]},
        during=Range(1, 5),
        span=Interval.of(months=1),
        size=Size(3),
    )
    written = json.loads(adapter.dump_json(thing))
    assert written == {
        "price": "1.50", "at": "2020-01-01T00:00:00Z", "tags": [], "data": {"a": [1, None]}, "during": attrs.asdict(Range(1, 5)),
        "span": {"months": 1, "days": 0, "microseconds": 0}, "size": {"width": 3},
    }  # fmt: skip
    assert adapter.dump_python(thing)["during"] == Range(1, 5)
    assert adapter.validate_python({"price": "1.5", "size": Size(3), "version": 4}).version == 4, "a version goes out and comes back"
    thing = evolve(thing, id=1, version=2)
    thing.parts = [Part(id=1)]
    object.__setattr__(thing.parts[0], "thing", thing)
    assert json.loads(adapter.dump_json(thing))["parts"] == [{"id": 1}]
    assert hash(adapter.validate_python({"price": 1, "size": Size(1), "parts": [{"id": 5}]}).parts[0]) == hash(Part(id=5)), (
        "frozen ones too"
    )


def test_the_json_schema() -> None:
    adapter = pydantic.TypeAdapter(Film)
    written, read = adapter.json_schema(mode="serialization"), adapter.json_schema(mode="validation")
    film = written["$defs"]["Film"]
    assert (film["title"], film["required"]) == ("Film", ["id", "title", "sequel_of_id"])
    assert film["properties"]["credits"]["items"] == {"$ref": "#/$defs/Credit"}
    assert film["properties"]["poster"]["anyOf"] == [{"$ref": "#/$defs/Poster"}, {"type": "null"}]
    assert film["properties"]["sequel_of_id"]["anyOf"][0] == {"type": "integer"}
    assert written["$defs"]["Credit"]["required"] == ["id", "film_id", "person_id", "agent_id", "role"]
    assert written["$defs"]["Credit"]["properties"]["person"] == {"$ref": "#/$defs/Person"}
    assert read["$defs"]["Film"]["required"] == ["title"]
    assert read["$defs"]["Credit"]["required"] == ["role"]
    assert "Hall" not in written["$defs"], "what nothing leads to is not there"
    assert pydantic.TypeAdapter(Hall).json_schema()["$defs"]["Hall"]["required"] == ["house", "number"]
    assert set(pydantic.TypeAdapter(Thing).json_schema()["$defs"]["Thing"]["properties"]) >= {"during", "size", "parts"}


def test_models_inside_of_models_of_pydantic() -> None:
    class Page(pydantic.BaseModel):
        films: list[Film]
        first: Film | None = None
        people: dict[str, Person]

    film = alien()
    page = Page(films=[film], first=film, people={"a": film.credits[0].person})
    whole = json.loads(page.model_dump_json())
    assert (whole["films"], whole["first"]) == ([ALIEN], ALIEN)
    assert whole["people"]["a"]["credits"][0]["film"]["title"] == "Alien", "what is above differs from place to place"
    assert Page.model_validate_json(page.model_dump_json()).films == [film]
    assert {"Film", "Person", "Credit"} <= set(Page.model_json_schema()["$defs"])


# FastAPI.


def served() -> fastapi.FastAPI:
    app = fastapi.FastAPI()

    @app.get("/films")
    async def films() -> list[Film]:
        return [alien(), stored(Film, id=2, title="Aliens")]

    @app.post("/films")
    async def add(film: Annotated[Film, fastapi.Body()]) -> Film:
        return evolve(film, id=9)

    return app


async def test_a_handler_of_fastapi_returns_models() -> None:
    transport = httpx.ASGITransport(app=cast("Any", served()))
    async with httpx.AsyncClient(transport=transport, base_url="http://films") as client:
        answer = await client.get("/films")
        assert answer.json() == [ALIEN, {"id": 2, "title": "Aliens", "sequel_of_id": None}]
        added = await client.post("/films", json={"title": "Alien 3"})
        assert (added.status_code, added.json()) == (200, {"id": 9, "title": "Alien 3", "sequel_of_id": None})
        wrong = await client.post("/films", json={"title": None})
        assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["body", "title"])


def test_the_openapi_schema_of_a_handler() -> None:
    schema = served().openapi()
    answer = schema["paths"]["/films"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    reference = answer["items"]["$ref"]
    film = schema["components"]["schemas"][reference.rpartition("/")[2]]
    assert film["required"] == ["id", "title", "sequel_of_id"]
    assert film["properties"]["title"] == {"type": "string", "title": "Title"}
    credit = schema["components"]["schemas"][film["properties"]["credits"]["items"]["$ref"].rpartition("/")[2]]
    assert credit["properties"]["role"]["$ref"].endswith("/Role")
    assert schema["components"]["schemas"]["Role"]["enum"] == ["director", "cast"]
    body = schema["paths"]["/films"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert schema["components"]["schemas"][body.rpartition("/")[2]]["required"] == ["title"]


# cattrs.


@pytest.mark.parametrize("make", [cattrs.Converter, cattrs.preconf.json.make_converter])
def test_cattrs_takes_models_apart_and_makes_them(make: Callable[[], cattrs.Converter]) -> None:
    converter = make()
    configure_converter(converter)
    converter.register_structure_hook(decimal.Decimal, lambda value, _: decimal.Decimal(value))
    film = alien()
    apart = converter.unstructure(film)
    assert apart == ALIEN
    made = converter.structure(apart, Film)
    assert (made, made.credits, made.credits[0].person, made.genres, made.poster) == (
        film,
        film.credits,
        Person(id=7, name="Weaver"),
        film.genres,
        None,
    )
    assert converter.unstructure([film], list[Film]) == [ALIEN]
    assert converter.unstructure(Film(title="new")) == {"title": "new", "sequel_of_id": None}
    poster = converter.structure({"words": "x", "film": {"title": "y"}}, Poster)
    assert (poster, poster.film) == (Poster(words="x"), Film(title="y"))
    assert converter.structure({"id": 3, "price": 1, "size": {"width": 2}, "data": {"a": [None]}}, Thing).data == {"a": [None]}
    with pytest.raises(Exception, match="title"):
        converter.structure({}, Film)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    text = "import sys, trioorm; print([name for name in ('pydantic', 'pydantic_core', 'cattrs', 'fastapi') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
