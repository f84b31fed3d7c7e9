"""`db.copy_in(...)`: objects, or rows of values, into a table by binary COPY.

COPY knows no ON CONFLICT. Where one is wanted the rows go into a temporary table first, which lives no longer than the transaction, and
from there into the table by one INSERT; so it works through a pooler too.

Source: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from itertools import count
from typing import Any, Literal

from anyio.lowlevel import checkpoint
from attrs import frozen
from psycopg.pq import Format

from trioorm.database.catalogue import CopiedColumn, columns_of_table, no_binary_form
from trioorm.database.codecs import binary_packer_for
from trioorm.database.copy_encoding import Encoder, ObjectEncoder, ValuesEncoder, other_class
from trioorm.database.row_source import BATCH_ROWS, RowSource, row_source
from trioorm.errors import QueryError
from trioorm.expression import Column, SqlType, quote_identifier, quote_qualified, type_text
from trioorm.model import UNSET, FieldInfo, Model, ModelInfo, model_of
from trioorm.query import Identifier, field_named
from trioorm.transaction import Runner
from trioorm.wire import CopyIn, OnCancel, Statement, Step, after_cleanup, command

ConflictAction = Literal["do_nothing", "do_update"]
"""What becomes of a row that exists already."""

_numbers = count(1)

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_END = struct.pack("!h", -1)
_OID = Statement(b"SELECT $1::regtype::oid::text", (25,), Format.TEXT)


@frozen
class OnConflict:
    """What becomes of rows that exist already.

    Attributes:
        action: leave them as they are, or write the new values to them.
        columns: of the unique constraint that decides; the primary key when empty.
    """

    action: ConflictAction
    columns: Sequence[Column[Any] | str] = ()


async def copy_rows(
    runner: Runner,
    table: type[Model] | Identifier,
    rows: Iterable[object] | AsyncIterable[object],
    *,
    columns: Sequence[Column[Any] | str],
    on_conflict: OnConflict | None,
    on_progress: Callable[[int], None] | None,
) -> int:
    """See `CopyVerbs.copy_in`. With `on_conflict` the runner is a transaction."""
    async with row_source(rows) as source:
        first = await source.first()
        if not first:
            await checkpoint()
            return 0
        if isinstance(table, Identifier):
            target = table.text
            names = _named(columns)
            encoder: Encoder = ValuesEncoder(target, await columns_of_table(runner, target, names))
            decides = [] if on_conflict is None or not on_conflict.columns else _named(on_conflict.columns)
        else:
            info = model_of(table)
            target = quote_qualified(info.source.table, info.source.schema)
            encoder = await _encoder_for(runner, table, columns, first[0])
            decides = _deciding(info, on_conflict)
        if on_conflict is None:
            written = await _copy(runner, encoder, target, first, source, on_progress)
        else:
            sent = encoder.columns
            version = None if isinstance(table, Identifier) else model_of(table).version
            merge = _merge(decides, encoder.names, on_conflict, version)
            staging = quote_identifier(f"trioorm_copy_{next(_numbers)}")
            make = f"CREATE TEMPORARY TABLE {staging} ON COMMIT DROP AS SELECT {sent} FROM {target} WITH NO DATA"
            await runner.run([command(make.encode())], is_write=True)
            await _copy(runner, encoder, f"pg_temp.{staging}", first, source, on_progress)
            insert = f"INSERT INTO {target} ({sent}) SELECT {sent} FROM pg_temp.{staging} {merge}"
            steps = [command(insert.encode()), command(f"DROP TABLE pg_temp.{staging}".encode())]
            written = (await runner.run(steps, is_write=True))[0].command_tuples or 0
    if on_progress is not None:
        on_progress(written)
    return written


def _named(columns: Sequence[Column[Any] | str]) -> list[str]:
    """The columns of a table without a model, by name.

    Raises:
        QueryError: there are none, or something else than texts was given.
    """
    names = [] if isinstance(columns, str) else [column for column in columns if isinstance(column, str)]
    if not names or len(names) != len(columns):
        raise QueryError(
            f"the columns of a table without a model are given by name, and not as {columns!r}.\n"
            'To fix it: copy_in(identifier("events"), rows, columns=["id", "name"]).'
        )
    return names


def _deciding(info: ModelInfo, conflict: OnConflict | None) -> list[str]:
    """The columns that decide whether a row exists already."""
    if conflict is None:
        return []
    given = [field_named(info, column, "copy_in(on=...)") for column in conflict.columns]
    return [field.name for field in (given or (info.primary_key if conflict.action == "do_update" else ()))]


def _merge(decides: Sequence[str], names: Sequence[str], conflict: OnConflict, version: FieldInfo | None) -> str:
    """The ON CONFLICT clause."""
    columns = ", ".join(quote_identifier(name) for name in decides)
    if conflict.action == "do_nothing":
        return f"ON CONFLICT ({columns}) DO NOTHING" if decides else "ON CONFLICT DO NOTHING"
    counted = None if version is None or version.computed else version.name
    written = [quote_identifier(name) for name in names if name not in decides and name != counted]
    if not decides:
        raise QueryError(
            "copy_in cannot tell which rows exist already: the table has no model that names its primary key.\n"
            'To fix it: name the columns of a unique constraint in `on=`, or on_conflict="do_nothing".'
        )
    if not written:
        raise QueryError(
            "copy_in has no column to write to the rows that exist already: all that it sends decides which they are.\n"
            'To fix it: on_conflict="do_nothing", or name the columns that decide in `on=`.'
        )
    changes = [f"{name} = excluded.{name}" for name in written]
    if version is not None and counted is not None:
        name = quote_identifier(counted)
        changes.append(f"{name} = {quote_identifier(version.column.source.table)}.{name} + 1")
    return f"ON CONFLICT ({columns}) DO UPDATE SET {', '.join(changes)}"


async def _copy(
    runner: Runner,
    encoder: Encoder,
    target: str,
    first: list[object],
    source: RowSource,
    on_progress: Callable[[int], None] | None,
) -> int:
    async with runner.hold("a COPY") as connection:
        copy = CopyIn(connection, f"COPY {target} ({encoder.columns}) FROM STDIN (FORMAT binary)".encode())
        try:
            await copy.start()
            batch, sent, header = first, 0, _HEADER
            while batch:
                await copy.write(header + encoder.encode(batch) if header else encoder.encode(batch))
                header = b""
                sent += len(batch)
                if on_progress is not None and len(batch) == BATCH_ROWS:
                    on_progress(sent)
                batch = await source.next()
            await copy.write(_END)
            written = await copy.finish(on_cancel=OnCancel.STOP if runner.in_transaction else OnCancel.SETTLE)
        except BaseException as error:
            if (raised := after_cleanup(error, await copy.abort())) is not None and raised is not error:
                raise raised from None
            raise
    return written


def _fields_to_send(model: type[Model], first: object) -> list[FieldInfo]:
    """The columns of the COPY: those that the first object sets. What the server is to fill is left out in all rows."""
    if type(first) is not model:
        raise other_class(model, first)
    return [field for field in model_of(model).writable if getattr(first, field.attribute) is not UNSET]


async def _encoder_for(runner: Runner, model: type[Model], columns: Sequence[Column[Any] | str], first: object) -> Encoder:
    """What packs rows for a model's table."""
    info = model_of(model)
    given = [field_named(info, column, "copy_in(columns=...)") for column in columns]
    fields = given or _fields_to_send(model, first)
    copied = [await _copied(runner, model, field) for field in fields]
    return ValuesEncoder(model.__qualname__, copied) if given else ObjectEncoder(model, fields, copied)


async def _copied(runner: Runner, model: type[Model], field: FieldInfo) -> CopiedColumn:
    """How a column is packed; an array of a type without a fixed oid needs that type's, which only the database knows."""
    element = field.type.bound.element
    oid = await _oid_of(runner, element) if element is not None and not element.has_fixed_oid else 0
    packer = binary_packer_for(field.type, oid)
    if packer is None:
        raise no_binary_form(f"{model.__qualname__}.{field.attribute}", field.type.name)
    return CopiedColumn(field.name, field.type, packer)


async def _oid_of(runner: Runner, sql_type: SqlType) -> int:
    (result,) = await runner.run([Step(_OID, [type_text(sql_type.bound).encode()], [Format.TEXT])], is_write=False)
    return int(result.get_value(0, 0) or b"0")
