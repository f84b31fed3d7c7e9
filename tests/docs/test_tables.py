"""What the tables and trees of the documentation say is what the code does."""

import datetime
import decimal
import enum
import inspect
import re
import uuid
from collections.abc import Iterator

import pytest

import trioorm
from tests.docs.pages import ROOT
from trioorm import Database, Json, Transaction, errors, open_database
from trioorm.expression import type_of_annotation


def table_after(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table after a heading, without its head."""
    text = "\n" + (ROOT / "docs" / page).read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"{page} has no heading {heading!r}"
    rows: list[list[str]] = []
    for line in rest.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif rows:
            break
    assert len(rows) > 2, f"{page} has no table after {heading!r}"
    return rows[2:]


class Status(enum.Enum):
    OPEN = "open"


_TYPE_NAMES: dict[str, object] = {"datetime": datetime, "decimal": decimal, "uuid": uuid, "Json": Json, "Status": Status}


@pytest.mark.parametrize("row", table_after("models.md", "## Types"), ids=lambda row: row[0])
def test_the_types_of_the_models_page(row: list[str]) -> None:
    annotation = eval(row[0].strip("`"), _TYPE_NAMES)
    found = type_of_annotation(annotation)
    assert found is not None
    assert (found[0].name, found[1]) == (row[1].strip("`"), False)


def test_the_types_of_the_models_page_are_all() -> None:
    written = {row[1].strip("`") for row in table_after("models.md", "## Types")}
    built_in = {value.name for value in vars(trioorm).values() if isinstance(value, trioorm.SqlType)}
    assert built_in - {"integer", "smallint"} <= written


def test_the_settings_of_the_pool_page() -> None:
    written = {row[0].strip("`"): row[1].strip("`") for row in table_after("pool.md", "## Settings")}
    parameters = inspect.signature(open_database).parameters.values()
    assert written == {parameter.name: repr(parameter.default) for parameter in parameters if parameter.name != "address"}


def test_the_verbs_of_the_reading_and_writing_page() -> None:
    written = {row[0].strip("`").partition("(")[0] for row in table_after("reading-and-writing.md", "# Reading and writing")}
    there = {name for name in dir(Transaction) if not name.startswith("_")} & {name for name in dir(Database) if not name.startswith("_")}
    assert written == there


def test_the_tree_of_the_errors_page() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    found = re.search(r"```text\n(TrioormError\n.*?)```", text, flags=re.DOTALL)
    assert found is not None
    written: set[tuple[str, str]] = set()
    above: list[str] = []
    for line in found[1].splitlines()[1:]:
        depth = (len(line) - len(line.lstrip())) // 4
        name = line.split()[0]
        above = [*(above or ["TrioormError"])[:depth], name]
        written.add((above[-2], name))
    assert written == set(_children(errors.TrioormError))


def _children(parent: type[BaseException]) -> Iterator[tuple[str, str]]:
    """The public classes below one, each with its nearest public ancestor; the wire's twins, which are psycopg's too, count as one."""
    for child in parent.__subclasses__():
        if child.__name__ != parent.__name__ and child.__module__ in ("trioorm.errors", "trioorm.pool.errors"):
            yield parent.__name__, child.__name__
            yield from _children(child)


@pytest.mark.parametrize("row", table_after("errors.md", "## What the server reports"), ids=lambda row: row[0])
def test_the_sqlstates_of_the_errors_page(row: list[str]) -> None:
    for code in re.findall(r"`(\w+)(?:\.\.\.)?`", row[0]):
        assert errors.error_class_for(code.ljust(5, "9")).__name__ == row[1].strip("`")


def test_the_rooms_of_the_design_page_are_all() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rooms = {path.stem for path in (ROOT / "trioorm").iterdir() if path.is_dir() or path.suffix == ".py"} - {"__init__", "__pycache__"}
    assert {room for room in rooms if f"`{room}" not in text and f"{room}/" not in text} == set()
