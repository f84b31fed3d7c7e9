"""What every expression is beneath its methods: a shape, its bind values and a type.

The contract: a `Node[T]` is covariant in `T`, the Python class of its value. Nothing writes to one after it is made. The functions that
build shapes (`building.py`) work on nodes; the methods that users call are on `Expression`.
"""

from __future__ import annotations

from typing import Generic, NoReturn, TypeVar

from trioorm.errors import QueryError
from trioorm.expression.interned import InternedColumn
from trioorm.expression.printing import text_of
from trioorm.expression.shape import Shape
from trioorm.expression.types import SqlType

T_co = TypeVar("T_co", covariant=True)


class Selectable(Generic[T_co]):
    """What `select` takes besides model classes: it gives one value of class `T_co` in each row."""

    __slots__ = ()


class Node(Selectable[T_co]):
    """Something that the server computes to a value of class `T_co`."""

    __slots__ = ()
    is_statement = False
    interned: InternedColumn | None = None
    """For columns: what is known of all columns of this shape."""

    @property
    def shape(self) -> Shape:
        """All of the expression except its values."""
        raise NotImplementedError

    @property
    def bind_values(self) -> tuple[object, ...]:
        """The bind values, in the order of their places in the shape."""
        raise NotImplementedError

    @property
    def sql_type(self) -> SqlType | None:
        """The PostgreSQL type, None where only the server knows it."""
        raise NotImplementedError

    def operand(self) -> Shape:
        """The shape in which this stands inside another expression; a statement stands in parentheses."""
        return self.shape

    def __str__(self) -> str:
        return text_of(self.shape)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {text_of(self.shape)}>"

    def __bool__(self) -> NoReturn:
        raise QueryError(
            f"An expression has no truth value in Python: {self}\n"
            "It is computed by the server, row by row. Python asked for its truth because of `and`, `or`, `not`, `if`, `in` or a chain.\n"
            "To fix it:\n"
            "  wrong: (User.age > 18) and (User.age < 65)     right: (User.age > 18) & (User.age < 65)\n"
            "  wrong: not User.active                         right: ~User.active\n"
            "  wrong: 18 < User.age < 65                      right: User.age.between(19, 64)\n"
            "  wrong: User.name in names                      right: User.name.in_(names)"
        )

    def __iter__(self) -> NoReturn:
        raise QueryError(f"An expression cannot be looped over: {self}\nTo fix it: fetch it with `await db.fetch_all(select(...))`.")


class Ordering:
    """A term of ORDER BY: an expression with a direction. Not an expression itself, so it fits nowhere else."""

    __slots__ = ("bind_values", "expression", "shape")

    def __init__(self, shape: Shape, expression: Node[object]) -> None:
        self.shape = shape
        self.expression = expression
        self.bind_values = expression.bind_values

    def __repr__(self) -> str:
        return f"<Ordering {text_of(self.shape)}>"
