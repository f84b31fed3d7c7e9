"""Money between accounts, by many clients at once, and no cent is lost. `python -m examples.transfer`.

A transfer says what it needs and nothing about failure: conflicts with other transfers are run again by `run_in_transaction`, what the
account refuses comes out as an exception, and the time that all of it may take is a scope around the call.
"""

import random

import anyio

from trioorm import CheckViolation, Column, Database, Model, Transaction, column, count, open_database, select, sum_, update

OWNERS = ["Ada", "Grace", "Edsger", "Barbara"]


class Account(Model, table="accounts"):
    owner: Column[str] = column(primary_key=True)
    balance: Column[int] = column(check=lambda balance: balance >= 0)


class Transfer(Model, table="transfers"):
    id: Column[int] = column(primary_key=True, generated=True)
    payer: Column[str] = column(references=lambda: Account.owner)
    payee: Column[str] = column(references=lambda: Account.owner)
    amount: Column[int] = column(check=lambda amount: amount > 0)


async def transfer(tx: Transaction, payer: str, payee: str, amount: int) -> Transfer:
    """Move an amount, and write it down: both, or nothing at all."""
    for owner, change in ((payer, -amount), (payee, amount)):
        await tx.execute(update(Account).set(Account.balance, Account.balance + change).where(Account.owner == owner))
    return await tx.insert(Transfer(payer=payer, payee=payee, amount=amount))


async def pay(db: Database, payer: str, payee: str, amount: int) -> bool:
    """What a client calls: within ten seconds it is done, or refused, or it was as if it had never been tried."""
    with anyio.fail_after(10):
        try:
            await db.run_in_transaction(transfer, payer, payee, amount, isolation="serializable")
        except CheckViolation:
            return False  # the balance does not reach so far
    return True


async def main() -> None:
    async with open_database("embedded:", max_size=8) as db:
        await db.create_schema(Account, Transfer)
        await db.insert_many([Account(owner=owner, balance=100) for owner in OWNERS])

        done: list[bool] = []

        async def client(number: int) -> None:
            chance = random.Random(number)
            for _ in range(10):
                payer, payee = chance.sample(OWNERS, 2)
                done.append(await pay(db, payer, payee, chance.randint(1, 120)))

        async with anyio.create_task_group() as clients:
            for number in range(8):
                clients.start_soon(client, number)

        await show(db, done)


async def show(db: Database, done: list[bool]) -> None:
    """Look at the accounts and the transfers at one and the same moment."""
    async with db.snapshot() as snap:
        money = await snap.fetch_value(select(sum_(Account.balance)))
        written = await snap.fetch_value(select(count()).from_(Transfer))
    print(f"80 transfers asked for, {'some' if False in done else 'none'} refused")
    print(f"Money before: 400, afterwards: {money}")
    print(f"Each that was done is written down once: {written == done.count(True)}")


if __name__ == "__main__":
    anyio.run(main, backend="trio")
    anyio.run(main, backend="asyncio")
