"""Functions and lists of values as tables: `unnest`, `generate_series`, `table_function`, `values_table`.

The contract: a table of one column gives it as `.value`, one of several as `.columns`, in order and typed. Arrays are bound whole, so the
shape does not depend on their length; that of `values_table` does.
"""

from __future__ import annotations

import datetime
import decimal
import typing
from collections.abc import Mapping, Sequence
from typing import Generic, Self, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression.binding import accepts, bind, bind_array, check_aware, wrong_class
from trioorm.expression.column import ColumnExpression
from trioorm.expression.expression import Expression
from trioorm.expression.shape import Bind, Fragment, Function, Keyword, Shape
from trioorm.expression.types import BIGINT, INTERVAL, SqlType, array_of
from trioorm.model.metaclass import ModelMeta
from trioorm.model.model import Model, model_of
from trioorm.query.shape import FunctionTable, ModelItem, ValuesTable
from trioorm.query.tables import Output, Table, checked_names, outputs_of, sql_type_of

M = TypeVar("M", bound=Model)
C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)
S = TypeVar("S")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")

Listed: typing.TypeAlias = Sequence[S] | Expression[list[S]]


class _Numbered(Table):
    """What can be numbered."""

    __slots__ = ()

    def with_ordinality(self) -> Self:
        """With the rows' numbers, from 1, as `.ordinality`."""
        shape = self.from_shape
        if not isinstance(shape, FunctionTable) or shape.types is not None:
            raise QueryError(f"{self.name!r} cannot be numbered.\nTo fix it: use row_number() in the select.")
        made = object.__new__(type(self))
        outputs = (*self.outputs, Output("ordinality", ("column", "ordinality"), BIGINT, nullable=False))
        Table.__init__(made, self.name, shape._replace(ordinality=True, columns=(*shape.columns, "ordinality")), self.bind_values, outputs)
        return made

    @property
    def ordinality(self) -> ColumnExpression[int]:
        """The number of a row.

        Raises:
            QueryError: `with_ordinality` was not called.
        """
        return self.column("ordinality", int)


class FunctionRows(_Numbered, Generic[C]):
    """A table of one column, `.value`."""

    __slots__ = ()

    @property
    def value(self) -> ColumnExpression[C]:
        """The column."""
        return typing.cast("ColumnExpression[C]", self._column(self.outputs[0]))


class ColumnRows(_Numbered, Generic[C_co]):
    """A table of several columns, `.columns`."""

    __slots__ = ()

    @property
    def columns(self) -> C_co:
        """The columns, in order."""
        found = tuple(self._column(output) for output in self.outputs if output.name != "ordinality")
        return typing.cast("C_co", found)


class RecordRows(Table):
    """A table whose columns are taken by name: `.column(name, class)`."""

    __slots__ = ()


# fmt: off
@overload
def unnest(a: Listed[T1], /, *, name: str) -> FunctionRows[T1]: ...
@overload
def unnest(a: Listed[T1], b: Listed[T2], /, *, name: str) -> ColumnRows[tuple[ColumnExpression[T1], ColumnExpression[T2]]]: ...
@overload
def unnest(
    a: Listed[T1], b: Listed[T2], c: Listed[T3], /, *, name: str,
) -> ColumnRows[tuple[ColumnExpression[T1], ColumnExpression[T2], ColumnExpression[T3]]]: ...
@overload
def unnest(
    a: Listed[T1], b: Listed[T2], c: Listed[T3], d: Listed[T4], /, *, name: str,
) -> ColumnRows[tuple[ColumnExpression[T1], ColumnExpression[T2], ColumnExpression[T3], ColumnExpression[T4]]]: ...
# fmt: on
def unnest(*arrays: Sequence[object] | Expression[typing.Any], name: str) -> Table:
    """The elements of arrays as rows, those of several side by side; the shorter ones are filled up with NULL.

    Raises:
        QueryError: a list holds None or values of several classes, or is empty, so that its type is not known.
    """
    shapes: list[Shape] = []
    values: tuple[object, ...] = ()
    types: list[SqlType | None] = []
    for array in arrays:
        if isinstance(array, Expression):
            shapes.append(array.operand())
            values += array.bind_values
            types.append(array.sql_type.element if array.sql_type is not None else None)
        else:
            items, element = bind_array(list(array), None, of="unnest()")
            shapes.append(Bind(array_of(element), cast=True))
            values += (items,)
            types.append(element)
    names = ("value",) if len(arrays) == 1 else tuple(f"column{number}" for number in range(1, len(arrays) + 1))
    return _function_table(Function("unnest", tuple(shapes)), values, name, names, types)


def _function_table(call: Shape, values: tuple[object, ...], name: str, columns: tuple[str, ...], types: Sequence[SqlType | None]) -> Table:
    outputs = tuple(Output(column, ("column", column), kind, nullable=True) for column, kind in zip(columns, types, strict=True))
    shape = FunctionTable(call, name, columns, None, ordinality=False)
    if len(columns) == 1:
        single: FunctionRows[object] = FunctionRows(name, shape, values, outputs)
        return single
    several: ColumnRows[object] = ColumnRows(name, shape, values, outputs)
    return several


_Number = TypeVar("_Number", int, decimal.Decimal)


@overload
def generate_series(
    start: _Number | Expression[_Number],
    stop: _Number | Expression[_Number],
    step: _Number | Expression[_Number] | None = ...,
    *,
    name: str,
) -> FunctionRows[_Number]: ...
@overload
def generate_series(
    start: datetime.datetime | Expression[datetime.datetime],
    stop: datetime.datetime | Expression[datetime.datetime],
    step: datetime.timedelta | Expression[datetime.timedelta],
    *,
    name: str,
) -> FunctionRows[datetime.datetime]: ...
def generate_series(start: object, stop: object, step: object = None, *, name: str) -> FunctionRows[typing.Any]:
    """The numbers or moments from `start` to `stop`, both included, as rows.

    Args:
        start: a value or an expression; so for the others.
        stop: of the same class.
        step: 1 if not given; for moments a timedelta, in UTC.
        name: of the table.
    """
    shapes: list[Shape] = []
    values: tuple[object, ...] = ()
    kind: SqlType | None = None
    for number, bound in enumerate((start, stop, step)):
        if number == 2 and bound is None:
            break
        if isinstance(bound, Expression):
            expression = typing.cast("Expression[object]", bound)
            shapes.append(expression.operand())
            values += expression.bind_values
            found = expression.sql_type
        else:
            place, found = bind(bound, INTERVAL if isinstance(bound, datetime.timedelta) else None, of="generate_series()")
            shapes.append(place._replace(cast=True))
            values += (bound,)
        kind = kind if kind is not None else found
    table = _function_table(Function("generate_series", tuple(shapes)), values, name, ("value",), (kind,))
    return typing.cast("FunctionRows[typing.Any]", table)


@overload
def table_function(call: Expression[object], name: str, *, columns: type[M]) -> type[M]: ...
@overload
def table_function(call: Expression[object], name: str, *, columns: Mapping[str, type | SqlType]) -> RecordRows: ...
@overload
def table_function(call: Expression[S], name: str) -> FunctionRows[S]: ...
def table_function(call: Expression[object], name: str, *, columns: Mapping[str, type | SqlType] | type[Model] | None = None) -> object:
    """The rows that a function gives, as a table.

        item = table_function(func.jsonb_array_elements_text(Order.extra, returns=str), "item")
        select(Order.id, item.value).cross_join(item)

    Args:
        call: a call of a function, by `func` or otherwise. It may use columns of the tables before it.
        name: of the table.
        columns: for functions that give records (`jsonb_to_recordset`): names and classes, or a model, whose columns are then read.

    Raises:
        QueryError: what is given is no call, or a class has no PostgreSQL type.
    """
    if not isinstance(call.shape, (Function, Fragment)):
        raise QueryError(f"table_function() takes a call, and got {call}.\nTo fix it: table_function(func.json_each(...), 'name').")
    if columns is None:
        return _function_table(call.shape, call.bind_values, name, ("value",), (call.sql_type,))
    if isinstance(columns, ModelMeta):
        model = columns
        info = model_of(model)
        outputs = outputs_of((ModelItem(model, info.source),))[0]
    else:
        given = columns
        outputs = tuple(
            Output(column, ("column", column), sql_type_of(kind, "table_function()"), nullable=True)
            for column, kind in zip(checked_names(tuple(given)), given.values(), strict=True)
        )
    names = tuple(output.name for output in outputs)
    types = tuple(typing.cast("SqlType", output.type) for output in outputs)
    made = RecordRows(name, FunctionTable(call.shape, name, names, types, ordinality=False), call.bind_values, outputs)
    return made[columns] if isinstance(columns, ModelMeta) else made


# fmt: off
@overload
def values_table(name: str, rows: Sequence[tuple[T1]]) -> ColumnRows[tuple[ColumnExpression[T1]]]: ...
@overload
def values_table(name: str, rows: Sequence[tuple[T1, T2]]) -> ColumnRows[tuple[ColumnExpression[T1], ColumnExpression[T2]]]: ...
@overload
def values_table(name: str, rows: Sequence[tuple[T1, T2, T3]]) -> ColumnRows[tuple[ColumnExpression[T1], ColumnExpression[T2], ColumnExpression[T3]]]: ...  # noqa: E501 - one type to a column
@overload
def values_table(
    name: str, rows: Sequence[tuple[T1, T2, T3, T4]],
) -> ColumnRows[tuple[ColumnExpression[T1], ColumnExpression[T2], ColumnExpression[T3], ColumnExpression[T4]]]: ...
@overload
def values_table(
    name: str, rows: Sequence[tuple[T1, T2, T3, T4, T5]],
) -> ColumnRows[tuple[ColumnExpression[T1], ColumnExpression[T2], ColumnExpression[T3], ColumnExpression[T4], ColumnExpression[T5]]]: ...
@overload
def values_table(
    name: str, rows: Sequence[tuple[T1, T2, T3, T4, T5, T6]],
) -> ColumnRows[tuple[ColumnExpression[T1], ColumnExpression[T2], ColumnExpression[T3], ColumnExpression[T4], ColumnExpression[T5], ColumnExpression[T6]]]: ...  # noqa: E501 - one type to a column
# fmt: on
def values_table(name: str, rows: Sequence[tuple[object, ...]]) -> ColumnRows[typing.Any]:
    """A table of these rows, written as VALUES. For many rows of plain values `unnest` keeps the statement the same for any number.

    Raises:
        QueryError: no rows, rows of different lengths, or a column whose class is not the same in all rows.
    """
    if not rows or not rows[0] or len({len(row) for row in rows}) != 1:
        raise QueryError(
            f"The rows of {name!r} have no columns, or not equally many.\nTo fix it: give at least one row, all of one length."
        )
    types = [_type_of_cells(name, position, [row[position] for row in rows]) for position in range(len(rows[0]))]
    shapes = tuple(
        tuple(Keyword("NULL") if cell is None else Bind(kind, cast=not number) for cell, kind in zip(row, types, strict=True))
        for number, row in enumerate(rows)
    )
    values = tuple(cell for row in rows for cell in row if cell is not None)
    columns = tuple(f"column{number}" for number in range(1, len(types) + 1))
    outputs = tuple(Output(column, ("column", column), kind, nullable=True) for column, kind in zip(columns, types, strict=True))
    return ColumnRows(name, ValuesTable(shapes, name, columns), values, outputs)


def _type_of_cells(name: str, position: int, cells: list[object]) -> SqlType:
    known = [cell for cell in cells if cell is not None]
    if not known:
        raise QueryError(f"Column {position + 1} of {name!r} holds no value but None, so its type is not known.\nTo fix it: leave it out.")
    what = f"column {position + 1} of {name!r}"
    kind = bind(known[0], None, of=what)[1]
    for cell in known:
        if not accepts(kind, cell):
            raise wrong_class(cell, kind, of=what)
        check_aware(cell, of=what)
    return kind
