"""`open_database` and `Database`: one PostgreSQL database with its pool, for the length of a block.

The contract: `open_database` is the only way in. Its block owns the pool and every background task, and an embedded server if the address
asks for one; leaving it ends all of them within a bound. There is no global registry and no ambient session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, TypedDict, TypeVar, TypeVarTuple, Unpack

import trio
from attrs import evolve

from trioorm.database.plan import PlanCache
from trioorm.database.repeats import NoRepeats
from trioorm.database.transaction import Transaction
from trioorm.database.verbs import Verbs
from trioorm.errors import TransactionId, UsageError
from trioorm.expression.guesses import OF_DATABASES, expect_guesses
from trioorm.instruments import Instruments
from trioorm.later import module_later
from trioorm.pool import Connector, Pool, Pooler, PoolOptions, open_pool, settings_from
from trioorm.resilience import Retry
from trioorm.transaction import (
    Isolation,
    Outcome,
    PoolRunner,
    SettingValue,
    TransactionScope,
    ask_outcome,
    begin_steps,
    refuse_inside_transaction,
    setting_steps,
)
from trioorm.wire import Password
from trioorm.wire.connection import STATEMENT_CACHE_SIZE

if TYPE_CHECKING:
    from trioorm.database import flight
    from trioorm.database.flight import Flight
    from trioorm.database.snapshot import Snapshot
    from trioorm.pool import PoolStatistics, Subscription
    from trioorm.resilience import Attempts
    from trioorm.transaction import AdvisoryLock, whole_flight
else:
    flight = module_later("trioorm.database.flight")
    whole_flight = module_later("trioorm.transaction.whole_flight")

__all__ = ["Database", "TransactionOptions", "open_database"]

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_EMBEDDED = "embedded:"

_WRITES_REFUSED = (
    "a flight outside of a transaction only reads; nothing was sent.\nTo fix it, one of:\n"
    "  1. all or none, in one trip: async with db.flight(commit=True) as flight\n"
    "  2. in a transaction: async with tx.flight() as flight\n"
    "  3. a sql() text that changes nothing says so: sql(...).reads_only()\nIt is about:"
)

_BEGIN = begin_steps(None)
_RETRY = Retry()
_NO_SETTINGS: Mapping[str, SettingValue] = {}


class TransactionOptions(TypedDict, total=False):
    """The arguments of `Database.transaction`, for what opens transactions by itself."""

    isolation: Isolation | None
    read_only: bool
    deferrable: bool
    name: str | None
    role: str | None
    settings: Mapping[str, SettingValue]


class Database(Verbs):
    """One PostgreSQL database and its pool of connections. Made by `open_database`.

    Statements run outside a transaction, each for itself, on whatever connection is free. A database belongs to the event loop, thread and
    process that opened it.

    Attributes:
        address: as given, for an embedded server the address it got. It may hold a password: do not log it.
    """

    def __init__(self, pool: Pool, address: str, *, error_values: bool = False) -> None:
        super().__init__(PoolRunner(pool), PlanCache(error_values=error_values))
        self._pool = pool
        self._whole_flight: whole_flight.WholeFlight | None = None  # has no state, so one serves all without options
        self._instrument = Instruments(pool.settings.instruments)
        self.address = address

    def __repr__(self) -> str:
        return f"<Database with {self._pool!r}>"

    def _own_transaction(self) -> TransactionScope:
        return TransactionScope(self._pool, _BEGIN, "the transaction of one call")

    def transaction(
        self,
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        deferrable: bool = False,
        lock_timeout_seconds: float | None = None,
        name: str | None = None,
        role: str | None = None,
        settings: Mapping[str, SettingValue] = _NO_SETTINGS,
    ) -> Transaction:
        """A transaction, to be used with `async with`.

            async with db.transaction(isolation="serializable") as tx:
                await tx.insert(order)
                tx.start_soon(reserve_stock, tx, order)

        Args:
            isolation: "read committed" (the server's default when None), "repeatable read" or "serializable".
            read_only: refuse writes.
            deferrable: wait on entry until no serialization failure can come; only for serializable read only transactions.
            lock_timeout_seconds: how long a statement may wait for a lock before `LockNotAvailable`; without limit when None.
            name: how it is called in errors.
            role: who to be in it; as `settings`, sent together with BEGIN.
            settings: see `Transaction.settings`.

        Raises:
            ValueError: the arguments contradict each other.
            QueryError: a setting's value is no text, number or bool.
        """
        if isolation is None and not read_only and not deferrable and lock_timeout_seconds is None:
            begin = _BEGIN
        else:
            begin = begin_steps(isolation, read_only=read_only, deferrable=deferrable, lock_timeout_seconds=lock_timeout_seconds)
        if settings or role is not None:
            begin = [*begin, *setting_steps(settings, role)]
        label = "the transaction" if name is None else f"the transaction {name!r}"
        # By place: for an argument by name Python makes a dictionary, which takes as long as the object.
        return Transaction(TransactionScope(self._pool, begin, label), self._plans)

    def flight(
        self,
        *,
        commit: bool = False,
        isolation: Isolation | None = None,
        read_only: bool = False,
        lock_timeout_seconds: float | None = None,
        name: str | None = None,
        role: str | None = None,
        settings: Mapping[str, SettingValue] = _NO_SETTINGS,
    ) -> Flight:
        """Several statements in one trip, each with its own answer: reads, or a whole transaction with its COMMIT.

            async with db.flight(commit=True) as flight:
                flight.execute(update(Account).set(Account.balance, Account.balance - 30).where(Account.id == 1))
                flight.execute(update(Account).set(Account.balance, Account.balance + 30).where(Account.id == 2))

        With `commit=True` the block keeps what a transaction's promises: without an exception it is committed; with one it is not, except
        for `CommitOutcomeUnknown`; the deadline of the surrounding scope reaches the server. A connection that breaks before the first
        answer leaves an outcome without an id, since the COMMIT was under way by then; where that matters more than the trip that is
        saved, use `transaction()`.

        Args:
            commit: the statements are a transaction. Without it they may only read.
            isolation, read_only, lock_timeout_seconds, name, role, settings: as `transaction`; only with `commit=True`.

        Raises:
            UsageError: arguments of a transaction without `commit=True`.
            ValueError, QueryError: as `transaction`.
        """
        plain = not (isolation or read_only or lock_timeout_seconds is not None or role is not None or settings)
        if not commit:
            if not plain or name is not None:
                raise UsageError(
                    "db.flight() was given arguments of a transaction, and it opens none.\nTo fix it: db.flight(commit=True, ...)."
                )
            return flight.open_flight(self._runner, self._plans, _WRITES_REFUSED)
        if plain and name is None:
            if self._whole_flight is None:
                self._whole_flight = whole_flight.WholeFlight(self._pool, _BEGIN, name="the flight")
            return flight.open_flight(self._whole_flight, self._plans, None, True)
        begin = _BEGIN
        if not plain:
            begin = begin_steps(isolation, read_only=read_only, lock_timeout_seconds=lock_timeout_seconds)
            begin = [*begin, *setting_steps(settings, role)]
        label = "the flight" if name is None else f"the flight {name!r}"
        return flight.open_flight(whole_flight.WholeFlight(self._pool, begin, name=label), self._plans, commits=True)

    async def run_in_transaction(
        self,
        function: Callable[[Transaction, *Arguments], Awaitable[T]],
        *arguments: *Arguments,
        retry: Retry = _RETRY,
        **options: Unpack[TransactionOptions],
    ) -> T:
        """Call an async function inside a transaction, and again in a new one if that fails for a passing reason.

            await db.run_in_transaction(transfer, "Ada", "Grace", 30, isolation="serializable")

        Run again is what is safe to run again: serialization failures, deadlocks, a connection lost before COMMIT was sent, a lock that was
        not to be had; never what may have taken effect (`CommitOutcomeUnknown`), and nothing when one error of a group is not safe. All
        children have ended by then. How long it may take is said by a cancel scope around the call: an attempt that cannot fit into what is
        left, judged by the shortest before it, is not begun.

        The function may be called several times: what it does besides the transaction (mails, calls) belongs into `tx.on_commit`.

        Args:
            function: given the transaction first.
            arguments: for it, behind the transaction.
            retry: how often, and the pauses in between.
            options: as `transaction`.

        Returns:
            What the function returned in the attempt that was committed.

        Raises:
            UsageError: called inside of a transaction on the same database. Nothing was sent.
            Others: as the block of `transaction` and the function, from the last attempt; `attempts_of(error)` tells of the others.

        Checkpoint: always.
        """
        results: list[T] = []  # the last is that of the attempt that was committed
        async for attempt in self.attempts(retry=retry, **options):
            async with attempt as tx:
                results.append(await function(tx, *arguments))
        return results[-1]

    def attempts(self, *, retry: Retry = _RETRY, **options: Unpack[TransactionOptions]) -> Attempts[Transaction]:
        """As `run_in_transaction`, for a body that is written where it is used.

            async for attempt in db.attempts(isolation="serializable"):
                async with attempt as tx:
                    ...

        A failure that is safe to run again is swallowed by the inner block, and the loop goes on; it ends after the attempt that was
        committed. So `return` and `break` have no place in the inner block: they would leave the loop even when COMMIT has failed. Keep the
        value and return it behind the loop; a `RuntimeWarning` tells of a loop that was left early.

        Args:
            retry: how often, and the pauses in between.
            options: as `transaction`.

        Raises:
            UsageError: called inside of a transaction on the same database.
        """
        from trioorm.resilience import Attempts  # few need it

        refuse_inside_transaction(self._pool, "a transaction that is tried again")
        name = options.get("name") or "the transaction"
        return Attempts(partial(self.transaction, **options), retry, name=name, instrument=self._instrument)

    def snapshot(self, *, connections: int = 4, name: str | None = None) -> Snapshot:
        """One picture of the database, to be read by many tasks at once.

            async with db.snapshot() as snap:
                snap.start_soon(report, snap)
                orders = await snap.fetch_all(select(Order))

        All reads see what was committed when the block was entered, whatever is committed meanwhile (REPEATABLE READ, READ ONLY). The block
        is a nursery, as a transaction is.

        Args:
            connections: how many it takes of the pool at most; one as it is entered, others when reads wait, if the pool has them to give.
            name: how it is called in errors.

        Raises:
            UsageError: fewer than one connection.
        """
        from trioorm.database.snapshot import Snapshot  # few need it
        from trioorm.transaction import SnapshotScope

        label = "the snapshot" if name is None else f"the snapshot {name!r}"
        return Snapshot(SnapshotScope(self._pool, connections, name=label), self._plans)

    def advisory_lock(self, key: int | str, *, shared: bool = False, nowait: bool = False) -> AdvisoryLock:
        """A lock of one's own, which PostgreSQL keeps for the length of a block: one holder at a time among all clients of the database.

            async with db.advisory_lock("nightly report"):
                ...

        It has a connection of the pool to itself. If that breaks, PostgreSQL gives the lock up, so the body is cancelled and the block
        raises `LockLost`; a block that ends without an exception had the lock to its end. How long to wait for it is said by a cancel
        scope.

        Args:
            key: a number of 64 bits, or a text, which stands for a number.
            shared: others may have it too, if they ask for it shared.
            nowait: fail at once (LockNotAvailable) rather than wait for it.

        Raises:
            QueryError: a key that is neither number nor text.
            Others: on entry and on leaving, see `AdvisoryLock`.
        """
        from trioorm.transaction import AdvisoryLock  # few need it

        return AdvisoryLock(self._pool, key, shared=shared, nowait=nowait)

    def listen(self, *channels: str, buffer: int = 64) -> Subscription:
        """Hear notifications, for the length of a block.

            async with db.listen("orders", "stock") as events:
                async for event in events:
                    match event:
                        case Notification(channel, payload):
                            ...
                        case Gap() | Overflow():
                            ...  # something was missed: look at the tables themselves

        All subscribers of a database share one connection, which is opened with the first and closed with the last, and takes no place in
        the pool. Once the block is entered, nothing that is sent is missed without an event that says so. Leaving never waits.

        Args:
            channels: their names, case kept.
            buffer: how many notifications may wait to be taken. What comes when it is full is counted, and told by an `Overflow`.

        Raises:
            QueryError: no channels, or a name that no channel can have.
            UsageError: the buffer is below 1.
            Others: on entry, see `Subscription`.
        """
        return self._pool.hub.listen(*channels, buffer=buffer)

    async def outcome(self, transaction_id: TransactionId) -> Outcome:
        """How a transaction ended whose COMMIT was not answered.

            except CommitOutcomeUnknown as error:
                ...  # later, perhaps from another process
                outcome = await db.outcome(error.transaction_id)

        Returns:
            "committed" and "rolled back" are proven, also against crashes of the server after which ids are issued again; "in progress"
            while the server has not found out that its client is gone; "unknown" when nothing can be proven: another server has taken over
            since, it has crashed and written checkpoints since, or the transaction is too old for it to remember.

        Raises:
            As `fetch_all`.

        Checkpoint: always.
        """
        with await self._pool.acquire() as connection:
            return await ask_outcome(connection, transaction_id)

    def no_repeats(self, *, limit: int = 3, raises: bool = True) -> NoRepeats:
        """For development and tests: find the same statement sent again and again from one line, where one for all would do.

            async with db.no_repeats(limit=3):
                await show_page(db)

        Counted is what the block and the tasks started in it send, by the statement without its values and the line of your code that sends
        it. The call that is one too many raises before it sends anything, and so does the end of the block, if that was swallowed. What is
        sent together (a flight, a load of relations) counts once. While no such block is open anywhere in the process it costs nothing.

        Args:
            limit: how often a statement may be sent from one line.
            raises: False only reports, once for each line and statement, as a warning of the logger `trioorm.database`.

        Raises:
            RepeatedStatement: in the block: it was sent too often.
            UsageError: a limit below 1.
        """
        return NoRepeats(self._plans, limit, raises=raises)

    def statistics(self) -> PoolStatistics:
        """The pool's state at this moment: connections open, idle, on loan, and tasks in line."""
        return self._pool.statistics()


expect_guesses(Database, OF_DATABASES)


class open_database:  # noqa: N801 - used like a function: `async with open_database(...) as db`
    """Open a database for the length of a block.

        async with open_database("postgresql:///shop", max_size=10) as db:
            ...

    Args:
        address: a libpq connection string or URI; "embedded:" starts a real PostgreSQL of its own for the block, "embedded:PATH" one
            whose data
            stay in that folder (both need the extra `embedded`).
        password: text, or a function that is asked for it anew for each connection: an async one, or a plain one, which runs in a thread.
        pooler: "transaction" for a connection pooler such as PgBouncer in that mode, "session" for one that keeps a session for each
            client; None finds out, and takes any pooler for one in transaction mode.
        listen_address: where notifications are heard, when a pooler stands before `address`.
        statement_cache_size: how many statements the server keeps prepared for each connection; 0 prepares none under a name.
        error_values: whether constraint errors carry the values of the columns concerned (`IntegrityError.values`). Their text never
            does.
        options: the pool's settings: sizes, bounds, hooks; the fields of `PoolSettings`, as keyword arguments.

    Raises:
        ConnectFailed: on entry: the server cannot be reached. Safe to retry.
        AuthenticationFailed: on entry: it does not let us in. Not safe to retry.
        EmbeddedServerError: on entry: no server could be started.

    Checkpoint: on entry always; on leaving only if connections are on loan, or a server must be stopped.
    """

    # A class, so that an error of the body leaves the block bare and not inside a nursery's exception group.

    def __init__(
        self,
        address: str,
        *,
        password: Password | None = None,
        pooler: Pooler | None = None,
        listen_address: str | None = None,
        statement_cache_size: int = STATEMENT_CACHE_SIZE,
        error_values: bool = False,
        **options: Unpack[PoolOptions],
    ) -> None:
        self._connector = Connector(
            address=address,
            password=password,
            pooler=pooler,
            listen_address=listen_address,
            statement_cache_size=statement_cache_size,
            parameters={"client_encoding": "utf8"},
            time_zone="UTC",  # because timestamps come back in it
        )
        self._error_values = error_values
        self._options = options
        settings_from("open_database", **options)  # refused here, where the call stands
        self._stack = AsyncExitStack()
        self._entered = False

    def __getattr__(self, name: str) -> NoReturn:
        if hasattr(Database, name):
            raise UsageError(
                f"open_database(...).{name}: the database is not open yet.\n"
                f"To fix it: async with open_database(...) as db: await db.{name}(...)."
            )
        raise AttributeError(f"open_database has no attribute {name!r}")

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Database:
        if self._entered:
            raise UsageError("this open_database(...) was entered before.\nTo fix it: call open_database again for another block.")
        self._entered = True
        async with AsyncExitStack() as stack:
            connector = self._connector
            if connector.address.startswith(_EMBEDDED):
                from trioorm.embedded import open_server  # few need it

                server = await stack.enter_async_context(open_server(connector.address.removeprefix(_EMBEDDED) or None))
                connector = evolve(connector, address=server.conninfo())
            pool = await stack.enter_async_context(open_pool(connector, **self._options))
            self._stack = stack.pop_all()
        return Database(pool, connector.address, error_values=self._error_values)

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._stack.__aexit__(kind, error, traceback)
