"""The wire: psycopg's connection on Trio and asyncio, and under it the ORM's own path of prepared statements sent in flights.

Knows no models. Useful alone: `AnyIOConnection` is for everybody who wants psycopg on Trio.
"""

from trioorm.wire.connection import AnyIOConnection, OnCancel
from trioorm.wire.server_errors import error_from_result
from trioorm.wire.statements import Statement, Step, command

__all__ = ["AnyIOConnection", "OnCancel", "Statement", "Step", "command", "error_from_result"]
