"""Expressions: how they are written, what they bind, what they refuse."""

import datetime
import decimal
from collections.abc import Callable

import pytest

from tests.query.shop import Order, Status, User, unchecked
from trioorm.compiler import readable
from trioorm.errors import QueryError
from trioorm.expression import (
    BIGINT,
    DATE,
    DOUBLE,
    INTERVAL,
    JSONB,
    NUMERIC,
    SMALLINT,
    TEXT,
    TIMESTAMPTZ,
    Expression,
    SqlType,
    and_,
    array_of,
    avg,
    cast,
    coalesce,
    count,
    exists,
    func,
    literal,
    not_,
    now,
    or_,
    sum_,
)

MOMENT = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
MINUS = -User.age
A, B, C = User.age > 1, User.age < 2, User.active

WRITTEN: list[tuple[Expression[object], str, list[object]]] = [
    (A & B | C, '"users"."age" > $1 AND "users"."age" < $2 OR "users"."active"', [1, 2]),
    (A & (B | C), '"users"."age" > $1 AND ("users"."age" < $2 OR "users"."active")', [1, 2]),
    (A & B & C, '"users"."age" > $1 AND "users"."age" < $2 AND "users"."active"', [1, 2]),
    (~(A | B), 'NOT ("users"."age" > $1 OR "users"."age" < $2)', [1, 2]),
    (~C == C, '(NOT "users"."active") = "users"."active"', []),
    (not_(A), 'NOT "users"."age" > $1', [1]),
    (and_(), "TRUE", []),
    (or_(), "FALSE", []),
    (or_(A), '"users"."age" > $1', [1]),
    (or_(A) & C, '"users"."age" > $1 AND "users"."active"', [1]),
    (A == B, '("users"."age" > $1) = ("users"."age" < $2)', [1, 2]),
    (A.is_null(), '("users"."age" > $1) IS NULL', [1]),
    ((User.age + 1) * 2, '("users"."age" + $1) * $2', [1, 2]),
    (User.age + User.age * 2, '"users"."age" + "users"."age" * $1', [2]),
    (User.age - (User.age - 1), '"users"."age" - ("users"."age" - $1)', [1]),
    (User.age - User.age - 1, '"users"."age" - "users"."age" - $1', [1]),
    (10 - User.age, '$1 - "users"."age"', [10]),
    (100 / (User.age % 7), '$1 / ("users"."age" % $2)', [100, 7]),
    (-(0 - User.age), '-($1 - "users"."age")', [0]),
    (-MINUS, '-(-"users"."age")', []),
    (-(User.age + 1), '-("users"."age" + $1)', [1]),
    (User.name + "!", '"users"."name" || $1', ["!"]),
    ("Dr. " + User.name, '$1 || "users"."name"', ["Dr. "]),
    (cast(User.age + 1, int), '("users"."age" + $1)::bigint', [1]),
    (cast(cast(User.age, int), str), '"users"."age"::bigint::text', []),
    (User.age.between(1, User.age + 2), '"users"."age" BETWEEN $1 AND "users"."age" + $2', [1, 2]),
    (User.name.like("a%") == User.active, '("users"."name" LIKE $1) = "users"."active"', ["a%"]),
    (User.age.is_distinct_from(3), '"users"."age" IS DISTINCT FROM $1', [3]),
    (User.age.in_([1]) & C, '"users"."age" = ANY ($1::smallint[]) AND "users"."active"', [[1]]),
    (Order.status.in_([Status.OPEN]), '"orders"."status" = ANY ($1::"status"[])', [[Status.OPEN]]),
    (User.age.not_in([1, 2]), '"users"."age" <> ALL ($1::smallint[])', [[1, 2]]),
    (User.age > unchecked(1.5), '"users"."age" > $1::double precision', [1.5]),
    (Order.tags.has("x"), '$1 = ANY ("orders"."tags")', ["x"]),
    (coalesce(User.email, User.name, "none"), 'coalesce("users"."email", "users"."name", $1)', ["none"]),
    (func.round(Order.total, 2, returns=decimal.Decimal), 'round("orders"."total", $1::integer)', [2]),
    (func.nullif(User.email, None), 'nullif("users"."email", NULL)', []),
    (func.count(User.id, distinct=True, where=A), 'count(DISTINCT "users"."id") FILTER (WHERE "users"."age" > $1)', [1]),
    (sum_(User.age), 'sum("users"."age")::bigint', []),
    (count() + 1, "count(*) + $1", [1]),
    (literal("x"), "$1::text", ["x"]),
    (literal({"a": 1}, type=JSONB), "$1::jsonb", [{"a": 1}]),
    (now() - datetime.timedelta(1), "now() - $1::interval", [datetime.timedelta(1)]),
    (now() - datetime.timedelta(1) < MOMENT, "now() - $1::interval < $2", [datetime.timedelta(1), MOMENT]),
    ((User.name + "x").between("a", "b"), '"users"."name" || $1 BETWEEN $2 AND $3', ["x", "a", "b"]),
    ((User.age + 1).in_([2]), '"users"."age" + $1 = ANY ($2::smallint[])', [1, [2]]),
    (User.name.starts_with("a%_\\"), '"users"."name" LIKE $1', ["a\\%\\_\\\\%"]),
]


@pytest.mark.parametrize(("expression", "text", "values"), WRITTEN, ids=[case[1] for case in WRITTEN])
def test_is_written(expression: Expression[object], text: str, values: list[object]) -> None:
    assert readable(expression.shape) == text
    assert str(expression) == text
    assert list(expression.bind_values) == values


TYPED: list[tuple[Expression[object], SqlType | None]] = [
    (User.age, SMALLINT),
    (User.age + 1, SMALLINT),
    (User.age + User.id, BIGINT),
    (Order.weight * 2, DOUBLE),
    (Order.total * User.age, NUMERIC),
    (User.name + "x", TEXT),
    (now() - now(), INTERVAL),
    (now() + datetime.timedelta(1), TIMESTAMPTZ),
    (cast(now(), datetime.date) - unchecked(1), DATE),
    (sum_(User.age), BIGINT),
    (avg(User.age), NUMERIC),
    (avg(Order.weight), DOUBLE),
    (Order.tags, array_of(TEXT)),
    (func.anything(1), None),
    (func.anything(1, returns=str), TEXT),
]


@pytest.mark.parametrize(("expression", "kind"), TYPED, ids=[str(case[0]) for case in TYPED])
def test_has_the_type(expression: Expression[object], kind: SqlType | None) -> None:
    assert expression.sql_type is kind


WRONG: list[tuple[str, Callable[[], object], str]] = [
    ("text for a number", lambda: User.age > unchecked("x"), 'class str was given for "users"."age", which is smallint'),
    ("bool for a number", lambda: User.age == unchecked(True), "class bool"),
    ("number for text", lambda: User.name == unchecked(1), "class int"),
    ("number for a bool", lambda: User.active == unchecked(1), "class int"),
    ("moment for a date", lambda: cast(now(), datetime.date) == unchecked(datetime.datetime.now(datetime.UTC)), r"value\.date\(\)"),
    ("text for an enum", lambda: Order.status == unchecked("open"), r"Status\.OPEN"),
    ("wrong list", lambda: Order.tags == unchecked([1]), "class list"),
    ("columns of two types", lambda: User.age == unchecked(User.name), r"\(smallint\) and .* \(text\) cannot meet"),
    ("none", lambda: User.email == unchecked(None), r"is_null\(\)"),
    ("not none", lambda: User.email != unchecked(None), r"is_not_null\(\)"),
    ("less than none", lambda: User.age < unchecked(None), "compared with None"),
    ("none in a list", lambda: User.age.in_(unchecked([1, None])), "None is among the values"),
    ("text as a list", lambda: User.name.in_("abc"), "takes a collection or a select"),
    ("wrong element", lambda: User.age.in_(unchecked(["x"])), "class str"),
    ("a column as a list", lambda: User.age.in_(unchecked(User.id)), "for one value use =="),
    ("and", lambda: unchecked(A) and B, "no truth value"),
    ("chain", lambda: unchecked(1) < User.age < 3, r"between\(19, 64\)"),
    ("in", lambda: User.name in unchecked(["a", "b"]), r"in_\(names\)"),
    ("loop", lambda: list(unchecked(User.name)), "cannot be looped over"),
    ("and of numbers", lambda: unchecked(User.age) & A, "needs a condition"),
    ("not of text", lambda: ~unchecked(User.name), "needs a condition"),
    ("or with a bool", lambda: A | unchecked(True), "got the bool True"),
    ("text plus number", lambda: User.name + unchecked(1), "class int"),
    ("number plus text", lambda: User.age + unchecked(User.name), "has no meaning"),
    ("moments added", lambda: now() + unchecked(now()), "has no meaning"),
    ("minus text", lambda: -User.name, "needs a number"),
    ("plus none", lambda: User.age + unchecked(None), "None cannot be used"),
    ("sum of text", lambda: sum_(User.name), "needs a number"),
    ("distinct stars", lambda: count(distinct=True), "needs the expression"),
    ("contains in text", lambda: User.name.contains("x"), r"like\('%part%'\)"),
    ("has in text", lambda: unchecked(User.name).has("x"), "needs an array"),
    ("no select", lambda: exists(User.id), r"exists\(\) takes a select"),
    ("unknown class", lambda: literal(object()), "No PostgreSQL type is known"),
    ("cast to anything", lambda: cast(User.id, object), "no PostgreSQL type is known"),
    ("nulls", lambda: User.age.asc(nulls=unchecked("middle")), "says nothing about NULLs"),
    ("prefix", lambda: User.name.starts_with(unchecked(User.name)), "takes a str"),
]


@pytest.mark.parametrize(("build", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_refuses(build: Callable[[], object], message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        build()
    assert "\nTo fix it" in str(caught.value)


def test_a_function_is_named_by_small_letters_only() -> None:
    for name in ("Lower", "pg sleep", "x; drop", "", "_" * 64):
        with pytest.raises(AttributeError, match="no name of a function"):
            getattr(func, name)


def test_columns_are_keys_of_dictionaries() -> None:
    values = {User.name: 1, User.age: 2}
    assert values[User.name] == 1
    assert len({User.name, User.name, User.age}) == 2
