"""`lint()`: what it finds, and what it leaves alone."""

import pytest

from tests.query.shop import Line, Order, User
from trioorm.expression import and_, count, exists, literal, or_
from trioorm.query import LintRule, Statement, alias, delete, select, sql, update

other = alias(User, "other")

FINDINGS: list[tuple[Statement[object], list[LintRule]]] = [
    (select(User, Order).join(Order, literal(True)), ["cartesian join"]),
    (select(User, Order).join(Order, Order.weight > 5), ["cartesian join"]),
    (select(User.id).join(Order, Order.user_id == User.id).join(Line, Order.id > 3), ["cartesian join"]),
    (select(User.id).join(other, User.id == User.manager_id), ["cartesian join"]),
    (select(User.id).where(User.id.in_(select(Order.id).join(Line, Line.number == 1))), ["cartesian join"]),
    (select(User.id).join(Order, Order.weight > 5).join(Line, Line.number == 1), ["cartesian join", "cartesian join"]),
    (update(User).set(User.age, 1).using(Order).where(User.id == 3), ["cartesian join"]),
    (delete(User).using(Order).where(Order.id == 3), ["cartesian join"]),
    (update(User).set(User.age, 1), ["missing where"]),
    (delete(User), ["missing where"]),
    (select(User).where(User.email == sql("null").as_type(str)), ["null comparison"]),
    (select(User).where(or_(User.age > 3, User.email != sql("NULL").as_type(str))), ["null comparison"]),
    (select(User).where(User.id.not_in(select(other.manager_id))), ["null comparison"]),
    (select(User).limit(5), ["limit without order"]),
    (select(User).offset(5), ["offset without order"]),
    (select(User).limit(5).offset(5), ["limit without order", "offset without order"]),
    (select(User.id).where(User.id.in_(select(Order.user_id).limit(5))), ["limit without order"]),
    (select(User).distinct(User.name), ["distinct without order"]),
]

FINE: list[Statement[object]] = [
    select(User),
    select(User, Order).join(Order, Order.user_id == User.id),
    select(User, Order).join(Order, and_(Order.weight > 5, Order.user_id == User.id)),
    select(User.id).join(Order, Order.weight > 5).where(Order.user_id == User.id),
    select(User.id).join(Order, or_(Order.user_id == User.id, Order.weight > 5)),
    select(User.id).cross_join(Order),
    select(User.id).cross_join(Order).join(Line, Line.order_id == Order.id),
    select(User.id).join(Line, literal(True)).join(Order, (Line.order_id == Order.id) & (Order.user_id == User.id)),
    select(User).order_by(User.id).limit(5).offset(5),
    select(User).distinct(User.name).order_by(User.name, User.id),
    select(User).where(exists(select(Order).where(Order.user_id == User.id).limit(1))),
    select(literal(1)).limit(1),
    select(User).where(User.email.is_null(), User.email.is_distinct_from(None)),
    select(User).where(User.id.not_in(select(other.manager_id).where(other.manager_id.is_not_null()))),
    select(User).where(User.id.not_in(select(Order.user_id)), User.id.in_(select(other.manager_id))),
    select(count()).from_(User),
    update(User).set(User.age, 1).everywhere(),
    delete(User).using(Order).where(Order.user_id == User.id),
    sql("SELECT 1 LIMIT 1"),
]


@pytest.mark.parametrize(("statement", "rules"), FINDINGS)
def test_what_is_seldom_meant_is_found_with_its_fix(statement: Statement[object], rules: list[LintRule]) -> None:
    findings = statement.lint()
    assert [finding.rule for finding in findings] == rules
    assert all("\nTo fix it: " in str(finding) for finding in findings)


@pytest.mark.parametrize("statement", FINE)
def test_what_is_meant_is_left_alone(statement: Statement[object]) -> None:
    assert statement.lint() == ()


def test_the_finding_names_the_table() -> None:
    (finding,) = select(User.id).join(other, User.id == User.manager_id).lint()
    assert "'other'" in finding.text
    (finding,) = delete(Order).lint()
    assert "every row of orders" in finding.text
