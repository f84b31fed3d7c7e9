"""What happens to a query, a transaction and the pool when time runs out. `python -m examples.timeouts`.

Verbs have no `timeout=`: a cancel scope around them says how long they may take, one or a hundred of them.
"""

import time

import anyio

from trioorm import Column, Database, Model, column, count, open_database, select, sql


class Note(Model, table="notes"):
    id: Column[int] = column(primary_key=True, generated=True)
    text: Column[str]


async def main() -> None:
    async with open_database("embedded:", max_size=2) as db:
        await db.create_schema(Note)
        await a_slow_query(db)
        await a_slow_transaction(db)
        await what_is_left(db)


async def a_slow_query(db: Database) -> None:
    """`fail_after` raises TimeoutError. The query is stopped on the server too."""
    started_at = time.perf_counter()
    try:
        with anyio.fail_after(0.2):
            await db.execute(sql("SELECT pg_sleep(60)"))
    except TimeoutError:
        print(f"The query of 60 s was given up after {time.perf_counter() - started_at:.1f} s")


async def a_slow_transaction(db: Database) -> None:
    """`move_on_after` goes on behind its block. What the transaction had written is gone."""
    with anyio.move_on_after(0.2) as timeout:
        async with db.transaction() as tx:
            await tx.insert(Note(text="never to be read"))
            tx.start_soon(tx.execute, sql("SELECT pg_sleep(60)"))
    print(f"The transaction timed out: {timeout.cancelled_caught}")
    print(f"Notes written: {await db.fetch_value(select(count()).from_(Note))}")


async def what_is_left(db: Database) -> None:
    """Every connection is back, and the server is at rest."""
    pool = db.statistics()
    sleeping = await db.fetch_value(
        sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()").returns(
            int
        )
    )
    print(f"Connections on loan: {pool.on_loan}; queries still running: {sleeping}")


if __name__ == "__main__":
    anyio.run(main, backend="trio")
    anyio.run(main, backend="asyncio")
