"""Rendering expressions: from a shape to SQL text.

The contract: the text depends on the shape alone. Places of values are numbered as they are written, in the order of the shape's
`Bind` leaves. Parentheses stand where PostgreSQL's precedence needs them, and around all SQL of the user's own.

Source: PostgreSQL manual, section 4.1.6 (operator precedence).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from trioorm.errors import QueryError
from trioorm.expression.identifiers import quote_identifier, quote_qualified, type_text
from trioorm.expression.shape import (
    ArrayOf,
    Between,
    Binary,
    Bind,
    Case,
    Cast,
    Collated,
    ColumnReference,
    Exists,
    Extract,
    FieldOf,
    Fragment,
    Frame,
    Function,
    InRows,
    InSubquery,
    Keyword,
    Labelled,
    Logical,
    Ordered,
    Over,
    Postfix,
    Prefix,
    Quantified,
    Quantifier,
    Row,
    Shape,
    Source,
    Subquery,
    Subscript,
    Window,
    places_in,
)
from trioorm.expression.types import SqlType
from trioorm.query.shape import CommonTable, CommonTableUse, Derived, FromShape, FunctionTable, IdentifierGap, Sampled, ValuesTable

if TYPE_CHECKING:
    from trioorm.compiler.compiled import Repeat

OR, AND, NOT, COMPARISON, OTHER, SUM, PRODUCT, ZONE, COLLATE, SIGN, CAST, ATOM = range(12)
"""How strongly operators bind, the weakest first. PostgreSQL ranks IS, comparisons and LIKE; readers seldom know how, so here one inside
another always stands in parentheses."""

_STRENGTH = {
    "OR": OR, "AND": AND,
    "=": COMPARISON, "<>": COMPARISON, "<": COMPARISON, "<=": COMPARISON, ">": COMPARISON, ">=": COMPARISON,
    "IS DISTINCT FROM": COMPARISON, "IS NOT DISTINCT FROM": COMPARISON,
    "LIKE": COMPARISON, "ILIKE": COMPARISON, "NOT LIKE": COMPARISON, "NOT ILIKE": COMPARISON, "SIMILAR TO": COMPARISON,
    "+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "%": PRODUCT, "AT TIME ZONE": ZONE,
}  # fmt: skip
"""All operators that are not here are PostgreSQL's "any other", which bind alike."""
_ASSOCIATIVE = frozenset({SUM, PRODUCT, OTHER, ZONE})


class Scope:
    """The names that a statement's columns may be read from, and those of the statements around it."""

    def __init__(
        self, names: frozenset[str], outer: Scope | None, *, labels: frozenset[str] = frozenset(), open_ended: bool = False
    ) -> None:
        self.names = names
        self.outer = outer
        self.labels = labels
        self.open_ended = open_ended
        self.begins: dict[str, int] = {}
        """Where the values of a clause begin, for those that share their places."""

    def has(self, name: str) -> bool:
        """Whether a table of this name is in sight."""
        return self.open_ended or name in self.names or (self.outer is not None and self.outer.has(name))

    def all_names(self) -> list[str]:
        """All tables in sight, for errors."""
        return sorted(self.names | set(self.outer.all_names() if self.outer is not None else ()))


class KnownTable(NamedTuple):
    """A CTE that a statement has in WITH already: its definition, its text, and where its values lie."""

    definition: CommonTable
    text: str
    first: int
    length: int


class ExpressionRenderer:
    """Writes expressions, and counts their places. One for each statement; `render_statement` writes statements inside."""

    bind_types: list[SqlType | None]

    def __init__(self, statement: Callable[[ExpressionRenderer, Shape], str]) -> None:
        self.bind_types = []
        self.scope: Scope | None = None
        self.repeatable = True
        self.writes = False
        self._labels_hidden = False
        self.depth = 0
        self.common_tables: dict[str, KnownTable] = {}
        self.taken = 0
        self.places: list[int] = []
        self.repeats: list[Repeat] = []
        self.hides_values = False
        """PostgreSQL is not to see values while it plans, so that one plan serves for all of them."""
        self._statement = statement

    @property
    def line(self) -> str:
        """Between the clauses of a statement."""
        return "\n" + "    " * self.depth

    def bind(self, place: Bind) -> str:
        """The text of a value's place."""
        if place.same_as is not None:
            clause, number = place.same_as
            assert self.scope is not None, "only a select shares places"
            text = f"${self.places.index(self.scope.begins[clause] + number) + 1}"
        else:
            self.bind_types.append(place.type)
            self.places.append(self.taken)
            text = f"${len(self.bind_types)}"
        self.taken += 1
        if place.type is None:
            return text
        if place.cast or (self.hides_values and not place.type.bound.has_fixed_oid):
            text = f"{text}::{type_text(place.type.bound)}"
        if not self.hides_values:
            return text
        # `ANY ((SELECT array))` would look among the rows of the subquery; behind a cast it is an array.
        return f"(SELECT {text})" if place.type.element is None else f"(SELECT {text})::{type_text(place.type.bound)}"

    def pass_over(self, shape: Shape) -> None:
        """Leave out a shape that stands in the text already; its values are not sent again."""
        self.taken += places_in(shape)

    def column(self, reference: ColumnReference) -> str:
        """A column with the name of its table."""
        name = reference.source.visible_name
        if self.scope is not None and not self.scope.has(name):
            raise _not_in_sight(reference, self.scope)
        return f"{quote_identifier(name)}.{quote_identifier(reference.name)}"

    def __call__(self, shape: Shape, strength: int = OR) -> str:
        """An expression, in parentheses if what stands around it binds more strongly than `strength` allows."""
        text, own = self._text(shape)
        return f"({text})" if own < strength else text

    def all_of(self, conditions: tuple[Shape, ...]) -> str:
        """Conditions that must all hold."""
        return self(conditions[0]) if len(conditions) == 1 else " AND ".join([self(condition, AND + 1) for condition in conditions])

    def listed(self, shapes: tuple[Shape, ...]) -> str:
        """Expressions with commas between them."""
        return ", ".join([self(shape) for shape in shapes])

    def statement(self, shape: Shape) -> str:
        """A statement inside this one, on lines of its own."""
        self.depth += 1
        text = self.line + self._statement(self, shape)
        self.depth -= 1
        return text + self.line

    def inline(self, shape: Shape) -> str:
        """A statement inside this one, on its own level: what INSERT takes its rows from."""
        return self._statement(self, shape)

    def _text(self, shape: Shape) -> tuple[str, int]:
        match shape:
            case ColumnReference():
                return self.column(shape), ATOM
            case Bind():
                return self.bind(shape), CAST if shape.cast else ATOM
            case Binary(operator, left, right):
                return self._binary(operator, left, right)
            case Logical(operator, operands):
                strength = _STRENGTH[operator]
                if len(operands) == 1:
                    return self._text(operands[0])
                return f" {operator} ".join([self(operand, strength + 1) for operand in operands]), strength
            case Prefix("NOT", operand):
                return f"NOT {self(operand, NOT + 1)}", NOT
            case Prefix(operator, operand):
                return f"{operator}{self(operand, SIGN + 1)}", SIGN  # a second sign goes in parentheses: "--" begins a comment
            case Postfix(operand, operator):
                return f"{self(operand, COMPARISON + 1)} {operator}", COMPARISON
            case Between(operand, low, high):
                return f"{self(operand, COMPARISON + 1)} BETWEEN {self(low, COMPARISON + 1)} AND {self(high, COMPARISON + 1)}", COMPARISON
            case Quantified(operand, operator, quantifier, array):
                return f"{self(operand, COMPARISON + 1)} {operator} {quantifier} ({self(array)})", COMPARISON
            case InSubquery(operand, negated, statement):
                return f"{self(operand, COMPARISON + 1)} {'NOT IN' if negated else 'IN'} ({self.statement(statement)})", COMPARISON
            case Exists(statement):
                return f"EXISTS ({self.statement(statement)})", ATOM
            case Subquery(statement):
                return f"({self.statement(statement)})", ATOM
            case Function():
                return self._function(shape), ATOM
            case Over(function, str(name)):
                return f"{self(function)} OVER {quote_identifier(name)}", ATOM
            case Over(function, Window() as window):
                return f"{self(function)} OVER ({self.window(window)})", ATOM
            case Case(branches, otherwise):
                return self._case(branches, otherwise), ATOM
            case Row(items):
                return f"ROW({self.listed(items)})", ATOM
            case ArrayOf((statement,), True):
                return f"ARRAY({self.statement(statement)})", ATOM
            case ArrayOf(items):
                return f"ARRAY[{self.listed(items)}]", ATOM
            case Quantifier(word, operand, is_statement):
                return f"{word} ({self.statement(operand) if is_statement else self(operand)})", ATOM
            case InRows(operand, negated, arrays):
                word = "NOT IN" if negated else "IN"
                return f"{self(operand, COMPARISON + 1)} {word} (SELECT * FROM unnest({self.listed(arrays)}))", COMPARISON
            case Subscript(operand, start, end, is_slice):
                whole = self._indexable(operand)
                return f"{whole}[{self._slice(start, end) if is_slice or start is None else self(start)}]", ATOM
            case FieldOf(operand, name):
                return f"({self(operand)}).{quote_identifier(name)}", ATOM
            case Collated(operand, collation):
                return f"{self(operand, COLLATE)} COLLATE {quote_identifier(collation)}", COLLATE
            case Extract(field, operand):
                return f"EXTRACT({field} FROM {self(operand)})", ATOM
            case Cast(operand, kind):
                return f"{self(operand, CAST)}::{type_text(kind)}", CAST
            case Labelled(operand, _):
                return self._text(operand)
            case Ordered(operand, direction, nulls):
                return f"{self.term(operand)} {direction}{f' NULLS {nulls}' if nulls else ''}", OR
            case Keyword(word):
                return word, ATOM
            case Source() | Derived() | CommonTableUse() | FunctionTable() | ValuesTable() | Sampled():
                return self.table(shape), ATOM
            case IdentifierGap(parts):
                return ".".join([quote_identifier(part) for part in parts]), ATOM
            case Fragment():
                text = self.fragment(shape)
                return f"({text}\n)" if "--" in text else f"({text})", ATOM  # a comment would swallow the parenthesis
            case _:
                return f"({self.statement(shape)})", ATOM

    def term(self, shape: Shape) -> str:
        """A term of ORDER BY or GROUP BY: what has a name among the statement's items goes by it."""
        if isinstance(shape, Labelled) and not self._labels_hidden and self.scope is not None and shape.label in self.scope.labels:
            self.pass_over(shape)
            return quote_identifier(shape.label)
        if isinstance(shape, Bind):
            # A bare number there would mean a position in the list of items; a bind value is a constant and orders nothing.
            raise QueryError("A plain value cannot be ordered or grouped by.\nTo fix it: name a column or an expression.")
        return self(shape)

    def terms(self, shapes: tuple[Shape, ...]) -> str:
        """Terms with commas between them."""
        return ", ".join([self.term(shape) for shape in shapes])

    def table(self, source: FromShape) -> str:
        """A table, with its alias where it has one."""
        if not isinstance(source, Source):
            return self._statement(self, source)
        if not source.table:
            raise QueryError(
                f"The select reads from {source.alias!r} and does not say what that is.\n"
                "To fix it: .from_(the subquery or CTE); only for its bare columns and models it is found without."
            )
        name = quote_qualified(source.table, source.schema)
        return name if source.alias is None else f"{name} AS {quote_identifier(source.alias)}"

    def fragment(self, shape: Fragment) -> str:
        """SQL of the user's own, its gaps filled."""
        self.repeatable = self.repeatable and shape.repeatable
        # Columns named in the gaps may belong to tables that only the text names, so sight is not checked.
        scope, self.scope = self.scope, Scope(frozenset(), None, open_ended=True)
        try:
            return "".join([part if isinstance(part, str) else self(part, ATOM) for part in shape.parts])
        finally:
            self.scope = scope

    def _binary(self, operator: str, left: Shape, right: Shape) -> tuple[str, int]:
        strength = _STRENGTH.get(operator, OTHER)
        left_text = self(left, strength if strength in _ASSOCIATIVE else strength + 1)
        return f"{left_text} {operator} {self(right, strength + 1)}", strength

    def _function(self, shape: Function) -> str:
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", shape.name):
            raise QueryError(f"{shape.name!r} is no name of a function.")
        self.repeatable = self.repeatable and shape.repeatable
        inner = f"{'DISTINCT ' if shape.distinct else ''}{self.listed(shape.arguments)}"
        order = self._inner_order(shape.order_by) if shape.order_by else ""
        if order and not shape.within_group:
            inner = f"{inner} {order}"
        text = f"{shape.name}({inner})"
        if shape.within_group:
            text = f"{text} WITHIN GROUP ({order})"
        return text if shape.filter is None else f"{text} FILTER (WHERE {self(shape.filter)})"

    def window(self, shape: Window) -> str:
        """What stands in a window's parentheses."""
        parts = [quote_identifier(shape.base)] if shape.base else []
        if shape.partition_by:
            parts.append(f"PARTITION BY {self.listed(shape.partition_by)}")
        if shape.order_by:
            parts.append(self._inner_order(shape.order_by))
        if shape.frame is not None:
            parts.append(self._frame(shape.frame))
        return " ".join(parts)

    def _inner_order(self, terms: tuple[Shape, ...]) -> str:
        """ORDER BY of a window or aggregate, where the names of the statement's items are not seen."""
        before, self._labels_hidden = self._labels_hidden, True
        try:
            return f"ORDER BY {self.terms(terms)}"
        finally:
            self._labels_hidden = before

    def _frame(self, frame: Frame) -> str:
        (start, start_side), (end, end_side) = frame.start, frame.end
        start_text = start_side if start is None else f"{self(start)} {start_side}"
        end_text = end_side if end is None else f"{self(end)} {end_side}"
        return f"{frame.unit} BETWEEN {start_text} AND {end_text}{f' EXCLUDE {frame.exclude}' if frame.exclude else ''}"

    def _case(self, branches: tuple[Shape, ...], otherwise: Shape | None) -> str:
        pairs = [f"WHEN {self(branches[at])} THEN {self(branches[at + 1])}" for at in range(0, len(branches), 2)]
        return f"CASE {' '.join(pairs)}{'' if otherwise is None else f' ELSE {self(otherwise)}'} END"

    def _slice(self, low: Shape | None, high: Shape | None) -> str:
        low_text = "" if low is None else self(low)
        return f"{low_text}:{'' if high is None else self(high)}"

    def _indexable(self, shape: Shape) -> str:
        """PostgreSQL takes `column[1]`, and parentheses around anything else."""
        text = self(shape)
        return text if isinstance(shape, (ColumnReference, Subscript)) else f"({text})"


def _not_in_sight(reference: ColumnReference, scope: Scope) -> QueryError:
    name = reference.source.visible_name
    table = reference.source.table
    spelled = f"{name}.{reference.name}"
    same_table = [other for other in scope.all_names() if other != name]
    return QueryError(
        f"The column {spelled} is used, but {name!r} is not among the statement's tables ({', '.join(same_table) or 'none'}).\n"
        "To fix it, one of:\n"
        f"  1. join it: .join(<the model of {table}>, <condition>)\n"
        "  2. if the first table is meant to be this one: .from_(...)\n"
        "  3. if an alias of it is joined, take the column from the alias"
    )
