"""A proxy between a PostgreSQL client and its server that breaks the connection in every way a network can.

The contract: `running_proxy` accepts connections on a socket of its own and passes bytes on to a real server until it is told of a fault.
It runs in a thread with an event loop of its own, so it serves tests on Trio, on asyncio and without any event loop, and a loop that
is blocked by the code under test cannot hide a fault. Every method of `FaultProxy` takes effect before it returns, and may be
called from any thread but the proxy's own.

Cancel requests travel on connections of their own. They pass through the proxy like all others and meet the same faults, unless
`spare_cancel_requests` is set.
"""

import math
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import attrs
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from trioorm.errors import UsageError
from trioorm.testing.links import Cut, Loop, Target, Unit, running_loop
from trioorm.testing.messages import Direction

__all__ = ["Cut", "Direction", "FaultProxy", "ProxyStatistics", "running_proxy"]

_DEFAULT_PORT = 5432
_CUT_WITHIN_SECONDS = 1.0  # the last chunk may be stuck in a socket that nobody reads


@attrs.frozen(kw_only=True)
class ProxyStatistics:
    """What a proxy has done so far.

    Attributes:
        accepted: connections that clients opened, cancel requests among them.
        open: of these, how many are open now.
        cancel_requests: how many of them were cancel requests.
        chunks_to_server, chunks_to_client: chunks passed on.
        bytes_to_server, bytes_to_client: their length.
        swallowed_bytes: bytes that a black hole or a half-open connection threw away.
        cuts: connections that the proxy has cut.
    """

    accepted: int
    open: int
    cancel_requests: int
    chunks_to_server: int
    chunks_to_client: int
    bytes_to_server: int
    bytes_to_client: int
    swallowed_bytes: int
    cuts: int


class FaultProxy:
    """The controls of a running proxy. Made by `running_proxy`.

    Faults add up and last until they are taken back, one by one or all at once by `heal`. They hold for connections that are open as well
    as for later ones.
    """

    def __init__(self, loop: Loop, address: str) -> None:
        self._loop = loop
        self._engine = loop.engine
        self._address = address

    def __repr__(self) -> str:
        figures = self.statistics()
        return f"<FaultProxy with {figures.open} connections open of {figures.accepted}>"

    def conninfo(self, database: str | None = None) -> str:
        """The server's address by way of the proxy.

        Args:
            database: another one than the address given to `running_proxy` names.
        """
        return make_conninfo(self._address, **({} if database is None else {"dbname": database}))

    def statistics(self) -> ProxyStatistics:
        """The figures at this moment."""
        return self._loop.call(self._statistics)

    def _statistics(self) -> ProxyStatistics:
        engine = self._engine
        to_server, to_client = engine.lanes[Direction.TO_SERVER], engine.lanes[Direction.TO_CLIENT]
        return ProxyStatistics(
            accepted=engine.accepted,
            open=len(engine.links),
            cancel_requests=engine.cancel_requests,
            chunks_to_server=to_server.chunks,
            chunks_to_client=to_client.chunks,
            bytes_to_server=to_server.bytes,
            bytes_to_client=to_client.bytes,
            swallowed_bytes=engine.swallowed_bytes,
            cuts=engine.cuts_done,
        )

    # Slow networks.

    def delay(self, seconds: float, direction: Direction | None = None) -> None:
        """Let every chunk arrive later, as on a long line; what passes is not slowed down otherwise.

        Args:
            seconds: how much later; 0 takes the fault back.
            direction: which way; None for both.

        Raises:
            UsageError: a negative delay.
        """
        if not seconds >= 0:
            raise UsageError(f"A chunk cannot arrive {-seconds} s before it was sent.\nTo fix it: give 0 or more seconds.")
        for each in Direction if direction is None else (direction,):
            self._loop.call(setattr, self._engine.lanes[each], "delay_seconds", seconds)

    def drip(self, bytes_per_second: float | None, direction: Direction | None = None) -> None:
        """Pass no more than so many bytes a second, in small pieces.

        Args:
            bytes_per_second: how many, on each connection; None takes the fault back.
            direction: which way; None for both.

        Raises:
            UsageError: a rate of 0 or less.
        """
        rate = math.inf if bytes_per_second is None else bytes_per_second
        if not rate > 0:
            raise UsageError(f"No bytes at all ({bytes_per_second} a second) is no drip.\nTo fix it: use freeze(), or a rate above 0.")
        for each in Direction if direction is None else (direction,):
            self._loop.call(setattr, self._engine.lanes[each], "bytes_per_second", rate)

    # Networks that stand still.

    def freeze(self) -> None:
        """Pass nothing on until `thaw`; nothing is lost, and new connections are accepted and wait."""
        self._loop.call(self._engine.freeze)

    def thaw(self) -> None:
        """Undo `freeze`: what was held passes now."""
        self._loop.call(self._engine.thaw)

    def black_hole(self) -> None:
        """Take everything and pass nothing on, ends of connections included; all sockets stay open.

        New connections are accepted and never answered. `heal` ends this for new connections; one that has lost bytes stays lost.
        """
        self._loop.call(setattr, self._engine, "swallows", True)

    def drop_server_side(self) -> None:
        """Make every open connection half-open: close the server's side; the client hears nothing of it, and gets no answer any more."""
        self._loop.call(self._engine.drop, Direction.TO_SERVER)

    def drop_client_side(self) -> None:
        """Make every open connection half-open: close the client's side; the server hears nothing of it, and keeps the session."""
        self._loop.call(self._engine.drop, Direction.TO_CLIENT)

    # Broken connections.

    def cut_at(self, direction: Direction, chunk: int = 1, *, delivered: bool, reset: bool = False) -> Cut:
        """Cut one connection when a chunk is about to pass; chunks of all connections are counted, from now on.

        Args:
            direction: whose chunks.
            chunk: the how-manyth, counted from 1.
            delivered: let this chunk pass first; else it is lost.
            reset: end with RST instead of FIN, so that what lies unread is lost as well; on TCP only.

        Returns:
            The cut, whose `happened` tells whether that chunk ever came.

        Raises:
            UsageError: there is no such chunk.
        """
        if chunk < 1:
            raise UsageError(f"There is no chunk {chunk}: they are counted from 1.\nTo fix it: use 1 for the next one.")
        return self._arm(Cut(direction, chunk=chunk, after_bytes=None, delivered=delivered, reset=reset))

    def cut_after(self, direction: Direction, bytes_: int, *, reset: bool = False) -> Cut:
        """Cut one connection when so many bytes have passed, from now on, also in the middle of a message.

        Args:
            direction: whose bytes.
            bytes_: how many still pass.
            reset: as `cut_at`.

        Raises:
            UsageError: less than one byte.
        """
        if bytes_ < 1:
            raise UsageError(f"A cut after {bytes_} bytes is no cut of this stream.\nTo fix it: give 1 or more, or use cut_all().")
        return self._arm(Cut(direction, chunk=None, after_bytes=bytes_, delivered=True, reset=reset))

    def _arm(self, cut: Cut) -> Cut:
        self._loop.call(self._engine.arm, cut)
        return cut

    def disarm(self, cut: Cut) -> None:
        """Take back a cut that has not happened; one that is under way is finished first, so that both ends can see it."""
        self._loop.call(self._engine.disarm, cut)
        if cut.happened:
            cut.ended.wait(_CUT_WITHIN_SECONDS)

    def cut_all(self, *, reset: bool = False) -> None:
        """Cut every open connection now.

        Args:
            reset: as `cut_at`.
        """
        self._loop.call(self._engine.cut_now, reset)

    # The door.

    def refuse(self) -> None:
        """Let the system refuse new connections, as when no server runs; open ones stay."""
        self._loop.call(self._engine.refuse)

    def accept(self) -> None:
        """Undo `refuse`; the address stays the same."""
        self._loop.call(self._engine.listen)

    def heal(self) -> None:
        """Take every fault back, cuts that have not happened included. What is broken stays broken; new connections work."""
        self._loop.call(self._engine.heal)
        self.accept()


@contextmanager
def running_proxy(
    address: str,
    *,
    listen: Literal["unix", "tcp"] = "unix",
    unit: Unit = "message",
    spare_cancel_requests: bool = False,
) -> Generator[FaultProxy]:
    """Run a proxy in front of a PostgreSQL server, for the length of the block.

        with running_proxy(address) as proxy:
            async with open_database(proxy.conninfo()) as db:
                proxy.cut_at(Direction.TO_CLIENT, 1, delivered=False)
                ...

    Entering takes milliseconds and does not wait for the server. Leaving closes every connection.

    Args:
        address: of the server, a libpq connection string or URI with one host.
        listen: "unix" for a socket in a folder that only this user may enter; "tcp" for a free port of 127.0.0.1, which any user
            of this machine can reach: a server that trusts its unix socket then trusts them all.
        unit: what a chunk is: "message" for one message of PostgreSQL's protocol, so that counts do not depend on how the
            system happened to join them; "read" for whatever one read from a socket gave. Encrypted connections always go by reads.
        spare_cancel_requests: pass cancel requests on untouched, whatever the faults.

    Raises:
        UsageError: the address names no host, or several.
    """
    parameters = conninfo_to_dict(address)
    target = _target(str(parameters.get("hostaddr") or parameters.get("host") or ""), str(parameters.get("port") or _DEFAULT_PORT))
    through: dict[str, str | int]
    with tempfile.TemporaryDirectory(prefix="trioorm-proxy-") as folder:
        if listen == "unix":
            through = {"host": folder, "port": _DEFAULT_PORT}
            place = Target(str(Path(folder) / f".s.PGSQL.{_DEFAULT_PORT}"), "", 0)
        else:
            through = {"host": "127.0.0.1"}
            place = Target(None, "127.0.0.1", 0)
        if target.path is not None:
            through["sslmode"] = "disable"  # a server does not offer it on its unix socket
        parameters.pop("hostaddr", None)
        with running_loop(target, place, unit, spare_cancel_requests=spare_cancel_requests) as loop:
            if loop.engine.place.path is None:
                through["port"] = loop.engine.place.port
            yield FaultProxy(loop, make_conninfo("", **(parameters | through)))


def _target(host: str, port: str) -> Target:
    if not host or "," in host or "," in port:
        named = "several hosts" if "," in host + port else "no host"
        raise UsageError(
            f"The address names {named}, and a proxy stands in front of one server.\nTo fix it: give one host= (or a folder with a socket)."
        )
    if host.startswith(("/", "@")):
        path = f"{host}/.s.PGSQL.{port}"
        return Target("\0" + path[1:] if host.startswith("@") else path, "", 0)
    return Target(None, host, int(port))
