"""Constraints and indexes as a model's class methods declare them: `unique(...)`, `check(...)`, `foreign_key(...)`, `index(...)`.

The contract: these are wishes in terms of column expressions; `model/` resolves them into the named records of `table.py`.
"""

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from trioorm.errors import ModelError
from trioorm.expression.column import Column
from trioorm.expression.expression import Expression, Ordering, condition_operand
from trioorm.expression.shape import ColumnReference, Ordered
from trioorm.schema.table import Formula, IndexMethod, OnDelete


@attrs.frozen
class UniqueConstraint:
    columns: tuple[Column[object], ...]
    name: str | None
    nulls_distinct: bool


@attrs.frozen
class CheckConstraint:
    condition: Formula
    name: str | None


@attrs.frozen
class ForeignKeyConstraint:
    columns: tuple[Column[object], ...]
    target: tuple[Column[object], ...]
    on_delete: OnDelete
    on_update: OnDelete
    deferrable: bool
    name: str | None


@attrs.frozen
class TableIndex:
    terms: tuple[Formula, ...]
    column_names: tuple[str, ...]
    unique: bool
    method: IndexMethod
    where: Formula | None
    name: str | None


TableConstraint: TypeAlias = UniqueConstraint | CheckConstraint | ForeignKeyConstraint


def unique(*columns: Expression[object], nulls_distinct: bool = True, name: str | None = None) -> UniqueConstraint:
    """No two rows agree in all of these columns.

    Args:
        nulls_distinct: two NULLs count as different, as in standard SQL; False lets NULL be there once (PostgreSQL 15 and later).
    """
    return UniqueConstraint(_columns(columns, "unique()"), name, nulls_distinct)


def check(condition: Expression[bool] | Expression[bool | None], *, name: str | None = None) -> CheckConstraint:
    """Every row fulfils this condition (or makes it NULL)."""
    condition_operand(condition, "check()")
    return CheckConstraint(Formula(condition.shape, condition.bind_values), name)


def foreign_key(
    *columns: Expression[object],
    references: Expression[object] | Sequence[Expression[object]],
    on_delete: OnDelete = "no action",
    on_update: OnDelete = "no action",
    deferrable: bool = False,
    name: str | None = None,
) -> ForeignKeyConstraint:
    """These columns together are the key of a row in another table.

    Args:
        references: the other table's columns, in the same order.
        deferrable: may be checked at COMMIT instead of at each statement.
    """
    own = _columns(columns, "foreign_key()")
    target = _columns((references,) if isinstance(references, Expression) else references, "foreign_key(references=...)")
    if len(own) != len(target) or len({column.source.table for column in target}) != 1:
        tables = len({column.source.table for column in target})
        raise ModelError(
            f"foreign_key() was given {len(own)} columns and {len(target)} to refer to, of {tables} tables.\n"
            "Each column refers to one column, all of the same table.\n"
            "To fix it: foreign_key(cls.film_id, cls.person_id, references=(Credit.film_id, Credit.person_id))."
        )
    return ForeignKeyConstraint(own, target, on_delete, on_update, deferrable, name)


def index(
    *terms: Expression[object] | Ordering,
    unique: bool = False,
    method: IndexMethod = "btree",
    where: Expression[bool] | Expression[bool | None] | None = None,
    name: str | None = None,
) -> TableIndex:
    """An index over columns or expressions, in this order.

    Args:
        unique: no two rows (that fulfil `where`) agree in all terms.
        where: index only rows for which this holds.
    """
    if not terms:
        raise ModelError("index() was given nothing to index.\nTo fix it: index(cls.created_at).")
    if where is not None:
        condition_operand(where, "index(where=...)")
    names = tuple(term.name if isinstance(term, Column) else _name_inside(term) for term in terms)
    formulas = tuple(Formula(term.shape, term.bind_values) for term in terms)
    return TableIndex(formulas, names, unique, method, None if where is None else Formula(where.shape, where.bind_values), name)


def _name_inside(term: Expression[object] | Ordering) -> str:
    """What an expression adds to the index's name: the column of an ordering, else `expr`, as PostgreSQL calls it."""
    if isinstance(term.shape, Ordered) and isinstance(term.shape.operand, ColumnReference):
        return term.shape.operand.name
    return "expr"


def _columns(expressions: Sequence[Expression[object]], what: str) -> tuple[Column[object], ...]:
    found: list[Column[object]] = []
    for expression in expressions:
        if not isinstance(expression, Column):
            raise ModelError(
                f"{what} takes columns of a model, and got {expression!r}.\n"
                "To fix it: name the column through the class, as in cls.email; for an expression use index(..., unique=True)."
            )
        found.append(expression)
    if not found:
        raise ModelError(f"{what} was given no columns.\nTo fix it: name at least one, as in cls.email.")
    return tuple(found)
