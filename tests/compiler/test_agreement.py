"""Generated statements compile, run on a real server, and agree with the same filter done in Python.

A condition is generated as a pair: the expression, and a function that gives its truth for a row by SQL's three-valued logic (None is
unknown). The rows, too, are generated, in one table that all examples of a test share. Texts are hostile here; what statements mean beyond
their filter is tested in `tests/database/test_semantics.py`.
"""

from collections.abc import Callable
from typing import TypeAlias

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.query.shop import User, run
from trioorm.compiler import compile_statement, shape_and_values
from trioorm.expression import Expression, and_, coalesce, lower, not_, or_
from trioorm.query import alias, delete, insert, select, update

Shop = psycopg.Connection[tuple[object, ...]]
Truth: TypeAlias = bool | None
Condition: TypeAlias = tuple[Expression[bool], Callable[[User], Truth]]

# No NUL, which PostgreSQL's text cannot hold, and no lone surrogates, which UTF-8 cannot.
TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=4) | st.sampled_from(
    ["a", "A", "%", "_", "\\", "'", "''", '"', "$1", "{x}", "; DROP TABLE users; --", "\\'; --", "/*", "NULL"]
)
AGES = st.integers(0, 6)
ROWS = st.lists(st.tuples(TEXTS, AGES, st.none() | TEXTS, st.booleans()), max_size=8)

_COMPARISONS: dict[str, tuple[Callable[[int], Expression[bool]], Callable[[int, int], bool]]] = {
    "==": (lambda age: User.age == age, lambda own, age: own == age),
    "!=": (lambda age: User.age != age, lambda own, age: own != age),
    "<": (lambda age: User.age < age, lambda own, age: own < age),
    "<=": (lambda age: User.age <= age, lambda own, age: own <= age),
    ">": (lambda age: User.age > age, lambda own, age: own > age),
    ">=": (lambda age: User.age >= age, lambda own, age: own >= age),
}


def _pair(expression: Expression[bool], decide: Callable[[User], Truth]) -> Condition:
    return expression, decide


def _unknown_if_none(value: object, decide: Callable[[], bool]) -> Truth:
    return None if value is None else decide()


def _compared(sign: str, age: int) -> Condition:
    build, compare = _COMPARISONS[sign]
    return build(age), lambda row: compare(row.age, age)


def _shifted(add: int, limit: int) -> Condition:
    return (User.age + add) * 2 - 1 < limit, lambda row: (row.age + add) * 2 - 1 < limit


def _between(low: int, high: int) -> Condition:
    return User.age.between(low, high), lambda row: low <= row.age <= high


def _text_leaves(text: str) -> list[Condition]:
    return [
        _pair(User.name == text, lambda row: row.name == text),
        _pair(User.email == text, lambda row: _unknown_if_none(row.email, lambda: row.email == text)),
        _pair(User.email.is_distinct_from(text), lambda row: row.email != text),
        _pair(User.name.starts_with(text), lambda row: row.name.startswith(text)),
        _pair(coalesce(User.email, "") == text, lambda row: (row.email or "") == text),
        _pair(User.name + text == text + text, lambda row: row.name + text == text + text),
    ]


def _list_leaves(ages: list[int], texts: list[str]) -> list[Condition]:
    return [
        _pair(User.age.in_(ages), lambda row: row.age in ages),
        _pair(User.age.not_in(ages), lambda row: row.age not in ages),
        _pair(
            User.email.in_(texts),  # nothing is in an empty list, not even NULL
            lambda row: _unknown_if_none(row.email, lambda: row.email in texts) if texts else False,
        ),
    ]


LEAVES: st.SearchStrategy[Condition] = st.one_of(
    st.builds(_compared, st.sampled_from(sorted(_COMPARISONS)), AGES),
    st.builds(_shifted, AGES, st.integers(0, 20)),
    st.builds(_text_leaves, TEXTS).flatmap(st.sampled_from),
    st.builds(_list_leaves, st.lists(AGES, max_size=3), st.lists(TEXTS, max_size=3)).flatmap(st.sampled_from),
    st.builds(_between, AGES, AGES),
    st.just(_pair(User.email.is_null(), lambda row: row.email is None)),
    st.just(_pair(User.email.is_not_null(), lambda row: row.email is not None)),
    st.just(_pair(or_(User.active), lambda row: row.active)),
)


def _and(left: Condition, right: Condition) -> Condition:
    def decide(row: User) -> Truth:
        truths = (left[1](row), right[1](row))
        return False if False in truths else None if None in truths else True

    return left[0] & right[0], decide


def _or(left: Condition, right: Condition) -> Condition:
    def decide(row: User) -> Truth:
        truths = (left[1](row), right[1](row))
        return True if True in truths else None if None in truths else False

    return left[0] | right[0], decide


def _not(inner: Condition) -> Condition:
    def decide(row: User) -> Truth:
        truth = inner[1](row)
        return None if truth is None else not truth

    return ~inner[0], decide


def _equal(left: Condition, right: Condition) -> Condition:
    def decide(row: User) -> Truth:
        truths = (left[1](row), right[1](row))
        return None if None in truths else truths[0] == truths[1]

    return left[0] == right[0], decide


def _is_unknown(inner: Condition) -> Condition:
    return inner[0].is_null(), lambda row: inner[1](row) is None


CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(_and, inner, inner), st.builds(_or, inner, inner), st.builds(_not, inner),
        st.builds(_equal, inner, inner), st.builds(_is_unknown, inner),
    ),
    max_leaves=8,
)  # fmt: skip


Row: TypeAlias = tuple[str, int, str | None, bool]


@pytest.fixture
def crowd(shop: Shop) -> Shop:
    """The shop, where several users may have one address."""
    shop.execute(b"ALTER TABLE users DROP CONSTRAINT users_email_key")
    return shop


def _fill(shop: Shop, rows: list[Row]) -> list[User]:
    """The rows alone, with the ids 1, 2, ...; every example begins so."""
    shop.execute(b"DELETE FROM users")
    objects = [User(name=name, age=age, email=email, active=active) for name, age, email, active in rows]
    for number, row in enumerate(objects, 1):
        row.id = number
    if objects:
        run(shop, insert(User).values_from(objects))
    return objects


@settings(max_examples=200)
@given(rows=ROWS, condition=CONDITIONS)
def test_a_select_agrees_with_the_same_filter_in_python(crowd: Shop, rows: list[Row], condition: Condition) -> None:
    objects = _fill(crowd, rows)
    expected = [(number, row.name, row.email) for number, row in enumerate(objects, 1) if condition[1](row)]
    statement = select(User.id, User.name, User.email).where(condition[0]).order_by(User.id)
    assert run(crowd, statement) == expected


@settings(max_examples=100)
@given(rows=ROWS, condition=CONDITIONS, name=TEXTS)
def test_updates_and_deletes_touch_the_same_rows(crowd: Shop, rows: list[Row], condition: Condition, name: str) -> None:
    objects = _fill(crowd, rows)
    hit = {number for number, row in enumerate(objects, 1) if condition[1](row)}
    changed = run(crowd, update(User).set(User.name, name).where(condition[0]).returning(User.id, User.name))
    assert sorted(changed, key=str) == sorted([(number, name) for number in hit], key=str)
    objects = _fill(crowd, rows)
    run(crowd, delete(User).where(not_(condition[0])))
    left = [number for number, row in enumerate(objects, 1) if condition[1](row) is not False]
    assert run(crowd, select(User.id).order_by(User.id)) == [(number,) for number in left]


@given(first=CONDITIONS, second=CONDITIONS)
def test_equal_shapes_have_equal_texts_and_places_match_values(first: Condition, second: Condition) -> None:
    statements = [select(User).where(condition[0]) for condition in (first, second)]
    (one, one_values), (two, two_values) = (shape_and_values(statement) for statement in statements)
    texts = [compile_statement(statement) for statement in statements]
    assert (one == two) == (texts[0] == texts[1])
    for compiled, values in zip(texts, (one_values, two_values), strict=True):
        assert len(compiled.bind_types) == len(values)
        assert all(f"${number}" in compiled.text for number in range(1, len(values) + 1))


@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_hostile_values_travel_as_values(crowd: Shop, texts: list[str]) -> None:
    _fill(crowd, [])
    run(crowd, insert(User).values_from([User(name=text, age=0) for text in texts]))
    assert run(crowd, select(User.name).order_by(User.id)) == [(text,) for text in texts]
    assert len(run(crowd, select(User.id).where(User.name.in_(texts)))) == len(texts)
    assert len(run(crowd, select(User.id).where(or_(*(lower(User.name) == lower(User.name) for _ in texts)), and_()))) == len(texts)


@settings(max_examples=50)
@given(name=st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=12))
def test_hostile_names_are_names(crowd: Shop, name: str) -> None:
    _fill(crowd, [("a", 1, None, True)])
    other = alias(User, name)
    assert run(crowd, select(other.name).where(other.age == 1)) == [("a",)]
    cursor = crowd.execute(compile_statement(select(User.age.as_(name)).order_by(User.age.as_(name))).text.encode())
    assert cursor.description is not None
    assert cursor.description[0].name == name
    assert run(crowd, select(User.id)) == [(1,)]
