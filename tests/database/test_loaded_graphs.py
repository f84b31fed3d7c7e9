"""Generated data and generated graphs of relations, against a loader that asks for each object's relations one by one, in Python.

Each graph is loaded by every plan there is: as one statement, in one flight, level by level, and onto objects in hand.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.database.cinema import (
    MODELS,
    Credit,
    Film,
    FilmGenre,
    Friendship,
    Genre,
    Person,
    Poster,
    Role,
    Rows,
    fill,
)
from tests.query.shop import unchecked
from trioorm import Database, Model, func, open_database, select
from trioorm.database.load_plan import known_plan
from trioorm.database.loading import fetch_with_loads

_made: set[str] = set()
_NUMBERS = range(1, 5)
_number = st.sampled_from(_NUMBERS)
_or_none = st.none() | _number


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Four films, people and genres each, connected at random."""
    pairs = st.sets(st.tuples(_number, _number), max_size=8).map(sorted)
    parts = draw(st.lists(st.tuples(_number, _number, _or_none, st.sampled_from(Role), st.integers(0, 2)), max_size=12))
    return Rows(
        films=[Film(id=number, title=f"film {number}", sequel_of_id=draw(_or_none)) for number in _NUMBERS],
        people=[Person(id=number, name=f"person {number}") for number in _NUMBERS],
        credits=[
            Credit(id=number, film_id=film, person_id=person, agent_id=agent, role=role, position=position)
            for number, (film, person, agent, role, position) in enumerate(parts)
        ],
        friendships=[Friendship(one_id=one, other_id=other) for one, other in draw(pairs)],
        genres=[Genre(id=number, name=f"genre {number}") for number in _NUMBERS],
        film_genres=[FilmGenre(film_id=film, genre_id=genre) for film, genre in draw(pairs)],
        posters=[Poster(film_id=film, words="") for film in draw(st.sets(_number))],
    )


def _by_id(objects: list[Any], number: int | None) -> Any:  # noqa: ANN401 - whatever they are
    return next((each for each in objects if each.id == number), None)


def _cast(film: Film, held: Rows) -> list[Person]:
    parts = [credit for credit in held.credits if credit.film_id == film.id and credit.role is Role.CAST]
    return [_by_id(held.people, credit.person_id) for credit in sorted(parts, key=lambda credit: (credit.position, credit.person_id))]


_NAIVE: dict[type, dict[str, Callable[[Any, Rows], Any]]] = {
    Film: {
        "sequel_of": lambda film, held: _by_id(held.films, film.sequel_of_id),
        "sequels": lambda film, held: [other for other in held.films if other.sequel_of_id == film.id],
        "credits": lambda film, held: [credit for credit in held.credits if credit.film_id == film.id],
        "cast": _cast,
        "genres": lambda film, held: [_by_id(held.genres, pair.genre_id) for pair in held.film_genres if pair.film_id == film.id],
        "poster": lambda film, held: next((poster for poster in held.posters if poster.film_id == film.id), None),
        "first_credit": lambda film, held: next((credit for credit in held.credits if credit.film_id == film.id), None),
        "cast_count": lambda film, held: len(_cast(film, held)),
        "last_position": lambda film, held: max(
            (part.position + 1 for part in held.credits if part.film_id == film.id and part.id), default=None
        ),
    },
    Person: {
        "credits": lambda person, held: [credit for credit in held.credits if credit.person_id == person.id],
        "booked": lambda person, held: [credit for credit in held.credits if credit.agent_id == person.id],
        "friends": lambda person, held: [_by_id(held.people, pair.other_id) for pair in held.friendships if pair.one_id == person.id],
        "friend_count": lambda person, held: len([pair for pair in held.friendships if pair.one_id == person.id]),
    },
    Credit: {
        "film": lambda credit, held: _by_id(held.films, credit.film_id),
        "person": lambda credit, held: _by_id(held.people, credit.person_id),
        "agent": lambda credit, held: _by_id(held.people, credit.agent_id),
    },
}
_LEADS_TO = {
    "sequel_of": Film, "sequels": Film, "credits": Credit, "cast": Person, "genres": Genre, "poster": Poster, "first_credit": Credit,
    "booked": Credit, "friends": Person, "film": Film, "person": Person, "agent": Person,
    "cast_count": int, "last_position": int, "friend_count": int,
}  # fmt: skip


def trees(model: type, depth: int, limits: dict[tuple[type, str], int | None]) -> st.SearchStrategy[Any]:
    """What to load of a model: by relation, what to load of that."""
    names = sorted(_NAIVE.get(model, {}))
    if not names or not depth:
        return st.just({})
    chosen = st.lists(st.sampled_from(names), unique=True, max_size=3)
    return chosen.flatmap(lambda found: st.fixed_dictionaries({name: trees(_LEADS_TO[name], depth - 1, limits) for name in found}))


def _check_identity(objects: list[Any], tree: Any) -> None:  # noqa: ANN401 - a tree
    """No row is two objects anywhere below."""
    known: dict[str, Any] = {}
    waiting = [(found, tree) for found in objects]
    while waiting:
        owner, below = waiting.pop()
        for name, nested in below.items():
            for each in () if _LEADS_TO[name] is int else _listed(getattr(owner, name)):
                assert known.setdefault(repr(each), each) is each
                waiting.append((each, nested))


def _listed(found: object) -> list[Any]:
    return [found] if isinstance(found, Model) else list(unchecked(found) or ())


_LISTS = ("sequels", "credits", "cast", "genres", "booked", "friends")
_MANY = [(model, name) for model, relations in _NAIVE.items() for name in relations if name in _LISTS]
_LIMITS = st.fixed_dictionaries({each: st.none() | st.integers(0, 3) for each in _MANY})


def _loads(model: type, tree: Any, limits: dict[Any, int | None]) -> list[Any]:  # noqa: ANN401 - a tree
    made: list[Any] = []
    for name, nested in tree.items():
        load = getattr(model, name)
        if nested:
            load = load.load(*_loads(_LEADS_TO[name], nested, limits))
        if name == "credits" and model is Film:
            load = load.order_by(Credit.id)
        limit = limits.get((model, name))
        made.append(load if limit is None else load.limit(limit))
    return made


def _document(each: Model | None, tree: Any, read: Callable[[Any, str], Any]) -> Any:  # noqa: ANN401 - a tree
    """An object with its relations as a tuple."""
    if each is None:
        return None
    parts: list[Any] = [repr(each)]
    for name, nested in tree.items():
        found: Any = read(each, name)
        if name in _LISTS:
            parts.append([_document(one, nested, read) for one in found])
        elif _LEADS_TO[name] is int:
            parts.append(found)
        else:
            parts.append(_document(found, nested, read))
    return tuple(parts)


def _roots(model: Any) -> list[Any]:  # noqa: ANN401 - any model
    """Selects of a model's objects: in an order that leaves rows equal, with other rows each time, with a row several times; then those
    by a key, which are loaded as one statement."""
    whole: Any = unchecked(select)(model)
    other = {Film: Credit.film_id, Person: Credit.person_id, Credit: Credit.id}[model]
    joined = whole if model is Credit else whole.join(Credit, other == model.id)
    random_order = func.random(returns=float)
    return [
        whole.order_by(model.id), whole.limit(2), whole.order_by(random_order).limit(2), whole.order_by(model.id).for_update(), joined,
        unchecked(select)(model.id, model, model.id * 2).order_by(model.id.desc()),
        whole.where(model.id == 2), whole.where(model.id == 3, model.id * 2 > 5), whole.where(model.id == 99),
        unchecked(select)(model.id * 3, model, model.id + 4).where(model.id == 1).order_by(model.id),
    ]  # fmt: skip


_BY_KEY = range(6, 10)


async def _by_each_plan(
    db: Database,
    root: Any,  # noqa: ANN401 - a select
    loads: list[Any],
    model: type,
    *,
    is_by_key: bool,
) -> list[list[Any]]:
    """The objects that each plan gives."""

    def objects(rows: list[Any]) -> list[Any]:
        return [row if isinstance(row, model) else row[1] for row in rows]

    runner, plans = unchecked(db)._runner, unchecked(db)._plans
    statement = root.load(*loads)
    assert not loads or (known_plan(plans, statement, statement.loads).united is not None) == is_by_key
    in_hand = objects(await db.fetch_all(root))
    await db.load(in_hand, *loads)
    async with db.transaction() as tx:
        inside = await tx.fetch_all(statement)
    return [
        objects(await db.fetch_all(statement)),
        objects(await fetch_with_loads(runner, plans, statement, by_level=True)),
        objects(inside),
        in_hand,
    ]


@settings(max_examples=40)
@given(held=rows(), limits=_LIMITS, data=st.data())
async def test_a_graph_is_what_a_naive_loader_gives(dsn: str, held: Rows, limits: Any, data: st.DataObject) -> None:  # noqa: ANN401
    model = data.draw(st.sampled_from([Film, Person, Credit]))
    tree = data.draw(trees(model, 3, limits))
    roots = _roots(model)
    root = data.draw(st.sampled_from(range(len(roots))))

    def naive(each: Any, name: str) -> Any:  # noqa: ANN401 - any object
        found = _NAIVE[type(each)][name](each, held)
        return found[: limits[(type(each), name)]] if (type(each), name) in _MANY else found

    async with open_database(dsn, min_size=0) as db:
        if dsn not in _made:  # one database serves all examples
            await db.create_schema(*MODELS)
            _made.add(dsn)
        await fill(db, held)
        loaded = await _by_each_plan(db, roots[root], _loads(model, tree, limits), model, is_by_key=root in _BY_KEY)
    owners = {Film: held.films, Person: held.people, Credit: held.credits}[model]
    for objects in loaded:
        assert [_document(each, tree, getattr) for each in objects] == [
            _document(_by_id(unchecked(owners), each.id), tree, naive) for each in objects
        ]
        if root == 0:
            assert objects == owners
        _check_identity(objects, tree)
