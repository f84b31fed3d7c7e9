"""psycopg under Trio, with the pool and without models: readings, and workers that share them out. `python -m examples.plain_psycopg`.

A connection of the pool is a `psycopg.AsyncConnection`; what psycopg's documentation says of that holds here. Under asyncio it is the same
program.
"""

import anyio

from trioorm.embedded import open_server
from trioorm.pool import Pool, open_pool

WORKERS = 4


async def main() -> None:
    async with open_server() as server, open_pool(server.conninfo(), max_size=WORKERS) as pool:
        await load(pool, readings=1000)
        async with anyio.create_task_group() as nursery:
            for _ in range(WORKERS):
                nursery.start_soon(work, pool)
        await report(pool)
        await give_up(pool)


async def load(pool: Pool, readings: int) -> None:
    """All of the readings, or none."""
    with await pool.acquire() as connection:
        await connection.execute("CREATE TABLE readings (id int PRIMARY KEY, celsius float, fahrenheit float)")
        async with connection.cursor() as cursor, cursor.copy("COPY readings (id, celsius) FROM STDIN") as copy:
            for number in range(readings):
                await copy.write_row((number, number % 40))


async def work(pool: Pool) -> None:
    """Until none is left: take some readings that no other worker has, and convert them in the same transaction."""
    taken = 1
    while taken:
        with await pool.acquire() as connection:
            async with connection.transaction():
                cursor = await connection.execute(
                    "SELECT id, celsius FROM readings WHERE fahrenheit IS NULL LIMIT 50 FOR UPDATE SKIP LOCKED"
                )
                rows = await cursor.fetchall()
                changes = [(celsius * 9 / 5 + 32, number) for number, celsius in rows]
                await cursor.executemany("UPDATE readings SET fahrenheit = %s WHERE id = %s", changes)
        taken = len(rows)


async def report(pool: Pool) -> None:
    """Rows come as they are read."""
    seen, highest = 0, 0.0
    with await pool.acquire() as connection:
        async for (fahrenheit,) in connection.cursor().stream("SELECT fahrenheit FROM readings"):
            seen, highest = seen + 1, max(highest, fahrenheit)
    print(f"{seen} readings, up to {highest} F")


async def give_up(pool: Pool) -> None:
    """Out of time: the statement is stopped on the server, and its connection is whole."""
    with anyio.move_on_after(0.2):
        with await pool.acquire() as connection:
            await connection.execute("SELECT pg_sleep(60)")
    statistics = pool.statistics()
    with await pool.acquire() as connection:
        cursor = await connection.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'")
        row = await cursor.fetchone()
    print(f"Connections on loan: {statistics.on_loan}; statements still running: {row and row[0]}")


if __name__ == "__main__":
    anyio.run(main, backend="trio")
    anyio.run(main, backend="asyncio")
