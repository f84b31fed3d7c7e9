"""The witness of the storm: it finds what nobody waits for, and tells how long that ran."""

import contextlib
from typing import TYPE_CHECKING, cast

import anyio
import anyio.to_thread
import psycopg
import pytest

from benchmarks.storm.faults import APPLICATION
from benchmarks.storm.figures import Figures
from benchmarks.storm.witness import Witness
from trioorm.embedded import AsyncServer, open_server

if TYPE_CHECKING:
    from benchmarks.storm.contender import Client


class NobodyWaits:
    """A client that uses no session at all."""

    def busy_pids(self) -> set[int]:
        return set()


@pytest.mark.parametrize("ends_by", ["cancel", "crash"])
async def test_a_query_that_nobody_waits_for_is_found_and_ends_with_its_session(ends_by: str) -> None:
    """A crash ends it there and then, and not only when the server is back, which it never is here."""
    figures = Figures()
    async with open_server() as server, anyio.create_task_group() as nursery:
        with anyio.fail_after(60), contextlib.closing(await anyio.to_thread.run_sync(_send, server)) as orphan:
            witness = Witness(server.conninfo(), cast("Client", NobodyWaits()), figures, size=5)
            nursery.start_soon(witness.watch)
            while not witness.has_suspects:  # noqa: ASYNC110 - a look from outside, there is no event
                await anyio.sleep(0.001)
            found_at = anyio.current_time()
            if ends_by == "cancel":
                await anyio.to_thread.run_sync(orphan.cancel_safe)
            else:
                server.kill()
            while not figures.orphan_seconds:  # noqa: ASYNC110 - the same
                await anyio.sleep(0.001)
            assert 0 < figures.orphan_seconds[0] < anyio.current_time() - found_at + 1
            assert figures.most_backends == 1
            nursery.cancel_scope.cancel()


def _send(server: AsyncServer) -> psycopg.Connection:
    connection = psycopg.connect(server.conninfo(), application_name=APPLICATION, autocommit=True)
    connection.pgconn.send_query(b"SELECT pg_sleep(600)")
    return connection
