"""From a model's fields and class methods to the record of its table.

The contract: all references are resolved and all names given; a reference that leads nowhere is a `ModelError` that names it.
"""

import typing
from collections.abc import Sequence
from typing import Never

from trioorm.errors import ModelError, QueryError
from trioorm.expression.binding import accepts
from trioorm.expression.column import Column
from trioorm.expression.expression import Expression, condition_operand
from trioorm.expression.identifiers import quote_identifier
from trioorm.expression.shape import Bind, Shape
from trioorm.expression.types import SqlType
from trioorm.model.field import FieldInfo
from trioorm.model.unset import UNSET
from trioorm.schema.constraint import CheckConstraint, ForeignKeyConstraint, TableConstraint, TableIndex, UniqueConstraint
from trioorm.schema.naming import constraint_name, distinct_name
from trioorm.schema.table import Check, ForeignKey, Formula, Index, Table, TableColumn, Unique


def build_table(
    model: str, name: str, fields: Sequence[FieldInfo], constraints: Sequence[TableConstraint], indexes: Sequence[TableIndex]
) -> Table:
    """The table of a model.

    Args:
        model: the class's name, for errors.

    Raises:
        ModelError: a reference, check or default cannot be resolved.
    """
    taken: set[str] = set()
    primary_key_name = distinct_name(constraint_name(name, (), "pkey"), taken)
    uniques: list[Unique] = []
    checks: list[Check] = []
    foreign_keys: list[ForeignKey] = []
    made_indexes: list[Index] = []
    for field in fields:
        where = f"{model}.{field.attribute}"
        said = field.declaration
        if said.unique:
            uniques.append(Unique(distinct_name(constraint_name(name, (field.name,), "key"), taken), (field.name,)))
        if said.check is not None:
            condition = _resolved(said.check(typing.cast("Expression[Never]", field.column)), where, "check")
            checks.append(Check(distinct_name(constraint_name(name, (field.name,), "check"), taken), _condition(condition, where)))
        if said.references is not None:
            table, column = _target(said.references, field, where)
            key_name = distinct_name(constraint_name(name, (field.name,), "fkey"), taken)
            foreign_keys.append(ForeignKey(key_name, (field.name,), table, (column,), said.on_delete, said.on_update))
        if said.index:
            term = Formula(field.column.shape, ())
            made_indexes.append(Index(distinct_name(constraint_name(name, (field.name,), "idx"), taken), (term,)))
    for wish in constraints:
        _add_constraint(wish, model, name, taken, uniques, checks, foreign_keys)
    for index in indexes:
        index_name = index.name or constraint_name(name, index.column_names, "key" if index.unique else "idx")
        _require_own(model, name, [])
        made_indexes.append(Index(distinct_name(index_name, taken), index.terms, index.unique, index.method, index.where))
    return Table(
        name,
        tuple(_table_column(model, field) for field in fields),
        primary_key_name,
        tuple(field.name for field in fields if field.primary_key),
        tuple(uniques),
        tuple(checks),
        tuple(foreign_keys),
        tuple(made_indexes),
    )


def _add_constraint(
    wish: object, model: str, table: str, taken: set[str], uniques: list[Unique], checks: list[Check], foreign_keys: list[ForeignKey]
) -> None:
    match wish:
        case UniqueConstraint(columns, name, nulls_distinct):
            names = _require_own(model, table, columns)
            uniques.append(Unique(distinct_name(name or constraint_name(table, names, "key"), taken), names, nulls_distinct))
        case CheckConstraint(condition, name):
            checks.append(Check(distinct_name(name or constraint_name(table, (), "check"), taken), condition))
        case ForeignKeyConstraint(columns, target, on_delete, on_update, deferrable, name):
            names = _require_own(model, table, columns)
            target_names = tuple(column.name for column in target)
            key_name = distinct_name(name or constraint_name(table, names, "fkey"), taken)
            foreign_keys.append(ForeignKey(key_name, names, target[0].source.table, target_names, on_delete, on_update, deferrable))
        case _:
            raise ModelError(
                f"{model}.table_constraints() gave {wish!r}.\n"
                "To fix it: give unique(...), check(...) or foreign_key(...); index(...) belongs to table_indexes()."
            )


def _require_own(model: str, table: str, columns: Sequence[Column[object]]) -> tuple[str, ...]:
    for column in columns:
        if column.source.table != table:
            raise ModelError(f"{model}.table_constraints() names {column}, a column of another table.\nTo fix it: use a column of cls.")
    return tuple(column.name for column in columns)


def _table_column(model: str, field: FieldInfo) -> TableColumn:
    where = f"{model}.{field.attribute}"
    said = field.declaration
    server_default = None if said.server_default is UNSET else _formula(said.server_default, field.type, where, "server_default")
    generated_as = (
        None
        if said.generated_as is None
        else _formula(_resolved(said.generated_as(), where, "generated_as"), field.type, where, "generated_as")
    )
    return TableColumn(field.name, field.type, field.nullable, said.generated, server_default, generated_as)


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


def _target(references: object, field: FieldInfo, where: str) -> tuple[str, str]:
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
        table, dot, name = found.rpartition(".")
        if not dot or not table or not name:
            raise ModelError(f"{where} refers to {found!r}.\nTo fix it: references='table.column', or references=lambda: Model.column.")
        quote_identifier(table)
        quote_identifier(name)
        return table, name
    if isinstance(found, Column):
        target = typing.cast("Column[object]", found)
        if target.sql_type is not field.type and (target.sql_type is None or target.sql_type.family != field.type.family):
            kind = target.sql_type.name if target.sql_type is not None else "unknown"
            raise ModelError(f"{where} is {field.type.name} and refers to {target}, which is {kind}.\nTo fix it: give both the same type.")
        return target.source.table, target.name
    raise ModelError(
        f"{where} refers to {found!r}, which is no column.\nTo fix it: references=lambda: Model.column, or references='table.column'."
    )
