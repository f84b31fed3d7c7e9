"""One database for the tests of a room, empty before each of them.

The contract is that of the fixture `dsn` that it stands in for: a session that outlives its test fails that test. A database for each test
costs up to half a second on a busy machine, and tests of the wire are many and short.
"""

import uuid
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.wire.witness import Witness

_OTHER_SESSIONS = (
    "SELECT coalesce(string_agg(format('process %s, %s: %s', pid, state, left(query, 200)), E'\\n'), '') FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


@contextmanager
def database(server_dsn: str) -> Generator[str]:
    """Make a database, and drop it at the end."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        yield make_conninfo(server_dsn, dbname=name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def witnessed(dsn: str) -> Generator[Witness]:
    """A witness for one test, which finds the database empty; the test fails when a session of it is left."""
    with psycopg.connect(dsn, autocommit=True, application_name="witness") as connection:
        witness = Witness(connection)
        witness.run("DROP SCHEMA public CASCADE")
        witness.run("CREATE SCHEMA public")
        yield witness
        if not witness.becomes_true(f"SELECT ({_OTHER_SESSIONS}) = ''", within_seconds=1.0):
            pytest.fail(f"sessions were left after the test:\n{witness.value(_OTHER_SESSIONS)}", pytrace=False)
