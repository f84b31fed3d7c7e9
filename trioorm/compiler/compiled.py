"""What a statement becomes: its text, and what goes in and comes out."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, final

from trioorm.errors import QueryError
from trioorm.expression.types import SqlType
from trioorm.query.shape import Projection


class ModelResult(NamedTuple):
    """The next `len(columns)` columns of a row become one object.

    Attributes:
        columns: attribute names, in the order of the row's columns.
        optional: all columns are NULL where an outer join found nothing; the object is then None.
    """

    model: type
    columns: tuple[str, ...]
    optional: bool


class ValueResult(NamedTuple):
    """The next column of a row is a value. `type` is None where only the server knows it."""

    type: SqlType | None


@final
class RowResult:
    """All columns of the row become one tuple, decoded by the types that the server names: SQL of the user's own."""

    __slots__ = ()


ResultItem: TypeAlias = ModelResult | ValueResult | RowResult


class Repeat(NamedTuple):
    """A CTE that is read from again: its values from `again` on must be those from `first` on."""

    name: str
    first: int
    again: int
    length: int


class Compiled(NamedTuple):
    """A statement's text with all that does not depend on its values.

    Attributes:
        text: with `$1` to `$n`.
        bind_types: one for each of them; None where the server is to find out.
        results: what each row's columns become, left to right; empty when no rows come back.
        scalar: there is one item, and rows come out as that alone instead of a tuple of it.
        into: what makes something else of each row, handed its items; None for most.
        is_write: it may change or lock rows; unknown SQL and functions that are not known to be harmless count as such.
        places: which of the statement's values go to `$1` to `$n`; None where all do, in order.
        repeats: values that must be the same, because only the first are sent.
        parts: of united statements: which of the items behind the first, which is the number of a row's part, the rows of each part have.
        shared: of united statements: the items, counted so, of which one row may be met several times.
        may_repeat: running it twice is harmless: a select without lock, data-modifying part or volatile function, or a `sql()` marked so.
    """

    text: str
    bind_types: tuple[SqlType | None, ...]
    results: tuple[ResultItem, ...]
    scalar: bool
    is_write: bool
    may_repeat: bool
    into: Projection | None = None
    places: tuple[int, ...] | None = None
    repeats: tuple[Repeat, ...] = ()
    parts: tuple[tuple[int, ...], ...] | None = None
    shared: tuple[int, ...] = ()

    def arranged(self, values: Sequence[object]) -> Sequence[object]:
        """The values for `$1` to `$n`, out of those of the statement.

        They are the same, except where a part with values is met again and stands in the text once only: a CTE that is read from in
        several places, or an item of the select by which is ordered or grouped too.

        Raises:
            QueryError: two CTEs have the same name and text, but other values.
        """
        if self.places is None:
            return values
        for name, first, again, length in self.repeats:
            if any(values[first + at] is not values[again + at] and values[first + at] != values[again + at] for at in range(length)):
                raise QueryError(
                    f"Two CTEs named {name!r} in one statement have different values.\n"
                    "To fix it: build it once and read from that in both places, or give them names of their own."
                )
        return [values[place] for place in self.places]
