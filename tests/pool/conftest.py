"""One database for all tests of this room, and its witness, as for the wire."""

from collections.abc import Iterator

import pytest

from tests.pool.lanes import proven_step
from tests.wire.conftest import dsn, room_dsn, rough_server, witness
from tests.wire.witness import Witness
from trioorm.wire import Step

__all__ = ["dsn", "guarded", "room_dsn", "rough_server", "witness"]


@pytest.fixture
def guarded(witness: Witness) -> Iterator[Step]:
    """A read of a table that tests lock."""
    witness.run("CREATE TABLE guarded (value text)")
    witness.run("INSERT INTO guarded VALUES ('guarded')")
    yield proven_step("SELECT value FROM guarded")
    witness.run("DROP TABLE guarded")
