"""The witness of a test's database."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.wire.witness import Witness


@pytest.fixture
def witness(dsn: str) -> Iterator[Witness]:
    with psycopg.connect(dsn, autocommit=True, application_name="witness") as connection:
        yield Witness(connection)
