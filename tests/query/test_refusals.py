"""What is refused while a statement is built or compiled, before anything is sent; and hostile names, which are names all the same."""

import datetime
import decimal
from collections.abc import Callable
from typing import NamedTuple, TypedDict

import attrs
import pytest

from tests.query.shop import Line, Order, User, run, unchecked
from tests.query.statements import Shop, expect
from trioorm.compiler import compile_statement
from trioorm.errors import BindError, QueryError
from trioorm.expression import JSONB, array_of, case, cast, count, func, literal, window
from trioorm.model import UNSET
from trioorm.query import (
    Identifier,
    alias,
    delete,
    generate_series,
    grouping_sets,
    identifier,
    insert,
    merge,
    old,
    optional,
    rollup,
    select,
    sql,
    table_function,
    unnest,
    update,
    values_table,
)  # fmt: skip

RECENT = select(Order.id, Order.total).where(Order.total > decimal.Decimal(6)).cte("recent")
BOTH = select(Order.id, Order.total, (Order.weight + 1.0)).subquery("both")
PAGE = select(User).order_by(User.age, User.id)


@attrs.frozen
class Named:
    name: str
    age: int = 0


def _columns_of_user() -> object:
    return select(User.id, User.name, User.age, User.email, User.active, User.manager_id)


OTHER_RECENT = select(Order.id).cte("recent").alias("other")

REFUSED: list[tuple[str, Callable[[], object]]] = [
    ("was not selected in 'both'", lambda: BOTH[Order.user_id]),
    ("holds values", lambda: BOTH[Order.weight + 2.0]),
    ("is not selected as a whole", lambda: BOTH[Order]),
    ("has no column 'x'", lambda: BOTH.column("x")),
    ("is bigint, and not text", lambda: BOTH.column("id", str)),
    ("takes what was selected", lambda: BOTH[unchecked("id")]),
    ("values({'name': 'Ada', 'age': 36})", lambda: unchecked(insert(User)).values(name="Ada", age=36)),
    ("set({'age': 37})", lambda: unchecked(update(User)).set(age=37)),
    ("do_update(set={", lambda: insert(User).values(User(name="a", age=1)).on_conflict(User.id).do_update(unchecked({User.age: 1}))),
    ("case() takes pairs", lambda: case(unchecked(User.age), unchecked({1: "one"}))),
    ("literal(5, type=SMALLINT)", lambda: cast(unchecked(5), str)),
    ("UNBOUNDED PRECEDING", lambda: count().over(rows=(unchecked("unbounded preceding"), 0))),
    ("more than once", lambda: select(User.id, User.id).subquery("s")[User.id]),
    ("needs queries of equally many columns", lambda: select(User.id).union(unchecked(select(User.id, User.age)))),
    ("would put name", lambda: select(User.id).union(unchecked(select(User.name)))),
    ("out of other rows", lambda: select(User).union(unchecked(_columns_of_user()))),
    ("ordered only by what they select", lambda: str(select(User.id).union(select(Order.id)).order_by(User.age))),
    ("is not selected as a whole in 'y'", lambda: unchecked(update(User).everywhere().set(User.age, 1).cte("x")).alias("y")[User]),
    ("is for a recursive CTE", lambda: RECENT.cycle(Order.id)),
    ("names no column", lambda: select(User.id).recursive_cte("t", lambda t: select(t[User.id])).search_depth_first()),
    ("A select was given where a table", lambda: select(User).join(unchecked(select(Order)), User.id == 1)),
    ("has no condition", lambda: select(User).join(BOTH)),
    ("does not say what that is", lambda: str(select(count(BOTH[Order.id])))),
    ("'users' is not among", lambda: str(select(User.id).cross_join(select(Order.id).where(Order.user_id == User.id).subquery("s")))),
    ("Two CTEs of one statement", lambda: str(select(RECENT[Order.id]).join(OTHER_RECENT, User.id > 0).from_(RECENT))),
    ("in one statement twice", lambda: str(select(User.id).join(User, User.id > 0))),
    ("no order that could leave rows equal", lambda: str(select(User.id).limit(1, with_ties=True))),
    ("needs an order", lambda: select(User).after(unchecked(None))),
    ("does not tell those apart", lambda: select(User).order_by(User.age).after({User.age: 3})),
    ("does not hold", lambda: select(User.name).order_by(User.id).after("x")),
    ("does not hold", lambda: PAGE.after({User.age: 3})),
    ("which is never NULL", lambda: PAGE.after({User.age: unchecked(None), User.id: 1})),
    ("given an object of str", lambda: select(User.id, User.age).order_by(User.id).after(unchecked("x"))),
    ("counts rows before distinct", lambda: select(User.id).distinct().with_total()),
    ("counts rows before distinct", lambda: select(User.id).for_update().with_total()),
    ("skip_locked and nowait", lambda: select(User.id).for_key_share(nowait=True, skip_locked=True)),
    ("was asked for, which is not among", lambda: str(select(User.id).for_no_key_update(of=Order))),
    ("the first of this select is none", lambda: select(BOTH[Order.id]).tablesample(3)),
    ("is unknown", lambda: select(User.id).tablesample(3, method=unchecked("all; --"))),
    ("nothing to group by", rollup),
    ("takes columns and expressions", lambda: grouping_sets(unchecked("age"))),
    ("window named 'w' already", lambda: select(User.id).window("w", window()).window("w", window())),
    ("has no field id", lambda: select(User.id, User.name).into(Named)),
    ("Nothing is selected for name", lambda: select(User.age).into(Named)),
    ("More than one item", lambda: select(User.name, User.name).into(Named)),
    ("has no name by which", lambda: select(User.name, count()).into(Named)),
    ("given 1 names for 2 items", lambda: select(User.name, User.age).into(Named, "name")),
    ("Named.age is int, and would be given text", lambda: select(User.name, User.name).into(Named, "name", "age")),
    ("may be NULL", lambda: select(User.email).into(Named, "name")),
    ("no fields of class User", lambda: select(User, User.name).into(Named)),
    ("takes a class whose fields", lambda: select(User.name).into(unchecked("x"))),
    ("equally many", lambda: unchecked(values_table)("v", [])),
    ("equally many", lambda: unchecked(values_table)("v", unchecked([(1,), (1, 2)]))),
    ("holds no value but None", lambda: unchecked(values_table)("v", [(None,)])),
    ("class str was given for column 1", lambda: unchecked(values_table)("v", unchecked([(1,), ("x",)]))),
    ("None is among", lambda: unnest(unchecked([1, None]), name="n")),
    ("takes a call", lambda: table_function(User.id, "t")),
    ("cannot be numbered", lambda: unchecked(values_table("v", [(1,)])).with_ordinality()),
    ("has no column 'ordinality'", lambda: generate_series(1, 2, name="g").ordinality),
    ("1 columns for a select of 2", lambda: insert(User).from_select(unchecked(select(User.id, User.name)), User.id)),
    ("is bigint, and not", lambda: RECENT.column("id", datetime.datetime)),
    ("would get name, which is text", lambda: insert(User).from_select(unchecked(select(User.name)), User.age)),
    ("gives nothing for", lambda: insert(User).from_select(select(User.name))),
    ("no column 'total'", lambda: insert(User).from_select(select(Order.total))),
    ("is computed by the server", lambda: insert(Line).from_select(select(Line.sum), Line.sum)),
    ("has its rows", lambda: insert(User).values({"name": "x", "age": 1}).default_values()),
    ("columns and a constraint", lambda: insert(User).on_conflict(User.email, constraint="x")),
    ("needs the columns of the partial index", lambda: insert(User).on_conflict(where=User.active)),
    ("given no rows", lambda: update(User).set_each([])),
    ("same key", lambda: update(User).set_each([{"id": 1, "age": 2}, {"id": 1, "age": 3}])),
    ("do not all give", lambda: update(User).set_each([{"id": 1, "age": 2}, {"id": 2, "name": "x"}])),
    ("nothing to set besides the key", lambda: update(User).set_each([{"id": 1}])),
    ("has no id", lambda: update(User).set_each([{"age": 1}])),
    ("takes plain values", lambda: update(User).set_each([{"id": 1, "age": User.age + 1}])),
    ("never NULL", lambda: update(User).set_each([{"id": 1, "age": None}])),
    ("given an object of Order", lambda: update(User).set_each(unchecked([Order(user_id=1, total=decimal.Decimal(1))]))),
    ("has no column 'agee'", lambda: update(User).set_each([{"id": 1, "agee": 1}])),
    ("Row 2 of set_each() is a tuple of 1,", lambda: update(User).set_each([(1, 2), (3,)], columns=[User.id, User.age])),
    ("Row 1 of set_each() is a str", lambda: update(User).set_each(["ab"], columns=[User.id, User.age])),
    ("Row 1 of set_each() is a int", lambda: update(User).set_each(unchecked([5]), columns=[User.id])),
    ("a column twice", lambda: update(User).set_each([(1, 2)], columns=[User.id, User.id])),
    ("has no id", lambda: update(User).set_each([(1, "x")], columns=[User.age, User.name])),
    ("same key", lambda: update(User).set_each([(1, 2), (1, 3)], columns=[User.id, User.age])),
    ("or tuples and columns=", lambda: update(User).set_each(unchecked([(1, 2)]))),
    ("a column of another table", lambda: update(User).set_each([(1, 2)], columns=[User.id, Order.weight])),
    ('Row 2: A value of class str was given', lambda: update(User).set_each([(1, 2), (2, "x")], columns=[User.id, User.age])),
    ("Row 2 of values_from() is a tuple of 3,", lambda: insert(User).values_from([("x", 1), ("x", 1, 2)], columns=[User.name, User.age])),
    ("or tuples to values_from", lambda: insert(User).values_from(unchecked([("x", 1)]))),
    ("has no age", lambda: insert(User).values_from([("x",)], columns=[User.name])),
    ("as mappings", lambda: insert(User).values_from([("x", User.age)], columns=[User.name, User.age])),
    ("is no value", lambda: insert(User).values_from([("x", UNSET)], columns=[User.name, User.age])),
    ("never NULL", lambda: insert(User).values_from([("x", None)], columns=[User.name, User.age])),
    ("computed by the server", lambda: insert(Line).values_from([(1,)], columns=[Line.sum])),
    ("has its rows", lambda: insert(User).values_from([("x", 1)], columns=[User.name, User.age]).default_values()),
    ("cannot be joined to", lambda: update(User).join(Order, Order.user_id == User.id)),
    ("has no condition", lambda: str(delete(User).using(Order))),
    ("does nothing", lambda: str(merge(User).using(Order, on=Order.user_id == User.id))),
    ("was given nothing to set", lambda: merge(User).using(Order, on=Order.user_id == User.id).when_matched().update({})),
    ("set twice", lambda: merge(User).using(Order, on=User.id == 1).when_matched().update(unchecked({User.age: 1, "age": 2}))),
    ("gives nothing for", lambda: merge(User).using(Order, on=User.id == 1).when_not_matched().insert({User.name: "x"})),
    ("'users' is not among", lambda: str(merge(User).using(Order, on=User.id == 1).when_not_matched(User.age > 1).do_nothing())),
    ("'old' is not among", lambda: str(select(old(User).age).from_(User))),
    ("as if it were always there", lambda: select(BOTH[Order.id]).from_(User).left_join(BOTH, User.id > 0)),
    ("as if it were always there", lambda: select(BOTH[Order.id], User.id).full_join(User, User.id > 0)),
    ("one or several texts", lambda: identifier(unchecked(3))),
    ("one or several texts", identifier),
    ("begins with WITH", lambda: str(sql("WITH x AS (SELECT 1) SELECT * FROM {recent}", recent=RECENT))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "build"), REFUSED, ids=[f"{number}-{text}" for number, (text, _) in enumerate(REFUSED)])
def test_refuses_with_the_fix(text: str, build: Callable[[], object]) -> None:
    with pytest.raises(QueryError) as caught:
        build()
    assert text in str(caught.value)
    assert "To fix it" in str(caught.value)


def test_a_moment_without_a_zone_is_refused_in_tables_too() -> None:
    with pytest.raises(BindError):
        values_table("v", [(datetime.datetime(2024, 1, 1),)])


def test_two_ctes_of_one_text_and_other_values_are_refused() -> None:
    def older(age: int) -> object:
        return unchecked(select(User.id).where(User.age > age).cte("older"))

    one, two = unchecked(older(3)), unchecked(older(4))
    statement = select(one[User.id]).where(one[User.id].in_(select(two[User.id])))
    with pytest.raises(QueryError, match="different values"):
        statement.sql()
    same = select(one[User.id]).where(one[User.id].in_(select(unchecked(older(3))[User.id])))
    assert same.sql().values == (3,)


def test_windows_have_names(filled: Shop) -> None:
    statement = select(User.name, func.row_number().over("by_age")).window("by_age", window(order_by=User.age.desc())).order_by(User.id)
    expect(
        statement,
        'SELECT "users"."name", row_number() OVER "by_age"\nFROM "users"\n'
        'WINDOW "by_age" AS (ORDER BY "users"."age" DESC)\nORDER BY "users"."id"',
        [],
    )
    assert run(filled, statement) == [("Ada", 2), ("Bob", 3), ("Cyd", 1)]


class Pair(NamedTuple):
    name: str
    age: int


class Record(TypedDict):
    name: str
    age: int


@attrs.frozen
class Owned:
    order: Order
    owner: User | None


def test_rows_become_objects_of_any_class_with_known_fields() -> None:
    query = select(User.age, User.name)
    for make in (Named, Pair, Record):
        into = compile_statement(query.into(make)).into
        assert into is not None
        assert into.make is make
        assert into.keywords == ("age", "name")
    in_order = compile_statement(select(User.name, User.age).into(Pair)).into
    assert in_order is not None
    assert in_order.keywords is None
    by_class = compile_statement(select(optional(User), Order).from_(Order).left_join(User, User.id == Order.user_id).into(Owned)).into
    assert by_class is not None
    assert by_class.keywords == ("owner", "order")
    returned = compile_statement(delete(User).everywhere().returning(User.name, User.age).into(Pair))
    assert returned.into is not None
    assert not returned.scalar


@pytest.mark.parametrize(
    ("statement", "writes", "repeats"),
    [
        (select(RECENT[Order.id]), False, True),
        (select(RECENT[Order.id]).for_share(), True, False),
        (select(select(Order.id).for_update().subquery("s")[Order.id]), True, False),
        (select(count()).from_(User).with_(delete(User).everywhere().cte("gone")), True, False),
        (select(delete(User).everywhere().returning(User.id).cte("gone")[User.id]), True, False),
        (select(func.nextval("x", returns=int)), True, False),
        (select(generate_series(1, 2, name="g").value), False, True),
        (select(User.id).union(select(Order.id)), False, True),
        (select(User.id).union(select(Order.id).for_update()), True, False),
        (insert(User).from_select(select(User.name, User.age, User.active)), True, False),
    ],
)
def test_knows_what_writes_and_what_may_be_repeated(statement: object, writes: bool, repeats: bool) -> None:
    compiled = compile_statement(unchecked(statement))
    assert compiled.is_write is writes
    assert compiled.may_repeat is repeats


GUESSES: list[tuple[object, str, str]] = [
    (User.age, "cast", r"cast\(User\.age, str\)"),
    (User.age > 1, "is_", "is_null"),
    (count(), "filter", "where=User.active"),
    (func.percentile_cont(0.5, within_group=User.age), "within_group", "within_group=User.age"),
    (User.age.desc(), "nulls_last", 'nulls="last"'),
    (PAGE, "filter", "where"),
    (PAGE, "distinct_on", r"distinct\(User\.age\)"),
    (PAGE, "alias", "subquery"),
    (PAGE, "inner_join", r"\.join\("),
    (PAGE, "all", "await db.fetch_all"),
    (insert(User), "on_conflict_do_nothing", r"on_conflict\(User\.email\)\.do_nothing\(\)"),
    (update(User), "values", r"set\(User\.age, 37\)"),
    (delete(User), "from_", "using"),
    (User, "filter", "select"),
    (Order, "alias", r"alias\(Order, "),
]


@pytest.mark.parametrize(("thing", "name", "right"), GUESSES, ids=[f"{type(thing).__name__}.{name}" for thing, name, _ in GUESSES])
def test_a_reasonable_guess_names_the_right_spelling(thing: object, name: str, right: str) -> None:
    assert not hasattr(thing, name)
    with pytest.raises(QueryError, match=f"To fix it: .*{right}"):
        getattr(thing, name)


HOSTILE = ['"', '""; DROP TABLE users; --', "'", "\\", "a b", "ü", "/*", "*/", "--", "$1", "%s", "{x}", "x" * 63, "SELECT", "é" * 31]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_names_wherever_one_is_taken(filled: Shop, name: str) -> None:
    given = select(User.id, literal(name).as_(name)).where(User.id == 1)
    table = given.subquery(name)
    cte = given.cte(name)
    tree = given.recursive_cte(name, lambda tree: select(tree[User.id], tree.column(name, str)).where(tree[User.id] < 0))
    searched = tree.search_depth_first(User.id, column=name + "s" if len(name) < 60 else "s").cycle(User.id, mark=f"m{name[:30]}", path="p")
    rows = values_table(name, [(1, name)])
    series = unnest([name], name=name).with_ordinality()
    payload = literal([{name: name}], type=JSONB)
    record = table_function(func.jsonb_to_recordset(payload), name, columns={name: str})
    assert run(filled, select(table.column(name, str))) == [(name,)]
    assert run(filled, select(table.alias("x").column(name, str))) == [(name,)]
    assert run(filled, select(cte.column(name, str)).where(cte[User.id].in_(select(cte.alias("x")[User.id])))) == [(name,)]
    assert run(filled, select(searched.column(name, str))) == [(name,)]
    assert run(filled, select(given.lateral(name).column(name, str))) == [(name,)]
    assert run(filled, select(rows.columns[1])) == [(name,)]
    assert run(filled, select(series.value, series.ordinality)) == [(name, 1)]
    assert run(filled, select(record.column(name, str))) == [(name,)]
    assert run(filled, given.union(given).order_by(literal(name).as_(name))) == [(1, name)]
    assert run(filled, select(func.row_number().over(name)).from_(User).window(name, window()).limit(1)) == [(1,)]
    assert run(filled, update(alias(User, name)).set(User.age, 3).where(alias(User, name).id == 1).returning(alias(User, name).age)) == [
        (3,)
    ]
    assert run(filled, sql("SELECT 1 AS {name}", name=identifier(name))) == [(1,)]
    assert "DROP TABLE users" not in compile_statement(select(count()).from_(given.subquery("s"))).text.replace(name.replace('"', '""'), "")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 64, "é" * 32])
def test_names_that_postgresql_cannot_have_are_refused(name: str) -> None:
    given = select(User.id)
    for build in (
        lambda: given.subquery(name), lambda: given.lateral(name), lambda: given.cte(name), lambda: given.cte("x").alias(name),
        lambda: given.recursive_cte(name, lambda tree: given), lambda: unnest([1], name=name), lambda: values_table(name, [(1,)]),
        lambda: generate_series(1, 2, name=name), lambda: identifier(name), lambda: Identifier("x", name),
        lambda: given.window(name, window()), lambda: insert(User).on_conflict(constraint=name),
        lambda: table_function(func.jsonb_to_recordset(literal([], type=array_of(JSONB))), "x", columns={name: int}),
        lambda: given.recursive_cte("x", lambda tree: given).cycle(User.id, mark=name),
        lambda: given.recursive_cte("x", lambda tree: given).search_depth_first(User.id, column=name),
    ):  # fmt: skip
        with pytest.raises(QueryError):
            build()
