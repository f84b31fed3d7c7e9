"""Constraint violations in the words of the models: which model and columns, and which of the objects given.

The contract: an `IntegrityError` is completed in place, before it leaves the verb, so it stays the same object, with its traceback. The
server names the constraint and quotes the values of the row in its detail, never the row's number; an object is found by comparing the
two, and where they cannot be compared nothing is claimed. Values never enter the text; `error.values` has them only on request.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from trioorm.compiler import Compiled, ModelResult
from trioorm.errors import IntegrityError, NotNullViolation
from trioorm.expression.shape import ColumnReference
from trioorm.model import UNSET, Model, ModelInfo, model_of
from trioorm.query import Returning, Statement, Write

if TYPE_CHECKING:
    from trioorm.schema import Table

__all__ = ["Violations"]

_LONGEST_QUOTED = 64
"""The server cuts longer values off when it quotes a whole row."""


class Violations:
    """What is needed to explain violations: the models that one database has met so far.

    Args:
        with_values: whether errors carry the values of the columns.
    """

    __slots__ = ("_models", "_with_values")

    def __init__(self, *, with_values: bool = False) -> None:
        self._with_values = with_values
        self._models: dict[tuple[str | None, str], ModelInfo] = {}

    def learn(self, statement: Statement[object], compiled: Compiled) -> None:
        """Remember the models of a statement, when it is first compiled."""
        for item in compiled.results:
            if isinstance(item, ModelResult):
                self.learn_model(model_of(item.model))
        if isinstance(statement, (Write, Returning)):
            self.learn_model(statement.info)

    def learn_model(self, info: ModelInfo) -> None:
        """Remember a model."""
        self._models[info.source.schema, info.table_name] = info

    def explain(self, error: IntegrityError, objects: Sequence[Model] = ()) -> None:
        """Say which model, which columns, and which of the objects that were to be written.

        Args:
            error: as the server's answer made it, or already explained without the objects.
            objects: in the order given by the caller.
        """
        info = self._models.get((error.schema_name, error.table or "")) or self._models.get((None, error.table or ""))
        if info is None:
            return
        if error.model is None:
            error.model = info.model
            error.columns = tuple(_attribute(info, name) for name in _columns(error, info))
            named = ", ".join(f"{info.model.__qualname__}.{name}" for name in error.columns) or info.model.__qualname__
            error.args = (f"{error.args[0]}\nIt is about {named}.",)
        if objects and type(objects[0]) is info.model:
            error.rows = tuple(_rows(error, info, objects))
            if len(objects) > 1 and error.rows:
                numbers = " or ".join(map(str, error.rows))
                error.args = (f"{error.args[0]} Of the {len(objects):,} objects given, it is number {numbers}, counted from 0.",)
        if self._with_values:
            error.values = _values(error, objects)


def _attribute(info: ModelInfo, column: str) -> str:
    field = info.by_name.get(column)
    return column if field is None else field.attribute


def _columns(error: IntegrityError, info: ModelInfo) -> Sequence[str]:
    """The names of the columns that a violation is about."""
    if error.column is not None:
        return [error.column]
    if not info.is_view and error.constraint is not None:
        found = _constraint_columns(info.table, error.constraint)
        if found is not None:
            return found
    # A constraint that the model does not know: PostgreSQL quotes keys as (a, b)=(1, 2).
    names = _quoted_names(error.detail or "")
    return names if all(name in info.by_name for name in names) else []


def _quoted_names(detail: str) -> list[str]:
    """What stands before the equals sign in `Key (a, b)=(1, 2) already exists.`"""
    quoted = re.search(r"\((.*?)\)=\(", detail, re.DOTALL)
    return [] if quoted is None else [name.strip('"') for name in quoted[1].split(", ")]


def _constraint_columns(table: Table, constraint: str) -> Sequence[str] | None:
    if constraint == table.primary_key_name:
        return table.primary_key
    keys = [(key.name, key.columns) for key in table.uniques] + [(key.name, key.columns) for key in table.foreign_keys]
    formulas = [
        *((check.name, [check.condition]) for check in table.checks),
        *((exclusion.name, [formula for formula, _ in exclusion.terms]) for exclusion in table.exclusions),
        *((index.name, [term.formula for term in index.terms]) for index in table.indexes),
    ]
    found = {name: tuple(dict.fromkeys(used for each in parts for used in _names_in(each.shape))) for name, parts in formulas}
    return (dict(keys) | found).get(constraint)


def _names_in(shape: object) -> Iterator[str]:
    if isinstance(shape, ColumnReference):
        yield shape.name
    elif isinstance(shape, tuple):
        for part in cast("tuple[object, ...]", shape):
            yield from _names_in(part)


# Which of the objects.


def _rows(error: IntegrityError, info: ModelInfo, objects: Sequence[Model]) -> Iterator[int]:
    """The numbers of the objects that the server's detail may quote; none when that cannot be told."""
    detail = error.detail or ""
    if ")=(" in detail:
        if [_attribute(info, name) for name in _quoted_names(detail)] != list(error.columns):
            return  # an expression of them, whose value is not theirs
        for number, each in enumerate(objects):
            texts = [_text(getattr(each, name, UNSET)) for name in error.columns]
            if None not in texts and f"=({', '.join(cast('list[str]', texts))})" in detail:
                yield number
    elif (quoted := re.search(r"\((.*)\)", detail, re.DOTALL)) is not None:
        # A whole row; where nothing is known of a column, anything may stand.
        matching = [number for number, each in enumerate(objects) if re.fullmatch(_row_pattern(info, each), quoted[1], re.DOTALL)]
        # Rows are written in their order, so of those that have no value the first is the one.
        yield from matching[:1] if isinstance(error, NotNullViolation) else matching


def _row_pattern(info: ModelInfo, each: Model) -> str:
    texts = [_text(getattr(each, field.attribute)) for field in info.fields]
    return ", ".join(".*?" if text is None or len(text.encode()) > _LONGEST_QUOTED else re.escape(text) for text in texts)


def _text(value: object) -> str | None:
    """A value as the server quotes it, in UTC and ISO style; None where that depends on more than the value."""
    match value:
        case None:
            return "null"
        case bool():
            return "t" if value else "f"
        case enum.Enum():
            return None
        case datetime.datetime():
            return None
        case str():
            return value
        case int() | decimal.Decimal() | uuid.UUID() | datetime.date():
            return str(value)
        case _:
            return None


def _values(error: IntegrityError, objects: Sequence[Model]) -> Mapping[str, object] | None:
    """The values of the columns: the object's own, else the text that the server quotes."""
    if len(objects) == 1 or len(error.rows) == 1:
        (number,) = error.rows if len(error.rows) == 1 else (0,)
        return {name: getattr(objects[number], name, UNSET) for name in error.columns}
    quoted = re.search(r"\)=\((.*?)\)(?: |$)", error.detail or "", re.DOTALL)
    if quoted is None:
        return None
    texts = [quoted[1]] if len(error.columns) == 1 else quoted[1].split(", ")
    return dict(zip(error.columns, texts, strict=True)) if len(texts) == len(error.columns) else None
