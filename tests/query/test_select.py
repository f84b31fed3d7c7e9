"""Selects: exact SQL and values, and the rows of a real server."""

import decimal
from collections.abc import Callable

import pytest

from tests.query.shop import Line, Order, Status, User, run, unchecked
from tests.query.statements import USER, Shop, expect
from trioorm.compiler import ModelResult, ValueResult, compile_statement, shape_and_values
from trioorm.errors import QueryError, UnknownColumn
from trioorm.expression import and_, avg, coalesce, count, exists, literal, lower, max_, not_, or_, sum_
from trioorm.query import Statement, alias, insert, optional, select


def test_selects_whole_objects_by_condition(filled: Shop) -> None:
    statement = select(User).where(User.age > 18).order_by(User.age)
    expect(statement, f'SELECT {USER}\nFROM "users"\nWHERE "users"."age" > $1\nORDER BY "users"."age"', [18])
    assert [row[1] for row in run(filled, statement)] == ["Ada", "Cyd"]
    compiled = compile_statement(statement)
    assert compiled.results == (ModelResult(User, ("id", "name", "age", "email", "active", "manager_id"), optional=False),)
    assert compiled.scalar
    assert compiled.may_repeat
    assert not compiled.is_write


def test_selects_values_as_tuples(filled: Shop) -> None:
    statement = select(User.id, User.email).order_by(User.id)
    expect(statement, 'SELECT "users"."id", "users"."email"\nFROM "users"\nORDER BY "users"."id"', [])
    assert run(filled, statement) == [(1, "ada@x"), (2, None), (3, None)]
    assert not compile_statement(statement).scalar
    assert all(isinstance(result, ValueResult) for result in compile_statement(statement).results)


def test_joins_conditions_and_optional_models(filled: Shop) -> None:
    statement = (
        select(User.name, optional(Order.total))
        .left_join(Order, (Order.user_id == User.id) & (Order.total > decimal.Decimal(6)))
        .where(User.active)
        .order_by(User.name, Order.total.desc(nulls="last"))
    )
    expect(
        statement,
        'SELECT "users"."name", "orders"."total"\nFROM "users"\n'
        'LEFT JOIN "orders" ON "orders"."user_id" = "users"."id" AND "orders"."total" > $1\n'
        'WHERE "users"."active"\nORDER BY "users"."name", "orders"."total" DESC NULLS LAST',
        [decimal.Decimal(6)],
    )
    assert run(filled, statement) == [("Ada", 20), ("Ada", decimal.Decimal("9.50")), ("Bob", None), ("Cyd", None)]


def test_an_alias_is_another_table(filled: Shop) -> None:
    manager = alias(User, "manager")
    statement = select(User.name, manager.name).join(manager, User.manager_id == manager.id)
    expect(
        statement,
        'SELECT "users"."name", "manager"."name"\nFROM "users"\nJOIN "users" AS "manager" ON "users"."manager_id" = "manager"."id"',
        [],
    )
    assert run(filled, statement) == [("Cyd", "Ada")]
    assert select(alias(User, "u")).shape == select(alias(User, "u")).shape


def test_groups_and_aggregates(filled: Shop) -> None:
    number = count(Order.id).as_("number")
    statement = (
        select(User.name, number, sum_(Order.total))
        .join(Order, Order.user_id == User.id)
        .group_by(User.name)
        .having(count(Order.id) >= 1)
        .order_by(number.desc(), User.name)
        .limit(5)
        .offset(0)
    )
    expect(
        statement,
        'SELECT "users"."name", count("orders"."id") AS "number", sum("orders"."total")\nFROM "users"\n'
        'JOIN "orders" ON "orders"."user_id" = "users"."id"\nGROUP BY "users"."name"\nHAVING count("orders"."id") >= $1\n'
        'ORDER BY "number" DESC, "users"."name"\nLIMIT $2\nOFFSET $3',
        [1, 5, 0],
    )
    assert run(filled, statement) == [("Ada", 2, decimal.Decimal("29.50")), ("Bob", 1, 5)]


def test_aggregates_have_the_types_they_claim(filled: Shop) -> None:
    statement = select(count(), sum_(User.age), avg(User.age), max_(User.name), avg(Order.weight), count(where=User.age > 20)).join(
        Order, Order.user_id == User.id
    )
    assert run(filled, statement.from_(User)) == [(3, 89, decimal.Decimal("29.6666666666666667"), "Bob", 0.5, 2)]
    names = [
        result.type.name if isinstance(result, ValueResult) and result.type else None for result in compile_statement(statement).results
    ]
    assert names == ["bigint", "bigint", "numeric", "text", "double precision", "bigint"]


def test_a_list_is_one_value_whatever_its_length(filled: Shop) -> None:
    statement = select(User.name).where(User.age.in_([36, 50])).order_by(User.id)
    expect(
        statement,
        'SELECT "users"."name"\nFROM "users"\nWHERE "users"."age" = ANY ($1::smallint[])\nORDER BY "users"."id"',
        [[36, 50]],
    )
    assert run(filled, statement) == [("Ada",), ("Cyd",)]
    assert shape_and_values(select(User).where(User.age.in_([1])))[0] == shape_and_values(select(User).where(User.age.in_(range(9))))[0]
    assert run(filled, select(User.name).where(User.age.in_([]))) == []
    assert len(run(filled, select(User.name).where(User.age.not_in({36})))) == 2
    assert run(filled, select(Order.id).where(Order.status.in_([Status.SENT]))) == [(2,)]


def test_selects_inside_expressions(filled: Shop) -> None:
    buyers = select(Order.user_id).where(Order.total > decimal.Decimal(6))
    assert run(filled, select(User.name).where(User.id.in_(buyers))) == [("Ada",)]
    assert run(filled, select(User.name).where(User.id.not_in(buyers)).order_by(User.id)) == [("Bob",), ("Cyd",)]
    idle = select(User.name).where(~exists(select(Order.id).where(Order.user_id == User.id)))
    expect(
        idle,
        'SELECT "users"."name"\nFROM "users"\nWHERE NOT EXISTS (\n    SELECT "orders"."id"\n    FROM "orders"\n'
        '    WHERE "orders"."user_id" = "users"."id"\n)',
        [],
    )
    assert run(filled, idle) == [("Cyd",)]
    oldest = alias(User, "oldest")
    assert run(filled, select(User.name).where(User.age == select(max_(oldest.age)))) == [("Cyd",)]
    assert run(filled, select(User.name, select(count()).from_(Order).where(Order.user_id == User.id)).order_by(User.id)) == [
        ("Ada", 2),
        ("Bob", 1),
        ("Cyd", 0),
    ]


def test_values_stand_in_the_order_of_their_places(filled: Shop) -> None:
    statement = (
        select(literal("first"), coalesce(User.email, "second"))
        .join(Order, (Order.user_id == User.id) & (Order.weight < 3.5))
        .where(User.age > 4, or_(User.name == "Ada", and_(User.name == "six", User.age.between(7, 8))))
        .group_by(User.id)
        .having(count() > 0)
        .order_by(User.id)
        .limit(11)
    )
    assert shape_and_values(statement)[1] == ["first", "second", 3.5, 4, "Ada", "six", 7, 8, 0, 11]
    assert run(filled, statement) == [("first", "ada@x")]


def test_locks(filled: Shop) -> None:
    statement = select(User.id).join(Order, Order.user_id == User.id).for_update(of=User, skip_locked=True)
    assert str(statement).endswith('FOR UPDATE OF "users" SKIP LOCKED')
    assert len(run(filled, statement)) == 3
    assert str(select(User.id).for_share(nowait=True)).endswith("FOR SHARE NOWAIT")
    compiled = compile_statement(statement)
    assert compiled.is_write
    assert not compiled.may_repeat


def test_distinct(filled: Shop) -> None:
    assert run(filled, select(Order.user_id).distinct().order_by(Order.user_id)) == [(1,), (2,)]
    first = select(Order.user_id, Order.total).distinct(Order.user_id).order_by(Order.user_id, Order.total.desc())
    expect(
        first,
        'SELECT DISTINCT ON ("orders"."user_id") "orders"."user_id", "orders"."total"\nFROM "orders"\n'
        'ORDER BY "orders"."user_id", "orders"."total" DESC',
        [],
    )
    assert run(filled, first) == [(1, 20), (2, 5)]


def test_text_arrays_and_jsonb(filled: Shop) -> None:
    assert run(filled, select(User.id).where(User.name.ilike("a%") | User.name.starts_with("B")).order_by(User.id)) == [(1,), (2,)]
    assert run(filled, select(User.id).where(User.name.starts_with("%"))) == []
    assert run(filled, select(lower(User.name)).where(not_(User.name.like("%d%"))).order_by(User.id)) == [("bob",)]
    assert run(filled, select(Order.id).where(Order.tags.contains(["b"])).order_by(Order.id)) == [(1,), (3,)]
    assert run(filled, select(Order.id).where(Order.tags.has("a"))) == [(1,)]
    assert run(filled, select(Order.id).where(Order.tags.overlaps(["a", "z"]))) == [(1,)]
    assert run(filled, select(Order.id).where(Order.extra.contains({"k": [1]}))) == [(1,)]


def test_nulls(filled: Shop) -> None:
    assert run(filled, select(User.id).where(User.email.is_null()).order_by(User.id)) == [(2,), (3,)]
    assert run(filled, select(User.id).where(User.email.is_not_null())) == [(1,)]
    assert len(run(filled, select(User.id).where(User.email.is_distinct_from("ada@x")))) == 2
    assert len(run(filled, select(User.id).where(User.email.is_not_distinct_from(None)))) == 2


def test_right_full_and_cross_joins(filled: Shop) -> None:
    right = select(optional(Order), User.name).right_join(User, Order.user_id == User.id)
    assert len(run(filled, right)) == 4
    full = select(optional(Order.id), optional(User.id)).full_join(User, Order.user_id == User.id)
    assert len(run(filled, full)) == 4
    assert len(run(filled, select(User.id, Order.id).cross_join(Order))) == 9


def test_a_select_is_not_changed_by_its_methods() -> None:
    first = select(User).where(User.age > 1)
    before = str(first)
    longer = first.where(User.age < 9).order_by(User.id).limit(1)
    assert str(first) == before
    assert str(longer) != before
    assert shape_and_values(first)[1] == [1]
    assert shape_and_values(longer)[1] == [1, 9, 1]


def test_equal_selects_have_one_shape_and_others_do_not() -> None:
    def build(age: int) -> Statement[object]:
        return select(User).where(User.age > age).limit(age)

    assert shape_and_values(build(1))[0] == shape_and_values(build(2))[0]
    assert hash(shape_and_values(build(1))[0]) == hash(shape_and_values(build(2))[0])
    shapes = [
        select(User).shape,
        select(User).distinct().shape,
        select(User).limit(1).shape,
        select(User).offset(1).shape,
        select(User.id).shape,
        select(User).where(User.age > 1).shape,
        select(User).where(User.age >= 1).shape,
        select(User).where(User.id > 1).shape,
        select(User).order_by(User.id).shape,
        select(User).order_by(User.id.desc()).shape,
        select(User).group_by(User.id).shape,
        select(User).for_update().shape,
        select(alias(User, "u")).shape,
    ]
    assert len(set(shapes)) == len(shapes)


REFUSED: list[tuple[str, Callable[[], object], str]] = [
    ("no items", unchecked(select), "nothing to select"),
    ("an object", lambda: select(unchecked(User(name="x", age=1))), "A row cannot hold"),
    ("a bool", lambda: select(User).where(unchecked(True)), "got the bool True"),
    ("no condition", lambda: select(User).where(unchecked(User.age)), r"needs a condition \(boolean\), and got smallint"),
    ("unmarked left join", lambda: select(User, Order).left_join(Order, Order.user_id == User.id), r"optional\(Order\)"),
    ("unmarked column", lambda: select(User.id, Order.total).left_join(Order, Order.user_id == User.id), r"optional\(orders.total\)"),
    ("unmarked right join", lambda: select(User).right_join(Order, Order.user_id == User.id), r"optional\(User\)"),
    ("table not joined", lambda: str(select(User).where(Order.id == 1)), "'orders' is not among the statement's tables"),
    ("item not joined", lambda: str(select(User, Order)), r"join it: \.join"),
    ("joined twice", lambda: str(select(User).join(User, User.id == User.manager_id)), "twice"),
    ("two columns in in_", lambda: User.id.in_(unchecked(select(User.id, User.age))), "2 items"),
    ("a model in in_", lambda: User.id.in_(unchecked(select(User))), "a model"),
    ("limit", lambda: select(User).limit(-1), "whole number from 0"),
    ("limit of bool", lambda: select(User).limit(True), "whole number from 0"),
    ("both waits", lambda: select(User).for_update(skip_locked=True, nowait=True), "exclude each other"),
    ("lock of another", lambda: str(select(User).for_update(of=Order)), "not among the select's tables"),
    ("order by value", lambda: str(select(User).order_by(literal(1))), "cannot be ordered"),
    ("order by text", lambda: select(User).order_by(unchecked("age")), "takes columns and expressions"),
    ("join a string", lambda: select(User).join(unchecked("orders"), User.id == 1), "A model class is needed"),
    ("alias makes no objects", lambda: alias(User, "u")(name="x", age=1), "makes no objects"),
]


@pytest.mark.parametrize(("build", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refuses(build: Callable[[], object], message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        build()
    assert "\nTo fix it" in str(caught.value)


def test_an_unknown_column_names_the_nearest() -> None:
    with pytest.raises(UnknownColumn, match=r"did you mean User\.email") as caught:
        str(unchecked(User).emial)
    assert isinstance(caught.value, AttributeError)
    with pytest.raises(UnknownColumn, match="User has no column"):
        str(unchecked(alias(User, "u")).emial)
    assert not hasattr(User, "nothing")


def test_generated_columns_are_computed_by_the_server(filled: Shop) -> None:
    run(filled, insert(Line).values(Line(order_id=1, number=1, article="pen", amount=3, price=decimal.Decimal("1.25"))))
    assert run(filled, select(Line.sum)) == [(decimal.Decimal("3.75"),)]
