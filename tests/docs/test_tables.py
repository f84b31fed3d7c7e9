"""What the tables and trees of the documentation say is what the code does."""

import datetime
import decimal
import enum
import inspect
import re
import uuid
from collections.abc import Iterator

import attrs
import psycopg_pool
import pytest

import trioorm
from tests.docs.pages import ROOT
from trioorm import Database, Json, Transaction, errors, open_database
from trioorm.expression import type_of_annotation, type_text
from trioorm.pool import PoolSettings, open_pool
from trioorm.pool import errors as errors_of_pools
from trioorm.pool.connecting import SAFE_PARAMETERS


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
    also = {name for row in table_after("expressions.md", "## Types") for name in re.findall(r"`([^`(]+)[^`]*`", row[1])}
    built_in = {value.name for value in vars(trioorm).values() if isinstance(value, trioorm.SqlType)}
    assert built_in <= written | also


@pytest.mark.parametrize("row", table_after("expressions.md", "## Types"), ids=lambda row: row[0])
def test_the_types_of_the_expressions_page(row: list[str]) -> None:
    names = {name: value for name, value in vars(trioorm).items() if isinstance(value, trioorm.SqlType)}
    said = [type_text(eval(cell, names)) for cell in re.findall(r"`([^`]+)`", row[0])]
    assert list(dict.fromkeys(said)) == re.findall(r"`([^`]+)`", row[1])


@pytest.mark.parametrize("name", ["arrays", "hstore", "jsonb", "networks", "ranges", "search", "trigram"])
def test_the_functions_of_the_expressions_page_are_all(name: str) -> None:
    page = (ROOT / "docs" / "expressions.md").read_text(encoding="utf-8")
    module = getattr(trioorm, name)
    functions: list[str] = [found for found, value in inspect.getmembers(module, inspect.isfunction) if value.__module__ == module.__name__]
    assert [found for found in functions if not found.startswith("_") and f"`{found}`" not in page] == []


def test_the_settings_of_the_pool_page() -> None:
    written = {row[0].strip("`"): row[1].strip("`") for row in table_after("pool.md", "## Settings")}
    assert written == {name: repr(setting.default) for name, setting in attrs.fields_dict(PoolSettings).items()}


def test_the_settings_of_the_connecting_page() -> None:
    written = {row[0].strip("`"): row[1].strip("`") for row in table_after("connecting.md", "## Settings")}
    for opener in (open_database, open_pool):
        parameters = list(inspect.signature(opener).parameters.values())[1:-1]
        # `error_values` is about models, and told of on the page of errors.
        assert written == {each.name: repr(each.default) for each in parameters if each.name != "error_values"}


def test_the_safe_defaults_of_the_connecting_page() -> None:
    written = {row[0].strip("`"): row[1].strip("`") for row in table_after("connecting.md", "## Safe defaults")}
    assert written == SAFE_PARAMETERS


@pytest.mark.parametrize("row", table_after("pool.md", "## Coming from psycopg_pool"), ids=lambda row: row[0])
def test_the_words_of_psycopg_pool(row: list[str]) -> None:
    theirs = inspect.signature(psycopg_pool.AsyncConnectionPool).parameters
    assert row[0].strip("`") in theirs
    for ours in re.findall(r"`(\w+_\w+)`", row[1]):
        assert ours == "open_pool" or ours in attrs.fields_dict(PoolSettings)


def test_the_words_of_psycopg_pool_are_all() -> None:
    theirs = inspect.signature(psycopg_pool.AsyncConnectionPool).parameters
    same = {name for name in theirs if name in attrs.fields_dict(PoolSettings)}
    written = {row[0].strip("`") for row in table_after("pool.md", "## Coming from psycopg_pool")}
    assert written | same == set(theirs)


def test_the_verbs_of_the_reading_and_writing_page() -> None:
    written = {row[0].strip("`").partition("(")[0] for row in table_after("reading-and-writing.md", "# Reading and writing")}
    # Names of other libraries that only tell the right one are no attributes.
    there = [{name for name in dir(owner) if not name.startswith("_") and hasattr(owner, name)} for owner in (Transaction, Database)]
    assert written == there[0] & there[1]


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
        if child.__name__ != parent.__name__ and child.__module__ in (errors.__name__, errors_of_pools.__name__):
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
