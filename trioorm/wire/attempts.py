"""The attempts that one connection string stands for: every host, and every address of every host.

psycopg's own splitting is used, in a thread when a name must be looked up, since `getaddrinfo` blocks and psycopg's asynchronous version
knows only asyncio.
"""

from anyio import to_thread
from psycopg._conninfo_attempts import conninfo_attempts
from psycopg._conninfo_utils import get_param, is_ip_address, split_attempts
from psycopg.abc import ConnDict


async def connection_attempts(parameters: ConnDict) -> list[ConnDict]:
    """The parameters of each single attempt, in the order in which to try them.

    Raises:
        psycopg.OperationalError: no host name could be resolved.

    Checkpoint: only if a name must be looked up.
    """
    if any(_must_look_up(attempt) for attempt in split_attempts(parameters)):
        return await to_thread.run_sync(conninfo_attempts, parameters, abandon_on_cancel=True)
    return conninfo_attempts(parameters)


def _must_look_up(attempt: ConnDict) -> bool:
    host = get_param(attempt, "host")
    return not (get_param(attempt, "hostaddr") or not host or host.startswith(("/", "@")) or is_ip_address(host))
