"""Several groupings in one select: `rollup`, `cube`, `grouping_sets`, and `grouping` to tell them apart."""

from __future__ import annotations

from typing import TypeAlias

from trioorm.errors import QueryError
from trioorm.expression.expression import Expression, Operation
from trioorm.expression.printing import text_of
from trioorm.expression.shape import Function
from trioorm.expression.types import INTEGER
from trioorm.query.shape import GroupingSets

Terms: TypeAlias = Expression[object] | tuple[Expression[object], ...]


class Grouping:
    """A term of GROUP BY that stands for several groupings. Not an expression, so it fits nowhere else."""

    __slots__ = ("how", "sets")

    def __init__(self, how: str, sets: tuple[Terms, ...]) -> None:
        self.how = how
        self.sets = tuple(terms if isinstance(terms, tuple) else (terms,) for terms in sets)
        for combination in self.sets:
            for term in combination:
                if not isinstance(term, Expression):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
                    raise QueryError(
                        f"{how} takes columns and expressions, and got {term!r}.\nTo fix it: User.age, or (User.age, User.name)."
                    )
        if not sets:
            raise QueryError(f"{how} was given nothing to group by.\nTo fix it: name columns or expressions.")

    def __repr__(self) -> str:
        shapes = tuple(tuple(term.operand() for term in combination) for combination in self.sets)
        return f"<Grouping {text_of(GroupingSets(self.how, shapes))}>"


def rollup(*terms: Terms) -> Grouping:
    """By all of these, by all but the last, and so on down to one group of all rows: totals and subtotals in one select."""
    return Grouping("ROLLUP", terms)


def cube(*terms: Terms) -> Grouping:
    """By each combination of these."""
    return Grouping("CUBE", terms)


def grouping_sets(*sets: Terms) -> Grouping:
    """By each of these combinations: `grouping_sets((User.age, User.name), User.age, ())`; the empty one is all rows."""
    return Grouping("GROUPING SETS", sets)


def grouping(*terms: Expression[object]) -> Expression[int]:
    """In which grouping a row came about: a bit for each term, from the left, that is 1 where the row is not grouped by it."""
    values = tuple(value for term in terms for value in term.bind_values)
    return Operation(Function("grouping", tuple(term.operand() for term in terms)), values, INTEGER)
