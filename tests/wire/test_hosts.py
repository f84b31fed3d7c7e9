"""Several hosts in one connection string: which is tried, in what order, and what is said of each. Real servers: one that takes writes,
one that does not by its settings, and a standby.
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen
from psycopg.conninfo import make_conninfo

from tests.wire.witness import only_value
from trioorm.embedded import Server, ServerOptions, running_server
from trioorm.errors import AuthenticationFailed, ConnectFailed, UsageError
from trioorm.wire import AnyIOConnection


@frozen
class _Servers:
    primary: Server
    read_only: Server
    standby: Server

    def named(self, name: str) -> Server:
        servers: dict[str, Server] = {"primary": self.primary, "read_only": self.read_only, "standby": self.standby}
        return servers[name]

    def address(self, *names: str, **parameters: str) -> str:
        """The address of several of them, in this order."""
        servers = [self.named(name) for name in names]
        hosts, ports = (
            ",".join(str(part) for part in parts) for parts in zip(*((s.socket_directory, s.port) for s in servers), strict=True)
        )
        return make_conninfo(host=hosts, port=ports, user="postgres", dbname="postgres", **parameters)

    def reached(self, connection: AnyIOConnection) -> str:
        return next(name for name in ("primary", "read_only", "standby") if str(self.named(name).socket_directory) == connection.info.host)


@pytest.fixture(scope="session")
def servers(rough_server: Server) -> Iterator[_Servers]:
    read_only = ServerOptions(settings={"default_transaction_read_only": True})
    with running_server(options=read_only) as second, running_server() as third:
        third.stop()
        # A standby whose primary is silent: what makes it one is this file.
        (third.data_directory / "standby.signal").touch()
        third.start()
        yield _Servers(rough_server, second, third)


_THREE = ("primary", "read_only", "standby")


@pytest.mark.parametrize(
    ("wanted", "order", "expected"),
    [
        ("any", ("standby", "primary"), "standby"),
        ("read-write", ("standby", "read_only", "primary"), "primary"),
        ("read-only", ("primary", "read_only"), "read_only"),
        ("read-only", ("primary", "standby"), "standby"),
        ("primary", ("standby", "read_only"), "read_only"),
        ("standby", _THREE, "standby"),
        ("prefer-standby", _THREE, "standby"),
        ("prefer-standby", ("read_only", "primary"), "read_only"),
    ],
)
async def test_the_kind_of_server_asked_for_is_taken(servers: _Servers, wanted: str, order: tuple[str, ...], expected: str) -> None:
    async with await AnyIOConnection.connect(servers.address(*order, target_session_attrs=wanted), autocommit=True) as connection:
        assert servers.reached(connection) == expected
        assert await only_value(connection, "SELECT pg_is_in_recovery()") == ("t" if expected == "standby" else "f")


@pytest.mark.parametrize(("wanted", "order"), [("standby", ("primary", "read_only")), ("read-write", ("read_only", "standby"))])
async def test_when_none_is_of_that_kind_each_is_named(servers: _Servers, wanted: str, order: tuple[str, ...]) -> None:
    with pytest.raises(ConnectFailed, match="2 attempts failed") as failure:
        await AnyIOConnection.connect(servers.address(*order, target_session_attrs=wanted))
    text = str(failure.value)
    assert all(str(servers.named(name).socket_directory) in text for name in order)
    assert "target_session_attrs in the address asks for another kind of server" in text
    assert failure.value.safe_to_retry


async def test_a_kind_that_does_not_exist_is_wrong_use(servers: _Servers) -> None:
    with pytest.raises(UsageError, match="invalid target_session_attrs value"):
        await AnyIOConnection.connect(servers.address("primary", target_session_attrs="replica"))


async def test_hosts_and_ports_that_do_not_match_are_wrong_use(servers: _Servers) -> None:
    with pytest.raises(UsageError, match="could not match"):
        await AnyIOConnection.connect("host=/a,/b,/c port=1,2 dbname=postgres")


async def test_load_is_spread_when_asked_for(servers: _Servers) -> None:
    """Forty attempts that all meet the same one of two happen once in 10 to the power of 12."""
    reached: set[str] = set()
    for _ in range(40):
        address = servers.address("primary", "read_only", load_balance_hosts="random")
        async with await AnyIOConnection.connect(address) as connection:
            reached.add(servers.reached(connection))
        if len(reached) == 2:
            break
    assert reached == {"primary", "read_only"}


async def test_a_refusal_ends_the_search(servers: _Servers) -> None:
    """As in libpq: a wrong password is not carried from server to server."""
    tcp = make_conninfo(servers.primary.conninfo(tcp=True), password="swordfish-4711")
    address = make_conninfo(
        tcp, host=f"127.0.0.1,{servers.read_only.socket_directory}", port=f"{servers.primary.port},{servers.read_only.port}"
    )
    with pytest.raises(AuthenticationFailed, match=r"Further hosts were not tried \(1\)") as failure:
        await AnyIOConnection.connect(address)
    assert "swordfish" not in str(failure.value)


async def test_a_name_that_is_unknown_is_told_beside_the_others(servers: _Servers, tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match="2 attempts failed") as failure:
        await AnyIOConnection.connect(f"host=nowhere.invalid,{tmp_path} dbname=postgres user=postgres")
    assert "failed to resolve host 'nowhere.invalid'" in str(failure.value)
    assert f"{tmp_path}" in str(failure.value)


async def test_every_address_of_a_name_is_tried(servers: _Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    def two_addresses(host: str, port: str, *, proto: int, type: int) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, type, proto, "", (address, int(port))) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    async with await AnyIOConnection.connect(make_conninfo(servers.primary.conninfo(tcp=True), host="shop.invalid")) as connection:
        assert connection.info.hostaddr == "127.0.0.1", "nobody listens at the first"
        assert connection.info.host == "shop.invalid"


async def test_a_service_file_says_which_hosts(servers: _Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hosts are tried one by one too, and its wishes count."""
    hosts = [servers.named(name) for name in ("primary", "standby")]
    lines = [
        "[shop]",
        f"host={tmp_path}/nowhere,{','.join(str(server.socket_directory) for server in hosts)}",
        f"port=5432,{','.join(str(server.port) for server in hosts)}",
        "user=postgres",
        "dbname=postgres",
        "target_session_attrs=prefer-standby",
    ]
    (tmp_path / "services").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    async with await AnyIOConnection.connect("service=shop") as connection:
        assert servers.reached(connection) == "standby"
    async with await AnyIOConnection.connect("service=shop target_session_attrs=primary") as connection:
        assert servers.reached(connection) == "primary"
    with pytest.raises(UsageError, match='definition of service "nosuch" not found'):
        await AnyIOConnection.connect("service=nosuch")


async def test_the_environment_says_what_the_address_does_not(servers: _Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGHOST": str(servers.standby.socket_directory), "PGPORT": str(servers.standby.port), "PGUSER": "postgres"}.items():
        monkeypatch.setenv(name, value)
    async with await AnyIOConnection.connect("dbname=postgres") as connection:
        assert servers.reached(connection) == "standby"
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "primary")
    with pytest.raises(ConnectFailed, match="server is in hot standby mode"):
        await AnyIOConnection.connect("dbname=postgres")
