"""The verbs that make and remove tables, views, indexes and what else a schema holds.

The contract: the texts come from `compiler/`; here they are run, all of one verb in one flight where PostgreSQL lets them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from psycopg.pq import Format

from trioorm.errors import QueryError
from trioorm.expression import quote_qualified
from trioorm.expression.shape import Source
from trioorm.model import Model, model_of
from trioorm.transaction import Runner
from trioorm.wire import Statement, Step, command

if TYPE_CHECKING:
    from trioorm.compiler import SchemaPart

__all__ = ["SchemaVerbs"]

_DROP_INVALID = Statement(
    b"SELECT format('DROP INDEX CONCURRENTLY %I.%I', n.nspname, c.relname) FROM pg_index AS i"
    b" JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace"
    b" WHERE NOT i.indisvalid AND i.indrelid = to_regclass($1) AND c.relname = $2",
    (25, 25),
)


class SchemaVerbs:
    """The verbs for whole schemas; part of `Verbs`."""

    _runner: Runner

    async def create_schema(self, *parts: SchemaPart) -> None:
        """Create tables and views of models, sequences and extensions, in the order in which they depend on each other.

        With them come their schemas, enum types, constraints, indexes and comments. All or nothing, in one trip. Schemas and extensions may
        be there already.

        Raises:
            DatabaseError: something of that name exists, or may not be made.
            ModelError: the models refer to one that is not among them and is no table yet known.

        Checkpoint: always.
        """
        from trioorm.compiler import create_schema_statements  # few need it, here and below

        await self._run_commands(create_schema_statements(parts))

    async def drop_schema(self, *parts: SchemaPart) -> None:
        """Drop what `create_schema` creates, where it exists. All or nothing, in one trip. A schema goes when nothing is left in it.

        Raises:
            DatabaseError: something else depends on them.

        Checkpoint: always.
        """
        from trioorm.compiler import drop_schema_statements

        await self._run_commands(drop_schema_statements(parts))

    async def create_index(self, model: type[Model], name: str) -> None:
        """Create an index that a model declares, on its table or materialized view that is there already.

        One declared with `concurrently=True` does not block those who write to the table. It takes longer, runs outside of a transaction,
        and leaves an invalid index behind when it fails or is cancelled; an invalid one of that name is dropped first.

        Raises:
            ModelError: the model declares no such index. Nothing was sent.
            QueryError: it is concurrent, and this is a transaction. Nothing was sent.
            DatabaseError: an index of that name exists, or rows contradict it.

        Checkpoint: always.
        """
        from trioorm.compiler import create_index_statement

        text, concurrently = create_index_statement(model, name)
        if concurrently and self._runner.in_transaction:
            raise QueryError(
                f"the index {name!r} is declared concurrently=True, and PostgreSQL does not create such a one inside a transaction.\n"
                "To fix it: await db.create_index(...), on the database itself."
            )
        if concurrently:
            await self._drop_invalid_index(model_of(model).source, name)
        await self._run_commands([text])

    async def refresh(self, model: type[Model], *, concurrently: bool = False, with_data: bool = True) -> None:
        """Compute the rows of a materialized view anew.

        Args:
            model: the model of the view.
            concurrently: let others read the old rows meanwhile; the view needs a unique index without condition for it.
            with_data: False empties the view, which cannot be read until it is refreshed.

        Raises:
            ModelError: the model is no materialized view. Nothing was sent.
            DatabaseError: the query failed, or no index allows it concurrently.

        Checkpoint: always.
        """
        from trioorm.compiler import refresh_statement

        await self._run_commands([refresh_statement(model, concurrently=concurrently, with_data=with_data)])

    async def _drop_invalid_index(self, table: Source, name: str) -> None:
        """Drop what an earlier attempt to make the index left behind."""
        values = [quote_qualified(table.table, table.schema).encode(), name.encode()]
        (found,) = await self._runner.run([Step(_DROP_INVALID, values, [Format.TEXT] * 2)], is_write=False)
        texts = [found.get_value(row, 0) for row in range(found.ntuples)]
        await self._run_commands([text.decode() for text in texts if text is not None])

    async def _run_commands(self, texts: Sequence[str]) -> None:
        if texts:
            await self._runner.run([command(text.encode()) for text in texts], is_write=True)
