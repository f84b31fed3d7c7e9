"""Driving psycopg's generators whose socket may change between waits: connecting, and cancel requests.

Once a socket is a connection's for good, `Readiness` waits for it.
"""

from __future__ import annotations

from typing import cast

import anyio
from psycopg.abc import RV, PQGenConn
from psycopg.waiting import Ready, Wait


async def wait_for_socket(fileno: int, want: Wait) -> Ready:
    """Wait for a socket that is connecting; once it is a connection, `Readiness` does this."""
    if want == Wait.W:
        await anyio.wait_writable(fileno)
        return Ready.W
    await anyio.wait_readable(fileno)
    return Ready.R


async def drive(generator: PQGenConn[RV]) -> RV:
    """Consume a generator whose socket may change between waits: connecting, or a cancel request."""
    try:
        fileno, want = next(generator)
        while True:
            fileno, want = generator.send(await wait_for_socket(fileno, want))
    except StopIteration as stop:
        return cast("RV", stop.value)
    finally:
        # Whoever keeps a cancellation's traceback would keep the half-made connection, and its session, with the frame of the generator.
        generator.close()
