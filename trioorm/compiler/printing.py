"""SQL to read: what `print(statement)` shows.

The contract: the same text as the server gets, with the same places and no values. An incomplete statement is shown as far as it goes.
"""

from trioorm.compiler.expressions import ExpressionRenderer
from trioorm.compiler.statements import compile_shape, render_inner
from trioorm.expression.printing import install_renderer
from trioorm.expression.shape import Fragment, Shape
from trioorm.query.shape import DeleteShape, InsertShape, SelectShape, TypedFragment, UpdateShape


def readable(shape: Shape) -> str:
    """A shape as SQL: whole statements as they are sent, expressions as they stand in one."""
    if isinstance(shape, (SelectShape, InsertShape, UpdateShape, DeleteShape, Fragment, TypedFragment)):
        return compile_shape(shape).text
    return ExpressionRenderer(render_inner)(shape)


install_renderer(readable)
