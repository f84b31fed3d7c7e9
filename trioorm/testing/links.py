"""What a fault proxy does inside its own thread: accept, connect onwards, and pass chunks on, or not, as its faults say.

The contract: all of it runs on the proxy's own event loop, which is Trio's; `proxy.py` is the face that other threads use. Each direction
of a link is a reader and a writer with a short queue between them, so that latency delays what passes without slowing it down, and a
link that stands still makes its sender wait, as a full network would.
"""

import contextlib
import math
import os
import socket
import struct
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Event, Thread
from typing import Literal, TypeVar, TypeVarTuple

import attrs
import trio

from trioorm.errors import UsageError
from trioorm.testing.messages import Conversation, Direction

Unit = Literal["message", "read"]

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_READ_BYTES = 65_536
_QUEUED_CHUNKS = 64
_DRIP_PIECES_PER_SECOND = 50
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger: closing sends RST

_BACKLOG = 1000

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


@attrs.frozen
class Target:
    """Where the real server listens: a unix socket, or a host with a port."""

    path: str | None
    host: str
    port: int

    async def connect(self) -> trio.SocketStream:
        """One connection to it."""
        if self.path is not None:
            return await trio.open_unix_socket(self.path)
        return await trio.open_tcp_stream(self.host, self.port)

    def listener(self) -> trio.SocketListener:
        """A socket that accepts connections here."""
        if self.path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(self.path)
        else:
            listening = socket.socket(socket.AF_INET)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self.host, self.port))
        listening.listen(_BACKLOG)
        return trio.SocketListener(trio.socket.from_stdlib_socket(listening))


@attrs.define
class Lane:
    """The faults and figures of one direction, of all links."""

    delay_seconds: float = 0.0
    bytes_per_second: float = math.inf
    chunks: int = 0
    bytes: int = 0


class Cut:
    """A cut that waits for its chunk, or has happened.

    Attributes:
        happened: whether its chunk has come.
        ended: set when both sockets are closed as well.
    """

    def __init__(self, direction: Direction, *, chunk: int | None, after_bytes: int | None, delivered: bool, reset: bool) -> None:
        self.direction = direction
        self.delivered = delivered
        self.reset = reset
        self.happened = False
        self.ended = Event()
        self._chunks_left = chunk
        self._bytes_left = after_bytes

    def passes(self, chunk: bytes) -> bytes | None:
        """Count a chunk; what of it still passes before the connection is cut, or None when it is not cut here."""
        if self._chunks_left is not None:
            self._chunks_left -= 1
            if self._chunks_left:
                return None
            self.happened = True
            return chunk if self.delivered else b""
        assert self._bytes_left is not None, "a cut is by chunks or by bytes"
        if len(chunk) < self._bytes_left:
            self._bytes_left -= len(chunk)
            return None
        self.happened = True
        return chunk[: self._bytes_left]


class Engine:
    """The proxy itself. All methods are called on its event loop."""

    def __init__(self, target: Target, place: Target, unit: Unit, nursery: trio.Nursery, *, spare_cancel_requests: bool) -> None:
        self.target = target
        self.place = place
        self.unit = unit
        self.spare_cancel_requests = spare_cancel_requests
        self.lanes = {direction: Lane() for direction in Direction}
        self.links: set[Link] = set()
        self.accepted = 0
        self.cancel_requests = 0
        self.cuts_done = 0
        self.swallowed_bytes = 0
        self.swallows = False
        self._nursery = nursery
        self._armed: list[Cut] = []
        self._thawed = trio.Event()
        self._thawed.set()
        self._listener: trio.SocketListener | None = None

    # Listening.

    def listen(self) -> None:
        """Accept connections from now on; does nothing when it does already."""
        if self._listener is None:
            self._listener = self.place.listener()
            if self.place.path is None:
                self.place = attrs.evolve(self.place, port=self._listener.socket.getsockname()[1])
            self._nursery.start_soon(self._serve, self._listener)

    def refuse(self) -> None:
        """Close the listening socket, so that the system refuses new connections."""
        if self._listener is not None:
            self._listener.socket.close()
            self._listener = None

    async def _serve(self, listener: trio.SocketListener) -> None:
        try:
            while True:
                link = Link(self, await listener.accept())
                self.accepted += 1
                self.links.add(link)
                self._nursery.start_soon(self._run_link, link)
        except trio.ClosedResourceError:
            pass  # by `refuse`

    async def _run_link(self, link: "Link") -> None:
        try:
            await link.run()
        except* _GONE:
            pass  # one of the two ends is gone, and with it the link
        finally:
            self.links.discard(link)
            link.close_both()

    # Faults.

    def freeze(self) -> None:
        if self._thawed.is_set():
            self._thawed = trio.Event()

    def thaw(self) -> None:
        self._thawed.set()

    async def until_thawed(self) -> None:
        while not self._thawed.is_set():
            await self._thawed.wait()

    def arm(self, cut: Cut) -> None:
        self._armed.append(cut)

    def disarm(self, cut: Cut) -> None:
        if cut in self._armed:
            self._armed.remove(cut)

    def cut_due(self, direction: Direction, chunk: bytes) -> tuple[Cut, bytes] | None:
        """Count a chunk for every cut of its direction; the first one that is due, with what still passes."""
        due: tuple[Cut, bytes] | None = None
        for cut in [cut for cut in self._armed if cut.direction is direction]:
            if due is None and (rest := cut.passes(chunk)) is not None:
                self._armed.remove(cut)
                self.cuts_done += 1
                due = (cut, rest)
        return due

    def cut_now(self, reset: bool) -> None:
        for link in tuple(self.links):
            self.cuts_done += 1
            link.cut(reset=reset)

    def drop(self, side: Direction) -> None:
        """Close the sockets towards one side and keep those towards the other open."""
        for link in tuple(self.links):
            link.drop(side)

    def heal(self) -> None:
        self.swallows = False
        self._armed.clear()
        for lane in self.lanes.values():
            lane.delay_seconds, lane.bytes_per_second = 0.0, math.inf
        self._thawed.set()


class Link:
    """One client's connection, and the one that the proxy has to the server for it."""

    def __init__(self, engine: Engine, client: trio.SocketStream) -> None:
        self._engine = engine
        self._client = client
        self._server: trio.SocketStream | None = None
        self._conversation = Conversation()
        self._swallowing = False
        self._dropped: set[Direction] = set()
        self._scope = trio.CancelScope()

    @property
    def _is_affected(self) -> bool:
        return not (self._conversation.is_cancel_request and self._engine.spare_cancel_requests)

    async def run(self) -> None:
        with self._scope:
            # Before anything is decided, the first message: it says whether this is a cancel request.
            first = await self._read(self._client, Direction.TO_SERVER)
            if self._conversation.is_cancel_request:
                self._engine.cancel_requests += 1
            if self._engine.swallows and self._is_affected:
                await self._swallow_to_the_end(first)
                return
            self._server = await self._engine.target.connect()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pass_on, Direction.TO_CLIENT, list[bytes]())
                await self._pass_on(Direction.TO_SERVER, first)

    async def _swallow_to_the_end(self, chunks: list[bytes]) -> None:
        self._swallowing = True
        self._engine.swallowed_bytes += sum(map(len, chunks))
        while data := await self._client.receive_some(_READ_BYTES):
            self._engine.swallowed_bytes += len(data)

    async def _read(self, source: trio.SocketStream, direction: Direction) -> list[bytes]:
        """The next chunks of one direction; an empty list at its end."""
        while True:
            try:
                data = await source.receive_some(_READ_BYTES)
            except _GONE:
                data = b""
            if not data:
                return self._conversation.rest(direction)
            messages = self._conversation.feed(direction, data)
            if self._engine.unit == "read":
                return [data]
            if messages:
                return messages

    async def _pass_on(self, direction: Direction, first: list[bytes]) -> None:
        assert self._server is not None, "connected"
        to_server = direction is Direction.TO_SERVER
        source, sink = (self._client, self._server) if to_server else (self._server, self._client)
        lane = self._engine.lanes[direction]
        queue, chunks = trio.open_memory_channel[tuple[float, bytes]](_QUEUED_CHUNKS)

        async def read() -> None:
            batch = first
            async with queue:
                while batch := batch or await self._read(source, direction):
                    due_at = trio.current_time() + lane.delay_seconds
                    for chunk in batch:
                        await queue.send((due_at, chunk))
                    batch = []
                await queue.send((trio.current_time() + lane.delay_seconds, b""))

        async with chunks, trio.open_nursery() as nursery:
            nursery.start_soon(read)
            async for due_at, chunk in chunks:
                if self._is_affected:
                    await trio.sleep_until(due_at)
                    await self._engine.until_thawed()
                await self._deliver(chunk, direction, sink, lane)

    async def _deliver(self, chunk: bytes, direction: Direction, sink: trio.SocketStream, lane: Lane) -> None:
        """Pass one chunk on; an empty one is the end of the stream."""
        if self._engine.swallows and self._is_affected:
            self._swallowing = True  # what was lost once cannot be made good: a healed network does not mend this link
        if self._swallowing or direction in self._dropped:
            self._engine.swallowed_bytes += len(chunk)
            return
        if not chunk:
            if not self._dropped:
                self.cut(reset=False)
            return
        if self._is_affected and (due := self._engine.cut_due(direction, chunk)) is not None:
            cut, rest = due
            with contextlib.suppress(*_GONE):
                await self._send(rest, sink, lane)
            self.cut(reset=cut.reset)
            cut.ended.set()
            return
        await self._send(chunk, sink, lane)

    async def _send(self, chunk: bytes, sink: trio.SocketStream, lane: Lane) -> None:
        if not chunk:
            return
        # Counted first: whoever has received it finds it in the figures.
        lane.chunks += 1
        lane.bytes += len(chunk)
        rate = lane.bytes_per_second
        if rate == math.inf or not self._is_affected:
            await sink.send_all(chunk)
        else:
            piece_bytes = max(1, int(rate / _DRIP_PIECES_PER_SECOND))
            for start in range(0, len(chunk), piece_bytes):
                piece = chunk[start : start + piece_bytes]
                await sink.send_all(piece)
                await trio.sleep(len(piece) / rate)

    # Ending.

    def cut(self, *, reset: bool) -> None:
        """Close both sides and end the link."""
        if reset:
            for stream in (self._client, self._server):
                if stream is not None and stream.socket.family != socket.AF_UNIX:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._scope.cancel()
        self._engine.links.discard(self)
        self.close_both()

    def drop(self, side: Direction) -> None:
        """Close the socket towards one side without a word to the other."""
        self._dropped.update(Direction)
        stream = self._server if side is Direction.TO_SERVER else self._client
        if stream is not None:
            stream.socket.close()

    def close_both(self) -> None:
        """Close both sockets. Never waits, since a link that is being cancelled would not get past a checkpoint."""
        for stream in (self._client, self._server):
            if stream is not None:
                stream.socket.close()


class Loop:
    """The event loop of a proxy, in its own thread."""

    def __init__(self, token: trio.lowlevel.TrioToken, engine: Engine) -> None:
        self._token = token
        self.engine = engine

    def call(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Call a function on the loop, from another thread, and wait for what it returns.

        Raises:
            UsageError: the proxy has ended.
        """
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(function(*arguments))
            except BaseException as error:
                answer.set_exception(error)

        try:
            self._token.run_sync_soon(run)
        except trio.RunFinishedError:
            raise UsageError("the proxy has ended with its block.\nTo fix it: use it inside `with running_proxy(...)`.") from None
        return answer.result()


@contextmanager
def running_loop(target: Target, place: Target, unit: Unit, *, spare_cancel_requests: bool) -> Generator[Loop]:
    """Run a proxy in a thread, for the length of the block."""
    started: Future[Loop] = Future()
    ending = trio.Event()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            engine = Engine(target, place, unit, nursery, spare_cancel_requests=spare_cancel_requests)
            engine.listen()
            started.set_result(Loop(trio.lowlevel.current_trio_token(), engine))
            await ending.wait()
            nursery.cancel_scope.cancel()
            engine.refuse()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    # trio's own worker threads are for functions that end; this one runs as long as the block.
    thread = Thread(target=run, name="trioorm fault proxy", daemon=True)
    thread.start()
    try:
        loop = started.result()
        try:
            yield loop
        finally:
            with contextlib.suppress(UsageError):
                loop.call(ending.set)
    finally:
        thread.join()
