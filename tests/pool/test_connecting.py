"""What a pool does to its connections by itself: safe defaults, which give way to everybody else's word."""

import pytest
from psycopg import sql as sql_text
from psycopg.conninfo import make_conninfo

from tests.wire.witness import Witness, only_value
from trioorm import open_database, sql
from trioorm.embedded import Server
from trioorm.errors import ConnectFailed, UsageError
from trioorm.pool import Connection, Connector, open_pool
from trioorm.pool.connecting import SAFE_PARAMETERS
from trioorm.wire import AnyIOConnection

_IDLE_LIMIT = "SELECT current_setting('idle_in_transaction_session_timeout')"


async def _parameters(address: str) -> dict[str, str]:
    """What libpq was told for a pool's connection."""
    async with open_pool(address) as pool:
        with await pool.acquire() as connection:
            return {option.keyword.decode(): option.val.decode() for option in connection.pgconn.info if option.val}


async def test_a_dead_network_is_noticed(rough_server: Server) -> None:
    parameters = await _parameters(rough_server.conninfo(tcp=True))
    assert SAFE_PARAMETERS.items() <= parameters.items()
    assert {"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "connect_timeout"} == set(SAFE_PARAMETERS)


async def test_the_address_and_the_environment_win(rough_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "77")
    parameters = await _parameters(make_conninfo(rough_server.conninfo(tcp=True), keepalives_idle=5, tcp_user_timeout=0))
    assert parameters["connect_timeout"] == "77"
    assert parameters["keepalives_idle"] == "5"
    assert parameters["tcp_user_timeout"] == "0"
    assert parameters["keepalives_interval"] == SAFE_PARAMETERS["keepalives_interval"]


async def _idle_limit(address: str) -> str | None:
    async with open_pool(address) as pool:
        with await pool.acquire() as connection:
            return await only_value(connection, _IDLE_LIMIT)


async def test_a_forgotten_transaction_ends_by_itself(dsn: str) -> None:
    assert await _idle_limit(dsn) == "5min"
    async with open_database(dsn) as db:
        assert await db.fetch_value(sql("SELECT current_setting('idle_in_transaction_session_timeout')").returns(str)) == "5min"


@pytest.mark.parametrize("chosen", ["0", "7s"])
async def test_the_idle_limit_of_the_address_the_environment_and_the_server_win(
    dsn: str, witness: Witness, monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    """0 is a decision too."""
    option = f"-c idle_in_transaction_session_timeout={chosen}"
    assert await _idle_limit(make_conninfo(dsn, options=option)) == chosen
    with monkeypatch.context() as patch:
        patch.setenv("PGOPTIONS", option)
        assert await _idle_limit(dsn) == chosen
    name = sql_text.Identifier(str(witness.connection.info.dbname))
    change = sql_text.SQL("ALTER DATABASE {} SET idle_in_transaction_session_timeout TO {}").format(name, chosen)
    witness.connection.execute(change)
    try:
        assert await _idle_limit(dsn) == chosen
    finally:
        witness.connection.execute(sql_text.SQL("ALTER DATABASE {} RESET idle_in_transaction_session_timeout").format(name))


async def test_a_malformed_address_is_told_by_connecting() -> None:
    with pytest.raises(UsageError, match="cannot be read as a connection string") as failure:
        async with open_pool("postgresql://ada:sword fish@host/shop"):
            pytest.fail("there is no such address")
    assert "sword fish" not in str(failure.value)


async def test_what_belongs_to_an_address_is_refused_with_a_function(dsn: str) -> None:
    async def connect() -> Connection:
        return await AnyIOConnection.connect(dsn, autocommit=True)

    with pytest.raises(UsageError, match="belong to an address"):
        open_pool(connect, pooler="transaction")


def test_a_connector_does_not_show_its_secrets() -> None:
    connector = Connector(address="postgresql://ada:swordfish@host/shop", password="swordfish", listen_address="host=a password=swordfish")
    assert "swordfish" not in repr(connector)


async def test_an_address_that_leads_nowhere_is_told_on_entry(tmp_path: object) -> None:
    with pytest.raises(ConnectFailed):
        async with open_pool(f"host={tmp_path}"):
            pytest.fail("nobody is there")
