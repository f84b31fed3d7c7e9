"""What the server keeps prepared for a connection: as many statements as the setting says, and never one that is not there any more."""

from collections.abc import Awaitable, Callable

import pytest
from psycopg import AsyncCursor, AsyncRawCursor
from psycopg.errors import DivisionByZero

from tests.wire.witness import again, step, text_rows
from trioorm.pool import open_pool
from trioorm.wire import AnyIOConnection, OnCancel, Statement, command, is_error

_PREPARED = "SELECT string_agg(statement, ',' ORDER BY statement) FROM pg_prepared_statements WHERE name LIKE 'trioorm%'"


async def _prepared(connection: AnyIOConnection) -> str | None:
    """The texts that the server keeps, asked for without preparing anything."""
    [result] = await connection.fly([command(_PREPARED.encode())])
    [[texts]] = text_rows(result)
    return texts


def _numbered(number: int) -> Statement:
    return step(f"SELECT {number}").statement


async def test_it_keeps_those_used_last(dsn: str) -> None:
    one, two, three, four = (_numbered(number) for number in (1, 2, 3, 4))
    async with await AnyIOConnection.connect(dsn, autocommit=True, statement_cache_size=3) as connection:
        for statement in (one, two, three, one, four):
            await connection.fly([again(statement)])
        assert await _prepared(connection) == "SELECT 1,SELECT 3,SELECT 4"


async def test_it_keeps_those_used_last_when_it_may_suddenly_keep_less(dsn: str) -> None:
    one, two, three, four = (_numbered(number) for number in (1, 2, 3, 4))
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        for statement in (one, two, three):
            await connection.fly([again(statement)])
        connection.statement_cache_size = 3
        for statement in (one, four):
            await connection.fly([again(statement)])
        assert await _prepared(connection) == "SELECT 1,SELECT 3,SELECT 4"


async def test_a_flight_of_more_than_it_may_keep_runs_whole(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True, statement_cache_size=2) as connection:
        for _ in range(2):
            results = await connection.fly([step(f"SELECT {number}") for number in range(5)])
            assert [text_rows(result) for result in results] == [[(f"{number}",)] for number in range(5)]
            assert len((await _prepared(connection) or "").split(",")) == 2


async def test_with_a_size_of_0_nothing_is_prepared_under_a_name(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True, statement_cache_size=0) as connection:
        for _ in range(3):
            [result] = await connection.fly([step("SELECT $1::int + 1", "41")])
            assert text_rows(result) == [("42",)]
        assert await _prepared(connection) is None


async def test_a_size_below_0_is_refused(dsn: str) -> None:
    async with await AnyIOConnection.connect(dsn) as connection:
        with pytest.raises(ValueError, match="0 or more"):
            connection.statement_cache_size = -1
    with pytest.raises(ValueError, match="0 or more"):
        open_pool(dsn, statement_cache_size=-1)


async def test_the_pool_hands_the_size_on(dsn: str) -> None:
    async with open_pool(dsn, max_size=1, statement_cache_size=0) as pool:
        with await pool.acquire() as connection:
            assert connection.statement_cache_size == 0


@pytest.mark.parametrize("forget", ["DISCARD ALL", "DEALLOCATE ALL"])
@pytest.mark.parametrize("cursor_factory", [AsyncCursor, AsyncRawCursor])
async def test_what_a_cursor_makes_the_server_forget_is_prepared_anew(
    dsn: str, forget: str, cursor_factory: type[AsyncCursor[tuple[object, ...]]]
) -> None:
    """Inside a transaction too, where the refusal of a missing statement could not be repaired."""
    one = _numbered(1)
    async with await AnyIOConnection.connect(dsn, autocommit=True, cursor_factory=cursor_factory) as connection:
        for _ in range(3):
            await connection.execute(forget)  # pyright: ignore[reportCallIssue, reportArgumentType] - written in this file
            results = await connection.fly([command(b"BEGIN"), again(one), command(b"COMMIT")])
            assert not any(is_error(result) for result in results)


async def test_what_a_flight_makes_the_server_forget_is_prepared_anew(dsn: str) -> None:
    one = _numbered(1)
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        for _ in range(2):
            await connection.fly([again(one), command(b"DEALLOCATE ALL"), command(b"SELECT 2")])
            results = await connection.fly([command(b"BEGIN"), again(one), command(b"COMMIT")])
            assert not any(is_error(result) for result in results)


async def _forget_by_flight(connection: AnyIOConnection) -> None:
    await connection.fly([command(b"DEALLOCATE ALL"), command(b"SELECT 3")])


async def _forget_by_asking(connection: AnyIOConnection) -> None:
    await connection.ask(Statement(b"DEALLOCATE ALL"), (), (), on_cancel=OnCancel.SETTLE)


async def _forget_by_cursor(connection: AnyIOConnection) -> None:
    await connection.execute("DEALLOCATE ALL")


@pytest.mark.parametrize("forget", [_forget_by_flight, _forget_by_asking, _forget_by_cursor])
async def test_what_the_server_has_forgotten_is_prepared_anew_by_psycopg_too(
    dsn: str, forget: Callable[[AnyIOConnection], Awaitable[None]]
) -> None:
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        for _ in range(3):
            await forget(connection)
            for _ in range(2):
                cursor = await connection.execute("SELECT 2", prepare=True)
                assert await cursor.fetchall() == [(2,)]
                await connection.cursor().executemany("SELECT %s", [(1,), (2,)])


async def test_what_a_failed_pipeline_was_to_prepare_is_prepared_later(dsn: str) -> None:
    """psycopg notes its name when it asks for it, and here the server never gets to it."""
    async with await AnyIOConnection.connect(dsn, autocommit=True, prepare_threshold=2) as connection:
        for _ in range(3):
            for _ in range(2):
                await connection.execute("SELECT %s", [1])
            with pytest.raises(DivisionByZero):
                async with connection.pipeline():
                    await connection.execute("SELECT 1 / %s", [0])
                    await connection.execute("SELECT %s", [1])
            assert await (await connection.execute("SELECT %s", [1])).fetchall() == [(1,)]
        row = await (await connection.execute("SELECT count(*) FROM pg_prepared_statements")).fetchone()
        assert row is not None
        assert row[0] <= 3, "what is dropped is closed on the server too"


async def test_psycopgs_own_care_is_noticed(dsn: str) -> None:
    """psycopg drops all prepared statements, those of flights too, when a rollback or a change of a table may have spoilt its own."""
    one = _numbered(1)
    async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
        await connection.fly([again(one)])
        await connection.execute("SELECT 2", prepare=True)
        await connection.execute("CREATE TABLE passing (id int)")
        await connection.execute("DROP TABLE passing")
        await connection.execute("SELECT 3")
        assert await _prepared(connection) is None, "psycopg has not dropped anything: this test shows nothing"
        results = await connection.fly([command(b"BEGIN"), again(one), command(b"COMMIT")])
        assert not any(is_error(result) for result in results)


async def test_a_reset_that_discards_all_leaves_transactions_whole(dsn: str) -> None:
    async def discard(connection: AnyIOConnection) -> None:
        await connection.execute("DISCARD ALL")

    one = _numbered(1)
    async with open_pool(dsn, max_size=1, reset=discard) as pool:
        for _ in range(3):
            with await pool.acquire() as connection:
                results = await connection.fly([command(b"BEGIN"), again(one), command(b"COMMIT")])
                assert not any(is_error(result) for result in results)
