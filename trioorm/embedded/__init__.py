"""PostgreSQL servers of our own: found in a wheel, started, shared among processes, and ended with their last owner.

The contract: a server never outlives the processes that use it, even when these are killed; nothing of a temporary one is left; nothing
of the machine is changed (no account is made, no folder of others is opened). Linux only, because the processes of a server are found
through /proc.

    async with open_server() as server:
        print(server.conninfo())
"""

from trioorm.embedded.binaries import Binaries, find_binaries
from trioorm.embedded.lifecycle import StopMode
from trioorm.embedded.options import ServerOptions
from trioorm.embedded.server import AsyncServer, Server, open_server, running_server

__all__ = ["AsyncServer", "Binaries", "Server", "ServerOptions", "StopMode", "find_binaries", "open_server", "running_server"]
