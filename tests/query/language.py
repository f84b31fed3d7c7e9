"""A grammar over the whole language: any statement that the builder can make, whether or not it means anything.

The contract: `statements()` gives statements that must compile, and that a server with the gallery's table and the shop's must accept.
The expressions are the gallery's, so that whatever is added there is mixed into statements of every kind.
"""

# Expressions of any class are mixed by chance here, so no checker can know theirs; `tests/typing` is about that.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import decimal
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.expression.gallery import EVERYTHING, Thing
from tests.query.shop import Line, Order, Status, User
from trioorm.expression import BOOLEAN, Expression, and_, count, exists, func, literal, or_, sum_, window
from trioorm.expression.shape import Cast, Function, Labelled, Over, Shape
from trioorm.query import (
    Query,
    Statement,
    Table,
    alias,
    cube,
    delete,
    excluded,
    generate_series,
    grouping_sets,
    insert,
    merge,
    merge_action,
    new,
    old,
    rollup,
    select,
    sql,
    table_function,
    unnest,
    update,
    values_table,
)

_AGGREGATES = {
    "avg", "string_agg", "array_agg", "bool_and", "jsonb_agg", "jsonb_object_agg", "percentile_cont", "percentile_disc", "mode",
    "stddev_pop", "regr_count", "range_agg",
}  # fmt: skip


def _call(shape: Shape) -> Shape:
    """The call that an expression is, without a name or a cast around it."""
    while isinstance(shape, (Cast, Labelled)):
        shape = shape.operand
    return shape


def _is_aggregate(expression: Expression[Any]) -> bool:
    call = _call(expression.shape)
    return isinstance(call, Function) and call.name in _AGGREGATES


EXPRESSIONS = [case[0] for case in EVERYTHING]
WINDOWED = [each for each in EXPRESSIONS if isinstance(_call(each.shape), Over)]
GROUPED = [each for each in EXPRESSIONS if _is_aggregate(each)]
SCALARS = [each for each in EXPRESSIONS if not isinstance(_call(each.shape), Over) and not _is_aggregate(each)]
CONDITIONS = [each for each in SCALARS if each.sql_type is BOOLEAN]
THING_COLUMNS: tuple[Any, ...] = (Thing.id, Thing.small, Thing.name, Thing.day, Thing.on)

scalars = st.sampled_from(SCALARS)
columns = st.sampled_from(THING_COLUMNS)
conditions: st.SearchStrategy[Expression[bool]] = st.recursive(
    st.sampled_from(CONDITIONS),
    lambda inner: st.one_of(
        st.builds(and_, inner, inner), st.builds(or_, inner, inner), inner.map(lambda each: ~each),
        st.builds(lambda a, b: a == b, inner, inner), inner.map(lambda each: each.is_null()),
        inner.map(lambda each: exists(select(User.id).where(User.age > 3, each))),
        st.builds(lambda each, column: Thing.id.in_(select(Order.user_id).where(each, Order.weight > column)), inner, st.just(Thing.f)),
    ),
    max_leaves=4,
)  # fmt: skip
some_conditions = st.lists(conditions, max_size=2)


def _selected(items: Sequence[Any]) -> Any:  # noqa: ANN401 - as many as there are
    make: Any = select
    return make(*(item.as_(f"c{at}") for at, item in enumerate(items))).from_(Thing)


@st.composite
def plain_selects(draw: st.DrawFn, items: Sequence[Any] | None = None) -> Any:  # noqa: ANN401 - a select of any rows
    """Items, joins of all kinds, windows, DISTINCT, order, limits, locks."""
    given = items
    chosen = list(given) if given is not None else draw(st.lists(scalars, min_size=1, max_size=4))
    how = draw(st.sampled_from(["", "", "distinct", "windows", "lock", "sample"])) if given is None else ""
    if how == "windows":
        chosen += draw(st.lists(st.sampled_from(WINDOWED), min_size=1, max_size=2))
        named = func.rank().over("w")
        chosen += [named, count().over(window(base="w", rows=(None, 0)))]
    made = _selected(chosen)
    if how == "windows":
        made = made.window("w", window(partition_by=draw(scalars), order_by=draw(columns).desc(nulls="last")))
    if how == "sample":
        made = made.tablesample(draw(st.sampled_from([1, 50.5])), method=draw(st.sampled_from(["bernoulli", "system"])), seed=3)
    for join in draw(st.lists(st.sampled_from(_JOINS), max_size=2, unique_by=id)):
        made = join(made, draw(conditions))
    made = made.where(*draw(some_conditions))
    if how == "distinct":
        return made.distinct()
    if draw(st.booleans()):
        made = made.order_by(draw(scalars).desc(nulls="first"), draw(columns)).limit(3, with_ties=how != "lock" and draw(st.booleans()))
    if draw(st.booleans()):
        made = made.offset(2)
    if how == "lock":
        lock = draw(st.sampled_from(["for_update", "for_no_key_update", "for_share", "for_key_share"]))
        made = getattr(made, lock)(**draw(st.sampled_from(_WAITS)))
    return made


_WAITS: list[dict[str, Any]] = [{}, {"skip_locked": True}, {"nowait": True, "of": Thing}]
_NEIGHBOUR = alias(Thing, "neighbour")
_JOINS: list[Any] = [
    lambda made, on: made.join(_NEIGHBOUR, (_NEIGHBOUR.id == Thing.id) & on),
    lambda made, on: made.left_join(User, (User.id == Thing.id) & on),
    lambda made, _: made.right_join(Order, Order.id == Thing.small),
    lambda made, _: made.full_join(Line, Line.order_id == Thing.id),
    lambda made, _: made.cross_join(generate_series(1, 3, name="numbers")),
    lambda made, _: made.cross_join(unnest(Thing.tags, ["x"], name="tagged").with_ordinality()),
    lambda made, on: made.join(_lateral(on)),
    lambda made, on: made.left_join(select(User.id, User.name).where(User.active).subquery("active"), on),
    lambda made, on: made.join(values_table("given", [(1, "a"), (2, None)]), on),
    lambda made, _: made.cross_join(
        table_function(func.jsonb_to_recordset(Thing.j), "records", columns={"key": str, "number": decimal.Decimal})
    ),
    lambda made, on: made.join(select(Order.user_id, count().as_("orders")).group_by(Order.user_id).cte("buyers", materialized=False), on),
]  # fmt: skip


def _lateral(condition: Expression[bool]) -> Table:
    return select(Order.id, Order.total).where(Order.user_id == Thing.id, condition).order_by(Order.total.desc()).limit(1).lateral("last")


@st.composite
def grouped_selects(draw: st.DrawFn) -> Any:  # noqa: ANN401 - a select of any rows
    """GROUP BY, with several groupings, aggregates of all kinds and HAVING."""
    keys = draw(st.lists(columns, min_size=1, max_size=2, unique_by=str))
    grouping_by = draw(
        st.sampled_from([lambda: keys, lambda: [rollup(*keys)], lambda: [cube(*keys)], lambda: [grouping_sets(tuple(keys), ())]])
    )
    made = _selected([*keys, *draw(st.lists(st.sampled_from(GROUPED), min_size=1, max_size=3))])
    made = made.where(*draw(some_conditions)).group_by(*grouping_by())
    if draw(st.booleans()):
        made = made.having(count(where=draw(conditions)) > 1, sum_(Thing.small, distinct=True) != 3)
    return made.order_by(keys[0]) if draw(st.booleans()) else made


@st.composite
def combined_selects(draw: st.DrawFn) -> Any:  # noqa: ANN401 - a query of any rows
    """Set operations, nested either way."""
    items = draw(st.lists(scalars, min_size=1, max_size=3))
    parts = [draw(plain_selects(items)) for _ in range(draw(st.integers(2, 3)))]
    made = parts[0]
    for other in parts[1:]:
        operation = draw(st.sampled_from(["union", "union_all", "intersect", "intersect_all", "except_", "except_all"]))
        made = getattr(made, operation)(other) if draw(st.booleans()) else getattr(other, operation)(made)
    return made.limit(5) if draw(st.booleans()) else made


@st.composite
def queries_with_ctes(draw: st.DrawFn) -> Any:  # noqa: ANN401 - a query of any rows
    """CTEs read from twice, recursive ones with SEARCH and CYCLE, ones that write."""
    how = draw(st.sampled_from(["cte", "subquery", "recursive", "writes"]))
    if how == "recursive":
        condition = draw(conditions)
        boss = select(Thing.id, Thing.small, Thing.name).where(draw(conditions))
        found: Any = boss.recursive_cte(
            "found",
            lambda before: select(Thing.id, Thing.small, Thing.name).join(before, before[Thing.id] == Thing.small).where(condition),
            distinct=draw(st.booleans()),
        )
        step = draw(st.sampled_from(["", "search_depth_first", "search_breadth_first", "cycle"]))
        if step:
            found = getattr(found, step)(found[Thing.id])
        return select(found[Thing.name], count().over(order_by=found[Thing.small])).from_(found).where(found[Thing.id] > 1)
    if how == "writes":
        gone = draw(writes()).cte("gone")
        return select(count()).from_(gone)
    inner: Query[Any] = draw(plain_selects() | grouped_selects() | combined_selects())
    table: Any = inner.subquery("part") if how == "subquery" else inner.cte("part", materialized=draw(st.none() | st.booleans()))
    made = select(table.column("c0"), Thing.id).from_(table).join(Thing, draw(conditions))
    if how == "cte" and draw(st.booleans()):
        made = made.where(Thing.id.in_(select(count()).from_(table)))
    return made.limit(1)


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@st.composite
def writes(draw: st.DrawFn) -> Any:  # noqa: ANN401 - a write that returns rows of any kind
    """INSERT, UPDATE, DELETE and MERGE in all their forms, returning what was and what is."""
    verb = draw(st.sampled_from([_inserts, _updates, _deletes, _merges]))
    made, model = draw(verb())
    if model is Thing:
        return made.returning(draw(scalars).as_("r0"), Thing.id, old(Thing).name, new(Thing).small + 1)
    returned = [model.id, old(model).id, (new(model).id + 1).as_("r1")]
    if verb is _merges:
        returned.append(merge_action())
    return made.returning(*returned)


@st.composite
def _inserts(draw: st.DrawFn) -> tuple[Any, Any]:
    row = st.fixed_dictionaries({"name": _TEXT, "age": st.integers(0, 99)}, optional={"email": st.none() | _TEXT, "active": st.booleans()})
    how = draw(st.sampled_from(["rows", "expressions", "select", "defaults"]))
    made: Any = insert(User)
    if how == "rows":
        made = made.values(*draw(st.lists(row, min_size=1, max_size=3)))
    elif how == "expressions":
        made = made.values(
            {"name": func.upper(literal("a")), "age": select(func.max(User.age, returns=int)), "email": literal("x") + "y", "active": True}
        )
    elif how == "select":
        source = select(Thing.name, Thing.small.as_("age"), Thing.on).where(*draw(some_conditions))
        made = made.from_select(source, User.name, User.age, User.active)
    else:
        return insert(User).default_values(), User
    if draw(st.booleans()):
        made = getattr(made, draw(st.sampled_from(["overriding_system_value", "overriding_user_value"])))()
    conflict = draw(st.sampled_from(["", "nothing", "target", "constraint", "where"]))
    if conflict == "nothing":
        made = made.on_conflict().do_nothing()
    elif conflict == "constraint":
        made = made.on_conflict(constraint="users_email_key").do_update(User.name)
    elif conflict:
        target = made.on_conflict(User.email, where=sql("active").as_type(bool) if conflict == "where" else None)
        made = target.do_update(set={User.age: excluded(User).age + User.age}, where=User.age < excluded(User).age)
    return made, User


@st.composite
def _updates(draw: st.DrawFn) -> tuple[Any, Any]:
    how = draw(st.sampled_from(["where", "using", "each", "thing"]))
    if how == "each":
        return update(User).set_each([{"id": 1, "name": draw(_TEXT)}, {"id": 2, "name": "b"}]), User
    if how == "thing":
        return update(Thing).set({"name": Thing.name + draw(_TEXT), "small": Thing.small * 2}).where(draw(conditions)), Thing
    made: Any = update(User).set(User.age, User.age + 1).set({"email": None, "manager_id": select(func.min(Order.id, returns=int))})
    if how == "using":
        made = made.using(Order).left_join(Line, Line.order_id == Order.id).where(Order.user_id == User.id, Order.status == Status.OPEN)
    return made.where(User.name != draw(_TEXT)), User


@st.composite
def _deletes(draw: st.DrawFn) -> tuple[Any, Any]:
    how = draw(st.sampled_from(["everywhere", "using", "thing"]))
    if how == "everywhere":
        return delete(User).everywhere(), User
    if how == "thing":
        return delete(Thing).where(*draw(some_conditions), Thing.id > 0), Thing
    recent = select(Order.user_id).where(Order.total > decimal.Decimal(3)).cte("recent")
    return delete(User).using(recent).where(recent[Order.user_id] == User.id), User


@st.composite
def _merges(draw: st.DrawFn) -> tuple[Any, Any]:
    source: Any = draw(
        st.sampled_from([Order, values_table("given", [(1, "a")]), select(Order.id, Order.user_id).where(Order.id > 3).subquery("given")])
    )
    key = Order.user_id if source is Order else source.columns[0] if hasattr(source, "columns") else source[Order.user_id]
    made: Any = merge(User).using(source, on=key == User.id)
    if draw(st.booleans()):
        made = made.when_matched(User.age > 3).delete()
    made = made.when_matched().update({User.age: User.age + 1, User.name: draw(_TEXT)})
    if draw(st.booleans()):
        made = made.when_not_matched(key > 1).insert({User.name: "x", User.age: 3, User.active: True})
    if draw(st.booleans()):
        made = made.when_not_matched_by_source().do_nothing()
    return made, User


def statements() -> st.SearchStrategy[Statement[Any]]:
    """All of them."""
    return plain_selects() | grouped_selects() | combined_selects() | queries_with_ctes() | writes()
