"""`open_database` and `Database`: one PostgreSQL database with its pool, for the length of a block.

The contract: `open_database` is the only way in. Its block owns the pool and every background task, and an embedded server if the address
asks for one; leaving it ends all of them within a bound. There is no global registry and no ambient session.
"""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import NoReturn, Unpack

from trioorm.database.plan import PlanCache
from trioorm.database.transaction import Transaction
from trioorm.database.verbs import Verbs
from trioorm.embedded import open_server
from trioorm.errors import ConnectFailed, UsageError
from trioorm.pool import Connection, Pool, PoolOptions, PoolStatistics, Subscription, open_pool, settings_from
from trioorm.transaction import Isolation, PoolRunner, TransactionScope, begin_text
from trioorm.wire import AnyIOConnection, command, error_from_result, is_error

__all__ = ["Database", "open_database"]

_EMBEDDED = "embedded:"

# What every session is set to, in one trip. UTC, because timestamps come back in it.
_SESSION = (command(b"SET TimeZone TO 'UTC'"),)


class Database(Verbs):
    """One PostgreSQL database and its pool of connections. Made by `open_database`.

    Statements run outside a transaction, each for itself, on whatever connection is free. A database belongs to the event loop, thread and
    process that opened it.

    Attributes:
        address: as given, for an embedded server the address it got. It may hold a password: do not log it.
    """

    def __init__(self, pool: Pool, address: str) -> None:
        super().__init__(PoolRunner(pool), PlanCache())
        self._pool = pool
        self.address = address

    def __repr__(self) -> str:
        return f"<Database with {self._pool!r}>"

    def transaction(
        self,
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        deferrable: bool = False,
        name: str | None = None,
    ) -> Transaction:
        """A transaction, to be used with `async with`.

            async with db.transaction(isolation="serializable") as tx:
                await tx.insert(order)
                tx.start_soon(reserve_stock, tx, order)

        Args:
            isolation: "read committed" (the server's default when None), "repeatable read" or "serializable".
            read_only: refuse writes.
            deferrable: wait on entry until no serialization failure can come; only for serializable read only transactions.
            name: how it is called in errors.

        Raises:
            ValueError: the arguments contradict each other.
        """
        begin = begin_text(isolation, read_only=read_only, deferrable=deferrable)
        label = "the transaction" if name is None else f"the transaction {name!r}"
        return Transaction(TransactionScope(self._pool, begin, name=label), self._plans)

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

    def statistics(self) -> PoolStatistics:
        """The pool's state at this moment: connections open, idle, on loan, and tasks in line."""
        return self._pool.statistics()


class open_database:  # noqa: N801 - used like a function: `async with open_database(...) as db`
    """Open a database for the length of a block.

        async with open_database("postgresql:///shop", max_size=10) as db:
            ...

    Args:
        address: a libpq connection string or URI; "embedded:" starts a real PostgreSQL of its own for the block, "embedded:PATH" one
            whose data
            stay in that folder (both need the extra `embedded`).
        options: the pool's settings: sizes, bounds, hooks; the fields of `PoolSettings`, as keyword arguments.

    Raises:
        ConnectFailed: on entry: the server cannot be reached. Safe to retry.
        AuthenticationFailed: on entry: it does not let us in. Not safe to retry.
        EmbeddedServerError: on entry: no server could be started.

    Checkpoint: on entry always; on leaving only if connections are on loan, or a server must be stopped.
    """

    # A class, so that an error of the body leaves the block bare and not inside a nursery's exception group.

    def __init__(self, address: str, **options: Unpack[PoolOptions]) -> None:
        self._address = address
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

    async def __aenter__(self) -> Database:
        if self._entered:
            raise UsageError("this open_database(...) was entered before.\nTo fix it: call open_database again for another block.")
        self._entered = True
        async with AsyncExitStack() as stack:
            if self._address.startswith(_EMBEDDED):
                server = await stack.enter_async_context(open_server(self._address.removeprefix(_EMBEDDED) or None))
                self._address = server.conninfo()
            pool = await stack.enter_async_context(open_pool(self._connect, **self._options))
            self._stack = stack.pop_all()
        return Database(pool, self._address)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    async def _connect(self) -> Connection:
        """One connection for the pool, its session set up."""
        connection: Connection = await AnyIOConnection.connect(self._address, autocommit=True, client_encoding="utf8")
        try:
            for step, result in zip(_SESSION, await connection.fly(_SESSION), strict=True):
                if is_error(result):
                    raise ConnectFailed(
                        f"a new connection could not be set up: {error_from_result(result, statement=step.statement.text.decode())}"
                    )
        except BaseException:
            connection.close_nowait()
            raise
        return connection
