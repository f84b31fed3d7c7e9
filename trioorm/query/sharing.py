"""Terms with values that stand in several places of one select and must be one expression to PostgreSQL.

What is selected, had, or ordered by in a select with groups is made of the terms that are grouped by, and with DISTINCT ON the order begins
with its terms. PostgreSQL sees that by comparing expressions, and `age / $1` is another than `age / $2` whatever the values. So where
such a term is met again with the same values, its places become those of the first time (`Bind.same_as`).

The contract: only shapes change. Values stay where they are, and those of the later places are not sent. Since it is for equal values only
that the shape becomes another, what is remembered by shape stays true for all values that lead to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

from trioorm.expression.shape import Bind, Keyword, Labelled, Shape, places_in
from trioorm.model.model import model_of
from trioorm.query.clause import Clause
from trioorm.query.shape import CombinedShape, GroupingSets, ModelItem, SelectShape, ValueItem


class _Term(NamedTuple):
    """An expression with values."""

    shape: Shape
    values: tuple[object, ...]


def shared(clauses: Mapping[str, Clause]) -> dict[str, Clause]:
    """Those of the clauses that become others, in the order of their text.

    Args:
        clauses: all in which such terms may stand, by name, in the order of their text.
    """
    apart = {name: tuple([_apart(shape) for shape in clause.shapes]) for name, clause in clauses.items()}
    items = Clause(apart["_items"], clauses["_items"].bind_values)
    terms: list[_Term] = []
    for name in ("_distinct_on", "_group_by"):
        terms.extend(_terms(Clause(apart[name], clauses[name].bind_values), items))
    first: dict[int, tuple[str, int]] = {}
    made: dict[str, Clause] = {}
    for name, clause in clauses.items():
        shapes = apart[name]
        if terms and clause.bind_values:
            shapes = cast("tuple[Shape, ...]", _Sharing(name, clause.bind_values, terms, first).walk(shapes))
        if shapes != clause.shapes:
            made[name] = Clause(shapes, clause.bind_values)
    return made


def _apart(shape: Shape) -> Shape:
    """The shape as it was before anything was shared."""
    if isinstance(shape, Bind):
        return shape._replace(same_as=None) if shape.same_as is not None else shape
    parts = [_apart(cast("Shape", part)) if isinstance(part, tuple) else part for part in shape]
    return shape if all(one is other for one, other in zip(parts, shape, strict=True)) else _like(shape, parts)


def _terms(clause: Clause, items: Clause) -> Iterator[_Term]:
    """The terms of GROUP BY or DISTINCT ON that hold values. What stands among the items goes by its number there, or by its name."""
    at = 0
    waiting = list(reversed(clause.shapes))
    while waiting:
        shape = waiting.pop()
        if isinstance(shape, GroupingSets):
            waiting.extend(reversed([term for combination in shape.sets for term in combination]))
            continue
        held = places_in(shape)
        if isinstance(shape, Labelled):
            yield from _items(items, shape.label)
        elif isinstance(shape, Keyword) and shape.word.isdigit():
            yield from _items(items, int(shape.word))
        elif held and not isinstance(shape, Bind):  # a value alone is the same as any other
            yield _Term(shape, clause.bind_values[at : at + held])
        at += held


def _items(items: Clause, wanted: int | str) -> Iterator[_Term]:
    """The items of this number or name that hold values."""
    position, at = 1, 0
    for item in items.shapes:
        held = places_in(item)
        if isinstance(item, ValueItem) and held:
            shape = item.expression
            label, bare = (shape.label, shape.operand) if isinstance(shape, Labelled) else (None, shape)
            if wanted in (position, label):
                yield _Term(bare, items.bind_values[at : at + held])
        position, at = position + (len(model_of(item.model).fields) if isinstance(item, ModelItem) else 1), at + held


class _Sharing:
    """One walk through a clause."""

    def __init__(self, clause: str, values: tuple[object, ...], terms: list[_Term], first: dict[int, tuple[str, int]]) -> None:
        self._clause = clause
        self._values = values
        self._terms = terms
        self._first = first
        self._at = 0

    def walk(self, shape: Shape) -> Shape:
        held = places_in(shape)
        if not held or isinstance(shape, Bind | SelectShape | CombinedShape):  # other statements have groups of their own
            self._at += held
            return shape
        for number, term in enumerate(self._terms):
            if shape == term.shape and self._values[self._at : self._at + held] == term.values:
                begin = self._first.setdefault(number, (self._clause, self._at))
                shape = shape if begin == (self._clause, self._at) else _same_as(shape, *begin)[0]
                self._at += held
                return shape
        return _like(shape, [self.walk(cast("Shape", part)) if isinstance(part, tuple) else part for part in shape])


def _same_as(shape: Shape, clause: str, number: int) -> tuple[Shape, int]:
    """The shape with its places those from a number on of a clause, and the number after them."""
    if isinstance(shape, Bind):
        return shape._replace(same_as=(clause, number)), number + 1
    parts: list[object] = []
    for part in shape:
        made = part
        if isinstance(part, tuple):
            made, number = _same_as(cast("Shape", part), clause, number)
        parts.append(made)
    return _like(shape, parts), number


def _like(shape: Shape, parts: list[object]) -> Shape:
    """A shape of the same class with other parts."""
    make = getattr(type(shape), "_make", tuple)
    return cast("Shape", make(parts))
