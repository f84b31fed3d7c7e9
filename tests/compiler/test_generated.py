"""Any statement of a grammar over the whole language compiles to SQL that PostgreSQL accepts and that a second parser understands."""

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlglot
from hypothesis import given, settings
from psycopg.pq import ExecStatus
from sqlglot import expressions

from tests.expression.gallery import Thing
from tests.generated import examples
from tests.query.language import statements
from tests.query.shop import MODELS
from trioorm import extension, func, select, table_function
from trioorm.compiler import compile_statement, create_schema_statements, shape_and_values
from trioorm.database.codecs import packer_for
from trioorm.query import Statement

UNKNOWN_TO_SQLGLOT = {
    " <<= ": "it reads this operator of networks as two",
    " >>= ": "likewise",
    " %> ": "it reads this operator of trigrams as two",
    " <->> ": "likewise",
    " <+> ": "it reads this operator of vectors as two",
    " <#> ": "it takes this operator of vectors for one of JSON",
    "OVERRIDING ": "it does not know the clause",
    "TABLESAMPLE ": "it takes a plain number only, and ours is bound",
}
"""What sqlglot cannot parse: a part of the text, and why. PostgreSQL parses it all."""


@pytest.fixture
def server(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        extensions = [extension(name) for name in ("citext", "hstore", "vector", "pg_trgm")]
        for text in create_schema_statements([*extensions, Thing, *MODELS]):
            connection.execute(text.encode())
        yield connection


@settings(max_examples=examples(300))
@given(statement=statements())
def test_any_statement_is_sql(server: psycopg.Connection[Any], statement: Statement[Any]) -> None:
    compiled = compile_statement(statement)
    values = compiled.arranged(shape_and_values(statement)[1])
    assert len(values) == len(compiled.bind_types)
    kinds = [0 if kind is None else packer_for(kind).oid for kind in compiled.bind_types]
    result = server.pgconn.prepare(b"", compiled.text.encode(), kinds)
    assert result.status == ExecStatus.COMMAND_OK, f"{result.error_message.decode()}\n{compiled.text}"
    if not any(part in compiled.text for part in UNKNOWN_TO_SQLGLOT):
        # It takes what lies between two places for values for a string in dollar quotes, so they become names.
        (parsed,) = sqlglot.parse(re.sub(r"\$(\d+)", r"place\1", compiled.text), dialect="postgres")
        assert parsed is not None
        assert not isinstance(parsed, expressions.Command), f"sqlglot did not understand\n{compiled.text}"


@pytest.mark.parametrize("name", ["jsonb_array_elements", "jsonb_each", "jsonb_to_recordset", "jsonb_object_keys"])
def test_rows_made_of_json_are_a_read(name: str) -> None:
    rows = table_function(getattr(func, name)(Thing.j), "rows", columns={"key": str})
    compiled = compile_statement(select(Thing.id).cross_join(rows))
    assert compiled.may_repeat
    assert not compiled.is_write
