"""The wire: psycopg's connection on Trio and asyncio, and under it the ORM's own path of prepared statements sent in flights.

Knows no models. Useful alone: `AnyIOConnection` is for everybody who wants psycopg on Trio.
"""

from typing import TYPE_CHECKING

from trioorm.later import given_later
from trioorm.wire.connection import AnyIOConnection, OnCancel
from trioorm.wire.farewell import Farewell
from trioorm.wire.interrupt import after_cleanup
from trioorm.wire.password import Password
from trioorm.wire.server_errors import error_from_result, is_error
from trioorm.wire.statements import Statement, Step, command

if TYPE_CHECKING:
    from trioorm.wire.copy import CopyIn
    from trioorm.wire.copy_out import CopyOut
    from trioorm.wire.stream import RowStream
else:
    __getattr__, __dir__ = given_later(
        __name__,
        {
            "trioorm.wire.copy": "CopyIn",
            "trioorm.wire.copy_out": "CopyOut",
            "trioorm.wire.stream": "RowStream",
        },
    )

__all__ = [
    "AnyIOConnection",
    "CopyIn",
    "CopyOut",
    "Farewell",
    "OnCancel",
    "Password",
    "RowStream",
    "Statement",
    "Step",
    "after_cleanup",
    "command",
    "error_from_result",
    "is_error",
]
