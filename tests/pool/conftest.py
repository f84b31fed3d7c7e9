"""One database for all tests of this room, and its witness."""

from collections.abc import Iterator

import pytest

from tests.wire.own_database import database, witnessed
from tests.wire.witness import Witness
from trioorm.embedded import Server, ServerOptions, running_server


@pytest.fixture(scope="session")
def room_dsn(server_dsn: str) -> Iterator[str]:
    with database(server_dsn) as address:
        yield address


@pytest.fixture(scope="session")
def rough_server() -> Iterator[Server]:
    """A server that tests may freeze and kill; each leaves it as it found it. It listens on TCP too, with a password."""
    with running_server(options=ServerOptions(tcp=True)) as server:
        yield server


@pytest.fixture
def witness(room_dsn: str) -> Iterator[Witness]:
    with witnessed(room_dsn) as witness:
        yield witness


@pytest.fixture
def dsn(room_dsn: str, witness: Witness) -> str:
    """The address of an empty database."""
    return room_dsn
