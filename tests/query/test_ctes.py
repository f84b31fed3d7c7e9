"""WITH: exact SQL and values, and the rows of a real server."""

import decimal

from tests.query.shop import Order, User, run
from tests.query.statements import USER, Shop, expect
from trioorm.expression import count, exists, literal, sum_
from trioorm.query import Select, Table, delete, insert, select, sql, update


def test_a_cte_is_written_once_however_often_it_is_read(filled: Shop) -> None:
    recent = select(Order.id, Order.user_id, Order.total).where(Order.total > decimal.Decimal(6)).cte("recent", materialized=True)
    dear = select(recent[Order.id]).where(recent[Order.total] > decimal.Decimal(15))
    statement = select(recent[Order.id], User.name).join(User, recent[Order.user_id] == User.id).where(recent[Order.id].not_in(dear))
    expect(
        statement,
        'WITH "recent" AS MATERIALIZED (\n'
        '    SELECT "orders"."id", "orders"."user_id", "orders"."total"\n'
        '    FROM "orders"\n'
        '    WHERE "orders"."total" > $1\n'
        ")\n"
        'SELECT "recent"."id", "users"."name"\n'
        'FROM "recent"\n'
        'JOIN "users" ON "recent"."user_id" = "users"."id"\n'
        'WHERE "recent"."id" NOT IN (\n'
        '    SELECT "recent"."id"\n'
        '    FROM "recent"\n'
        '    WHERE "recent"."total" > $2\n'
        ")",
        [decimal.Decimal(6), decimal.Decimal(15)],
    )
    assert sorted(run(filled, statement), key=str) == [(1, "Ada")]


def test_a_recursive_cte_walks_down(filled: Shop) -> None:
    boss = select(User.id, User.name, literal(1).as_("depth")).where(User.manager_id.is_null())

    def below(team: Table) -> Select[tuple[int, str, int]]:
        return select(User.id, User.name, team.column("depth", int) + 1).join(team, User.manager_id == team[User.id])

    team = boss.recursive_cte("team", below)
    statement = select(team[User.name], team.column("depth", int)).order_by(team[User.name])
    expect(
        statement,
        'WITH RECURSIVE "team" AS (\n'
        '    SELECT "users"."id", "users"."name", $1::bigint AS "depth"\n'
        '    FROM "users"\n'
        '    WHERE "users"."manager_id" IS NULL\n'
        "    UNION ALL\n"
        '    SELECT "users"."id", "users"."name", "team"."depth" + $2\n'
        '    FROM "users"\n'
        '    JOIN "team" ON "team"."id" = "users"."manager_id"\n'
        ")\n"
        'SELECT "team"."name", "team"."depth"\n'
        'FROM "team"\n'
        'ORDER BY "team"."name"',
        [1, 1],
    )
    assert run(filled, statement) == [("Ada", 1), ("Bob", 1), ("Cyd", 2)]


def test_a_recursive_cte_has_an_order_and_minds_circles(filled: Shop) -> None:
    boss = select(User.id, User.name).where(User.manager_id.is_null())
    team = (
        boss.recursive_cte("team", lambda team: select(User.id, User.name).join(team, User.manager_id == team[User.id]))
        .search_depth_first(User.id)
        .cycle(User.id)
    )
    statement = select(team[User.name], team.column("is_cycle", bool)).order_by(team.column("search_order"))
    expect(
        statement,
        'WITH RECURSIVE "team" AS (\n'
        '    SELECT "users"."id", "users"."name"\n'
        '    FROM "users"\n'
        '    WHERE "users"."manager_id" IS NULL\n'
        "    UNION ALL\n"
        '    SELECT "users"."id", "users"."name"\n'
        '    FROM "users"\n'
        '    JOIN "team" ON "team"."id" = "users"."manager_id"\n'
        ') SEARCH DEPTH FIRST BY "id" SET "search_order" CYCLE "id" SET "is_cycle" USING "cycle_path"\n'
        'SELECT "team"."name", "team"."is_cycle"\n'
        'FROM "team"\n'
        'ORDER BY "team"."search_order"',
        [],
    )
    assert run(filled, statement) == [("Ada", False), ("Cyd", False), ("Bob", False)]


def test_a_recursive_cte_of_models_without_repetitions(filled: Shop) -> None:
    team = (
        select(User)
        .where(User.id == 1)
        .recursive_cte("team", lambda team: select(User).join(team, User.manager_id == team[User].id), distinct=True)
        .search_breadth_first(User.id, column="round")
    )
    statement = select(team[User].name).order_by(team.column("round"))
    expect(
        statement,
        'WITH RECURSIVE "team" AS (\n'
        f"    SELECT {USER}\n"
        '    FROM "users"\n'
        '    WHERE "users"."id" = $1\n'
        "    UNION\n"
        f"    SELECT {USER}\n"
        '    FROM "users"\n'
        '    JOIN "team" ON "team"."id" = "users"."manager_id"\n'
        ') SEARCH BREADTH FIRST BY "id" SET "round"\n'
        'SELECT "team"."name"\n'
        'FROM "team"\n'
        'ORDER BY "team"."round"',
        [1],
    )
    assert run(filled, statement) == [("Ada",), ("Cyd",)]


def test_rows_deleted_are_read_by_the_same_statement(filled: Shop) -> None:
    gone = delete(Order).where(Order.total < decimal.Decimal(6)).returning(Order.id, Order.total).cte("gone")
    statement = select(count(), sum_(gone[Order.total])).from_(gone)
    expect(
        statement,
        'WITH "gone" AS (\n'
        '    DELETE FROM "orders"\n'
        '    WHERE "orders"."total" < $1\n'
        '    RETURNING "orders"."id", "orders"."total"\n'
        ")\n"
        'SELECT count(*), sum("gone"."total")\n'
        'FROM "gone"',
        [decimal.Decimal(6)],
    )
    assert sorted(run(filled, statement), key=str) == [(1, decimal.Decimal(5))]


def test_a_write_nothing_reads_from_goes_along(filled: Shop) -> None:
    birthday = update(User).set(User.age, 37).where(User.id == 1).cte("birthday")
    statement = select(User.age).where(User.id == 1).with_(birthday)
    expect(
        statement,
        'WITH "birthday" AS (\n'
        '    UPDATE "users"\n'
        '    SET "age" = $1\n'
        '    WHERE "users"."id" = $2\n'
        ")\n"
        'SELECT "users"."age"\n'
        'FROM "users"\n'
        'WHERE "users"."id" = $3',
        [37, 1, 1],
    )
    assert sorted(run(filled, statement), key=str) == [(36,)]


def test_an_insert_reads_from_a_delete(filled: Shop) -> None:
    gone = delete(Order).where(Order.id == 3).returning(Order).cte("gone")
    moved = select(literal(2).as_("user_id"), gone[Order].total, gone[Order].weight, gone[Order].status, gone[Order].tags)
    statement = insert(Order).from_select(moved).returning(Order.id, Order.total)
    expect(
        statement,
        'WITH "gone" AS (\n'
        '    DELETE FROM "orders"\n'
        '    WHERE "orders"."id" = $2\n'
        '    RETURNING "orders"."id", "orders"."user_id", "orders"."total", "orders"."weight", "orders"."status", '
        '"orders"."tags", "orders"."extra", "orders"."paid_at", "orders"."created_at"\n'
        ")\n"
        'INSERT INTO "orders" ("user_id", "total", "weight", "status", "tags")\n'
        'SELECT $1::bigint AS "user_id", "gone"."total", "gone"."weight", "gone"."status", "gone"."tags"\n'
        'FROM "gone"\n'
        'RETURNING "orders"."id", "orders"."total"',
        [2, 3],
    )
    assert sorted(run(filled, statement), key=str) == [(4, decimal.Decimal(5))]


def test_a_delete_looks_into_a_cte(filled: Shop) -> None:
    idle = select(User.id).where(~exists(select(Order.id).where(Order.user_id == User.id))).cte("idle")
    statement = delete(User).using(idle).where(User.id == idle[User.id]).returning(User.name)
    expect(
        statement,
        'WITH "idle" AS (\n'
        '    SELECT "users"."id"\n'
        '    FROM "users"\n'
        "    WHERE NOT EXISTS (\n"
        '        SELECT "orders"."id"\n'
        '        FROM "orders"\n'
        '        WHERE "orders"."user_id" = "users"."id"\n'
        "    )\n"
        ")\n"
        'DELETE FROM "users"\n'
        'USING "idle"\n'
        'WHERE "idle"."id" = "users"."id"\n'
        'RETURNING "users"."name"',
        [],
    )
    assert sorted(run(filled, statement), key=str) == [("Cyd",)]


def test_sql_of_ones_own_reads_from_a_cte(filled: Shop) -> None:
    old_ones = select(User.id, User.age).where(User.age > 20).cte("old_ones")
    statement = sql("SELECT o.id FROM {old_ones} AS o WHERE o.age < {most} ORDER BY 1", old_ones=old_ones, most=40)
    expect(
        statement,
        'WITH "old_ones" AS (\n'
        '    SELECT "users"."id", "users"."age"\n'
        '    FROM "users"\n'
        '    WHERE "users"."age" > $1\n'
        ")\n"
        'SELECT o.id FROM "old_ones" AS o WHERE o.age < $2 ORDER BY 1',
        [20, 40],
    )
    assert run(filled, statement) == [(1,)]
