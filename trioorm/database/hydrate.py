"""Hydration: from a result of the server to the objects that a statement promised.

The contract: a `RowReader` is made once per compiled statement; `rows` takes a libpq result and gives a list of what one row is: a model's
object, a value, a tuple of both. Nothing waits here. Loading bytes is psycopg's, in C; what it does not know, or gives as other classes
than ours, is converted column by column (`columns.py`); objects are filled by a function made for them (`filling.py`).
"""

import gc
import struct
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq.abc import PGresult

from trioorm.compiler import Compiled, ModelResult, RowResult
from trioorm.database.columns import Convert, ResultColumn, best_format, column_of
from trioorm.database.filling import FillOne, Layout, Made, filler_for, filler_of_one_for
from trioorm.errors import DataError, QueryError
from trioorm.model import model_of
from trioorm.model.place import Place, place_of_caller

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RowReader"]

_MANY = 100
_MISFITS = (psycopg.DataError, struct.error, IndexError)


class RowReader:
    """Reads the rows of one compiled statement.

    Args:
        compiled: says what a row consists of.

    Attributes:
        width: how many columns a row has; None when only the server knows.
        format: in which the rows are to be asked for.
    """

    __slots__ = (
        *("_conversions", "_fill", "_fill_one", "_is_plain", "_keeps_place", "_layout", "_loaded_as", "_numbers", "_other_types"),
        *("_transformer", "format", "width"),
    )

    def __init__(self, compiled: Compiled) -> None:
        # Without a connection, psycopg's loaders take text as UTF-8 and give timestamps in UTC, which is what our sessions speak.
        self._transformer = Transformer()
        known = _columns(compiled)
        columns = known or []
        self.width = None if known is None else len(columns)
        self.format = best_format(columns)
        self._numbers = range(len(columns))
        self._other_types = [(number, column.oid) for number, column in enumerate(columns) if column.oid is not None]
        self._is_plain = known is not None and not self._other_types
        self._loaded_as: list[int] = []
        self._conversions: list[tuple[Callable[[tuple[Any, ...]], Any], Convert]] = []
        converted: list[int] = []
        for number, column in enumerate(columns):
            if column.convert is not None:
                self._conversions.append((itemgetter(number), column.convert))
                converted.append(number)
        self._layout = layout = _layout(compiled, tuple(converted))
        self._fill = filler_for(layout)
        self._fill_one: FillOne | None = None  # made for the first row that comes alone
        self._keeps_place = layout.keeps_place

    def rows(self, result: PGresult, where: Place | None = None) -> list[Any]:
        """The rows of a result; of a united statement, a list of them for each part.

        Args:
            result: of the statement.
            where: in the user's code it was asked for, if that is known.

        Raises:
            QueryError: the result has another number of columns than was declared.
            DataError: a value cannot be held in Python, such as an infinite date.
        """
        if result.ntuples >= _MANY and gc.isenabled():
            # Python's collector of cycles runs with every 700 objects more, and looks at each time and again; here are none but new ones,
            # which live on or die at once. Without it a stream of 100,000 rows takes 300 ms where it took 460.
            try:
                gc.disable()
                return self.rows(result, where or (place_of_caller(3) if self._keeps_place else None))
            finally:
                gc.enable()
        transformer = self._transformer
        if self._is_plain and result.nfields == self.width:
            transformer.set_pgresult(result)
        else:
            self._look_at(result)
        try:
            rows = transformer.load_rows(0, result.ntuples, tuple)
            converted = [convert([*map(of_row, rows)]) for of_row, convert in self._conversions] if self._conversions else ()
        except _MISFITS as error:
            raise _unreadable(error) from error
        finally:
            transformer.set_pgresult(None, set_loaders=False)  # or the rows of a plan's last run would be kept until its next
        if self._keeps_place:
            return self._fill(rows, where or place_of_caller(3), *converted)
        return self._fill(rows, *converted) if converted else self._fill(rows)

    def row(self, result: PGresult, where: Place | None = None) -> Any:  # noqa: ANN401 - what it is stands with the statement
        """The only row of a result, of a statement that is not united; for the rest as `rows`.

        Args:
            result: of one row.
            where: see `rows`.
        """
        transformer = self._transformer
        if self._is_plain and result.nfields == self.width:
            transformer.set_pgresult(result)
        else:
            self._look_at(result)
        try:
            row = transformer.load_row(0, tuple)
            converted = [convert([of_row(row)])[0] for of_row, convert in self._conversions] if self._conversions else ()
        except _MISFITS as error:
            raise _unreadable(error) from error
        finally:
            transformer.set_pgresult(None, set_loaders=False)
        fill = self._fill_one
        if fill is None:
            fill = self._fill_one = filler_of_one_for(self._layout)
        if self._keeps_place:
            return fill(row, where or place_of_caller(3), *converted)
        return fill(row, *converted) if converted else fill(row)  # a call with a star costs three of those without

    def _look_at(self, result: PGresult) -> None:
        """Let the loaders read a result, whose types are looked at each time: between two runs a table may have changed.

        Raises:
            QueryError: it has another number of columns than was declared.
        """
        if self.width is not None and result.nfields != self.width:
            raise QueryError(
                f"the statement gave {result.nfields} columns, but {self.width} were declared.\n"
                "To fix it: make the declared types or the model agree with the statement."
            )
        if not self._other_types:
            self._transformer.set_pgresult(result)
            return
        self._transformer.set_pgresult(result, set_loaders=False)
        types = [*map(result.ftype, self._numbers)]
        for number, oid in self._other_types:
            types[number] = oid
        if types != self._loaded_as:
            self._transformer.set_loader_types(types, self.format)
            self._loaded_as = types


def _unreadable(error: Exception) -> DataError | QueryError:
    """What it means that a value could not be loaded."""
    if isinstance(error, psycopg.DataError):
        return DataError(
            f"a value cannot be held in Python: {error}.\nTo fix it: leave it out with a condition, or cast it to text.", sqlstate="22000"
        )
    return QueryError(
        "the server sent a value of another type than was declared.\nTo fix it: make the declared types agree with the statement."
    )


def _columns(compiled: Compiled) -> list[ResultColumn] | None:
    """How each column is read; None for SQL of the user's own, whose columns only the server knows."""
    columns: list[ResultColumn] = []
    for item in compiled.results:
        if isinstance(item, RowResult):
            return None
        if isinstance(item, ModelResult):
            by_attribute = model_of(item.model).by_attribute
            columns += [column_of(by_attribute[name].type) for name in item.columns]
        else:
            columns.append(column_of(item.type))
    return columns


def _layout(compiled: Compiled, converted: tuple[int, ...]) -> Layout:
    shared = {at + 1 for at in compiled.shared}
    items = tuple(
        Made(item.model, item.columns, item.optional, _key_places(item) if at in shared else ()) if isinstance(item, ModelResult) else None
        for at, item in enumerate(compiled.results)
    )
    whole = isinstance(compiled.results[0], RowResult) if compiled.results else True
    scalar = len(items) == 1 and not whole
    if compiled.parts is not None:
        return Layout(items, converted, parts=compiled.parts)
    if compiled.into is None:
        return Layout(items, converted, scalar=scalar)
    return Layout(items, converted, compiled.into.make, compiled.into.keywords)


def _key_places(item: ModelResult) -> tuple[int, ...]:
    return tuple(item.columns.index(field.attribute) for field in model_of(item.model).primary_key)
