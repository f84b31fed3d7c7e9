"""The first five minutes: a model, a few rows, a question, a transaction. `python -m examples.quickstart`.

No PostgreSQL needs to be installed: the address "embedded:" starts one for the length of the block. It runs under Trio and asyncio alike.
"""

import anyio

from trioorm import Column, Model, Transaction, column, open_database, select, update


class User(Model, table="users"):
    id: Column[int] = column(primary_key=True, generated=True)
    name: Column[str]
    age: Column[int]
    email: Column[str | None] = column(default=None, unique=True)


async def main() -> None:
    async with open_database("embedded:") as db:
        await db.create_schema(User)

        ada = await db.insert(User(name="Ada", age=36))
        await db.insert_many([User(name="Grace", age=85), User(name="Linus", age=12)])
        print(f"Ada got the id {ada.id}")

        adults = await db.fetch_all(select(User).where(User.age > 18).order_by(User.age))
        print("Adults:", ", ".join(user.name for user in adults))

        # A transaction is a nursery: it commits when its block and all children are done, or nothing of it happens.
        async with db.transaction() as tx:
            for user in adults:
                tx.start_soon(celebrate_birthday, tx, user)

        for name, age in await db.fetch_all(select(User.name, User.age).order_by(User.name)):
            print(f"{name} is {age}")


async def celebrate_birthday(tx: Transaction, user: User) -> None:
    await tx.execute(update(User).set(User.age, User.age + 1).where(User.id == user.id))


if __name__ == "__main__":
    anyio.run(main, backend="trio")
    anyio.run(main, backend="asyncio")
