"""What a caller may choose about an embedded server: one frozen record.

The contract: every field has a default that suits tests and trials; a setting that is named here cannot also be given through `settings`,
so that no two places disagree.
"""

from collections.abc import Mapping

from attrs import field, frozen

from trioorm.errors import UsageError

_NAMED_ELSEWHERE = {
    "max_connections": "max_connections=",
    "fsync": "fsync=",
    "full_page_writes": "fsync=",
    "port": "port=",
    "listen_addresses": "tcp=True",
    "unix_socket_directories": "nothing: the server chooses a short path",
    "data_directory": "the folder's path",
}


@frozen(kw_only=True)
class ServerOptions:
    """How an embedded server is to run.

    Attributes:
        max_connections: sessions that the server allows at once.
        fsync: whether the server waits for the disk, so that data outlive a crash of the machine. None: yes for a folder that stays, no for
            a temporary one. Data outlive a crash of the *server* in both cases.
        settings: any further server settings, by their names in PostgreSQL's manual; they win over postgresql.conf and ALTER SYSTEM.
        tcp: listen on 127.0.0.1 too, with a password. Without it only processes of the same user (and root) get in, through a unix socket.
        port: the TCP port; None takes a free one. Needs `tcp`.
        start_timeout_seconds: how long initialising and starting may take, recovery after a crash included.
        stop_timeout_seconds: how long the server may take to end in good order before it is ended by force.
    """

    max_connections: int = 100
    fsync: bool | None = None
    settings: Mapping[str, str | int | float | bool] = field(factory=dict[str, "str | int | float | bool"])
    tcp: bool = False
    port: int | None = None
    start_timeout_seconds: float = 60.0
    stop_timeout_seconds: float = 10.0

    def __attrs_post_init__(self) -> None:
        if self.max_connections < 1:
            raise UsageError(f"max_connections is {self.max_connections}, but a server needs room for at least 1 session.")
        if self.port is not None and not self.tcp:
            raise UsageError(
                f"port={self.port} was given without tcp=True, so nothing would listen on it.\n"
                f"To fix it: ServerOptions(tcp=True, port={self.port}), or leave port out."
            )
        if self.port is not None and not 0 < self.port < 65536:
            raise UsageError(f"port is {self.port}, but a TCP port lies between 1 and 65535.")
        for name in self.settings:
            if name in _NAMED_ELSEWHERE:
                raise UsageError(f"The setting {name!r} is decided elsewhere; use {_NAMED_ELSEWHERE[name]} instead of settings=.")
            if not name.replace("_", "").replace(".", "").isalnum():
                raise UsageError(f"{name!r} is no name of a server setting.")

    def command_line(self, *, temporary: bool) -> list[str]:
        """The server's arguments for these options, those of sockets and ports left out."""
        fsync = not temporary if self.fsync is None else self.fsync
        chosen: dict[str, str | int | float | bool] = {"max_connections": self.max_connections, "fsync": fsync}
        if not fsync:
            chosen["full_page_writes"] = False  # protects against torn pages, which only a crash of the machine makes
        if temporary:
            # In files of the data folder rather than in /dev/shm, where a killed server would leave a megabyte that nobody removes.
            chosen["dynamic_shared_memory_type"] = "mmap"
        chosen |= self.settings
        arguments: list[str] = []
        for name, value in chosen.items():
            text = ("on" if value else "off") if isinstance(value, bool) else str(value)
            arguments += ["-c", f"{name}={text}"]
        return arguments
