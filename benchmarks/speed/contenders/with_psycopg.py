"""psycopg's asynchronous connection: prepared statements from the first execution on, results in binary, rows as tuples.

One connection without a pool, which would only add to its time, except where many tasks share a pool. Where the server is far, pipeline
mode saves trips; on the same machine it costs more than it saves.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from benchmarks.speed.contender import Address, Contender, GuestRow, Opening, VisitRow

Row = tuple[Any, ...]
Connection = psycopg.AsyncConnection[Row]

_READING: LiteralString = "SELECT id, device, taken_at, amount, ratio, is_valid, kind, token, note, details FROM reading"
_ARTISTS: LiteralString = (
    "SELECT a.id, a.name FROM artist a JOIN credit c ON c.artist_id = a.id WHERE c.film_id = %s AND c.role = %s ORDER BY c.place"
)
_FILM: tuple[tuple[LiteralString, tuple[str, ...]], ...] = (
    ("SELECT id, title, year, rating FROM film WHERE id = %s", ()),
    (_ARTISTS, ("director",)),
    (_ARTISTS, ("cast",)),
    ("SELECT id, film_id, stars, body FROM review WHERE film_id = %s ORDER BY id", ()),
)


class Psycopg(Contender):
    _connection: Connection
    _pool: AsyncConnectionPool[Connection] | None = None

    async def open(self, where: Address, opening: Opening, size: int) -> None:
        address = make_conninfo(host=where.host, port=where.port, user=where.user, dbname=where.database, password=where.password)
        self._is_far = where.is_far
        if opening is Opening.SINGLE:
            self._connection = await psycopg.AsyncConnection.connect(address, autocommit=True, prepare_threshold=0)
        else:
            options = {"autocommit": True, "prepare_threshold": 0}
            self._pool = AsyncConnectionPool(address, kwargs=options, min_size=size, max_size=size, open=False)
            await self._pool.open(wait=True)

    async def close(self) -> None:
        await (self._pool or self._connection).close()

    async def get(self, key: int) -> Row | None:
        cursor = await self._connection.execute("SELECT id, name, age FROM person WHERE id = %s", (key,), binary=True)
        return await cursor.fetchone()

    async def filter(self, age: int) -> list[Row]:
        cursor = await self._connection.execute("SELECT id, name, age FROM person WHERE age = %s ORDER BY id", (age,), binary=True)
        return await cursor.fetchall()

    async def fetch_wide(self, after: int) -> list[Row]:
        text = f"{_READING} WHERE id > %s AND id <= %s ORDER BY id"
        return await (await self._connection.execute(text, (after, after + 1000), binary=True)).fetchall()

    async def stream(self, take: Callable[[object], object]) -> None:
        async with self._connection.cursor(binary=True) as cursor:
            async for row in cursor.stream(f"{_READING} ORDER BY id", binary=True, size=1000):
                take(row)

    async def film(self, key: int) -> list[list[Row]]:
        async with self._trips_saved():
            cursors = [await self._connection.execute(text, (key, *values), binary=True) for text, values in _FILM]
            return [await cursor.fetchall() for cursor in cursors]

    async def insert(self, name: str, age: int) -> int:
        text = "INSERT INTO guest (name, age) VALUES (%s, %s) RETURNING id"
        row = await (await self._connection.execute(text, (name, age), binary=True)).fetchone()
        assert row is not None
        return int(row[0])

    async def insert_many(self, guests: Sequence[GuestRow]) -> list[int]:
        text = "INSERT INTO guest (name, age) SELECT * FROM unnest(%s::text[], %s::bigint[]) RETURNING id"
        names, ages = [name for name, _ in guests], [age for _, age in guests]
        cursor = await self._connection.execute(text, (names, ages), binary=True)
        return [row[0] for row in await cursor.fetchall()]

    async def load(self, visits: Sequence[VisitRow]) -> None:
        async with self._connection.cursor() as cursor:
            async with cursor.copy("COPY visit (id, person_id, page, at, seconds) FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["int8", "int8", "text", "timestamptz", "float8"])
                for visit in visits:
                    await copy.write_row(visit)

    async def update(self, key: int, balance: int) -> None:
        async with self._trips_saved(), self._connection.transaction():
            await self._connection.execute("UPDATE account SET balance = %s WHERE id = %s", (balance, key))

    async def update_many(self, balances: Sequence[tuple[int, int]]) -> None:
        keys, amounts = [key for key, _ in balances], [amount for _, amount in balances]
        rows = "unnest(%s::bigint[], %s::bigint[]) AS new (id, balance)"
        text = f"UPDATE account SET balance = new.balance FROM {rows} WHERE account.id = new.id"
        await self._connection.execute(text, (keys, amounts))

    async def transfer(self, key: int, amount: int) -> None:
        connection = self._connection
        async with self._trips_saved(), connection.transaction():
            cursor = await connection.execute("SELECT id, owner, balance FROM account WHERE id = %s FOR UPDATE", (key,), binary=True)
            account = await cursor.fetchone()
            assert account is not None
            await connection.execute("UPDATE account SET balance = %s WHERE id = %s", (account[2] - amount, key))
            await connection.execute("INSERT INTO entry (account_id, amount) VALUES (%s, %s)", (key, amount))

    async def pooled_get(self, key: int) -> Row | None:
        assert self._pool is not None
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT id, name, age FROM person WHERE id = %s", (key,), binary=True)
            return await cursor.fetchone()

    @asynccontextmanager
    async def _trips_saved(self) -> AsyncGenerator[None]:
        if self._is_far:
            async with self._connection.pipeline():
                yield
        else:
            yield

    def plain(self, row: Any, names: Sequence[str]) -> list[object]:
        return list(row)

    def plain_film(self, film: Any) -> list[object]:
        films, directors, cast, reviews = film
        return [films[0][1], [row[1] for row in directors], [row[1] for row in cast], [list(row[2:]) for row in reviews]]
