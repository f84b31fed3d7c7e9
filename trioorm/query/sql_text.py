"""`sql("...", **values)`: SQL of one's own, with values bound.

The contract: the text is written in the program, and values never become part of it: `{name}` stands for a value, which is bound, or for
an expression, which is rendered. `{{` and `}}` are braces. What would not do what it seems to do is refused: a gap inside quotes or a
comment, a value that is not used, a `$1` of one's own.
"""

from __future__ import annotations

import functools
import re
import typing
from typing import LiteralString, Never, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression.annotations import type_of_annotation, type_of_value
from trioorm.expression.binding import check_aware
from trioorm.expression.expression import Expression, Operation
from trioorm.expression.identifiers import quote_identifier
from trioorm.expression.shape import Bind, Fragment, Keyword, Shape
from trioorm.expression.types import INTEGER, SqlType
from trioorm.model.metaclass import ModelMeta
from trioorm.query.entity import Alias, item_of
from trioorm.query.shape import IdentifierGap, TypedFragment, ValueItem
from trioorm.query.statement import Statement
from trioorm.query.tables import Table, from_item_of

R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")
T7 = TypeVar("T7")
T8 = TypeVar("T8")


class Sql(Statement[tuple[object, ...]], Expression[Never]):
    """SQL text with its gaps filled: a whole statement, whose rows are tuples, or a part of another. Made by `sql`."""

    is_statement = True  # so that it can stand in in_() and exists(); in other places it stands in parentheses

    def __init__(self, shape: Fragment, values: tuple[object, ...]) -> None:
        self._shape = shape
        self._values = values

    @property
    def shape(self) -> Fragment:
        return self._shape

    @property
    def bind_values(self) -> tuple[object, ...]:
        return self._values

    @property
    def sql_type(self) -> SqlType | None:
        return None

    def reads_only(self) -> Sql:
        """One's word that the text changes nothing and may be run twice, so that it can be repeated after a lost connection."""
        return Sql(self._shape._replace(repeatable=True), self._values)

    def as_type(self, type_: type[S], /) -> Expression[S]:
        """The text as an expression of a known type, inside another statement."""
        return Operation(self._shape, self._values, _sql_type(type_, "as_type()"))

    # fmt: off
    @overload
    def returns(self, a: type[T1], /) -> TypedSql[T1]: ...
    @overload
    def returns(self, a: type[T1], b: type[T2], /) -> TypedSql[tuple[T1, T2]]: ...
    @overload
    def returns(self, a: type[T1], b: type[T2], c: type[T3], /) -> TypedSql[tuple[T1, T2, T3]]: ...
    @overload
    def returns(self, a: type[T1], b: type[T2], c: type[T3], d: type[T4], /) -> TypedSql[tuple[T1, T2, T3, T4]]: ...
    @overload
    def returns(self, a: type[T1], b: type[T2], c: type[T3], d: type[T4], e: type[T5], /) -> TypedSql[tuple[T1, T2, T3, T4, T5]]: ...
    @overload
    def returns(
        self, a: type[T1], b: type[T2], c: type[T3], d: type[T4], e: type[T5], f: type[T6], /
    ) -> TypedSql[tuple[T1, T2, T3, T4, T5, T6]]: ...
    @overload
    def returns(
        self, a: type[T1], b: type[T2], c: type[T3], d: type[T4], e: type[T5], f: type[T6], g: type[T7], /
    ) -> TypedSql[tuple[T1, T2, T3, T4, T5, T6, T7]]: ...
    @overload
    def returns(
        self, a: type[T1], b: type[T2], c: type[T3], d: type[T4], e: type[T5], f: type[T6], g: type[T7], h: type[T8], /
    ) -> TypedSql[tuple[T1, T2, T3, T4, T5, T6, T7, T8]]: ...
    # fmt: on
    def returns(self, *types: type[object]) -> TypedSql[object]:
        """Say what the rows of the statement hold: one model, whose columns are found by name, or values, by position.

        Raises:
            QueryError: a class that no PostgreSQL type is known for, or a model among values.
        """
        if not types:
            raise QueryError("returns() was given no types.\nTo fix it: returns(User), or returns(int, str) for values.")
        if len(types) == 1 and isinstance(types[0], ModelMeta):
            items: tuple[Shape, ...] = (item_of(types[0])[0],)
        else:
            items = tuple(ValueItem(Keyword("NULL"), _sql_type(kind, "returns()")) for kind in types)
        made: TypedSql[object] = TypedSql(TypedFragment(self._shape, items), self._values)
        return made


class TypedSql(Statement[R_co]):
    """SQL of one's own whose rows are known. Made by `Sql.returns`."""

    def __init__(self, shape: TypedFragment, values: tuple[object, ...]) -> None:
        self._shape = shape
        self._values = values

    @property
    def shape(self) -> TypedFragment:
        return self._shape

    @property
    def bind_values(self) -> tuple[object, ...]:
        return self._values

    def reads_only(self) -> TypedSql[R_co]:
        """As on `Sql`."""
        return TypedSql(self._shape._replace(fragment=self._shape.fragment._replace(repeatable=True)), self._values)


def sql(text: LiteralString, /, **values: object) -> Sql:
    """SQL of one's own: `sql("age > {least} AND {name} ILIKE 'a%'", least=18, name=User.name)`.

    Values are bound, expressions and columns rendered; a model, alias, subquery or CTE gives what stands for it in FROM, and
    `identifier("name")` a quoted name. A value that is None is NULL.

    Raises:
        QueryError: a gap without a value, a value without a gap, or a text that would not do what it seems to do.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise QueryError(f"sql() takes a text, and got a {type(text).__qualname__}.\nTo fix it: write the text in quotes.")
    parts = _parsed(text)
    shapes: list[str | Shape] = []
    bound: list[object] = []
    missing = [part.name for part in parts if isinstance(part, _Gap) and part.name not in values]
    unused = set(values) - {part.name for part in parts if isinstance(part, _Gap)}
    if missing or unused:
        raise QueryError(
            "The gaps and values of a sql() do not match.\n"
            + (f"No value was given for {{{'}, {'.join(missing)}}}.\n" if missing else "")
            + (f"No gap is there for {', '.join(sorted(unused))}.\n" if unused else "")
            + 'To fix it: sql("... {name} ...", name=value), a value for each gap and a gap for each value.'
        )
    for part in parts:
        if isinstance(part, str):
            shapes.append(part)
            continue
        value = values[part.name]
        if isinstance(value, Expression):
            expression = typing.cast("Expression[object]", value)
            shapes.append(expression.operand())
            bound.extend(expression.bind_values)
        elif isinstance(value, (ModelMeta, Alias, Table)):
            source, more = from_item_of(value)
            shapes.append(source)
            bound.extend(more)
        elif isinstance(value, Identifier):
            shapes.append(value.shape)
        elif value is None:
            shapes.append(Keyword("NULL"))
        else:
            check_aware(value, of=f"{{{part.name}}} in sql()")
            # PostgreSQL's own functions mostly want integer, and it turns that into bigint by itself where needed, but not the other way.
            shapes.append(Bind(INTEGER if type(value) is int and -(2**31) <= value < 2**31 else type_of_value(value)))
            bound.append(value)
    return Sql(Fragment(tuple(shapes)), tuple(bound))


class Identifier:
    """A name for a gap of `sql()`. Made by `identifier`."""

    __slots__ = ("shape", "text")

    def __init__(self, *parts: str) -> None:
        self.text = ".".join([quote_identifier(part) for part in parts])
        self.shape = IdentifierGap(parts)


def identifier(*parts: str) -> Identifier:
    """A name that is only known at run time, for a gap of `sql()`: `identifier("users")`, or `identifier("shop", "users")` within a schema.

    It is quoted, so it is one name whatever stands in it, with its capitals as they are.

    Raises:
        QueryError: nothing in PostgreSQL can have the name.
    """
    if not parts or not all(isinstance(part, str) for part in parts):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise QueryError(f"identifier() was given {parts!r}.\nTo fix it: one or several texts, as in identifier('shop', 'users').")
    return Identifier(*parts)


class _Gap:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


# One alternative for each thing that may hide a brace, a dollar sign or the end of the text; then the gaps themselves.
_LEXEME = r"""(?sx)
        (?P<string>[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<comment>--[^\n]*|/\*.*?\*/)
      | (?P<dollar>\$(?P<tag>[A-Za-z_]\w*)?\$.*?\$(?P=tag)\$|\$\$.*?\$\$)
      | (?P<number>\$\d+)
      | (?P<brace>\{\{|\}\})
      | (?P<gap>\{[^{}]*\})
      | (?P<stray>['"{}])"""


@functools.lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[str | _Gap, ...]:
    parts: list[str | _Gap] = []
    literal: list[str] = []
    at = 0
    if "\0" in text:
        raise QueryError("The text of a sql() holds a NUL character, which PostgreSQL does not take.\nTo fix it: leave it out.")
    for match in re.finditer(_LEXEME, text):
        literal.append(text[at : match.start()])
        at = match.end()
        found = match.group()
        if match["gap"] is not None:
            name = found[1:-1]
            if not name.isidentifier():
                raise QueryError(f"{found} in a sql() is no name of a value.\nTo fix it: {{name}} for a value, {{{{ and }}}} for braces.")
            parts.extend(("".join(literal), _Gap(name)))
            literal = []
        elif match["brace"] is not None:
            literal.append(found[0])
        elif match["number"] is not None:
            raise QueryError(f"{found} in a sql() would clash with the numbers given to bind values.\nTo fix it: {{name}}, and name=value.")
        elif match["stray"] is not None:
            raise QueryError(
                f"{found} in a sql() has no partner: ...{text[max(0, at - 20) : at]}\nTo fix it: close it; {{{{ and }}}} stand for braces."
            )
        else:
            literal.append(_outside_gaps(found, "a comment" if match["comment"] is not None else "quotes"))
    literal.append(text[at:])
    parts.append("".join(literal))
    return tuple(part for part in parts if not isinstance(part, str) or part)


def _outside_gaps(found: str, where: str) -> str:
    """Text inside quotes or a comment: braces are plain there, except that doubled ones are single, and a named gap is a mistake."""
    mistaken = re.search(r"(?<!\{)\{[A-Za-z_]\w*\}(?!\})", found)
    if mistaken is not None:
        raise QueryError(
            f"{mistaken.group()} stands inside {where} in a sql(), where no value can be bound.\n"
            f"To fix it:\n  wrong: '{mistaken.group()}'\n  right: {mistaken.group()}\n"
            "For a part of a pattern, bind the whole: name LIKE {pattern}, pattern='%' + part + '%'."
        )
    return found.replace("{{", "{").replace("}}", "}")


def _sql_type(kind: object, place: str) -> SqlType:
    if isinstance(kind, SqlType):
        return kind
    found = type_of_annotation(kind)
    if found is None:
        raise QueryError(
            f"{place} was given {getattr(kind, '__name__', kind)}, for which no PostgreSQL type is known.\n"
            "To fix it: value classes such as int and str, or one model alone."
        )
    return found[0]
