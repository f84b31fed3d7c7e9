"""Functions of hstore, from the extension of that name: `hstore.delete(Item.attributes, "colour")`.

Access and questions are methods of expressions: `[...]`, `contains`, `has_key`; `+` merges.

Source: PostgreSQL manual, section F.17.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from trioorm.expression import building
from trioorm.expression.expression import Expression, Operation
from trioorm.expression.shape import Binary, Function
from trioorm.expression.types import BOOLEAN, HSTORE, JSONB, TEXT, Json, SqlType, array_of

Store: TypeAlias = Expression[dict[str, str | None]] | Expression[dict[str, str | None] | None]


def keys(store: Store) -> Expression[list[str]]:
    """The keys."""
    return _function("akeys", store, array_of(TEXT))


def values(store: Store) -> Expression[list[str | None]]:
    """The values, in the order of the keys."""
    return _function("avals", store, array_of(TEXT))


def delete(store: Store, *names: str) -> Expression[dict[str, str | None]]:
    """The store without some keys (`-`)."""
    return _operation("-", store, list(names), HSTORE)


def slice_(store: Store, names: Sequence[str]) -> Expression[dict[str, str | None]]:
    """The store with these keys only."""
    building.require_family(store, "hstore.slice_()", ("hstore",), "an hstore")
    shape, bound = building.place_of(list(names), array_of(TEXT), of="keys")
    return Operation(Function("slice", (store.operand(), shape)), store.bind_values + bound, HSTORE)


def is_defined(store: Store, name: str) -> Expression[bool]:
    """Whether a key is there with a value that is not NULL."""
    building.require_family(store, "hstore.is_defined()", ("hstore",), "an hstore")
    shape, bound = building.place_of(name, TEXT, of="a key")
    return Operation(Function("defined", (store.operand(), shape)), store.bind_values + bound, BOOLEAN)


def to_jsonb(store: Store) -> Expression[Json]:
    """The store as JSON."""
    return _function("hstore_to_jsonb", store, JSONB)


def _operation(operator: str, store: Expression[Any], names: list[str], result: SqlType) -> Expression[Any]:
    building.require_family(store, f"hstore's {operator}", ("hstore",), "an hstore")
    shape, bound = building.place_of(names, array_of(TEXT), of="keys")
    return Operation(Binary(operator, store.operand(), shape), store.bind_values + bound, result)


def _function(name: str, store: Expression[Any], result: SqlType) -> Expression[Any]:
    building.require_family(store, f"{name}()", ("hstore",), "an hstore")
    return Operation(Function(name, (store.operand(),)), store.bind_values, result)
