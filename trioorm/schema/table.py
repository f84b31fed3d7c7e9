"""Tables as records: columns, keys, constraints, indexes. What `CREATE TABLE` says, without its spelling.

The contract: a `Table` is complete and resolved; every constraint and index has its name. Records are frozen and compared by value, so
two of them can be told apart part by part. `compiler/` renders them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from trioorm.expression.shape import Shape, Source
from trioorm.expression.types import SqlType
from trioorm.schema.deferring import AT_ONCE, Deferral, OnDelete
from trioorm.schema.sequences import Identity

IndexMethod: TypeAlias = Literal["btree", "hash", "gin", "gist", "spgist", "brin", "hnsw", "ivfflat"]
"""How an index is built. The last two are pgvector's."""

IndexOption: TypeAlias = bool | int | float | str


@attrs.frozen
class Formula:
    """An expression in a definition. Its values are constants there, for DDL takes no bind values."""

    shape: Shape
    constants: tuple[object, ...]


@attrs.frozen
class TableColumn:
    """A column as the table has it.

    Attributes:
        identity: the server numbers the rows.
        server_default: what the server puts where nothing was given.
        generated_as: the column is computed from others; it cannot be written.
        stored: a computed column is computed when the row is written, not at each read.
    """

    name: str
    type: SqlType
    nullable: bool
    identity: Identity | None = None
    server_default: Formula | None = None
    generated_as: Formula | None = None
    stored: bool = True
    comment: str | None = None


@attrs.frozen
class Unique:
    name: str
    columns: tuple[str, ...]
    nulls_distinct: bool = True
    deferral: Deferral = AT_ONCE


@attrs.frozen
class Check:
    name: str
    condition: Formula


@attrs.frozen
class Exclusion:
    """No two rows for which all operators hold between their terms.

    Attributes:
        terms: each with its operator.
    """

    name: str
    terms: tuple[tuple[Formula, str], ...]
    method: IndexMethod = "gist"
    where: Formula | None = None
    deferral: Deferral = AT_ONCE


@attrs.frozen
class ForeignKey:
    name: str
    columns: tuple[str, ...]
    target_table: str
    target_columns: tuple[str, ...]
    on_delete: OnDelete = "no action"
    on_update: OnDelete = "no action"
    deferral: Deferral = AT_ONCE
    target_schema: str | None = None

    @property
    def target(self) -> Source:
        """The table that it refers to."""
        return Source(self.target_table, schema=self.target_schema)


@attrs.frozen
class IndexTerm:
    """A column or expression (with its direction, an `Ordered`) in an index, and the operator class that indexes it."""

    formula: Formula
    operator_class: str | None = None


@attrs.frozen
class Index:
    """An index over columns or expressions.

    Attributes:
        where: it holds only rows for which this is true.
        include: further columns that it carries, so that a query need not look into the table.
        options: of its method, such as `m` of hnsw; name and value.
        concurrently: added to a table that is there without blocking those who write to it. Not a part of the index itself, so it does not
            count when two are compared.
    """

    name: str
    terms: tuple[IndexTerm, ...]
    unique: bool = False
    method: IndexMethod = "btree"
    where: Formula | None = None
    include: tuple[str, ...] = ()
    nulls_distinct: bool = True
    options: tuple[tuple[str, IndexOption], ...] = ()
    concurrently: bool = attrs.field(default=False, eq=False)


@attrs.frozen
class Table:
    name: str
    columns: tuple[TableColumn, ...]
    primary_key_name: str
    primary_key: tuple[str, ...]
    uniques: tuple[Unique, ...] = ()
    checks: tuple[Check, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    indexes: tuple[Index, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    comment: str | None = None
    schema: str | None = None

    @property
    def source(self) -> Source:
        """The table as statements name it."""
        return Source(self.name, schema=self.schema)
