"""What all statements have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, Never, TypeVar

from trioorm.expression.printing import text_of
from trioorm.expression.shape import Shape
from trioorm.model.load import Load
from trioorm.query.form import Form

if TYPE_CHECKING:
    from trioorm.query.lint import LintFinding

R_co = TypeVar("R_co", covariant=True)


class Statement(Generic[R_co]):
    """Something to send to the server, whose rows become objects of class `R_co`; None where it returns no rows.

    An immutable value: each method gives a new one. `print(statement)` shows its SQL; values never show.
    """

    __slots__ = ()
    loads: tuple[Load[Never], ...] = ()
    """The relations that are loaded onto the objects of its rows, by further statements."""

    @property
    def shape(self) -> Shape:
        """All of the statement except its values.

        Raises:
            QueryError: the statement is not complete.
        """
        raise NotImplementedError

    @property
    def bind_values(self) -> tuple[object, ...]:
        """The bind values, in the order of their places in the shape."""
        raise NotImplementedError

    @property
    def form(self) -> Form | None:
        """What a plan is found by sooner than by the shape; it stands for one shape. None for text of the user's own, and for few more."""
        return None

    def lint(self) -> tuple[LintFinding, ...]:
        """What is legal here and seldom meant: tables that no condition connects, a limit without an order, a comparison with NULL.

        Nothing is sent; each finding's text says how to fix it.

        Raises:
            QueryError: the statement is not complete.
        """
        from trioorm.query.lint import lint_shape  # few need it

        return lint_shape(self.shape)

    def sql(self) -> SqlText:
        """The text that is sent, with `$1` to `$n`, and the values for them.

        Raises:
            QueryError: the statement is not complete.
        """
        return _compilers[0](self)

    def __str__(self) -> str:
        return text_of(self.shape)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {text_of(self.shape)}>"


class SqlText(NamedTuple):
    """A statement as it is sent."""

    text: str
    values: tuple[object, ...]


_compilers: list[Callable[[Statement[object]], SqlText]] = []


def install_compiler(compile_: Callable[[Statement[object]], SqlText]) -> None:
    """Say how statements become text: by `compiler/`, which this room must not know."""
    _compilers[:] = [compile_]
