"""`python -m benchmarks.storm.retries`: transactions tried again under kills, and each of them written once. A drill of `make storm`.

Many tasks move money between few accounts under SERIALIZABLE, so that they conflict all the time, while sessions are killed at random. Each
transfer has a number of its own, unique in the table only by the promise that a block that ends well is committed once and one that raises
is not. In the end the numbers that were reported as done are there exactly once, no other is there (but for unknown outcomes), and no money
is lost.
"""

import argparse
import random
import sys
import time

import anyio
from attrs import define

from trioorm import Column, CommitOutcomeUnknown, Database, Model, Retry, Transaction, column, open_database, select, sql, sum_, update
from trioorm.instruments import AttemptEnded, Instrument

_ACCOUNTS = 20
_TASKS = 16
_CONNECTIONS = 8
_PATIENT = Retry(max_attempts=1000, base_seconds=0.002, max_seconds=0.1)


class Account(Model, table="drill_accounts"):
    id: Column[int] = column(primary_key=True)
    balance: Column[int]


@define
class _Seen(Instrument):
    attempts: int = 0
    conflicts: int = 0
    lost: int = 0

    def attempt_ended(self, event: AttemptEnded, /) -> None:
        self.attempts += 1
        name = type(event.error).__name__
        self.conflicts += name in ("SerializationFailure", "DeadlockDetected")
        self.lost += name == "ConnectionLost"


async def _transfer(tx: Transaction, number: int, payer: int, payee: int) -> None:
    one, two = await tx.get(Account, payer), await tx.get(Account, payee)
    await tx.execute(update(Account).set(Account.balance, one.balance - 1).where(Account.id == payer))
    await tx.execute(update(Account).set(Account.balance, two.balance + 1).where(Account.id == payee))
    await tx.execute(sql("INSERT INTO drill_transfers VALUES ({number})", number=number))


async def _kill(db: Database, chance: random.Random) -> None:
    while True:
        await anyio.sleep(chance.uniform(0.005, 0.03))
        try:
            await db.execute(
                sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'drill' AND state <> 'idle'"
                    " ORDER BY random() LIMIT 1"
                )
            )
        except CommitOutcomeUnknown:
            pass


async def drill(transactions: int, seed: int) -> bool:
    """Run it; whether every bar held."""
    seen = _Seen()
    done: set[int] = set()
    unknown: set[int] = set()
    numbers = iter(range(transactions))

    async def client(db: Database, number: int) -> None:
        chance = random.Random(seed + number)
        for mine in numbers:
            payer, payee = chance.sample(range(_ACCOUNTS), 2)
            try:
                await db.run_in_transaction(_transfer, mine, payer, payee, isolation="serializable", retry=_PATIENT)
            except CommitOutcomeUnknown:
                unknown.add(mine)
            else:
                done.add(mine)

    started_at = time.perf_counter()
    async with open_database("embedded:") as witness:
        await witness.create_schema(Account)
        # No key: the server is not to help.
        await witness.execute(sql("CREATE TABLE drill_transfers (number bigint NOT NULL)"))
        await witness.insert_many([Account(id=number, balance=1000) for number in range(_ACCOUNTS)])
        address = f"{witness.address} application_name=drill"
        async with open_database(address, max_size=_CONNECTIONS, instruments=[seen]) as db, anyio.create_task_group() as faults:
            faults.start_soon(_kill, witness, random.Random(seed))
            async with anyio.create_task_group() as clients:
                for number in range(_TASKS):
                    clients.start_soon(client, db, number)
            faults.cancel_scope.cancel()
        written = await witness.fetch_all(sql("SELECT number FROM drill_transfers").returns(int))
        money = await witness.fetch_value(select(sum_(Account.balance)))
    seconds = time.perf_counter() - started_at
    duplicates = len(written) - len(set(written))
    missing, ghosts = done - set(written), set(written) - done - unknown
    print(
        f"{transactions:,} transactions in {seconds:.1f} s, {seen.attempts:,} attempts: {seen.conflicts:,} conflicts, "
        f"{seen.lost:,} connections lost, {len(unknown)} outcomes unknown"
    )
    print(f"duplicates: {duplicates}, missing: {len(missing)}, not reported but there: {len(ghosts)}, money: {money} of {_ACCOUNTS * 1000}")
    return not (duplicates or missing or ghosts) and money == _ACCOUNTS * 1000 and bool(seen.conflicts and seen.lost)


def main() -> int:
    """Run it on both loops; the exit status is 0 when every bar held, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm.retries", description=__doc__)
    parser.add_argument("--transactions", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of all that is drawn; a new one by default, and printed")
    chosen = parser.parse_args()
    seed = random.randrange(2**32) if chosen.seed is None else chosen.seed
    held = True
    for loop in ("trio", "asyncio"):
        print(f"Retries on {loop}, seed {seed}")
        held = anyio.run(drill, chosen.transactions, seed, backend=loop) and held
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
