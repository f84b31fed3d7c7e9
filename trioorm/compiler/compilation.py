"""The two things that are asked about a statement: its shape with its values, each time; its text, once for each shape."""

from __future__ import annotations

from collections.abc import Hashable

from trioorm.compiler.compiled import Compiled
from trioorm.compiler.statements import compile_shape
from trioorm.query.statement import SqlText, Statement


def shape_and_values(statement: Statement[object]) -> tuple[Hashable, list[object]]:
    """The key under which the compiled text is kept, and the bind values, which `Compiled.arranged` puts into the order of `$1` to `$n`.

    Raises:
        QueryError: the statement is not complete: no rows to insert, nothing to set, no condition.
    """
    return statement.shape, list(statement.bind_values)


def compile_statement(statement: Statement[object]) -> Compiled:
    """The text of a statement, with what goes in and comes out. It depends on the shape only.

    Raises:
        QueryError: the statement is not complete, or uses a column of a table that is not in it.
    """
    return compile_shape(statement.shape)


def sql_text(statement: Statement[object]) -> SqlText:
    """The text of a statement and the values for it.

    Raises:
        QueryError: as `compile_statement`.
    """
    compiled = compile_statement(statement)
    return SqlText(compiled.text, tuple(compiled.arranged(statement.bind_values)))
