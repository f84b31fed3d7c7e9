"""All that insert, update, delete and merge can say: exact SQL and values, and the rows of a real server."""

import decimal

import pytest

from tests.query.shop import Order, User, run
from tests.query.statements import Shop, expect
from trioorm.compiler import compile_statement, shape_and_values
from trioorm.errors import QueryError
from trioorm.expression import cast, count, literal, lower, max_
from trioorm.query import (
    Statement,
    alias,
    create_table_as,
    excluded,
    insert,
    merge,
    merge_action,
    new,
    old,
    optional,
    select,
    update,
    values_table,
)


def test_rows_are_inserted_from_a_select(filled: Shop) -> None:
    statement = (
        insert(User)
        .from_select(select((User.name + "2").as_("name"), User.age, User.active).where(User.id == 1))
        .returning(User.name, User.age)
    )
    expect(
        statement,
        'INSERT INTO "users" ("name", "age", "active")\n'
        'SELECT "users"."name" || $1 AS "name", "users"."age", "users"."active"\n'
        'FROM "users"\n'
        'WHERE "users"."id" = $2\n'
        'RETURNING "users"."name", "users"."age"',
        ["2", 1],
    )
    assert sorted(run(filled, statement), key=str) == [("Ada2", 36)]


def test_rows_are_inserted_from_a_select_into_named_columns(filled: Shop) -> None:
    source = select(User.age, User.name, literal(False)).where(User.id == 2)
    statement = insert(User).from_select(source, User.age, User.name, User.active).returning(User.name, User.active)
    expect(
        statement,
        'INSERT INTO "users" ("age", "name", "active")\n'
        'SELECT "users"."age", "users"."name", $1::boolean\n'
        'FROM "users"\n'
        'WHERE "users"."id" = $2\n'
        'RETURNING "users"."name", "users"."active"',
        [False, 2],
    )
    assert sorted(run(filled, statement), key=str) == [("Bob", False)]


def test_identity_columns_are_overridden(filled: Shop) -> None:
    statement = insert(User).values({"id": 77, "name": "z", "age": 1}).overriding_system_value().returning(User.id)
    expect(
        statement,
        'INSERT INTO "users" ("id", "name", "age", "email", "active", "manager_id")\n'
        "OVERRIDING SYSTEM VALUE\n"
        "VALUES ($1, $2, $3, $4, $5, $6)\n"
        'RETURNING "users"."id"',
        [77, "z", 1, None, True, None],
    )
    assert sorted(run(filled, statement), key=str) == [(77,)]


def test_identity_columns_are_generated_all_the_same(filled: Shop) -> None:
    statement = insert(User).values({"id": 77, "name": "z", "age": 1}).overriding_user_value().returning(User.id)
    expect(
        statement,
        'INSERT INTO "users" ("id", "name", "age", "email", "active", "manager_id")\n'
        "OVERRIDING USER VALUE\n"
        "VALUES ($1, $2, $3, $4, $5, $6)\n"
        'RETURNING "users"."id"',
        [77, "z", 1, None, True, None],
    )
    assert sorted(run(filled, statement), key=str) == [(4,)]


def test_a_conflict_is_found_by_an_expression_and_a_condition(filled: Shop) -> None:
    filled.execute(b"CREATE UNIQUE INDEX users_lower ON users (lower(name)) WHERE active")
    statement = (
        insert(User)
        .values({"name": "ADA", "age": 1})
        .on_conflict(lower(User.name), where=User.active)
        .do_update(set={User.age: User.age + excluded(User).age})
        .returning(User.id, User.age)
    )
    expect(
        statement,
        'INSERT INTO "users" ("name", "age", "email", "active", "manager_id")\n'
        "VALUES ($1, $2, $3, $4, $5)\n"
        'ON CONFLICT (lower("users"."name")) WHERE "users"."active" DO UPDATE SET "age" = "users"."age" + "excluded"."age"\n'
        'RETURNING "users"."id", "users"."age"',
        ["ADA", 1, None, True, None],
    )
    assert sorted(run(filled, statement), key=str) == [(1, 37)]


def test_returning_knows_the_row_before_and_after(filled: Shop) -> None:
    statement = update(User).set(User.age, User.age + 1).where(User.id == 1).returning(old(User).age, new(User).age)
    expect(
        statement,
        'UPDATE "users"\nSET "age" = "users"."age" + $1\nWHERE "users"."id" = $2\nRETURNING "old"."age", "new"."age"',
        [1, 1],
    )
    assert sorted(run(filled, statement), key=str) == [(36, 37)]


def test_an_upsert_knows_whether_there_was_a_row(filled: Shop) -> None:
    statement = (
        insert(User)
        .values({"id": 1, "name": "z", "age": 1})
        .on_conflict(User.id)
        .do_update(User.age)
        .returning(optional(old(User).age), User.age)
    )
    expect(
        statement,
        'INSERT INTO "users" ("id", "name", "age", "email", "active", "manager_id")\n'
        "VALUES ($1, $2, $3, $4, $5, $6)\n"
        'ON CONFLICT ("id") DO UPDATE SET "age" = "excluded"."age"\n'
        'RETURNING "old"."age", "users"."age"',
        [1, "z", 1, None, True, None],
    )
    assert sorted(run(filled, statement), key=str) == [(36, 1)]


def test_each_row_gets_values_of_its_own(filled: Shop) -> None:
    statement = (
        update(User)
        .set_each([{"id": 1, "age": 30, "email": None}, {"id": 2, "age": 31, "email": "b@x"}])
        .returning(User.id, User.age, User.email)
    )
    expect(
        statement,
        'UPDATE "users"\n'
        'SET "age" = "rows"."age", "email" = "rows"."email"\n'
        'FROM unnest($1::bigint[], $2::smallint[], $3::text[]) AS "rows" ("id", "age", "email")\n'
        'WHERE "rows"."id" = "users"."id"\n'
        'RETURNING "users"."id", "users"."age", "users"."email"',
        [[1, 2], [30, 31], [None, "b@x"]],
    )
    assert sorted(run(filled, statement), key=str) == [(1, 30, None), (2, 31, "b@x")]


def test_tuples_give_each_row_its_values(filled: Shop) -> None:
    def build(*rows: tuple[object, ...]) -> Statement[tuple[int, int]]:
        return update(User).set_each(rows, columns=[User.age, User.email], key=User.email).where(User.id < 9).returning(User.id, User.age)

    for statement in (build((31, "ada@x")), build((30, "ada@x"), (1, "b@x"))):  # the second is found by the first one's step
        text = str(statement)
        assert 'FROM unnest($1::text[], $2::smallint[]) AS "rows" ("email", "age")\nWHERE "rows"."email" = "users"."email"' in text
    assert shape_and_values(statement)[1] == [["ada@x", "b@x"], [30, 1], 9]
    assert run(filled, statement) == [(1, 30)]


def test_each_row_gets_an_array_of_its_own(filled: Shop) -> None:
    statement = (
        update(Order)
        .set_each([{"id": 1, "tags": ["x"], "extra": None}, {"id": 2, "tags": [], "extra": {"a": 1}}])
        .returning(Order.id, Order.tags, Order.extra)
    )
    expect(
        statement,
        'UPDATE "orders"\n'
        'SET "tags" = "rows"."tags", "extra" = "rows"."extra"\n'
        'FROM (VALUES ($1::bigint, $2::text[], NULL), ($3, $4, $5)) AS "rows" ("id", "tags", "extra")\n'
        'WHERE "rows"."id" = "orders"."id"\n'
        'RETURNING "orders"."id", "orders"."tags", "orders"."extra"',
        [1, ["x"], 2, [], {"a": 1}],
    )
    assert sorted(run(filled, statement), key=str) == [(1, ["x"], None), (2, [], {"a": 1})]


def test_objects_give_each_row_its_values(filled: Shop) -> None:
    statement = (
        update(User).set_each([User(name="Q", age=3, email="ada@x")], User.age, key=User.email).returning(User.id, User.name, User.age)
    )
    expect(
        statement,
        'UPDATE "users"\n'
        'SET "age" = "rows"."age"\n'
        'FROM unnest($1::text[], $2::smallint[]) AS "rows" ("email", "age")\n'
        'WHERE "rows"."email" = "users"."email"\n'
        'RETURNING "users"."id", "users"."name", "users"."age"',
        [["ada@x"], [3]],
    )
    assert sorted(run(filled, statement), key=str) == [(1, "Ada", 3)]


def test_an_update_reads_from_joined_tables(filled: Shop) -> None:
    other = alias(User, "other")
    statement = (
        update(User)
        .set(User.name, other.name + "!")
        .from_(Order)
        .join(other, other.id == Order.user_id)
        .where(User.id == 3, Order.id == 3)
        .returning(User.name)
    )
    expect(
        statement,
        'UPDATE "users"\n'
        'SET "name" = "other"."name" || $1\n'
        'FROM "orders"\n'
        'JOIN "users" AS "other" ON "other"."id" = "orders"."user_id"\n'
        'WHERE "users"."id" = $2 AND "orders"."id" = $3\n'
        'RETURNING "users"."name"',
        ["!", 3, 3],
    )
    assert sorted(run(filled, statement), key=str) == [("Bob!",)]


def test_an_update_reads_from_a_subquery(filled: Shop) -> None:
    number = count().as_("number")
    sums = select(Order.user_id, number).group_by(Order.user_id).subquery("sums")
    statement = (
        update(User).set(User.name, cast(sums[number], str)).using(sums).where(User.id == sums[Order.user_id]).returning(User.id, User.name)
    )
    expect(
        statement,
        'UPDATE "users"\n'
        'SET "name" = "sums"."number"::text\n'
        "FROM (\n"
        '    SELECT "orders"."user_id", count(*) AS "number"\n'
        '    FROM "orders"\n'
        '    GROUP BY "orders"."user_id"\n'
        ') AS "sums"\n'
        'WHERE "sums"."user_id" = "users"."id"\n'
        'RETURNING "users"."id", "users"."name"',
        [],
    )
    assert sorted(run(filled, statement), key=str) == [(1, "2"), (2, "1")]


def test_a_merge_inserts_changes_and_removes(filled: Shop) -> None:
    rows: list[tuple[int, int]] = [(1, 40), (2, 50), (999, 3)]
    source = values_table("source", rows)
    number, age = source.columns
    statement = (
        merge(User)
        .using(source, on=User.id == number)
        .when_matched(age > 45)
        .delete()
        .when_matched()
        .update({User.age: age})
        .when_not_matched(age < 5)
        .insert({User.name: "new", User.age: age, User.active: True})
        .when_not_matched_by_source(User.id == 3)
        .do_nothing()
        .returning(merge_action(), optional(old(User).age), optional(new(User).age))
    )
    expect(
        statement,
        'MERGE INTO "users"\n'
        'USING (VALUES ($1::bigint, $2::bigint), ($3, $4), ($5, $6)) AS "source" ("column1", '
        '"column2") ON "source"."column1" = "users"."id"\n'
        'WHEN MATCHED AND ("source"."column2" > $7) THEN DELETE\n'
        'WHEN MATCHED THEN UPDATE SET "age" = "source"."column2"\n'
        'WHEN NOT MATCHED AND ("source"."column2" < $8) THEN INSERT ("name", "age", "active") VALUES ($9, "source"."column2", $10)\n'
        'WHEN NOT MATCHED BY SOURCE AND ("users"."id" = $11) THEN DO NOTHING\n'
        'RETURNING merge_action(), "old"."age", "new"."age"',
        [1, 40, 2, 50, 999, 3, 45, 5, "new", True, 3],
    )
    assert sorted(run(filled, statement), key=str) == [("DELETE", 17, None), ("INSERT", None, 3), ("UPDATE", 36, 40)]


def test_a_merge_reads_from_a_cte(filled: Shop) -> None:
    source = select(Order.user_id, max_(Order.total).as_("most")).group_by(Order.user_id).cte("source")
    statement = (
        merge(User)
        .using(source, on=User.id == source[Order.user_id])
        .when_matched()
        .update({"name": cast(source.column("most", decimal.Decimal), str)})
        .when_not_matched_by_source()
        .delete()
        .returning(merge_action(), User.name)
    )
    expect(
        statement,
        'WITH "source" AS (\n'
        '    SELECT "orders"."user_id", max("orders"."total") AS "most"\n'
        '    FROM "orders"\n'
        '    GROUP BY "orders"."user_id"\n'
        ")\n"
        'MERGE INTO "users"\n'
        'USING "source" ON "source"."user_id" = "users"."id"\n'
        'WHEN MATCHED THEN UPDATE SET "name" = "source"."most"::text\n'
        "WHEN NOT MATCHED BY SOURCE THEN DELETE\n"
        'RETURNING merge_action(), "users"."name"',
        [],
    )
    assert sorted(run(filled, statement), key=str) == [("DELETE", "Cyd"), ("UPDATE", "20"), ("UPDATE", "5")]


def test_a_table_is_made_from_a_select(filled: Shop) -> None:
    dear = select(Order.id, Order.total, User.id).join(User, User.id == Order.user_id).where(Order.total > decimal.Decimal(6)).cte("dear")
    copy = create_table_as("a copy", select(dear[Order.total], dear[User.id], literal("x").as_("kind")))
    expect(
        copy,
        'CREATE TABLE "a copy" AS\nWITH "dear" ("id", "total", "users_id") AS (\n'
        '    SELECT "orders"."id", "orders"."total", "users"."id"\n    FROM "orders"\n'
        '    JOIN "users" ON "users"."id" = "orders"."user_id"\n    WHERE "orders"."total" > $2\n)\n'
        'SELECT "dear"."total", "dear"."users_id", $1::text AS "kind"\nFROM "dear"',
        ["x", decimal.Decimal(6)],
    )
    run(filled, copy)
    read = select(copy.table[dear[Order.total]], copy.table.column("kind", str)).where(copy.table[dear[User.id]] == 1)
    assert compile_statement(read).text == 'SELECT "a copy"."total", "a copy"."kind"\nFROM "a copy"\nWHERE "a copy"."users_id" = $1'
    assert run(filled, read.order_by(copy.table[dear[Order.total]])) == [(decimal.Decimal("9.50"), "x"), (decimal.Decimal(20), "x")]
    assert compile_statement(copy).is_write
    twice = create_table_as("twice", select(User, User.id), schema="public")
    assert compile_statement(twice).text.startswith(
        'CREATE TABLE "public"."twice" ("id", "name", "age", "email", "active", "manager_id", "users_id") AS'
    )
    run(filled, twice)
    assert run(filled, select(twice.table[User]).where(twice.table[User].age > 0)) == run(filled, select(User).where(User.age > 0))
    filled.execute('DROP TABLE "a copy", twice')
    passing = create_table_as("passing", select(User.id, User.id), temporary=True)
    assert compile_statement(passing).text.startswith('CREATE TEMPORARY TABLE "passing" ("id", "users_id") ON COMMIT DROP AS\nSELECT')
    with pytest.raises(QueryError, match="name"):
        create_table_as("", select(User.id))
