"""What a table is: columns, keys, constraints and indexes, their names, and the order in which tables can be created.

The contract: records and functions over them; no SQL text, no models.
"""

from trioorm.schema.constraint import (
    CheckConstraint,
    ForeignKeyConstraint,
    TableConstraint,
    TableIndex,
    UniqueConstraint,
    check,
    foreign_key,
    index,
    unique,
)
from trioorm.schema.naming import constraint_name, distinct_name, shortened
from trioorm.schema.order import CreationOrder, creation_order
from trioorm.schema.table import Check, ForeignKey, Formula, Index, IndexMethod, OnDelete, Table, TableColumn, Unique

__all__ = [
    "Check",
    "CheckConstraint",
    "CreationOrder",
    "ForeignKey",
    "ForeignKeyConstraint",
    "Formula",
    "Index",
    "IndexMethod",
    "OnDelete",
    "Table",
    "TableColumn",
    "TableConstraint",
    "TableIndex",
    "Unique",
    "UniqueConstraint",
    "check",
    "constraint_name",
    "creation_order",
    "distinct_name",
    "foreign_key",
    "index",
    "shortened",
    "unique",
]
