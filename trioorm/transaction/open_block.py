"""A transaction or savepoint whose block is open, as what works inside it needs it: a stream, a COPY, a flight for several tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from psycopg.pq.abc import PGresult

from trioorm.transaction.runner import Connection
from trioorm.transaction.server_side import ServerSide
from trioorm.wire import Step


class OpenBlock(Protocol):
    """See `Scope`, which says what each of them does."""

    name: str
    first_error: BaseException | None
    server_side: ServerSide

    @property
    def connection_status(self) -> int: ...

    async def take_turn(self) -> None: ...

    def hold_turn_for(self, block: object) -> None: ...

    def give_turn(self) -> None: ...

    def opening(self) -> Sequence[Step]: ...

    def opened(self, results: Sequence[PGresult]) -> None: ...

    async def run(self, steps: Sequence[Step], is_write: bool, has_turn: bool = False) -> list[PGresult]: ...

    def usable_connection(self) -> Connection: ...

    def connection_or_none(self) -> Connection | None: ...

    async def fail(self, connection: Connection, sent: Sequence[Step], results: Sequence[PGresult]) -> None: ...

    def note_error(self, error: BaseException) -> None: ...

    async def deliver_own_timeout(self) -> None: ...
