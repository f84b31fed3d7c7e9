"""Generated statements over generated data: what a real server answers is what plain Python works out.

Source of the rules: `tests/query/sql_rules.py`, which asks neither the library nor a server.
"""

import decimal
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings

from tests.generated import examples
from tests.query.semantics import combined, derived_tables, grouped, joined_tables, plain
from tests.query.shop import run
from tests.query.sql_rules import DATA, Data, Item, Part, Question
from trioorm.compiler import create_schema_statements
from trioorm.query import insert

Answers = list[tuple[Any, ...]]


@pytest.fixture
def server(dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        for text in create_schema_statements((Item, Part)):
            connection.execute(text.encode())
        yield connection


def check(server: psycopg.Connection[tuple[object, ...]], data: Data, question: Question) -> None:
    with server.transaction(force_rollback=True):
        for model, rows in ((Item, data["items"]), (Part, data["parts"])):
            if rows:
                run(server, insert(model).values_from(rows))
        found = [tuple(map(plainly, row)) for row in run(server, question.statement)]
    expected = [tuple(map(plainly, row)) for row in question.rows(data)]
    if question.ordered:
        assert found == expected, str(question.statement)
    else:
        assert Counter(found) == Counter(expected), str(question.statement)


def plainly(value: object) -> object:
    """A mean without the digits in which PostgreSQL's numeric and a fraction differ; a list as a tuple, to be counted."""
    if isinstance(value, list):
        return tuple(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - whatever it holds
    return round(float(value), 9) if isinstance(value, (Fraction, decimal.Decimal)) else value


@settings(max_examples=examples(200))
@given(data=DATA, question=plain(joined_tables()))
def test_filters_orders_joins_and_windows(server: psycopg.Connection[tuple[object, ...]], data: Data, question: Question) -> None:
    check(server, data, question)


@settings(max_examples=examples(150))
@given(data=DATA, question=grouped())
def test_groups(server: psycopg.Connection[tuple[object, ...]], data: Data, question: Question) -> None:
    check(server, data, question)


@settings(max_examples=examples(100))
@given(data=DATA, question=combined())
def test_set_operations(server: psycopg.Connection[tuple[object, ...]], data: Data, question: Question) -> None:
    check(server, data, question)


@settings(max_examples=examples(100))
@given(data=DATA, question=plain(derived_tables()))
def test_subqueries_and_ctes(server: psycopg.Connection[tuple[object, ...]], data: Data, question: Question) -> None:
    check(server, data, question)
