"""What a question of the cookbook is, and the list of all of them.

Each is a function that gives the statement, under the SQL that somebody would write by hand. `tests/cookbook` runs both and compares what
they give; `docs/cookbook.md` is made from them.
"""

import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import TypeVar

import attrs

from trioorm import Statement

F = TypeVar("F", bound=Callable[[], Statement[object]])


@attrs.frozen(eq=False)
class Recipe:
    """One question.

    Attributes:
        title: the question.
        sql: the answer by hand.
        statement: the answer by the builder.
        look: for a change, the SQL that shows what it did.
    """

    title: str
    sql: str
    statement: Callable[[], Statement[object]]
    look: str | None = None

    @property
    def name(self) -> str:
        """The function's name."""
        return self.statement.__name__

    @property
    def chapter(self) -> str:
        """The first line of its module's docstring."""
        return (sys.modules[self.statement.__module__].__doc__ or "").partition("\n")[0].rstrip(".")

    @property
    def source(self) -> str:
        """The function without its decorator."""
        source = textwrap.dedent(inspect.getsource(self.statement))
        return source[source.index("def ") :].rstrip()


RECIPES: list[Recipe] = []


def question(title: str, sql: str) -> Callable[[F], F]:
    """Register a question that reads."""

    def register(function: F) -> F:
        RECIPES.append(Recipe(title, textwrap.dedent(sql).strip(), function))
        return function

    return register


def change(title: str, sql: str, *, look: str) -> Callable[[F], F]:
    """Register one that writes; `look` shows what became of it."""

    def register(function: F) -> F:
        RECIPES.append(Recipe(title, textwrap.dedent(sql).strip(), function, textwrap.dedent(look).strip()))
        return function

    return register
