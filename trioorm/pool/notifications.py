"""What comes to a subscriber of `listen`: three kinds of events, and the bounded mailbox in which they wait for it.

The contract: nothing is lost without an event that says so, the order is kept, and a mailbox's memory is bounded, however slow its reader.
Pure bookkeeping: nothing here waits.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from attrs import frozen

from trioorm.errors import QueryError, UsageError

__all__ = ["Gap", "ListenEvent", "Mailbox", "Notification", "Overflow", "checked_channel"]

_LONGEST_CHANNEL_BYTES = 63


@frozen
class Notification:
    """One notification.

    Attributes:
        channel: where it was sent to.
        payload: the text that came with it, "" when there was none.
        backend_pid: the process id of the server session that sent it.
    """

    channel: str
    payload: str
    backend_pid: int


@frozen
class Gap:
    """The connection was lost and is there again: what was sent meanwhile has not come and never will. Look at the tables themselves."""


@frozen
class Overflow:
    """The subscriber was too slow: its buffer was full, and what came then was thrown away.

    Attributes:
        missed: how many notifications.
    """

    missed: int


ListenEvent: TypeAlias = Notification | Gap | Overflow
"""What `async for event in events` gives."""


class Mailbox:
    """The events of one subscriber that it has not taken yet.

    What could not be kept is noted behind everything that was, and becomes an event when there is room again or all before it is taken. So
    there are at most two such events for each notification that is kept.

    Args:
        limit: how many notifications are kept.
    """

    __slots__ = ("_events", "_gap", "_kept", "_limit", "_missed")

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise UsageError(f"buffer must be at least 1, not {limit}.\nTo fix it: leave it out, or give how many notifications may wait.")
        self._limit = limit
        self._events: deque[ListenEvent] = deque()
        self._kept = 0
        self._missed = 0
        self._gap = False

    def put(self, notification: Notification) -> None:
        """Keep a notification, or count it as missed when there is no room."""
        if self._kept >= self._limit:
            self._missed += 1
            return
        while (noted := self._take_noted()) is not None:
            self._events.append(noted)
        self._events.append(notification)
        self._kept += 1

    def put_gap(self) -> None:
        """Note that the connection was lost; several in a row are one."""
        self._gap = True

    def take(self) -> ListenEvent | None:
        """The next event, or None when there is none."""
        if not self._events:
            return self._take_noted()
        event = self._events.popleft()
        if isinstance(event, Notification):
            self._kept -= 1
        return event

    def _take_noted(self) -> ListenEvent | None:
        # Both say that notifications are missing before this point, so their order among themselves tells a reader nothing.
        if self._missed:
            missed, self._missed = self._missed, 0
            return Overflow(missed)
        if self._gap:
            self._gap = False
            return Gap()
        return None


def checked_channel(channel: str) -> str:
    """A channel's name as given, if the server can know it.

    Raises:
        QueryError: it is empty, longer than 63 bytes, or no text that PostgreSQL can hold. The server would cut a longer one off in LISTEN
            and refuse it in `pg_notify`.
    """
    if not isinstance(channel, str):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise QueryError(f'a channel is named by text, not by {channel!r}.\nTo fix it: listen("orders"), one argument for each channel.')
    try:
        length = len(channel.encode())
    except UnicodeEncodeError:
        length = 0
    if length and "\0" not in channel and length <= _LONGEST_CHANNEL_BYTES:
        return channel
    if not channel:
        what = "a channel's name is empty"
    elif length > _LONGEST_CHANNEL_BYTES:
        what = f"the channel's name {channel!r} is {length} bytes long"
    else:
        what = f"the channel's name {channel!r} holds a character that PostgreSQL cannot store"
    raise QueryError(
        f"{what}.\nA channel's name is an identifier of PostgreSQL: 1 to {_LONGEST_CHANNEL_BYTES} bytes in UTF-8, without NUL. "
        "To fix it: choose a shorter fixed name, and put what varies into the payload."
    )
