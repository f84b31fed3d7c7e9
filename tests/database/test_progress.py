"""show_progress: a bar in a terminal, nothing elsewhere."""

import io
import itertools

import pytest

from tests.database.zoo import Animal
from trioorm import open_database, show_progress


class Terminal(io.StringIO):
    """A terminal as far as a writer can see."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is half a second after the one before."""
    moments = itertools.count(0, 0.5)
    monkeypatch.setattr("trioorm.database.progress.monotonic", lambda: next(moments))
    monkeypatch.setenv("COLUMNS", "100")


def _last_line(terminal: Terminal) -> str:
    return terminal.getvalue().rpartition("\r")[2].replace("\x1b[K", "")


def test_a_bar_grows_and_ends_its_line() -> None:
    terminal = Terminal()
    show = show_progress(10_000, file=terminal)
    show(2500)
    assert _last_line(terminal) == "Rows  [#######-----------------------]   25%  2,500 of 10,000  5,000/s  0:00"
    show(10_000)
    assert _last_line(terminal) == f"Rows  [{'#' * 30}]  100%  10,000 of 10,000  10,000/s  0:01\n"
    show(10_000)  # copy_in tells of the last rows, and of the end
    assert terminal.getvalue().count("\n") == 1


def test_without_a_total_there_are_numbers_and_the_block_ends_the_line() -> None:
    terminal = Terminal()
    with pytest.raises(LookupError), show_progress(label="Animals", file=terminal) as show:
        show(1500)
        raise LookupError
    assert _last_line(terminal) == "Animals  1,500  3,000/s  0:00\n"


def test_a_line_never_fills_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    show_progress(10_000, file=terminal)(5)
    assert len(_last_line(terminal)) == 19


def test_it_is_not_drawn_again_within_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trioorm.database.progress.monotonic", lambda: 7.0)
    terminal = Terminal()
    show = show_progress(100, file=terminal)
    for done in range(1, 100):
        show(done)
    assert terminal.getvalue().count("\r") == 1
    show(100)
    assert terminal.getvalue().count("\r") == 2


def test_a_pipe_gets_nothing() -> None:
    pipe = io.StringIO()
    with show_progress(10, file=pipe) as show:
        show(3)
        show(10)
    assert pipe.getvalue() == ""


async def test_copy_in_fills_it(dsn: str) -> None:
    terminal = Terminal()
    async with open_database(dsn) as db:
        await db.create_schema(Animal)
        await db.copy_in(Animal, [Animal(name=str(number)) for number in range(1500)], on_progress=show_progress(1500, file=terminal))
    assert "1,500 of 1,500" in _last_line(terminal)
    assert terminal.getvalue().endswith("\n")
