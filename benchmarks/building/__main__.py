"""Time the parts, in many short repeats, and print the least of each.

The clock is the CPU time of this process, so that neighbours on the machine count little; the least of many short repeats is what the
work takes when nothing disturbs it. The collector of garbage is left on, as it is in a program.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.building.shop import PRICE, Customer, Line, Order, Product, statement
from trioorm import Statement, delete, insert, select, update
from trioorm.database.plan import PlanCache

_LIMIT_MICROSECONDS = 8.0
_BATCH = 100


def least(work: Callable[[], object], repeats: int) -> float:
    """The microseconds that one call takes in the best of the repeats."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time_ns()
        for _ in range(_BATCH):
            work()
        best = min(best, time.process_time_ns() - begin)
    return best / _BATCH / 1000


def parts() -> dict[str, Callable[[], object]]:
    """What is measured, by its name. Each of a select works on what those before it made, up to all of it; then come other statements."""
    plans = PlanCache()

    def ready(made: Statement[Any]) -> object:
        plan, values = plans.plan(made)
        return plan.step(values)

    bare = select(Order, Product.title)
    on = (Customer.id == Order.customer_id, Line.order_id == Order.id, Product.id == Line.product_id)
    joined = bare.join(Customer, on[0]).join(Line, on[1]).join(Product, on[2])
    conditions = (Customer.id == 7, Customer.country == "NO", Order.status != "cancelled", Line.amount > 2, Product.price <= PRICE)
    narrowed = joined.where(*conditions)
    whole = statement(7)
    plan, values = plans.plan(whole)
    return {
        "select(Order, Product.title)": lambda: select(Order, Product.title),
        "3 conditions of joins": lambda: (Customer.id == Order.customer_id, Line.order_id == Order.id, Product.id == Line.product_id),
        "3 joins": lambda: bare.join(Customer, on[0]).join(Line, on[1]).join(Product, on[2]),
        "5 predicates": lambda: (
            Customer.id == 7, Customer.country == "NO", Order.status != "cancelled", Line.amount > 2, Product.price <= PRICE
        ),
        "where": lambda: joined.where(*conditions),
        "order_by and limit": lambda: narrowed.order_by(Order.placed_on.desc()).limit(20),
        "built": lambda: statement(7),
        "built, plan found": lambda: plans.plan(statement(7)),
        "values packed": lambda: plan.step(values),
        "all: built, plan found, values packed": lambda: ready(statement(7)),
        "the same of a select of one table": lambda: ready(select(Product).where(Product.id == 7).order_by(Product.id)),
        "of one with a lock": lambda: ready(select(Product).where(Product.id == 7).for_update()),
        "of an update": lambda: ready(update(Product).set(Product.price, PRICE).where(Product.id == 7)),
        "of an update by an expression": lambda: ready(update(Line).set(Line.amount, Line.amount + 1).where(Line.id == 7)),
        "of a delete": lambda: ready(delete(Line).where(Line.id == 7)),
        "of an insert, its object too": lambda: ready(insert(Line).values(Line(id=1, order_id=2, product_id=3, amount=4))),
    }  # fmt: skip


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.building", description="the cost of building a statement")
    parser.add_argument("--repeats", type=int, default=400, help=f"how often each part runs {_BATCH} times (400)")
    chosen = parser.parse_args()
    measured = parts()
    found = dict.fromkeys(measured, float("inf"))
    for _ in range(10):  # a machine's slow seconds should not fall on one part alone
        for name, work in measured.items():
            found[name] = min(found[name], least(work, max(1, chosen.repeats // 10)))
    for name, microseconds in found.items():
        print(f"{name:40} {microseconds:6.2f} µs")
    print(
        f"The aim for all of the select is {_LIMIT_MICROSECONDS:.0f} µs. Least of {chosen.repeats} repeats of {_BATCH}, CPU time of the "
        f"process, Python {sys.version.split()[0]}."
    )


if __name__ == "__main__":
    main()
