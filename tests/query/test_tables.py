"""Tables besides models in FROM: subqueries, LATERAL, functions, lists of values: exact SQL and values, and the rows of a real server."""

import datetime
import decimal

from tests.query.shop import Line, Order, User, run
from tests.query.statements import USER, Shop, expect
from trioorm.expression import JSONB, count, func, literal, max_, min_, sum_
from trioorm.query import generate_series, optional, select, table_function, unnest, values_table


def test_a_subquery_gives_its_columns_by_what_they_were_selected_as(filled: Shop) -> None:
    spent = sum_(Order.total).as_("spent")
    top = select(Order.user_id, spent).where(Order.total > decimal.Decimal(1)).group_by(Order.user_id).subquery("top")
    statement = select(User.name, top[spent]).join(top, top[Order.user_id] == User.id).where(User.active).order_by(User.name)
    expect(
        statement,
        'SELECT "users"."name", "top"."spent"\n'
        'FROM "users"\n'
        "JOIN (\n"
        '    SELECT "orders"."user_id", sum("orders"."total") AS "spent"\n'
        '    FROM "orders"\n'
        '    WHERE "orders"."total" > $1\n'
        '    GROUP BY "orders"."user_id"\n'
        ') AS "top" ON "top"."user_id" = "users"."id"\n'
        'WHERE "users"."active"\n'
        'ORDER BY "users"."name"',
        [decimal.Decimal(1)],
    )
    assert run(filled, statement) == [("Ada", decimal.Decimal("29.50")), ("Bob", decimal.Decimal(5))]


def test_a_column_of_a_subquery_says_where_it_is_read_from(filled: Shop) -> None:
    old_ones = select(User.id, User.age).where(User.age > 20).subquery("old_ones")
    statement = select(old_ones[User.id]).where(old_ones.column("age", int) < 40)
    expect(
        statement,
        'SELECT "old_ones"."id"\n'
        "FROM (\n"
        '    SELECT "users"."id", "users"."age"\n'
        '    FROM "users"\n'
        '    WHERE "users"."age" > $1\n'
        ') AS "old_ones"\n'
        'WHERE "old_ones"."age" < $2',
        [20, 40],
    )
    assert sorted(run(filled, statement), key=str) == [(1,)]


def test_a_subquery_of_whole_models_tells_equal_names_apart(filled: Shop) -> None:
    both = select(Line, User).join(Order, Order.id == Line.order_id).join(User, User.id == Order.user_id).subquery("both")
    again = select(both[Line].order_id, both[Line].number, both[User].id, both[User].name).where(both[User].age > 3).subquery("again")
    statement = select(again[both[User].name]).where(again[both[Line].number] > 1)
    expect(
        statement,
        'SELECT "again"."name"\n'
        "FROM (\n"
        '    SELECT "both"."order_id", "both"."number", "both"."id", "both"."name"\n'
        "    FROM (\n"
        f'        SELECT "order_lines"."order_id", "order_lines"."number", "order_lines"."article", "order_lines"."amount", '
        f'"order_lines"."price", "order_lines"."sum", {USER}\n'
        '        FROM "order_lines"\n'
        '        JOIN "orders" ON "orders"."id" = "order_lines"."order_id"\n'
        '        JOIN "users" ON "users"."id" = "orders"."user_id"\n'
        '    ) AS "both"\n'
        '    WHERE "both"."age" > $1\n'
        ') AS "again"\n'
        'WHERE "again"."number" > $2',
        [3, 1],
    )
    assert sorted(run(filled, statement), key=str) == []


def test_a_model_is_read_from_a_subquery_as_from_an_alias(filled: Shop) -> None:
    adults = select(User).where(User.age >= 18).subquery("adults")
    statement = select(adults[User], Order.id).join(Order, Order.user_id == adults[User].id).order_by(Order.id)
    expect(
        statement,
        'SELECT "adults"."id", "adults"."name", "adults"."age", "adults"."email", "adults"."active", "adults"."manager_id", '
        '"orders"."id"\n'
        "FROM (\n"
        f"    SELECT {USER}\n"
        '    FROM "users"\n'
        '    WHERE "users"."age" >= $1\n'
        ') AS "adults"\n'
        'JOIN "orders" ON "adults"."id" = "orders"."user_id"\n'
        'ORDER BY "orders"."id"',
        [18],
    )
    assert run(filled, statement) == [(1, "Ada", 36, "ada@x", True, None, 1), (1, "Ada", 36, "ada@x", True, None, 2)]


def test_a_lateral_subquery_sees_the_tables_before_it(filled: Shop) -> None:
    best = select(Order.id, Order.total).where(Order.user_id == User.id).order_by(Order.total.desc()).limit(1).lateral("best")
    statement = select(User.name, optional(best[Order.total])).left_join(best).order_by(User.id)
    expect(
        statement,
        'SELECT "users"."name", "best"."total"\n'
        'FROM "users"\n'
        "LEFT JOIN LATERAL (\n"
        '    SELECT "orders"."id", "orders"."total"\n'
        '    FROM "orders"\n'
        '    WHERE "orders"."user_id" = "users"."id"\n'
        '    ORDER BY "orders"."total" DESC\n'
        "    LIMIT $1\n"
        ') AS "best" ON TRUE\n'
        'ORDER BY "users"."id"',
        [1],
    )
    assert run(filled, statement) == [("Ada", decimal.Decimal(20)), ("Bob", decimal.Decimal(5)), ("Cyd", None)]


def test_a_subquery_twice_has_two_names(filled: Shop) -> None:
    one = select(User.id, User.age).subquery("one")
    two = one.alias("two")
    statement = select(one[User.id], two[User.id]).join(two, one[User.age] < two[User.age]).order_by(one[User.id], two[User.id])
    expect(
        statement,
        'SELECT "one"."id", "two"."id"\n'
        "FROM (\n"
        '    SELECT "users"."id", "users"."age"\n'
        '    FROM "users"\n'
        ') AS "one"\n'
        "JOIN (\n"
        '    SELECT "users"."id", "users"."age"\n'
        '    FROM "users"\n'
        ') AS "two" ON "one"."age" < "two"."age"\n'
        'ORDER BY "one"."id", "two"."id"',
        [],
    )
    assert run(filled, statement) == [(1, 3), (2, 1), (2, 3)]


def test_values_are_a_table(filled: Shop) -> None:
    given = values_table("given", [(1, "x"), (2, None)])
    number, text = given.columns
    statement = select(User.name, text).join(given, number == User.id).order_by(number)
    expect(
        statement,
        'SELECT "users"."name", "given"."column2"\n'
        'FROM "users"\n'
        'JOIN (VALUES ($1::bigint, $2::text), ($3, NULL)) AS "given" ("column1", "column2") ON "given"."column1" = "users"."id"\n'
        'ORDER BY "given"."column1"',
        [1, "x", 2],
    )
    assert run(filled, statement) == [("Ada", "x"), ("Bob", None)]


def test_unnest_numbers_the_elements_of_several_arrays(filled: Shop) -> None:
    rows = unnest([1, 2, 3], ["a", "b", "c"], name="rows").with_ordinality()
    number, text = rows.columns
    statement = select(number, text, rows.ordinality).order_by(rows.ordinality.desc())
    expect(
        statement,
        'SELECT "rows"."column1", "rows"."column2", "rows"."ordinality"\n'
        'FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS "rows" ("column1", "column2", "ordinality")\n'
        'ORDER BY "rows"."ordinality" DESC',
        [[1, 2, 3], ["a", "b", "c"]],
    )
    assert run(filled, statement) == [(3, "c", 3), (2, "b", 2), (1, "a", 1)]


def test_unnest_of_a_column_is_lateral_by_itself(filled: Shop) -> None:
    tag = unnest(Order.tags, name="tag")
    statement = select(Order.id, tag.value).cross_join(tag).order_by(Order.id, tag.value)
    expect(
        statement,
        'SELECT "orders"."id", "tag"."value"\n'
        'FROM "orders"\n'
        'CROSS JOIN unnest("orders"."tags") AS "tag" ("value")\n'
        'ORDER BY "orders"."id", "tag"."value"',
        [],
    )
    assert run(filled, statement) == [(1, "a"), (1, "b"), (3, "b")]


def test_a_series_has_rows_where_a_table_has_none(filled: Shop) -> None:
    number = generate_series(1, 4, name="number")
    statement = select(number.value, count(User.id)).left_join(User, User.id == number.value).group_by(number.value).order_by(number.value)
    expect(
        statement,
        'SELECT "number"."value", count("users"."id")\n'
        'FROM generate_series($1::bigint, $2::bigint) AS "number" ("value")\n'
        'LEFT JOIN "users" ON "number"."value" = "users"."id"\n'
        'GROUP BY "number"."value"\n'
        'ORDER BY "number"."value"',
        [1, 4],
    )
    assert run(filled, statement) == [(1, 1), (2, 1), (3, 1), (4, 0)]


def test_a_series_of_moments_has_a_step(filled: Shop) -> None:
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    day = generate_series(start, start + datetime.timedelta(days=1), datetime.timedelta(hours=12), name="day")
    statement = select(count(day.value), max_(day.value) - min_(day.value)).from_(day)
    expect(
        statement,
        'SELECT count("day"."value"), max("day"."value") - min("day"."value")\n'
        'FROM generate_series($1::timestamptz, $2::timestamptz, $3::interval) AS "day" ("value")',
        [
            datetime.datetime(2024, 1, 1, 0, 0, tzinfo=datetime.UTC),
            datetime.datetime(2024, 1, 2, 0, 0, tzinfo=datetime.UTC),
            datetime.timedelta(seconds=43200),
        ],
    )
    assert sorted(run(filled, statement), key=str) == [(3, datetime.timedelta(days=1))]


def test_the_rows_of_any_function_are_a_table(filled: Shop) -> None:
    key = table_function(func.jsonb_object_keys(Order.extra, returns=str), "key")
    statement = select(Order.id, key.value).cross_join(key)
    expect(
        statement,
        'SELECT "orders"."id", "key"."value"\nFROM "orders"\nCROSS JOIN jsonb_object_keys("orders"."extra") AS "key" ("value")',
        [],
    )
    assert sorted(run(filled, statement), key=str) == [(1, "k")]


def test_records_of_json_are_read_by_name(filled: Shop) -> None:
    payload = literal([{"id": 7, "name": "q"}], type=JSONB)
    record = table_function(func.jsonb_to_recordset(payload), "record", columns={"id": int, "name": str})
    statement = select(record.column("id", int), record.column("name", str))
    expect(
        statement,
        'SELECT "record"."id", "record"."name"\nFROM jsonb_to_recordset($1::jsonb) AS "record" ("id" bigint, "name" text)',
        [[{"id": 7, "name": "q"}]],
    )
    assert sorted(run(filled, statement), key=str) == [(7, "q")]


def test_records_of_json_are_read_as_a_model(filled: Shop) -> None:
    payload = literal([{"order_id": 7, "number": 1, "article": "x"}], type=JSONB)
    line = table_function(func.jsonb_to_recordset(payload), "line", columns=Line)
    statement = select(line.order_id, line.article)
    expect(
        statement,
        'SELECT "line"."order_id", "line"."article"\n'
        'FROM jsonb_to_recordset($1::jsonb) AS "line" ("order_id" bigint, "number" bigint, "article" text, "amount" bigint, '
        '"price" numeric, "sum" numeric)',
        [[{"order_id": 7, "number": 1, "article": "x"}]],
    )
    assert sorted(run(filled, statement), key=str) == [(7, "x")]


def test_a_sample_is_a_part_of_a_table(filled: Shop) -> None:
    statement = select(User.id).tablesample(100, seed=3)
    expect(
        statement,
        'SELECT "users"."id"\nFROM "users" TABLESAMPLE BERNOULLI ($1::double precision) REPEATABLE ($2::double precision)',
        [100.0, 3.0],
    )
    assert sorted(run(filled, statement), key=str) == [(1,), (2,), (3,)]


def test_a_scalar_subquery_is_a_value(filled: Shop) -> None:
    orders = select(count()).from_(Order).where(Order.user_id == User.id)
    statement = select(User.name, orders.as_("orders")).where(orders < 2).order_by(User.name)
    expect(
        statement,
        'SELECT "users"."name", (\n'
        "    SELECT count(*)\n"
        '    FROM "orders"\n'
        '    WHERE "orders"."user_id" = "users"."id"\n'
        ') AS "orders"\n'
        'FROM "users"\n'
        "WHERE (\n"
        "    SELECT count(*)\n"
        '    FROM "orders"\n'
        '    WHERE "orders"."user_id" = "users"."id"\n'
        ") < $1\n"
        'ORDER BY "users"."name"',
        [2],
    )
    assert run(filled, statement) == [("Bob", 1), ("Cyd", 0)]
