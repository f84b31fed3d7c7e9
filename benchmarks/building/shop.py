"""Four models, and the statement that is measured: 3 joins, 5 predicates with values, an order and a limit."""

from decimal import Decimal

from trioorm import Column, Model, Select, column, select


class Customer(Model, table="customers"):
    """Who orders."""

    id: Column[int] = column(primary_key=True)
    name: Column[str]
    country: Column[str]


class Order(Model, table="orders"):
    """What was ordered together."""

    id: Column[int] = column(primary_key=True)
    customer_id: Column[int]
    status: Column[str]
    placed_on: Column[int]


class Line(Model, table="lines"):
    """One thing of an order."""

    id: Column[int] = column(primary_key=True)
    order_id: Column[int]
    product_id: Column[int]
    amount: Column[int]


class Product(Model, table="products"):
    """What can be ordered."""

    id: Column[int] = column(primary_key=True)
    title: Column[str]
    price: Column[Decimal]


PRICE = Decimal("9.50")


def statement(customer: int) -> Select[tuple[Order, str]]:
    """A statement made anew, with the values of this call."""
    return (
        select(Order, Product.title)
        .join(Customer, Customer.id == Order.customer_id)
        .join(Line, Line.order_id == Order.id)
        .join(Product, Product.id == Line.product_id)
        .where(
            Customer.id == customer,
            Customer.country == "NO",
            Order.status != "cancelled",
            Line.amount > 2,
            Product.price <= PRICE,
        )
        .order_by(Order.placed_on.desc())
        .limit(20)
    )
