"""UNSET: the value of a field that the server fills in.

It is no None: None is NULL, a value like others. An object that holds UNSET in a field has not been stored, or its column is the
server's to fill; inserting leaves such columns out.
"""

from __future__ import annotations

import enum
from typing import Any, Literal, TypeAlias


class UnsetType(enum.Enum):
    """The class of `UNSET`. An enum, so that copies and pickles of it stay the one object."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


Unset: TypeAlias = Literal[UnsetType.UNSET]
"""The type of `UNSET`."""

UNSET: Unset | Any = UnsetType.UNSET
"""`Any` beside its own type, so that type checkers let `user.id is UNSET` be asked of an `int`; as an `int` they refuse it all the same."""
