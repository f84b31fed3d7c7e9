"""SQL to read: what `print(statement)` shows.

The contract: the same text as the server gets, with the same places and no values. An incomplete statement is shown as far as it goes.
"""

from __future__ import annotations

from trioorm.compiler.expressions import ExpressionRenderer
from trioorm.compiler.statements import STATEMENTS, compile_shape, render_inner
from trioorm.expression.shape import Shape


def readable(shape: Shape) -> str:
    """A shape as SQL: whole statements as they are sent, expressions as they stand in one."""
    if isinstance(shape, STATEMENTS):
        return compile_shape(shape).text
    return ExpressionRenderer(render_inner)(shape)
