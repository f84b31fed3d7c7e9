"""What the server's catalogue says of the columns of a table that has no model, so that COPY can pack their values.

The contract: a column has the type that the table has, or, for a domain, the one beneath. Enums are sent as the text of their labels,
since there is no Python enum to tell them by.

Source: https://www.postgresql.org/docs/current/catalog-pg-type.html
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from psycopg.pq import Format

from trioorm.database.codecs import Packer, binary_packer_for
from trioorm.errors import QueryError
from trioorm.expression import BIGINT, BOOLEAN, DOUBLE, INTEGER, JSONB, REAL, SMALLINT, TEXT, SqlType, array_of
from trioorm.expression.types import BUILT_IN
from trioorm.transaction import Runner
from trioorm.wire import Statement, Step

__all__ = ["CopiedColumn", "columns_of_table", "no_binary_form"]

_COLUMNS = Statement(
    b"SELECT a.attname, format_type(a.atttypid, a.atttypmod), b.oid::text, b.typname, b.typtype, e.oid::text, e.typname, e.typtype"
    b" FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid"
    b" JOIN pg_type AS b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END"
    b" LEFT JOIN pg_type AS e ON e.oid = b.typelem AND b.typcategory = 'A'"
    b" WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    (25,),
    Format.TEXT,
)

_TYPES: dict[str, SqlType] = {
    **{kind.name: kind for kind in BUILT_IN},
    "int2": SMALLINT, "int4": INTEGER, "int8": BIGINT, "float4": REAL, "float8": DOUBLE, "bool": BOOLEAN, "name": TEXT,
}  # fmt: skip


@frozen
class CopiedColumn:
    """One column of a COPY: its name, its type, and how its values are packed in binary."""

    name: str
    type: SqlType
    packer: Packer


async def columns_of_table(runner: Runner, table: str, names: Sequence[str]) -> list[CopiedColumn]:
    """The columns of a table by name, in the order asked for.

    Args:
        runner: what the catalogue is read with.
        table: its name, quoted.
        names: of the columns.

    Raises:
        UndefinedTable: there is no such table.
        QueryError: it has no such column, or one whose type has no binary form here.

    Checkpoint: always.
    """
    (result,) = await runner.run([Step(_COLUMNS, [table.encode()], [Format.TEXT])], is_write=False)
    rows = [[(result.get_value(row, at) or b"").decode() for at in range(8)] for row in range(result.ntuples)]
    found = {row[0]: row[1:] for row in rows}
    if missing := [name for name in names if name not in found]:
        raise QueryError(f"the table {table} has no column {missing[0]!r}.\nTo fix it: its columns are {', '.join(found)}.")
    return [_column(table, name, found[name]) for name in names]


def _column(table: str, name: str, row: Sequence[str]) -> CopiedColumn:
    shown, oid, type_name, kind, element_oid, element_name, element_kind = row
    if element_oid:
        sql_type, _ = _scalar(element_name, element_kind, int(element_oid))
        sql_type = None if sql_type is None or element_name == "json" else array_of(sql_type)
        packer = None if sql_type is None else binary_packer_for(sql_type, int(element_oid))
    else:
        sql_type, packer = _scalar(type_name, kind, int(oid))
    if sql_type is None or packer is None:
        raise no_binary_form(f"{table}.{name}", shown)
    return CopiedColumn(name, sql_type, packer)


def _scalar(name: str, kind: str, oid: int) -> tuple[SqlType | None, Packer | None]:
    """The type of that name, and how its values are packed, if they are known here."""
    if kind == "e":
        return TEXT, binary_packer_for(TEXT)
    if name == "json" and (jsonb := binary_packer_for(JSONB)) is not None:
        pack = jsonb.pack
        return JSONB, Packer(oid, 0, Format.BINARY, lambda value: pack(value)[1:])  # the same without jsonb's number of the version
    sql_type = _TYPES.get(name)
    packer = None if sql_type is None else binary_packer_for(sql_type)
    # A type of somebody's own may have the name of one of PostgreSQL's.
    if packer is None or (packer.oid not in (0, oid) and name != "name"):
        return None, None
    return sql_type, packer


def no_binary_form(column: str, type_name: str) -> QueryError:
    """The error for a column whose values cannot be packed for COPY."""
    return QueryError(
        f"{column} is {type_name}, which cannot travel by COPY: it has no binary form here.\n"
        "To fix it: insert it by a statement, or let the server fill the column."
    )
