"""libpq on Trio with nothing around it: the limit for a client in Python that waits by Trio.

It sends the same messages as trioorm and has the same nursery around a block, since those are the price of what is promised. Of the
promises themselves it keeps none: it looks at no status, survives no cancellation, checks no connection, refuses no misuse, and its
statements are texts written by hand with their values packed by hand. What trioorm takes beyond this is its own.
"""

import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

import outcome
import trio
from attrs import define
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.conninfo import make_conninfo

from benchmarks.speed.contender import Address, Contender, Opening

_BINARY = pq.Format.BINARY
_SYNC = pq.ExecStatus.PIPELINE_SYNC
_TEXT, _BIGINT = 25, 20
_LONG = struct.Struct("!q")
_STATEMENTS: dict[bytes, tuple[bytes, list[int]]] = {
    b"get": (b"SELECT id, name, age FROM person WHERE id = $1", [_BIGINT]),
    b"filter": (b"SELECT id, name, age FROM person WHERE age = $1 ORDER BY id", [_BIGINT]),
    b"insert": (b"INSERT INTO guest (name, age) VALUES ($1, $2) RETURNING id", [_TEXT, _BIGINT]),
    b"begin": (b"BEGIN", []),
    b"update": (b"UPDATE account SET balance = $1 WHERE id = $2", [_BIGINT, _BIGINT]),
    b"lock": (b"SELECT id, owner, balance FROM account WHERE id = $1 FOR UPDATE", [_BIGINT]),
    b"entry": (b"INSERT INTO entry (account_id, amount) VALUES ($1, $2)", [_BIGINT, _BIGINT]),
    b"transaction id": (b"SELECT pg_current_xact_id_if_assigned()", []),
}


@define(eq=False)
class _Person:
    id: int
    name: str
    age: int


@define(eq=False)
class _Account:
    id: int
    owner: str
    balance: int


class Libpq(Contender):
    async def open(self, where: Address, opening: Opening, size: int) -> None:
        address = make_conninfo(host=where.host, port=where.port, user=where.user, dbname=where.database, password=where.password)
        self._connections = [_opened(address) for _ in range(size)]
        self._connection = self._connections[0]
        self._free = list(self._connections)
        self._line: deque[trio.lowlevel.Task] = deque()
        self._reader = Transformer()  # for rows of `person`
        self._reader.set_loader_types([_BIGINT, _TEXT, _BIGINT], _BINARY)

    async def close(self) -> None:
        for connection in self._connections:
            connection.finish()

    async def get(self, key: int) -> object:
        return self._one(await _ask(self._connection, b"get", _LONG.pack(key)))

    def _one(self, result: Any) -> object:
        self._reader.set_pgresult(result, set_loaders=False)
        return self._reader.load_rows(0, 1, _person)[0]

    async def filter(self, age: int) -> Sequence[object]:
        result = await _ask(self._connection, b"filter", _LONG.pack(age))
        reader = self._reader
        reader.set_pgresult(result, set_loaders=False)
        return reader.load_rows(0, result.ntuples, _person)

    async def insert(self, name: str, age: int) -> int:
        result = await _ask(self._connection, b"insert", name.encode(), _LONG.pack(age))
        return _number(result, 0)

    async def update(self, key: int, balance: int) -> None:
        connection = self._connection
        async with trio.open_nursery():
            connection.enter_pipeline_mode()
            _send(connection, b"begin")
            _send(connection, b"update", _LONG.pack(balance), _LONG.pack(key))
            _send(connection, b"transaction id")
            await _fly(connection)
            connection.exit_pipeline_mode()
        connection.send_query_params(b"COMMIT", None)
        await _answer(connection)

    async def update_flight(self, key: int, balance: int) -> None:
        connection = self._connection
        connection.enter_pipeline_mode()
        _send(connection, b"update", _LONG.pack(balance), _LONG.pack(key))
        _send(connection, b"transaction id")
        connection.send_flush_request()  # the id is to come before the commit has begun
        await _fly(connection)
        connection.exit_pipeline_mode()

    async def transfer(self, key: int, amount: int) -> None:
        connection = self._connection
        async with trio.open_nursery():
            connection.enter_pipeline_mode()
            _send(connection, b"begin")
            _send(connection, b"lock", _LONG.pack(key))
            row = (await _fly(connection))[1]
            account = _Account(_number(row, 0), str(row.get_value(0, 1), "utf-8"), _number(row, 2))
            _send(connection, b"update", _LONG.pack(account.balance - amount), _LONG.pack(key))
            _send(connection, b"entry", _LONG.pack(key), _LONG.pack(amount))
            _send(connection, b"transaction id")
            await _fly(connection)
            connection.exit_pipeline_mode()
        connection.send_query_params(b"COMMIT", None)
        await _answer(connection)

    async def pooled_get(self, key: int) -> object:
        if self._free:
            connection = self._free.pop()
        else:
            self._line.append(trio.lowlevel.current_task())
            connection = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        row = self._one(await _ask(connection, b"get", _LONG.pack(key)))
        if self._line:
            trio.lowlevel.reschedule(self._line.popleft(), outcome.Value(connection))
        else:
            self._free.append(connection)
        return row


def _opened(address: str) -> Any:
    connection = pq.PGconn.connect(address.encode())
    for name, (text, types) in _STATEMENTS.items():
        connection.prepare(name, text, types)
    connection.nonblocking = 1
    return connection


def _send(connection: Any, name: bytes, *values: bytes) -> None:
    connection.send_query_prepared(name, values, [_BINARY] * len(values), _BINARY)


async def _ask(connection: Any, name: bytes, *values: bytes) -> Any:
    _send(connection, name, *values)
    return await _answer(connection)


async def _answer(connection: Any) -> Any:
    connection.flush()
    await trio.lowlevel.wait_readable(connection.socket)
    connection.consume_input()
    while connection.is_busy():
        await trio.lowlevel.wait_readable(connection.socket)
        connection.consume_input()
    result = connection.get_result()
    connection.get_result()
    return result


async def _fly(connection: Any) -> list[Any]:
    connection.pipeline_sync()
    connection.flush()
    results: list[Any] = []
    while True:
        await trio.lowlevel.wait_readable(connection.socket)
        connection.consume_input()
        while not connection.is_busy():
            result = connection.get_result()
            if result is None:
                continue
            if result.status == _SYNC:
                return results
            results.append(result)


def _person(values: Sequence[Any]) -> _Person:
    return _Person(*values)


def _number(result: Any, column: int) -> int:
    return int.from_bytes(result.get_value(0, column), "big", signed=True)
