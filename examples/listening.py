"""Orders are packed as soon as they are committed, even when the connection breaks meanwhile. `python -m examples.listening`.

A notification is a hint that comes fast; the table is the truth. So whoever listens looks at the table when it begins and after each
`Gap` or `Overflow`, and nothing is ever left lying.
"""

import anyio
from anyio.abc import ObjectSendStream, TaskStatus

from trioorm import Column, Database, Gap, Model, Notification, Overflow, column, not_, open_database, select, sql, update


class Order(Model, table="orders"):
    id: Column[int] = column(primary_key=True, generated=True)
    item: Column[str]
    is_packed: Column[bool] = column(default=False)


async def main() -> None:
    async with open_database("embedded:") as db:
        await db.create_schema(Order)
        await place_order(db, "tea")  # before anybody listens
        send_packed, packed = anyio.create_memory_object_stream[str](10)
        with packed:
            async with anyio.create_task_group() as nursery:
                await nursery.start(pack_orders, db, send_packed)
                print(f"Packed {await packed.receive()}")

                await place_order(db, "milk")
                print(f"Packed {await packed.receive()}")

                print("The connection of the listeners breaks")
                await break_connection_of_listeners(db)
                await place_order(db, "sugar")
                print(f"Packed {await packed.receive()}")
                nursery.cancel_scope.cancel()


async def place_order(db: Database, item: str) -> None:
    """The notification is sent when the order is committed, never before, and not at all if it is rolled back."""
    async with db.transaction() as tx:
        order = await tx.insert(Order(item=item))
        await tx.notify("orders", str(order.id))


async def pack_orders(db: Database, packed: ObjectSendStream[str], *, task_status: TaskStatus[None]) -> None:
    """Until cancelled: pack what is ordered."""
    async with packed, db.listen("orders", buffer=100) as events:
        task_status.started()
        await pack_all(db, packed)
        async for event in events:
            match event:
                case Notification(payload=order_id):
                    await pack(db, int(order_id), packed)
                case Gap() | Overflow():
                    print(f"{event}: looking for what was missed")
                    await pack_all(db, packed)


async def pack_all(db: Database, packed: ObjectSendStream[str]) -> None:
    """Pack every order that lies there."""
    for order_id in await db.fetch_all(select(Order.id).where(not_(Order.is_packed)).order_by(Order.id)):
        await pack(db, order_id, packed)


async def pack(db: Database, order_id: int, packed: ObjectSendStream[str]) -> None:
    """Pack one order, unless that is done: after a gap it may be found in the table and be heard of as well."""
    unpacked = (Order.id == order_id) & not_(Order.is_packed)
    item = await db.fetch_optional(update(Order).set(Order.is_packed, True).where(unpacked).returning(Order.item))
    if item is not None:
        await packed.send(item)


async def break_connection_of_listeners(db: Database) -> None:
    """What a failover or a restart would do."""
    await db.execute(sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"))


if __name__ == "__main__":
    anyio.run(main, backend="trio")
    anyio.run(main, backend="asyncio")
