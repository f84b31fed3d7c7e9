"""The verbs that a database, a transaction and a savepoint share.

Each verb is compile, bind, run, hydrate: the statement's plan comes from the cache by shape, its values are packed, one flight runs it,
its rows become objects. Outside a transaction a single write that is cancelled either took effect, and the verb returns, or did not, and
it raises.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from psycopg.pq.abc import PGresult

from trioorm.database.answers import check_gives_rows, check_gives_value, not_one, only_row
from trioorm.database.copy_verbs import CopyVerbs
from trioorm.database.object_verbs import ObjectVerbs
from trioorm.database.objects import must_be_object
from trioorm.database.plan import Plan, PlanCache
from trioorm.database.repeats import OPEN_SCOPES, note_objects, note_statement
from trioorm.database.schema_verbs import SchemaVerbs
from trioorm.errors import IntegrityError, UsageError
from trioorm.expression.guesses import OF_VERBS, expect_guesses
from trioorm.later import module_later
from trioorm.model import Load, Model, check_load
from trioorm.query import Select, Statement, check_graph
from trioorm.transaction import Runner
from trioorm.wire import command

if TYPE_CHECKING:
    from trioorm.database import flight, loading, streaming
    from trioorm.database.explaining import QueryPlan
    from trioorm.database.flight import Flight
else:
    flight = module_later("trioorm.database.flight")
    loading = module_later("trioorm.database.loading")
    streaming = module_later("trioorm.database.streaming")

__all__ = ["Verbs"]

R = TypeVar("R")
R1 = TypeVar("R1")
R2 = TypeVar("R2")
R3 = TypeVar("R3")
R4 = TypeVar("R4")
R5 = TypeVar("R5")
R6 = TypeVar("R6")
M = TypeVar("M", bound=Model)

# What goes before and after a statement that must leave nothing behind.
_UNDONE = ((command(b"BEGIN"),), (command(b"ROLLBACK"),))
_UNDONE_INSIDE = (
    (command(b"SAVEPOINT trioorm_explain"),),
    (command(b"ROLLBACK TO SAVEPOINT trioorm_explain"), command(b"RELEASE SAVEPOINT trioorm_explain")),
)


class Verbs(ObjectVerbs, CopyVerbs, SchemaVerbs):
    """Statements and objects, run by whatever `runner` is."""

    def __init__(self, runner: Runner, plans: PlanCache) -> None:
        self._runner = runner
        self._plans = plans

    # Statements.

    async def fetch_all(self, statement: Statement[R]) -> list[R]:
        """Run a statement and return all its rows.

        Returns:
            One entry for each row: a model's object, a value, or a tuple, as the statement's type says.

        Raises:
            QueryError: the statement gives no rows or cannot be compiled. Nothing was sent.
            BindError: a value does not fit its type. Nothing was sent.
            DatabaseError: the server reported an error; the class says which.
            ConnectionLost: the connection broke. Safe to retry if the attribute says so.
            CommitOutcomeUnknown: the same under a write outside a transaction. Not safe to retry.
            PoolTimeout: no connection came free in time. Safe to retry.

        Checkpoint: always.
        """
        if OPEN_SCOPES:
            note_statement(self._plans, statement)
        if isinstance(statement, Select) and statement.loads:
            return await loading.fetch_with_loads(self._runner, self._plans, statement)
        plan, values = self._plans.plan(statement)
        if not plan.gives_rows:
            check_gives_rows(plan)
        try:  # as `_run_one`, without a coroutine of its own
            result = await self._runner.run_one(plan.statement, plan.pack(values), plan.formats, is_write=plan.is_write)
        except IntegrityError as error:
            self._plans.violations.explain(error)
            raise
        rows: list[R] = plan.rows(result)  # `cast` would be a call
        return rows

    async def fetch_one(self, statement: Statement[R]) -> R:
        """Run a statement that must give exactly one row, and return it.

        Raises:
            NoRowFound: there is none.
            TooManyRows: there are several. A write among them has taken effect, unless a transaction around it rolls back.
            Others: as `fetch_all`.

        Checkpoint: always.
        """
        if OPEN_SCOPES:
            note_statement(self._plans, statement)
        if isinstance(statement, Select) and statement.loads:
            rows: list[R] = await loading.fetch_with_loads(self._runner, self._plans, statement)
            if len(rows) != 1:
                raise not_one(len(rows), statement)
            return rows[0]
        plan, values = self._plans.plan(statement)
        if not plan.gives_rows:
            check_gives_rows(plan)
        try:  # as `fetch_all`
            result = await self._runner.run_one(plan.statement, plan.pack(values), plan.formats, is_write=plan.is_write)
        except IntegrityError as error:
            self._plans.violations.explain(error)
            raise
        return only_row(plan, result, statement)

    async def fetch_optional(self, statement: Statement[R]) -> R | None:
        """Run a statement that gives at most one row, and return it or None.

        Raises:
            TooManyRows: there are several.
            Others: as `fetch_all`.

        Checkpoint: always.
        """
        if OPEN_SCOPES:
            note_statement(self._plans, statement)
        if isinstance(statement, Select) and statement.loads:
            rows: list[R] = await loading.fetch_with_loads(self._runner, self._plans, statement)
            if len(rows) > 1:
                raise not_one(len(rows), statement)
            return rows[0] if rows else None
        plan, values = self._plans.plan(statement)
        if not plan.gives_rows:
            check_gives_rows(plan)
        result = await self._run_one(plan, values)
        if result.ntuples > 1:
            raise not_one(result.ntuples, statement)
        return cast("R", plan.row(result)) if result.ntuples else None

    async def fetch_value(self, statement: Statement[R]) -> R:
        """Run a statement that must give exactly one row of one column, and return the value.

        Raises:
            QueryError: the statement gives several columns, or an object. Nothing was sent.
            NoRowFound, TooManyRows: as `fetch_one`.
            Others: as `fetch_all`.

        Checkpoint: always.
        """
        if OPEN_SCOPES:
            note_statement(self._plans, statement)
        plan, values = self._plans.plan(statement)
        check_gives_value(plan, statement)
        return only_row(plan, await self._run_one(plan, values), statement)

    async def execute(self, statement: Statement[Any]) -> int:
        """Run a statement for its effect.

        Returns:
            The number of rows that it inserted, changed, deleted or selected.

        Raises:
            As `fetch_all`, except that rows are not asked for.

        Checkpoint: always.
        """
        if OPEN_SCOPES:
            note_statement(self._plans, statement)
        plan, values = self._plans.plan(statement)
        try:  # as `_run_one`, without a coroutine of its own
            result = await self._runner.run_one(plan.statement, plan.pack(values), plan.formats, is_write=plan.is_write)
        except IntegrityError as error:
            self._plans.violations.explain(error)
            raise
        return result.command_tuples or 0

    def stream(self, statement: Statement[R], *, batch_rows: int = 500, cursor: bool = False) -> "streaming.RowsBlock[R]":
        """Read rows as they come, with memory that does not grow with their number.

            async with db.stream(select(User)) as users:
                async for user in users: ...

        The block holds a connection, or its transaction's turn, until it ends; leaving it early stops the statement on the server. Between
        batches nothing is read, so a slow consumer slows the server down. In a transaction a savepoint lies under the stream, so that
        leaving early leaves the transaction as it was. Relations (`select(...).load`) are loaded batch by batch, on another connection of
        the pool; in a transaction with `cursor=True` only.

        Args:
            statement: what to read.
            batch_rows: how many rows come at a time.
            cursor: in a transaction, read through a cursor of the server's. Each batch takes a turn of its own, so that the same code may
                use the transaction inside the block. There is no savepoint below: an error puts the transaction in error.

        Raises:
            As `fetch_all`; the server's errors may come after rows.
            TransactionBusy: the transaction was used inside the block by the same code, without `cursor=True`.
            UsageError: `cursor=True` outside of a transaction; relations to load in one without. Nothing was sent.

        Checkpoint: entering always; the iteration once a batch.
        """
        if OPEN_SCOPES:
            note_statement(self._plans, statement)
        plan, values = self._plans.plan(statement)
        check_gives_rows(plan, statement)
        block = streaming.CursorBlock[R] if cursor else streaming.RowsBlock[R]
        if not statement.loads:
            return block(self._runner, plan, plan.step(values), batch_rows=batch_rows)
        if self._runner.in_transaction and not cursor:
            raise UsageError(
                "a stream holds its transaction's turn, so no relations can be loaded meanwhile.\n"
                "To fix it: stream(..., cursor=True), which gives the turn back between batches."
            )
        load = partial(loading.load_onto_rows, self._runner, self._plans, loads=statement.loads)
        return block(self._runner, plan, plan.step(values), batch_rows=batch_rows, load=load)

    async def load(self, objects: Iterable[M], *relations: Load[M]) -> None:
        """Load relations onto objects in hand: `await db.load(films, Film.genres, Film.credits.load(Credit.person))`.

        What an object had of them before is replaced.

        Args:
            objects: of one model.
            relations: of this model.

        Raises:
            QueryError: a relation of another model, or an object that is not stored yet. Nothing was sent.
            Others: as `fetch_all` for a select with `load`.

        Checkpoint: always, except for no objects at all.
        """
        listed = list(objects)
        for each in listed:
            must_be_object(each, "load")
        for model in {type(each): None for each in listed}:
            for relation in relations:
                check_load(relation, model, "load()")
        if OPEN_SCOPES and listed:
            note_objects(self._plans, "load", type(listed[0]), relations)
        check_graph(relations)
        await loading.load_relations(self._runner, self._plans, listed, relations)

    async def explain(self, statement: Statement[Any], *, analyze: bool = False, verbose: bool = False) -> "QueryPlan":
        """Ask PostgreSQL how it would run a statement; `print` the answer.

        Args:
            statement: any that gives or changes rows. Of a select with loads all statements are explained, in `loads`.
            analyze: run it, and measure. Whatever it writes is rolled back: inside a transaction by a savepoint. What no rollback undoes
                stays: numbers taken from sequences, and what functions do outside of the database.
            verbose: with the columns of each step, among its details.

        Returns:
            The plan as a tree of typed steps.

        Raises:
            As `fetch_all`; an error of the server puts a transaction in error, as it does for other statements.

        Checkpoint: always.
        """
        from trioorm.database.explaining import explain_step, read_plan  # few need it
        from trioorm.database.explaining_loads import explain_load_steps, read_load_plan
        from trioorm.database.load_plan import known_plan

        around = ((), ()) if not analyze else _UNDONE_INSIDE if self._runner.in_transaction else _UNDONE
        if isinstance(statement, Select) and statement.loads:
            load_plan = known_plan(self._plans, statement, statement.loads)
            steps = explain_load_steps(load_plan, statement, analyze=analyze, verbose=verbose)
            results = await self._runner.run([*around[0], *steps, *around[1]], is_write=False)
            return read_load_plan(load_plan, results[len(around[0]) :][: len(steps)])
        plan, values = self._plans.plan(statement)
        step = explain_step(plan.step(values), analyze=analyze, verbose=verbose)
        results = await self._runner.run([*around[0], step, *around[1]], is_write=False)
        answer = results[len(around[0])].get_value(0, 0)
        assert answer is not None
        return read_plan(answer, plan.compiled.text)

    async def notify(self, channel: str, payload: str = "") -> None:
        """Send a notification to all who listen on a channel.

        In a transaction it is sent when that commits, and not at all when it rolls back. Of several with the same channel and payload in
        one transaction the server sends one.

        Args:
            channel: its name, case kept.
            payload: text of less than 8,000 bytes.

        Raises:
            QueryError: a name that no channel can have, or the payload is too long. Nothing was sent.
            Others: as `fetch_all` for a write.

        Checkpoint: always.
        """
        from trioorm.database.listening import notify_statement  # few need it

        await self.execute(notify_statement(channel, payload))

    # Several at once.

    def flight(self) -> "Flight":
        """Several statements in one trip, each with its own answer.

            async with tx.flight() as flight:
                order = flight.get(Order, order_id)
                lines = flight.fetch_all(select(Line).where(Line.order_id == order_id))
            return order.value, lines.value

        The verbs of the flight check and collect; leaving the block sends. A statement cannot use the answer to another of its flight.
        """
        return flight.open_flight(self._runner, self._plans)

    @overload
    async def fetch_many(self, a: Statement[R1], b: Statement[R2], /) -> tuple[list[R1], list[R2]]: ...
    @overload
    async def fetch_many(self, a: Statement[R1], b: Statement[R2], c: Statement[R3], /) -> tuple[list[R1], list[R2], list[R3]]: ...
    @overload
    async def fetch_many(
        self, a: Statement[R1], b: Statement[R2], c: Statement[R3], d: Statement[R4], /
    ) -> tuple[list[R1], list[R2], list[R3], list[R4]]: ...
    @overload
    async def fetch_many(
        self, a: Statement[R1], b: Statement[R2], c: Statement[R3], d: Statement[R4], e: Statement[R5], /
    ) -> tuple[list[R1], list[R2], list[R3], list[R4], list[R5]]: ...
    @overload
    async def fetch_many(
        self, a: Statement[R1], b: Statement[R2], c: Statement[R3], d: Statement[R4], e: Statement[R5], f: Statement[R6], /
    ) -> tuple[list[R1], list[R2], list[R3], list[R4], list[R5], list[R6]]: ...
    @overload
    async def fetch_many(self, *statements: Statement[R]) -> tuple[list[R], ...]: ...
    async def fetch_many(self, *statements: Statement[Any]) -> tuple[list[Any], ...]:
        """Run several statements in one trip: `films, genres = await db.fetch_many(select(Film), select(Genre))`.

        Outside of a transaction they may only read, and each sees what is committed when it runs.

        Returns:
            What `fetch_all` returns, for each statement.

        Raises:
            As `fetch_all`, from the first that fails.

        Checkpoint: always.
        """
        async with self.flight() as together:
            results = [together.fetch_all(statement) for statement in statements]
        return tuple([result.value for result in results])

    # Running.

    async def _run_one(self, plan: Plan, values: Sequence[object]) -> PGresult:
        try:
            return await self._runner.run_one(plan.statement, plan.pack(values), plan.formats, is_write=plan.is_write)
        except IntegrityError as error:
            self._plans.violations.explain(error)
            raise


expect_guesses(Verbs, OF_VERBS)
