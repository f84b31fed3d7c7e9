"""One database for all tests of this room, and its witness, as for the wire."""

from collections.abc import Iterator

import pytest

from tests.pool.lanes import proven_step
from tests.wire.conftest import dsn, room_dsn, rough_server, witness
from tests.wire.witness import Witness
from trioorm.wire import Step, lane

__all__ = ["dsn", "guarded", "patient", "room_dsn", "rough_server", "witness"]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes on which no statement holds the others up, however slow the machine is: for tests that count who reads through them."""
    monkeypatch.setattr(lane, "HELD_UP_SECONDS", 60.0)


@pytest.fixture
def guarded(witness: Witness) -> Iterator[Step]:
    """A read of a table that tests lock."""
    witness.run("CREATE TABLE guarded (value text)")
    witness.run("INSERT INTO guarded VALUES ('guarded')")
    yield proven_step("SELECT value FROM guarded")
    witness.run("DROP TABLE guarded")
