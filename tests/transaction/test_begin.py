"""How a transaction begins: what is in force on the server, and what is sent when."""

from collections.abc import Callable

import pytest

from tests.transaction.conftest import Flights
from tests.transaction.ledger import Entry, keys_in, open_ledger, write
from trioorm import Database, DatabaseError, Transaction, TransactionClosed, select, sql
from trioorm.transaction import Isolation

# In force on the server.


async def _setting(tx: Transaction, name: str) -> str:
    return await tx.fetch_value(sql("SELECT current_setting({name})", name=name).returns(str))


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
@pytest.mark.parametrize("read_only", [False, True])
async def test_the_isolation_asked_for_is_in_force(dsn: str, isolation: Isolation, read_only: bool) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction(isolation=isolation, read_only=read_only) as tx:
            assert await _setting(tx, "transaction_isolation") == isolation
            assert await _setting(tx, "transaction_read_only") == ("on" if read_only else "off")
        async with db.transaction() as tx:
            assert await _setting(tx, "transaction_isolation") == "read committed", "it does not stick to the connection"
            assert await _setting(tx, "transaction_read_only") == "off"


async def test_deferrable_is_in_force(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction(isolation="serializable", read_only=True, deferrable=True) as tx:
            assert await _setting(tx, "transaction_deferrable") == "on"


async def test_a_write_in_a_read_only_transaction_is_refused_with_the_way_out(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(DatabaseError, match="open it without `read_only=True`") as caught:
            async with db.transaction(read_only=True) as tx:
                await write(tx, 1)
        assert caught.value.sqlstate == "25006"
        assert keys_in(dsn) == []


async def test_a_repeatable_read_sees_one_snapshot(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction(isolation="repeatable read") as tx:
            assert await tx.fetch_all(select(Entry)) == []
            await write(db, 1)
            assert await tx.fetch_all(select(Entry)) == []


async def test_contradicting_arguments_are_refused_at_once(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(ValueError, match='add isolation="serializable", read_only=True'):
            db.transaction(deferrable=True)
        with pytest.raises(ValueError, match="use one of 'read committed', 'repeatable read', 'serializable'"):
            db.transaction(isolation="snapshot")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# What is sent when.


async def test_an_empty_transaction_sends_nothing(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        noted = flights()
        async with db.transaction():
            pass
        with pytest.raises(LookupError):
            async with db.transaction():
                raise LookupError
        async with db.transaction() as tx:
            async with tx.savepoint() as sp:
                async with sp.savepoint():
                    pass
        assert noted.sent == []


async def test_begin_travels_with_the_first_statement(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        noted = flights()
        async with db.transaction() as tx:
            await tx.fetch_all(select(Entry))
            await tx.fetch_all(select(Entry))
        assert noted.sent == [["BEGIN", "SELECT"], ["SELECT"], ["COMMIT"]]


async def test_savepoints_travel_with_their_first_statement(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        noted = flights()
        async with db.transaction() as tx:
            async with tx.savepoint() as sp:
                async with sp.savepoint() as deeper:
                    await deeper.fetch_all(select(Entry))
        assert noted.sent == [["BEGIN", "SAVEPOINT", "SAVEPOINT", "SELECT"], ["RELEASE"], ["RELEASE"], ["COMMIT"]]


async def test_a_failed_first_statement_is_rolled_back_too(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        noted = flights()
        with pytest.raises(DatabaseError):
            async with db.transaction() as tx:
                await tx.execute(sql("SELECT 1 / 0").reads_only())
        assert noted.sent == [["BEGIN", "SELECT"], ["ROLLBACK"]]


async def test_a_single_statement_needs_no_begin(dsn: str, flights: Callable[[], Flights]) -> None:
    async with open_ledger(dsn) as db:
        noted = flights()
        await write(db, 1)
        assert noted.sent == [["INSERT"]]


# Ended as text.


@pytest.mark.parametrize("text", ["COMMIT", "ROLLBACK", "END"])
async def test_a_transaction_ended_as_text_does_not_go_on_unprotected(dsn: str, text: str) -> None:
    async def end_it(tx: Transaction) -> None:
        await tx.execute(sql(text))  # pyright: ignore[reportArgumentType]

    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionClosed, match="a statement inside the transaction ended it") as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                await end_it(tx)
                await write(tx, 2)
        assert "To fix it: let the block end the transaction" in str(caught.value)
        assert 2 not in keys_in(dsn)


@pytest.mark.parametrize("text", ["COMMIT", "ROLLBACK"])
async def test_a_transaction_ended_as_text_at_its_very_end_is_told_too(dsn: str, text: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionClosed, match="ended it"):
            async with db.transaction() as tx:
                await write(tx, 1)
                await tx.execute(sql(text))  # pyright: ignore[reportArgumentType]


async def test_a_begin_as_text_outside_of_a_transaction_does_not_stay_in_the_pool(dsn: str) -> None:
    """libpq says that the connection is not idle, and it is closed instead of lent again."""

    async def count(db: Database) -> int:
        return await db.fetch_value(sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'").returns(int))

    async with open_ledger(dsn) as db:
        await db.execute(sql("BEGIN"))
        await write(db, 1)
        assert keys_in(dsn) == [1]
        assert await count(db) == 0


async def test_a_transaction_as_text_inside_a_savepoint_is_told(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionClosed, match="ended it"):
            async with db.transaction() as tx:
                await write(tx, 1)
                async with tx.savepoint() as sp:
                    await write(sp, 2)
                    await sp.execute(sql("ROLLBACK"))
                    await write(sp, 3)
        assert keys_in(dsn) == []
