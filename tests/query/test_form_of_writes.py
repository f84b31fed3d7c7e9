"""Whatever is remembered of other statements: one is built, planned and packed as if it were the first, or refused in the same words.

Statements are generated as recipes: what is done to them, one after the other, with values that fit and values that do not. A few recipes
are built, so that their steps are known; then each is built again, and once more with nothing remembered.
"""

import datetime
import decimal
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.generated import examples
from tests.query.shop import Line, Order, Status, User, unchecked
from trioorm import Column, Model, column
from trioorm.compiler import compile_statement, shape_and_values
from trioorm.database.plan import PlanCache
from trioorm.errors import TrioormError
from trioorm.expression import default, func, literal
from trioorm.query import Statement, alias, delete, excluded, insert, merge, select, update, values_table
from trioorm.query.form import MOST_VALUES, STEPS

Recipe: TypeAlias = Sequence[Callable[[Any], Any]]
"""The first is called with nothing of use."""


class Text(str):
    __slots__ = ()


class Twin(Model, table="users"):
    """Another model of the same table, whose names are turned round."""

    id: Column[int] = column(primary_key=True, generated=True)
    age: Column[str] = column(name="name")
    name: Column[int] = column(name="age")


class Elsewhere(Model, table="users", schema="other"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]


Other = alias(User, "other")
_MOMENT = datetime.datetime(2024, 2, 29, 12)
_AWARE = _MOMENT.replace(tzinfo=datetime.UTC)
_TEXTS = ["a", "b", Text("c"), User.name, literal("x"), literal("y")]
_NUMBERS = [1, 2, User.age, User.age + 1, User.age + 2, User.age - 1, literal(5), literal(6)]
FITTING: dict[Any, list[tuple[Any, list[Any]]]] = {
    User: [
        (User.name, _TEXTS), (User.age, _NUMBERS), ("age", _NUMBERS), (User.email, [*_TEXTS, None]), (User.active, [True, False]),
        (User.manager_id, [1, None, User.id, select(Order.user_id).limit(1), select(Order.user_id).limit(2)]),
    ],
    Order: [
        (Order.total, [decimal.Decimal(1), decimal.Decimal("2.5"), 3, Order.total + 1]), (Order.status, [Status.OPEN, Status.PAID]),
        (Order.tags, [["a"], [], ["b", "c"]]), (Order.extra, [{"a": 1}, [2], None]), ("extra", ["x", 3]),
        (Order.paid_at, [_AWARE, _MOMENT, None, Order.created_at]), (Order.created_at, [_AWARE, _AWARE.replace(year=2028), _MOMENT]),
    ],
    Twin: [(Twin.age, _TEXTS), (Twin.name, [1, 2]), ("name", [3, 4]), (User.name, [5])],
    Elsewhere: [(Elsewhere.name, _TEXTS), ("name", _TEXTS)],
    Other: [(Other.name, _TEXTS), (User.name, _TEXTS), ("name", _TEXTS)],
}  # fmt: skip
ODD = st.sampled_from(
    [
        None, True, 1.5, 7, "z", decimal.Decimal("2.5"), Text("c"), Status.OPEN, ["a"], [1], {"a": 1}, _MOMENT, _AWARE, User.age, User.name,
        Order.id, default(), Line.sum,
    ]
)  # fmt: skip
OPERATORS: list[Callable[[Any, Any], Any]] = [
    lambda left, right: left == right,
    lambda left, right: left < right,
    lambda left, right: left != right,
    lambda left, right: left.in_([right]),
    lambda left, right: (left == right) | (User.id == 3),
]
Change: TypeAlias = Callable[[Any], Any]
Blank: TypeAlias = tuple[Callable[[Any], Change], st.SearchStrategy[Any]]
"""What is done to a statement with a value, and which values it may be done with."""


def _fit(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    fitting = st.sampled_from(values)
    return fitting | fitting | fitting | ODD


@st.composite
def changes(draw: st.DrawFn, kind: str, model: Any) -> Blank:  # noqa: ANN401 - a model or an alias
    """One thing that is done to a statement."""
    own = FITTING[model]
    name, values = draw(st.sampled_from(own))
    if kind == "set":
        return lambda value: lambda statement: statement.set(name, value), _fit(values)
    if kind == "set several":
        pairs = draw(st.lists(st.sampled_from(own), max_size=3))
        given = st.fixed_dictionaries({name: _fit(values) for name, values in pairs})
        return lambda values: lambda statement: statement.set(values), given
    if kind == "where":
        left: Any = User.name if isinstance(name, str) else name
        compare = draw(st.sampled_from(OPERATORS))
        return lambda value: lambda statement: statement.where(compare(left, value)), _fit(values)
    if kind == "values":
        return lambda rows: lambda statement: statement.values(*[row() for row in rows]), _rows(draw, model)
    if kind in ("tuples", "set tuples"):
        several = draw(st.lists(st.sampled_from(own), min_size=1, max_size=3))
        columns: list[Any] = [name for name, _ in several]
        rows = st.lists(st.tuples(*[_fit(values) for _, values in several]), min_size=1, max_size=3)
        if kind == "tuples":
            return lambda rows: lambda statement: statement.values_from(rows, columns=columns), rows
        keyed = [User.id, *columns]
        return (
            lambda rows: lambda statement: statement.set_each([(at, *row) for at, row in enumerate(rows)], columns=keyed, key=User.id),
            rows,
        )
    if kind == "returning":
        items = draw(st.lists(st.sampled_from([User, Order, Twin, User.id, Line.article, Other]), max_size=1))
        return lambda value: lambda statement: statement.returning(*items, value), st.sampled_from([User.age, User.age + 1, literal(7)])
    if kind == "conflict":
        return _conflict(draw)
    return OTHERS[kind]


def _conflict(draw: st.DrawFn) -> Blank:
    targets = [[User.email], ["email"], [User.id, User.name], [Other.email], [Order.id], [func.lower(User.email)], []]
    target: Any = draw(st.sampled_from(targets))
    what = draw(st.sampled_from(["nothing", "columns", "set", "condition"]))
    if what == "nothing":
        names = st.sampled_from([None, "a", "b"])
        return lambda name: lambda statement: statement.on_conflict(*target, constraint=name).do_nothing(), names
    if what == "columns":
        several: Any = draw(st.lists(st.sampled_from([User.name, "name", User.age, Order.id]), max_size=2))
        return lambda _: lambda statement: statement.on_conflict(*target).do_update(*several), st.none()
    if what == "set":
        column: Any = draw(st.sampled_from([User.age, "age", Order.weight]))
        fitting = _fit([*_NUMBERS, excluded(User).age, excluded(User).age + 1])
        return lambda value: lambda statement: statement.on_conflict(*target).do_update(User.name, set={column: value}), fitting
    compare = draw(st.sampled_from(OPERATORS))
    return (
        lambda value: lambda statement: statement.on_conflict(User.email).do_update(set={"age": value}, where=compare(User.age, value)),
        _fit(_NUMBERS),
    )


def _rows(draw: st.DrawFn, model: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401 - a model or an alias
    """Lists of what makes a row: an object or a mapping."""
    row: st.SearchStrategy[Any]
    if draw(st.booleans()):
        pairs = draw(st.lists(st.sampled_from(FITTING[model]), min_size=1, max_size=3))
        row = st.fixed_dictionaries({name: _fit(values) for name, values in pairs}).map(lambda given: lambda: given)
    elif model is Order:
        given = {"user_id": st.just(1), "total": _fit([decimal.Decimal(1)])}
        moments = {"tags": _fit([["a"], []]), "paid_at": _fit([_AWARE, _MOMENT, None]), "created_at": _fit([_AWARE])}
        row = st.fixed_dictionaries(given, optional=moments).map(lambda given: lambda: Order(**unchecked(given)))
    else:
        given = {"name": _fit(["a", "b"]), "age": _fit([1, 2])}
        row = st.fixed_dictionaries(given, optional={"email": _fit(["c", None])}).map(lambda given: lambda: User(**unchecked(given)))
    return st.lists(row, min_size=1, max_size=draw(st.integers(1, 2)))


OTHERS: dict[str, Blank] = {
    "set each": (
        lambda ages: lambda statement: statement.set_each([{"id": at, "age": age} for at, age in enumerate(ages)]),
        st.lists(st.integers(0, 9), max_size=3),
    ),
    "everywhere": (lambda _: lambda statement: statement.everywhere(), st.none()),
    "using": (lambda n: lambda statement: statement.using(values_table("given", [(n, "a")])), st.integers(0, 9)),
    "overriding": (lambda _: lambda statement: statement.overriding_system_value(), st.none()),
    "with": (lambda n: lambda statement: statement.with_(select(literal(n)).cte("apart")), st.integers(0, 9)),
    "merged": (lambda value: lambda statement: statement.when_matched(User.age > 3).update({"age": value}), _fit(_NUMBERS)),
    "limit": (lambda n: lambda statement: statement.limit(n), st.integers(-1, 3)),
    "lock": (lambda wait: lambda statement: statement.for_update(nowait=wait, of=User), st.booleans()),
    "union": (
        lambda right: lambda statement: statement.union(right()),
        st.sampled_from([lambda: select(User).where(User.age > 1), lambda: select(User)]),
    ),
}
BEGINNINGS: dict[Callable[[Any], Any], list[str]] = {
    update: ["set", "set", "set several", "where", "where", "set each", "set tuples", "everywhere", "using", "with"],
    delete: ["where", "where", "everywhere", "using", "with"],
    insert: ["values", "values", "tuples", "conflict", "overriding", "with"],
    select: ["where", "lock", "limit", "union", "with"],
    lambda model: merge(model).using(Order, on=Order.user_id == User.id): ["merged", "with"],
}


@st.composite
def families(draw: st.DrawFn) -> list[Recipe]:
    """Recipes that do the same with other values."""
    begin = draw(st.sampled_from(list(BEGINNINGS)))
    model: Any = draw(st.just(User) | st.sampled_from(list(FITTING)))
    kinds = draw(st.lists(st.sampled_from(BEGINNINGS[begin]), min_size=1, max_size=4))
    if begin is not select and draw(st.booleans()):
        kinds.append("returning")
    blanks = [draw(changes(kind, model)) for kind in kinds]
    return [[lambda _: begin(model), *[apply(draw(values)) for apply, values in blanks]] for _ in range(3)]


def _outcome(recipe: Recipe, plans: PlanCache) -> tuple[object, ...]:
    """All that is seen of the statement: text, values, parameters; or why it is refused."""
    try:
        statement: Any = None
        for step in recipe:
            statement = step(statement)
        shape, values = shape_and_values(statement)
        compiled = compile_statement(statement)
        plan, arranged = plans.plan(statement)
        assert plan.compiled == compiled, "the plan is of another statement"
        assert list(arranged) == list(compiled.arranged(values))
        return shape, compiled.text, values, [type(value) for value in values], plan.pack(arranged), statement.lint(), str(statement)
    except (TrioormError, AttributeError) as error:  # a union has no where()
        return type(error), str(error)


@settings(max_examples=examples(300))
@given(some=st.lists(families(), min_size=1, max_size=2))
def test_a_statement_is_the_same_whatever_was_built_before(some: list[list[Recipe]]) -> None:
    built = [recipe for family in some for recipe in family]
    plans = PlanCache()
    for recipe in built:
        _outcome(recipe, plans)
    known = [_outcome(recipe, plans) for recipe in built]
    for recipe, seen in zip(built, known, strict=True):
        STEPS.clear()
        assert _outcome(recipe, PlanCache()) == seen


BUILT: list[Callable[[int], Statement[Any]]] = [
    lambda n: update(User).set(User.age, n).set(User.email, None).where(User.id == n).returning(User),
    lambda n: update(User).set({"age": User.age + n, "name": f"name {n}"}).where(User.id == n),
    lambda n: update(Order).set(Order.paid_at, _MOMENT.replace(tzinfo=datetime.UTC)).where(Order.id == n),
    lambda n: delete(User).where(User.age > n, User.name == "x").returning(User.id),
    lambda n: insert(User).values(User(name=f"name {n}", age=n)).returning(User.id),
    lambda n: insert(User).values_from([(f"name {n}", n)] * n, columns=[User.name, User.age]).on_conflict(User.email).do_update(),
    lambda n: update(User).set_each([(at, n) for at in range(n)], columns=[User.id, User.age]).where(User.age < n),
    lambda n: insert(User).values({"age": n, "name": f"name {n}"}).returning(User.id),
    lambda n: insert(User).values({User.name: f"name {n}", User.age: n}).on_conflict(User.email).do_update(User.age),
    lambda n: insert(User).values({"name": "x", "age": n}).on_conflict(User.email).do_update(set={User.age: excluded(User).age + n}),
    lambda n: insert(User).values({"name": "x", "age": n}).on_conflict(constraint="y").do_nothing(),
    lambda n: select(User).where(User.id.in_([n] * n), User.name.not_in(("a", f"name {n}"))),
    lambda n: select(User).where(User.age > n).limit(n).for_update(skip_locked=True),
    lambda n: select(User).where(User.age > n).union_all(select(User).where(User.age < n)),
]


@pytest.mark.parametrize("build", BUILT)
def test_built_with_other_values_it_has_the_same_form(build: Callable[[int], Statement[Any]]) -> None:
    first, second = build(1), build(2)
    assert first.form is second.form is not None
    assert first.bind_values != second.bind_values


_ROW = {"user_id": 1, "total": decimal.Decimal(1)}


REMEMBERED: list[tuple[Callable[[Any], Any], Any, Any]] = [
    (lambda v: insert(Order).values({**_ROW, "tags": v}), ["a"], [1]),
    (lambda v: insert(Order).values({**_ROW, "paid_at": v}), _AWARE, _MOMENT),
    (lambda v: insert(User).values({"name": "x", "age": v}), 1, True),
    (lambda v: insert(Order).values(_ROW).on_conflict(Order.id).do_update(set={"tags": v}), ["a"], [1]),
    (lambda v: insert(Order).values(_ROW).on_conflict(Order.id).do_update(set={Order.paid_at: v}), _AWARE, _MOMENT),
    (lambda v: insert(Order).values(_ROW).on_conflict(Order.id).do_update(v), Order.total, User.age),
    (lambda v: insert(Order).values(_ROW).on_conflict(v).do_nothing(), Order.id, User.id),
    (lambda v: select(User).where(User.id.in_(v)), [1], ["x"]),
    (lambda v: select(User).where(User.id.not_in(v)), (1,), (1, None)),
    (lambda v: select(User).where(User.id.in_(v)), {1}, {True}),
]  # fmt: skip
"""What is built of a value, one that fits, and one that does not."""


@pytest.mark.parametrize(("build", "fits", "misfits"), REMEMBERED)
def test_what_is_remembered_lets_nothing_pass_that_does_not_fit(build: Callable[[Any], Any], fits: object, misfits: object) -> None:
    for _ in range(2):
        build(fits)
    with pytest.raises(TrioormError):
        build(misfits)


def test_conflicts_are_told_apart() -> None:
    def texts() -> list[str]:
        base = insert(User).values({"name": "x", "age": 1})
        by_email, by_name = base.on_conflict(User.email), base.on_conflict(constraint="by_name")
        made = [
            by_email.do_nothing(), by_name.do_nothing(), base.on_conflict(constraint="other").do_nothing(), base.on_conflict().do_nothing(),
            by_email.do_update(), by_name.do_update(), by_email.do_update(User.age), by_email.do_update(User.name),
            by_email.do_update(set={User.age: 1}), by_email.do_update(set={User.manager_id: 1}),
            by_email.do_update(set={User.email: excluded(User).email}), by_email.do_update(set={User.age: excluded(User).age + 1}),
            by_email.do_update(set={User.email: None}),
            by_email.do_update(where=User.age > 1), by_email.do_update(User.age, where=User.age > 1),
            base.on_conflict(User.email, where=User.active).do_nothing(),
        ]  # fmt: skip
        return [str(each) for each in made]

    first = texts()
    assert len(set(first)) == len(first)
    assert texts() == first


def test_a_form_of_very_many_values_is_not_kept() -> None:
    rows = [{"name": literal(f"name {n}"), "age": n} for n in range(MOST_VALUES)]
    STEPS.clear()
    plans = PlanCache()
    plan, values = plans.plan(insert(User).values(*rows).returning(User))
    remembered = len(STEPS)
    again, _ = plans.plan(insert(User).values(*rows).returning(User))
    assert again is plan, "it is found by its shape"
    assert len(values) > MOST_VALUES
    assert len(STEPS) == remembered <= 2


def test_an_object_of_another_class_is_no_row_however_alike() -> None:
    user = User(name="Ada", age=36)
    for _ in range(2):
        insert(User).values(user)
        with pytest.raises(TrioormError, match="an object of User"):
            insert(Twin).values(unchecked(user))
