"""Statements as the wire knows them: text, types of the parameters, and a name under which the server keeps the plan.

A `Statement` is made once per text and used for ever; a `Step` is one execution of it with packed values. Commands without parameters that
control a transaction are steps without a name, parsed by the server each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING

from attrs import Factory, field, frozen
from psycopg.abc import Buffer
from psycopg.pq import Format

from trioorm.wire.pace import Pace
from trioorm.wire.session_texts import ends_transaction, wants_block

if TYPE_CHECKING:
    from attrs import frozen as record
else:  # each statement makes one, and freezing it would take longer than all else about it
    from attrs import define as record

__all__ = ["PreparedNames", "Statement", "Step", "command"]

FORGETTING = (b"DISCARD ALL", b"DEALLOCATE ALL", b"DEALLOCATE")
"""Tags of commands after which the server has fewer prepared statements than before."""

_numbers = count(1)


def _next_name() -> bytes:
    return b"trioorm_%d" % next(_numbers)


@frozen(eq=False, repr=False)
class Statement:
    """A text that the server prepares on first use of each connection.

    Attributes:
        text: SQL with $1, $2, ...
        parameter_types: the oid of each parameter; 0 lets the server infer it.
        result_format: how all result columns come, text or binary.
        name: the prepared statement's name, the same on every connection; b"" is never kept by the server.
        pace: how fast its runs have been.
        alone: the statement without its values, as the one thing that was sent.
        ends_transaction: whether it would end the transaction that it runs in, or begin another: COMMIT and its like.
        wants_block: whether it must stand behind BEGIN to run as it does in a transaction.
    """

    text: bytes
    parameter_types: tuple[int, ...] = ()
    result_format: Format = Format.BINARY
    name: bytes = field(factory=_next_name)
    pace: Pace = field(factory=Pace, init=False, repr=False)
    alone: tuple[Step, ...] = field(init=False, repr=False, default=Factory(lambda statement: (Step(statement),), takes_self=True))
    ends_transaction: bool = field(
        init=False, repr=False, default=Factory(lambda statement: ends_transaction(statement.text), takes_self=True)
    )
    wants_block: bool = field(init=False, repr=False, default=Factory(lambda statement: wants_block(statement.text), takes_self=True))


@record(eq=False, repr=False)
class Step:
    """One execution of a statement.

    Attributes:
        statement: what to run.
        values: the packed parameters; None is NULL.
        formats: text or binary, one for each value.
    """

    statement: Statement
    values: Sequence[Buffer | None] = ()
    formats: Sequence[Format] = ()


def command(text: bytes) -> Step:
    """A step for a command without parameters and rows, such as BEGIN."""
    return Step(Statement(text, result_format=Format.TEXT, name=b""))


class PreparedNames:
    """The statements that one connection's server session has prepared, least recently used first, once that matters.

    Args:
        limit: how many may be kept at a time; 0 keeps none.
        forget_others: makes psycopg forget what it has prepared on the same connection.

    Attributes:
        limit: as given, or as told since.
        names: of the statements.
        is_crowded: whether more than half of them have come: who was used last matters only when some must go, and noting it takes as long
            as the sending.
    """

    __slots__ = ("_forget_others", "_retired", "is_crowded", "limit", "names")

    def __init__(self, limit: int, forget_others: Callable[[], object]) -> None:
        self._forget_others = forget_others
        self.names: OrderedDict[bytes, None] = OrderedDict()
        self._retired: list[bytes] = []
        self.keep_at_most(limit)

    def __contains__(self, name: bytes) -> bool:
        return name in self.names

    def __len__(self) -> int:
        return len(self.names)

    def keep_at_most(self, limit: int) -> None:
        """Change the limit; what is too much goes when the next one comes."""
        self.limit = limit
        self.is_crowded = len(self.names) * 2 > limit

    def touch(self, name: bytes) -> None:
        """Note a use of one that is there."""
        if self.is_crowded:
            self.names.move_to_end(name)

    def add(self, name: bytes) -> None:
        """Note that the server has prepared it."""
        self.names[name] = None
        self.is_crowded = len(self.names) * 2 > self.limit

    def retire(self, name: bytes) -> None:
        """Note that it must be closed before it is prepared again: its plan does not fit the tables any more."""
        if name in self.names:
            del self.names[name]
            self._retired.append(name)

    def retire_all(self) -> None:
        """Note that the server may have none of them any more (DISCARD ALL, DEALLOCATE). Closing one that is gone is no error."""
        self._retired.extend(self.names)
        self.names.clear()

    def forget_all(self) -> None:
        """The same, for psycopg too, which may not have seen the command."""
        self.retire_all()
        self._forget_others()

    def surplus(self, coming: int) -> list[bytes]:
        """The names to close so that as many new ones fit as are coming; they are forgotten at once."""
        names, self._retired = self._retired, []
        while self.names and len(self.names) + coming > self.limit:
            names.append(self.names.popitem(last=False)[0])
        return names
