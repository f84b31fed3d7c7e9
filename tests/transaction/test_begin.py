"""How a transaction begins: what is in force on the server, and what is sent when."""

from collections.abc import Callable

import anyio
import pytest

from tests.transaction.conftest import Flights
from tests.transaction.ledger import Entry, keys_in, open_ledger, write
from trioorm import Database, DatabaseError, Transaction, TransactionClosed, select, sql
from trioorm.errors import UsageError, leaves_of
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


_ENDS = [
    "COMMIT",
    "rollback",
    "END",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "/* so */ ROLLBACK AND CHAIN",
    "BEGIN",
    "PREPARE TRANSACTION 'x'",
]


@pytest.mark.parametrize("text", _ENDS)
@pytest.mark.parametrize("way", ["the verb", "a flight", "a savepoint", "a child", "a stream", "a stream in a savepoint"])
async def test_what_ends_a_transaction_as_text_is_refused_before_it_is_sent(dsn: str, text: str, way: str) -> None:
    """What came before would be committed, or gone without a word, and what comes after be another transaction's."""
    ends = sql(text)  # pyright: ignore[reportArgumentType] - a list of such texts
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            with pytest.raises((UsageError, ExceptionGroup)) as caught:
                match way:
                    case "the verb":
                        await tx.execute(ends)
                    case "a flight":
                        async with tx.flight() as flight:
                            flight.insert(Entry(key=2))
                            flight.execute(ends)
                    case "a savepoint":
                        async with tx.savepoint() as sp:
                            await write(sp, 2)
                            await sp.execute(ends)
                    case "a stream":
                        async with tx.stream(ends.returns(int)):
                            raise AssertionError("it was entered")
                    case "a stream in a savepoint":
                        async with tx.savepoint() as sp:
                            await write(sp, 2)
                            async with sp.stream(ends.returns(int)):
                                raise AssertionError("it was entered")
                    case _:
                        async with anyio.create_task_group() as nursery:
                            nursery.start_soon(tx.execute, ends)
            [refusal] = leaves_of(caught.value)
            assert isinstance(refusal, UsageError)
            assert "Nothing was sent" in str(refusal)
            await write(tx, 3)
        assert keys_in(dsn) == [1, 3]


@pytest.mark.parametrize("way", ["explain", "copy_out", "a cursor", "fetch_many"])
async def test_it_is_not_sent_by_another_verb_either(dsn: str, way: str) -> None:
    """In most of them the server refuses it, as a part of a statement in which it has no place."""
    ends = sql("COMMIT").returns(int)
    async with open_ledger(dsn) as db:
        with pytest.raises((DatabaseError, UsageError)):
            async with db.transaction() as tx:
                await write(tx, 1)
                match way:
                    case "explain":
                        await tx.explain(ends, analyze=True)
                    case "copy_out":
                        async with tx.copy_out(ends, format="csv") as blocks:
                            assert [block async for block in blocks] == []
                    case "a cursor":
                        async with tx.stream(ends, cursor=True):
                            raise AssertionError("it was entered")
                    case _:
                        await tx.fetch_many(ends, ends)
        assert keys_in(dsn) == []


async def test_savepoints_as_text_are_the_callers_own_matter(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await tx.execute(sql("SAVEPOINT mine"))
            await write(tx, 1)
            await tx.execute(sql("ROLLBACK TO mine"))
            await write(tx, 2)
        assert keys_in(dsn) == [2]


@pytest.mark.parametrize("goes_on", [True, False])
@pytest.mark.usefixtures("ends_unseen")
async def test_a_transaction_that_was_ended_all_the_same_does_not_go_on_unprotected(dsn: str, goes_on: bool) -> None:
    """A text that nobody knows to do that: what libpq says of the transaction decides."""
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionClosed, match="a statement inside the transaction ended it") as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                await tx.execute(sql("COMMIT"))
                if goes_on:
                    await write(tx, 2)
        assert "To fix it: let the block end the transaction" in str(caught.value)
        assert 2 not in keys_in(dsn)


async def test_a_begin_as_text_outside_of_a_transaction_does_not_stay_in_the_pool(dsn: str) -> None:
    """libpq says that the connection is not idle, and it is closed instead of lent again."""

    async def count(db: Database) -> int:
        return await db.fetch_value(sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'").returns(int))

    async with open_ledger(dsn) as db:
        await db.execute(sql("BEGIN"))
        await write(db, 1)
        assert keys_in(dsn) == [1]
        assert await count(db) == 0
