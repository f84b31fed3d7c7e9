"""asyncpg's connection, jsonb decoded by a codec as its documentation shows, rows as its records. On asyncio and on uvloop.

One connection without a pool, which would only add to its time, except where many tasks share a pool. It has no pipeline mode, so nothing
saves trips where the server is far, except to put work into one statement.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from benchmarks.speed.contender import Address, Contender, GuestRow, Opening, VisitRow

_READING = "SELECT id, device, taken_at, amount, ratio, is_valid, kind, token, note, details FROM reading"
_ARTISTS = "SELECT a.id, a.name FROM artist a JOIN credit c ON c.artist_id = a.id WHERE c.film_id = $1 AND c.role = $2 ORDER BY c.place"


async def _set_codec(connection: Any) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


async def _leave_as_it_is(_connection: Any) -> None:
    pass


class Asyncpg(Contender):
    openings = frozenset({Opening.SINGLE, Opening.POOL, Opening.BARE_POOL})

    async def open(self, where: Address, opening: Opening, size: int) -> None:
        options: dict[str, Any] = {
            "host": where.host,
            "port": where.port,
            "user": where.user,
            "database": where.database,
            "password": where.password,
        }
        self._closes: Any
        if opening is Opening.SINGLE:
            self._connection: Any = await asyncpg.connect(**options)
            await _set_codec(self._connection)
            self._closes = self._connection
        else:
            if opening is Opening.BARE_POOL:
                options["reset"] = _leave_as_it_is
            self._pool: Any = await asyncpg.create_pool(**options, min_size=size, max_size=size, init=_set_codec)
            self._closes = self._pool

    async def close(self) -> None:
        await self._closes.close()

    async def get(self, key: int) -> object:
        return await self._connection.fetchrow("SELECT id, name, age FROM person WHERE id = $1", key)

    async def filter(self, age: int) -> Sequence[object]:
        return await self._connection.fetch("SELECT id, name, age FROM person WHERE age = $1 ORDER BY id", age)

    async def fetch_wide(self, after: int) -> Sequence[object]:
        return await self._connection.fetch(f"{_READING} WHERE id > $1 AND id <= $2 ORDER BY id", after, after + 1000)

    async def stream(self, take: Callable[[object], object]) -> None:
        async with self._connection.transaction():
            cursor = await self._connection.cursor(f"{_READING} ORDER BY id")
            while rows := await cursor.fetch(1000):  # faster than `async for`, which awaits for each row
                for row in rows:
                    take(row)

    async def film(self, key: int) -> object:
        fetch = self._connection.fetch
        return (
            await self._connection.fetchrow("SELECT id, title, year, rating FROM film WHERE id = $1", key),
            await fetch(_ARTISTS, key, "director"),
            await fetch(_ARTISTS, key, "cast"),
            await fetch("SELECT id, film_id, stars, body FROM review WHERE film_id = $1 ORDER BY id", key),
        )

    async def insert(self, name: str, age: int) -> int:
        return await self._connection.fetchval("INSERT INTO guest (name, age) VALUES ($1, $2) RETURNING id", name, age)

    async def insert_many(self, guests: Sequence[GuestRow]) -> list[int]:
        names, ages = [name for name, _ in guests], [age for _, age in guests]  # a third of the time of zip(*guests)
        text = "INSERT INTO guest (name, age) SELECT * FROM unnest($1::text[], $2::bigint[]) RETURNING id"
        return [row[0] for row in await self._connection.fetch(text, names, ages)]

    async def load(self, visits: Sequence[VisitRow]) -> None:
        columns = ["id", "person_id", "page", "at", "seconds"]
        await self._connection.copy_records_to_table("visit", records=visits, columns=columns)

    async def update(self, key: int, balance: int) -> None:
        async with self._connection.transaction():
            await self._connection.execute("UPDATE account SET balance = $1 WHERE id = $2", balance, key)

    async def update_many(self, balances: Sequence[tuple[int, int]]) -> None:
        keys, amounts = [key for key, _ in balances], [amount for _, amount in balances]
        rows = "unnest($1::bigint[], $2::bigint[]) AS new (id, balance)"
        text = f"UPDATE account SET balance = new.balance FROM {rows} WHERE account.id = new.id"
        await self._connection.execute(text, keys, amounts)

    async def transfer(self, key: int, amount: int) -> None:
        connection = self._connection
        async with connection.transaction():
            account = await connection.fetchrow("SELECT id, owner, balance FROM account WHERE id = $1 FOR UPDATE", key)
            await connection.execute("UPDATE account SET balance = $1 WHERE id = $2", account["balance"] - amount, key)
            await connection.execute("INSERT INTO entry (account_id, amount) VALUES ($1, $2)", key, amount)

    async def pooled_get(self, key: int) -> object:
        async with self._pool.acquire() as connection:
            return await connection.fetchrow("SELECT id, name, age FROM person WHERE id = $1", key)

    def plain(self, row: Any, names: Sequence[str]) -> list[object]:
        return list(row)

    def plain_film(self, film: Any) -> list[object]:
        film, directors, cast, reviews = film
        return [film["title"], [row[1] for row in directors], [row[1] for row in cast], [[row["stars"], row["body"]] for row in reviews]]
