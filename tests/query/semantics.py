"""Questions with answers: generated statements, each beside a function that works out its rows in plain Python.

The contract: nothing here asks the library or a server what a statement means. Rows are dicts, tables lists of them, an unknown value is
None, and SQL's rules (three truth values, NULLs in order, frames, multisets) are written out by hand in `sql_rules.py`. `questions()`
generates both halves together; `tests/database/test_semantics.py` runs the one on a real server and compares it with the other.

Words are made of small letters only, whose order is the same in every collation; whole numbers stay small, so nothing overflows.
"""

# Expressions of any class are mixed by chance here, so no checker can know theirs; `tests/typing` is about that.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import functools
import itertools
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.query.sql_rules import (
    BOOL,
    INT,
    NOTHING_THERE,
    TABLES,
    TEXT,
    Data,
    Env,
    Item,
    Order,
    Question,
    Term,
    and3,
    compared,
    in_order,
    known,
)
from tests.query.terms import Maker, table_columns
from trioorm.expression import (
    Expression,
)
from trioorm.query import Select, cube, grouping, grouping_sets, rollup, select

# Statements.


class Tables(NamedTuple):
    """What stands in FROM: what it adds to a select, the rows that it gives, its columns, and the order that tells its rows apart."""

    build: Callable[[Select[Any]], Select[Any]]
    envs: Callable[[Data], list[Env]]
    columns: list[Term]
    ties: list[Order]


@st.composite
def joined_tables(draw: st.DrawFn) -> Tables:
    """`items`, with up to two other tables joined to it in any way."""
    names = ["items", *draw(st.sampled_from([[], ["parts"], ["parts"], ["other"], ["parts", "other"], ["other", "parts"]]))]
    columns = table_columns("items", Item)
    steps: list[tuple[str, str, Term | None]] = []
    for name in names[1:]:
        how = draw(st.sampled_from(["join", "left_join", "right_join", "full_join", "cross_join"]))
        new = table_columns(name, TABLES[name][0])
        condition: Term | None = None
        if how == "full_join":  # the server takes only comparisons that it can merge or hash by
            kind = draw(st.sampled_from([INT, TEXT]))
            mine, other = (draw(st.sampled_from([term for term in side if term.kind == kind])) for side in (columns, new))
            condition = Term(mine.expression == other.expression, known_equal(mine, other), BOOL)
        elif how != "cross_join":
            condition = Maker(draw, columns + new, plain=draw(st.booleans())).truth(2)
        columns = columns + new
        steps.append((name, how, condition))

    def build(statement: Select[Any]) -> Select[Any]:
        made: Any = statement.from_(Item)
        for name, how, condition in steps:
            made = getattr(made, how)(TABLES[name][0], *(() if condition is None else (condition.expression,)))
        joined: Select[Any] = made
        return joined

    def envs(data: Data) -> list[Env]:
        found: list[Env] = [{"": data, "items": row} for row in data["items"]]
        before = ["items"]
        for name, how, condition in steps:
            rows = data[TABLES[name][1]]
            pairs = [(left, right) for left in range(len(found)) for right in range(len(rows))]
            kept = [(left, right) for left, right in pairs if condition is None or condition.of({**found[left], name: rows[right]}) is True]
            made = [{**found[left], name: rows[right]} for left, right in kept]
            if how in ("left_join", "full_join"):
                met = {left for left, _ in kept}
                made += [{**env, name: NOTHING_THERE} for left, env in enumerate(found) if left not in met]
            if how in ("right_join", "full_join"):
                met = {right for _, right in kept}
                missing = dict.fromkeys(before, NOTHING_THERE)
                made += [{"": data, **missing, name: row} for right, row in enumerate(rows) if right not in met]
            found = made
            before.append(name)
        return found

    ties = [
        Order(Term(TABLES[name][0].id, functools.partial(_id_of, name), INT), False, None) for name in names
    ]  # fmt: skip
    return Tables(build, envs, columns, ties)


def _id_of(name: str, env: Env) -> Any:  # noqa: ANN401 - None where an outer join found nothing
    return env[name]["id"]


def known_equal(a: Term, b: Term) -> Callable[[Env], Any]:
    return lambda env: known(operator.eq, a.of(env), b.of(env))


@st.composite
def derived_tables(draw: st.DrawFn) -> Tables:
    """The rows of another question, as a subquery or a CTE."""
    inner = draw(grouped() | plain(joined_tables()) | combined())
    labelled = inner.statement
    table: Any = labelled.subquery("sub") if draw(st.booleans()) else labelled.cte("sub", materialized=draw(st.none() | st.booleans()))
    python: dict[str, type] = {INT: int, TEXT: str, BOOL: bool}

    def read(name: str) -> Callable[[Env], Any]:
        return lambda env: env["sub"][name]

    columns = [
        Term(table.column(f"c{at}", python[kind]), read(f"c{at}"), kind) for at, kind in enumerate(inner.kinds) if kind in python
    ]  # fmt: skip

    def envs(data: Data) -> list[Env]:
        return [{"": data, "sub": {f"c{at}": value for at, value in enumerate(row)}} for row in inner.rows(data)]

    return Tables(functools.partial(_read_from, table), envs, columns, [])


_SIZES = st.sampled_from([None, None, None, 0, 1, 2, 3])


@st.composite
def plain(draw: st.DrawFn, tables: st.SearchStrategy[Tables], kinds: tuple[str, ...] | None = None) -> Question:
    """Filters, order, limits, window functions, DISTINCT and DISTINCT ON."""
    build, envs, columns, ties = draw(tables)
    maker = Maker(draw, columns)
    conditions = [maker.truth(2) for _ in range(draw(st.sampled_from([0, 0, 1, 2])))]
    # Each item: its expression, its values for all rows, its kind.
    items: list[tuple[Expression[Any], Callable[[list[Env]], list[Any]], str]] = []
    terms: list[Term] = []
    for kind in kinds or [draw(st.sampled_from([INT, INT, TEXT, BOOL])) for _ in range(draw(st.integers(1, 3)))]:
        term = maker.key_of(maker.term(kind, 2))
        terms.append(term)
        items.append((term.expression, _of_each(term), kind))
    how = draw(st.sampled_from(["", "", "distinct"] if not ties or kinds else ["", "", "distinct", "distinct on", "windows", "windows"]))
    if how == "windows":
        items.append(maker.over(ties))
    orders = maker.orders(2)
    with_ties = bool(orders) and how == "" and draw(st.integers(0, 3)) == 0
    statement: Any = build(_selected([expression for expression, _, _ in items]))
    if conditions:
        statement = statement.where(*(condition.expression for condition in conditions))
    first: list[Order] = []
    if how == "distinct":
        statement, orders = statement.distinct(), []
    elif how == "distinct on":
        if not orders:
            orders = [Order(terms[0], False, None)]
        # An item, so that its values can be said by its place: PostgreSQL must see the same expression in both clauses.
        first = [orders[0]._replace(term=terms[0])]
        orders = first + orders + ties
        statement = statement.distinct(terms[0].expression)
    elif ties and not with_ties:
        orders = orders + ties
    if orders:
        statement = statement.order_by(*(order.built for order in orders))
    ordered = bool(ties) and bool(orders) and not with_ties
    size = draw(_SIZES) if orders else None
    skip = draw(_SIZES) if ordered else None
    if with_ties:
        size = draw(st.integers(1, 4))
    if size is not None:
        statement = statement.limit(size, with_ties=with_ties)
        ordered = ordered and not with_ties
    if skip is not None:
        statement = statement.offset(skip)
    if size is not None and not ordered and not with_ties:  # which rows are cut off would be the server's choice
        statement, size = statement.limit(1_000), None

    def rows(data: Data) -> list[tuple[Any, ...]]:
        found = [env for env in envs(data) if and3([condition.of(env) for condition in conditions]) is True]
        columns_of_values = [values(found) for _, values, _ in items]
        cells = {id(env): tuple(values[at] for values in columns_of_values) for at, env in enumerate(found)}
        found = in_order(orders, found)
        if how == "distinct on":
            found = [env for at, env in enumerate(found) if at == 0 or compared(first, found[at - 1], env)]
        if how == "distinct":
            return list(dict.fromkeys(cells[id(env)] for env in found))
        found = found[skip or 0 :]
        if size is not None:
            cut = size
            while with_ties and 0 < cut < len(found) and compared(orders, found[cut - 1], found[cut]) == 0:
                cut += 1
            found = found[:cut]
        return [cells[id(env)] for env in found]

    return Question(statement, rows, ordered, tuple(kind for _, _, kind in items))


def _read_from(table: Any, statement: Select[Any]) -> Select[Any]:  # noqa: ANN401 - of any columns
    made: Select[Any] = statement.from_(table)
    return made


def _of_each(term: Term) -> Callable[[list[Env]], list[Any]]:
    return lambda envs: [term.of(env) for env in envs]


def _selected(expressions: Sequence[Expression[Any]]) -> Select[Any]:
    make: Any = select
    made: Select[Any] = make(*(expression.as_(f"c{at}") for at, expression in enumerate(expressions)))
    return made


@st.composite
def grouped(draw: st.DrawFn) -> Question:
    """GROUP BY with aggregates, FILTER, HAVING, ROLLUP, CUBE and GROUPING SETS."""
    build, envs, columns, _ = draw(joined_tables())
    maker = Maker(draw, columns)
    how = draw(st.sampled_from(["all", "terms", "terms", "rollup", "cube", "sets"]))
    keys: list[Term] = []
    sets: list[tuple[int, ...]] = [()]
    grouping_terms: list[Any] = []
    if how == "terms":
        keys = [Maker(draw, columns, plain=True).key(2) for _ in range(draw(st.integers(1, 2)))]
        sets = [tuple(range(len(keys)))]
        grouping_terms = [term.expression for term in keys]
    elif how != "all":
        keys = draw(st.lists(st.sampled_from(columns), min_size=1, max_size=2, unique_by=lambda term: str(term.expression)))
        whole = tuple(range(len(keys)))
        if how == "rollup":
            sets = [whole[:length] for length in range(len(whole) + 1)]
            grouping_terms = [rollup(*(term.expression for term in keys))]
        elif how == "cube":
            sets = [chosen for length in range(len(whole) + 1) for chosen in itertools.combinations(whole, length)]
            grouping_terms = [cube(*(term.expression for term in keys))]
        else:
            sets = [*draw(st.lists(st.sampled_from([(), *((number,) for number in whole), whole]), max_size=2)), whole]
            grouping_terms = [grouping_sets(*(tuple(keys[number].expression for number in chosen) for chosen in sets))]

    totals = [maker.aggregate() for _ in range(draw(st.integers(1, 2)))]
    items = keys + totals
    if keys and how not in ("all", "terms"):
        items = [*items, Term(grouping(*(term.expression for term in keys)), lambda env: env["grouping"], INT)]
    having: Term | None = None
    if draw(st.booleans()):
        over_groups = [maker.aggregate(kinds=(INT, TEXT, BOOL)) for _ in range(2)]
        having = Maker(draw, over_groups, plain=True).truth(1)

    statement: Any = build(_selected([term.expression for term in items]))
    condition = maker.truth(2) if draw(st.booleans()) else None
    if condition is not None:
        statement = statement.where(condition.expression)
    if grouping_terms:
        statement = statement.group_by(*grouping_terms)
    if having is not None:
        statement = statement.having(having.expression)

    def rows(data: Data) -> list[tuple[Any, ...]]:
        found = [env for env in envs(data) if condition is None or condition.of(env) is True]
        answer: list[tuple[Any, ...]] = []
        for chosen in sets:
            groups: dict[tuple[Any, ...], list[Env]] = {} if chosen else {(): []}
            for env in found:
                groups.setdefault(tuple(keys[number].of(env) for number in chosen), []).append(env)
            for key, members in groups.items():
                env = {
                    "": data,
                    "group": members,
                    "grouping": sum(1 << at for at, k in enumerate(reversed(range(len(keys)))) if k not in chosen),
                }
                if having is not None and having.of(env) is not True:
                    continue
                cells = [key[chosen.index(number)] if number in chosen else None for number in range(len(keys))]
                answer.append((*cells, *(term.of(env) for term in items[len(keys) :])))
        return answer

    return Question(statement, rows, False, tuple(term.kind for term in items))


@st.composite
def combined(draw: st.DrawFn) -> Question:
    """UNION, INTERSECT and EXCEPT, of two or three queries, with and without ALL."""
    kinds = tuple(draw(st.lists(st.sampled_from([INT, TEXT, BOOL]), min_size=1, max_size=2)))
    parts = [draw(plain(joined_tables(), kinds)) for _ in range(draw(st.integers(2, 3)))]
    operations = [
        draw(st.sampled_from(["union", "union_all", "intersect", "intersect_all", "except_", "except_all"])) for _ in parts[1:]
    ]  # fmt: skip
    to_the_right = draw(st.booleans())  # where the parentheses go
    statements: list[Any] = [part.statement for part in parts]
    if to_the_right:
        made = statements[-1]
        for other, operation in zip(reversed(statements[:-1]), reversed(operations), strict=True):
            made = getattr(other, operation)(made)
    else:
        made = statements[0]
        for other, operation in zip(statements[1:], operations, strict=True):
            made = getattr(made, operation)(other)

    def rows(data: Data) -> list[tuple[Any, ...]]:
        bags = [Counter(part.rows(data)) for part in parts]
        if to_the_right:
            bag = bags[-1]
            for other, operation in zip(reversed(bags[:-1]), reversed(operations), strict=True):
                bag = brought_together(operation, other, bag)
        else:
            bag = bags[0]
            for other, operation in zip(bags[1:], operations, strict=True):
                bag = brought_together(operation, bag, other)
        return list(bag.elements())

    return Question(made, rows, False, kinds)


def brought_together(operation: str, left: Counter[Any], right: Counter[Any]) -> Counter[Any]:
    if operation == "union_all":
        return left + right
    if operation == "intersect_all":
        return left & right
    if operation == "except_all":
        return left - right
    rows = {
        "union": set(left) | set(right), "intersect": set(left) & set(right), "except_": set(left) - set(right),
    }[operation]  # fmt: skip
    return Counter(rows)


def questions() -> st.SearchStrategy[Question]:
    """All of them."""
    return plain(joined_tables()) | plain(joined_tables()) | grouped() | combined() | plain(derived_tables())
