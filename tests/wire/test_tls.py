"""TLS, against a server that has it: the embedded one has not, so Debian's is used, or the tests are skipped.

Certificates are made by `openssl` for each run: an authority, a server's certificate for `localhost`, and an authority that signed nothing.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from attrs import frozen
from psycopg.conninfo import make_conninfo

from tests.wire.witness import only_value, works
from trioorm import open_database, sql
from trioorm.embedded import Server, ServerOptions, running_server
from trioorm.errors import ConnectFailed
from trioorm.wire import AnyIOConnection


def _server_programs() -> Path:
    """The folder of a PostgreSQL that was built with TLS."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        program = folder / "postgres"
        if program.exists() and b"ssl_ciphers" in subprocess.run([program, "--describe-config"], capture_output=True, check=False).stdout:
            return folder
    pytest.skip("there is no PostgreSQL with TLS on this machine (apt-get install postgresql)")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _make_certificates(folder: Path) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for name in ("authority", "stranger"):
        _openssl(folder, "req", "-x509", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    _openssl(folder, "req", *key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    signed_by = ("-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial", "-days", "2")
    _openssl(folder, "x509", "-req", "-in", "server.csr", *signed_by, "-extfile", "names", "-out", "server.crt")


@frozen
class _Secure:
    server: Server
    folder: Path

    def address(self, *, host: str = "localhost", authority: str = "authority", **parameters: str) -> str:
        root = str(self.folder / f"{authority}.crt")
        return make_conninfo(self.server.conninfo(tcp=True), host=host, sslrootcert=root, **parameters)


@pytest.fixture(scope="session")
def secure() -> Iterator[_Secure]:
    programs = _server_programs()
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl on this machine, to make certificates with")
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        folder = Path(name)
        _make_certificates(folder)
        folder.chmod(0o755)
        (folder / "server.key").chmod(0o600)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder / "server.key", nobody.pw_uid, nobody.pw_gid)
        settings: dict[str, str | bool] = {
            "ssl": True,
            "ssl_cert_file": str(folder / "server.crt"),
            "ssl_key_file": str(folder / "server.key"),
        }
        running = running_server(options=ServerOptions(tcp=True, settings=settings))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRIOORM_PG_BIN", str(programs))
            server = running.__enter__()
        try:
            yield _Secure(server, folder)
        finally:
            running.__exit__(None, None, None)


async def _assert_encrypted(connection: AnyIOConnection) -> None:
    assert connection.pgconn.ssl_in_use
    assert await only_value(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_each_mode_connects(secure: _Secure, mode: str) -> None:
    async with await AnyIOConnection.connect(secure.address(sslmode=mode), autocommit=True) as connection:
        await _assert_encrypted(connection)


async def test_channel_binding_may_be_required(secure: _Secure) -> None:
    async with await AnyIOConnection.connect(secure.address(sslmode="require", channel_binding="require"), autocommit=True) as connection:
        await _assert_encrypted(connection)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_an_authority_that_did_not_sign_is_refused(secure: _Secure, mode: str) -> None:
    with pytest.raises(ConnectFailed, match="certificate verify failed") as failure:
        await AnyIOConnection.connect(secure.address(authority="stranger", sslmode=mode, host="127.0.0.1"))
    assert "check sslrootcert" in str(failure.value)


async def test_only_verify_full_minds_the_host_name(secure: _Secure) -> None:
    with pytest.raises(ConnectFailed, match="does not match host name"):
        await AnyIOConnection.connect(secure.address(sslmode="verify-full", host="127.0.0.1"))
    async with await AnyIOConnection.connect(secure.address(sslmode="verify-ca", host="127.0.0.1"), autocommit=True) as connection:
        await _assert_encrypted(connection)


async def test_a_server_without_tls_is_refused_when_it_is_required(rough_server: Server) -> None:
    with pytest.raises(ConnectFailed, match="does not support SSL") as failure:
        await AnyIOConnection.connect(make_conninfo(rough_server.conninfo(tcp=True), sslmode="require"))
    assert "`require` and stronger insist on it" in str(failure.value)


async def test_a_cancelled_statement_is_stopped_over_tls(secure: _Secure) -> None:
    async with await AnyIOConnection.connect(secure.address(sslmode="verify-full"), autocommit=True) as connection:
        with anyio.move_on_after(0.1) as scope:
            await connection.execute("SELECT pg_sleep(60)")
        assert scope.cancelled_caught
        assert await works(connection)


async def test_answers_larger_than_a_record_come_whole(secure: _Secure) -> None:
    """What OpenSSL has taken from the socket already wakes nobody; libpq must not leave it there."""
    async with open_database(secure.address(sslmode="verify-full"), max_size=2) as db:
        for size in (8_191, 16_384, 100_000, 3_000_000):
            text = await db.fetch_value(sql("SELECT repeat('x', {size}::int)", size=size).returns(str))
            assert len(text) == size
            assert await db.fetch_value(sql("SELECT length({text}::text)", text=text).returns(int)) == size
