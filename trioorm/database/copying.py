"""`db.copy_in(...)`: objects into a table by binary COPY.

Source: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

import struct
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from operator import attrgetter
from typing import TypeVar, cast

from anyio.lowlevel import checkpoint
from psycopg.pq import Format

from trioorm.database.codecs import MISFITS, Packer, binary_packer_for, framed, misfit
from trioorm.errors import QueryError
from trioorm.expression import SqlType, quote_identifier, quote_qualified, type_text
from trioorm.model import UNSET, FieldInfo, Model, model_of
from trioorm.transaction import Runner
from trioorm.wire import CopyIn, OnCancel, Statement, Step, after_cleanup

M = TypeVar("M", bound=Model)

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_END = struct.pack("!h", -1)
_NULL = struct.pack("!i", -1)
_CHUNK_ROWS = 500
_OID = Statement(b"SELECT $1::regtype::oid::text", (25,), Format.TEXT)


async def copy_objects(
    runner: Runner, model: type[M], objects: Iterable[M] | AsyncIterable[M], on_progress: Callable[[int], None] | None
) -> int:
    """See `Verbs.copy_in`."""
    async with aclosing(_iterate(objects)) as source:
        first = await anext(source, None)
        if first is None:
            await checkpoint()
            return 0
        fields = _fields_to_send(model, first)
        encoder = _RowEncoder(model, fields, await _packers(runner, model, fields))
        async with runner.hold("a COPY") as connection:
            copy = CopyIn(connection, encoder.statement)
            try:
                await copy.start()
                async with aclosing(_chunks(encoder, first, source, on_progress)) as chunks:
                    async for chunk in chunks:
                        await copy.write(chunk)
                written = await copy.finish(on_cancel=OnCancel.STOP if runner.in_transaction else OnCancel.SETTLE)
            except BaseException as error:
                if (raised := after_cleanup(error, await copy.abort())) is not None and raised is not error:
                    raise raised from None
                raise
    if on_progress is not None:
        on_progress(written)
    return written


async def _chunks(
    encoder: "_RowEncoder", first: M, rest: AsyncIterator[M], on_progress: Callable[[int], None] | None
) -> AsyncGenerator[bytes]:
    """The rows as bytes, some hundreds at a time, with a checkpoint before each, since a fast server never makes us wait."""
    parts = [_HEADER, encoder.encode(first)]
    rows = 1
    async for row in rest:
        parts.append(encoder.encode(row))
        rows += 1
        if rows % _CHUNK_ROWS == 0:
            await checkpoint()
            yield b"".join(parts)
            parts.clear()
            if on_progress is not None:
                on_progress(rows)
    await checkpoint()
    yield b"".join([*parts, _END])


async def _iterate(objects: Iterable[M] | AsyncIterable[M]) -> AsyncGenerator[M]:
    if isinstance(objects, AsyncGenerator):
        generator = cast("AsyncGenerator[M]", objects)
        async with aclosing(generator):  # it was handed over, and nobody else can close it
            async for item in generator:
                yield item
    elif isinstance(objects, AsyncIterable):
        async for item in objects:
            yield item
    else:
        for item in objects:
            yield item


def _fields_to_send(model: type[Model], first: Model) -> list[FieldInfo]:
    """The columns of the COPY: those that the first object sets. What the server is to fill is left out in all rows."""
    if type(first) is not model:
        raise _other_class(model, first)
    return [field for field in model_of(model).writable if getattr(first, field.attribute) is not UNSET]


def _other_class(model: type[Model], row: Model) -> QueryError:
    return QueryError(f"copy_in of {model.__qualname__} met a {type(row).__qualname__}.\nTo fix it: one class for each copy_in.")


async def _packers(runner: Runner, model: type[Model], fields: Sequence[FieldInfo]) -> list[Packer]:
    """How to pack each column in binary; an array of a type without a fixed oid needs that type's, which only the database knows."""
    packers: list[Packer] = []
    for field in fields:
        element = field.type.bound.element
        oid = await _oid_of(runner, element) if element is not None and not element.has_fixed_oid else 0
        packer = binary_packer_for(field.type, oid)
        if packer is None:
            raise QueryError(
                f"{model.__qualname__}.{field.attribute} is {field.type.name}, which cannot travel by COPY: it has no binary form here.\n"
                "To fix it: insert_many, or let the server fill the column."
            )
        packers.append(packer)
    return packers


async def _oid_of(runner: Runner, sql_type: SqlType) -> int:
    (result,) = await runner.run([Step(_OID, [type_text(sql_type.bound).encode()], [Format.TEXT])], is_write=False)
    return int(result.get_value(0, 0) or b"0")


class _RowEncoder:
    """Rows of one model in the binary format of COPY."""

    def __init__(self, model: type[Model], fields: Sequence[FieldInfo], packers: Sequence[Packer]) -> None:
        self._model = model
        self._read = _reader([field.attribute for field in fields])
        self._left_out = [field.attribute for field in model_of(model).writable if field not in fields]
        self._types = [field.type for field in fields]
        self._packers = packers
        self._framed = [framed(packer) for packer in packers]
        self._count = struct.pack("!h", len(fields))
        columns = ", ".join(quote_identifier(field.name) for field in fields)
        source = model_of(model).source
        self.statement = f"COPY {quote_qualified(source.table, source.schema)} ({columns}) FROM STDIN (FORMAT binary)".encode()

    def encode(self, row: Model) -> bytes:
        """One object as bytes.

        Raises:
            QueryError: it is of another class, or sets other columns than the first one.
            BindError: a value does not fit.
        """
        if type(row) is not self._model:
            raise _other_class(self._model, row)
        if self._left_out and any(getattr(row, attribute) is not UNSET for attribute in self._left_out):
            raise _ragged()
        values = self._read(row)
        try:
            cells = [_NULL if value is None else pack(value) for pack, value in zip(self._framed, values, strict=True)]
        except MISFITS:
            if UNSET in values:
                raise _ragged() from None
            raise misfit(self._packers, values, self._types) from None
        return self._count + b"".join(cells)


def _ragged() -> QueryError:
    return QueryError(
        "copy_in met an object that sets other columns than the first object, which decides what is sent.\n"
        "A COPY has the same columns in every row. To fix it: set a column in all objects or leave it unset in all, or use insert_many."
    )


def _reader(attributes: Sequence[str]) -> Callable[[object], tuple[object, ...]]:
    """What reads these attributes of an object, as a tuple also when there is only one."""
    read = attrgetter(*attributes)
    return read if len(attributes) > 1 else lambda row: (read(row),)
