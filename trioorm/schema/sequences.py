"""Counters: identity columns and sequences.

The contract: a `NumberSequence` is a record that `create_schema` makes; what it counts comes as expressions, for defaults and queries.
"""

from __future__ import annotations

import attrs

from trioorm.errors import ModelError
from trioorm.expression.expression import Expression, Operation
from trioorm.expression.identifiers import quote_qualified
from trioorm.expression.shape import Bind, Cast, Function
from trioorm.expression.types import BIGINT, SqlType

_REGCLASS = SqlType("regclass", str, family="regclass")


@attrs.frozen
class Counting:
    """How a counter counts; None leaves PostgreSQL's own rule.

    Attributes:
        start: the first number.
        increment: from one number to the next; negative counts down.
        cache: how many numbers a session takes at a time; those it does not use are lost.
        cycle: begin anew at the end, instead of failing.
    """

    start: int | None = None
    increment: int | None = None
    min_value: int | None = None
    max_value: int | None = None
    cache: int | None = None
    cycle: bool = False


_BY_RULE = Counting()


@attrs.frozen
class Identity:
    """A column that the server numbers.

    Attributes:
        always: an insert cannot give a number of its own (`GENERATED ALWAYS`, not `BY DEFAULT`).
    """

    always: bool = False
    counting: Counting = _BY_RULE


@attrs.frozen
class NumberSequence:
    """A sequence. Made by `sequence`; give it to `create_schema` beside the models."""

    name: str
    counting: Counting = _BY_RULE
    schema: str | None = None

    def next_value(self) -> Expression[int]:
        """The next number, different at each call, also when transactions roll back."""
        return self._call("nextval")

    def current_value(self) -> Expression[int]:
        """The number that `next_value` gave last in this session. Sessions change hands with the pool: use it inside a transaction."""
        return self._call("currval")

    def _call(self, function: str) -> Expression[int]:
        # As a regclass the name is looked up once in a default, and the sequence cannot be dropped under it.
        argument = Cast(Bind(None), _REGCLASS)
        return Operation(Function(function, (argument,), repeatable=False), (quote_qualified(self.name, self.schema),), BIGINT)


def sequence(
    name: str,
    *,
    schema: str | None = None,
    start: int | None = None,
    increment: int | None = None,
    min_value: int | None = None,
    max_value: int | None = None,
    cache: int | None = None,
    cycle: bool = False,
) -> NumberSequence:
    """A sequence: numbers that are never given twice.

        invoice_numbers = sequence("invoice_numbers", start=1000)

        class Invoice(Model, table="invoices"):
            number: Column[int] = column(primary_key=True, server_default=invoice_numbers.next_value())

    Args:
        start: the first number.
        increment: from one number to the next; negative counts down.
        min_value: the smallest number.
        max_value: the largest number.
        cache: how many numbers a session takes at a time; those it does not use are lost.
        cycle: begin anew at the end, instead of failing.

    Raises:
        QueryError: nothing in PostgreSQL can have this name.
        ModelError: the numbers contradict each other.
    """
    quote_qualified(name, schema)
    return NumberSequence(name, _checked(Counting(start, increment, min_value, max_value, cache, cycle)), schema)


def identity(
    *,
    always: bool = False,
    start: int | None = None,
    increment: int | None = None,
    min_value: int | None = None,
    max_value: int | None = None,
    cache: int | None = None,
    cycle: bool = False,
) -> Identity:
    """How the server numbers a column: `column(primary_key=True, generated=identity(always=True, start=1000))`.

    Args:
        always: an insert cannot give a number of its own.
        start, increment, min_value, max_value, cache, cycle: as for `sequence`.

    Raises:
        ModelError: the numbers contradict each other.
    """
    return Identity(always, _checked(Counting(start, increment, min_value, max_value, cache, cycle)))


def _checked(counting: Counting) -> Counting:
    low, high, start = counting.min_value, counting.max_value, counting.start
    if counting.increment == 0 or (counting.cache is not None and counting.cache < 1):
        raise ModelError("A counter needs an increment other than 0 and a cache from 1.\nTo fix it: leave them out, or give other numbers.")
    if low is not None and high is not None and low >= high:
        raise ModelError(f"A counter cannot run from {low} to {high}.\nTo fix it: give a max_value above min_value.")
    if start is not None and ((low is not None and start < low) or (high is not None and start > high)):
        raise ModelError(f"A counter cannot start at {start}, outside of its min_value and max_value.\nTo fix it: start within them.")
    return counting
