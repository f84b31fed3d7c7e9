"""The attempts that one connection string stands for: every host, and every address of every host, until one lets us in.

libpq's own loop over hosts cannot be used: it looks names up on the event loop, and knows no time limit when it is driven from outside. So
each attempt is a connection string of its own with one host and one address, and what libpq's loop would do is done here: the order,
`load_balance_hosts`, `connect_timeout` for each attempt, and the two rounds of `target_session_attrs=prefer-standby`. The other kinds of
`target_session_attrs` are checked by libpq in each attempt.

Source: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-MULTIPLE-HOSTS
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
from anyio import to_thread
from psycopg import OperationalError
from psycopg import errors as psycopg_errors
from psycopg._conninfo_utils import is_ip_address, split_attempts
from psycopg.abc import ConnDict, ConnParam, PQGenConn
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn

from trioorm.wire.connect_errors import connect_error, is_refusal, is_unusable, unusable_address
from trioorm.wire.driving import drive

__all__ = ["connect_to_any", "parameters_in_force"]

T = TypeVar("T")

_UNSUPPORTED = "trioorm asks only what is in force"


def parameters_in_force(given: ConnDict) -> dict[str, str]:
    """All parameters that libpq would use: those given, then those of the service file, of the environment, and its defaults.

    libpq itself is asked, by a connection that it refuses to begin because one parameter makes no sense. Empty if there is no such service.
    """
    question = PGconn.connect_start(make_conninfo("", **{**given, "channel_binding": _UNSUPPORTED}).encode())
    try:
        return {option.keyword.decode(): option.val.decode() for option in question.info if option.val}
    finally:
        question.finish()


async def connect_to_any(parameters: ConnDict, in_force: dict[str, str], connect: Callable[[str], PQGenConn[T]], *, seconds: float) -> T:
    """Try every host and address in turn.

    Args:
        parameters: for every attempt.
        in_force: what `parameters_in_force` said of them.
        connect: psycopg's generator for one attempt.
        seconds: how long each attempt, and each look-up of a name, may take.

    Raises:
        ConnectFailed: no attempt succeeded; the text has the reason of each. Safe to retry.
        AuthenticationFailed: a server was reached and refused us, upon which no other host is tried, as in libpq. Not safe to retry.
        UsageError: the parameters contradict each other.

    Checkpoint: always.
    """
    try:
        hosts = _hosts_in_order(in_force)
    except OperationalError as error:
        raise unusable_address(str(error)) from None
    failures: dict[tuple[str, str], OperationalError] = {}
    found: dict[tuple[ConnParam, ConnParam], list[ConnDict]] = {}

    def failed(attempt: ConnDict, error: OperationalError) -> None:
        where = ", ".join(f"{key} {attempt[key]}" for key in ("host", "hostaddr", "port") if attempt.get(key))
        failures.setdefault((where, str(error)), error)

    for number, host in enumerate(hosts, start=1):
        name = (host.get("host"), host.get("port"))
        try:
            if name not in found:
                found[name] = await _look_up(host, in_force, seconds=seconds)
        except OperationalError as error:
            failed(host, error)
            continue
        for address in found[name]:
            attempt = {**host, **address}
            try:
                with anyio.fail_after(seconds):
                    return await drive(connect(make_conninfo("", **{**parameters, **attempt})))
            except TimeoutError:
                failed(attempt, psycopg_errors.ConnectionTimeout(f"connection timeout expired after {seconds:g} s"))
            except OperationalError as error:
                failed(attempt, error)
                if is_refusal(error) or is_unusable(error):
                    raise _all_failed(failures, untried=len(hosts) - number) from None
    raise _all_failed(failures)


def _all_failed(failures: dict[tuple[str, str], OperationalError], *, untried: int = 0) -> Exception:
    return connect_error([(where, error) for (where, _), error in failures.items()], untried=untried)


def _hosts_in_order(in_force: dict[str, str]) -> list[ConnDict]:
    """What to try, host by host: the parameters in which the attempts differ."""
    routing: ConnDict = {key: in_force[key] for key in ("host", "hostaddr", "port", "target_session_attrs") if key in in_force}
    hosts = split_attempts(routing)
    if _is_shuffled(in_force):
        random.shuffle(hosts)
    if routing.get("target_session_attrs") == "prefer-standby":
        standbys: list[ConnDict] = [{**host, "target_session_attrs": "standby"} for host in hosts]
        return standbys + [{**host, "target_session_attrs": "any"} for host in hosts]
    return hosts


def _is_shuffled(in_force: dict[str, str]) -> bool:
    return in_force.get("load_balance_hosts") == "random"


async def _look_up(host: ConnDict, in_force: dict[str, str], *, seconds: float) -> list[ConnDict]:
    """The addresses of a host, in a thread if it has a name, since `getaddrinfo` blocks.

    Raises:
        OperationalError: it could not be looked up.
    """
    name, port = str(host.get("host") or ""), str(host.get("port") or "")
    if host.get("hostaddr") or not name or name.startswith(("/", "@")):
        return [{}]
    if is_ip_address(name):
        return [{"hostaddr": name}]
    look_up = partial(socket.getaddrinfo, name, port, proto=socket.IPPROTO_TCP, type=socket.SOCK_STREAM)
    try:
        with anyio.fail_after(seconds):
            answers = await to_thread.run_sync(look_up, abandon_on_cancel=True)
    except (OSError, UnicodeError) as error:
        reason = f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else str(error)
        raise OperationalError(f"failed to resolve host {name!r}: {reason}") from None
    addresses: list[ConnDict] = [{"hostaddr": str(answer[4][0])} for answer in answers]
    if _is_shuffled(in_force):
        random.shuffle(addresses)
    return addresses
