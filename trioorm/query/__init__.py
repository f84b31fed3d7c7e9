"""Statements: select, insert, update, delete, merge, and SQL of one's own, as typed immutable values.

The contract: a `Statement[R]` is a shape and its bind values, and says by `R` what its rows become. Nothing here sends anything.
"""

from typing import TYPE_CHECKING

from trioorm.later import given_later
from trioorm.query.assignment import field_named
from trioorm.query.change import Delete, Update, delete, update, update_each
from trioorm.query.entity import Alias, OptionalItem, alias, excluded, new, old, optional
from trioorm.query.form import Form
from trioorm.query.graph import check_graph
from trioorm.query.grouping import Grouping, cube, grouping, grouping_sets, rollup
from trioorm.query.insert import Insert, OnConflict, insert
from trioorm.query.query import Combined, Query
from trioorm.query.select import Select, select
from trioorm.query.shape import ModelItem, SelectShape
from trioorm.query.statement import SqlText, Statement
from trioorm.query.tables import Cte, Subquery, Table
from trioorm.query.write import Returning, Write

if TYPE_CHECKING:
    from trioorm.query.links import LinkColumns, delete_links, insert_links, select_links
    from trioorm.query.lint import LintFinding, LintRule
    from trioorm.query.loading import Finding, Handing, can_be_handed, find_related, handed_keys, sent_keys, values_of
    from trioorm.query.merging import Merge, MergeTarget, WhenMatched, WhenNotMatched, merge, merge_action
    from trioorm.query.sql_text import Identifier, Sql, TypedSql, identifier, sql
    from trioorm.query.table_as import CreateTableAs, create_table_as
    from trioorm.query.table_functions import ColumnRows, FunctionRows, RecordRows, generate_series, table_function, unnest, values_table
    from trioorm.query.uniting import RootKey, United, UnitedLoad, root_key
else:
    __getattr__, __dir__ = given_later(
        __name__,
        {
            "trioorm.query.links": "LinkColumns delete_links insert_links select_links",
            "trioorm.query.lint": "LintFinding LintRule",
            "trioorm.query.loading": "Finding Handing can_be_handed find_related handed_keys sent_keys values_of",
            "trioorm.query.merging": "Merge MergeTarget WhenMatched WhenNotMatched merge merge_action",
            "trioorm.query.sql_text": "Identifier Sql TypedSql identifier sql",
            "trioorm.query.table_as": "CreateTableAs create_table_as",
            "trioorm.query.table_functions": "ColumnRows FunctionRows RecordRows generate_series table_function unnest values_table",
            "trioorm.query.uniting": "RootKey United UnitedLoad root_key",
        },
    )

__all__ = [
    "Alias",
    "ColumnRows",
    "Combined",
    "CreateTableAs",
    "Cte",
    "Delete",
    "Finding",
    "Form",
    "FunctionRows",
    "Grouping",
    "Handing",
    "Identifier",
    "Insert",
    "LinkColumns",
    "LintFinding",
    "LintRule",
    "Merge",
    "MergeTarget",
    "ModelItem",
    "OnConflict",
    "OptionalItem",
    "Query",
    "RecordRows",
    "Returning",
    "RootKey",
    "Select",
    "SelectShape",
    "Sql",
    "SqlText",
    "Statement",
    "Subquery",
    "Table",
    "TypedSql",
    "United",
    "UnitedLoad",
    "Update",
    "WhenMatched",
    "WhenNotMatched",
    "Write",
    "alias",
    "can_be_handed",
    "check_graph",
    "create_table_as",
    "cube",
    "delete",
    "delete_links",
    "excluded",
    "field_named",
    "find_related",
    "generate_series",
    "grouping",
    "grouping_sets",
    "handed_keys",
    "identifier",
    "insert",
    "insert_links",
    "merge",
    "merge_action",
    "new",
    "old",
    "optional",
    "rollup",
    "root_key",
    "select",
    "select_links",
    "sent_keys",
    "sql",
    "table_function",
    "unnest",
    "update",
    "update_each",
    "values_of",
    "values_table",
]
