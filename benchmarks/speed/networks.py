"""The ways to the server: a unix socket, TCP, and TCP with a line that takes a while."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from statistics import median
from time import perf_counter

import psycopg
from attrs import evolve, frozen
from psycopg.conninfo import conninfo_to_dict

from benchmarks.speed.contender import Address
from trioorm.embedded import Server, ServerOptions, running_server

ROUND_TRIP_SECONDS = 0.0005
_QUESTIONS = 300

_SETTINGS: dict[str, str | int | float | bool] = {
    "autovacuum": False,  # nothing in the background while somebody is timed
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1d",
}


@frozen
class Network:
    """A way to the server.

    Attributes:
        clock: which figure is the one to look at; where trips are long, CPU time says little of how long a user waits.
        workloads: those that are measured this way in a whole run; None for all.
    """

    name: str
    title: str
    clock: str
    workloads: tuple[str, ...] | None = None


_SOME = ("get", "filter", "wide", "film", "insert", "update", "update_flight", "transfer", "tasks", "tasks_lanes")
NETWORKS = {
    network.name: network
    for network in (
        Network("unix", "a unix socket", "cpu"),
        Network("tcp", "TCP on the same machine", "cpu", _SOME),
        Network("far", f"TCP with {ROUND_TRIP_SECONDS * 1e3:g} ms for each round trip", "wall", _SOME),
    )
}


def pin() -> int | None:
    """Keep this process and its children on one core, where the system can do that: a wake-up across cores costs as much as a query."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


@contextmanager
def server() -> Generator[Server]:
    """A server that does nothing by itself meanwhile."""
    with running_server(options=ServerOptions(fsync=False, max_connections=300, tcp=True, settings=_SETTINGS)) as found:
        yield found


@contextmanager
def way(server: Server, network: Network) -> Generator[Address]:
    """The address to reach a server at."""
    direct = _address(server.conninfo())
    if network.name == "unix":
        yield direct
    elif network.name == "tcp":
        yield _address(server.conninfo(tcp=True))
    else:
        with slow_line(direct, ROUND_TRIP_SECONDS / 2) as port:
            yield evolve(direct, host="127.0.0.1", port=port, is_far=True)


@contextmanager
def slow_line(target: Address, seconds: float) -> Generator[int]:
    """The port of a line to the target that takes so long in each direction."""
    command = [sys.executable, "-m", "benchmarks.speed.slow_line", str(seconds), target.host, str(target.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.communicate()  # ends its input


def round_trip(where: Address) -> float:
    """How long the shortest of questions takes over this way, in microseconds, asked by psycopg without an event loop; the median."""
    with psycopg.connect(
        host=where.host, port=where.port, user=where.user, dbname=where.database, password=where.password, autocommit=True
    ) as connection:
        connection.execute("SELECT 1", prepare=True)
        times: list[float] = []
        for _ in range(_QUESTIONS):
            began = perf_counter()
            connection.execute("SELECT 1")
            times.append(perf_counter() - began)
    return median(times) * 1e6


def _address(conninfo: str) -> Address:
    parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    return Address(parts["host"], int(parts["port"]), parts["user"], parts["dbname"], parts.get("password"))
