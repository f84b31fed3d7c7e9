"""Questions with answers: generated statements, each beside a function that works out its rows in plain Python.

The contract: nothing here asks the library or a server what a statement means. Rows are dicts, tables lists of them, an unknown value is
None, and SQL's rules (three truth values, NULLs in order, frames, multisets) are written out by hand below. `questions()` generates both
halves together; `tests/database/test_semantics.py` runs the one on a real server and compares it with the other.

Words are made of small letters only, whose order is the same in every collation; whole numbers stay small, so nothing overflows.
"""

# Expressions of any class are mixed by chance here, so no checker can know theirs; `tests/typing` is about that.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import functools
import itertools
import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

from hypothesis import strategies as st

from trioorm.expression import (
    Column,
    Expression,
    Ordering,
    all_,
    and_,
    any_,
    avg,
    case,
    coalesce,
    count,
    exists,
    func,
    greatest,
    least,
    literal,
    max_,
    min_,
    nullif,
    or_,
    sum_,
    window,
)
from trioorm.expression.shape import Bind
from trioorm.model import Model, column
from trioorm.query import Query, Select, alias, cube, grouping, grouping_sets, rollup, select

Row: TypeAlias = dict[str, Any]
Data: TypeAlias = dict[str, list[Row]]
Env: TypeAlias = dict[str, Any]
"""What an expression sees: a row under the name of each table, all data under "", the rows of a group under "group"."""

INT, TEXT, BOOL = "int", "text", "bool"
NUMBERS = (-2, -1, 0, 1, 2, 3)
WORDS = ("", "a", "b", "ab", "ba", "aab")
PATTERNS = ("%", "a%", "%b", "_", "%a%", "a_")


class Item(Model, table="items"):
    id: Column[int] = column(primary_key=True)
    a: Column[int | None]
    b: Column[int | None]
    word: Column[str | None]
    flag: Column[bool | None]


class Part(Model, table="parts"):
    id: Column[int] = column(primary_key=True)
    a: Column[int | None]
    b: Column[int | None]
    word: Column[str | None]
    flag: Column[bool | None]


OTHER = alias(Item, "other")
COLUMNS = {"id": INT, "a": INT, "b": INT, "word": TEXT, "flag": BOOL}
TABLES: dict[str, tuple[type[Item] | type[Part], str]] = {"items": (Item, "items"), "parts": (Part, "parts"), "other": (OTHER, "items")}
"""Each table under its name in statements, and whose rows it has."""
NOTHING_THERE: Row = dict.fromkeys(COLUMNS)

DATA: st.SearchStrategy[Data] = st.fixed_dictionaries(
    {
        name: st.lists(
            st.tuples(
                st.none() | st.sampled_from(NUMBERS),
                st.none() | st.sampled_from(NUMBERS),
                st.none() | st.sampled_from(WORDS),
                st.none() | st.booleans(),
            ),
            min_size=3 if name == "items" else 0,
            max_size=8,
        ).map(lambda rows: [dict(zip(COLUMNS, (number, *row), strict=True)) for number, row in enumerate(rows, 1)])
        for name in ("items", "parts")
    }
)


class Term(NamedTuple):
    """An expression, and its value for what it sees."""

    expression: Any  # of whatever class; what type checkers refuse is tested in tests/typing
    of: Callable[[Env], Any]
    kind: str


class Question(NamedTuple):
    """A statement, and the rows that it must give; in this order if `ordered`."""

    statement: Query[Any]
    rows: Callable[[Data], list[tuple[Any, ...]]]
    ordered: bool
    kinds: tuple[str, ...]


# SQL's rules.


def and3(truths: Sequence[bool | None]) -> bool | None:
    return False if any(truth is False for truth in truths) else None if None in truths else True


def or3(truths: Sequence[bool | None]) -> bool | None:
    return True if any(truth is True for truth in truths) else None if None in truths else False


def not3(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def known(function: Callable[..., Any], *values: Any) -> Any:  # noqa: ANN401 - values of any column
    """Most functions and operators give NULL as soon as one operand is NULL."""
    return None if any(value is None for value in values) else function(*values)


def divided(a: int, b: int) -> int:
    """Towards zero, where Python divides downwards."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def remainder(a: int, b: int) -> int:
    return a - b * divided(a, b)


def is_like(text: str, pattern: str) -> bool:
    return re.fullmatch("".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern), text, re.DOTALL) is not None


COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class Order(NamedTuple):
    """A term of an ORDER BY."""

    term: Term
    descending: bool
    nulls: str | None

    @property
    def built(self) -> Ordering:
        made: Any = self.term.expression.desc if self.descending else self.term.expression.asc
        ordering: Ordering = made(nulls=self.nulls)
        return ordering

    @property
    def nulls_first(self) -> bool:
        return self.nulls == "first" or (self.nulls is None and self.descending)


def compared(orders: Sequence[Order], left: Env, right: Env) -> int:
    for order in orders:
        a, b = order.term.of(left), order.term.of(right)
        if a is None or b is None:
            if (a is None) is not (b is None):
                return -1 if (a is None) == order.nulls_first else 1
        elif a != b:
            return -1 if (a < b) != order.descending else 1
    return 0


def in_order(orders: Sequence[Order], envs: Sequence[Env]) -> list[Env]:
    return sorted(envs, key=functools.cmp_to_key(functools.partial(compared, orders)))


class Frame(NamedTuple):
    unit: str
    start: int | None
    end: int | None
    exclude: str | None


def framed(frame: Frame | None, orders: Sequence[Order], partition: list[Env], at: int) -> list[Env]:
    """The rows of a frame, by the definition of the manual, section 4.2.8."""
    here = partition[at]
    peers = [compared(orders, here, other) == 0 for other in partition]
    unit, start, end, exclude = frame if frame is not None else Frame("range_", None, 0, None)
    groups: list[int] = []
    for number, row in enumerate(partition):
        groups.append(0 if number == 0 else groups[-1] + (compared(orders, partition[number - 1], row) != 0))

    def distance(other: int) -> int | None:
        """How far a row lies from this one, in the frame's unit; None where no number says so."""
        if unit == "rows":
            return other - at
        if unit == "groups" or (start in (None, 0) and end in (None, 0)):
            return groups[other] - groups[at]
        a, b = orders[0].term.of(here), orders[0].term.of(partition[other])
        if a is None or b is None:
            return None
        away: int = a - b if orders[0].descending else b - a
        return away

    kept: list[Env] = []
    for other, env in enumerate(partition):
        away = distance(other)
        if away is None:  # NULLs are peers, from which no number leads away; a NULL and a number: one lies wholly before the other
            inside = peers[other] or (start is None if other < at else end is None)
        else:
            inside = (start is None or away >= start) and (end is None or away <= end)
        left_out = (
            (exclude == "current row" and other == at)
            or (exclude == "group" and peers[other])
            or (exclude == "ties" and peers[other] and other != at)
        )
        if inside and not left_out:
            kept.append(env)
    return kept


# Generation. A maker draws terms over some columns; each method makes the two halves side by side.


class Maker:
    """Makes terms over the columns given. `plain` leaves out subqueries."""

    def __init__(self, draw: st.DrawFn, columns: Sequence[Term], *, plain: bool = False) -> None:
        self.draw = draw
        self.columns = list(columns)
        self.plain = plain

    def chance(self, one_of: int) -> bool:
        return self.draw(st.integers(0, one_of - 1)) == 0

    def pick(self, options: Sequence[Any]) -> Any:  # noqa: ANN401 - one of what was given
        return options[self.draw(st.integers(0, len(options) - 1))]

    def term(self, kind: str, depth: int = 2) -> Term:
        return {INT: self.number, TEXT: self.word, BOOL: self.truth}[kind](depth)

    def any_term(self, depth: int = 1) -> Term:
        return self.term(self.pick((INT, INT, TEXT, BOOL)), depth)

    def leaf(self, kind: str, values: Sequence[Any]) -> Term:
        own = [term for term in self.columns if term.kind == kind]
        if own and not self.chance(4):
            found: Term = self.pick(own)
            return found
        value = self.pick(values)
        return Term(literal(value), lambda _: value, kind)

    def number(self, depth: int) -> Term:
        if depth <= 0:
            return self.leaf(INT, NUMBERS)
        what = self.draw(st.integers(0, 10))
        if what < 3:
            return self.leaf(INT, NUMBERS)
        if what == 3:
            word = self.word(depth - 1)
            return Term(func.length(word.expression), lambda env: known(len, word.of(env)), INT)
        if what == 4:
            return self.chosen(INT, depth)
        if what == 5 and not self.plain:
            return self.asked(depth)
        a, b = self.number(depth - 1), self.number(depth - 1)
        if what == 6:
            whole = self.chance(2)
            safe = nullif(b.expression, 0)
            made = a.expression / safe if whole else a.expression % safe
            divide = divided if whole else remainder
            return Term(made, lambda env: known(divide, a.of(env), b.of(env) or None), INT)
        if what == 7:
            return self.extreme(a, b, INT)
        if what == 8:
            return Term(-a.expression, lambda env: known(operator.neg, a.of(env)), INT)
        how: Callable[[Any, Any], Any] = self.pick((operator.add, operator.sub, operator.mul))
        return Term(how(a.expression, b.expression), lambda env: known(how, a.of(env), b.of(env)), INT)

    def word(self, depth: int) -> Term:
        if depth <= 0:
            return self.leaf(TEXT, WORDS)
        what = self.draw(st.integers(0, 6))
        if what < 3:
            return self.leaf(TEXT, WORDS)
        if what == 3:
            return self.chosen(TEXT, depth)
        a = self.word(depth - 1)
        if what == 4:
            return Term(func.reverse(a.expression), lambda env: known(lambda text: text[::-1], a.of(env)), TEXT)
        b = self.word(depth - 1)
        if what == 5:
            return self.extreme(a, b, TEXT)
        return Term(a.expression + b.expression, lambda env: known(operator.add, a.of(env), b.of(env)), TEXT)

    def extreme(self, a: Term, b: Term, kind: str) -> Term:
        """greatest() and least() pass over NULLs; coalesce() and nullif() are what they are."""

        def passed(env: Env, choose: Callable[[list[Any]], Any]) -> Any:  # noqa: ANN401 - a value of the column
            there = [value for value in (a.of(env), b.of(env)) if value is not None]
            return choose(there) if there else None

        what = self.draw(st.integers(0, 3))
        if what == 0:
            return Term(greatest(a.expression, b.expression), lambda env: passed(env, max), kind)
        if what == 1:
            return Term(least(a.expression, b.expression), lambda env: passed(env, min), kind)
        if what == 2:
            return Term(coalesce(a.expression, b.expression), lambda env: passed(env, lambda there: there[0]), kind)

        def unless_equal(env: Env) -> Any:  # noqa: ANN401 - a value of the column
            left, right = a.of(env), b.of(env)
            return None if left is not None and left == right else left

        return Term(nullif(a.expression, b.expression), unless_equal, kind)

    def chosen(self, kind: str, depth: int) -> Term:
        """CASE: only a condition that is true takes its branch."""
        first, second = self.truth(depth - 1), self.truth(depth - 1)
        one, two, three = (self.term(kind, depth - 1) for _ in range(3))
        has_else = self.chance(2)
        made: Any = case(
            (first.expression, one.expression), (second.expression, two.expression), else_=three.expression if has_else else None
        )

        def value(env: Env) -> Any:  # noqa: ANN401 - a value of the column
            if first.of(env) is True:
                return one.of(env)
            if second.of(env) is True:
                return two.of(env)
            return three.of(env) if has_else else None

        return Term(made, value, kind)

    def truth(self, depth: int) -> Term:
        what = self.draw(st.integers(0, 13 if depth > 0 else 4))
        if what == 0:
            flags = [term for term in self.columns if term.kind == BOOL]
            if flags:
                flag: Term = self.pick(flags)
                return flag
        if what <= 3:
            return self.comparison(depth)
        if what == 4:
            asked = self.term(self.pick((INT, TEXT, BOOL)), depth - 1) if depth > 0 else self.leaf(INT, NUMBERS)
            if self.chance(2):
                return Term(asked.expression.is_null(), lambda env: asked.of(env) is None, BOOL)
            return Term(asked.expression.is_not_null(), lambda env: asked.of(env) is not None, BOOL)
        if what <= 6:
            parts = [self.truth(depth - 1) for _ in range(self.draw(st.integers(2, 3)))]
            expressions = [part.expression for part in parts]
            if self.chance(2):
                made = and_(*expressions) if self.chance(2) else functools.reduce(operator.and_, expressions)
                return Term(made, lambda env: and3([part.of(env) for part in parts]), BOOL)
            made = or_(*expressions) if self.chance(2) else functools.reduce(operator.or_, expressions)
            return Term(made, lambda env: or3([part.of(env) for part in parts]), BOOL)
        if what == 7:
            inner = self.truth(depth - 1)
            return Term(~inner.expression, lambda env: not3(inner.of(env)), BOOL)
        if what == 8:
            return self.listed(depth)
        if what == 9:
            low, middle, high = (self.number(depth - 1) for _ in range(3))
            return Term(
                middle.expression.between(low.expression, high.expression),
                lambda env: and3([known(operator.le, low.of(env), middle.of(env)), known(operator.le, middle.of(env), high.of(env))]),
                BOOL,
            )
        if what == 10:
            kind = self.pick((INT, TEXT, BOOL))
            a, b = self.term(kind, depth - 1), self.term(kind, depth - 1)
            if self.chance(2):
                return Term(a.expression.is_distinct_from(b.expression), lambda env: a.of(env) != b.of(env), BOOL)
            return Term(a.expression.is_not_distinct_from(b.expression), lambda env: a.of(env) == b.of(env), BOOL)
        if what == 11:
            word, pattern = self.word(depth - 1), self.pick(PATTERNS)
            if self.chance(2):
                return Term(word.expression.like(pattern), lambda env: known(is_like, word.of(env), pattern), BOOL)
            return Term(word.expression.not_like(pattern), lambda env: not3(known(is_like, word.of(env), pattern)), BOOL)
        return self.comparison(depth) if self.plain else self.looked_up(depth)

    def comparison(self, depth: int) -> Term:
        kind = self.pick((INT, INT, TEXT, BOOL)) if depth > 0 else self.pick((INT, TEXT))
        sign = self.pick(tuple(COMPARISONS))
        compare = COMPARISONS[sign]
        a = self.term(kind, depth - 1)
        if self.chance(3):  # with a plain value, which is bound as the left side's type
            value = self.pick({INT: NUMBERS, TEXT: WORDS, BOOL: (True, False)}[kind])
            return Term(compare(a.expression, value), lambda env: known(compare, a.of(env), value), BOOL)
        b = self.term(kind, depth - 1)
        return Term(compare(a.expression, b.expression), lambda env: known(compare, a.of(env), b.of(env)), BOOL)

    def listed(self, depth: int) -> Term:
        """IN, NOT IN, ANY and ALL over a list of values. Nothing is in an empty list, not even NULL."""
        a = self.number(depth - 1)
        values = self.draw(st.lists(st.sampled_from(NUMBERS), max_size=3))
        if self.chance(2):

            def is_in(env: Env) -> bool | None:
                return or3([known(operator.eq, a.of(env), value) for value in values])

            if self.chance(2):
                return Term(a.expression.in_(values), is_in, BOOL)
            return Term(a.expression.not_in(values), lambda env: not3(is_in(env)), BOOL)
        values = values or [0]
        if self.chance(2):
            return Term(a.expression > any_(values), lambda env: or3([known(operator.gt, a.of(env), value) for value in values]), BOOL)
        return Term(a.expression <= all_(values), lambda env: and3([known(operator.le, a.of(env), value) for value in values]), BOOL)

    def inner(self, depth: int) -> "tuple[Maker, Term, Callable[[Env], list[Env]]]":
        """Rows of a table under another name, kept by a condition that may look at the outer row."""
        within = Maker(self.draw, [*self.columns, *table_columns("inner", INNER)], plain=True)
        condition = within.truth(min(depth - 1, 1))

        def rows(env: Env) -> list[Env]:
            envs = [{**env, "inner": row} for row in env[""]["parts"]]
            return [inner for inner in envs if condition.of(inner) is True]

        return Maker(self.draw, table_columns("inner", INNER), plain=True), condition, rows

    def looked_up(self, depth: int) -> Term:
        """EXISTS, IN and ANY over a subquery, with all that NULLs do to them."""
        within, condition, rows = self.inner(depth)
        if self.chance(3):
            made: Expression[bool] = exists(select(INNER.id).where(condition.expression))
            return Term(made, lambda env: bool(rows(env)), BOOL)
        a, b = self.number(depth - 1), within.number(1)
        inner = select(b.expression).from_(INNER).where(condition.expression)

        def is_in(env: Env) -> bool | None:
            mine = a.of(env)
            return or3([known(operator.eq, mine, b.of(found)) for found in rows(env)])

        if self.chance(3):
            return Term(a.expression.in_(inner), is_in, BOOL)
        if self.chance(2):
            return Term(a.expression.not_in(inner), lambda env: not3(is_in(env)), BOOL)

        def is_above_all(env: Env) -> bool | None:
            mine = a.of(env)
            return and3([known(operator.gt, mine, b.of(found)) for found in rows(env)])

        return Term(a.expression > all_(inner), is_above_all, BOOL)

    def asked(self, depth: int) -> Term:
        """A subquery that gives one number."""
        within, condition, rows = self.inner(depth)
        total = within.aggregate(kinds=(INT,), windowed=True)
        made: Any = select(total.expression).from_(INNER).where(condition.expression)
        return Term(made, lambda env: total.of({**env, "group": rows(env)}), INT)

    def aggregate(self, kinds: Sequence[str] = (INT, TEXT, BOOL, "mean", "list"), *, windowed: bool = False) -> Term:
        """An aggregate of the rows under "group"; those that can stand over a window only, if `windowed`."""
        kept = self.truth(1) if self.chance(3) else None
        where = None if kept is None else kept.expression
        kind = self.pick(kinds)

        def values(env: Env, term: Term, *, distinct: bool = False) -> list[Any]:
            rows = [row for row in env["group"] if kept is None or kept.of({**env, **row}) is True]
            found = [value for value in (term.of({**env, **row}) for row in rows) if value is not None]
            return list(dict.fromkeys(found)) if distinct else found

        if kind == INT:
            what = self.draw(st.integers(0, 4))
            number = self.any_term() if what == 1 else self.number(1)
            unlike = not windowed and self.chance(3)
            if what == 0:
                one = Term(literal(1), lambda _: 1, INT)
                return Term(count(where=where), lambda env: len(values(env, one)), INT)
            if what == 1:
                made: Any = count(number.expression, distinct=unlike, where=where)
                return Term(made, lambda env: len(values(env, number, distinct=unlike)), INT)
            if what == 2:
                return Term(
                    sum_(number.expression, distinct=unlike, where=where),
                    lambda env: (lambda found: sum(found) if found else None)(values(env, number, distinct=unlike)),
                    INT,
                )
            least_, most = min_(number.expression, where=where), max_(number.expression, where=where)
            choose: Callable[..., Any] = min if what == 3 else max
            return Term(least_ if what == 3 else most, lambda env: choose(values(env, number), default=None), INT)
        if kind == TEXT:
            word = self.word(1)
            return Term(max_(word.expression, where=where), lambda env: max(values(env, word), default=None), TEXT)
        if kind == BOOL:
            truth = self.truth(1)
            all_of: Callable[[list[Any]], bool] = all if self.chance(2) else any
            call: Any = func.bool_and if all_of is all else func.bool_or
            return Term(
                call(truth.expression, where=where), lambda env: (lambda found: all_of(found) if found else None)(values(env, truth)), BOOL
            )
        number = self.number(1)
        if kind == "mean":
            return Term(
                avg(number.expression, where=where),
                lambda env: (lambda found: Fraction(sum(found), len(found)) if found else None)(values(env, number)),
                "mean",
            )

        def gathered(env: Env) -> list[Any] | None:
            rows = [row for row in env["group"] if kept is None or kept.of({**env, **row}) is True]
            made = in_order(orders, [{**env, **row} for row in rows])
            return [number.of(row) for row in made] or None

        orders = self.orders(1) + [Order(term, False, None) for term in self.columns if term.kind == INT]
        gather: Any = func.array_agg
        return Term(gather(number.expression, order_by=[order.built for order in orders], where=where), gathered, "list")

    def key(self, depth: int = 1) -> Term:
        """A term to order or group by; a bare value is refused there."""
        if self.columns and self.chance(2):
            column: Term = self.pick(self.columns)
            return column
        return self.key_of(self.any_term(depth))

    def key_of(self, term: Term) -> Term:
        """The same, fit for that."""
        if not isinstance(term.expression.shape, Bind):
            return term
        return Term(coalesce(term.expression, term.expression), term.of, term.kind)

    def orders(self, most: int) -> list[Order]:
        number = self.draw(st.integers(0, most))
        return [Order(self.key(), self.chance(2), self.pick((None, "first", "last"))) for _ in range(number)]

    def over(self, ties: Sequence[Order]) -> "tuple[Expression[Any], Callable[[list[Env]], list[Any]], str]":
        """A window function, and its values for all rows; `ties` tell all rows apart."""
        partition = [self.key() for _ in range(self.draw(st.integers(0, 1)))]
        orders = self.orders(2)
        what = self.draw(st.integers(0, 6))
        frame: Frame | None = None
        if what in (0, 1, 2):  # these need to tell rows apart to have one answer
            orders += ties
        elif what in (4, 5, 6):
            frame = self.frame(orders, ties)
            if frame is not None and frame.unit == "range_" and (frame.start not in (None, 0) or frame.end not in (None, 0)):
                number = self.number(1)
                orders = [Order(number._replace(expression=number.expression + 0), self.chance(2), self.pick((None, "first", "last")))]
            elif what == 6 or (frame is not None and frame.unit == "rows"):
                orders += ties
        spec: dict[str, Any] = {
            "partition_by": [term.expression for term in partition], "order_by": [order.built for order in orders],
        }  # fmt: skip
        if frame is not None:
            spec[frame.unit] = (frame.start, frame.end)
            spec["exclude"] = frame.exclude
        call, value, kind = self.window_call(what)
        made = call.over(window(**spec)) if self.chance(2) else call.over(**spec)

        def values(envs: list[Env]) -> list[Any]:
            parts: dict[tuple[Any, ...], list[Env]] = {}
            for env in envs:
                parts.setdefault(tuple(term.of(env) for term in partition), []).append(env)
            found: dict[int, Any] = {}
            for part in parts.values():
                ranked = in_order(orders, part)
                for at, env in enumerate(ranked):
                    found[id(env)] = value(ranked, at, orders, framed(frame, orders, ranked, at))
            return [found[id(env)] for env in envs]

        return made, values, kind

    def frame(self, orders: list[Order], ties: Sequence[Order]) -> Frame | None:
        unit = self.pick(("rows", "range_", "groups", None))
        if unit is None:
            return None
        if unit == "groups" and not orders:
            orders += ties
        low, high = sorted(self.draw(st.tuples(st.integers(-2, 2), st.integers(-2, 2))))
        start: int | None = None if self.chance(3) else low
        end: int | None = None if self.chance(3) else high
        if unit == "range_" and self.chance(2):
            start, end = self.pick(((None, 0), (0, None), (None, None), (0, 0)))
        return Frame(unit, start, end, self.pick((None, None, "current row", "group", "ties")))

    def window_call(self, what: int) -> tuple[Expression[Any], Callable[[list[Env], int, Sequence[Order], list[Env]], Any], str]:
        if what == 0:
            return func.row_number(), lambda _ranked, at, _orders, _frame: at + 1, INT
        if what == 1:
            number, offset = self.number(1), self.draw(st.integers(0, 2))
            given: Any = None if self.chance(2) else self.pick(NUMBERS)
            ahead = self.chance(2)
            name: Any = func.lead if ahead else func.lag
            call: Any = name(number.expression, offset) if given is None else name(number.expression, offset, literal(given))

            def shifted(ranked: list[Env], at: int, _orders: Sequence[Order], _frame: list[Env]) -> Any:  # noqa: ANN401 - a value
                other = at + offset if ahead else at - offset
                return number.of(ranked[other]) if 0 <= other < len(ranked) else given

            return call, shifted, INT
        if what == 2:
            buckets = self.draw(st.integers(1, 3))

            def bucket(ranked: list[Env], at: int, _orders: Sequence[Order], _frame: list[Env]) -> int:
                sizes = [len(ranked) // buckets + (number < len(ranked) % buckets) for number in range(buckets)]
                return next(number for number, end in enumerate(itertools.accumulate(sizes), 1) if at < end)

            return func.ntile(buckets), bucket, INT
        if what == 3:

            def rank(ranked: list[Env], at: int, orders: Sequence[Order], _frame: list[Env]) -> int:
                return 1 + sum(compared(orders, other, ranked[at]) < 0 for other in ranked)

            def dense_rank(ranked: list[Env], at: int, orders: Sequence[Order], _frame: list[Env]) -> int:
                firsts = [other for number, other in enumerate(ranked) if number == 0 or compared(orders, ranked[number - 1], other)]
                return 1 + sum(compared(orders, other, ranked[at]) < 0 for other in firsts)

            return (func.rank(), rank, INT) if self.chance(2) else (func.dense_rank(), dense_rank, INT)
        if what in (4, 5):
            total = self.aggregate(kinds=(INT, TEXT, BOOL, "mean"), windowed=True)
            return total.expression, lambda ranked, at, _orders, frame: total.of({**ranked[at], "group": frame}), total.kind
        first, word = self.chance(2), self.word(1)
        edge: Any = func.first_value if first else func.last_value
        return (
            edge(word.expression),
            lambda _ranked, _at, _orders, frame: word.of(frame[0 if first else -1]) if frame else None,
            TEXT,
        )


INNER = alias(Part, "inner")


def table_columns(name: str, entity: type[Item] | type[Part]) -> list[Term]:
    def read(attribute: str) -> Callable[[Env], Any]:
        return lambda env: env[name][attribute]

    return [Term(getattr(entity, attribute), read(attribute), kind) for attribute, kind in COLUMNS.items()]


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
