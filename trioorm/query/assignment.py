"""`column = value`, as inserts and updates write it."""

from __future__ import annotations

import datetime
import typing
from collections.abc import Collection, Sequence

from trioorm.errors import QueryError
from trioorm.expression.binding import accepts, check_aware, same_family, wrong_class
from trioorm.expression.column import Column
from trioorm.expression.expression import Expression
from trioorm.expression.shape import PLACES, Binary, Keyword, Shape, Source
from trioorm.expression.types import SqlType
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.model.metaclass import unknown_column
from trioorm.model.unset import UNSET
from trioorm.query.shape import Assignment, RowAssignment
from trioorm.query.tables import Output

A = typing.TypeVar("A", bound=Assignment | RowAssignment)

_ONE = Keyword("1")


def field_named(info: ModelInfo, column: object, place: str) -> FieldInfo:
    """The field that a column expression or an attribute's name stands for.

    Raises:
        QueryError: it stands for none of this model's, or for one that the server computes.
    """
    if isinstance(column, Column):
        found = typing.cast("Column[object]", column)
        field = info.by_attribute.get(found.attribute)
        if field is None or found.source._replace(alias=None) != info.source:
            raise QueryError(f"{place} names {found}, a column of another table.\nTo fix it: use a column of {info.model.__name__}.")
    elif isinstance(column, str):
        field = info.by_attribute.get(column)
        if field is None:
            raise unknown_column(info, column)
    else:
        raise QueryError(
            f"{place} takes columns, and got {column!r}.\nTo fix it: name the column through its class, as in {info.model.__name__}.name."
        )
    if field.computed:
        raise QueryError(
            f"{info.model.__name__}.{field.attribute} is computed by the server and cannot be written.\nTo fix it: leave it out."
        )
    return field


def value_for(field: FieldInfo, value: object) -> tuple[Shape, tuple[object, ...]]:
    """The shape and bind values of what is to be stored in a field.

    Raises:
        QueryError: the value's class does not fit.
        BindError: a moment without a time zone.
    """
    of = field.column
    if isinstance(value, Expression):
        expression = typing.cast("Expression[object]", value)
        if expression.sql_type is not field.type and not assignable(expression.sql_type, field.type):
            kind = expression.sql_type.name if expression.sql_type is not None else "unknown"
            raise QueryError(f"{of} is {field.type.name} and would be set to {expression}, which is {kind}.\nTo fix it: cast() it.")
        return expression.operand(), expression.bind_values
    if value is None:
        if not field.nullable:
            raise QueryError(
                f"{of} would be set to None, but it is never NULL.\nTo fix it: give a value, or declare the column as "
                f"{field.attribute}: Column[{getattr(field.annotation, '__name__', field.annotation)} | None]."
            )
        return PLACES[field.type], (None,)
    if value is UNSET:
        raise QueryError(
            f"{of} would be set to UNSET, which is no value.\nTo fix it: leave the column out, or use default() for the server's default."
        )
    if type(value) is field.type.python and field.type.plain:
        return PLACES[field.type], (value,)
    if not accepts(field.type, value):  # a number of another class would be rounded without a word
        raise wrong_class(value, field.type, of=of)
    check_aware(value, field.type, of=of)
    return PLACES[field.type], (value,)


def kind_of(value: object) -> object:
    """What decides, as a rule, whether a value may be stored in a field: its class, and of a moment whether it has a time zone; of an
    expression its shape and type."""
    if isinstance(value, Expression):
        expression = typing.cast("Expression[object]", value)
        return expression.operand(), expression.sql_type
    return (datetime.datetime, value.tzinfo is None) if type(value) is datetime.datetime else type(value)


def kind_decides(field: FieldInfo, value: object) -> bool:
    """Whether all values of this kind may be stored in a field, as this one may."""
    python = field.type.python
    if value is None or isinstance(value, Expression):
        return True
    return type(value) is python and (field.type.plain or python is datetime.datetime)


def columns_set(assignment: Assignment | RowAssignment) -> tuple[str, ...]:
    """The names of the columns that it sets."""
    return (assignment.column,) if isinstance(assignment, Assignment) else assignment.columns


def counted_up(info: ModelInfo, source: Source, assignments: tuple[A, ...]) -> tuple[A | Assignment, ...]:
    """Assignments of an update, with one that counts the row's version up, if the model has such a column and they do not set it."""
    version = info.version
    if version is None or version.computed or any(version.name in columns_set(assignment) for assignment in assignments):
        return assignments
    return (*assignments, Assignment(version.name, Binary("+", version.column.of(source).shape, _ONE)))


def assignable(given: SqlType | None, wanted: SqlType) -> bool:
    """Whether an expression of one type may be stored in a column of another; PostgreSQL would round a fraction without a word."""
    return same_family(given, wanted) and not (given is not None and wanted.python is int and given.python is not int)


def require_fitting(fields: Sequence[FieldInfo], outputs: Sequence[Output], place: str) -> None:
    """Refuse to store the columns of a query in fields that are not as many, or of other types.

    Raises:
        QueryError: as said, or a field is named twice.
    """
    if len(fields) != len(outputs) or len(set(fields)) != len(fields):
        raise QueryError(f"{place} was given {len(fields)} columns for a select of {len(outputs)}.\nTo fix it: one for each, each once.")
    for field, output in zip(fields, outputs, strict=True):
        if not assignable(output.type, field.type):
            kind = output.type.name if output.type is not None else "unknown"
            raise QueryError(f"{field.column} is {field.type.name} and would get {output.name}, which is {kind}.\nTo fix it: cast() it.")


def require_values(info: ModelInfo, fields: Collection[FieldInfo], place: str) -> None:
    """Refuse rows made by the server that would lack a value.

    Raises:
        QueryError: a column that is never NULL is not among the fields, and the server has no default for it.
    """
    for field in info.writable:
        if field not in fields and not field.nullable and not field.filled_by_server:
            raise QueryError(
                f"{place} gives nothing for {field.column}, which is never NULL; defaults of the model are for objects.\n"
                f"To fix it: give a value or an expression for {info.model.__name__}.{field.attribute} too, such as literal(...)."
            )
