"""Figures become ratios, tables and parts of pages; the pages say what the record says."""

import pytest

from benchmarks.speed.figures import Ratio, ahead, compared, fastest, micros, ratio, series
from benchmarks.speed.publish import PAGE, README, SPEED, page_lines, readme_lines, replaced
from benchmarks.speed.record import Record
from benchmarks.speed.showing import markdown_table, where_others_win

FIGURES = {
    "get": {
        "asyncpg": {"cpu": [10.0, 20.0, 30.0, 40.0, 50.0], "wall": [1.0] * 5},
        "psycopg": {"cpu": [20.0, 40.0, 60.0, 80.0, 100.0], "wall": [1.0] * 5},
        "trioorm on Trio": {"cpu": [11.0, 30.0, 15.0, 44.0, 45.0], "wall": [2.0] * 5},
        "libpq on Trio": {"cpu": [2.0] * 5, "wall": [1.0] * 5},
        "pgbench": {"cpu": [1.0] * 5, "wall": [1.0] * 5},
    },
    "update": {
        "asyncpg": {"cpu": [10.0, 10.0, 10.0, 10.0, 10.0], "wall": [1.0] * 5},
        "trioorm on Trio": {"cpu": [12.0] * 5, "wall": [1.0] * 5},
    },
    "update_flight": {"trioorm on Trio": {"cpu": [5.0] * 5, "wall": [1.0] * 5}},
}


def test_a_ratio_is_that_of_the_same_round() -> None:
    assert ratio([11, 30, 15, 44, 45], [10, 20, 30, 40, 50]) == Ratio(1.1, 0.9, 1.1)  # of 0.5, 0.9, 1.1, 1.1, 1.5
    assert ratio([3.0], [2.0]) == Ratio(1.5, 1.5, 1.5)


def test_figures_of_different_rounds_are_not_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0], [1.0, 2.0])


def test_who_has_no_way_of_its_own_is_compared_by_the_workload_that_is_alike() -> None:
    assert series(FIGURES, "update_flight", "asyncpg", "cpu") == [10.0] * 5
    assert compared(FIGURES, "update_flight", "trioorm on Trio", "asyncpg") == Ratio(0.5, 0.5, 0.5)
    assert compared(FIGURES, "update_flight", "asyncpg", "trioorm on Trio") is None
    assert compared(FIGURES, "get", "Tortoise", "asyncpg") is None


def test_who_is_ahead_is_told() -> None:
    assert ahead(FIGURES, "get", "trioorm on Trio") == ["asyncpg"]
    assert ahead(FIGURES, "get", "trioorm on Trio", "wall") == ["asyncpg", "psycopg"]
    assert ahead(FIGURES, "update_flight", "trioorm on Trio") == []
    assert where_others_win(FIGURES, "cpu") == ["- get by primary key: asyncpg (0.91)", "- update one in a transaction: asyncpg (0.83)"]
    best = fastest(FIGURES, "update", ["asyncpg", "trioorm on Trio"])
    assert best is not None
    assert best[0] == "asyncpg"


def test_the_table_has_times_ratios_and_the_fastest_in_bold() -> None:
    head, _, get, *_ = markdown_table(FIGURES, "cpu")
    assert head == "| workload | asyncpg | psycopg | trioorm on Trio | libpq on Trio | pgbench |"
    assert get.replace("\N{EN DASH}", "-").startswith(
        "| get by primary key | **30 µs** <br> 1.00 (1.00-1.00) | 60 µs <br> 2.00 (2.00-2.00) |"
    )


@pytest.mark.parametrize(("value", "text"), [(3.14, "3.1 µs"), (314.2, "314 µs"), (3_142.0, "3.1 ms"), (314_200.0, "314 ms")])
def test_lengths_of_time(value: float, text: str) -> None:
    assert micros(value) == text


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    text = "before\n<!-- speed:begin -->\nold\n<!-- speed:end -->\nafter\n"
    new = replaced(text, "speed", ["new"])
    assert new == "before\n<!-- speed:begin -->\n\nnew\n\n<!-- speed:end -->\nafter\n"
    assert replaced(new, "speed", ["new"]) == new
    with pytest.raises(ValueError, match="there is no <!-- growth:begin -->"):
        replaced(text, "growth", ["new"])


@pytest.mark.skipif(not SPEED.exists(), reason="no run is recorded")
def test_the_pages_say_what_the_record_says() -> None:
    record = Record.read(SPEED)
    for path, lines in ((README, readme_lines(record)), (PAGE, page_lines(record))):
        text = path.read_text(encoding="utf-8")
        assert replaced(text, "speed", lines) == text, f"{path.name}: run python -m benchmarks.speed.publish"
