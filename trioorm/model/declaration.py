"""`column(...)`: what a model says about one of its columns.

The contract: to type checkers this is a field specifier (PEP 681). A field may be left out of the constructor when `default` or
`default_factory` is given; columns that the server fills (`generated`, `generated_as`, `server_default`) are no constructor arguments
to type checkers, unless `default=UNSET` makes them optional ones. At run time they are always optional ones, so that `attrs.evolve`
keeps a generated key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Never, TypeVar, overload

import attrs

from trioorm.errors import ModelError
from trioorm.expression.column import Column
from trioorm.expression.expression import Expression
from trioorm.expression.types import SqlType
from trioorm.model.unset import UNSET, Unset
from trioorm.schema.deferring import AT_ONCE, Deferral, OnDelete, deferral

if TYPE_CHECKING:
    from trioorm.expression.user_types import JsonCodec
    from trioorm.schema.sequences import Identity

T = TypeVar("T")

_NOT_SAID = object()


@attrs.frozen(eq=False, repr=False)
class ColumnDeclaration:
    """The arguments of one `column(...)`, as given."""

    primary_key: bool = False
    generated: bool | Identity = False
    generated_as: Callable[[], Expression[object]] | None = None
    stored: bool = True
    default: object = UNSET
    default_factory: Callable[[], object] | None = None
    server_default: object = UNSET
    unique: bool = False
    index: bool = False
    check: Callable[[Expression[Never]], Expression[bool]] | None = None
    references: Expression[object] | Callable[[], Expression[object]] | str | None = None
    on_delete: OnDelete = "no action"
    on_update: OnDelete = "no action"
    deferral: Deferral = AT_ONCE
    type: SqlType | None = None
    json: bool | JsonCodec = False
    name: str | None = None
    comment: str | None = None
    version: bool | Literal["xmin"] = False
    optional: bool = False


@overload
def column(
    *, version: Literal[True, "xmin"], name: str | None = ..., comment: str | None = ..., init: Literal[False] = ...
) -> Column[int]: ...
@overload
def column(
    *,
    default: T | Unset,
    generated: bool | Identity = ...,
    server_default: T | Expression[T] = ...,
    primary_key: bool = ...,
    unique: bool = ...,
    index: bool = ...,
    check: Callable[[Expression[T]], Expression[bool]] | None = ...,
    references: Expression[object] | Callable[[], Expression[object]] | str | None = ...,
    on_delete: OnDelete = ...,
    on_update: OnDelete = ...,
    deferrable: bool = ...,
    initially_deferred: bool = ...,
    type: SqlType | None = ...,
    json: bool | JsonCodec = ...,
    name: str | None = ...,
    comment: str | None = ...,
) -> Column[T]: ...
@overload
def column(
    *,
    default_factory: Callable[[], T],
    server_default: T | Expression[T] = ...,
    primary_key: bool = ...,
    unique: bool = ...,
    index: bool = ...,
    check: Callable[[Expression[T]], Expression[bool]] | None = ...,
    references: Expression[object] | Callable[[], Expression[object]] | str | None = ...,
    on_delete: OnDelete = ...,
    on_update: OnDelete = ...,
    deferrable: bool = ...,
    initially_deferred: bool = ...,
    type: SqlType | None = ...,
    json: bool | JsonCodec = ...,
    name: str | None = ...,
    comment: str | None = ...,
) -> Column[T]: ...
@overload
def column(
    *,
    generated: Literal[True] | Identity,
    primary_key: bool = ...,
    unique: bool = ...,
    index: bool = ...,
    check: Callable[[Expression[T]], Expression[bool]] | None = ...,  # pyright: ignore[reportInvalidTypeVarUse] - the annotation solves it
    references: Expression[object] | Callable[[], Expression[object]] | str | None = ...,
    on_delete: OnDelete = ...,
    on_update: OnDelete = ...,
    deferrable: bool = ...,
    initially_deferred: bool = ...,
    type: SqlType | None = ...,
    json: bool | JsonCodec = ...,
    name: str | None = ...,
    comment: str | None = ...,
    init: Literal[False] = ...,
) -> Column[T]: ...
@overload
def column(
    *,
    generated_as: Callable[[], Expression[T]],
    stored: bool = ...,
    unique: bool = ...,
    index: bool = ...,
    check: Callable[[Expression[T]], Expression[bool]] | None = ...,
    type: SqlType | None = ...,
    json: bool | JsonCodec = ...,
    name: str | None = ...,
    comment: str | None = ...,
    init: Literal[False] = ...,
) -> Column[T]: ...
@overload
def column(
    *,
    server_default: T | Expression[T],
    primary_key: bool = ...,
    unique: bool = ...,
    index: bool = ...,
    check: Callable[[Expression[T]], Expression[bool]] | None = ...,
    references: Expression[object] | Callable[[], Expression[object]] | str | None = ...,
    on_delete: OnDelete = ...,
    on_update: OnDelete = ...,
    deferrable: bool = ...,
    initially_deferred: bool = ...,
    type: SqlType | None = ...,
    json: bool | JsonCodec = ...,
    name: str | None = ...,
    comment: str | None = ...,
    init: Literal[False] = ...,
) -> Column[T]: ...
@overload
def column(
    *,
    primary_key: bool = ...,
    unique: bool = ...,
    index: bool = ...,
    check: Callable[[Expression[T]], Expression[bool]] | None = ...,  # pyright: ignore[reportInvalidTypeVarUse] - the annotation solves it
    references: Expression[object] | Callable[[], Expression[object]] | str | None = ...,
    on_delete: OnDelete = ...,
    on_update: OnDelete = ...,
    deferrable: bool = ...,
    initially_deferred: bool = ...,
    type: SqlType | None = ...,
    json: bool | JsonCodec = ...,
    name: str | None = ...,
    comment: str | None = ...,
) -> Column[T]: ...
def column(
    *,
    primary_key: bool = False,
    generated: bool | Identity = False,
    generated_as: Callable[[], Expression[object]] | None = None,
    stored: bool = True,
    default: object = _NOT_SAID,
    default_factory: Callable[[], object] | None = None,
    server_default: object = UNSET,
    unique: bool = False,
    index: bool = False,
    check: Callable[[Expression[Never]], Expression[bool]] | None = None,
    references: Expression[object] | Callable[[], Expression[object]] | str | None = None,
    on_delete: OnDelete = "no action",
    on_update: OnDelete = "no action",
    deferrable: bool = False,
    initially_deferred: bool = False,
    type: SqlType | None = None,
    json: bool | JsonCodec = False,
    name: str | None = None,
    comment: str | None = None,
    version: bool | Literal["xmin"] = False,
    init: Literal[False] = False,
) -> object:
    """Say more about a column than its annotation does.

    Args:
        primary_key: part of the primary key; several such columns make it a composite one.
        generated: the server numbers the rows (an identity column); whole numbers only. `identity(...)` says more, such as where to start.
        generated_as: the server computes the column from others of the row: `lambda: Item.price * Item.amount`.
        stored: a computed column is computed when its row is written; False: at each read (PostgreSQL 18 and later).
        default: the value when the constructor gets none. `UNSET` leaves it to the server, or to an insert of a graph, which fills foreign
            keys.
        default_factory: called for each object to make that value.
        server_default: what the server puts where nothing was given: a value or an expression such as `now()`.
        unique: no two rows have the same value.
        index: make an index over this column.
        check: a condition that every row fulfils, from the column: `lambda age: age >= 0`.
        references: the column of another table that this one's values must be found in: a column, a lambda that gives one later, or
            `"table.column"`.
        on_delete: what happens to this row when the row it refers to is deleted.
        on_update: the same, when the key it refers to is changed.
        deferrable: a transaction may put the check of `references` off to its COMMIT.
        initially_deferred: it is put off unless the transaction says otherwise.
        type: the PostgreSQL type, where the annotation's usual one is not meant: `SMALLINT`, `NUMERIC(10, 2)`.
        json: keep the value as jsonb: of an attrs class, dataclass or pydantic model, a list of these, or whatever a `JsonCodec` turns
            into JSON.
        name: of the column in PostgreSQL, where it is not the attribute's.
        comment: kept beside the column by the server, for people who look into the database.
        version: this number tells whether a row was changed since an object was fetched: `update`, `delete` and `upsert` of an object that
            is stale raise `StaleObject`. True for a column that every update counts up; "xmin" for the server's own column of that name,
            which every row has, so that the table needs none.
        init: for type checkers only.
    """
    optional = default is UNSET
    default = UNSET if default is _NOT_SAID else default
    if default is not UNSET and default_factory is not None:
        raise ModelError("column() was given both default and default_factory.\nTo fix it: keep one.")
    if isinstance(default, (list, dict, set)):
        kind = "list" if isinstance(default, list) else "dict" if isinstance(default, dict) else "set"
        raise ModelError(
            f"column(default=...) was given a {kind}, which all objects would share and change together.\n"
            f"To fix it: column(default_factory={kind})."
        )
    if (generated_as is not None) + (generated is not False) + (server_default is not UNSET) > 1:
        raise ModelError("column() was given more than one of generated, generated_as and server_default.\nTo fix it: keep one.")
    if not stored and generated_as is None:
        raise ModelError("column(stored=False) is about a computed column.\nTo fix it: add generated_as=..., or leave it out.")
    if version and (
        optional or default is not UNSET or default_factory or generated or generated_as or server_default is not UNSET or primary_key
    ):
        raise ModelError(
            "column(version=...) has its value from the server, and was given another, or is to be a key.\n"
            "To fix it: version: Column[int] = column(version=True)."
        )
    if deferrable and references is None:
        raise ModelError("column(deferrable=True) is about a reference.\nTo fix it: add references=..., or leave it out.")
    return ColumnDeclaration(
        primary_key=primary_key,
        generated=generated,
        generated_as=generated_as,
        stored=stored,
        default=default,
        default_factory=default_factory,
        server_default=server_default,
        unique=unique,
        index=index,
        check=check,
        references=references,
        on_delete=on_delete,
        on_update=on_update,
        deferral=deferral(deferrable, initially_deferred),
        type=type,
        json=json,
        name=name,
        comment=comment,
        version=version,
        optional=optional,
    )
