"""What isolation forbids is never seen under SERIALIZABLE with retries and faults; what is allowed below it is seen, and found.

Histories of appends to lists are checked for circles of dependency (`histories.py`), a bank for its total, two doctors for who is on call.
"""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from tests.transaction.histories import Record, anomalies
from tests.wire.witness import Witness
from trioorm import Column, CommitOutcomeUnknown, Database, Model, Retry, Transaction, column, open_database, select, sql, sum_, update
from trioorm.instruments import AttemptEnded, Instrument
from trioorm.transaction import Isolation

PATIENT = Retry(max_attempts=200, base_seconds=0.002, max_seconds=0.05)


class Register(Model, table="registers"):
    """A list, appended to by reading it and writing it whole: the way of a program that does not trust the database to."""

    key: Column[int] = column(primary_key=True)
    items: Column[list[int]] = column(default_factory=list)


async def read(tx: Transaction, record: Record, key: int) -> list[int]:
    items = await tx.fetch_value(select(Register.items).where(Register.key == key))
    own = {value for _, value in record.appended}
    record.read.append((key, tuple(value for value in items if value not in own)))
    return items


async def append(tx: Transaction, record: Record, key: int, value: int) -> None:
    items = await read(tx, record, key)
    await tx.execute(update(Register).set(Register.items, [*items, value]).where(Register.key == key))
    record.appended.append((key, value))


@asynccontextmanager
async def open_registers(dsn: str, number: int = 2, *instruments: Instrument) -> AsyncGenerator[Database]:
    async with open_database(dsn, max_size=6, instruments=instruments) as db:
        await db.create_schema(Register)
        await db.insert_many([Register(key=key) for key in range(number)])
        yield db


async def anomalies_in(db: Database, *records: Record) -> list[str]:
    return anomalies(records, {register.key: register.items for register in await db.fetch_all(select(Register))})


# The check finds what PostgreSQL allows below SERIALIZABLE.


async def _interleave(db: Database, isolation: Isolation, first: Record, second: Record, *, keys: tuple[int, int]) -> None:
    """Both read one list before either appends to the other's."""
    both_have_read = [anyio.Event(), anyio.Event()]

    async def run(number: int, record: Record) -> None:
        async def body(tx: Transaction) -> None:
            record.begin()
            await read(tx, record, keys[number])
            both_have_read[number].set()
            await both_have_read[1 - number].wait()
            await append(tx, record, keys[1 - number], number + 1)

        await db.run_in_transaction(body, isolation=isolation, retry=PATIENT)

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(run, 0, first)
        nursery.start_soon(run, 1, second)


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
async def test_write_skew_is_seen_below_serializable(dsn: str, isolation: Isolation) -> None:
    async with open_registers(dsn) as db:
        first, second = Record("first"), Record("second")
        await _interleave(db, isolation, first, second, keys=(0, 1))
        [found] = await anomalies_in(db, first, second)
        assert found.startswith("circle: ")


async def test_write_skew_is_not_seen_under_serializable(dsn: str) -> None:
    async with open_registers(dsn) as db:
        first, second = Record("first"), Record("second")
        await _interleave(db, "serializable", first, second, keys=(0, 1))
        assert await anomalies_in(db, first, second) == []
        assert len(first.appended) == len(second.appended) == 1


async def _lose_an_update(db: Database, isolation: Isolation, first: Record, second: Record) -> None:
    """Both read the same list, then both append to it."""

    async def slow(tx: Transaction) -> None:
        first.begin()
        items = await read(tx, first, 0)
        if not second.appended:
            async with db.transaction(isolation=isolation) as other:
                await append(other, second, 0, 2)
        await tx.execute(update(Register).set(Register.items, [*items, 1]).where(Register.key == 0))
        first.appended.append((0, 1))

    await db.run_in_transaction(slow, isolation=isolation, retry=PATIENT)


async def test_a_lost_update_is_seen_under_read_committed(dsn: str) -> None:
    async with open_registers(dsn) as db:
        first, second = Record("first"), Record("second")
        await _lose_an_update(db, "read committed", first, second)
        assert "lost update: 2 of second is not there" in await anomalies_in(db, first, second)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_a_lost_update_is_not_seen_above(dsn: str, isolation: Isolation) -> None:
    async with open_registers(dsn) as db:
        first, second = Record("first"), Record("second")
        await _lose_an_update(db, isolation, first, second)
        assert await anomalies_in(db, first, second) == []
        assert (await db.get(Register, 0)).items == [2, 1]


@pytest.mark.parametrize(("isolation", "is_seen"), [("read committed", True), ("repeatable read", False), ("serializable", False)])
async def test_read_skew_is_seen_under_read_committed_alone(dsn: str, isolation: Isolation, is_seen: bool) -> None:
    async with open_registers(dsn) as db:
        reader, writer = Record("reader"), Record("writer")
        async with db.transaction(isolation=isolation) as tx:
            await read(tx, reader, 0)
            async with db.transaction(isolation=isolation) as other:
                await append(other, writer, 0, 1)
                await append(other, writer, 1, 2)
            await read(tx, reader, 1)
        found = await anomalies_in(db, reader, writer)
        assert any("circle: " in each for each in found) is is_seen


def test_the_check_finds_what_a_database_must_never_do() -> None:
    writer, reader = Record("writer", appended=[(0, 1)]), Record("reader", read=[(0, (2,))])
    assert anomalies([writer], {0: [1, 1]}) == ["duplicate: 1 is 2 times in list 0"]
    assert anomalies([writer], {0: [1, 3]}) == ["dirty write: 3 in list 0 was never committed"]
    assert anomalies([writer], {0: []}) == ["lost update: 1 of writer is not there"]
    assert "which it never was" in anomalies([writer, reader], {0: [1]})[0]
    assert anomalies([Record("unknown", appended=[(0, 1)], certain=False)], {0: []}) == []


# Random histories with faults.


async def test_no_anomaly_and_no_duplicate_under_serializable_with_faults(dsn: str, witness: Witness) -> None:
    """Three lists, four clients, and sessions that are killed at random."""
    seed = random.randrange(2**32)
    records: list[Record] = []
    failures: set[str] = set()
    both = {"ConnectionLost", "SerializationFailure"}

    async def client(db: Database, number: int) -> None:
        chance = random.Random(seed + number)
        for turn in range(400):
            if turn >= 20 and failures >= both:
                break
            record = Record(f"{number}.{turn}")
            steps = [(chance.random() < 0.5, chance.randrange(3)) for _ in range(chance.randint(1, 3))]
            try:
                await db.run_in_transaction(body, record, steps, 100_000 * number + 10 * turn, isolation="serializable", retry=PATIENT)
            except CommitOutcomeUnknown:
                record.certain = False
            records.append(record)

    async def body(tx: Transaction, record: Record, steps: list[tuple[bool, int]], first_value: int) -> None:
        record.begin()
        for at, (writes, key) in enumerate(steps):
            if writes:
                await append(tx, record, key, first_value + at)
            else:
                await read(tx, record, key)
            await anyio.lowlevel.checkpoint()

    async def kill() -> None:
        chance = random.Random(seed)
        while True:
            await anyio.sleep(chance.uniform(0.005, 0.03))
            witness.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend' ORDER BY state = 'idle', random() LIMIT 1"
            )

    class Failures(Instrument):
        def attempt_ended(self, event: AttemptEnded, /) -> None:
            failures.add(type(event.error).__name__)

    async with open_registers(dsn, 3, Failures()) as db:
        async with anyio.create_task_group() as faults:
            faults.start_soon(kill)
            async with anyio.create_task_group() as clients:
                for number in range(4):
                    clients.start_soon(client, db, number + 1)
            faults.cancel_scope.cancel()
        for _ in range(8):  # what was killed as it lay idle is found dead here
            await db.fetch_all(select(Register))
        assert await anomalies_in(db, *records) == [], f"seed {seed}"
        assert len(records) >= 80
        assert failures > both, "both were met, and so was success"
        assert sum(record.certain for record in records) > 40


# A bank.


class Account(Model, table="accounts"):
    id: Column[int] = column(primary_key=True)
    balance: Column[int]


@pytest.mark.parametrize(("isolation", "keeps"), [("read committed", False), ("serializable", True)])
async def test_a_bank_keeps_its_total(dsn: str, isolation: Isolation, keeps: bool) -> None:
    """Balances are read, then written: below REPEATABLE READ that loses money as soon as two clerks meet."""

    async def transfer(tx: Transaction, payer: int, payee: int, met: anyio.Event | None, other: anyio.Event | None) -> None:
        one = await tx.get(Account, payer)
        two = await tx.get(Account, payee)
        if met is not None and other is not None:
            met.set()
            await other.wait()
        one.balance -= 10
        two.balance += 10
        for account in sorted((one, two), key=lambda account: account.id):
            await tx.update(account)

    async with open_database(dsn, max_size=6) as db:
        await db.create_schema(Account)
        await db.insert_many([Account(id=number, balance=100) for number in range(3)])
        totals: list[int | None] = []

        async def look() -> None:
            async with db.snapshot(connections=1) as snap:
                totals.append(await snap.fetch_value(select(sum_(Account.balance))))

        for _ in range(3):
            first, second = anyio.Event(), anyio.Event()
            run = partial(db.run_in_transaction, isolation=isolation, retry=PATIENT)
            async with anyio.create_task_group() as nursery:
                for payer, payee, met, other in ((0, 1, first, second), (1, 2, second, first)):
                    nursery.start_soon(run, transfer, payer, payee, met, other)
                nursery.start_soon(look)
            await look()
        assert (set(totals) == {300}) is keeps


async def test_one_doctor_stays_on_call(dsn: str) -> None:
    """Write skew as in PostgreSQL's wiki: each goes off call if the other is on."""
    async with open_database(dsn) as db:
        await db.execute(sql("CREATE TABLE doctors (name text PRIMARY KEY, on_call bool)"))
        await db.execute(sql("INSERT INTO doctors VALUES ('Ada', true), ('Grace', true)"))
        on_call = sql("SELECT count(*) FROM doctors WHERE on_call").returns(int)
        asked = [anyio.Event(), anyio.Event()]

        async def go_home(tx: Transaction, number: int, name: str) -> None:
            number_on_call = await tx.fetch_value(on_call)
            asked[number].set()
            await asked[1 - number].wait()
            if number_on_call > 1:
                await tx.execute(sql("UPDATE doctors SET on_call = false WHERE name = {name}", name=name))

        outcomes: dict[Isolation, int] = {"repeatable read": 0, "serializable": 1}
        for isolation, left in outcomes.items():
            await db.execute(sql("UPDATE doctors SET on_call = true"))
            asked[:] = [anyio.Event(), anyio.Event()]
            run = partial(db.run_in_transaction, isolation=isolation, retry=PATIENT)
            async with anyio.create_task_group() as nursery:
                for number, name in enumerate(("Ada", "Grace")):
                    nursery.start_soon(run, go_home, number, name)
            assert await db.fetch_value(on_call) == left, isolation
