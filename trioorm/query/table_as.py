"""`create_table_as("recent", select(...))`: a table made from the rows of a query.

The contract: a `CreateTableAs` is an immutable value like any statement; its `table` is what other statements read from.
"""

from __future__ import annotations

from typing import final

from trioorm.expression.identifiers import quote_qualified
from trioorm.expression.shape import Source
from trioorm.query.query import Query
from trioorm.query.shape import CreateTableAsShape
from trioorm.query.statement import Statement
from trioorm.query.tables import Table, outputs_of


@final
class CreateTableAs(Statement[None]):
    """A table made from the rows of a query. Made by `create_table_as`.

    Attributes:
        table: the new table, to read from: `select(recent.table[User.age])`.
    """

    __slots__ = ("bind_values", "shape", "table")
    shape: CreateTableAsShape
    bind_values: tuple[object, ...]

    def __init__(self, source: Source, query: Query[object], *, temporary: bool) -> None:
        outputs, names = outputs_of(query.items)
        self.shape = CreateTableAsShape(source, names, temporary, query.shape)  # pyright: ignore[reportIncompatibleMethodOverride] - a slot
        self.bind_values = query.bind_values  # pyright: ignore[reportIncompatibleMethodOverride] - a slot
        self.table = Table(source.table, source, (), outputs)


def create_table_as(name: str, query: Query[object], *, temporary: bool = False, schema: str | None = None) -> CreateTableAs:
    """`CREATE TABLE ... AS`: a table of the rows that a query gives now, without keys and indexes.

        recent = create_table_as("recent", select(Order.id, Order.total).where(...), temporary=True)
        await tx.execute(recent)
        totals = await tx.fetch_all(select(recent.table[Order.total]))

    Args:
        name: of the table.
        query: what to fill it with. Its columns get the names that a subquery's would have.
        temporary: only this transaction sees it, and it is gone when that ends, so that a connection goes back to the pool without it.
        schema: where to make it; not for a temporary one.

    Raises:
        QueryError: a name is none.
    """
    quote_qualified(name, schema)
    return CreateTableAs(Source(name, schema=schema), query, temporary=temporary)
