"""The witness of a test's database, and the flights that were sent to it."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.wire.witness import Witness
from trioorm.wire import AnyIOConnection, Statement, Step, statements


@pytest.fixture
def witness(dsn: str) -> Iterator[Witness]:
    with psycopg.connect(dsn, autocommit=True, application_name="witness") as connection:
        yield Witness(connection)


class Flights:
    """The texts of the flights that were sent, one list for each; a statement that is sent alone is one too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[list[str]] = []
        take_off, send_command, ask = AnyIOConnection[Any].take_off, AnyIOConnection[Any].send_command, AnyIOConnection[Any].ask
        asked: list[object] = []

        def taking_off(connection: AnyIOConnection[Any], steps: list[Step], **how: Any) -> object:  # noqa: ANN401 - as it is
            if not any(step.values is values for step in steps for values in asked):  # `ask` for what is not prepared yet
                commits = () if (commit := how.get("commit")) is None else (commit,)
                self._note(*[step.statement for step in (*steps, *commits)])
            return take_off(connection, steps, **how)

        def sending_alone(connection: AnyIOConnection[Any], step: Step) -> object:
            self._note(step.statement)
            return send_command(connection, step)

        async def asking(connection: AnyIOConnection[Any], statement: Statement, values: Any, *rest: Any, **how: Any) -> object:  # noqa: ANN401
            self._note(statement)
            asked.append(values)
            return await ask(connection, statement, values, *rest, **how)

        monkeypatch.setattr(AnyIOConnection, "take_off", taking_off)
        monkeypatch.setattr(AnyIOConnection, "send_command", sending_alone)
        monkeypatch.setattr(AnyIOConnection, "ask", asking)

    def _note(self, *statements: Statement) -> None:
        self.sent.append([statement.text.decode().split(" ")[0] for statement in statements])


@pytest.fixture
def ends_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let COMMIT and its like as text pass as if nobody knew what they do."""

    def ends_nothing(_text: bytes) -> bool:
        return False

    monkeypatch.setattr(statements, "ends_transaction", ends_nothing)


@pytest.fixture
def flights(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Flights]:
    """Begin to note flights."""
    return lambda: Flights(monkeypatch)
