"""UNION, INTERSECT, EXCEPT, and several groupings in one select: exact SQL and values, and the rows of a real server."""

import datetime
import decimal

from tests.query.shop import Order, User, run
from tests.query.statements import USER, Shop, expect
from trioorm.expression import count, func, literal, sum_
from trioorm.query import cube, grouping, grouping_sets, rollup, select


def test_a_union_has_an_order_and_a_limit(filled: Shop) -> None:
    statement = select(User.id).where(User.age > 18).union(select(Order.user_id)).order_by(User.id.desc()).limit(2)
    expect(
        statement,
        'SELECT "users"."id"\n'
        'FROM "users"\n'
        'WHERE "users"."age" > $1\n'
        "UNION\n"
        'SELECT "orders"."user_id"\n'
        'FROM "orders"\n'
        'ORDER BY "id" DESC\n'
        "LIMIT $2",
        [18, 2],
    )
    assert run(filled, statement) == [(3,), (2,)]


def test_set_operations_nest(filled: Shop) -> None:
    adults = select(User.id).where(User.age > 18)
    buyers = select(Order.user_id)
    statement = adults.union_all(buyers).except_(select(User.id).where(User.id == 2)).order_by(User.id)
    expect(
        statement,
        "(\n"
        '    SELECT "users"."id"\n'
        '    FROM "users"\n'
        '    WHERE "users"."age" > $1\n'
        "    UNION ALL\n"
        '    SELECT "orders"."user_id"\n'
        '    FROM "orders"\n'
        ")\n"
        "EXCEPT\n"
        'SELECT "users"."id"\n'
        'FROM "users"\n'
        'WHERE "users"."id" = $2\n'
        'ORDER BY "id"',
        [18, 2],
    )
    assert run(filled, statement) == [(1,), (3,)]


def test_the_same_operation_goes_on_without_parentheses(filled: Shop) -> None:
    one = select(User.id).where(User.id == 1)
    statement = one.union_all(one).union_all(one)
    expect(
        statement,
        'SELECT "users"."id"\n'
        'FROM "users"\n'
        'WHERE "users"."id" = $1\n'
        "UNION ALL\n"
        'SELECT "users"."id"\n'
        'FROM "users"\n'
        'WHERE "users"."id" = $2\n'
        "UNION ALL\n"
        'SELECT "users"."id"\n'
        'FROM "users"\n'
        'WHERE "users"."id" = $3',
        [1, 1, 1],
    )
    assert sorted(run(filled, statement), key=str) == [(1,), (1,), (1,)]


def test_a_part_with_a_limit_of_its_own_stands_in_parentheses(filled: Shop) -> None:
    adults = select(User.id).where(User.age > 18)
    statement = adults.intersect(select(User.id).order_by(User.age.desc()).limit(1)).union(adults.intersect_all(adults).except_all(adults))
    expect(
        statement,
        "(\n"
        '    SELECT "users"."id"\n'
        '    FROM "users"\n'
        '    WHERE "users"."age" > $1\n'
        "    INTERSECT\n"
        "    (\n"
        '        SELECT "users"."id"\n'
        '        FROM "users"\n'
        '        ORDER BY "users"."age" DESC\n'
        "        LIMIT $2\n"
        "    )\n"
        ")\n"
        "UNION\n"
        "(\n"
        "    (\n"
        '        SELECT "users"."id"\n'
        '        FROM "users"\n'
        '        WHERE "users"."age" > $3\n'
        "        INTERSECT ALL\n"
        '        SELECT "users"."id"\n'
        '        FROM "users"\n'
        '        WHERE "users"."age" > $4\n'
        "    )\n"
        "    EXCEPT ALL\n"
        '    SELECT "users"."id"\n'
        '    FROM "users"\n'
        '    WHERE "users"."age" > $5\n'
        ")",
        [18, 1, 18, 18, 18],
    )
    assert run(filled, statement) == [(3,)]


def test_combined_queries_are_ordered_by_position_where_there_is_no_name(filled: Shop) -> None:
    total = sum_(Order.total)
    statement = (
        select(Order.user_id, total)
        .group_by(Order.user_id)
        .union_all(select(User.id, literal(decimal.Decimal(1))))
        .order_by(total, Order.user_id)
    )
    expect(
        statement,
        'SELECT "orders"."user_id", sum("orders"."total")\n'
        'FROM "orders"\n'
        'GROUP BY "orders"."user_id"\n'
        "UNION ALL\n"
        'SELECT "users"."id", $1::numeric\n'
        'FROM "users"\n'
        'ORDER BY 2, "user_id"',
        [decimal.Decimal(1)],
    )
    assert run(filled, statement) == [
        (1, decimal.Decimal(1)),
        (2, decimal.Decimal(1)),
        (3, decimal.Decimal(1)),
        (2, decimal.Decimal(5)),
        (1, decimal.Decimal("29.50")),
    ]


def test_combined_queries_stand_wherever_a_select_does(filled: Shop) -> None:
    either = select(User.id).where(User.age > 40).union(select(Order.user_id))
    table = either.subquery("either")
    statement = select(User.name).join(table, table[User.id] == User.id).where(User.id.in_(either)).order_by(User.name)
    expect(
        statement,
        'SELECT "users"."name"\n'
        'FROM "users"\n'
        "JOIN (\n"
        '    SELECT "users"."id"\n'
        '    FROM "users"\n'
        '    WHERE "users"."age" > $1\n'
        "    UNION\n"
        '    SELECT "orders"."user_id"\n'
        '    FROM "orders"\n'
        ') AS "either" ON "either"."id" = "users"."id"\n'
        'WHERE "users"."id" IN (\n'
        '    SELECT "users"."id"\n'
        '    FROM "users"\n'
        '    WHERE "users"."age" > $2\n'
        "    UNION\n"
        '    SELECT "orders"."user_id"\n'
        '    FROM "orders"\n'
        ")\n"
        'ORDER BY "users"."name"',
        [40, 40],
    )
    assert run(filled, statement) == [("Ada",), ("Bob",), ("Cyd",)]


def test_whole_models_are_combined(filled: Shop) -> None:
    young = select(User).where(User.age < 18)
    statement = young.union(select(User).where(User.age > 40)).order_by(User.age.desc())
    expect(
        statement,
        f"SELECT {USER}\n"
        'FROM "users"\n'
        'WHERE "users"."age" < $1\n'
        "UNION\n"
        f"SELECT {USER}\n"
        'FROM "users"\n'
        'WHERE "users"."age" > $2\n'
        'ORDER BY "age" DESC',
        [18, 40],
    )
    assert run(filled, statement) == [(3, "Cyd", 50, None, True, 1), (2, "Bob", 17, None, True, None)]


def test_rollup_gives_totals_and_says_which(filled: Shop) -> None:
    statement = (
        select(User.active, User.age, count(), grouping(User.active, User.age))
        .group_by(rollup(User.active, User.age))
        .order_by(User.active, User.age)
    )
    expect(
        statement,
        'SELECT "users"."active", "users"."age", count(*), grouping("users"."active", "users"."age")\n'
        'FROM "users"\n'
        'GROUP BY ROLLUP ("users"."active", "users"."age")\n'
        'ORDER BY "users"."active", "users"."age"',
        [],
    )
    assert run(filled, statement) == [(True, 17, 1, 0), (True, 36, 1, 0), (True, 50, 1, 0), (True, None, 3, 1), (None, None, 3, 3)]


def test_grouping_sets_may_be_empty(filled: Shop) -> None:
    statement = select(User.active, count()).group_by(grouping_sets((User.active, User.age), User.active, ())).order_by(count())
    expect(
        statement,
        'SELECT "users"."active", count(*)\n'
        'FROM "users"\n'
        'GROUP BY GROUPING SETS (("users"."active", "users"."age"), "users"."active", ())\n'
        "ORDER BY count(*)",
        [],
    )
    assert run(filled, statement) == [(True, 1), (True, 1), (True, 1), (None, 3), (True, 3)]


def test_cube_takes_combinations(filled: Shop) -> None:
    statement = select(count()).from_(User).group_by(User.active, cube(User.age, (User.name, User.id))).order_by(count().desc()).limit(1)
    expect(
        statement,
        "SELECT count(*)\n"
        'FROM "users"\n'
        'GROUP BY "users"."active", CUBE ("users"."age", ("users"."name", "users"."id"))\n'
        "ORDER BY count(*) DESC\n"
        "LIMIT $1",
        [1],
    )
    assert run(filled, statement) == [(3,)]


def test_grouping_by_a_named_item_never_means_a_column_of_that_name(filled: Shop) -> None:
    created_at = func.date_trunc("year", Order.created_at, returns=datetime.datetime).as_("created_at")
    statement = select(created_at, count()).group_by(created_at).order_by(created_at).having(count() > 100)
    expect(
        statement,
        'SELECT date_trunc($1::text, "orders"."created_at") AS "created_at", count(*)\n'
        'FROM "orders"\n'
        "GROUP BY 1\n"
        "HAVING count(*) > $2\n"
        'ORDER BY "created_at"',
        ["year", 100],
    )
    assert run(filled, statement) == []


def test_a_named_item_with_values_is_ordered_by_its_name(filled: Shop) -> None:
    younger = (User.age - 10).as_("younger")
    statement = select(younger, count()).where(User.id < 3).group_by(younger).order_by(younger.desc()).limit(1)
    expect(
        statement,
        'SELECT "users"."age" - $1 AS "younger", count(*)\n'
        'FROM "users"\n'
        'WHERE "users"."id" < $2\n'
        "GROUP BY 1\n"
        'ORDER BY "younger" DESC\n'
        "LIMIT $3",
        [10, 3, 1],
    )
    assert run(filled, statement) == [(26, 1)]
