"""Likeness of texts by their three-letter parts, from the extension pg_trgm: `trigram.similarity(Film.title, "godfahter")`.

Source: PostgreSQL manual, section F.35.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from trioorm.expression import building
from trioorm.expression.expression import Expression, Operation
from trioorm.expression.shape import Binary, Function
from trioorm.expression.types import BOOLEAN, REAL, TEXT, SqlType

Text: TypeAlias = Expression[str] | Expression[str | None]
Other: TypeAlias = "str | Text"


def similarity(a: Text, b: Other) -> Expression[float]:
    """How alike two texts are, from 0 to 1."""
    return _function("similarity", a, b)


def word_similarity(part: Other, whole: Text) -> Expression[float]:
    """How alike a text is to the part of another that is most like it."""
    return _reversed_function("word_similarity", part, whole)


def strict_word_similarity(part: Other, whole: Text) -> Expression[float]:
    """As `word_similarity`, with parts that are whole words only."""
    return _reversed_function("strict_word_similarity", part, whole)


def similar(a: Text, b: Other) -> Expression[bool]:
    """Whether two texts are more alike than `pg_trgm.similarity_threshold` (`%`); an index can answer it."""
    return _operation("%", a, b, BOOLEAN)


def word_similar(part: Other, whole: Text) -> Expression[bool]:
    """Whether some part of a text is more like another than `pg_trgm.word_similarity_threshold` (`%>`)."""
    return _operation("%>", whole, part, BOOLEAN)


def distance(a: Text, b: Other) -> Expression[float]:
    """One minus the similarity (`<->`): to order by, nearest first, which a GiST index can do."""
    return _operation("<->", a, b, REAL)


def word_distance(part: Other, whole: Text) -> Expression[float]:
    """One minus the word similarity (`<->>`)."""
    return _operation("<->>", whole, part, REAL)


def _text(value: object) -> building.Part:
    return building.place_of(value, TEXT, of="a text to be compared")


def _operation(operator: str, a: Expression[Any], b: object, result: SqlType) -> Expression[Any]:
    building.require_family(a, operator, ("text",), "a text")
    shape, values = _text(b)
    return Operation(Binary(operator, a.operand(), shape), a.bind_values + values, result)


def _function(name: str, a: Expression[Any], b: object) -> Expression[float]:
    building.require_family(a, f"{name}()", ("text",), "a text")
    shape, values = _text(b)
    return Operation(Function(name, (a.operand(), shape)), a.bind_values + values, REAL)


def _reversed_function(name: str, part: object, whole: Expression[Any]) -> Expression[float]:
    building.require_family(whole, f"{name}()", ("text",), "a text")
    shape, values = _text(part)
    return Operation(Function(name, (shape, whole.operand())), values + whole.bind_values, REAL)
