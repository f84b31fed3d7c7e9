"""The hub of listeners: one supervised connection on which all subscribers of a database hear their notifications.

The contract: the connection is opened with the first subscriber and closed with the last; it counts for nothing in the pool's sizes, and
its task lives in the pool's nursery. Entering a subscription returns only when the server has acknowledged LISTEN. A lost connection is
opened again, and every subscriber is told by a `Gap`. A subscriber that leaves, or is cancelled, only changes what is wanted: the hub's
task says UNLISTEN later, so leaving never waits.

One task has the connection. It waits for input inside a scope of its own, and whoever changes what is wanted cancels that scope: a wait
that is cancelled has taken nothing from the socket, or has left it with libpq, where the next look finds it.

psycopg's `notifies` is not used: it holds the connection's lock while it waits, so a LISTEN for a newcomer could not be sent.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import anyio
import trio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled
from psycopg import OperationalError, sql
from psycopg.errors import Diagnostic

from trioorm.errors import ConnectFailed, ConnectionLost, DatabaseClosed, DatabaseError, QueryError, TrioormError, UsageError
from trioorm.pool.background import Background
from trioorm.pool.notifications import ListenEvent, Mailbox, Notification, checked_channel
from trioorm.pool.owner import Owner
from trioorm.pool.refusals import pool_closed
from trioorm.resilience import Backoff
from trioorm.wire import AnyIOConnection, Step, command, error_from_result, is_error

__all__ = ["Hub", "Subscription"]

logger = logging.getLogger("trioorm.pool")

_SIGN_OF_LIFE = command(b"")
_LISTEN = sql.SQL("LISTEN {}")
_UNLISTEN = sql.SQL("UNLISTEN {}")
_LAST_WORDS = ("FATAL", "PANIC")


class Hub:
    """Where subscribers come to. Made by the pool, as `Pool.hub`.

    Args:
        connect: opens one connection.
        background: where the task of the connection runs.
        owner: who may subscribe.
        max_silence_seconds: how long the connection may be silent before it is taken for dead.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[AnyIOConnection[Any]]], background: Background, owner: Owner, *, max_silence_seconds: float
    ) -> None:
        self._connect = connect
        self._background = background
        self._max_silence_seconds = max_silence_seconds
        self._listener: _Listener | None = None
        self._closed = False
        self.owner = owner

    def __repr__(self) -> str:
        listener = "no subscribers" if self._listener is None or self._listener.ended else str(self._listener)
        return f"<Hub {'closed' if self._closed else 'open'}, {listener}>"

    def listen(self, *channels: str, buffer: int = 64) -> Subscription:
        """A block in which notifications are heard; see `Database.listen`.

        Raises:
            QueryError: no channels, or a name that no channel can have.
            UsageError: the buffer is below 1.
        """
        if not channels:
            raise QueryError('listen() was given no channels.\nTo fix it: listen("orders"), or several names.')
        return Subscription(self, tuple(dict.fromkeys(map(checked_channel, channels))), Mailbox(buffer))

    def join(self, subscription: Subscription) -> _Listener:
        """Let a subscriber in, and open the connection for the first one. Never waits."""
        if self._closed:
            raise _closed()
        if self._listener is None or self._listener.ended:
            self._listener = _Listener(self._connect, self._max_silence_seconds)
            self._background.start_soon(self._listener.run, name="trioorm: listening for notifications")
        self._listener.admit(subscription)
        return self._listener

    def close(self) -> None:
        """Close the connection, let all subscriptions end in `PoolClosed`, and admit nobody any more. Never waits."""
        self._closed = True
        if self._listener is not None:
            self._listener.end(_closed())


def _closed() -> DatabaseClosed:
    return pool_closed(
        "the database is closed, so no notifications come any more.\nTo fix it: end the tasks that listen before its block ends."
    )


class Subscription:
    """One subscriber: a block with the channels that it hears, and an iterator over what comes. Made by `Database.listen`."""

    def __init__(self, hub: Hub, channels: tuple[str, ...], mailbox: Mailbox) -> None:
        self.channels = channels
        self._hub = hub
        self._mailbox = mailbox
        self._listener: _Listener | None = None
        self._is_over = False
        self._error: TrioormError | None = None

    def __repr__(self) -> str:
        state = "not entered" if self._listener is None else "left" if self._is_over else "open"
        return f"<Subscription to {', '.join(self.channels)}, {state}>"

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        """Subscribe, and wait until the server has acknowledged LISTEN: nothing that is sent from then on is missed.

        Raises:
            ConnectFailed: the connection could not be opened. Safe to retry.
            AuthenticationFailed: the same. Not safe to retry.
            DatabaseError: the server refused LISTEN; a standby does.
            PoolClosed: the database is closed. Not safe to retry.
            WrongDatabaseOwner: called from another loop or process. Not safe to retry.

        Checkpoint: always.
        """
        if self._listener is not None:
            raise UsageError("this subscription was entered before.\nTo fix it: call listen(...) again for another block.")
        self._hub.owner.check()
        await checkpoint_if_cancelled()
        self._news = anyio.Event()
        self._answered = anyio.Event()
        self._listener = self._hub.join(self)
        try:
            await self._answered.wait()
        except BaseException:
            self._leave()
            raise
        if self._error is not None:
            self._leave()
            raise self._error
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Unsubscribe.

        Checkpoint: never.
        """
        self._leave()

    def _leave(self) -> None:
        if self._listener is not None and not self._is_over:
            self._is_over = True
            self._listener.release(self)
            self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ListenEvent:
        """The next event. Several tasks may ask: each event goes to one of them.

        Raises:
            PoolClosed: the database was closed, and all that had come before is taken. Not safe to retry.
            AuthenticationFailed: the connection was lost, and the server does not let us in again. Not safe to retry.
            UsageError: outside of the subscription's block.

        Checkpoint: always.
        """
        self._hub.owner.check()
        await checkpoint()
        while True:
            if self._listener is None or self._is_over:
                raise UsageError(
                    "notifications come only inside the block of listen(...).\n"
                    "To fix it: async with db.listen(...) as events: async for event in events: ..."
                )
            if (event := self._mailbox.take()) is not None:
                return event
            if self._error is not None:
                raise self._error
            if self._news.is_set():
                self._news = anyio.Event()
            await self._news.wait()

    # What the listener tells it.

    @property
    def is_established(self) -> bool:
        """Whether the server has acknowledged its channels."""
        return self._answered.is_set()

    def establish(self) -> None:
        """The server has acknowledged all its channels."""
        self._answered.set()

    def put(self, notification: Notification) -> None:
        """A notification on one of its channels has come."""
        self._mailbox.put(notification)
        self._news.set()

    def put_gap(self) -> None:
        """The connection was lost and is there again."""
        self._mailbox.put_gap()
        self._news.set()

    def fail(self, error: TrioormError) -> None:
        """Nothing will come any more."""
        self._error = error
        self._answered.set()
        self._news.set()


class _Listener:
    """The hub's connection and its subscribers, from the first one's coming to the last one's leaving.

    A new one is made for whoever comes after that, so that what an old one still has to finish can touch nothing of the new.
    """

    def __init__(self, connect: Callable[[], Awaitable[AnyIOConnection[Any]]], max_silence_seconds: float) -> None:
        self._connect = connect
        self._max_silence_seconds = max_silence_seconds
        self._subscriptions: dict[Subscription, None] = {}
        self._by_channel: dict[str, dict[Subscription, None]] = {}
        self._connection: AnyIOConnection[Any] | None = None
        self._listening: set[str] = set()  # what the server has acknowledged on this connection
        self._is_changed = False
        self._heard_at = 0.0
        self._farewell = ""
        self._pause: anyio.CancelScope | None = None
        self._life = anyio.CancelScope()
        self.ended = False

    def __str__(self) -> str:
        state = "not connected" if self._connection is None else "connected"
        return f"{state}, subscribers: {len(self._subscriptions)}, channels: {len(self._by_channel)}"

    # What subscribers change; nothing here waits.

    def admit(self, subscription: Subscription) -> None:
        """Take a subscriber in; it is established at once if all its channels are heard already."""
        self._subscriptions[subscription] = None
        for channel in subscription.channels:
            self._by_channel.setdefault(channel, {})[subscription] = None
        if self._listening.issuperset(subscription.channels):
            subscription.establish()
        else:
            self._note_change()

    def release(self, subscription: Subscription) -> None:
        """Let a subscriber go; with the last one the connection is closed."""
        if subscription not in self._subscriptions:
            return
        del self._subscriptions[subscription]
        for channel in subscription.channels:
            hearers = self._by_channel[channel]
            del hearers[subscription]
            if not hearers:
                del self._by_channel[channel]
        if self._subscriptions:
            self._note_change()
        else:
            self._stop()

    def end(self, error: TrioormError) -> None:
        """Let all subscriptions end in an error."""
        for subscription in tuple(self._subscriptions):
            subscription.fail(error)
        self._subscriptions.clear()
        self._by_channel.clear()
        self._stop()

    def _stop(self) -> None:
        self.ended = True
        self._close_connection()
        self._life.cancel()

    def _note_change(self) -> None:
        self._is_changed = True
        if self._pause is not None:
            self._pause.cancel()

    # The task.

    async def run(self) -> None:
        """Keep the connection and hand out what comes, until the last subscriber has left.

        Checkpoint: always.
        """
        try:
            with self._life:
                await self._supervise()
        except Exception as error:
            # Whatever it was, it belongs to those who listen: a background task that raised would end the whole database.
            logger.exception("listening for notifications has failed")
            self.end(_as_failure(error))
        finally:
            self._close_connection()

    async def _supervise(self) -> None:
        backoff = Backoff()
        while not self.ended:
            try:
                connection = await self._open()
            except Exception as error:
                self._take_failure(_as_failure(error))
            else:
                opened_at = anyio.current_time()
                await self._follow_until_lost(connection)
                # One that is lost again and again as soon as it is open is a failure too, or a server in trouble would be overrun.
                if anyio.current_time() - opened_at > backoff.max_seconds:
                    backoff.succeeded()
            self._close_connection()
            if not self.ended:
                await anyio.sleep(backoff.next_delay())

    async def _open(self) -> AnyIOConnection[Any]:
        """One attempt: connect, and LISTEN again for those who did before. It is not tried for longer than silence may last."""
        with anyio.fail_after(self._max_silence_seconds):
            self._connection = connection = await self._connect()
            self._farewell = ""
            connection.add_notice_handler(self._note_farewell)
            waiting_for_return = [subscription for subscription in self._subscriptions if subscription.is_established]
            channels = dict.fromkeys(channel for subscription in waiting_for_return for channel in subscription.channels)
            await self._run_on_channels(connection, _LISTEN, channels)
        self._listening.update(channels)
        for subscription in waiting_for_return:
            subscription.put_gap()
        self._is_changed = True
        return connection

    def _note_farewell(self, notice: Diagnostic) -> None:
        """A server that ends a session says why, in what libpq takes for a notice, since no statement is under way."""
        if notice.severity_nonlocalized in _LAST_WORDS and notice.message_primary:
            self._farewell = notice.message_primary

    def _take_failure(self, failure: TrioormError) -> None:
        """An attempt has failed: it is the error of those who are about to enter, and of all when another attempt cannot help."""
        if self.ended:
            return
        if isinstance(failure, ConnectFailed | UsageError) and not failure.safe_to_retry:
            self.end(failure)
            return
        logger.info("no connection for notifications, trying again: %s", failure)
        for subscription in [subscription for subscription in self._subscriptions if not subscription.is_established]:
            subscription.fail(failure)
            self.release(subscription)

    async def _follow_until_lost(self, connection: AnyIOConnection[Any]) -> None:
        self._heard_at = anyio.current_time()
        try:
            while True:
                self._hand_out(connection)
                if self._is_changed:
                    await self._do_what_is_wanted(connection)
                elif anyio.current_time() < self._heard_at + self._max_silence_seconds / 2:
                    await self._wait_for_input(connection)
                else:
                    await self._fly(connection, [_SIGN_OF_LIFE])
        except (ConnectionLost, OperationalError, DatabaseError, TimeoutError) as error:
            if not self.ended:
                reason = self._farewell or str(error).partition("\n")[0] or "no answer in time"
                logger.warning("the connection for notifications was lost, opening another: %s", reason)

    def _hand_out(self, connection: AnyIOConnection[Any]) -> None:
        encoding = connection.info.encoding
        while (notify := connection.pgconn.notifies()) is not None:
            # A server in SQL_ASCII passes on whatever bytes it was given.
            channel = notify.relname.decode(encoding, "replace")
            if (hearers := self._by_channel.get(channel)) is not None:
                notification = Notification(channel, notify.extra.decode(encoding, "replace"), notify.be_pid)
                for subscription in hearers:
                    subscription.put(notification)

    async def _wait_for_input(self, connection: AnyIOConnection[Any]) -> None:
        """Wait until something comes, somebody changes what is wanted, or it has been silent for long."""
        try:
            with anyio.CancelScope(deadline=self._heard_at + self._max_silence_seconds / 2) as self._pause:
                await connection.wait_for_input()
                self._heard_at = anyio.current_time()
        finally:
            self._pause = None

    async def _do_what_is_wanted(self, connection: AnyIOConnection[Any]) -> None:
        """LISTEN for those who have come, UNLISTEN what nobody hears any more."""
        self._is_changed = False
        unwanted = self._listening - self._by_channel.keys()
        # Before it is sent: who comes meanwhile must ask for it anew.
        self._listening -= unwanted
        await self._run_on_channels(connection, _UNLISTEN, unwanted)
        newcomers = [subscription for subscription in self._subscriptions if not subscription.is_established]
        try:
            await self._listen_for(connection, newcomers)
        except DatabaseError:
            # One refusal undoes the whole trip, so it is found out whose it was.
            for subscription in newcomers:
                try:
                    await self._listen_for(connection, [subscription])
                except DatabaseError as error:
                    subscription.fail(error)
                    self.release(subscription)

    async def _listen_for(self, connection: AnyIOConnection[Any], newcomers: Sequence[Subscription]) -> None:
        """LISTEN to what these need, in one trip, and tell them."""
        missing = dict.fromkeys(
            channel
            for subscription in newcomers
            if subscription in self._subscriptions  # else it is gone while another's LISTEN was under way
            for channel in subscription.channels
            if channel not in self._listening
        )
        await self._run_on_channels(connection, _LISTEN, missing)
        self._listening.update(missing)
        for subscription in newcomers:
            if subscription in self._subscriptions:
                subscription.establish()

    async def _run_on_channels(self, connection: AnyIOConnection[Any], text: sql.SQL, channels: Iterable[str]) -> None:
        """Run one command for each channel, all in one trip and all or nothing.

        Raises:
            DatabaseError: the server refused one.
            ConnectionLost, TimeoutError: the connection is lost.
        """
        steps = [command(text.format(sql.Identifier(channel)).as_bytes(connection)) for channel in channels]
        if steps:
            await self._fly(connection, steps)

    async def _fly(self, connection: AnyIOConnection[Any], steps: Sequence[Step]) -> None:
        with anyio.fail_after(self._max_silence_seconds / 2):
            results = await connection.fly(steps)
        self._heard_at = anyio.current_time()
        for step, result in zip(steps, results, strict=True):
            if is_error(result):
                raise error_from_result(result, statement=step.statement.text.decode())

    def _close_connection(self) -> None:
        self._listening.clear()
        if self._connection is not None:
            self._connection.close_nowait()
            self._connection = None


def _as_failure(error: Exception) -> TrioormError:
    if isinstance(error, TrioormError):
        return error
    failure = ConnectFailed(
        f"no connection for notifications could be opened: {error!r}\n"
        "To fix it: look at the error; a hook given as `configure` may have raised it, or the server does not answer."
    )
    failure.__cause__ = error
    return failure
