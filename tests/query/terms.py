"""Terms drawn by Hypothesis, each beside a function that works out its value. See `semantics.py`."""

# Expressions of any class are mixed by chance here, so no checker can know theirs; `tests/typing` is about that.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from tests.query.sql_rules import (
    BOOL,
    COLUMNS,
    COMPARISONS,
    INT,
    NUMBERS,
    PATTERNS,
    TEXT,
    WORDS,
    Env,
    Frame,
    Item,
    Order,
    Part,
    Term,
    and3,
    compared,
    divided,
    framed,
    in_order,
    is_like,
    known,
    not3,
    or3,
    remainder,
)
from trioorm.expression import (
    Expression,
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
from trioorm.query import alias, select

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
