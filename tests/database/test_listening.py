"""`db.listen` and `notify` as a user has them; and, by sweep, that a cancellation anywhere in them leaves nothing."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from tests.wire.witness import Witness
from trioorm import (
    BindError,
    Database,
    Gap,
    ListenEvent,
    Notification,
    Overflow,
    PoolClosed,
    QueryError,
    Subscription,
    open_database,
)
from trioorm.testing import Cancellation, SweepReport, SweepRun, available_cancellations, pool_is_whole, server_is_quiet, sweep

_HUB = "query ~ '^(UN)?LISTEN' AND datname = current_database() AND pid <> pg_backend_pid()"


async def _payloads(events: Subscription, number: int) -> list[str]:
    with anyio.fail_after(10):
        heard = [await anext(events) for _ in range(number)]
    return [event.payload if isinstance(event, Notification) else repr(event) for event in heard]


async def _payloads_before(events: Subscription, last: str) -> list[str]:
    """The payloads up to a known one."""
    heard: list[str] = []
    while not heard or heard[-1] != last:
        heard += await _payloads(events, 1)
    return heard[:-1]


# Sending.


async def test_a_notification_is_sent_at_once_outside_a_transaction(dsn: str) -> None:
    async with open_database(dsn) as db, db.listen("orders", "stock") as events:
        await db.notify("orders", "7")
        await db.notify("stock")
        assert await _payloads(events, 2) == ["7", ""]


async def test_in_a_transaction_it_is_sent_with_the_commit(dsn: str) -> None:
    async with open_database(dsn) as db, db.listen("orders") as events:
        async with db.transaction() as tx:
            await tx.notify("orders", "inside")
            await db.notify("orders", "outside")
            assert await _payloads(events, 1) == ["outside"]
        assert await _payloads(events, 1) == ["inside"]


async def test_what_is_rolled_back_is_never_sent(dsn: str) -> None:
    async with open_database(dsn) as db, db.listen("orders") as events:
        with pytest.raises(LookupError):
            async with db.transaction() as tx:
                await tx.notify("orders", "rolled back")
                raise LookupError
        async with db.transaction() as tx:
            with pytest.raises(LookupError):
                async with tx.savepoint() as sp:
                    await sp.notify("orders", "rolled back as well")
                    raise LookupError
            async with tx.savepoint() as sp:
                await sp.notify("orders", "sent")
        assert await _payloads(events, 1) == ["sent"]


@pytest.mark.parametrize("channel", ["Orders", 'a "quoted" name', "'; DROP TABLE x; --", "Straße"])
async def test_names_and_payloads_are_bound_never_part_of_the_text(dsn: str, channel: str) -> None:
    payload = "it's $1 {x} \\ \" ü \n"
    async with open_database(dsn) as db, db.listen(channel) as events:
        await db.notify(channel, payload)
        with anyio.fail_after(10):
            event = await anext(events)
        assert isinstance(event, Notification)
        assert (event.channel, event.payload) == (channel, payload)


@pytest.mark.parametrize("payload", ["x" * 7999, "é" * 3999 + "x"])
async def test_the_longest_payload_arrives(dsn: str, payload: str) -> None:
    async with open_database(dsn) as db, db.listen("orders") as events:
        await db.notify("orders", payload)
        assert await _payloads(events, 1) == [payload]


@pytest.mark.parametrize("payload", ["x" * 8000, "é" * 4000])
async def test_a_longer_payload_is_refused_before_it_is_sent(dsn: str, payload: str) -> None:
    async with open_database(dsn) as db:
        async with db.transaction() as tx:
            with pytest.raises(QueryError, match="8,000 bytes long, and PostgreSQL takes at most 7,999") as caught:
                await tx.notify("orders", payload)
            assert "To fix it: " in str(caught.value)
            await tx.notify("orders", "the transaction is still good")


async def test_what_cannot_be_sent_is_refused(dsn: str) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(QueryError, match="is empty"):
            await db.notify("", "x")
        with pytest.raises(QueryError, match="64 bytes long"):
            await db.notify("x" * 64, "x")
        with pytest.raises(QueryError, match=r"not dict\.\nTo fix it: send json.dumps"):
            await db.notify("orders", {})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(BindError):
            await db.notify("orders", "a\0b")


# Hearing.


async def test_events_are_told_apart_by_match(dsn: str, witness: Witness) -> None:
    def told(event: ListenEvent) -> str:
        match event:
            case Notification("orders", payload):
                return f"order {payload}"
            case Notification(channel, payload, backend_pid=pid):
                return f"{channel}: {payload!r} {pid > 0}"
            case Gap():
                return "gap"
            case Overflow(missed):
                return f"{missed} missed"

    async with open_database(dsn) as db:
        async with db.listen("orders", "stock", buffer=2) as events, db.listen("stock") as other:
            await db.notify("orders", "7")
            await db.notify("stock")
            await db.notify("orders", "8")
            await db.notify("stock", "9")
            assert await _payloads(other, 2) == ["", "9"]
            pid = witness.value(f"SELECT pid FROM pg_stat_activity WHERE {_HUB}")
            assert isinstance(pid, int)
            witness.terminate(pid)
            assert await _payloads(other, 1) == [repr(Gap())]
            await db.notify("orders", "10")
            found: list[str] = []
            async for event in events:
                found.append(told(event))
                if found[-1] == "gap":
                    break
            assert found == ["order 7", "stock: '' True", "2 missed", "gap"] or found == ["order 7", "stock: '' True", "3 missed", "gap"]


async def test_the_database_takes_its_listeners_with_it(dsn: str, witness: Witness) -> None:
    listening = anyio.Event()

    async def listen(db: Database) -> None:
        with pytest.raises(PoolClosed, match="To fix it: end the tasks that listen"):
            async with db.listen("orders") as events:
                listening.set()
                await anext(events)

    async with anyio.create_task_group() as nursery:
        async with open_database(dsn) as db:
            nursery.start_soon(listen, db)
            await listening.wait()
    await witness.until(f"SELECT count(*) = 0 FROM pg_stat_activity WHERE {_HUB}")


async def test_a_silent_connection_is_replaced_as_the_setting_says(dsn: str, witness: Witness) -> None:
    async with open_database(dsn, listener_max_silence_seconds=0.8) as db, db.listen("orders"):
        pid = witness.value(f"SELECT pid FROM pg_stat_activity WHERE {_HUB}")
        await witness.until("SELECT query = '' FROM pg_stat_activity WHERE pid = %s", pid)


# Cancelled anywhere.

_Operation = Callable[[Database, int], Awaitable[None]]


async def _enter_and_leave(db: Database, k: int) -> None:
    async with db.listen("swept", f"only {k}"):
        pass


async def _hear(db: Database, k: int) -> None:
    async with db.listen("swept") as events:
        await db.notify("swept", str(k))
        await anext(events)


async def _hear_in_children(db: Database, k: int) -> None:
    async def child() -> None:
        async with db.listen("swept", "kept") as events:
            await events.__anext__()

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(child)
        async with db.listen("swept") as events:
            nursery.start_soon(child)
            await anyio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
            await events.__anext__()


async def _notify(db: Database, k: int) -> None:
    await db.notify("kept", f"sent {k}")


async def _notify_in_transaction(db: Database, k: int) -> None:
    async with db.transaction() as tx:
        await tx.notify("kept", f"sent {k}")


async def _sweep(
    dsn: str, witness: Witness, operation: _Operation, *, keeps: bool, sends: bool, kinds: list[Cancellation] | None = None
) -> SweepReport:
    """Sweep an operation.

    Args:
        keeps: whether another subscriber holds the connection meanwhile.
        sends: whether the operation sends "sent k" to the channel "kept", if it ends normally.
    """
    async with open_database(dsn, max_size=2) as db:

        async def check(run: SweepRun) -> None:
            await pool_is_whole(db.statistics)
            await server_is_quiet(witness.connection)
            assert witness.becomes_true(f"SELECT count(*) = %s FROM pg_stat_activity WHERE {_HUB}", int(keeps), within_seconds=1.0)
            if keeps:
                witness.run("SELECT pg_notify('kept', 'mark')")
                assert await _payloads_before(kept, "mark") == ([f"sent {run.k}"] if sends and run.ended_normally else [])
            else:
                async with db.listen("swept") as events:
                    await db.notify("swept", "still heard")
                    assert await _payloads(events, 1) == ["still heard"]

        kept = db.listen("kept")
        if not keeps:
            return await sweep(lambda k: operation(db, k), check=check, kinds=kinds, may_absorb=True)
        async with kept:
            return await sweep(lambda k: operation(db, k), check=check, kinds=kinds, may_absorb=sends)


@pytest.mark.parametrize("keeps", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize("operation", [_enter_and_leave, _hear, _hear_in_children])
async def test_listening_cancelled_anywhere(dsn: str, witness: Witness, backend: str, operation: _Operation, keeps: bool) -> None:
    report = await _sweep(dsn, witness, operation, keeps=keeps, sends=False)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations()), "each kind has really arrived"


@pytest.mark.parametrize("operation", [_notify, _notify_in_transaction])
async def test_notify_cancelled_anywhere_is_heard_if_and_only_if_it_ended_normally(
    dsn: str, witness: Witness, operation: _Operation
) -> None:
    report = await _sweep(dsn, witness, operation, keeps=True, sends=True)
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())


async def test_a_sweep_of_a_subscriber_that_stays_fails(dsn: str, witness: Witness) -> None:
    """The check itself can fail: a connection that is left open is found."""

    async def leaky(db: Database, k: int) -> None:
        await db.listen("swept").__aenter__()

    with pytest.raises(AssertionError, match="an invariant is broken"):
        await _sweep(dsn, witness, leaky, keeps=False, sends=False, kinds=[Cancellation.SCOPE])
