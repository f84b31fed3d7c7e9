"""A flight of one's own: several statements, sent together in one trip, each with its own answer.

The contract: a verb of a flight checks and packs its statement at once and sends nothing; leaving the block sends all of them; then each
answer is in its `FlightResult`. A block that raises has sent nothing, or nothing that stays: the statements of one flight take effect
together or not at all.
"""

# pyright: reportPrivateUsage=false
# A flight and its results are one; what they tell each other is not for those who hold a result.

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from anyio.lowlevel import checkpoint
from psycopg.pq.abc import PGresult

from trioorm.database.answers import check_gives_rows, check_gives_value, inserted_rows, not_one, not_patched, not_written, only_row
from trioorm.database.known_plans import ObjectVerb
from trioorm.database.loading import steps_of_load
from trioorm.database.object_plans import learn_by_key, plan_for_object
from trioorm.database.objects import (
    changes_of,
    delete_object,
    insert_object,
    insert_objects,
    is_versioned,
    key_of,
    must_be_object,
    patch_by_key,
    select_by_key,
    update_object,
    upsert_object,
)
from trioorm.database.plan import Plan, PlanCache
from trioorm.database.repeats import OPEN_SCOPES, note_flight
from trioorm.errors import DatabaseError, IntegrityError, QueryError, UsageError
from trioorm.expression import Column
from trioorm.model import Model, evolve
from trioorm.query import Select, Statement
from trioorm.wire import Step

__all__ = ["Flight", "FlightResult", "open_flight"]

R = TypeVar("R")
M = TypeVar("M", bound=Model)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Finish = Callable[[PGresult], T]
FinishAll = Callable[[Sequence[PGresult]], T]


def _written_row(plan: Plan, verb: str, written: M, build: Callable[[M], Statement[M]]) -> Finish[M]:
    def finish(result: PGresult) -> M:
        if not result.ntuples:
            raise not_written(written, build(written), verb, in_transaction=True)
        if result.ntuples != 1:
            raise not_one(result.ntuples, build(written))
        return cast("M", plan.row(result))

    return finish


class FlightResult(Generic[T_co]):
    """The answer to one statement of a flight, once that has landed. Made by the verbs of `Flight`."""

    __slots__ = ("_error", "_finish", "_number", "_objects", "_place", "_value", "_verb")

    # Filled by `Flight._book`, because a call of `__init__` would cost more than all the rest.
    _number: int
    _verb: str
    _place: int | slice  # of its step among those of the flight, or of its steps
    _objects: Sequence[Model]
    _finish: Callable[[Any], T_co] | None
    _error: Exception | None
    _value: T_co

    @property
    def _booked(self) -> str:
        return f"statement {self._number}, {self._verb}"

    def __repr__(self) -> str:
        state = "waits for its flight" if self._finish is not None else "has landed" if self._error is None else "failed"
        return f"<FlightResult of {self._booked}, {state}>"

    @property
    def value(self) -> T_co:
        """What the verb of the same name would have returned.

        Raises:
            UsageError: the flight has not landed, or failed.
            NoRowFound, TooManyRows: the statement found another number of rows.
            DataError: a value cannot be held in Python.
        """
        if self._finish is not None:
            raise UsageError(
                f"the answer to {self._booked} is not there: its flight has not landed.\nTo fix it: read .value behind the flight's block."
            )
        if self._error is not None:
            raise self._error
        return self._value

    def _fail(self, cause: BaseException) -> None:
        self._finish = None
        self._error = UsageError(
            f"there is no answer to {self._booked}: its flight failed with {type(cause).__name__}.\n"
            "To fix it: read .value only where the flight's block has ended without an exception."
        )
        self._error.__cause__ = cause


def _changed_rows(result: PGresult) -> int:
    return result.command_tuples or 0


class FlightRunner(Protocol):
    """What sends a flight."""

    async def run(self, steps: Sequence[Step], is_write: bool) -> list[PGresult]: ...


class Flight:
    """Statements for one trip. Made by `Transaction.flight` and `Database.flight`.

        async with tx.flight() as flight:
            order = flight.get(Order, order_id)
            lines = flight.fetch_all(select(Line).where(Line.order_id == order_id))
        return order.value, lines.value

    The verbs are those of the transaction; each returns a `FlightResult` at once. They run in the order in which they were called. The
    server runs none behind one that fails.
    """

    __slots__ = ("_bookings", "_commits", "_has_ended", "_is_write", "_plans", "_refused", "_runner", "_steps")

    _runner: FlightRunner
    _plans: PlanCache
    _refused: str | None
    _commits: bool
    _is_write: bool
    _has_ended: bool
    _bookings: list[FlightResult[Any]] | None
    _steps: list[Step]

    def __repr__(self) -> str:
        if self._bookings is None:
            return f"<Flight, {'ended' if self._has_ended else 'not entered'}>"
        return f"<Flight of {len(self._bookings)} statements, not sent>"

    async def __aenter__(self) -> Self:
        """Begin to collect statements.

        Checkpoint: never.
        """
        if self._bookings is not None or self._has_ended:
            raise UsageError("this flight was entered before.\nTo fix it: call flight() again for another block.")
        self._bookings = []
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Send the statements and take their answers; after an exception of the body send nothing.

        Raises:
            NoRowFound, TooManyRows, DataError: as the verbs of a transaction, from the first statement that is concerned; with
                `commit=True` by `value` alone, since the statements have taken effect.
            Others: as `fetch_all`.

        Checkpoint: always, except after an exception of the body.
        """
        bookings, steps = self._bookings or [], self._steps
        self._bookings, self._has_ended = None, True
        if error is not None:
            for booking in bookings:
                booking._fail(error)
            return
        results: Sequence[PGresult] = ()
        try:
            if OPEN_SCOPES:
                note_flight(self._plans, steps)
            if steps:
                results = await self._runner.run(steps, self._is_write)
            else:
                await checkpoint()
        except BaseException as failure:
            for booking in bookings:
                booking._fail(failure)
            if isinstance(failure, DatabaseError):
                self._explain(failure, bookings)
            raise
        wrong: Exception | None = None
        for booking in bookings:
            finish, booking._finish = booking._finish, None
            assert finish is not None, "it lands once"
            try:
                booking._value = finish(results[booking._place])
            except Exception as amiss:
                booking._error = amiss
                wrong = wrong or amiss
        if wrong is not None and not self._commits:
            raise wrong

    def _explain(self, failure: DatabaseError, bookings: Sequence[FlightResult[Any]]) -> None:
        """Say which of the statements failed, and for a violated constraint which object."""
        for number, booking in enumerate(bookings, 1):
            place = booking._place
            if any(step is failure.failed_step for step in (self._steps[place] if isinstance(place, slice) else (self._steps[place],))):
                if isinstance(failure, IntegrityError):
                    self._plans.violations.explain(failure, booking._objects)
                if len(bookings) > 1:
                    failure.add_note(f"It was statement {number} of the {len(bookings)} of its flight; none of them took effect.")
                return
        if isinstance(failure, IntegrityError):  # refused at the COMMIT
            self._plans.violations.explain(failure)

    # Statements.

    def fetch_all(self, statement: Statement[R]) -> FlightResult[list[R]]:
        """All rows of a statement; see `Transaction.fetch_all`.

        Raises:
            QueryError: the statement gives no rows, cannot be compiled, or writes where the flight may not. Nothing was sent.
            BindError: a value does not fit its type. Nothing was sent.
            UsageError: outside of the flight's block.
        """
        if isinstance(statement, Select) and statement.loads:
            steps, rows_of = self._with_loads(statement)
            return self._book_all("fetch_all", steps, rows_of)
        plan, parameters = self._for_rows(statement)
        return self._book("fetch_all", plan, parameters, plan.rows)

    def fetch_one(self, statement: Statement[R]) -> FlightResult[R]:
        """The only row of a statement; see `Transaction.fetch_one`."""
        if isinstance(statement, Select) and statement.loads:
            steps, rows_of = self._with_loads(statement)

            def one(results: Sequence[PGresult]) -> R:
                rows = rows_of(results)
                if len(rows) != 1:
                    raise not_one(len(rows), statement)
                return cast("R", rows[0])

            return self._book_all("fetch_one", steps, one)
        plan, parameters = self._for_rows(statement)
        return self._book("fetch_one", plan, parameters, lambda result: only_row(plan, result, statement))

    def fetch_optional(self, statement: Statement[R]) -> FlightResult[R | None]:
        """The only row of a statement, or None; see `Transaction.fetch_optional`."""
        if isinstance(statement, Select) and statement.loads:
            steps, rows_of = self._with_loads(statement)

            def one_or_none(results: Sequence[PGresult]) -> R | None:
                rows = rows_of(results)
                if len(rows) > 1:
                    raise not_one(len(rows), statement)
                return cast("R", rows[0]) if rows else None

            return self._book_all("fetch_optional", steps, one_or_none)
        plan, parameters = self._for_rows(statement)

        def finish(result: PGresult) -> R | None:
            if result.ntuples > 1:
                raise not_one(result.ntuples, statement)
            return cast("R", plan.row(result)) if result.ntuples else None

        return self._book("fetch_optional", plan, parameters, finish)

    def fetch_value(self, statement: Statement[R]) -> FlightResult[R]:
        """The only value of a statement; see `Transaction.fetch_value`."""
        plan, parameters = self._for_rows(statement)
        check_gives_value(plan, statement)
        return self._book("fetch_value", plan, parameters, lambda result: only_row(plan, result, statement))

    def execute(self, statement: Statement[Any]) -> FlightResult[int]:
        """The number of rows that a statement inserted, changed, deleted or selected; see `Transaction.execute`."""
        plan, values = self._plans.plan(statement)
        return self._book("execute", plan, plan.pack(values), _changed_rows)

    def notify(self, channel: str, payload: str = "") -> FlightResult[int]:
        """Send a notification with the commit; see `Transaction.notify`."""
        from trioorm.database.listening import notify_statement  # few need it

        return self.execute(notify_statement(channel, payload))

    # Objects.

    def get(self, model: type[M], *key: object) -> FlightResult[M]:
        """The object with a primary key; see `Transaction.get`."""
        plan, parameters = self._plans.known.find_by_key(model, key)
        if plan is None or parameters is None:
            plan, parameters = learn_by_key(self._plans, model, key)
        found = plan

        def finish(result: PGresult) -> M:
            if result.ntuples != 1:
                raise not_one(result.ntuples, select_by_key(model, key))
            return cast("M", found.row(result))

        return self._book("get", plan, parameters, finish)

    def insert(self, made: M) -> FlightResult[M]:
        """The row of an object that is inserted; see `Transaction.insert`."""
        return self._write("insert", made, insert_object)

    def insert_many(self, objects: Iterable[M]) -> FlightResult[list[M]]:
        """The rows of objects that are inserted; see `Transaction.insert_many`."""
        batch = list(objects)
        prepared = [self._plans.plan(statement) for statement in insert_objects(batch)] if batch else []
        plans = [plan for plan, _ in prepared]
        for plan in plans:
            self._check_may_write(plan.compiled.text, is_write=plan.is_write)
        steps = [plan.step(values) for plan, values in prepared]
        return self._book_all("insert_many", steps, lambda results: inserted_rows(batch, plans, results), batch)

    def update(self, changed: M, *, since: M | None = None) -> FlightResult[M]:
        """The row of an object that is written; see `Transaction.update`.

        Raises:
            UsageError: with `commit=True`: that there is no such row is known only when all is committed.
        """
        self._must_be_undoable("update")
        must_be_object(changed, "update")
        if since is None:
            return self._write("update", changed, update_object)
        values = changes_of(changed, since)
        if values is None:
            return self._book_all("update", [], lambda _: evolve(changed))
        statement = patch_by_key(type(changed), key_of(since), values)
        plan, parameters = self._for_rows(statement)
        return self._book("update", plan, parameters, _written_row(plan, "update", changed, lambda _: statement), (changed,))

    def patch(self, model: type[M], /, *key: object, **values: object) -> FlightResult[M]:
        """The row with a key, some columns of which are written; see `Transaction.patch`. For `commit=True` see `update`."""
        self._must_be_undoable("patch")
        statement = patch_by_key(model, key, values)
        plan, parameters = self._for_rows(statement)

        def finish(result: PGresult) -> M:
            if not result.ntuples:
                raise not_patched(model, key, values, statement, in_transaction=True)
            return only_row(plan, result, statement)

        return self._book("patch", plan, parameters, finish)

    def delete(self, gone: Model) -> FlightResult[None]:
        """Delete an object's row; see `Transaction.delete`. For `commit=True` see `update`."""
        self._must_be_undoable("delete")
        plan, parameters = plan_for_object(self._plans, "delete", gone, delete_object)

        def finish(result: PGresult) -> None:
            if not result.command_tuples:
                raise not_written(gone, delete_object(gone), "delete", in_transaction=True)

        return self._book("delete", plan, parameters, finish)

    def upsert(self, made: M, *, on: Column[Any] | Sequence[Column[Any]] = ()) -> FlightResult[M]:
        """The row of an object that is inserted, or written to the row with its key; see `Transaction.upsert`.

        Raises:
            UsageError: with `commit=True`, an object with a version: that its row has another is known only when all is committed.
        """
        if is_versioned(must_be_object(made, "upsert")):
            self._must_be_undoable("upsert")
        columns = (on,) if isinstance(on, Column) else tuple(on)
        return self._write("upsert", made, partial(upsert_object, on=columns), columns)

    # Booking.

    def _write(self, verb: ObjectVerb, written: M, build: Callable[[M], Statement[M]], how: object = None) -> FlightResult[M]:
        plan, parameters = plan_for_object(self._plans, verb, written, build, how)
        return self._book(verb, plan, parameters, _written_row(plan, verb, written, build), (written,))

    def _for_rows(self, statement: Statement[Any]) -> tuple[Plan, Sequence[bytes | None]]:
        plan, values = self._plans.plan(statement)
        if not plan.gives_rows:
            check_gives_rows(plan, statement)
        return plan, plan.pack(values)

    def _with_loads(self, statement: Select[Any]) -> tuple[list[Step], Callable[[Sequence[PGresult]], list[Any]]]:
        """The steps of a select with loads, and what makes rows of their results."""
        plan, steps, rows_of = steps_of_load(self._plans, statement)
        self._check_may_write(statement, is_write=plan.is_write)
        return steps, rows_of

    def _check_may_write(self, shown: object, *, is_write: bool) -> None:
        if is_write and self._refused is not None:
            raise QueryError(f"{self._refused}\n{shown}")
        self._is_write |= is_write

    def _book(
        self, verb: str, plan: Plan, parameters: Sequence[bytes | None], finish: Finish[T], objects: Sequence[Model] = ()
    ) -> FlightResult[T]:
        """Take one statement along, whose answer is made by `finish`."""
        bookings, steps = self._bookings, self._steps
        if bookings is None:
            raise self._not_open(verb)
        if plan.is_write:
            if self._refused is not None:
                raise QueryError(f"{self._refused}\n{plan.compiled.text}")
            self._is_write = True
        result: FlightResult[T] = FlightResult()
        result._number = len(bookings) + 1
        result._verb = verb
        result._place = len(steps)
        result._objects = objects
        result._finish = finish
        result._error = None
        steps.append(Step(plan.statement, parameters, plan.formats))
        bookings.append(result)
        return result

    def _book_all(self, verb: str, more: Sequence[Step], finish: FinishAll[T], objects: Sequence[Model] = ()) -> FlightResult[T]:
        """The same for several statements, or none, with one answer."""
        bookings, steps = self._bookings, self._steps
        if bookings is None:
            raise self._not_open(verb)
        result: FlightResult[T] = FlightResult()
        result._number = len(bookings) + 1
        result._verb = verb
        result._place = slice(len(steps), len(steps) + len(more))
        result._objects = objects
        result._finish = finish
        result._error = None
        steps += more
        bookings.append(result)
        return result

    def _not_open(self, verb: str) -> UsageError:
        state = "has been sent" if self._has_ended else "was not entered"
        return UsageError(
            f"{verb}() was called on a flight that {state}.\nTo fix it: async with ....flight() as flight: flight.{verb}(...)."
        )

    def _must_be_undoable(self, verb: str) -> None:
        if self._commits:
            raise UsageError(
                f"{verb}() must find its row, and in a flight with its COMMIT that is known only once all is committed. Nothing was sent.\n"
                "To fix it, one of:\n"
                f"  1. flight.execute({'delete' if verb == 'delete' else 'update'}(...).where(...)), and look at the number of rows behind "
                f"the block\n  2. async with db.transaction() as tx: await tx.{verb}(...)"
            )


def open_flight(runner: FlightRunner, plans: PlanCache, refused: str | None = None, commits: bool = False) -> Flight:
    """A flight to be entered. A function, because calling a class whose making runs Python takes three times as long.

    Args:
        runner: sends the statements.
        plans: the database's.
        refused: why writes are refused; None where they are not.
        commits: it ends with its COMMIT.
    """
    made = Flight()
    made._runner = runner
    made._plans = plans
    made._refused = refused
    made._commits = commits
    made._is_write = made._has_ended = False
    made._bookings = None
    made._steps = []
    return made
