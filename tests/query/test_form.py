"""What is remembered of a statement's steps changes nothing but the time that building takes."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.database.cinema import Film
from tests.query.shop import Line, Order, User, unchecked
from trioorm.compiler import shape_and_values
from trioorm.errors import QueryError
from trioorm.expression import count, interned, literal, lower
from trioorm.query import Select, alias, select
from trioorm.query.form import STEPS
from trioorm.query.statement import Statement

Clause = Callable[[Select[Any], int], Select[Any]]
Other = alias(User, "other")

CLAUSES: tuple[Clause, ...] = (
    lambda query, n: query.tablesample(n, seed=n),
    lambda query, n: query.from_(User),
    lambda query, n: query.with_(select(User.age + n).cte("apart")),
    lambda query, n: query.where(User.age > n, User.name == f"name {n}"),
    lambda query, n: query.where((User.id < n) | User.age.in_([n, n + 1])),
    lambda query, n: query.join(Order, Order.user_id == User.id),
    lambda query, n: query.join(Other, Other.age >= n),
    lambda query, n: query.order_by(User.age.desc(), User.id),
    lambda query, n: query.order_by(User.age + n),
    lambda query, n: query.limit(n),
    lambda query, n: query.offset(n + 100),
    lambda query, n: query.having(User.age != n + 7),
    lambda query, n: query.group_by(User.id),
    lambda query, n: query.for_update(),
    lambda query, n: query.distinct(lower(User.name)),
)


def _built(clauses: tuple[Clause, ...], number: int) -> Select[Any]:
    query: Select[Any] = select(User, User.name)
    for at, clause in enumerate(clauses):
        query = clause(query, number + at)
    return query


def _seen(statement: Statement[Any]) -> tuple[object, ...]:
    shape, values = shape_and_values(statement)
    return shape, values, str(statement)


@pytest.mark.parametrize("first", CLAUSES)
def test_built_again_with_other_values_is_as_built_for_the_first_time(first: Clause) -> None:
    for rest in itertools.permutations([clause for clause in CLAUSES if clause is not first], 2):
        STEPS.clear()
        expected = _seen(_built((first, *rest), 50))
        STEPS.clear()
        assert _built((first, *rest), 1).shape == expected[0]
        assert _seen(_built((first, *rest), 50)) == expected


def test_a_select_with_a_form_gives_the_same_to_those_who_look_into_it() -> None:
    def built(number: int) -> Select[tuple[User, float]]:
        return select(User, Order.weight).join(Order, Order.user_id == User.id).where(User.age > number).order_by(User.id).limit(number)

    built(1)
    known = built(2)
    assert known.form is not None
    assert known.form is built(3).form
    assert known.bind_values == (2, 2)
    ada = User(name="Ada", age=36)
    ada.id = 9
    row = (ada, 2.5)
    STEPS.clear()
    fresh = select(User, Order.weight).join(Order, Order.user_id == User.id).where(User.age > 2).order_by(User.id).limit(2)
    assert fresh.form is not known.form
    changes: list[Callable[[Select[tuple[User, float]]], Statement[Any]]] = [
        lambda query: query.after(row),
        lambda query: query.with_total(),
        lambda query: query.union_all(query),
        lambda query: select(query.subquery("inner").column("name")),
        lambda query: query.for_update(of=User),
        lambda query: query.tablesample(10),
    ]
    for change in changes:
        assert _seen(change(known)) == _seen(change(fresh))
    assert known.lint() == fresh.lint()


@pytest.mark.parametrize("items", [(literal(5), User), (count(),), (User.age + 3, literal("a"))])
def test_items_with_values_keep_theirs_in_front(items: tuple[Any, ...]) -> None:
    def built(number: int, of: tuple[Any, ...]) -> Select[Any]:
        query: Select[Any] = select(*of)
        return query.from_(User).where(User.age > number).group_by(User.id).limit(number)

    STEPS.clear()
    expected = _seen(built(7, items))
    STEPS.clear()
    before = built(8, items)
    again = built(7, items)
    assert _seen(again) == expected
    assert again.form is before.form is not None


def test_what_is_refused_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(QueryError, match="takes conditions"):
            select(User).where(unchecked(True))
        with pytest.raises(QueryError, match="a condition"):
            select(User).where(unchecked(User.name))
        with pytest.raises(QueryError, match="optional"):
            select(User, Order).left_join(Order, Order.user_id == User.id)
        with pytest.raises(QueryError, match="None"):
            select(User).where(unchecked(User.age == None))  # noqa: E711 - as a user would
        with pytest.raises(QueryError, match="cannot meet"):
            select(User).where(unchecked(User.name == unchecked(Order.id)))
        with pytest.raises(QueryError, match="limit"):
            select(User).limit(-1)
        with pytest.raises(QueryError, match="limit"):
            select(User).limit(unchecked(True))
        with pytest.raises(QueryError, match="nulls"):
            User.age.desc(nulls=unchecked("middle"))
        with pytest.raises(QueryError, match="cannot hold"):
            select(unchecked([User]))
        select(User).where(User.age > 1).limit(1)


def test_memories_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interned, "MOST_REMEMBERED", 50)
    STEPS.clear()
    for number in range(120):
        other = alias(User, f"u{number}")
        assert select(User).join(Line, Line.order_id == other.id).where(other.age > number).bind_values == (number,)
        assert len(STEPS) <= 50
    assert User.age.interned is not None
    assert Line.order_id.interned is not None
    assert len(Line.order_id.interned.compared) <= 50


def test_a_value_of_another_class_makes_another_statement() -> None:
    whole, fraction = select(Order.id).where(Order.id > 1), select(Order.id).where(unchecked(Order.id > unchecked(1.5)))
    assert whole.shape != fraction.shape
    assert whole.form is not fraction.form


def test_what_is_to_be_loaded_goes_along_and_is_no_part_of_a_form() -> None:
    def narrowed(query: Select[Film], number: int) -> Select[Film]:
        return query.where(Film.id > number, Film.title != "x").order_by(Film.id.desc()).limit(number).for_update()

    for number in (1, 2):
        loaded = select(Film).load(Film.genres)
        both = narrowed(loaded, number)
        assert both.loads == loaded.loads != ()
        plain = narrowed(select(Film), number)
        assert plain.loads == ()
        assert plain.form is both.form
        assert _seen(plain) == _seen(both)


def test_conditions_are_steps_one_by_one_and_none_is_lost_among_known_ones() -> None:
    STEPS.clear()
    select(User).where(User.age > 1, User.name == "a").limit(9)
    expected = select(User).where(User.age > 3, User.id == 4, User.name == "b").limit(5)
    assert expected.bind_values == (3, 4, "b", 5)
    assert select(User).where(User.age > 3).where(User.id == 4).where(User.name == "b").limit(5).form is expected.form
    assert select(User).limit(5).where(User.age > 3, User.id == 4).where(User.name == "b").bind_values == expected.bind_values
    with pytest.raises(QueryError, match="takes conditions"):
        select(User).where(User.age > 1, unchecked(True))
    with pytest.raises(QueryError, match="takes conditions"):
        select(User).where(User.age > 1, unchecked(True), User.name == "a")


def test_a_comparison_of_columns_is_made_once_and_one_with_a_value_each_time() -> None:
    assert (User.id == Order.user_id) is (User.id == Order.user_id)
    assert (User.id == Order.user_id) is not (User.id != Order.user_id)
    one, two = User.age > 1, User.age > 2
    assert (one.shape, one.bind_values, two.bind_values) == (two.shape, (1,), (2,))
