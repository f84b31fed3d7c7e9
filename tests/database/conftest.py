"""The witness of a test's database."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.wire.witness import Witness


@pytest.fixture
def witness(dsn: str) -> Iterator[Witness]:
    with psycopg.connect(dsn, autocommit=True, application_name="witness") as connection:
        yield Witness(connection)


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """psycopg's own, for what it would do."""
    with psycopg.connect(dsn, autocommit=True) as made:
        yield made
