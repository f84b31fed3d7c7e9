"""Settings of the server and the role, for the length of one transaction.

The contract: names and values travel as bound values of `set_config(name, value, is_local)`, which is SET LOCAL as a function; the role is
such a setting too, so no identifier is ever written into a text. What the transaction sets ends with it, on every way out.

Source: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SET
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from psycopg.pq import Format

from trioorm.errors import QueryError
from trioorm.wire import Statement, Step
from trioorm.wire.session_texts import is_utf8, other_encoding

__all__ = ["SettingValue", "setting_steps"]

SettingValue: TypeAlias = str | int | float
"""What a setting can be set to; True is on, False is off."""

_TEXT_OID = 25
_SET_LOCAL = Statement(b"SELECT set_config($1, $2, true)", (_TEXT_OID, _TEXT_OID))


def setting_steps(values: Mapping[str, SettingValue], role: str | None) -> list[Step]:
    """One step for each setting, the role last, since it may not be allowed to set the others.

    Raises:
        QueryError: a value that is no text, number or bool, no role at all, or another encoding than UTF-8.
    """
    if role is None and not values:
        return []
    if role is not None:
        values = {**values, "role": role}
    if role == "":
        raise QueryError('the role "" has no name.\nTo fix it: give the name of a role, or None to stay who you are.')
    if any(name.lower() == "client_encoding" and not is_utf8(str(value)) for name, value in values.items()):
        raise other_encoding()
    return [Step(_SET_LOCAL, [name.encode(), _as_text(name, value).encode()], [Format.BINARY] * 2) for name, value in values.items()]


def _as_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str | int | float):
        return str(value)
    raise QueryError(
        f"the setting {name!r} was given a {type(value).__qualname__}, and settings are text, numbers or bools.\n"
        "To fix it: give str(...) of what is meant."
    )
