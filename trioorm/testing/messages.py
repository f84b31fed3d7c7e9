"""PostgreSQL's byte streams, cut into protocol messages.

The contract: `Conversation` is fed what was read from either side of one connection and gives whole messages back; joined again they are
the bytes that were fed. Where it cannot look inside (TLS), what was read is the message.

Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import enum
import struct

_CANCEL_REQUEST = 80877102
_ENCRYPTION_REQUESTS = (80877103, 80877104)  # TLS and GSSAPI: answered with a single byte


class Direction(enum.Enum):
    """Which way bytes go."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


class Conversation:
    """One connection between a client and a server.

    Attributes:
        is_cancel_request: whether it was opened only to cancel a query; known after the client's first message.
    """

    def __init__(self) -> None:
        self.is_cancel_request = False
        self._is_opaque = False
        self._started = False
        self._bytes_awaited = 0
        self._pending = {Direction.TO_SERVER: bytearray(), Direction.TO_CLIENT: bytearray()}

    def feed(self, direction: Direction, data: bytes) -> list[bytes]:
        """Add what was read; returns the messages that are whole now."""
        pending = self._pending[direction]
        pending += data
        messages: list[bytes] = []
        while length := self._length_of_first(direction, pending):
            message = bytes(pending[:length])
            del pending[:length]
            self._note(direction, message)
            messages.append(message)
        return messages

    def rest(self, direction: Direction) -> list[bytes]:
        """What is left when the stream has ended, in the middle of a message; mostly nothing."""
        pending = self._pending[direction]
        rest = bytes(pending)
        pending.clear()
        return [rest] if rest else []

    def _length_of_first(self, direction: Direction, pending: bytearray) -> int:
        """How long the first message is, in bytes; 0 when it is not whole yet."""
        if not pending:
            return 0
        if self._is_opaque:
            return len(pending)
        if direction is Direction.TO_CLIENT and self._bytes_awaited:
            return 1
        # The client's first message has no type; later each has one, of one byte, which the length does not count.
        start = 1 if direction is Direction.TO_CLIENT or self._started else 0
        if len(pending) < start + 4:
            return 0
        (length,) = struct.unpack_from("!I", pending, start)
        return start + length if len(pending) >= start + length else 0

    def _note(self, direction: Direction, message: bytes) -> None:
        if self._is_opaque:
            return
        if direction is Direction.TO_CLIENT:
            if self._bytes_awaited:
                self._bytes_awaited -= 1
                self._is_opaque = message in (b"S", b"G")
        elif not self._started:
            (code,) = struct.unpack_from("!I", message, 4)
            if code in _ENCRYPTION_REQUESTS:
                self._bytes_awaited += 1
            else:
                self._started = True
                self.is_cancel_request = code == _CANCEL_REQUEST
