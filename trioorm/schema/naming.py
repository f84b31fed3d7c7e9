"""Names of constraints and indexes, fixed by rule in PostgreSQL's own style.

The contract: the name depends on the table, the columns and the kind only, so that it is the same on every machine and in every
version. PostgreSQL cuts names off at 63 bytes; here a long name keeps its beginning and ends in a hash of the whole, so that two long
names stay two.

Source: PostgreSQL's `ChooseIndexName` and `ChooseConstraintName` for the style.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from trioorm.expression.identifiers import MAX_IDENTIFIER_BYTES

_HASH_DIGITS = 8


def constraint_name(table: str, columns: Sequence[str], suffix: str) -> str:
    """`users_email_key`, `orders_user_id_fkey`, `users_pkey` (without columns)."""
    return shortened("_".join((table, *columns, suffix)))


def shortened(name: str) -> str:
    """The name itself, or its beginning and a hash when it is longer than 63 bytes. Never cuts a character in two."""
    encoded = name.encode()
    if len(encoded) <= MAX_IDENTIFIER_BYTES:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:_HASH_DIGITS]
    kept = encoded[: MAX_IDENTIFIER_BYTES - _HASH_DIGITS - 1].decode(errors="ignore")
    return f"{kept}_{digest}"


def distinct_name(name: str, taken: set[str]) -> str:
    """The name, or with 1, 2, ... behind it when it is taken; PostgreSQL counts the same way."""
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = shortened(f"{name}{number}")
    taken.add(candidate)
    return candidate
