"""`Transaction` and `Savepoint`: the verbs of the hall on the blocks of `transaction/`."""

from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVarTuple

import anyio

from trioorm.database.plan import PlanCache
from trioorm.database.verbs import Verbs
from trioorm.transaction import SavepointScope, TransactionScope

__all__ = ["Savepoint", "Transaction"]

Arguments = TypeVarTuple("Arguments")


class _Block(Verbs):
    """What a transaction and a savepoint share beside the verbs: children, a scope, savepoints."""

    _scope: TransactionScope | SavepointScope

    def __init__(self, scope: TransactionScope | SavepointScope, plans: PlanCache) -> None:
        super().__init__(scope, plans)
        self._scope = scope

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._scope.name}, {self._scope.state}>"

    async def __aenter__(self) -> Self:
        """Open the block's nursery and get its connection. BEGIN, or SAVEPOINT, travels with the first statement.

        Raises:
            PoolTimeout: no connection came free in time. Safe to retry.
            TransactionClosed: the block was entered before.

        Checkpoint: always.
        """
        await self._scope.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Wait for the children; then commit, or roll back if anything failed.

        A block that ends without an exception is committed. Only the body failed: its exception goes on as it is. A child failed: one
        `ExceptionGroup`, the root cause first.

        Raises:
            TransactionRolledBack: an error was swallowed inside, so the server could not commit. Nothing was written.
            DatabaseError: the server refused the COMMIT (a deferred constraint, a serialization failure). Nothing was written.
            CommitOutcomeUnknown: the connection broke after COMMIT was sent. Not safe to retry.

        Checkpoint: always, before COMMIT. A cancellation that comes later lets the block end normally; the next checkpoint raises it.
        """
        await self._scope.__aexit__(kind, error, traceback)

    @property
    def cancel_scope(self) -> anyio.CancelScope:
        """The scope of the block: cancelling it rolls back and makes the block raise `TransactionRolledBack`."""
        return self._scope.cancel_scope

    def start_soon(self, function: Callable[[*Arguments], Awaitable[Any]], *arguments: *Arguments, name: object = None) -> None:
        """Start a child of the block.

        The block ends only when the child has. A child that fails cancels its siblings and the body, and everything rolls back. Children
        may use the block: their statements take turns with the others'.

        Args:
            function: an async function.
            arguments: for it.
            name: of the task, for errors and debuggers.

        Raises:
            TransactionClosed: the block has ended. Nothing was started.
        """
        self._scope.start_soon(function, *arguments, name=name)

    async def start(self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: object, name: object = None) -> Any:  # noqa: ANN401
        """Start a child and wait until it has called `task_status.started(value)`.

        Returns:
            The value.

        Checkpoint: always.
        """
        return await self._scope.start(function, *arguments, name=name)

    def savepoint(self) -> "Savepoint":
        """A part of the block that takes effect or rolls back alone.

            async with tx.savepoint() as sp:
                await sp.execute(...)

        The savepoint takes the block's turn for its whole length: statements of siblings on the outer block wait until it ends. Inside it,
        use `sp`; using the outer block raises `TransactionBusy`.
        """
        return Savepoint(SavepointScope(self._scope), self._plans)


class Transaction(_Block):
    """A transaction: a nursery whose work takes effect as a whole or not at all. Made by `Database.transaction`."""


class Savepoint(_Block):
    """A savepoint: the same inside a transaction. Made by `Transaction.savepoint`, or by another savepoint's."""
