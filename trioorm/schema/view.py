"""Views and materialized views as records.

The contract: a view's query is a select, which is an expression, so it lies here as a `Formula`. Its columns are named by the view, in the
order of the query's items.
"""

from __future__ import annotations

import attrs

from trioorm.expression.shape import Source
from trioorm.schema.table import Formula, Index, TableColumn


@attrs.frozen
class View:
    """A stored query that is read like a table.

    Attributes:
        materialized: its rows are kept, as they were when it was refreshed last.
        indexes: of a materialized view.
    """

    name: str
    columns: tuple[TableColumn, ...]
    query: Formula
    materialized: bool = False
    indexes: tuple[Index, ...] = ()
    comment: str | None = None
    schema: str | None = None

    @property
    def source(self) -> Source:
        """The view as statements name it."""
        return Source(self.name, schema=self.schema)

    @property
    def kind(self) -> str:
        """What DDL calls it."""
        return "MATERIALIZED VIEW" if self.materialized else "VIEW"
