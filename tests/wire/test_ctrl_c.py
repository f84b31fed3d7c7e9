"""Ctrl-C on Trio, at every line of ours that a program runs through which uses psycopg's API."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import psycopg

from tests.wire.ctrl_c import ControlC
from trioorm.wire import AnyIOConnection

_HALVES = "SELECT count(*) FILTER (WHERE name ~ 'first') - count(*) FILTER (WHERE name ~ 'second') FROM guest"
_WRITE = "INSERT INTO guest VALUES (%s)"


async def _transaction(connection: AnyIOConnection[Any]) -> None:
    async with connection.transaction():
        await connection.execute(_WRITE, ["first"])
        async with connection.transaction():
            await connection.execute(_WRITE, ["second"])


async def _cursors(connection: AnyIOConnection[Any]) -> None:
    async with connection.cursor() as cursor:
        await cursor.executemany(_WRITE, [["first"], ["second"]])
        async for _ in cursor.stream("SELECT generate_series(1, 3)"):
            pass
    async with connection.transaction(), connection.cursor("named") as cursor:
        await cursor.execute("SELECT generate_series(1, 3)")
        await cursor.fetchone()


async def _pipeline(connection: AnyIOConnection[Any]) -> None:
    async with connection.pipeline(), connection.transaction():
        await connection.execute(_WRITE, ["first"])
        await connection.execute(_WRITE, ["second"])


async def _copy(connection: AnyIOConnection[Any]) -> None:
    async with connection.cursor() as cursor, cursor.copy("COPY guest FROM STDIN") as copy:
        await copy.write_row(["first"])
        await copy.write_row(["second"])
    async with connection.cursor() as cursor, cursor.copy("COPY (SELECT 1) TO STDOUT") as copy:
        async for _ in copy.rows():
            pass


async def _notifications(connection: AnyIOConnection[Any]) -> None:
    await connection.execute("LISTEN guests")
    await connection.execute("NOTIFY guests")
    async for _ in connection.notifies(timeout=1, stop_after=1):
        pass


async def _program(dsn: str, work: Callable[[AnyIOConnection[Any]], Awaitable[None]]) -> None:
    async with await AnyIOConnection.connect(dsn) as connection:
        await work(connection)


def test_ctrl_c_at_any_line_ends_the_program_and_leaves_nothing_half_done(dsn: str) -> None:
    control_c = ControlC()
    with psycopg.connect(dsn, autocommit=True) as witness:
        witness.execute("CREATE TABLE guest (name text NOT NULL)")

        def check(where: str) -> None:
            assert witness.execute(_HALVES).fetchone() == (0,), where

        for work in (_transaction, _cursors, _pipeline, _copy, _notifications):
            control_c.press_everywhere(partial(_program, dsn, work), check)
    assert control_c.pressed > 200
