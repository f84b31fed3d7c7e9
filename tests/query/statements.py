"""What tests of statements expect of one: its exact text and values, and what it prints."""

from typing import TypeAlias

import psycopg

from trioorm.compiler import compile_statement, shape_and_values
from trioorm.query import Statement

Shop: TypeAlias = psycopg.Connection[tuple[object, ...]]

USER = '"users"."id", "users"."name", "users"."age", "users"."email", "users"."active", "users"."manager_id"'
"""All columns of the shop's users."""


def expect(statement: Statement[object], text: str, values: list[object]) -> None:
    """The statement is compiled to this text with these values, says so by `sql()`, and prints it."""
    compiled = compile_statement(statement)
    assert compiled.text == text
    assert compiled.arranged(shape_and_values(statement)[1]) == values
    assert statement.sql() == (text, tuple(values))
    assert str(statement) == text
