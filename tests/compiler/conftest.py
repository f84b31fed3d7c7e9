"""The shop's database, for tests that run what was compiled."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.query.shop import open_shop


@pytest.fixture
def shop(dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection to a fresh database with the shop's empty tables."""
    with open_shop(dsn) as connection:
        yield connection
