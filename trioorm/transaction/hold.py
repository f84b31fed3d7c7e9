"""A stream or a COPY inside a transaction: it has the turn for its whole length."""

from __future__ import annotations

from types import TracebackType

import trio
from psycopg import pq

from trioorm.errors import ConnectionLost
from trioorm.transaction import refusals
from trioorm.transaction.open_block import OpenBlock
from trioorm.transaction.runner import BlockMark, Connection
from trioorm.wire import OnCancel, command, is_error
from trioorm.wire.interrupt import Held, after_cleanup

__all__ = ["ScopeHold"]

_INERROR = pq.TransactionStatus.INERROR

# One name serves all: a stream or COPY holds the turn, so there is never more than one guard in a block, and an inner one hides an outer's.
_GUARD = command(b'SAVEPOINT "trioorm_guard"')
_UNDO_TO_GUARD = command(b'ROLLBACK TO "trioorm_guard"')
_RELEASE_GUARD = command(b'RELEASE "trioorm_guard"')


class ScopeHold:
    """The turn of a scope, taken by a stream or a COPY for its whole length."""

    __slots__ = ("_guarded", "_mark", "_scope")

    def __init__(self, scope: OpenBlock, what: str, *, guarded: bool) -> None:
        self._scope = scope
        self._mark = BlockMark(f"{what} of {scope.name}")
        self._guarded = guarded

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Connection:
        scope = self._scope
        await scope.take_turn()
        try:
            await scope.run([_GUARD] if self._guarded else [], is_write=False, has_turn=True)
            connection = scope.usable_connection()
        except BaseException:
            scope.give_turn()
            raise
        scope.hold_turn_for(self._mark)
        self._mark.enter()
        return connection

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._mark.leave()
        scope = self._scope
        held = None
        try:
            if self._guarded:
                held = await self._lift_guard()
            else:
                scope.server_side.may_have_written = True
            if error is not None:
                scope.note_error(error)
        finally:
            scope.give_turn()
        if (raised := after_cleanup(error, held)) is not None and raised is not error:
            raise raised
        if isinstance(error, ConnectionLost):
            await scope.deliver_own_timeout()

    async def _lift_guard(self) -> Held:
        scope = self._scope
        connection = scope.connection_or_none()
        if connection is None:
            return None
        if scope.connection_status == _INERROR:
            _, held = await connection.fly_shielded([_UNDO_TO_GUARD, _RELEASE_GUARD], seconds=connection.cleanup_timeout_seconds)
            return held
        probe = scope.server_side.probe  # a stream's statement may write too
        sent = [_RELEASE_GUARD, *probe]
        try:
            results = await connection.fly(sent, on_cancel=OnCancel.FINISH)
        except ConnectionLost as lost:
            raise refusals.gone(scope.name) from lost
        if is_error(results[-1]):
            await scope.fail(connection, sent, results)
        if probe:
            scope.server_side.probed(results[-1])
        return None
