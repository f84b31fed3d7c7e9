"""Why a connection could not be made, as errors of trioorm that are psycopg's too.

The contract: the text has the reason of every attempt, in libpq's or the server's own words, and the likeliest fix. It never has the
password, nor an address that libpq could not read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from psycopg import OperationalError, ProgrammingError
from psycopg.errors import FinishedPGconn
from psycopg.pq import Conninfo
from psycopg.pq.abc import PGconn

from trioorm import errors
from trioorm.errors import UsageError

# Whoever uses the connection as psycopg's catches psycopg's errors.


class ConnectFailed(errors.ConnectFailed, OperationalError):
    __doc__ = errors.ConnectFailed.__doc__


class AuthenticationFailed(errors.AuthenticationFailed, OperationalError):
    __doc__ = errors.AuthenticationFailed.__doc__


class MalformedAddress(UsageError, ProgrammingError):
    """The connection string cannot be read, or contradicts itself."""


_UNKNOWN_OPTION = re.compile(r'invalid (?:connection option|URI query parameter:) "(.+)"')


def malformed_address(reason: str) -> UsageError:
    """The error for a connection string that libpq cannot read. libpq's own sentence would quote it, with its password; so of an option
    that libpq does not know, which may be the rest of a password with a space in it, only that is told for which it is probably meant.

    Args:
        reason: libpq's sentence.
    """
    meant: list[str] = []
    if unknown := _UNKNOWN_OPTION.search(reason):
        from difflib import get_close_matches  # seldom needed

        meant = get_close_matches(unknown[1], [option.keyword.decode() for option in Conninfo.get_defaults()], 1)
    misspelt = f"one of its options is misspelt, and probably meant for {meant[0]}; or " if meant else ""
    return MalformedAddress(
        "the address of the database cannot be read as a connection string or URI.\n"
        f"It is not shown, since it may hold a password. To fix it: {misspelt}write postgresql://user:password@host/database with special "
        "characters percent-encoded (urllib.parse.quote), or key=value pairs with values that hold spaces in single quotes."
    )


def unusable_address(reason: str) -> UsageError:
    """The error for a connection string with a value that cannot be used: no attempt was made."""
    return MalformedAddress(f"the address of the database cannot be used: {reason.strip()}\nTo fix it: correct that value.")


# libpq gives a failed connection no SQLSTATE, only the server's English sentence or its own.
_SENTENCES = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("authentication failed", "28000"),
    ('FATAL:  role "', "28000"),
    ('FATAL:  database "', "3D000"),
    ("too many clients", "53300"),
    ("remaining connection slots", "53300"),
    ("the database system is", "57P03"),
    ("unsupported startup parameter", "08P01"),
)

_AUTHENTICATION = ("28", "3D")

_UNUSABLE = r'^(connection is bad: )?(invalid [\w ]+ (value|number)|definition of service |could not match \d|service file ")'

_FIXES = (
    ("unsupported startup parameter", "a connection pooler refuses it: leave `options` out of the address, or let PgBouncer ignore it."),
    ("certificate", "check sslrootcert (the authority that signed the server's certificate) and the host name in the address."),
    ("does not support SSL", "let the server use TLS, or choose another sslmode; `require` and stronger insist on it."),
    ("channel binding", "channel binding needs TLS and SCRAM; see channel_binding in the address."),
    ("session is", "target_session_attrs in the address asks for another kind of server."),
    ("server is", "target_session_attrs in the address asks for another kind of server."),
)


def sqlstate_of(error: OperationalError) -> str | None:
    """The SQLSTATE of a failed attempt, as far as its sentence tells."""
    message = str(error)
    return error.sqlstate or next((sqlstate for sentence, sqlstate in _SENTENCES if sentence in message), None)


def is_refusal(error: OperationalError) -> bool:
    """Whether the server was reached and does not let this user in, or has no such database."""
    return (sqlstate_of(error) or "").startswith(_AUTHENTICATION)


def is_unusable(error: OperationalError) -> bool:
    """Whether libpq made no attempt, because a value in the address makes no sense."""
    return "connection option" in str(error) or re.match(_UNUSABLE, str(error)) is not None


def connect_error(failures: Sequence[tuple[str, OperationalError]], *, untried: int = 0) -> errors.ConnectFailed | UsageError:
    """The error for a connection that could not be made.

    Args:
        failures: each attempt, where it went and why it failed; the last one gives the class of the error.
        untried: how many hosts were left out because the server of the last attempt refused us.
    """
    last = failures[-1][1]
    if "connection option" in str(last):
        return malformed_address(str(last))
    if is_unusable(last):
        return unusable_address(str(last))
    if len(failures) == 1:
        text = f"no connection could be made: {_sentence(last)}"
    else:
        each = "".join(f"\n  - {where}: {_sentence(error)}" for where, error in failures)
        text = f"no connection could be made; {len(failures)} attempts failed:{each}"
    if untried:
        text += f"\nFurther hosts were not tried ({untried}), since this server was reached and refused us."
    error: ConnectFailed | AuthenticationFailed
    if is_refusal(last):
        error = AuthenticationFailed(
            f"{text}\nTo fix it: check the user, the password and the database name in the address; retrying will not help.",
            sqlstate=sqlstate_of(last),
        )
    else:
        known = (fix for sentence, fix in _FIXES if sentence in str(last))
        fix = next(known, "check that the server runs and listens there, then the host and port in the address.")
        error = ConnectFailed(f"{text}\nTo fix it: {fix}", sqlstate=sqlstate_of(last))
    error._pgconn = _without_passwords(last.pgconn)  # pyright: ignore[reportPrivateUsage] - psycopg gives it to its constructor, which is not ours
    return error


def _without_passwords(pgconn: PGconn | None) -> PGconn | None:
    """What psycopg keeps of a connection that failed, so that its users can ask whether a password was needed."""
    if not isinstance(pgconn, FinishedPGconn):
        return None
    options = [option for option in pgconn.info if b"password" not in option.keyword]
    return cast("PGconn", replace(pgconn, info=options, password=b""))


def _sentence(error: OperationalError) -> str:
    return str(error).strip()
