"""What a table is: columns, keys, constraints and indexes, their names, and the order in which tables can be created; views, sequences,
extensions.

The contract: records and functions over them; no SQL text, no models.
"""

from typing import TYPE_CHECKING

from trioorm.later import given_later
from trioorm.schema.deferring import AT_ONCE, Deferral, OnDelete, deferral

if TYPE_CHECKING:
    from trioorm.schema.constraint import (
        CheckConstraint,
        ExclusionConstraint,
        ForeignKeyConstraint,
        TableConstraint,
        TableIndex,
        UniqueConstraint,
        check,
        exclude,
        foreign_key,
        index,
        unique,
    )
    from trioorm.schema.extensions import Extension, extension
    from trioorm.schema.naming import constraint_name, distinct_name, shortened
    from trioorm.schema.order import CreationOrder, creation_order, sources_in, view_order
    from trioorm.schema.sequences import Counting, Identity, NumberSequence, identity, sequence
    from trioorm.schema.table import (
        Check,
        Exclusion,
        ForeignKey,
        Formula,
        Index,
        IndexMethod,
        IndexOption,
        IndexTerm,
        Table,
        TableColumn,
        Unique,
    )
    from trioorm.schema.view import View
else:
    __getattr__, __dir__ = given_later(
        __name__,
        {
            "trioorm.schema.constraint": (
                "CheckConstraint ExclusionConstraint ForeignKeyConstraint TableConstraint TableIndex "
                "UniqueConstraint check exclude foreign_key index unique"
            ),
            "trioorm.schema.extensions": "Extension extension",
            "trioorm.schema.naming": "constraint_name distinct_name shortened",
            "trioorm.schema.order": "CreationOrder creation_order sources_in view_order",
            "trioorm.schema.sequences": "Counting Identity NumberSequence identity sequence",
            "trioorm.schema.table": "Check Exclusion ForeignKey Formula Index IndexMethod IndexOption IndexTerm Table TableColumn Unique",
            "trioorm.schema.view": "View",
        },
    )

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
