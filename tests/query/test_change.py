"""Updates and deletes: exact SQL and values, and what a real server does."""

import decimal
from collections.abc import Callable

import psycopg
import pytest

from tests.query.shop import Order, User, run, unchecked
from trioorm.compiler import compile_statement, shape_and_values
from trioorm.errors import QueryError
from trioorm.expression import cast, default, now
from trioorm.query import alias, delete, insert, select, update

Shop = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def filled(shop: Shop) -> Shop:
    """Ada (36, an order of 9.50) and Bob (17, an order of 5)."""
    run(shop, insert(User).values(User(name="Ada", age=36), User(name="Bob", age=17)))
    run(
        shop,
        insert(Order).values(Order(user_id=1, total=decimal.Decimal("9.50")), Order(user_id=2, total=decimal.Decimal(5))),
    )
    return shop


def test_update_sets_values_and_expressions(filled: Shop) -> None:
    statement = update(User).set(User.age, User.age + 1).set({User.name: "Ada L.", User.email: None}).where(User.id == 1)
    assert str(statement) == ('UPDATE "users"\nSET "age" = "users"."age" + $1, "name" = $2, "email" = $3\nWHERE "users"."id" = $4')
    assert shape_and_values(statement)[1] == [1, "Ada L.", None, 1]
    compiled = compile_statement(statement)
    assert compiled.results == ()
    assert not compiled.scalar
    assert compiled.is_write
    assert run(filled, statement.returning(User.name, User.age)) == [("Ada L.", 37)]


def test_update_with_moments_and_defaults(filled: Shop) -> None:
    statement = update(Order).set(Order.paid_at, now()).set(Order.created_at, default()).where(Order.total > decimal.Decimal(6))
    assert str(statement) == ('UPDATE "orders"\nSET "paid_at" = now(), "created_at" = DEFAULT\nWHERE "orders"."total" > $1')
    assert run(filled, statement.returning(Order.id)) == [(1,)]


def test_update_looks_into_other_tables(filled: Shop) -> None:
    statement = update(Order).set(Order.total, Order.total + User.age).using(User).where(Order.user_id == User.id, User.name == "Ada")
    assert str(statement) == (
        'UPDATE "orders"\nSET "total" = "orders"."total" + "users"."age"\nFROM "users"\n'
        'WHERE "orders"."user_id" = "users"."id" AND "users"."name" = $1'
    )
    assert run(filled, statement.returning(Order.total, User.name)) == [(decimal.Decimal("45.50"), "Ada")]


def test_update_by_a_select(filled: Shop) -> None:
    total = select(Order.total).where(Order.user_id == User.id)
    statement = update(User).set(User.name, "rich").where(User.id.in_(select(Order.user_id).where(Order.total > decimal.Decimal(6))))
    assert run(filled, statement.returning(User.id)) == [(1,)]
    assert run(filled, select(User.id).where(decimal.Decimal(6) < total)) == [(1,)]


def test_update_sets_several_columns_by_one_select(filled: Shop) -> None:
    other = alias(User, "other")
    source = select(other.name + "!", other.age + 1).where(other.id == 2)
    statement = update(User).set((User.name, User.age), source).set(User.active, False).where(User.id == 1).returning(User.name, User.age)
    assert compile_statement(statement).text == (
        'UPDATE "users"\nSET ("name", "age") = (\n    SELECT "other"."name" || $1, "other"."age" + $2\n    FROM "users" AS "other"\n'
        '    WHERE "other"."id" = $3\n), "active" = $4\nWHERE "users"."id" = $5\nRETURNING "users"."name", "users"."age"'
    )
    assert shape_and_values(statement)[1] == ["!", 1, 2, False, 1]
    assert run(filled, statement) == [("Bob!", 18)]
    dearest = select(Order.id, Order.total).where(Order.user_id == User.id).order_by(Order.total.desc()).limit(1)
    by_its_own = (
        update(User).set((User.age, User.email), select(Order.id, cast(Order.total, str)).where(Order.user_id == User.id)).everywhere()
    )
    assert run(filled, by_its_own.returning(User.email)) == [("5",), ("9.50",)]
    with pytest.raises(QueryError, match="would get total, which is numeric"):
        update(User).set((User.age, User.email), unchecked(dearest))
    with pytest.raises(QueryError, match="1 columns for a select of 2"):
        update(User).set(unchecked((User.age,)), dearest)
    with pytest.raises(QueryError, match="set twice"):
        update(User).set(User.age, 5).set((User.age, User.id), unchecked(dearest))
    with pytest.raises(QueryError, match="set twice"):
        update(User).set((User.id, User.age), select(other.id, other.age)).set(User.age, 5)
    with pytest.raises(QueryError, match="takes a select for several columns"):
        update(User).set(unchecked((User.id, User.age)), unchecked((1, 2)))


def test_delete(filled: Shop) -> None:
    statement = delete(Order).using(User).where(Order.user_id == User.id, User.age < 18)
    assert str(statement) == ('DELETE FROM "orders"\nUSING "users"\nWHERE "orders"."user_id" = "users"."id" AND "users"."age" < $1')
    assert run(filled, statement.returning(Order)) != []
    user = alias(User, "u")
    assert run(filled, delete(user).where(user.name == "Bob").returning(user.id)) == [(2,)]
    assert run(filled, delete(Order).everywhere().returning(Order.id)) == [(1,)]


def test_everywhere_means_all_rows(filled: Shop) -> None:
    statement = update(User).set(User.active, False).everywhere()
    assert str(statement) == 'UPDATE "users"\nSET "active" = $1'
    assert len(run(filled, statement.returning(User.id))) == 2


REFUSED: list[tuple[str, Callable[[], object], str]] = [
    ("update of all", lambda: str(update(User).set(User.age, 1)), r"would change every row of users"),
    ("delete of all", lambda: str(delete(User)), r"\.everywhere\(\)"),
    ("both", lambda: str(delete(User).where(User.id == 1).everywhere()), "keep one"),
    ("sets nothing", lambda: str(update(User).where(User.id == 1)), "sets nothing"),
    ("set twice", lambda: update(User).set(User.age, 1).set(User.age, 2), "set twice"),
    ("wrong class", lambda: update(User).set(User.age, unchecked("x")), "class str was given"),
    ("fraction", lambda: update(User).set({"age": 1.5}), "class float was given"),
    ("fraction expression", lambda: update(User).set({"age": User.age * unchecked(1.5)}), "would be set to"),
    ("wrong expression", lambda: update(User).set(User.age, unchecked(User.name)), "would be set to"),
    ("none", lambda: update(User).set(User.age, unchecked(None)), "never NULL"),
    ("another table", lambda: update(User).set(Order.total, decimal.Decimal(1)), "a column of another table"),
    ("unknown", lambda: update(User).set({"agee": 1}), "did you mean User.age"),
    ("no value", lambda: unchecked(update(User)).set(User.age), "a column and a value"),
    ("no items", lambda: unchecked(delete(User).where(User.id == 1)).returning(), "nothing to return"),
    ("table not there", lambda: str(delete(User).where(Order.id == 1)), "not among the statement's tables"),
]


@pytest.mark.parametrize(("build", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refuses(build: Callable[[], object], message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        build()
    assert "\nTo fix it" in str(caught.value)
