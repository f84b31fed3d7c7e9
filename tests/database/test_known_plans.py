"""What the verbs for objects send with a plan that they found by the classes of the values, they send too when they know nothing."""

import datetime
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.abc import Buffer
from psycopg.pq import Format

from tests.generated import examples
from trioorm import UNSET, Column, Model, TrioormError, column, literal
from trioorm.database.plan import PlanCache
from trioorm.database.verbs import Verbs
from trioorm.wire import Statement


class Text(str):
    __slots__ = ()


class Page(Model, table="pages"):
    book: Column[int] = column(primary_key=True)
    number: Column[int] = column(primary_key=True)
    text: Column[str | None]
    lines: Column[int]
    at: Column[datetime.datetime]
    marks: Column[list[int]] = column(default_factory=list)
    version: Column[int] = column(version=True)


class Guest(Model, table="guests"):
    id: Column[int] = column(primary_key=True, generated=True)
    name: Column[str] = column(unique=True)
    age: Column[int | None] = column(default=None)
    seen: Column[datetime.datetime | None] = column(default=None)


class _Sent(Exception):
    """What reached the wire."""


class _Wire:
    in_transaction = True

    async def run_one(
        self, statement: Statement, parameters: Sequence[Buffer | None], formats: Sequence[Format], *, is_write: bool
    ) -> object:
        raise _Sent(statement.text, statement.parameter_types, list(parameters), list(formats), is_write)


Verb: TypeAlias = Callable[[Verbs], Coroutine[Any, Any, object]]

_NOON = datetime.datetime(2024, 2, 29, 12)
_NUMBERS = st.sampled_from([1, 2, 1, 2, True, None, 1.5, literal(1), UNSET])
_TEXTS = st.sampled_from(["a", "b", None, Text("c"), 5, literal("x"), UNSET])
_MOMENTS = st.sampled_from([_NOON.replace(tzinfo=datetime.UTC), _NOON.replace(tzinfo=datetime.UTC), _NOON, None, "now"])
_PAGE: dict[str, st.SearchStrategy[Any]] = {
    "book": _NUMBERS, "number": _NUMBERS, "text": _TEXTS, "lines": _NUMBERS, "at": _MOMENTS, "marks": st.sampled_from([[], [1], [True]]),
    "version": _NUMBERS,
}  # fmt: skip
_GUEST: dict[str, st.SearchStrategy[Any]] = {"id": _NUMBERS, "name": _TEXTS, "age": _NUMBERS, "seen": _MOMENTS}
FIELDS: dict[type[Model], dict[str, st.SearchStrategy[Any]]] = {Page: _PAGE, Guest: _GUEST}


def _object(model: type[Model], values: dict[str, Any]) -> Any:  # noqa: ANN401 - of either model
    made = object.__new__(model)
    for name, value in values.items():
        setattr(made, name, value)
    return made


@st.composite
def verbs(draw: st.DrawFn) -> list[Verb]:
    """One verb with several values."""
    model: type[Any] = draw(st.sampled_from([Page, Guest]))
    fields = FIELDS[model]
    kind = draw(st.sampled_from(["get", "insert", "update", "since", "patch", "delete", "upsert"]))
    some, others = [draw(st.lists(st.sampled_from(list(fields)), unique=True, min_size=1, max_size=2)) for _ in range(2)]
    on = draw(st.sampled_from([(), (Guest.name,)])) if model is Guest else ()
    keys = 2 if model is Page else draw(st.sampled_from([1, 1, 1, 2]))

    def one() -> Verb:
        held = draw(st.fixed_dictionaries(fields))
        key = draw(st.tuples(*[_NUMBERS] * keys))
        values = draw(st.fixed_dictionaries({name: fields[name] for name in draw(st.sampled_from([some, others]))}))
        other = {**held, **values}
        calls: dict[str, Verb] = {
            "get": lambda db: db.get(model, *key),
            "insert": lambda db: db.insert(_object(model, held)),
            "update": lambda db: db.update(_object(model, held)),
            "since": lambda db: db.update(_object(model, other), since=_object(model, held)),
            "patch": lambda db: db.patch(model, *key, **values),
            "delete": lambda db: db.delete(_object(model, held)),
            "upsert": lambda db: db.upsert(_object(model, held), on=on),
        }
        return calls[kind]

    return [one() for _ in range(4)]


def _outcome(verb: Verb, db: Verbs) -> object:
    call = verb(db)
    try:
        call.send(None)
    except _Sent as sent:
        return sent.args
    except StopIteration:
        return "nothing has changed"
    except TrioormError as error:
        return type(error), str(error)
    raise AssertionError("it waits for nothing here")


def _fresh() -> Verbs:
    return Verbs(cast("Any", _Wire()), PlanCache())


@settings(max_examples=examples(300))
@given(some=verbs())
def test_a_known_plan_sends_what_a_new_statement_would(some: list[Verb]) -> None:
    db = _fresh()
    for verb in some:
        _outcome(verb, db)
    assert [_outcome(verb, db) for verb in some] == [_outcome(verb, _fresh()) for verb in some]


def test_other_columns_of_the_same_classes_are_another_statement() -> None:
    calls: list[Verb] = [
        lambda db: db.patch(Page, 1, 2, lines=3),
        lambda db: db.patch(Page, 1, 2, number=3),
        lambda db: db.patch(Page, 1, 2, lines=3, version=4),
        lambda db: db.patch(Page, 1, 2, version=3, lines=4),
        lambda db: db.patch(Page, 1, 2, book=3, lines=4),
    ]
    db = _fresh()
    assert [_outcome(call, db) for call in calls] == [_outcome(call, _fresh()) for call in calls]


def _page(number: int, lines: int) -> dict[str, Any]:
    moment = _NOON.replace(tzinfo=datetime.UTC)
    return {"book": number, "number": 1, "text": "x", "lines": lines, "at": moment, "marks": [], "version": number}


CALLS: list[Callable[[Verbs, int], Coroutine[Any, Any, object]]] = [
    lambda db, n: db.get(Page, n, n + 1),
    lambda db, n: db.insert(Guest(name=f"guest {n}", seen=_NOON.replace(tzinfo=datetime.UTC))),
    lambda db, n: db.upsert(Guest(name=f"guest {n}"), on=Guest.name),
    lambda db, n: db.upsert(Guest(name=f"guest {n}")),
    lambda db, n: db.patch(Guest, n, name=f"guest {n}", age=None),
    lambda db, n: db.patch(Page, n, n, version=n, lines=n),
    lambda db, n: db.update(_object(Guest, {"id": n, "name": "x", "age": n, "seen": None})),
    lambda db, n: db.update(_object(Page, _page(n, n + 1)), since=_object(Page, _page(n, n))),
    lambda db, n: db.delete(_object(Guest, {"id": n})),
]


@pytest.mark.parametrize("call", CALLS)
def test_the_second_time_no_statement_is_built(
    call: Callable[[Verbs, int], Coroutine[Any, Any, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    db = _fresh()
    _outcome(lambda db: call(db, 1), db)

    def build(*_: object) -> object:
        raise AssertionError("a statement was planned again")

    expected = _outcome(lambda db: call(db, 2), _fresh())
    monkeypatch.setattr(PlanCache, "plan", build)
    assert _outcome(lambda db: call(db, 2), db) == expected
