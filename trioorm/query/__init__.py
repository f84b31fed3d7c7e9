"""Statements: select, insert, update, delete, and SQL of one's own, as typed immutable values.

The contract: a `Statement[R]` is a shape and its bind values, and says by `R` what its rows become. Nothing here sends anything.
"""

from trioorm.query.change import Delete, Update, delete, update
from trioorm.query.entity import Alias, OptionalItem, alias, excluded, optional
from trioorm.query.insert import Insert, OnConflict, insert
from trioorm.query.lint import LintFinding, LintRule
from trioorm.query.select import Select, select
from trioorm.query.sql import Sql, TypedSql, sql
from trioorm.query.statement import Statement
from trioorm.query.write import Returning, Write

__all__ = [
    "Alias",
    "Delete",
    "Insert",
    "LintFinding",
    "LintRule",
    "OnConflict",
    "OptionalItem",
    "Returning",
    "Select",
    "Sql",
    "Statement",
    "TypedSql",
    "Update",
    "Write",
    "alias",
    "delete",
    "excluded",
    "insert",
    "optional",
    "select",
    "sql",
    "update",
]
