"""Constraints and indexes as a model's class methods declare them: `unique`, `check`, `foreign_key`, `exclude`, `index`.

The contract: these are wishes in terms of column expressions; `model/` resolves them into the named records of `table.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import attrs

from trioorm.errors import ModelError
from trioorm.expression.column import Column
from trioorm.expression.expression import Expression, Ordering, condition_operand
from trioorm.expression.shape import ColumnReference, Ordered
from trioorm.schema.deferring import Deferral, OnDelete, deferral
from trioorm.schema.table import Formula, IndexMethod, IndexOption, IndexTerm

_OPERATOR = r"(?!.*(?:--|/\*))[-+*/<>=~!@#%^&|`?]{1,63}"
_OPTION = r"[a-z_]{1,63}"


@attrs.frozen
class UniqueConstraint:
    columns: tuple[Column[object], ...]
    name: str | None
    nulls_distinct: bool
    deferral: Deferral


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
    deferral: Deferral
    name: str | None


@attrs.frozen
class ExclusionConstraint:
    terms: tuple[tuple[Formula, str], ...]
    column_names: tuple[str, ...]
    method: IndexMethod
    where: Formula | None
    deferral: Deferral
    name: str | None


@attrs.frozen
class TableIndex:
    terms: tuple[IndexTerm, ...]
    column_names: tuple[str, ...]
    unique: bool
    method: IndexMethod
    where: Formula | None
    include: tuple[Column[object], ...]
    nulls_distinct: bool
    options: tuple[tuple[str, IndexOption], ...]
    concurrently: bool
    name: str | None


TableConstraint: TypeAlias = UniqueConstraint | CheckConstraint | ForeignKeyConstraint | ExclusionConstraint


def unique(
    *columns: Expression[object],
    nulls_distinct: bool = True,
    deferrable: bool = False,
    initially_deferred: bool = False,
    name: str | None = None,
) -> UniqueConstraint:
    """No two rows agree in all of these columns.

    Args:
        nulls_distinct: two NULLs count as different, as in standard SQL; False lets NULL be there once (PostgreSQL 15 and later).
        deferrable: may be checked at COMMIT instead of at each statement. `ON CONFLICT` cannot use it then.
        initially_deferred: is checked at COMMIT unless the transaction says otherwise.
        name: instead of the one by rule.
    """
    return UniqueConstraint(_columns(columns, "unique()"), name, nulls_distinct, deferral(deferrable, initially_deferred))


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
    initially_deferred: bool = False,
    name: str | None = None,
) -> ForeignKeyConstraint:
    """These columns together are the key of a row in another table.

    Args:
        references: the other table's columns, in the same order.
        on_delete: what happens to this row when that row is deleted.
        on_update: the same, when its key is changed.
        deferrable: may be checked at COMMIT instead of at each statement.
        initially_deferred: is checked at COMMIT unless the transaction says otherwise.
        name: instead of the one by rule.
    """
    own = _columns(columns, "foreign_key()")
    target = _columns((references,) if isinstance(references, Expression) else references, "foreign_key(references=...)")
    if len(own) != len(target) or len({column.source for column in target}) != 1:
        tables = len({column.source for column in target})
        raise ModelError(
            f"foreign_key() was given {len(own)} columns and {len(target)} to refer to, of {tables} tables.\n"
            "Each column refers to one column, all of the same table.\n"
            "To fix it: foreign_key(cls.film_id, cls.person_id, references=(Credit.film_id, Credit.person_id))."
        )
    return ForeignKeyConstraint(own, target, on_delete, on_update, deferral(deferrable, initially_deferred), name)


def exclude(
    *terms: tuple[Expression[object], str],
    method: IndexMethod = "gist",
    where: Expression[bool] | Expression[bool | None] | None = None,
    deferrable: bool = False,
    initially_deferred: bool = False,
    name: str | None = None,
) -> ExclusionConstraint:
    """No two rows for which all of these hold: `exclude((cls.room, "="), (cls.during, "&&"))` lets no two bookings of a room overlap.

    Args:
        terms: a column or expression, and the operator that compares it with that of another row.
        method: of the index behind it. "gist" needs the extension `btree_gist` for `=` on plain types.
        where: only rows for which this holds count.
        deferrable: may be checked at COMMIT instead of at each statement.
        initially_deferred: is checked at COMMIT unless the transaction says otherwise.
        name: instead of the one by rule.

    Raises:
        ModelError: no terms, or something that is no operator.
    """
    if not terms:
        raise ModelError('exclude() was given nothing to compare.\nTo fix it: exclude((cls.room, "="), (cls.during, "&&")).')
    for _, operator in terms:
        if not re.fullmatch(_OPERATOR, operator):
            raise ModelError(f'{operator!r} is no operator of PostgreSQL\'s.\nTo fix it: name one by its signs, such as "=" or "&&".')
    formulas = tuple((Formula(term.shape, term.bind_values), operator) for term, operator in terms)
    names = tuple(_name_of(term) for term, _ in terms)
    return ExclusionConstraint(formulas, names, method, _where(where, "exclude"), deferral(deferrable, initially_deferred), name)


def index(
    *terms: Expression[object] | Ordering,
    unique: bool = False,
    method: IndexMethod = "btree",
    where: Expression[bool] | Expression[bool | None] | None = None,
    include: Expression[object] | Sequence[Expression[object]] = (),
    operator_class: str | Sequence[str | None] | None = None,
    nulls_distinct: bool = True,
    options: Mapping[str, IndexOption] | None = None,
    concurrently: bool = False,
    name: str | None = None,
) -> TableIndex:
    """An index over columns or expressions, in this order: `index(cls.room, cls.begins_at.desc(nulls="last"))`.

    Args:
        unique: no two rows (that fulfil `where`) agree in all terms.
        method: "btree", "hash", "gin", "gist", "spgist", "brin"; "hnsw" and "ivfflat" with the extension `vector`.
        where: index only rows for which this holds.
        include: columns that the index carries beside its terms, so that a query need not look into the table.
        operator_class: how the terms are compared, such as "gin_trgm_ops"; for all of them, or one (or None) for each.
        nulls_distinct: in a unique index, two NULLs count as different.
        options: of the method, such as `{"m": 16}` for hnsw or `{"fillfactor": 70}`.
        concurrently: `create_index` makes it without blocking those who write to the table, outside of a transaction.
        name: instead of the one by rule.

    Raises:
        ModelError: nothing to index, or arguments that contradict each other.
    """
    if not terms:
        raise ModelError("index() was given nothing to index.\nTo fix it: index(cls.created_at).")
    classes = [operator_class] * len(terms) if operator_class is None or isinstance(operator_class, str) else list(operator_class)
    if len(classes) != len(terms):
        raise ModelError(
            f"index() was given {len(terms)} terms and {len(classes)} operator classes.\n"
            "To fix it: give one for all, or one for each with None where PostgreSQL's own is meant."
        )
    if not nulls_distinct and not unique:
        raise ModelError("index(nulls_distinct=False) says nothing without unique=True.\nTo fix it: add it, or leave nulls_distinct out.")
    for option in options or ():
        if not re.fullmatch(_OPTION, option):
            raise ModelError(f'{option!r} is no option of an index.\nTo fix it: name one as PostgreSQL does, such as "fillfactor".')
    carried = (include,) if isinstance(include, Expression) else tuple(include)
    return TableIndex(
        tuple(IndexTerm(Formula(term.shape, term.bind_values), found) for term, found in zip(terms, classes, strict=True)),
        tuple(_name_of(term) for term in terms),
        unique,
        method,
        _where(where, "index"),
        _columns(carried, "index(include=...)") if carried else (),
        nulls_distinct,
        tuple(sorted((options or {}).items())),
        concurrently,
        name,
    )


def _where(condition: Expression[bool] | Expression[bool | None] | None, what: str) -> Formula | None:
    if condition is None:
        return None
    condition_operand(condition, f"{what}(where=...)")
    return Formula(condition.shape, condition.bind_values)


def _name_of(term: Expression[object] | Ordering) -> str:
    """What a term adds to a name: its column's, also that of an ordering, else `expr`, as PostgreSQL calls it."""
    if isinstance(term, Column):
        return term.name
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
