"""`Transaction` and `Savepoint`: the verbs of the hall on the blocks of `transaction/`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from types import CoroutineType, TracebackType
from typing import Any, Self, TypeVarTuple

import anyio
import trio

from trioorm.database.plan import PlanCache
from trioorm.database.verbs import Verbs
from trioorm.errors import IntegrityError
from trioorm.expression.guesses import OF_BLOCKS, expect_guesses
from trioorm.pool import OutcomeHook, mark_of_caller
from trioorm.transaction import SavepointScope, SettingValue, TransactionScope, setting_steps

__all__ = ["Savepoint", "Transaction"]

Arguments = TypeVarTuple("Arguments")


class _Block(Verbs):
    """What a transaction and a savepoint share beside the verbs: children, a scope, savepoints."""

    _scope: TransactionScope | SavepointScope

    def __init__(self, scope: TransactionScope | SavepointScope, plans: PlanCache) -> None:
        self._runner = self._scope = scope
        self._plans = plans

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._scope.name}, {self._scope.state}>"

    def _own_transaction(self) -> SavepointScope:
        return SavepointScope(self._scope)

    @trio.lowlevel.enable_ki_protection
    def __aenter__(self) -> CoroutineType[Any, Any, Self]:
        """Open the block's nursery and get its connection. BEGIN, or SAVEPOINT, travels with the first statement.

        Raises:
            PoolTimeout: no connection came free in time. Safe to retry.
            TransactionClosed: the block was entered before.

        Checkpoint: always.
        """
        return self._scope.enter(self, mark_of_caller())  # type: ignore[return-value] # mypy calls a coroutine's type Coroutine

    @trio.lowlevel.enable_ki_protection
    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> CoroutineType[Any, Any, None]:
        """Wait for the children; then commit, or roll back if anything failed.

        A block that ends without an exception is committed. Only the body failed: its exception goes on as it is. A child failed: one
        `ExceptionGroup`, the root cause first.

        Raises:
            TransactionRolledBack: an error was swallowed inside, so the server could not commit. Nothing was written.
            DatabaseError: the server refused the COMMIT (a deferred constraint, a serialization failure). Nothing was written.
            CommitOutcomeUnknown: the connection broke after COMMIT was sent. Not safe to retry.

        Checkpoint: always, before COMMIT. A cancellation that comes later lets the block end normally; the next checkpoint raises it.
        """
        return self._scope.leave(kind, error, traceback, self._explain_refusal)  # type: ignore[return-value] # as above

    def _explain_refusal(self, refused: IntegrityError) -> None:
        self._plans.violations.explain(refused)

    @property
    def cancel_scope(self) -> anyio.CancelScope:
        """The scope of the block: cancelling it rolls back and makes the block raise `TransactionRolledBack`. On Trio it is Trio's own."""
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

    def on_commit(self, function: Callable[[*Arguments], Awaitable[Any]], *arguments: *Arguments) -> None:
        """Have an async function called once the transaction is committed, in the background of the database.

        For what must not happen unless the transaction does, and need not happen in it: mails, caches, other services. Hooks of one
        transaction run in the order in which they were given, after the block has ended; the block does not wait for them. One that fails
        is logged, counted (`db.statistics()`) and told to the instruments, and changes nothing else. They are not run when the outcome is
        not known (`CommitOutcomeUnknown`), and lost when this process dies: what must happen belongs into a table, written in the
        transaction.

        In a savepoint: the hooks of one that rolled back are not run; those of one that took effect follow the block around it.

        Args:
            function: an async function. The block has ended when it is called: it may use `db`, not `tx`.
            arguments: for it.

        Raises:
            TransactionClosed: the block has ended.
        """
        self._scope.add_hook(OutcomeHook(function, arguments), on_commit=True)

    def on_rollback(self, function: Callable[[*Arguments], Awaitable[Any]], *arguments: *Arguments) -> None:
        """As `on_commit`, called once the block is rolled back; for a savepoint, when that is, be it alone or with its transaction."""
        self._scope.add_hook(OutcomeHook(function, arguments), on_commit=False)

    async def settings(self, *, role: str | None = None, **values: SettingValue) -> None:
        """Set settings of the server, and the role, until the transaction ends: SET LOCAL, for row-level security and limits.

            await tx.settings(role="clerk", **{"app.user": user.id, "lock_timeout": "500ms"})

        Set in a savepoint that rolls back, they are what they were before it. All are sent in one trip.

        Args:
            role: who to be from now on.
            values: names of your own have a dot in them. True is on, False is off.

        Raises:
            QueryError: a value that is no text, number or bool. Nothing was sent.
            DatabaseError: the server has no such setting or role, or does not allow it.
            Others: as `fetch_all`.

        Checkpoint: always.
        """
        await self._scope.run(setting_steps(values, role), is_write=False)

    async def advisory_lock(self, key: int | str, *, shared: bool = False, nowait: bool = False) -> None:
        """Take a lock of one's own, which PostgreSQL keeps until the transaction ends (or the savepoint rolls back).

        Args:
            key: a number of 64 bits, or a text, which stands for a number.
            shared: others may have it too, if they ask for it shared.
            nowait: fail at once (LockNotAvailable) rather than wait for it; the transaction can be used as before.

        Raises:
            LockNotAvailable: with `nowait`: another has it. Safe to retry.
            QueryError: a key that is neither. Nothing was sent.
            Others: as `fetch_all`.

        Checkpoint: always.
        """
        from trioorm.transaction import lock_in_transaction  # few need it

        await lock_in_transaction(self._scope, key, shared=shared, nowait=nowait)

    def savepoint(self) -> Savepoint:
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


expect_guesses(_Block, OF_BLOCKS)
