"""The witness of a test's database, and the flights that were sent to it."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.wire.witness import Witness
from trioorm.wire import AnyIOConnection, Step


@pytest.fixture
def witness(dsn: str) -> Iterator[Witness]:
    with psycopg.connect(dsn, autocommit=True, application_name="witness") as connection:
        yield Witness(connection)


class Flights:
    """The texts of the flights that were sent, one list for each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[list[str]] = []
        take_off = AnyIOConnection[Any].take_off

        def noting(connection: AnyIOConnection[Any], steps: list[Step], **how: Any) -> object:  # noqa: ANN401 - as it is
            self.sent.append([step.statement.text.decode().split(" ")[0] for step in steps])
            return take_off(connection, steps, **how)

        monkeypatch.setattr(AnyIOConnection, "take_off", noting)


@pytest.fixture
def flights(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Flights]:
    """Begin to note flights."""
    return lambda: Flights(monkeypatch)
