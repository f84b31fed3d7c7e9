"""One database for all tests of this room, and its witness, as for the wire."""

from tests.wire.conftest import dsn, room_dsn, rough_server, witness

__all__ = ["dsn", "room_dsn", "rough_server", "witness"]
