"""From statements and tables to SQL text.

The contract: text depends on the shape alone, so one compiled text serves all statements of a shape.
"""

from typing import TYPE_CHECKING

from trioorm.compiler.compilation import compile_statement, shape_and_values, sql_text
from trioorm.compiler.compiled import Compiled, ModelResult, ResultItem, RowResult, ValueResult
from trioorm.compiler.printing import readable
from trioorm.later import given_later

if TYPE_CHECKING:
    from trioorm.compiler.schema import (
        SchemaPart,
        create_index_statement,
        create_schema_statements,
        drop_schema_statements,
        refresh_statement,
    )
else:
    __getattr__, __dir__ = given_later(
        __name__,
        {
            "trioorm.compiler.schema": (
                "SchemaPart create_index_statement create_schema_statements drop_schema_statements refresh_statement"
            ),
        },
    )

__all__ = [
    "Compiled",
    "ModelResult",
    "ResultItem",
    "RowResult",
    "SchemaPart",
    "ValueResult",
    "compile_statement",
    "create_index_statement",
    "create_schema_statements",
    "drop_schema_statements",
    "readable",
    "refresh_statement",
    "shape_and_values",
    "sql_text",
]
