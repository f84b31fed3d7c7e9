"""The pool's errors, which are psycopg_pool's as well, so that code written for that pool catches them."""

from __future__ import annotations

import psycopg_pool

from trioorm.errors import DatabaseClosed, DatabaseUnavailable, UsageError


class PoolTimeout(DatabaseUnavailable, psycopg_pool.PoolTimeout):
    """No connection came free in time. Nothing was sent, so it is safe to retry.

    Attributes:
        waited_seconds: how long the task waited in line.
        on_loan: how many connections were on loan at that moment.
        waiting: how many tasks were still in line.
    """

    safe_to_retry = True

    def __init__(self, message: str, *, waited_seconds: float, on_loan: int, waiting: int) -> None:
        super().__init__(message)
        self.waited_seconds = waited_seconds
        self.on_loan = on_loan
        self.waiting = waiting


class PoolClosed(DatabaseClosed, psycopg_pool.PoolClosed):
    """The pool was used after its block ended. Not safe to retry."""


class TooManyRequests(DatabaseUnavailable, psycopg_pool.TooManyRequests):
    """The line is full: `max_waiting` tasks wait already. Nothing was sent, so it is safe to retry later."""

    safe_to_retry = True


class PoolDeadlock(UsageError):
    """A task asked for a second connection inside a block that holds one, and all others that could give one back wait as well.

    It is raised only when it is so: each connection is on loan to a block (a transaction with its children, a stream, `with lease`) all of
    whose tasks wait in the pool's line. A timeout of one of them would be the only way out.

    Nothing was sent. Not safe to retry as it is.
    """
