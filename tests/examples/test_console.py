"""What the films example draws: coloured on a terminal, plain lines in a pipe."""

import io

from rich.console import Console

from examples.films.console import Report, histogram_lines


def pipe() -> tuple[Report, io.StringIO]:
    written = io.StringIO()
    return Report(Console(file=written, width=120, force_terminal=False)), written


def terminal(*, no_color: bool = False) -> tuple[Report, io.StringIO]:
    written = io.StringIO()
    return Report(Console(file=written, width=80, force_terminal=True, color_system="standard", no_color=no_color, _environ={})), written


def draw_all(report: Report) -> None:
    report.heading("Films under trio")
    report.check("the pool is whole", True)
    report.table("Directors", ["Name", "Films"], [["Željka", "1,000"], ["Ed", "7"]])
    report.histogram("By year", {1999: 1, 2000: 2})


def test_a_pipe_gets_plain_lines() -> None:
    report, written = pipe()
    draw_all(report)
    text = written.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    lines = text.splitlines()
    assert "== Films under trio ==" in lines
    assert "  ok  the pool is whole" in lines
    table = lines.index("Directors")
    assert lines[table + 1 : table + 4] == ["  Name    Films", "  Željka  1,000", "  Ed          7"]


def test_a_terminal_gets_colours() -> None:
    report, written = terminal()
    draw_all(report)
    text = written.getvalue()
    assert "\x1b[32m  ok  " in text


def test_a_console_without_colour_draws_without() -> None:
    report, written = terminal(no_color=True)
    draw_all(report)
    assert "\x1b[32m" not in written.getvalue()
    assert "\x1b[36m" not in written.getvalue()


def test_long_lines_are_not_broken_in_a_pipe() -> None:
    report, written = pipe()
    report.line("x" * 500)
    report.check("y" * 500, True)
    assert [len(line) for line in written.getvalue().splitlines()] == [500, 506]


def test_a_check_that_does_not_hold_is_remembered() -> None:
    report, written = pipe()
    report.check("this held", True)
    report.check("this did not", False)
    assert report.failed == ["this did not"]
    assert "  NOT this did not" in written.getvalue()


def test_text_that_looks_like_markup_is_printed_as_it_is() -> None:
    for report, written in (pipe(), terminal()):
        report.table("Titles", ["Title"], [["[Rec]²"], ["[bold]"]])
        report.line("[red]")
        assert all(text in written.getvalue() for text in ("[Rec]²", "[bold]", "[red]"))


def test_a_table_without_rows_shows_its_headings() -> None:
    report, written = pipe()
    report.table("Nothing", ["Name", "Films"], [])
    assert written.getvalue().splitlines() == ["", "Nothing", "  Name  Films"]


def test_the_highest_bar_is_full_and_the_lowest_is_seen() -> None:
    lines = histogram_lines({1999: 1000, 2001: 1}, height=2)
    assert lines == [
        "  1,000 │█",
        "      0 │█ ▁",
        "        └─┬─",
        "          2000",
    ]


def test_a_histogram_of_nothing_is_nothing() -> None:
    assert histogram_lines({}) == []
