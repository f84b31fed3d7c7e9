"""A line to the server that takes a while: everything arrives later by a fixed time, whatever else is under way.

    python -m benchmarks.speed.slow_line SECONDS HOST PORT

The contract: it prints the port of 127.0.0.1 at which it listens and runs until its standard input ends. Bytes leave the time given after
they came, in each direction, to within some 20 µs. It is a process of its own, kept off the core of those who are measured where there is
another, so that its work is nobody's.

`trioorm.testing`'s proxy breaks connections in every way; its event loop's clock has steps of a millisecond, too coarse for this.
"""

import ctypes
import os
import select
import socket
import sys
from collections import deque
from time import perf_counter
from typing import Self

_CHUNK = 1 << 18
_HELD = 1 << 24  # bytes under way in one direction, past which nothing more is read
_TIMER_SLACK = 29  # PR_SET_TIMERSLACK: else the kernel wakes us up to 50 µs late


class _Way:
    """What is under way from one socket to another."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._ended = False
        self.is_over = False

    @classmethod
    def both(cls, one: socket.socket, other: socket.socket) -> tuple[Self, Self]:
        for each in (one, other):
            each.setblocking(False)
        return cls(one, other), cls(other, one)

    def reads(self) -> bool:
        return not self._ended and self._held < _HELD

    def due_at(self) -> float:
        return self._chunks[0][0] if self._chunks else float("inf")

    def read(self, delay: float) -> None:
        try:
            chunk = self.source.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self._ended = not chunk
        self._held += len(chunk)
        self._chunks.append((perf_counter() + delay, chunk))

    def write(self) -> None:
        """Send what is due; what does not fit stays due."""
        while self._chunks and self.due_at() <= perf_counter():
            due, chunk = self._chunks.popleft()
            if not chunk:
                self.is_over = True
                return
            try:
                sent = self.target.send(chunk)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.is_over = True
                return
            self._held -= sent
            if sent < len(chunk):
                self._chunks.appendleft((due, chunk[sent:]))
                return


def serve(listener: socket.socket, target: tuple[str, int], delay: float) -> None:
    """Accept connections and pass bytes on, until standard input ends."""
    ways: list[_Way] = []
    while True:
        now = perf_counter()
        readers = [way.source for way in ways if way.reads()]
        stuck = [way.target for way in ways if way.due_at() <= now]
        pending = [due for way in ways if (due := way.due_at()) > now]
        timeout = max(0.0, min(pending) - now) if pending and min(pending) != float("inf") else None
        # select() and not epoll, whose timeouts Python rounds up to milliseconds.
        readable, _, _ = select.select([listener, sys.stdin, *readers], stuck, [], timeout)
        for source in readable:
            if source is sys.stdin:
                return
            if source is listener:
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ways += _Way.both(client, _connected(target))
        for way in ways:
            if way.source in readable:
                way.read(delay)
            way.write()
        for over in [way for way in ways if way.is_over]:
            over.source.close()
            over.target.close()
        ways = [way for way in ways if way.source.fileno() != -1 and way.target.fileno() != -1]


def _connected(target: tuple[str, int]) -> socket.socket:
    host, port = target
    if host.startswith("/"):
        made = socket.socket(socket.AF_UNIX)
        made.connect(f"{host}/.s.PGSQL.{port}")
        return made
    return socket.create_connection(target)


def main() -> None:
    """Run as a program."""
    delay, host, port = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_TIMER_SLACK, 1, 0, 0, 0)
        others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
        if others:
            os.sched_setaffinity(0, others)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        serve(listener, (host, port), delay)


if __name__ == "__main__":
    main()
