"""Full-text search: `search.matches(Film.words, search.websearch_to_tsquery("fat cat", language="english"))`.

Source: PostgreSQL manual, chapter 12 and section 9.13.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from trioorm.errors import QueryError
from trioorm.expression import building
from trioorm.expression.expression import Expression, Operation, is_expression
from trioorm.expression.shape import Binary, Bind, Cast, Function, Prefix, Shape
from trioorm.expression.types import BOOLEAN, INTEGER, REAL, TEXT, TSQUERY, TSVECTOR, SqlType, array_of
from trioorm.expression.values import TsQuery, TsVector

Text: TypeAlias = str | Expression[str] | Expression[str | None]
Vector: TypeAlias = Expression[TsVector] | Expression[TsVector | None]
Query: TypeAlias = TsQuery | Expression[TsQuery] | Expression[TsQuery | None]
REGCONFIG = SqlType("regconfig", str, family="regconfig")


def to_tsvector(document: Text, *, language: str | None = None) -> Expression[TsVector]:
    """A text as search sees it. Name the language: without, the server's setting decides, and the expression cannot be indexed."""
    return _call("to_tsvector", language, (building.place_of(document, TEXT, of="a document"),), TSVECTOR)


def to_tsquery(query: Text, *, language: str | None = None) -> Expression[TsQuery]:
    """A query in PostgreSQL's own writing: `fat & (cat | rat)`. The server fails on any other; for what people
    type, `websearch_to_tsquery`."""
    return _call("to_tsquery", language, (building.place_of(query, TEXT, of="a query"),), TSQUERY)


def plainto_tsquery(query: Text, *, language: str | None = None) -> Expression[TsQuery]:
    """All the words of a text."""
    return _call("plainto_tsquery", language, (building.place_of(query, TEXT, of="a query"),), TSQUERY)


def phraseto_tsquery(query: Text, *, language: str | None = None) -> Expression[TsQuery]:
    """The words of a text one after the other."""
    return _call("phraseto_tsquery", language, (building.place_of(query, TEXT, of="a query"),), TSQUERY)


def websearch_to_tsquery(query: Text, *, language: str | None = None) -> Expression[TsQuery]:
    """What people type into a search box: quotes, `or`, `-`. It never fails."""
    return _call("websearch_to_tsquery", language, (building.place_of(query, TEXT, of="a query"),), TSQUERY)


def matches(vector: Vector, query: Query) -> Expression[bool]:
    """Whether a document matches a query (`@@`)."""
    building.require_family(vector, "search.matches()", ("tsvector",), "a tsvector (search.to_tsvector(...) of a text)")
    shape, values = _query(query)
    return Operation(Binary("@@", vector.operand(), shape), vector.bind_values + values, BOOLEAN)


def rank(vector: Vector, query: Query, *, weights: list[float] | None = None, normalization: int = 0) -> Expression[float]:
    """How well a document matches, by how often (`ts_rank`).

    Args:
        weights: of the labels D, C, B and A, in this order.
        normalization: PostgreSQL's sum of flags; 1 divides by the logarithm of the document's length.
    """
    return _ranked("ts_rank", vector, query, weights, normalization)


def rank_cd(vector: Vector, query: Query, *, weights: list[float] | None = None, normalization: int = 0) -> Expression[float]:
    """How well a document matches, by how near the words are to each other (`ts_rank_cd`); as `rank` otherwise."""
    return _ranked("ts_rank_cd", vector, query, weights, normalization)


def headline(document: Text, query: Query, *, language: str | None = None, options: str = "") -> Expression[str]:
    """Parts of a document with the query's words marked (`ts_headline`).

    Args:
        options: as PostgreSQL writes them: `"StartSel=<<, StopSel=>>, MaxFragments=2"`. The text is not made safe for HTML.
    """
    parts = [building.place_of(document, TEXT, of="a document"), _query(query)]
    if options:
        parts.append(building.place_of(options, TEXT, of="options"))
    return _call("ts_headline", language, tuple(parts), TEXT)


def setweight(vector: Vector, weight: Literal["A", "B", "C", "D"]) -> Expression[TsVector]:
    """The document with a label on all its words, for `rank`; documents are joined with `+`."""
    if weight not in ("A", "B", "C", "D"):
        raise QueryError(f"{weight!r} is no weight.\nTo fix it: one of 'A', 'B', 'C' and 'D'.")
    shape, values = building.place_of(weight, TEXT, of="a weight")
    return Operation(Function("setweight", (vector.operand(), Cast(shape, _LABEL))), vector.bind_values + values, TSVECTOR)


def both(a: Query, b: Query) -> Expression[TsQuery]:
    """Documents that match two queries (`&&`)."""
    return _joined("&&", a, b)


def either(a: Query, b: Query) -> Expression[TsQuery]:
    """Documents that match one of two queries (`||`)."""
    return _joined("||", a, b)


def negated(query: Query) -> Expression[TsQuery]:
    """Documents that do not match a query (`!!`)."""
    shape, values = _query(query)
    return Operation(Prefix("!! ", shape), values, TSQUERY)


def length(vector: Vector) -> Expression[int]:
    """How many different words a document has."""
    return Operation(Function("length", (vector.operand(),)), vector.bind_values, INTEGER)


_LABEL = SqlType('"char"', str, family="text")


def _query(query: object) -> building.Part:
    if is_expression(query):
        given = query
        building.require_family(
            given, "a query of full-text search", ("tsquery",), "a tsquery (search.websearch_to_tsquery(...) of a text)"
        )
        return given.operand(), given.bind_values
    if not isinstance(query, TsQuery):
        raise QueryError(
            f"A query of full-text search was given as a {type(query).__qualname__}.\n"
            "To fix it: search.websearch_to_tsquery(text) for what people type, TsQuery(text) for PostgreSQL's own writing."
        )
    return building.place_of(query, TSQUERY, of="a query")


def _ranked(name: str, vector: Vector, query: object, weights: list[float] | None, normalization: int) -> Expression[float]:
    parts = [(vector.operand(), vector.bind_values), _query(query), building.place_of(normalization, INTEGER, of="normalization")]
    if weights is not None:
        parts.insert(0, building.place_of(weights, array_of(REAL), of="weights"))
    return _made(name, tuple(parts), REAL)


def _joined(operator: str, a: object, b: object) -> Expression[TsQuery]:
    (left, left_values), (right, right_values) = _query(a), _query(b)
    return Operation(Binary(operator, left, right), left_values + right_values, TSQUERY)


def _call(name: str, language: str | None, parts: tuple[building.Part, ...], result: SqlType) -> Expression[Any]:
    # Of type regconfig from the start: a cast from text would make the call unfit for an index or a computed column.
    configured = () if language is None else ((Bind(REGCONFIG, cast=True), (language,)),)
    return _made(name, (*configured, *parts), result)


def _made(name: str, parts: tuple[building.Part, ...], result: SqlType) -> Expression[Any]:
    shapes: tuple[Shape, ...] = tuple(shape for shape, _ in parts)
    return Operation(Function(name, shapes), tuple(value for _, more in parts for value in more), result)
