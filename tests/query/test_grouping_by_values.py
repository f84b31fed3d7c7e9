"""Terms that hold values: what is selected and grouped by must be one expression to PostgreSQL, though each use binds values of its own."""

import decimal
import itertools
from collections.abc import Callable
from typing import Any

import psycopg

from tests.query.shop import Order, User, run
from trioorm.compiler import compile_statement
from trioorm.expression import count, func, max_
from trioorm.query import Select, cube, grouping, grouping_sets, rollup, select

Shop = psycopg.Connection[Any]
Clause = Callable[[Select[int]], Select[int]]

DECADE = User.age / 10


def text(statement: Any) -> str:  # noqa: ANN401 - any statement
    return compile_statement(statement).text.replace("\n", " ")


def test_a_term_with_values_that_is_selected_goes_by_its_position(shop: Shop) -> None:
    grouped = select(DECADE, count()).group_by(User.age / 10).order_by((User.age / 10).desc(), count())
    assert text(grouped) == 'SELECT "users"."age" / $1, count(*) FROM "users" GROUP BY 1 ORDER BY 1 DESC, count(*)'
    assert grouped.bind_values == (10,)
    assert run(shop, grouped) == []


def test_the_columns_of_models_are_counted(shop: Shop) -> None:
    grouped = select(User, DECADE, count()).group_by(User.id, DECADE).order_by(DECADE)
    assert text(grouped).endswith('"users"."age" / $1, count(*) FROM "users" GROUP BY "users"."id", 7 ORDER BY 7')
    assert run(shop, grouped) == []


def test_other_values_are_another_term(shop: Shop) -> None:
    ordered = select(DECADE).order_by(User.age / 20, DECADE)
    assert text(ordered) == 'SELECT "users"."age" / $1 FROM "users" ORDER BY "users"."age" / $2, 1'
    assert ordered.bind_values == (10, 20)
    several = select(User.age / 3, User.age / 5).order_by(User.age / 5, User.age / 7)
    assert text(several).endswith('ORDER BY 2, "users"."age" / $3')
    assert several.bind_values == (3, 5, 7)
    assert run(shop, ordered) == run(shop, several) == []


def test_an_item_with_a_name_is_found_without_it(shop: Shop) -> None:
    month = func.date_trunc("month", Order.created_at)
    grouped = select(month.as_("month"), count()).group_by(month).order_by(month)
    assert text(grouped).endswith("GROUP BY 1 ORDER BY 1")
    assert run(shop, grouped) == []


def test_distinct_rows_are_ordered_by_what_they_hold(shop: Shop) -> None:
    total = Order.total + decimal.Decimal("0.5")
    first = select(total, Order.id).distinct(total).order_by(total, Order.id)
    assert text(first).startswith("SELECT DISTINCT ON (1) ")
    assert run(shop, first) == run(shop, select(total).distinct().order_by(total)) == []


def test_a_part_of_an_item_is_what_is_grouped_by(shop: Shop) -> None:
    month = func.date_trunc("month", Order.created_at)
    shown = select(func.to_char(month, "YYYY-MM"), count()).group_by(month).having(month.is_not_null()).order_by(month.desc())
    truncated = 'date_trunc($1::text, "orders"."created_at")'
    assert text(shown) == (
        f'SELECT to_char({truncated}, $2::text), count(*) FROM "orders" GROUP BY {truncated} HAVING {truncated} IS NOT NULL '
        f"ORDER BY {truncated} DESC"
    )
    assert shown.sql().values == ("month", "YYYY-MM")
    assert run(shop, shown) == []


def test_totals_and_subtotals_by_terms_with_values(shop: Shop) -> None:
    totals = select(DECADE, grouping(DECADE), count()).group_by(rollup(DECADE, User.name)).having(DECADE > 3).order_by(DECADE + 1)
    assert text(totals) == (
        'SELECT "users"."age" / $1, grouping("users"."age" / $1), count(*) FROM "users" GROUP BY ROLLUP (1, "users"."name") '
        'HAVING "users"."age" / $1 > $2 ORDER BY "users"."age" / $1 + $3'
    )
    assert totals.sql().values == (10, 3, 1)
    assert run(shop, totals) == []
    third, fifth = User.age / 3, User.age / 5
    sets = select(third, fifth, grouping(fifth), count()).group_by(grouping_sets((third, fifth), fifth, ())).having(User.age / 5 > 1)
    assert text(sets) == (
        'SELECT "users"."age" / $1, "users"."age" / $2, grouping("users"."age" / $2), count(*) FROM "users" '
        'GROUP BY GROUPING SETS ((1, 2), 2, ()) HAVING "users"."age" / $2 > $3'
    )
    assert sets.sql().values == (3, 5, 1)
    assert run(shop, sets) == []
    assert run(shop, select(grouping(DECADE), DECADE * 2, count()).group_by(cube(DECADE, User.name)).having(DECADE > 3)) == []


def test_the_order_of_building_does_not_matter(shop: Shop) -> None:
    clauses: tuple[Clause, ...] = (
        lambda query: query.group_by(DECADE),
        lambda query: query.having(DECADE > 3),
        lambda query: query.order_by(DECADE + 1),
        lambda query: query.where(User.id > 9),
    )
    for _ in range(2):  # the second time by remembered steps
        for order in itertools.permutations(clauses):
            grouped = select(count()).from_(User)
            for clause in order:
                grouped = clause(grouped)
            assert text(grouped) == (
                'SELECT count(*) FROM "users" WHERE "users"."id" > $1 GROUP BY "users"."age" / $2 HAVING "users"."age" / $2 > $3 '
                'ORDER BY "users"."age" / $2 + $4'
            )
            assert grouped.sql().values == (9, 10, 3, 1)
            assert run(shop, grouped) == []


def test_other_values_share_nothing() -> None:
    def built(ours: int, theirs: int) -> Select[int]:
        return select(count()).from_(User).group_by(User.age / ours).having(User.age / theirs > 1)

    for _ in range(2):
        assert text(built(3, 3)).endswith('GROUP BY "users"."age" / $1 HAVING "users"."age" / $1 > $2')
        assert built(3, 3).sql().values == (3, 1)
        assert text(built(3, 4)).endswith('GROUP BY "users"."age" / $1 HAVING "users"."age" / $2 > $3')
        assert built(3, 4).sql().values == (3, 4, 1)
        assert built(5, 5).sql().values == (5, 1)
    named = select((User.age / 3).as_("part"), count()).group_by((User.age / 5).as_("part")).having(User.age / 5 > 1)
    assert named.sql().values == (3, 5, 1)


def test_the_first_of_each_in_an_order_by_a_term_with_values(shop: Shop) -> None:
    first = select(User.id).distinct(DECADE).order_by(DECADE, User.id)
    assert text(first) == 'SELECT DISTINCT ON ("users"."age" / $1) "users"."id" FROM "users" ORDER BY "users"."age" / $1, "users"."id"'
    assert first.bind_values == (10, 10)
    assert first.sql().values == (10,)
    assert run(shop, first) == []


def test_a_grouped_select_inside_another_shares_its_own(shop: Shop) -> None:
    inner = (
        select(DECADE.as_("decade"), count().as_("number"))
        .group_by(DECADE)
        .having(DECADE > 3, max_(User.id).in_(select(Order.user_id * 2)))
    )
    outer = select(User.age / 10, count()).where(User.id > 4).group_by(User.age / 10).having(User.age / 10 > 5)
    both = outer.join(inner.subquery("decades"), User.age > 6)
    assert both.sql().values == (10, 10, 3, 2, 6, 4, 5)
    assert run(shop, both) == []
    assert run(shop, outer.with_(inner.cte("apart"))) == []
