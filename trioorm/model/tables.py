"""From a model's fields and class methods to the record of its table or view.

The contract: all references are resolved and all names given; a reference that leads nowhere is a `ModelError` that names it.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Never

from trioorm.errors import ModelError, QueryError
from trioorm.expression.binding import accepts
from trioorm.expression.column import Column
from trioorm.expression.expression import Expression, condition_operand
from trioorm.expression.identifiers import quote_identifier
from trioorm.expression.shape import Bind, Shape, Source
from trioorm.expression.types import SqlType
from trioorm.model.field import FieldInfo
from trioorm.model.unset import UNSET
from trioorm.schema.constraint import (
    CheckConstraint,
    ExclusionConstraint,
    ForeignKeyConstraint,
    TableConstraint,
    TableIndex,
    UniqueConstraint,
)
from trioorm.schema.naming import constraint_name, distinct_name
from trioorm.schema.sequences import Identity
from trioorm.schema.table import Check, Exclusion, ForeignKey, Formula, Index, IndexTerm, Table, TableColumn, Unique
from trioorm.schema.view import View


def build_table(
    model: str,
    source: Source,
    fields: Sequence[FieldInfo],
    constraints: Sequence[TableConstraint],
    indexes: Sequence[TableIndex],
    comment: str | None = None,
) -> Table:
    """The table of a model.

    Args:
        model: the class's name, for errors.

    Raises:
        ModelError: a reference, check or default cannot be resolved.
    """
    name = source.table
    taken: set[str] = set()
    primary_key_name = distinct_name(constraint_name(name, (), "pkey"), taken)
    made = _Constraints(model, source, taken)
    made_indexes: list[Index] = []
    for field in fields:
        where = f"{model}.{field.attribute}"
        said = field.declaration
        if said.unique:
            made.uniques.append(Unique(made.named(None, (field.name,), "key"), (field.name,)))
        if said.check is not None:
            condition = _resolved(said.check(typing.cast("Expression[Never]", field.column)), where, "check")
            made.checks.append(Check(made.named(None, (field.name,), "check"), _condition(condition, where)))
        if said.references is not None:
            target, column = _target(said.references, field, where)
            made.foreign_keys.append(
                ForeignKey(
                    made.named(None, (field.name,), "fkey"),
                    (field.name,),
                    target.table,
                    (column,),
                    said.on_delete,
                    said.on_update,
                    said.deferral,
                    target.schema,
                )
            )
        if said.index:
            term = IndexTerm(Formula(field.column.shape, ()))
            made_indexes.append(Index(made.named(None, (field.name,), "idx"), (term,)))
    for wish in constraints:
        made.add(wish)
    made_indexes.extend(_index(index, model, source, taken) for index in indexes)
    return Table(
        name,
        tuple(_table_column(model, field) for field in fields if not field.of_the_system),
        primary_key_name,
        tuple(field.name for field in fields if field.primary_key),
        tuple(made.uniques),
        tuple(made.checks),
        tuple(made.foreign_keys),
        tuple(made_indexes),
        tuple(made.exclusions),
        comment,
        source.schema,
    )


def build_view(
    model: str,
    source: Source,
    fields: Sequence[FieldInfo],
    query: object,
    constraints: Sequence[TableConstraint],
    indexes: Sequence[TableIndex],
    comment: str | None,
    *,
    materialized: bool,
) -> View:
    """The view of a model.

    Raises:
        ModelError: the query is no select, or the view has what only a table can have.
    """
    if not isinstance(query, Expression) or not query.is_statement:
        raise ModelError(f"{model}.view_query() gave {query!r}, which is no select.\nTo fix it: return select(...).")
    if constraints or (indexes and not materialized):
        raise ModelError(
            f"{model} is a view and declares {'constraints' if constraints else 'indexes'}.\n"
            "To fix it: declare them on the tables that it reads; only a materialized view has indexes."
        )
    statement = typing.cast("Expression[object]", query)
    taken: set[str] = set()
    columns = tuple(TableColumn(field.name, field.type, field.nullable, comment=field.declaration.comment) for field in fields)
    made_indexes = tuple(_index(index, model, source, taken) for index in indexes)
    return View(source.table, columns, Formula(statement.shape, statement.bind_values), materialized, made_indexes, comment, source.schema)


class _Constraints:
    """A table's constraints while they are gathered."""

    def __init__(self, model: str, source: Source, taken: set[str]) -> None:
        self._model = model
        self._source = source
        self._taken = taken
        self.uniques: list[Unique] = []
        self.checks: list[Check] = []
        self.foreign_keys: list[ForeignKey] = []
        self.exclusions: list[Exclusion] = []

    def named(self, name: str | None, columns: Sequence[str], suffix: str) -> str:
        """The name given, or the one by rule, made different from those before."""
        return distinct_name(name or constraint_name(self._source.table, columns, suffix), self._taken)

    def add(self, wish: object) -> None:
        """Resolve one that `table_constraints` declares."""
        match wish:
            case UniqueConstraint(columns, name, nulls_distinct, deferral):
                names = _require_own(self._model, self._source, columns)
                self.uniques.append(Unique(self.named(name, names, "key"), names, nulls_distinct, deferral))
            case CheckConstraint(condition, name):
                self.checks.append(Check(self.named(name, (), "check"), condition))
            case ForeignKeyConstraint(columns, target, on_delete, on_update, deferral, name):
                names = _require_own(self._model, self._source, columns)
                found = target[0].source
                target_names = tuple(column.name for column in target)
                key = self.named(name, names, "fkey")
                self.foreign_keys.append(ForeignKey(key, names, found.table, target_names, on_delete, on_update, deferral, found.schema))
            case ExclusionConstraint(terms, names, method, where, deferral, name):
                self.exclusions.append(Exclusion(self.named(name, names, "excl"), terms, method, where, deferral))
            case _:
                raise ModelError(
                    f"{self._model}.table_constraints() gave {wish!r}.\n"
                    "To fix it: give unique(...), check(...), foreign_key(...) or exclude(...); index(...) belongs to table_indexes()."
                )


def _index(index: object, model: str, source: Source, taken: set[str]) -> Index:
    if not isinstance(index, TableIndex):
        raise ModelError(f"{model}.table_indexes() gave {index!r}.\nTo fix it: give index(...); constraints belong to table_constraints().")
    return Index(
        distinct_name(index.name or constraint_name(source.table, index.column_names, "key" if index.unique else "idx"), taken),
        index.terms,
        index.unique,
        index.method,
        index.where,
        _require_own(model, source, index.include),
        index.nulls_distinct,
        index.options,
        index.concurrently,
    )


def _require_own(model: str, source: Source, columns: Sequence[Column[object]]) -> tuple[str, ...]:
    for column in columns:
        if column.source != source:
            raise ModelError(f"{model} names {column} as its own, a column of another table.\nTo fix it: use a column of cls.")
    return tuple(column.name for column in columns)


def _table_column(model: str, field: FieldInfo) -> TableColumn:
    where = f"{model}.{field.attribute}"
    said = field.declaration
    identity = said.generated if isinstance(said.generated, Identity) else Identity() if said.generated else None
    default = 1 if said.version else said.server_default
    server_default = None if default is UNSET else _formula(default, field.type, where, "server_default")
    generated_as = (
        None
        if said.generated_as is None
        else _formula(_resolved(said.generated_as(), where, "generated_as"), field.type, where, "generated_as")
    )
    return TableColumn(field.name, field.type, field.nullable, identity, server_default, generated_as, said.stored, said.comment)


def _formula(value: object, kind: SqlType, where: str, option: str) -> Formula:
    if isinstance(value, Expression):
        expression = typing.cast("Expression[object]", value)
        return Formula(expression.shape, expression.bind_values)
    if value is not None and not accepts(kind, value):
        raise ModelError(
            f"{where} is {kind.name}, and its {option} is a {type(value).__qualname__}.\nTo fix it: give a {kind.python.__name__}."
        )
    return Formula(Bind(kind), (value,))


def _resolved(value: object, where: str, option: str) -> Expression[object]:
    if not isinstance(value, Expression):
        raise ModelError(
            f"{where}: {option} gave {value!r}, which is no expression.\n"
            "To fix it: build it from columns, as in check=lambda age: age >= 0."
        )
    return typing.cast("Expression[object]", value)


def _condition(condition: Expression[object], where: str) -> Formula:
    try:
        shape: Shape = condition_operand(condition, "check")
    except QueryError as error:
        raise ModelError(f"{where}: {error}") from error
    return Formula(shape, condition.bind_values)


def _target(references: object, field: FieldInfo, where: str) -> tuple[Source, str]:
    """The table and column that a foreign key leads to."""
    found = references
    if callable(found) and not isinstance(found, Expression):
        try:
            found = found()
        except NameError as error:
            raise ModelError(
                f"{where} refers to a model that is not there (yet): {error}.\n"
                f"To fix it, one of:\n  1. import or declare that model before the schema is used\n"
                f"  2. name it as text: references='table.column'"
            ) from error
    if isinstance(found, str):
        parts = found.split(".")
        if len(parts) not in (2, 3) or not all(parts):
            raise ModelError(
                f"{where} refers to {found!r}.\n"
                "To fix it: references='table.column' or 'schema.table.column', or references=lambda: Model.column."
            )
        for part in parts:
            quote_identifier(part)
        return Source(parts[-2], schema=parts[0] if len(parts) == 3 else None), parts[-1]
    if isinstance(found, Column):
        target = typing.cast("Column[object]", found)
        if target.sql_type is not field.type and (target.sql_type is None or target.sql_type.family != field.type.family):
            kind = target.sql_type.name if target.sql_type is not None else "unknown"
            raise ModelError(f"{where} is {field.type.name} and refers to {target}, which is {kind}.\nTo fix it: give both the same type.")
        return target.source, target.name
    raise ModelError(
        f"{where} refers to {found!r}, which is no column.\nTo fix it: references=lambda: Model.column, or references='table.column'."
    )
