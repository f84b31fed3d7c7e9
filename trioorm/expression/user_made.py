"""Of which kind of the user's own a type is: asked often, answered without loading what makes such types.

The contract: only `user_types.py` makes types of other classes than `SqlType`; where it was not imported there are none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from trioorm.expression.types import SqlType
from trioorm.later import module_later

if TYPE_CHECKING:
    from trioorm.expression import user_types
else:
    user_types = module_later("trioorm.expression.user_types")


def is_composite(kind: SqlType | None) -> TypeGuard[user_types.CompositeType]:
    """Whether a type is of several named fields, or that of a row of values."""
    return kind is not None and type(kind) is not SqlType and isinstance(kind, user_types.CompositeType)


def is_domain(kind: SqlType | None) -> TypeGuard[user_types.DomainType]:
    """Whether a type is a domain."""
    return kind is not None and type(kind) is not SqlType and isinstance(kind, user_types.DomainType)


def is_json(kind: SqlType | None) -> TypeGuard[user_types.JsonType]:
    """Whether a type is jsonb whose values become objects."""
    return kind is not None and type(kind) is not SqlType and isinstance(kind, user_types.JsonType)
