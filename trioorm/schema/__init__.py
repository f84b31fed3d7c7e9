"""What a table is: columns, keys, constraints and indexes, their names, and the order in which tables can be created; views, sequences,
extensions.

The contract: records and functions over them; no SQL text, no models.
"""

from trioorm.schema.constraint import (
    CheckConstraint,
    ExclusionConstraint,
    ForeignKeyConstraint,
    TableConstraint,
    TableIndex,
    UniqueConstraint,
    check,
    deferral,
    exclude,
    foreign_key,
    index,
    unique,
)
from trioorm.schema.extension import Extension, extension
from trioorm.schema.naming import constraint_name, distinct_name, shortened
from trioorm.schema.order import CreationOrder, creation_order, sources_in, view_order
from trioorm.schema.sequence import Counting, Identity, NumberSequence, identity, sequence
from trioorm.schema.table import (
    AT_ONCE,
    Check,
    Deferral,
    Exclusion,
    ForeignKey,
    Formula,
    Index,
    IndexMethod,
    IndexOption,
    IndexTerm,
    OnDelete,
    Table,
    TableColumn,
    Unique,
)
from trioorm.schema.view import View

__all__ = [
    "AT_ONCE",
    "Check",
    "CheckConstraint",
    "Counting",
    "CreationOrder",
    "Deferral",
    "Exclusion",
    "ExclusionConstraint",
    "Extension",
    "ForeignKey",
    "ForeignKeyConstraint",
    "Formula",
    "Identity",
    "Index",
    "IndexMethod",
    "IndexOption",
    "IndexTerm",
    "NumberSequence",
    "OnDelete",
    "Table",
    "TableColumn",
    "TableConstraint",
    "TableIndex",
    "Unique",
    "UniqueConstraint",
    "View",
    "check",
    "constraint_name",
    "creation_order",
    "deferral",
    "distinct_name",
    "exclude",
    "extension",
    "foreign_key",
    "identity",
    "index",
    "sequence",
    "shortened",
    "sources_in",
    "unique",
    "view_order",
]
