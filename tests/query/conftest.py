"""The shop's database, for tests that run statements."""

import decimal
from collections.abc import Iterator

import pytest

from tests.query.shop import Order, Status, User, open_shop, run
from tests.query.statements import Shop
from trioorm.query import insert


@pytest.fixture
def shop(dsn: str) -> Iterator[Shop]:
    """A connection to a fresh database with the shop's empty tables."""
    with open_shop(dsn) as connection:
        yield connection


@pytest.fixture
def filled(shop: Shop) -> Shop:
    """Ada (36, two orders), Bob (17, one order), Cyd (50, none; managed by Ada)."""
    run(
        shop, insert(User).values(User(name="Ada", age=36, email="ada@x"), User(name="Bob", age=17), User(name="Cyd", age=50, manager_id=1))
    )
    orders = [
        Order(user_id=1, total=decimal.Decimal("9.50"), tags=["a", "b"], extra={"k": [1, 2]}),
        Order(user_id=1, total=decimal.Decimal(20), status=Status.SENT, weight=1.5),
        Order(user_id=2, total=decimal.Decimal(5), tags=["b"]),
    ]
    run(shop, insert(Order).values_from(orders))
    return shop
