"""What a statement becomes: its text, and what goes in and comes out."""

from typing import TypeAlias

import attrs

from trioorm.expression.types import SqlType


@attrs.frozen
class ModelResult:
    """The next `len(columns)` columns of a row become one object.

    Attributes:
        columns: attribute names, in the order of the row's columns.
        optional: all columns are NULL where an outer join found nothing; the object is then None.
    """

    model: type
    columns: tuple[str, ...]
    optional: bool


@attrs.frozen
class ValueResult:
    """The next column of a row is a value. `type` is None where only the server knows it."""

    type: SqlType | None


@attrs.frozen
class RowResult:
    """All columns of the row become one tuple, decoded by the types that the server names: SQL of the user's own."""


ResultItem: TypeAlias = ModelResult | ValueResult | RowResult


@attrs.frozen
class Compiled:
    """A statement's text with all that does not depend on its values.

    Attributes:
        text: with `$1` to `$n`.
        bind_types: one for each of them; None where the server is to find out.
        results: what each row's columns become, left to right; empty when no rows come back.
        scalar: there is one item, and rows come out as that alone instead of a tuple of it.
        is_write: it may change or lock rows; unknown SQL counts as such.
        may_repeat: running it twice is harmless: a select without lock, data-modifying part or volatile function, or a `sql()` marked so.
    """

    text: str
    bind_types: tuple[SqlType | None, ...]
    results: tuple[ResultItem, ...]
    scalar: bool
    is_write: bool
    may_repeat: bool
