"""How the connections of one pool are opened: the password asked for, safe defaults added, the session set up, a pooler found out.

The contract: a connection that comes from here keeps no session state where a pooler in transaction mode would carry it to a stranger.
Nothing is prepared there under a name, no setting is changed but those that PgBouncer keeps for each client (the time zone is one), and
nobody listens on it.

A pooler gives itself away: the process id that it told libpq is of its own making, and not the one that `pg_backend_pid()` answers. Whether
it keeps a session for each client cannot be asked, so it is taken for one that does not until `pooler="session"` says otherwise.

Source: https://www.pgbouncer.org/features.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from trioorm.errors import ConnectFailed, UsageError
from trioorm.pool.settings import Connection
from trioorm.wire import AnyIOConnection, Password, Step, command, error_from_result, is_error
from trioorm.wire.attempts import parameters_in_force

__all__ = ["SAFE_PARAMETERS", "Connector", "Pooler"]

Pooler = Literal["transaction", "session"]

SAFE_PARAMETERS: Mapping[str, str] = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "9",
    "tcp_user_timeout": "120000",
}
"""Parameters of libpq that hold unless the address, a service file or the environment says otherwise."""

_IDLE_IN_TRANSACTION = b"5min"

_WHO_ANSWERS = command(b"SELECT pg_backend_pid()")


@frozen(kw_only=True, eq=False)
class Connector:
    """Opens connections, each with a session of its own.

    Attributes:
        address: a libpq connection string or URI.
        password: text, or a function that is asked anew for each connection.
        pooler: what stands between us and the server: "transaction", a pooler that lends server sessions for a transaction each;
            "session", one that keeps them, or none. None: it is found out.
        listen_address: where notifications are heard, if not at `address`.
        statement_cache_size: how many statements the server keeps prepared for each connection; behind a pooler always 0.
        parameters: further parameters of the connection string.
        time_zone: of each session; None: the server's own.
    """

    address: str = field(repr=False)
    password: Password | None = field(default=None, repr=False)
    pooler: Pooler | None = None
    listen_address: str | None = field(default=None, repr=False)
    statement_cache_size: int = 500
    parameters: Mapping[str, str] = field(factory=dict[str, str])
    time_zone: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.pooler not in (None, "transaction", "session"):
            raise ValueError(f'pooler must be "transaction", "session" or None, not {self.pooler!r}.\nTo fix it: leave it out.')
        if self.statement_cache_size < 0:
            raise ValueError(f"statement_cache_size must be 0 or more, not {self.statement_cache_size!r}.\nTo fix it: raise it.")

    async def connect(self) -> Connection:
        """Open a connection for statements.

        Raises:
            ConnectFailed, AuthenticationFailed, UsageError: as `AnyIOConnection.connect`.

        Checkpoint: always.
        """
        connection, _ = await self._open(self.address, self.pooler)
        return connection

    async def connect_listener(self) -> Connection:
        """Open a connection for notifications.

        Raises:
            UsageError: it leads to a pooler, which would lose them without a word.
            ConnectFailed, AuthenticationFailed: as `AnyIOConnection.connect`.

        Checkpoint: always.
        """
        if self.listen_address is None and self.pooler == "transaction":
            raise _cannot_listen('pooler="transaction"')
        address, pooler = (self.address, self.pooler) if self.listen_address is None else (self.listen_address, None)
        connection, behind_pooler = await self._open(address, "session" if self.pooler == "session" else pooler)
        if behind_pooler:
            connection.close_nowait()
            raise _cannot_listen("the address" if self.listen_address is None else "listen_address")
        return connection

    async def _open(self, address: str, pooler: Pooler | None) -> tuple[Connection, bool]:
        connection: Connection = await AnyIOConnection.connect(
            self._completed(address), autocommit=True, password=self.password, statement_cache_size=self.statement_cache_size
        )
        try:
            behind_pooler = await self._set_up(connection, pooler)
        except BaseException:
            connection.close_nowait()
            raise
        return connection, behind_pooler

    def _completed(self, address: str) -> str:
        """The address with our parameters, and with the safe ones that neither it, nor a service file, nor the environment decides."""
        try:
            in_force = parameters_in_force(conninfo_to_dict(address))
            safe = {name: value for name, value in SAFE_PARAMETERS.items() if name not in in_force}
            return make_conninfo(address, **safe, **self.parameters)
        except ProgrammingError:
            return address  # connecting will say what is wrong with it

    async def _set_up(self, connection: Connection, pooler: Pooler | None) -> bool:
        """Set the session up in one trip; whether a pooler was found, or is known, that lends server sessions out."""
        pgconn = connection.pgconn
        steps: list[Step] = []
        if pooler is None:
            steps.append(_WHO_ANSWERS)
        if pooler != "transaction":
            steps.append(_end_idle_transactions(pgconn.backend_pid, anyone=pooler == "session"))
        if self.time_zone is not None and pgconn.parameter_status(b"TimeZone") != self.time_zone.encode():
            steps.append(command(b"SET TimeZone TO '%s'" % self.time_zone.encode()))
        results = await connection.fly(steps) if steps else []
        for step, result in zip(steps, results, strict=True):
            if is_error(result):
                reason = error_from_result(result, statement=step.statement.text.decode())
                raise ConnectFailed(f"a new connection could not be set up: {reason}")
        behind_pooler = pooler == "transaction" or (pooler is None and results[0].get_value(0, 0) != b"%d" % pgconn.backend_pid)
        if behind_pooler:
            connection.statement_cache_size = 0
            connection.prepare_threshold = None
            connection.behind_pooler = True
        return behind_pooler


def _end_idle_transactions(backend_pid: int, *, anyone: bool) -> Step:
    """Let the server end a session that forgets its transaction, unless somebody has decided otherwise, for the role or the server even.

    Args:
        backend_pid: what libpq was told.
        anyone: also when another session answers. A setting must not reach a stranger through a pooler.
    """
    condition = b"" if anyone else b" AND pg_backend_pid() = %d" % backend_pid
    return command(
        b"SELECT set_config(name, '" + _IDLE_IN_TRANSACTION + b"', false) FROM pg_settings"
        b" WHERE name = 'idle_in_transaction_session_timeout' AND source = 'default'" + condition
    )


def _cannot_listen(what: str) -> UsageError:
    return UsageError(
        f"notifications cannot be heard here: {what} leads through a connection pooler, which would lose them without a word.\n"
        "To fix it, one of:\n"
        "  1. listen_address=...: an address that leads to the server directly, for the one connection that listens\n"
        '  2. pooler="session", if the pooler keeps a server session for each client'
    )
