"""Terms that hold values: what is selected and grouped by must be one expression to PostgreSQL, though each use binds values of its own."""

import decimal
from typing import Any

import psycopg

from tests.query.shop import Order, User, run
from trioorm.compiler import compile_statement
from trioorm.expression import count, func
from trioorm.query import select

Shop = psycopg.Connection[Any]

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
