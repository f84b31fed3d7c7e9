"""What all statements have in common."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, Never, TypeVar, overload

from trioorm.expression.expression import Expression, condition_operand
from trioorm.expression.printing import text_of
from trioorm.expression.shape import Shape
from trioorm.model.load import Load

if TYPE_CHECKING:
    from trioorm.query.lint import LintFinding

R_co = TypeVar("R_co", covariant=True)
V = TypeVar("V")


class once(Generic[V]):  # noqa: N801 - used as a decorator, like property
    """A property that is worked out at the first read and then lies in the object's `__dict__`.

    `functools.cached_property` does the same, but takes a lock before Python 3.12 and costs three times as much.
    """

    def __init__(self, function: Callable[..., V]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "once[V]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> V: ...
    def __get__(self, instance: object, owner: type) -> "V | once[V]":
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._function(instance)
        return value


class Statement(Generic[R_co]):
    """Something to send to the server, whose rows become objects of class `R_co`; None where it returns no rows.

    An immutable value: each method gives a new one. `print(statement)` shows its SQL; values never show.
    """

    __slots__ = ()
    loads: "tuple[Load[Never], ...]" = ()
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
    def form(self) -> object | None:
        """What a plan is found by sooner than by the shape; it stands for one shape. None for most statements."""
        return None

    def lint(self) -> "tuple[LintFinding, ...]":
        """What is legal here and seldom meant: tables that no condition connects, a limit without an order, a comparison with NULL.

        Nothing is sent; each finding's text says how to fix it.

        Raises:
            QueryError: the statement is not complete.
        """
        from trioorm.query.lint import lint_shape  # few need it

        return lint_shape(self.shape)

    def sql(self) -> "SqlText":
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
    """Say how statements become text; `compiler/` does, which this room must not know."""
    _compilers[:] = [compile_]


class Clause:
    """Conditions or terms gathered for a clause: shapes with their values."""

    __slots__ = ("bind_values", "shapes")

    def __init__(self, shapes: tuple[Shape, ...] = (), bind_values: tuple[object, ...] = ()) -> None:
        self.shapes = shapes
        self.bind_values = bind_values

    def with_(self, shape: Shape, values: tuple[object, ...]) -> "Clause":
        """The clause with one more term."""
        return Clause((*self.shapes, shape), self.bind_values + values)

    def with_conditions(self, conditions: tuple[Expression[bool | None], ...], place: str) -> "Clause":
        """The clause with more conditions, all of which must hold."""
        if len(conditions) == 1:  # the usual case
            return Clause((*self.shapes, condition_operand(conditions[0], place)), self.bind_values + conditions[0].bind_values)
        shapes = self.shapes
        values = self.bind_values
        for condition in conditions:
            shapes = (*shapes, condition_operand(condition, place))
            values = values + condition.bind_values
        return Clause(shapes, values)
