"""`copy_in` and `copy_out`: many rows, by COPY."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

from trioorm.database.plan import PlanCache
from trioorm.database.repeats import OPEN_SCOPES, note_objects, note_statement
from trioorm.errors import IntegrityError, QueryError
from trioorm.expression import Column
from trioorm.model import Model, model_of
from trioorm.query import Query, Statement, select
from trioorm.transaction import Runner

if TYPE_CHECKING:
    from trioorm.database.copying import ConflictAction
    from trioorm.database.copying_out import CopyBlock, CopyFormat
    from trioorm.database.streaming import RowsBlock
    from trioorm.query import Identifier

__all__ = ["CopyVerbs"]

R = TypeVar("R")
M = TypeVar("M", bound=Model)

_BATCH_ROWS = 500
_OPTIONS: dict[CopyFormat, str] = {"csv": "FORMAT csv", "text": "FORMAT text", "binary": "FORMAT binary"}


class CopyVerbs:
    """The verbs for many rows; part of `Verbs`."""

    _runner: Runner
    _plans: PlanCache

    @overload
    async def copy_in(
        self,
        table: type[M],
        rows: Iterable[M] | AsyncIterable[M],
        *,
        on_conflict: ConflictAction | None = None,
        on: Column[Any] | Sequence[Column[Any]] = (),
        on_progress: Callable[[int], None] | None = None,
    ) -> int: ...
    @overload
    async def copy_in(
        self,
        table: type[Model],
        rows: Iterable[Sequence[object]] | AsyncIterable[Sequence[object]],
        *,
        columns: Sequence[Column[Any]],
        on_conflict: ConflictAction | None = None,
        on: Column[Any] | Sequence[Column[Any]] = (),
        on_progress: Callable[[int], None] | None = None,
    ) -> int: ...
    @overload
    async def copy_in(
        self,
        table: Identifier,
        rows: Iterable[Sequence[object]] | AsyncIterable[Sequence[object]],
        *,
        columns: Sequence[str],
        on_conflict: ConflictAction | None = None,
        on: str | Sequence[str] = (),
        on_progress: Callable[[int], None] | None = None,
    ) -> int: ...
    async def copy_in(
        self,
        table: type[Model] | Identifier,
        rows: Iterable[object] | AsyncIterable[object],
        *,
        columns: Sequence[Column[Any] | str] = (),
        on_conflict: ConflictAction | None = None,
        on: Column[Any] | str | Sequence[Column[Any] | str] = (),
        on_progress: Callable[[int], None] | None = None,
    ) -> int:
        """Load objects, or rows of values, by COPY, the fastest way in; all or none.

        The server checks foreign keys only at the end of a COPY, which can take longer than the rows themselves; to see progress there too,
        copy in parts inside one transaction.

        Args:
            table: its class; or `identifier("events")`, `identifier("shop", "events")`, for a table without one, whose columns' types are
                asked of the server.
            rows: objects of the class, or tuples of values when `columns` are given: an iterable of either kind, which is read as the
                server takes the rows. The first object decides which of the columns that the server can fill are sent. An asynchronous
                iterable is read by a task of its own, at most 500 rows ahead.
            columns: of the values in each tuple, in their order; by name where the table has no class. Enums are texts there.
            on_conflict: "do_nothing" leaves rows that exist already as they are, "do_update" writes all other columns that are sent to
                them. The rows go through a temporary table, in one transaction. A row that comes twice is an error for "do_update".
            on: the columns whose unique constraint decides; for "do_update" the primary key of the class when none are given, else any.
            on_progress: called now and then with the number of rows sent so far; `show_progress()` draws a bar.

        Returns:
            The number of rows written.

        Raises:
            QueryError: an object of another class, one that sets other columns than the first, a tuple of another length, or a value
                whose class does not fit. Nothing was written.
            Others: as `insert`, and whatever `rows` raises. Nothing was written.

        Checkpoint: always; at least once every 500 rows.
        """
        from trioorm.database.copying import OnConflict, copy_rows  # few need it
        from trioorm.query import Identifier

        decides = (on,) if isinstance(on, Column | str) else tuple(on)
        if decides and on_conflict is None:
            raise QueryError('copy_in(on=...) says nothing without on_conflict.\nTo fix it: on_conflict="do_nothing" or "do_update".')
        conflict = None if on_conflict is None else OnConflict(on_conflict, decides)
        if not isinstance(table, Identifier):
            self._plans.violations.learn_model(model_of(table))
            if OPEN_SCOPES:
                note_objects(self._plans, "copy_in", table)
        try:
            if conflict is None or self._runner.in_transaction:
                return await copy_rows(self._runner, table, rows, columns=columns, on_conflict=conflict, on_progress=on_progress)
            async with self._own_transaction() as runner:
                return await copy_rows(runner, table, rows, columns=columns, on_conflict=conflict, on_progress=on_progress)
        except IntegrityError as error:
            self._plans.violations.explain(error)
            raise

    @overload
    def copy_out(self, source: type[M]) -> RowsBlock[M]: ...
    @overload
    def copy_out(self, source: Statement[R]) -> RowsBlock[R]: ...
    @overload
    def copy_out(self, source: type[Model] | Statement[Any], *, format: Literal["csv"], header: bool = False) -> CopyBlock: ...
    @overload
    def copy_out(self, source: type[Model] | Statement[Any], *, format: CopyFormat) -> CopyBlock: ...
    def copy_out(
        self, source: type[Model] | Statement[Any], *, format: CopyFormat | None = None, header: bool = False
    ) -> RowsBlock[Any] | CopyBlock:
        """Read many rows: as objects or tuples, or, with `format`, as the bytes that the server writes.

            async with db.copy_out(User, format="csv", header=True) as blocks:
                async for block in blocks:
                    await file.write(block)

        Without `format` it is `stream`, which is faster than COPY is where rows become objects. The block holds a connection, or its
        transaction's turn, until it ends; leaving it early stops the statement on the server. A slow consumer slows the server down.

        COPY takes no bind values, so a query that has some is first run into a temporary table on the server, by one transaction: the
        first bytes come when its last row is made, and the transaction must be one that writes, not one with `read_only=True`.

        Args:
            source: a model, for all rows of its table, or a query.
            format: "csv", "text" (PostgreSQL's own, tab-separated) or "binary"; the bytes are UTF-8 in the first two, timestamps in UTC.
            header: for "csv", a first line with the names of the columns.

        Raises:
            QueryError: no query, or on a snapshot one with bind values. Nothing was sent.
            Others: as `stream`.

        Checkpoint: entering always; the iteration once a block of some 64 KiB.
        """
        from trioorm.query import Sql, TypedSql  # few need it

        query = source if isinstance(source, Statement) else select(source)
        plan, values = self._plans.plan(query)
        if not plan.gives_rows or not isinstance(query, Query | Sql | TypedSql):
            raise QueryError(
                f"copy_out copies the rows of a query, and this is none:\n{query}\n"
                "To fix it: run it with `execute`; what it returns can be read with `fetch_all` or `stream`."
            )
        if OPEN_SCOPES:
            note_statement(self._plans, query)
        if query.loads:
            raise QueryError("copy_out loads no relations.\nTo fix it: stream(...), which loads them batch by batch; or leave load() out.")
        if format is None:
            if header:
                _refuse_header()
            from trioorm.database.streaming import RowsBlock  # few need it

            return RowsBlock(self._runner, plan, plan.step(values), batch_rows=_BATCH_ROWS)
        if format not in _OPTIONS:
            raise QueryError(f"copy_out(format=...) is 'csv', 'text' or 'binary', not {format!r}.\nTo fix it: choose one of them.")
        if header and format != "csv":
            _refuse_header()
        from trioorm.database.copying_out import CopyBlock  # few need it

        own = self._own_transaction if values and not self._runner.in_transaction else None
        if values:
            self._check_can_stage()
        return CopyBlock(self._runner, plan.step(values), _OPTIONS[format] + (", HEADER" if header else ""), own=own)

    def _check_can_stage(self) -> None:
        """Refuse a temporary table where none can be made."""

    def _own_transaction(self) -> AbstractAsyncContextManager[Runner]:
        """A transaction for a verb that needs several statements; inside one, a savepoint."""
        raise NotImplementedError


def _refuse_header() -> NoReturn:
    raise QueryError('copy_out(header=True) is for format="csv".\nTo fix it: leave it out, or ask for csv.')
