"""open_database: what its block owns, and that the body's errors leave it bare."""

import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.database.zoo import Animal
from tests.wire.witness import Witness
from trioorm import ConnectFailed, open_database, select, sql
from trioorm.errors import EmbeddedServerError, TrioormError
from trioorm.testing import pool_is_whole
from trioorm.wire import AnyIOConnection

SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.mark.parametrize("error", [LookupError("mine"), KeyboardInterrupt("mine"), ExceptionGroup("mine", [LookupError()])], ids=repr)
async def test_an_error_of_the_body_leaves_bare_as_it_was_raised(dsn: str, error: BaseException) -> None:
    def raise_it() -> None:
        raise error

    with pytest.raises(BaseException) as caught:  # noqa: PT011 - the identity is asserted below
        async with open_database(dsn) as db:
            await db.execute(sql("SELECT 1"))
            raise_it()
    assert caught.value is error
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][-1] == "raise_it"
    error.__traceback__ = None


async def test_leaving_closes_every_connection(dsn: str, witness: Witness) -> None:
    async with open_database(dsn, min_size=3, max_size=5) as db:
        await witness.until(f"SELECT ({SESSIONS}) = 3")
        await db.execute(sql("SELECT 1"))
    await witness.until(f"SELECT ({SESSIONS}) = 0")


async def test_with_no_connections_kept_the_first_statement_opens_one(dsn: str, witness: Witness) -> None:
    async with open_database(dsn, min_size=0) as db:
        assert witness.value(SESSIONS) == 0
        assert db.statistics().pool_size == 0
        await db.execute(sql("SELECT 1"))
        assert witness.value(SESSIONS) == 1


async def test_sessions_run_in_utc_whatever_the_server_says(dsn: str, witness: Witness) -> None:
    witness.run("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone TO ''Asia/Tokyo''', current_database()); END $$")
    async with open_database(dsn) as db:
        assert await db.fetch_value(sql("SELECT current_setting('TimeZone')").returns(str)) == "UTC"


async def test_configure_is_called_with_each_new_connection(dsn: str) -> None:
    configured: list[int] = []

    async def configure(connection: AnyIOConnection[Any]) -> None:
        configured.append(connection.info.backend_pid)
        await connection.execute("SET statement_timeout TO '12345ms'")

    async with open_database(dsn, min_size=2, max_size=2, configure=configure) as db:
        await pool_is_whole(db.statistics)
        assert len(configured) == 2
        for _ in range(2):
            assert await db.fetch_value(sql("SELECT current_setting('statement_timeout')").returns(str)) == "12345ms"


async def test_a_configure_that_fails_is_told_on_entry_and_leaves_no_session(dsn: str, witness: Witness) -> None:
    async def configure(connection: AnyIOConnection[Any]) -> None:
        await connection.execute("SELECT 1 / 0")

    with pytest.raises(Exception, match="division by zero"):
        async with open_database(dsn, configure=configure):
            pytest.fail("the connection could not be set up")
    await witness.until(f"SELECT ({SESSIONS}) = 0")


async def test_it_says_what_state_it_is_in(dsn: str) -> None:
    async with open_database(dsn, max_size=4) as db:
        async with db.transaction(name="pay") as tx:
            assert "1 on loan" in repr(db)
            assert repr(tx) == "<Transaction: the transaction 'pay', open>"
            statistics = db.statistics()
            assert (statistics.on_loan, statistics.pool_max, statistics.waiting) == (1, 4, 0)
        assert "ended" in repr(tx)
    assert "closed" in repr(db)


# Servers of its own.


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the account which runs the server can reach, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


async def test_an_embedded_server_lives_as_long_as_the_block() -> None:
    async with open_database("embedded:") as db:
        await db.create_schema(Animal)
        ada = await db.insert(Animal(name="Ada"))
        assert await db.get(Animal, ada.id) == ada
        address = db.address
    with pytest.raises(ConnectFailed):
        async with open_database(address):
            pytest.fail("the server has ended with its block")


async def test_an_embedded_server_in_a_folder_keeps_its_rows(folder: Path) -> None:
    address = f"embedded:{folder / 'data'}"
    async with open_database(address) as db:
        await db.create_schema(Animal)
        await db.insert(Animal(name="Ada"))
        async with open_database(address) as other:
            await other.insert(Animal(name="Bob"))
    async with open_database(address) as db:
        assert [animal.name for animal in await db.fetch_all(select(Animal).order_by(Animal.id))] == ["Ada", "Bob"]


async def test_a_folder_that_cannot_be_is_told(folder: Path) -> None:
    (folder / "file").write_text("no folder")
    with pytest.raises(EmbeddedServerError) as caught:
        async with open_database(f"embedded:{folder / 'file' / 'data'}"):
            pytest.fail("there is a file in the way")
    assert isinstance(caught.value, TrioormError)


async def test_an_embedded_server_ends_when_its_block_is_cancelled() -> None:
    addresses: list[str] = []
    with anyio.CancelScope() as scope:
        async with open_database("embedded:") as db:
            addresses.append(db.address)
            scope.cancel()
            await db.execute(sql("SELECT pg_sleep(60)"))
    assert scope.cancelled_caught
    with pytest.raises(ConnectFailed):
        async with open_database(addresses[0]):
            pytest.fail("the server has ended with its block")
