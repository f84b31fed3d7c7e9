"""What stands in FROM besides models: subqueries, CTEs, functions' rows, lists of values.

The contract: a `Table` is an immutable value with a name, a shape and bind values. Its columns are found by what they were selected as:
`recent[Order.total]` is the column of `recent` that was selected as `Order.total`, typed alike, and `recent[Order]` is the whole model, as
an alias would be. In column references such a table is a `Source` with no table but an alias.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression.annotations import type_of_annotation
from trioorm.expression.column import Column, ColumnExpression
from trioorm.expression.expression import Expression
from trioorm.expression.identifiers import quote_identifier
from trioorm.expression.shape import ColumnReference, Labelled, Shape, Source
from trioorm.expression.types import SqlType
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.model.metaclass import ModelMeta
from trioorm.model.model import Model, model_of
from trioorm.query.entity import Alias, OptionalItem, entity_of, first_source
from trioorm.query.shape import CommonTable, CommonTableUse, Cycle, Derived, FromShape, ModelItem, RecursiveStep, Search, ValueItem

M = TypeVar("M", bound=Model)
S = TypeVar("S")


class Output(NamedTuple):
    """One column of a query: its name for others, and what it was selected as. `source` is set for the columns of a whole model."""

    name: str
    shape: Shape
    type: SqlType | None
    nullable: bool
    item: ModelItem | None = None


class Table:
    """Rows under a name, to be read from. Made by `subquery`, `lateral`, `cte`, and the table functions."""

    __slots__ = ("bind_values", "from_shape", "name", "outputs")

    def __init__(self, name: str, from_shape: FromShape, bind_values: tuple[object, ...], outputs: tuple[Output, ...]) -> None:
        quote_identifier(name)
        self.name = name
        self.from_shape = from_shape
        self.bind_values = bind_values
        self.outputs = outputs

    @overload
    def __getitem__(self, item: type[M]) -> type[M]: ...
    @overload
    def __getitem__(self, item: Expression[S]) -> ColumnExpression[S]: ...
    def __getitem__(self, item: object) -> object:
        """The column that was selected as this expression, or the whole model that was selected.

        Raises:
            QueryError: nothing was selected so, or several columns were.
        """
        if isinstance(item, (ModelMeta, Alias)):
            return self._model(item)
        if not isinstance(item, Expression):
            raise QueryError(
                f"{self.name}[...] takes what was selected, and got {item!r}.\n"
                f"To fix it: {self.name}[User.name] for a column, {self.name}[User] for a model, {self.name}.column('total') by name."
            )
        expression = typing.cast("Expression[object]", item)
        shape = expression.operand()
        if expression.bind_values and not isinstance(shape, Labelled):
            raise QueryError(
                f"{expression} holds values, by which it cannot be found in {self.name!r}.\n"
                "To fix it: give it a name by as_() where it is selected, and take it out as the same expression."
            )
        bare = shape.operand if isinstance(shape, Labelled) else shape
        found = [output for output in self.outputs if output.shape == shape]
        found = found or [
            output for output in self.outputs if (output.shape[0] if isinstance(output.shape, Labelled) else output.shape) == bare
        ]
        if len(found) == 1:
            return self._column(found[0])
        what = "was not selected in" if not found else "was selected more than once in"
        raise QueryError(
            f"{expression} {what} {self.name!r}, whose columns are {', '.join(output.name for output in self.outputs)}.\n"
            "To fix it: select it there (once, or with names of their own by as_()), and take it out with the same expression."
        )

    @overload
    def column(self, name: str) -> ColumnExpression[object]: ...
    @overload
    def column(self, name: str, type_: type[S]) -> ColumnExpression[S]: ...
    def column(self, name: str, type_: type[object] | SqlType | None = None) -> ColumnExpression[typing.Any]:
        """A column by its name, with the class of its values.

        Raises:
            QueryError: there is no such column, or it is known to be of another type.
        """
        output = next((output for output in self.outputs if output.name == name), None)
        if output is None:
            raise QueryError(
                f"{self.name!r} has no column {name!r}.\nIts columns are {', '.join(output.name for output in self.outputs)}.\n"
                "To fix it: use one of these, or select it there with as_()."
            )
        if type_ is not None:
            wanted = sql_type_of(type_, "column()")
            if output.type is None:
                output = output._replace(type=wanted)
            elif output.type.python is not wanted.python or output.type.element is not wanted.element:
                raise QueryError(
                    f"The column {name!r} of {self.name!r} is {output.type.name}, and not {wanted.name}.\n"
                    f"To fix it: {self.name}.column({name!r}, {output.type.python.__name__})"
                )
        return self._column(output)

    def _column(self, output: Output) -> DerivedColumn:
        return DerivedColumn(self, output)

    def _model(self, wanted: ModelMeta | Alias) -> DerivedAlias:
        info, source = entity_of(wanted)
        items = {output.item: None for output in self.outputs if output.item is not None and output.item.model is info.model}
        exact = [item for item in items if item.source == source]
        found = exact or list(items)
        if len(found) != 1:
            what = "is selected more than once in" if found else "is not selected as a whole in"
            raise QueryError(
                f"{info.model.__name__} {what} {self.name!r}.\n"
                f"To fix it: select({info.model.__name__}, ...) there, each time under an alias of its own, and give that alias here."
            )
        return DerivedAlias(self, info, found[0])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} ({', '.join(output.name for output in self.outputs)})>"


class DerivedColumn(Column[typing.Any]):
    """A column of a `Table`."""

    __slots__ = ("table",)

    def __init__(self, table: Table, output: Output) -> None:
        kind = typing.cast("SqlType", output.type)  # None where only the server knows it, as an expression's may be
        super().__init__(Source("", table.name), output.name, kind, attribute=output.name, nullable=output.nullable)
        self.table = table


class DerivedAlias(Alias):
    """A model whose columns are read from a `Table`."""

    def __init__(self, table: Table, info: ModelInfo, item: ModelItem) -> None:
        self.__table__ = table
        self.__outputs__ = tuple(output for output in table.outputs if output.item is item)
        super().__init__(info, Source("", table.name))

    def _column(self, field: FieldInfo) -> Expression[object]:
        position = self.__trioorm__.fields.index(field)
        return DerivedColumn(self.__table__, self.__outputs__[position])

    @property
    def __item__(self) -> ModelItem:
        names = tuple(output.name for output in self.__outputs__)
        own = tuple(field.name for field in self.__trioorm__.fields)
        return ModelItem(self.__trioorm__.model, self.__source__, columns=None if names == own else names)


class Subquery(Table):
    """A query's rows as a table. Made by `select(...).subquery(name)` and `.lateral(name)`."""

    __slots__ = ()

    def alias(self, name: str) -> Subquery:
        """The same rows under another name."""
        return Subquery(name, typing.cast("Derived", self.from_shape)._replace(visible_name=name), self.bind_values, self.outputs)


class Cte(Table):
    """One entry of WITH. Made by `select(...).cte(name)` and `recursive_cte`; whatever statement reads from it gets its WITH."""

    __slots__ = ()

    @property
    def definition(self) -> CommonTable:
        """Its entry in WITH."""
        return typing.cast("CommonTableUse", self.from_shape).definition

    def alias(self, name: str) -> Cte:
        """The same rows under another name; they are computed once all the same."""
        quote_identifier(name)
        return Cte(name, CommonTableUse(self.definition, name), self.bind_values, self.outputs)

    def search_depth_first(self, *by: Expression[object], column: str = "search_order") -> Cte:
        """`SEARCH DEPTH FIRST BY ...`: order by `cte.column(column)`, and each row is followed by those found from it."""
        return self._search("DEPTH", by, column)

    def search_breadth_first(self, *by: Expression[object], column: str = "search_order") -> Cte:
        """`SEARCH BREADTH FIRST BY ...`: order by `cte.column(column)`, and all rows of a round come before the next round's."""
        return self._search("BREADTH", by, column)

    def cycle(self, *columns: Expression[object], mark: str = "is_cycle", path: str = "cycle_path") -> Cte:
        """`CYCLE ...`: a row that repeats these columns of one before it on its path is marked, and nothing is searched from it.

        `cte.column(mark, bool)` is the mark.
        """
        definition = self._recursive("cycle()", columns)
        quote_identifier(mark)
        quote_identifier(path)
        found = Cycle(tuple(self._name_of(column) for column in columns), mark, path)
        boolean = sql_type_of(bool, "cycle()")
        more = (Output(mark, ("column", mark), boolean, False), Output(path, ("column", path), None, False))
        return Cte(self.name, CommonTableUse(definition._replace(cycle=found), None), self.bind_values, self.outputs + more)

    def _search(self, how: Literal["DEPTH", "BREADTH"], by: tuple[Expression[object], ...], column: str) -> Cte:
        definition = self._recursive("search", by)
        quote_identifier(column)
        found = Search(how, tuple(self._name_of(term) for term in by), column)
        more = (Output(column, ("column", column), None, False),)
        return Cte(self.name, CommonTableUse(definition._replace(search=found), None), self.bind_values, self.outputs + more)

    def _recursive(self, what: str, columns: tuple[Expression[object], ...]) -> CommonTable:
        if self.definition.step is None:
            raise QueryError(f"{what} is for a recursive CTE, and {self.name!r} is none.\nTo fix it: make it by recursive_cte().")
        if not columns:
            raise QueryError(f"{what} of the CTE {self.name!r} names no column.\nTo fix it: name those that tell rows apart.")
        return self.definition

    def _name_of(self, column: Expression[object]) -> str:
        found = column if isinstance(column, DerivedColumn) and column.table.name == self.name else self[column]
        return found.shape.name


def common_table(
    name: str,
    statement: Shape,
    values: tuple[object, ...],
    items: tuple[Shape, ...],
    *,
    materialized: bool | None,
    step: RecursiveStep | None = None,
) -> Cte:
    """A CTE of a statement with these items.

    Raises:
        QueryError: the statement gives no rows, or the name is none.
    """
    if not items:
        raise QueryError(
            f"The statement of the CTE {name!r} gives no rows, and nothing could be read from it.\nTo fix it: add .returning(...)."
        )
    outputs, names = outputs_of(items)
    definition = CommonTable(name, names, materialized, statement, step, None, None)
    return Cte(name, CommonTableUse(definition, None), values, outputs)


@functools.lru_cache(maxsize=4096)
def outputs_of(items: tuple[Shape, ...]) -> tuple[tuple[Output, ...], tuple[str, ...] | None]:
    """The columns of a query with these items, and the names to give them, None where their own will do."""
    outputs: list[Output] = []
    taken: set[str] = set()
    own = True
    for item in items:
        if isinstance(item, ModelItem):
            fields = model_of(item.model).fields
            names = item.columns if item.columns is not None else tuple(field.name for field in fields)
            for field, name in zip(fields, names, strict=True):
                chosen = _free_name(name, item.source.visible_name, taken)
                own = own and chosen == name
                outputs.append(Output(chosen, ColumnReference(item.source, name), field.type, field.nullable or item.optional, item))
            continue
        value = typing.cast("ValueItem", item)
        natural = natural_name(value.expression)
        source = first_source(value.expression)
        chosen = _free_name(natural or f"column{len(outputs) + 1}", source.visible_name if source is not None else "", taken)
        own = own and chosen == natural
        outputs.append(Output(chosen, value.expression, value.type, value.nullable))
    return tuple(outputs), None if own else tuple(output.name for output in outputs)


def natural_name(expression: Shape) -> str | None:
    """The name that PostgreSQL and this library both give an item; None where they may differ."""
    if isinstance(expression, Labelled):
        return expression.label
    return expression.name if isinstance(expression, ColumnReference) else None


def _free_name(name: str, table: str, taken: set[str]) -> str:
    chosen = name
    if chosen in taken:
        chosen = f"{table}_{name}"
    number = 2
    while chosen in taken or len(chosen.encode()) > 63:
        chosen = f"column{len(taken) + number}"
        number += 1
    taken.add(chosen)
    return chosen


def from_item_of(thing: object) -> tuple[FromShape, tuple[object, ...]]:
    """What stands in FROM for a model, an alias or a table, and its values.

    Raises:
        QueryError: the thing is none of them.
    """
    if isinstance(thing, ModelMeta):
        return entity_of(thing)[1], ()
    if isinstance(thing, Table):
        return thing.from_shape, thing.bind_values
    if isinstance(thing, DerivedAlias):
        return thing.__table__.from_shape, thing.__table__.bind_values
    if _is_query(thing):
        raise QueryError(
            "A select was given where a table is needed.\nTo fix it: give it a name, as in select(...).subquery('recent'), and use that."
        )
    return entity_of(thing)[1], ()


def _is_query(thing: object) -> bool:
    return isinstance(thing, Expression) and thing.is_statement


def origin_of(item: object, shape: Shape) -> tuple[FromShape | None, tuple[object, ...]]:
    """The table that an item of a select is read from, where the select says nothing else about FROM."""
    if isinstance(item, OptionalItem):
        item = typing.cast("OptionalItem[object]", item).origin
    if isinstance(item, DerivedColumn):
        return item.table.from_shape, item.table.bind_values
    if isinstance(item, DerivedAlias):
        return item.__table__.from_shape, item.__table__.bind_values
    return first_source(shape), ()


def sql_type_of(kind: object, place: str) -> SqlType:
    """The PostgreSQL type that a class or type stands for.

    Raises:
        QueryError: none is known.
    """
    if isinstance(kind, SqlType):
        return kind
    found = type_of_annotation(kind)
    if found is None:
        raise QueryError(
            f"{place} was given {getattr(kind, '__name__', kind)}, for which no PostgreSQL type is known.\n"
            "To fix it: give a class such as int or str, or a type such as JSONB."
        )
    return found[0]


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Column names for a table, each different from the others.

    Raises:
        QueryError: one is no name, or stands there twice.
    """
    for name in names:
        quote_identifier(name)
    if len(set(names)) != len(names):
        raise QueryError(f"Two columns of one table have the same name: {', '.join(names)}.\nTo fix it: give each a name of its own.")
    return tuple(names)
