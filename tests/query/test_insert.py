"""Inserts: exact SQL and values, and what a real server stores."""

import datetime
import decimal
import typing
from collections.abc import Callable

import attrs
import psycopg
import pytest

from tests.query.shop import Line, Order, Status, User, run, unchecked
from trioorm.compiler import compile_statement, shape_and_values
from trioorm.errors import BindError, QueryError
from trioorm.expression import SMALLINT, TEXT, default, func, literal, now
from trioorm.model import Model
from trioorm.query import Statement, excluded, insert, select

M = typing.TypeVar("M", bound=Model)


def evolved(row: M, **changes: object) -> M:
    """`attrs.evolve`, which mypy allows only for classes that its own plugin knows."""
    return typing.cast("M", attrs.evolve(unchecked(row), **changes))


Shop = psycopg.Connection[tuple[object, ...]]

ALL = '"users"."id", "users"."name", "users"."age", "users"."email", "users"."active", "users"."manager_id"'


def test_one_object_is_one_row_of_values(shop: Shop) -> None:
    statement = insert(User).values(User(name="Ada", age=36)).returning(User)
    compiled = compile_statement(statement)
    assert compiled.text == (
        f'INSERT INTO "users" ("name", "age", "email", "active", "manager_id")\nVALUES ($1, $2, $3, $4, $5)\nRETURNING {ALL}'
    )
    assert shape_and_values(statement)[1] == ["Ada", 36, None, True, None]
    assert compiled.bind_types[:2] == (TEXT, SMALLINT)
    assert compiled.is_write
    assert not compiled.may_repeat
    assert compiled.scalar
    assert run(shop, statement) == [(1, "Ada", 36, None, True, None)]


def test_a_generated_key_that_was_given_is_sent(shop: Shop) -> None:
    statement = insert(User).values(evolved(User(name="Ada", age=36), id=70)).returning(User.id)
    assert 'INSERT INTO "users" ("id", "name",' in str(statement)
    assert run(shop, statement) == [(70,)]


def test_many_rows_have_one_shape_whatever_their_number(shop: Shop) -> None:
    def build(number: int) -> Statement[int]:
        return insert(User).values_from([User(name=f"u{i}", age=i) for i in range(number)]).returning(User.id)

    two, nine = build(2), build(9)
    assert shape_and_values(two)[0] == shape_and_values(nine)[0]
    statement = insert(User).values(User(name="Ada", age=36), User(name="Bob", age=17, email="b@x"))
    assert str(statement) == (
        'INSERT INTO "users" ("name", "age", "email", "active", "manager_id")\n'
        "SELECT * FROM unnest($1::text[], $2::smallint[], $3::text[], $4::boolean[], $5::bigint[])"
    )
    assert shape_and_values(statement)[1] == [["Ada", "Bob"], [36, 17], [None, "b@x"], [True, True], [None, None]]
    run(shop, statement)
    assert run(shop, select(User.id, User.name, User.email).order_by(User.id)) == [(1, "Ada", None), (2, "Bob", "b@x")]


def test_ids_of_many_rows_come_back_in_their_order(shop: Shop) -> None:
    rows = [User(name=f"u{number}", age=number % 90) for number in range(3000)]
    returned = run(shop, insert(User).values_from(rows).returning(User.id, User.name))
    assert returned == [(number + 1, f"u{number}") for number in range(3000)]


def test_tuples_travel_as_one_array_for_each_column(shop: Shop) -> None:
    statement = (
        insert(User).values_from([(36, "Ada"), [17, "Bob"]], columns=[User.age, User.name]).returning(User.id, User.name, User.active)
    )
    assert str(statement) == (
        'INSERT INTO "users" ("name", "age", "email", "active", "manager_id")\n'
        "SELECT * FROM unnest($1::text[], $2::smallint[], $3::text[], $4::boolean[], $5::bigint[])\n"
        'RETURNING "users"."id", "users"."name", "users"."active"'
    )
    assert shape_and_values(statement)[1] == [["Ada", "Bob"], [36, 17], [None, None], [True, True], [None, None]]
    assert run(shop, statement) == [(1, "Ada", True), (2, "Bob", True)]


def test_tuples_may_hold_arrays(shop: Shop) -> None:
    run(shop, insert(User).values(User(name="Ada", age=36)))
    rows: list[tuple[object, ...]] = [(1, decimal.Decimal(1), ["a"]), (1, decimal.Decimal(2), [])]
    run(shop, insert(Order).values_from(rows, columns=[Order.user_id, Order.total, Order.tags]))
    assert run(shop, select(Order.total, Order.tags, Order.status).order_by(Order.id)) == [(1, ["a"], "open"), (2, [], "open")]


def test_mappings_of_the_same_names_travel_as_arrays_too(shop: Shop) -> None:
    alike = insert(User).values({"name": "Ada", "age": 36}, {"age": 17, "name": "Bob"})
    assert shape_and_values(alike)[1] == [["Ada", "Bob"], [36, 17], [None, None], [True, True], [None, None]]
    other = insert(User).values({"name": "Ada", "age": 36}, {"name": "Bob", "age": literal(17)})
    assert "VALUES ($1, $2, $3, $4, $5), ($6, $7::bigint, $8, $9, $10)" in str(other)
    for statement in (alike, other):
        assert run(shop, statement.returning(User.name, User.age)) == [("Ada", 36), ("Bob", 17)]


def test_a_conflict_updates_what_the_tuples_name_and_not_the_defaults() -> None:
    statement = insert(User).values_from([("Ada", 36)], columns=[User.name, User.age]).on_conflict(User.email).do_update()
    assert str(statement).endswith('DO UPDATE SET "name" = "excluded"."name", "age" = "excluded"."age"')


def test_rows_with_array_columns_are_values(shop: Shop) -> None:
    run(shop, insert(User).values(User(name="Ada", age=36)))
    statement = insert(Order).values(
        Order(user_id=1, total=decimal.Decimal(1), tags=["a", "b"]), Order(user_id=1, total=decimal.Decimal(2), tags=[])
    )
    assert "VALUES ($1, $2, $3, $4, $5, $6, $7), ($8," in str(statement)
    run(shop, statement)
    assert run(shop, select(Order.tags).order_by(Order.id)) == [(["a", "b"],), ([],)]


def test_rows_that_leave_different_columns_out_get_their_defaults(shop: Shop) -> None:
    statement = insert(User).values(evolved(User(name="Ada", age=36), id=50), User(name="Bob", age=17)).returning(User.id)
    assert "($1, $2, $3, $4, $5, $6), (DEFAULT, $7," in str(statement)
    assert run(shop, statement) == [(50,), (1,)]


def test_a_server_default_fills_what_is_unset_and_gives_way_to_a_value(shop: Shop) -> None:
    run(shop, insert(User).values(User(name="Ada", age=36)))
    moment = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)
    order = Order(user_id=1, total=decimal.Decimal(1))
    given = evolved(order, created_at=moment)
    first, second = run(shop, insert(Order).values(order, given).returning(Order.created_at))
    assert second == (moment,)
    assert first[0] != moment


def test_mappings_take_expressions_and_the_models_defaults(shop: Shop) -> None:
    statement = insert(User).values(
        {User.name: unchecked(func).upper("ada"), User.age: 36}, {User.name: "Bob", User.age: 17, User.active: False}
    )
    assert str(statement) == (
        'INSERT INTO "users" ("name", "age", "email", "active", "manager_id")\n'
        "VALUES (upper($1::text), $2, $3, $4, $5), ($6, $7, $8, $9, $10)"
    )
    assert shape_and_values(statement)[1] == ["ada", 36, None, True, None, "Bob", 17, None, False, None]
    run(shop, statement)
    assert run(shop, select(User.name, User.active).order_by(User.id)) == [("ADA", True), ("Bob", False)]
    plain = insert(User).values({"name": "c", "age": 1}, {"name": "d", "age": 2})
    assert "unnest" in str(plain)
    assert run(shop, insert(User).values({"name": "e", "age": 5, "id": default()}).returning(User.id)) == [(3,)]


def test_an_upsert_by_mapping_changes_only_what_was_given(shop: Shop) -> None:
    run(shop, insert(User).values(User(name="Ada", age=36, email="ada@x", active=False)))
    statement = insert(User).values({"name": "Ada L.", "age": 37, "email": "ada@x"}).on_conflict(User.email).do_update()
    assert run(shop, statement.returning(User.name, User.age, User.active)) == [("Ada L.", 37, False)]


def test_on_conflict_do_nothing(shop: Shop) -> None:
    ada = User(name="Ada", age=36, email="ada@x")
    run(shop, insert(User).values(ada))
    statement = insert(User).values(ada).on_conflict(User.email).do_nothing().returning(User.id)
    assert str(statement).split("\n")[2] == 'ON CONFLICT ("email") DO NOTHING'
    assert run(shop, statement) == []
    assert run(shop, insert(User).values(ada).on_conflict().do_nothing().returning(User.id)) == []
    by_name = insert(User).values(ada).on_conflict(constraint="users_email_key").do_nothing()
    assert 'ON CONFLICT ON CONSTRAINT "users_email_key" DO NOTHING' in str(by_name)
    assert run(shop, by_name.returning(User.id)) == []


def test_on_conflict_do_update(shop: Shop) -> None:
    run(shop, insert(User).values(User(name="Ada", age=36, email="ada@x")))
    newer = insert(User).values(User(name="Ada L.", age=37, email="ada@x"))
    statement = newer.on_conflict(User.email).do_update(
        User.name, set={User.age: User.age + excluded(User).age, User.active: False}, where=User.age < 40
    )
    assert str(statement).split("\n")[2] == (
        'ON CONFLICT ("email") DO UPDATE SET "name" = "excluded"."name", "age" = "users"."age" + "excluded"."age", "active" = $6 '
        'WHERE "users"."age" < $7'
    )
    assert shape_and_values(statement)[1] == ["Ada L.", 37, "ada@x", True, None, False, 40]
    assert run(shop, statement.returning(User.name, User.age, User.active)) == [("Ada L.", 73, False)]
    assert run(shop, statement.returning(User.id)) == []
    everything = newer.on_conflict(User.email).do_update()
    assert 'DO UPDATE SET "name" = "excluded"."name", "age" = "excluded"."age", "active" =' in str(everything)
    assert run(shop, everything.returning(User.age)) == [(37,)]


def test_composite_keys_and_computed_columns(shop: Shop) -> None:
    run(shop, insert(User).values(User(name="Ada", age=36)))
    run(shop, insert(Order).values(Order(user_id=1, total=decimal.Decimal(1))))
    line = Line(order_id=1, number=1, article="pen", price=decimal.Decimal(2))
    statement = insert(Line).values(line).on_conflict(Line.order_id, Line.number).do_update(Line.amount, set={Line.amount: Line.amount + 1})
    assert '"sum"' not in str(statement)
    run(shop, insert(Line).values(line))
    again = insert(Line).values(line).on_conflict(Line.order_id, Line.number).do_update(set={Line.amount: Line.amount + 1})
    assert run(shop, again.returning(Line.amount, Line.sum)) == [(2, decimal.Decimal(4))]


REFUSED: list[tuple[str, Callable[[], object], str]] = [
    ("no rows", lambda: insert(User).values(), "given no rows"),
    ("not given", lambda: str(insert(User)), "has no rows"),
    ("another class", lambda: insert(User).values(unchecked(Order(user_id=1, total=decimal.Decimal(1)))), "object of Order"),
    ("wrong class", lambda: insert(User).values(User(name="x", age=unchecked("36"))), "class str was given for .*smallint"),
    (
        "wrong class among many",
        lambda: insert(User).values(User(name="x", age=1), User(name="x", age=unchecked(1.5))),
        "class float was given",
    ),
    ("left out", lambda: insert(User).values({"name": "x"}), "has no age"),
    ("fraction", lambda: insert(User).values({"name": "x", "age": 1.5}), "class float was given"),
    ("none", lambda: insert(User).values({"name": None, "age": 1}), "never NULL"),
    ("unknown column", lambda: insert(User).values({"nmae": "x"}), r"did you mean User\.name"),
    ("another table's column", lambda: insert(User).values({Order.total: 1}), "a column of another table"),
    ("computed", lambda: insert(Line).values({"sum": 1}), "computed by the server"),
    ("no target", lambda: insert(User).values(User(name="x", age=1)).on_conflict().do_update(), "which conflict"),
    ("twice", lambda: insert(User).values({"name": "x", "age": 1}).values({"name": "y"}), "called twice"),
    ("label of another enum", lambda: insert(Order).values({"user_id": 1, "total": decimal.Decimal(1), "status": "paid"}), "Status.OPEN"),
    ("abstract thing", lambda: unchecked(insert)(int), "no model"),
]


@pytest.mark.parametrize(("build", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refuses(build: Callable[[], object], message: str) -> None:
    with pytest.raises((QueryError, Exception), match=message) as caught:
        build()
    assert "\nTo fix it" in str(caught.value)


def test_refuses_a_naive_moment() -> None:
    naive = datetime.datetime(2020, 1, 1)
    with pytest.raises(BindError, match="without a time zone"):
        insert(Order).values(Order(user_id=1, total=decimal.Decimal(1), paid_at=naive))
    with pytest.raises(BindError, match="without a time zone"):
        select(Order).where(Order.paid_at < naive)


def test_refuses_more_values_than_postgresql_takes() -> None:
    rows = [Order(user_id=1, total=decimal.Decimal(1)) for _ in range(10_000)]
    with pytest.raises(QueryError, match="70000 bind values; PostgreSQL takes 65535"):
        insert(Order).values_from(rows)


def test_texts_never_show_values() -> None:
    secret = "s3cret"
    statements = [
        insert(User).values(User(name=secret, age=1)),
        select(User).where(User.name == secret, User.email.in_([secret])),
        insert(User).values({"name": secret, "age": 1}).on_conflict(User.email).do_update(set={"name": secret}),
    ]
    for statement in statements:
        assert secret not in str(statement)
        assert secret not in repr(statement)
    with pytest.raises(QueryError) as caught:
        str(User.age > unchecked(secret))
    assert secret not in str(caught.value)


def test_enums_and_moments_are_stored(shop: Shop) -> None:
    run(shop, insert(User).values(User(name="Ada", age=36)))
    row = {"user_id": 1, "total": decimal.Decimal(1), "status": Status.PAID, "paid_at": now(), "weight": 1}
    assert run(shop, insert(Order).values(row).returning(Order.status, Order.weight)) == [("paid", 1.0)]
