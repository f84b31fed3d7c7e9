"""Pages, limits and locks: exact SQL and values, and the rows of a real server."""

from tests.query.shop import Order, User, run
from tests.query.statements import USER, Shop, expect
from trioorm.expression import count
from trioorm.query import select


def test_the_next_page_comes_after_the_last_row(filled: Shop) -> None:
    last = User(name="Cyd", age=50)
    last.id = 3
    statement = select(User).order_by(User.age.desc(), User.id).limit(1).after(last)
    expect(
        statement,
        f"SELECT {USER}\n"
        'FROM "users"\n'
        'WHERE "users"."age" <= $1 AND ("users"."age" < $2 OR "users"."age" = $3 AND "users"."id" > $4)\n'
        'ORDER BY "users"."age" DESC, "users"."id"\n'
        "LIMIT $5",
        [50, 50, 50, 3, 1],
    )
    assert run(filled, statement) == [(1, "Ada", 36, "ada@x", True, None)]


def test_terms_of_one_direction_are_compared_as_rows(filled: Shop) -> None:
    statement = select(User.age, User.id).order_by(User.age, User.id).after((17, 2))
    expect(
        statement,
        'SELECT "users"."age", "users"."id"\n'
        'FROM "users"\n'
        'WHERE (("users"."age", "users"."id") > ($1, $2))\n'
        'ORDER BY "users"."age", "users"."id"',
        [17, 2],
    )
    assert run(filled, statement) == [(36, 1), (50, 3)]


def test_a_page_goes_on_among_rows_without_a_value(filled: Shop) -> None:
    statement = select(User.id).order_by(User.email.desc(nulls="last"), User.id).after({User.email: None, User.id: 2})
    expect(
        statement,
        'SELECT "users"."id"\n'
        'FROM "users"\n'
        'WHERE "users"."email" IS NULL AND "users"."id" > $1\n'
        'ORDER BY "users"."email" DESC NULLS LAST, "users"."id"',
        [2],
    )
    assert run(filled, statement) == [(3,)]


def test_a_page_goes_on_from_values_to_none(filled: Shop) -> None:
    statement = select(User.id).order_by(User.email, User.id).after({User.email: "ada@x", User.id: 1})
    expect(
        statement,
        'SELECT "users"."id"\n'
        'FROM "users"\n'
        'WHERE ("users"."email" > $1 OR "users"."email" IS NULL) OR "users"."email" = $2 AND "users"."id" > $3\n'
        'ORDER BY "users"."email", "users"."id"',
        ["ada@x", "ada@x", 1],
    )
    assert run(filled, statement) == [(2,), (3,)]


def test_a_page_goes_on_from_none_to_values(filled: Shop) -> None:
    statement = select(User.id).order_by(User.email.asc(nulls="first"), User.id).after({User.email: None, User.id: 2})
    expect(
        statement,
        'SELECT "users"."id"\n'
        'FROM "users"\n'
        'WHERE "users"."email" IS NOT NULL OR "users"."email" IS NULL AND "users"."id" > $1\n'
        'ORDER BY "users"."email" ASC NULLS FIRST, "users"."id"',
        [2],
    )
    assert run(filled, statement) == [(3,), (1,)]


def test_pages_of_groups_go_on_in_having(filled: Shop) -> None:
    number = count()
    statement = select(Order.user_id, number).group_by(Order.user_id).order_by(number.desc(), Order.user_id).after((1, 2))
    expect(
        statement,
        'SELECT "orders"."user_id", count(*)\n'
        'FROM "orders"\n'
        'GROUP BY "orders"."user_id"\n'
        'HAVING count(*) < $1 OR count(*) = $2 AND "orders"."user_id" > $3\n'
        'ORDER BY count(*) DESC, "orders"."user_id"',
        [2, 2, 1],
    )
    assert run(filled, statement) == [(2, 1)]


def test_each_row_has_the_total(filled: Shop) -> None:
    statement = select(User.name, User.age).where(User.age > 3).order_by(User.id).limit(1).offset(1).with_total()
    expect(
        statement,
        'SELECT "users"."name", "users"."age", (count(*) OVER ()) AS "total"\n'
        'FROM "users"\n'
        'WHERE "users"."age" > $1\n'
        'ORDER BY "users"."id"\n'
        "LIMIT $2\n"
        "OFFSET $3",
        [3, 1, 1],
    )
    assert run(filled, statement) == [("Bob", 17, 3)]


def test_ties_come_along(filled: Shop) -> None:
    statement = select(User.name).order_by(User.active).limit(1, with_ties=True).offset(0)
    expect(
        statement,
        'SELECT "users"."name"\nFROM "users"\nORDER BY "users"."active"\nFETCH FIRST $1 ROWS WITH TIES\nOFFSET $2',
        [1, 0],
    )
    assert run(filled, statement) == [("Ada",), ("Bob",), ("Cyd",)]


def test_locks_have_four_strengths(filled: Shop) -> None:
    statement = (
        select(User.id)
        .join(Order, Order.user_id == User.id)
        .where(Order.id == 1)
        .for_no_key_update(of=User, nowait=True)
        .for_key_share(of=Order)
    )
    expect(
        statement,
        'SELECT "users"."id"\n'
        'FROM "users"\n'
        'JOIN "orders" ON "orders"."user_id" = "users"."id"\n'
        'WHERE "orders"."id" = $1\n'
        'FOR NO KEY UPDATE OF "users" NOWAIT\n'
        'FOR KEY SHARE OF "orders"',
        [1],
    )
    assert sorted(run(filled, statement), key=str) == [(1,)]


def test_locked_rows_may_be_skipped(filled: Shop) -> None:
    statement = select(User.id).where(User.id == 1).for_share(skip_locked=True)
    expect(
        statement,
        'SELECT "users"."id"\nFROM "users"\nWHERE "users"."id" = $1\nFOR SHARE SKIP LOCKED',
        [1],
    )
    assert sorted(run(filled, statement), key=str) == [(1,)]
