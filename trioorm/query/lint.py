"""`statement.lint()`: what is legal in a statement and seldom meant.

The contract: findings come from the shape alone, so the same statement always has the same ones; nothing is sent. Statements inside the
statement are looked at too. A rule that cannot be sure stays silent.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Literal, TypeAlias

import attrs

from trioorm.expression.shape import Binary, Cast, ColumnReference, Exists, Fragment, InSubquery, Keyword, Labelled, Logical, Shape
from trioorm.query.shape import DeleteShape, Join, SelectShape, UpdateShape, ValueItem

LintRule: TypeAlias = Literal[
    "cartesian join", "missing where", "null comparison", "limit without order", "offset without order", "distinct without order"
]
"""What can be found."""

_COMPARISONS = frozenset({"=", "<>", "<", "<=", ">", ">=", "LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE"})


@attrs.frozen
class LintFinding:
    """Something in a statement that is seldom meant.

    Attributes:
        rule: which rule found it.
        text: what it is, and how to fix it.
    """

    rule: LintRule
    text: str

    def __str__(self) -> str:
        return self.text


def lint_shape(shape: Shape) -> tuple[LintFinding, ...]:
    """All findings in a statement's shape, those of the outermost statement first, each once."""
    return tuple(dict.fromkeys(_findings(shape, inside_exists=False)))


def missing_where(verb: str, model: str, table: str) -> LintFinding:
    """The finding for an update or delete that would be refused."""
    return LintFinding(
        "missing where",
        f"{verb}({model}) has no condition and would change every row of {table}; it is refused.\n"
        f"To fix it: say which rows by where(...), or everywhere() if all are meant.",
    )


def _findings(shape: Shape, *, inside_exists: bool) -> Iterator[LintFinding]:
    if isinstance(shape, SelectShape):
        yield from _unconnected([shape.source] if shape.source is not None else [], list(shape.joins), shape.where)
    elif isinstance(shape, UpdateShape | DeleteShape):
        others = typing.cast("tuple[Shape, ...]", shape.others)
        tables = [found for found in others if not isinstance(found, Join)]
        yield from _unconnected([shape.source, *tables], [found for found in others if isinstance(found, Join)], shape.where)
    elif isinstance(shape, Binary) and shape.operator in _COMPARISONS and (_is_null(shape.left) or _is_null(shape.right)):
        yield LintFinding(
            "null comparison",
            f"Something is compared with NULL by {shape.operator}, which is never true, not even for NULL.\n"
            "To fix it: column.is_null(), column.is_not_null() or column.is_distinct_from(...).",
        )
    elif isinstance(shape, InSubquery) and shape.negated and _may_give_null(shape.statement):
        yield LintFinding(
            "null comparison",
            "not_in() looks into a column that may be NULL; a single NULL among its values makes every row fail.\n"
            "To fix it: exclude NULL in the inner select by where(column.is_not_null()), or use ~exists(...).",
        )
    if not inside_exists:  # which rows, and how many, does not matter to EXISTS
        yield from _unordered(shape)
    for part in shape:
        if isinstance(part, tuple):
            yield from _findings(typing.cast("Shape", part), inside_exists=isinstance(shape, Exists))


def _unordered(shape: Shape) -> Iterator[LintFinding]:
    if getattr(shape, "order_by", None) != ():  # it has an order, or cannot have one
        return
    limits = getattr(shape, "limits", shape)
    if getattr(limits, "limit", None) is not None and not _gives_one_row(shape):
        yield LintFinding(
            "limit without order",
            "limit() without order_by(): PostgreSQL gives any rows, not always the same ones.\n"
            "To fix it: order_by(...) something that tells rows apart, such as the primary key.",
        )
    if getattr(limits, "offset", None) is not None:
        yield LintFinding(
            "offset without order",
            "offset() without order_by(): pages may repeat rows and leave others out.\n"
            "To fix it: order_by(...) something that tells rows apart, such as the primary key.",
        )
    if isinstance(shape, SelectShape) and shape.distinct_on:
        yield LintFinding(
            "distinct without order",
            "distinct(...) without order_by(): which row of each group stays is left to chance.\n"
            "To fix it: order_by() the same expressions first, then what decides.",
        )


def _gives_one_row(shape: Shape) -> bool:
    """Whether there is nothing to choose from: a select without tables."""
    return isinstance(shape, SelectShape) and shape.source is None


def _unconnected(tables: list[Shape], joins: list[Join], where: tuple[Shape, ...]) -> Iterator[LintFinding]:
    """A finding for each table that no condition connects with those before it. A cross join says itself that it is meant."""
    every = [*tables, *(join.source for join in joins)]
    names = [_visible_name(table) for table in every]
    group = {name: name for name in names}

    def connect(mentioned: set[str]) -> None:
        known = [group[name] for name in mentioned if name in group]
        for name, found in group.items():
            if found in known:
                group[name] = known[0]

    for table in every:
        connect({_visible_name(table), *_mentioned(table)})
    for join in joins:
        if join.condition is None:
            connect({_visible_name(join.source), names[0]})
    for condition in (*(join.condition for join in joins if join.condition is not None), *where):
        for leaf in _leaves(condition):
            connect(_mentioned(leaf))
    for name in names[1:]:
        if group[name] != group[names[0]]:
            connect({name, names[0]})
            yield LintFinding(
                "cartesian join",
                f"No condition connects {name!r} with the tables before it, so each of its rows meets each of theirs.\n"
                "To fix it: say in join(...) or where(...) how they belong together; if all pairs are meant, cross_join().",
            )


def _leaves(condition: Shape) -> list[Shape]:
    """The conditions that must all hold."""
    if isinstance(condition, Logical) and condition.operator == "AND":
        return [leaf for operand in condition.operands for leaf in _leaves(operand)]
    return [condition]


def _mentioned(shape: Shape) -> set[str]:
    """The names of the tables whose columns a shape uses."""
    if isinstance(shape, ColumnReference):
        return {_visible_name(shape.source)}
    found: set[str] = set()
    for part in shape:
        if isinstance(part, tuple):
            found |= _mentioned(typing.cast("Shape", part))
    return found


def _visible_name(table: Shape) -> str:
    return str(getattr(table, "visible_name", ""))


def _is_null(shape: Shape) -> bool:
    match shape:
        case Keyword("NULL"):
            return True
        case Cast(operand, _) | Labelled(operand, _):
            return _is_null(operand)
        case Fragment((str() as text,)):
            return text.strip().upper() == "NULL"
        case _:
            return False


def _may_give_null(statement: Shape) -> bool:
    """Whether a select gives a column that may be NULL and that no condition of its own excludes."""
    if not isinstance(statement, SelectShape) or len(statement.items) != 1:
        return False
    item = statement.items[0]
    if not isinstance(item, ValueItem) or not isinstance(item.expression, ColumnReference) or not item.nullable:
        return False
    return not any(item.expression in leaf for condition in statement.where for leaf in _leaves(condition))
