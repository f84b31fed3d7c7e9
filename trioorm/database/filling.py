"""Filling objects: functions, made once per layout, that turn rows of loaded values into what a statement's rows are.

The contract: `filler_for` gives a function from a list of tuples, and one list more for each column that was converted as a whole, to the
list of rows. Objects are made without `__init__`, since their values come from the server and need no check.

The function is made as code, because nothing else is as fast: an object of ten slots takes 0.16 µs (Python 3.11) by assignments, 0.42 by
`map` over its descriptors column by column, 0.78 by a loop over them. It is safe, since no name of the user's is ever read as source: the
text that is parsed has names of our own only, and the attributes' names are put into the syntax tree afterwards, where a name is a name,
whatever its letters.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import repeat, starmap
from operator import itemgetter
from types import CodeType, FunctionType
from typing import Any, NamedTuple, TypeAlias, cast

from trioorm.model import FETCHED_AT

__all__ = ["Fill", "FillOne", "Layout", "Made", "filler_for", "filler_of_one_for"]

Fill: TypeAlias = Callable[..., list[Any]]
"""From the loaded rows, the place where the layout keeps one, and the converted columns in their order, to the rows of the statement."""

FillOne: TypeAlias = Callable[..., Any]
"""The same for one row, with the converted values."""


class Made(NamedTuple):
    """The next `len(attributes)` columns become an object.

    Attributes:
        model: its class, with slots.
        attributes: one for each column.
        optional: the object is None where all of its columns are NULL, as an outer join leaves them; a row that exists has a key.
        key: those of its columns, from 0, by which rows are told apart, where equal ones are to be one object.
    """

    model: type
    attributes: tuple[str, ...]
    optional: bool
    key: tuple[int, ...] = ()


class Layout(NamedTuple):
    """What becomes of the columns of a row.

    Attributes:
        items: objects; None is the next column as it is.
        converted: the numbers of the columns that are converted before.
        make: called with the items; None gives a tuple of them.
        keywords: the names by which it takes them; None gives them in order.
        scalar: there is one item, which is the row.
        parts: the first column is the number of a part, and these are the items of its rows, from 0 behind it; the others are NULL there.
            What is made is a list of rows for each part.
    """

    items: tuple[Made | None, ...]
    converted: tuple[int, ...] = ()
    make: Callable[..., object] | None = None
    keywords: tuple[str, ...] | None = None
    scalar: bool = False
    parts: tuple[tuple[int, ...], ...] | None = None

    @property
    def keeps_place(self) -> bool:
        """Whether the objects note where in the user's code they were asked for: those of models with relations."""
        return any(item is not None and hasattr(item.model, FETCHED_AT) for item in self.items)


@lru_cache(maxsize=2000)
def filler_for(layout: Layout) -> Fill:
    """The function that makes rows of this layout."""
    if layout.make is None and not any(layout.items):
        if not layout.converted:
            return _first_of_each if layout.scalar else _as_they_are
        if layout.scalar:
            return _converted
    return _Source(layout).function()


@lru_cache(maxsize=2000)
def filler_of_one_for(layout: Layout) -> FillOne:
    """The function that makes one row of this layout, which takes half as long as making a list of one."""
    if layout.make is None and not any(layout.items):
        if not layout.converted:
            return itemgetter(0) if layout.scalar else _as_it_is
        if layout.scalar:
            return _converted_one
    return _Source(layout, one=True).function()


def _as_they_are(rows: list[Any]) -> list[Any]:
    return rows


def _as_it_is(row: object) -> object:
    return row


def _converted_one(row: object, value: object) -> object:
    return value


def _first_of_each(rows: list[tuple[Any]]) -> list[Any]:
    return [value for (value,) in rows]


def _converted(rows: list[Any], values: list[Any]) -> list[Any]:
    return values


class _Source:
    """The text of one such function, and what its names stand for.

    In the text `v3` is the value of column 3 and `r3` what was loaded before it was converted, `o0` an object and `m0` what gives new ones,
    `s3` what sets a slot where assigning does not, `a3` an attribute and `k0` a keyword; the last two stand for names. `where` is the place
    in the user's code that asked, which an object's error names when a relation is read that was not loaded.
    """

    def __init__(self, layout: Layout, *, one: bool = False) -> None:
        self._globals: dict[str, object] = {"make": layout.make}
        self._names: dict[str, str] = {}
        self._converted = frozenset(layout.converted)
        self._before: list[str] = []
        items: list[str] = []
        fills: list[list[str]] = []
        column = 0
        for number, item in enumerate(layout.items):
            if item is None:
                items.append(f"v{column}")
                fills.append([])
                column += 1
            else:
                fills.append(self._object(number, item, column))
                items.append(f"o{number}")
                column += len(item.attributes)
        if layout.keywords is not None:
            self._names |= {f"k{number}": keyword for number, keyword in enumerate(layout.keywords)}
            items = [f"k{number}={item}" for number, item in enumerate(items)]
        loaded = f"({''.join([f'{self._loaded(number)}, ' for number in range(column)])})"
        where = ["where"] if layout.keeps_place else []
        values = [f"v{number}" for number in layout.converted]
        made = [line for lines in fills for line in lines]
        row = f"make({', '.join(items)})" if layout.make is not None else _row(items, scalar=layout.scalar)
        if one:
            self._text = "\n    ".join(
                [f"def fill({', '.join(['row', *where, *values])}):", *self._before, f"{loaded} = row", *made, f"return {row}"]
            )
            return
        lists = [f"c{number}" for number in layout.converted]
        source = f"zip(rows, {', '.join(lists)}, strict=True)" if lists else "rows"
        loop = f"for {', '.join([loaded, *values])} in {source}:"
        before, each, rows = ["made = []", "add = made.append"], [*made, f"add({row})"], "made"
        if layout.parts is not None:
            before, each, rows = _by_part(layout.parts, items[1:], fills[1:])
        self._text = "\n    ".join(
            [
                f"def fill({', '.join(['rows', *where, *lists])}):",
                *self._before,
                *before,
                loop,
                *[f"    {line}" for line in each],
                f"return {rows}",
            ]
        )

    def _loaded(self, number: int) -> str:
        return f"r{number}" if number in self._converted else f"v{number}"

    def _object(self, number: int, item: Made, column: int) -> list[str]:
        columns = range(column, column + len(item.attributes))
        # Without end. Called by an iterator in C, `object.__new__` takes its argument as it is, and not copied into a tuple each time.
        self._globals[f"m{number}"] = starmap(object.__new__, repeat((item.model,)))
        # Frozen models refuse assignment, and a class may have a `__setattr__` of its own.
        assignable = cast("object", item.model.__setattr__) is object.__setattr__
        lines = [f"o{number} = next(m{number})"]
        for at, attribute in zip(columns, item.attributes, strict=True):
            if assignable:
                self._names[f"a{at}"] = attribute
                lines.append(f"o{number}.a{at} = v{at}")
            else:
                self._globals[f"s{at}"] = _slot(item.model, attribute)
                lines.append(f"s{at}(o{number}, v{at})")
        if hasattr(item.model, FETCHED_AT):
            self._globals[f"p{number}"] = _slot(item.model, FETCHED_AT)
            self._names["place"] = FETCHED_AT
            lines.append(f"o{number}.place = where" if assignable else f"p{number}(o{number}, where)")
        if item.key:
            key = ", ".join([f"v{column + at}" for at in item.key])
            key = key if len(item.key) == 1 else f"({key})"
            self._before += [f"known{number} = {{}}", f"get{number} = known{number}.get"]
            made, *rest = lines
            lines = [f"o{number} = get{number}({key})", f"if o{number} is None:"]
            lines += [f"    {line}" for line in (f"known{number}[{key}] = {made}", *rest)]
        if item.optional:
            absent = " is ".join([self._loaded(at) for at in columns])
            lines = [f"if {absent} is None:", f"    o{number} = None", "else:", *[f"    {line}" for line in lines]]
        return lines

    def function(self) -> Fill:
        tree = ast.parse(self._text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                node.attr = self._names.get(node.attr, node.attr)
            elif isinstance(node, ast.keyword):
                node.arg = self._names.get(node.arg or "", node.arg)
        module = compile(tree, "<trioorm: filling objects>", "exec")
        code = next(constant for constant in cast("Sequence[object]", module.co_consts) if isinstance(constant, CodeType))
        return FunctionType(code, self._globals)


def _row(items: Sequence[str], *, scalar: bool) -> str:
    return items[0] if scalar else f"({', '.join(items)},)"


def _by_part(parts: Sequence[Sequence[int]], items: Sequence[str], fills: Sequence[Sequence[str]]) -> tuple[list[str], list[str], str]:
    """What stands before the loop, inside it, and what is made, where each row is of one of several parts."""
    before: list[str] = []
    each: list[str] = []
    for number, part in enumerate(parts):
        before += [f"made{number} = []", f"add{number} = made{number}.append"]
        row = _row([items[at] for at in part], scalar=len(part) == 1)
        lines = [*[line for at in part for line in fills[at]], f"add{number}({row})"]
        each += [f"{'elif' if number else 'if'} v0 == {number}:", *[f"    {line}" for line in lines]]
    return before, each, f"[{', '.join([f'made{number}' for number in range(len(parts))])}]"


def _slot(model: type, attribute: str) -> Callable[[object, object], None]:
    """What sets a slot, whatever the class says of assignment."""
    owner = next(owner for owner in model.__mro__ if attribute in vars(owner))
    return cast("Callable[[object, object], None]", vars(owner)[attribute].__set__)
