"""`Snapshot`: the reading verbs over one exported snapshot."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Never, NoReturn, Self, TypeVar, TypeVarTuple

import trio

from trioorm.database.answers import check_gives_rows
from trioorm.database.known_plans import KnownPlans
from trioorm.database.loading import load_onto_rows
from trioorm.database.plan import Plan, PlanCache
from trioorm.database.repeats import OPEN_SCOPES, note_statement
from trioorm.database.streaming import CursorBlock, Rows, RowsBlock
from trioorm.database.verbs import Verbs
from trioorm.errors import QueryError, UsageError
from trioorm.model import Load
from trioorm.query import Sql, Statement, TypedSql
from trioorm.transaction import HeldReads, SnapshotScope
from trioorm.wire import Step

__all__ = ["Snapshot"]

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")


class Snapshot(Verbs):
    """One picture of the database, read by many tasks at once, each on whatever connection is free. Made by `Database.snapshot`.

    What writes or locks rows is refused before it is sent; what only the server can know, SQL of one's own, the server refuses.
    """

    def __init__(self, scope: SnapshotScope, plans: PlanCache) -> None:
        super().__init__(scope, _PlansOfReads(plans))
        self._scope = scope

    def __repr__(self) -> str:
        return f"<Snapshot: {self._scope.name}>"

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        """Take a connection and fix the picture.

        Raises:
            PoolTimeout: no connection came free in time. Safe to retry.
            TransactionClosed: the block was entered before.

        Checkpoint: always.
        """
        await self._scope.__aenter__()
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Wait for the children, and give the connections back. Errors have the shape that a transaction gives them.

        Checkpoint: only if it waits.
        """
        await self._scope.__aexit__(kind, error, traceback)

    def start_soon(self, function: Callable[[*Arguments], Awaitable[Any]], *arguments: *Arguments, name: object = None) -> None:
        """Start a child of the block, as `Transaction.start_soon`.

        Raises:
            TransactionClosed: the block has ended. Nothing was started.
        """
        self._scope.start_soon(function, *arguments, name=name)

    def stream(self, statement: Statement[R], *, batch_rows: int = 500, cursor: bool = False) -> RowsBlock[R]:
        """As `Verbs.stream`; each has a connection of its own, on which relations are loaded too, so no cursor is asked for."""
        if cursor:
            raise UsageError("a stream of a snapshot has a connection of its own and needs no cursor.\nTo fix it: leave cursor=True out.")
        if statement.loads:
            if OPEN_SCOPES:
                note_statement(self._plans, statement)
            plan, values = self._plans.plan(statement)
            check_gives_rows(plan, statement)
            return _LoadingStream(self._scope, self._plans, plan, plan.step(values), statement.loads, batch_rows=batch_rows)
        return super().stream(statement, batch_rows=batch_rows)

    # What does not go through a plan.

    async def copy_in(self, *_rows: object, **_options: object) -> NoReturn:
        """Refused: a snapshot only reads."""
        _refuse("copy_in")

    def _check_can_stage(self) -> None:
        raise QueryError(
            "COPY takes no bind values, and the temporary table that stands in for them cannot be made in a snapshot, which only reads; "
            "nothing was sent.\nTo fix it: leave `format` out, for the rows as objects or tuples; or use `db.copy_out`."
        )

    async def notify(self, channel: str, payload: str = "") -> None:
        """Refused: a snapshot has no COMMIT with which it could be sent."""
        _refuse("notify")

    async def _run_commands(self, texts: Sequence[str]) -> None:
        _refuse("a change of the schema")


class _LoadingStream(RowsBlock[R]):
    """A stream with relations. Its rows come through a cursor, so that the same connection is free for what is loaded between its batches:
    there may be no other, and a cursor is known to its own alone."""

    __slots__ = ("_cursor", "_reads")

    def __init__(
        self, scope: SnapshotScope, plans: PlanCache, plan: Plan, step: Step, loads: Sequence[Load[Never]], *, batch_rows: int
    ) -> None:
        super().__init__(scope, plan, step, batch_rows=batch_rows)
        self._reads = HeldReads(scope, "a stream")
        self._cursor = CursorBlock[R](
            self._reads, plan, step, batch_rows=batch_rows, load=partial(load_onto_rows, self._reads, plans, loads=loads)
        )

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Rows[R]:
        await self._reads.__aenter__()
        try:
            return await self._cursor.__aenter__()
        except BaseException as error:
            await self._reads.__aexit__(type(error), error, error.__traceback__)
            raise

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._reads.__aexit__(kind, error, traceback)  # and with it ends the cursor


class _PlansOfReads(PlanCache):
    """The database's plans, without those that write."""

    __slots__ = ("_shared",)

    namespace = "reads"

    def __init__(self, shared: PlanCache) -> None:
        self._shared = shared
        self.violations = shared.violations
        self.loads = shared.loads
        self.known = KnownPlans()  # of its own: a write that the database knows is not to be found here

    def __len__(self) -> int:
        return len(self._shared)

    def plan(self, statement: Statement[Any]) -> tuple[Plan, Sequence[object]]:
        plan, values = self._shared.plan(statement)
        if plan.is_write and not isinstance(statement, Sql | TypedSql):
            _refuse(f"this statement:\n{statement}\n")
        return plan, values


def _refuse(what: str) -> NoReturn:
    raise QueryError(
        f"a snapshot only reads, and locks no rows; nothing was sent of {what}\n"
        "To fix it: use `db` or a transaction for it; a lock needs a transaction too."
    )
